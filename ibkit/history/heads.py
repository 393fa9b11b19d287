"""`kit.history.head`: where an instrument's data begin. Asked once and remembered.

IB counts the question under its hard rule, 60 in ten minutes, so a plan never asks it: the first
request that finds nothing does, if older ones would follow it.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ibkit import clock, naming
from ibkit.connection.asks import ask_for
from ibkit.connection.loop import on_loop
from ibkit.errors import IbkitError, LoopThreadError, NoDataError, NotConnectedError
from ibkit.history import doors, legal
from ibkit.history.base import Base
from ibkit.history.series import USUAL, series_text

if TYPE_CHECKING:
    from ib_async import Contract

    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.plan import Request
    from ibkit.history.series import Series
    from ibkit.schema import WhatToShow

REASON = "before its first data, {:%Y-%m-%d %H:%M} UTC by IB's head timestamp"

# a head may be told as a day of another clock; what lies so near before it is asked for
SLACK: Final = timedelta(days=2)


class Heads(Base):
    """Where data begin: `head`."""

    @on_loop
    async def head(
        self,
        contract: ContractLike,
        what_to_show: WhatToShow | None = None,
        use_rth: bool = True,  # noqa: FBT001, FBT002 - as IB's own call
    ) -> datetime:
        """Return when IB's data of an instrument begin.

        Parameters
        ----------
        contract : str or Contract
            The instrument.
        what_to_show : str, optional
            Which series; by default as in `bars`.
        use_rth : bool
            Regular trading hours only.

        Returns
        -------
        datetime
            In UTC; of the trades of daily bars: those of a minute may begin later.

        Raises
        ------
        NoDataError
            IB has none, or cannot tell.
        WrongSeriesError
            IB has no such series of this kind of instrument.

        Notes
        -----
        One request, under the rule of 60 in ten minutes; the answer is remembered for half a year,
        by all processes of this data root.

        Examples
        --------
        >>> kit.history.head("AAPL").year < 2020
        True
        """
        doors.check_wanted(contract)
        doors.check_query({"use_rth": use_rth})
        found = await self._contracts.contract.aio(contract)
        what = what_to_show or USUAL.get(found.secType, "TRADES")
        legal.check(found, what)
        return await self._head(found, what, use_rth=use_rth)

    async def _head(self, contract: Contract, what: WhatToShow, *, use_rth: bool) -> datetime:
        text = series_text(naming.slug(contract), what, use_rth=use_rth)
        async with self._asking_heads[text]:
            _, head = await asyncio.to_thread(self._steps.head, text, clock.now())
            if head is None:
                head = await self._ask_head(contract, what, text, use_rth=use_rth)
        return head

    async def _ask_head(
        self, contract: Contract, what: WhatToShow, text: str, *, use_rth: bool
    ) -> datetime:
        wanted = (contract, what, use_rth, 2)
        try:
            answer: datetime = await self._link.request(
                "head timestamp",
                lambda ib: ib.reqHeadTimeStampAsync(*wanted),
                contract=contract,
                ask=ask_for("reqHeadTimeStamp", *wanted),
                wait_s=math.inf,
            )
        except NoDataError:
            await asyncio.to_thread(self._steps.keep_head, text, None, clock.now())
            raise
        head = answer.astimezone(UTC)
        await asyncio.to_thread(self._steps.keep_head, text, head, clock.now())
        return head

    async def _known_head(self, series: Series) -> datetime | None:
        """Return where a series begins, if that was asked before."""
        _, head = await asyncio.to_thread(self._steps.head, series.head_text, clock.now())
        return head

    async def _known_empty(self, series: Series, request: Request) -> str:
        """Return why a request need not be asked, if that is known."""
        head = await self._known_head(series)
        return REASON.format(head) if head is not None and request.end <= head - SLACK else ""

    async def _why_empty(self, series: Series, request: Request) -> str:
        """Return why there may be nothing, if it is that the data begin later; it may ask IB.

        It asks if older requests would follow, which then need not be made.
        """
        follow = any(each.start < request.start and not each.known for each in series.requests)
        known, head = await asyncio.to_thread(self._steps.head, series.head_text, clock.now())
        if not known and follow:
            try:
                head = await self._head(
                    series.contract, series.what_to_show, use_rth=series.use_rth
                )
            except (NotConnectedError, LoopThreadError):
                raise
            except IbkitError:  # then nobody knows, and older requests are made
                return ""
        return REASON.format(head) if head is not None and request.until <= head else ""
