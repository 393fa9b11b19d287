"""Bars of series that IB makes anew each time: asked for up to now, given, never stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ibkit import clock
from ibkit.errors import NoDataError, WrongSeriesError
from ibkit.history.asking import Asking
from ibkit.history.ladders import DAY, days_text, is_legal, seconds_text
from ibkit.history.plan import Request
from ibkit.history.preparing import Preparing
from ibkit.schema import bar_size as find_bar_size
from ibkit.store import frames

if TYPE_CHECKING:
    import pandas as pd
    from ib_async import Contract

    from ibkit.history.series import Query, Series
    from ibkit.history.spans import When
    from ibkit.schema import WhatToShow


class Fleeting(Asking, Preparing):
    """One request without an end, which is all that IB takes for such series (else 10339, 321)."""

    async def _up_to_now(
        self,
        contract: Contract,
        what: WhatToShow,
        bar_size: str,
        span: tuple[When, When],
        query: Query,
    ) -> pd.DataFrame:
        """Return the bars of a fleeting series, straight from IB."""
        size, use_rth = find_bar_size(bar_size), query.get("use_rth", True)
        series = await self._bare(contract, size, (what, use_rth), span, query.get("days"))
        now = clock.now()
        back = now - series.span[0]
        text = days_text(size, series.span[0], now, back // DAY + 1)
        if not is_legal(size, text):
            text = seconds_text(back)
        if not is_legal(size, text):
            reason = f"it is asked for up to now, and {size.ib} bars reach back a day at most"
            raise WrongSeriesError(what, contract, reason)
        request = Request(*series.span, now, text)
        table, _ = await self._fetch_bars(series, request, up_to_now=True)
        if not len(table):
            raise NoDataError(162, "the answer has no bar in the span", contract)
        return await asyncio.to_thread(frames.bar_frame, table, self._about(series))

    def _about(self, series: Series) -> dict[str, object]:
        """Return what a frame of bars says of itself."""
        return {
            "instrument": series.slug,
            "bar_size": series.bar_size.ib,
            **series.key,
            "source": self._source,
            "simulated": self._link.simulated,
            "stored": False,
        }
