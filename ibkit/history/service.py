"""`kit.history`: bars of the past. Reads the store, asks IB for the holes, writes, reads back.

Each part is a mixin in a module of its own: what is missing (`preparing`), what that costs
(`planning`), asking for it (`asking`), where data begin (`heads`), and what others there are.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import pandas as pd

from ibkit import naming
from ibkit.connection.loop import on_loop
from ibkit.errors import (
    NeverAvailableError,
    NoDataError,
    NotAdjustableError,
    NotYetError,
    UnknownSeriesError,
)
from ibkit.history import doors, legal
from ibkit.history.adjusting import Adjusting
from ibkit.history.fleeting import Fleeting
from ibkit.history.gaps import GapReport
from ibkit.history.optionbars import OptionBars
from ibkit.history.planning import Planning
from ibkit.history.price import plan_frame
from ibkit.history.spans import read_when
from ibkit.history.stitching import Stitching
from ibkit.history.ticking import Ticking
from ibkit.schema import bar_size as find_bar_size
from ibkit.store.adjusted import check_adjustable, how

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.outcomes import Outcome
    from ibkit.history.plan import Request
    from ibkit.history.series import Query, Series
    from ibkit.history.spans import When
    from ibkit.schema import WhatToShow
    from ibkit.store.adjusted import Adjusted

__all__ = ["History", "plan_frame"]

# requests of one call that are under way at once; a backfill has more
AT_ONCE: Final = 4


class History(Planning, Fleeting, Ticking, OptionBars, GapReport, Adjusting, Stitching):
    """Bars of the past. Reads the store first, asks IB for the holes.

    Parameters
    ----------
    link : Link
        The connection.
    contracts : Contracts
        Who the instruments are and when they trade.
    store : Store
        Where everything that comes is kept.
    """

    @on_loop
    async def bars(
        self,
        contract: ContractLike,
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        *,
        days: int | None = None,
        what_to_show: WhatToShow | None = None,
        use_rth: bool = True,
        adjusted: Adjusted = False,
    ) -> pd.DataFrame:
        """Return historical bars of one instrument, from the store and, for its holes, from IB.

        Parameters
        ----------
        contract : str or Contract
            Shorthand such as ``"AAPL"`` or ``"FUT:ES"``, or an ib_async contract.
        bar_size : str
            In IB's words: ``"1 min"``, ``"5 mins"``, ``"1 day"``.
        start, end : str, date or datetime, optional
            A date (``"2026-10-01"``) is a trade date, included at both ends; an instant carries
            its zone and `end` is then excluded. Without `end`: now.
        days : int, optional
            Instead of `start`: so many finished sessions up to `end`. Without `start` and
            `days`: the last finished session.
        what_to_show : str, optional
            IB's word. By default ``TRADES``, but ``MIDPOINT`` for currencies and CFDs, and
            ``AGGTRADES`` for coins.
        use_rth : bool
            Regular trading hours only.
        adjusted : bool or {"splits", "dividends"}
            False: as IB gave them, on different days perhaps in different shares. ``"splits"``:
            all in today's shares. True or ``"dividends"``: that, and without dividends.

        Returns
        -------
        DataFrame, shape (n_bars, 7), n_bars >= 1
            Index ``ts``: start of the bar, UTC, ascending, unique; a daily bar has the open of
            its session. Columns ``open high low close volume wap`` (float64) and ``count``; NaN
            where IB has no value. Complete bars only. ``attrs`` say instrument, bar size, what,
            source and whether it is simulated; ``not_yet``, if the last bars are still to come.

        Raises
        ------
        NoDataError
            The span has no bar at all; an empty frame would hide that. `NotYetError`: it is too
            fresh; `NeverAvailableError`: IB keeps no such bars.
        WrongSeriesError
            IB has no such series of this kind of instrument; the text lists those it has.
        RequestTimeoutError, UnansweredError
            No answer, or one that says nothing; what came before is stored.
        AmbiguousContractError, UnknownContractError, NoPermissionError, PacingError
            IB's refusals.
        UnknownFactorsError, NotAdjustableError
            Bars are to be adjusted, and nobody knows by what; or such bars never are.
        AdjustedBarsError
            `what_to_show` is ADJUSTED_LAST: say `adjusted` instead.
        ValueError
            A time without a zone, or `start` after `end`.

        Notes
        -----
        What the store has costs one schedule request; see `plan` for the rest.

        Examples
        --------
        >>> bars = kit.history.bars("AAPL", "1 min", start="2026-10-20", end="2026-10-20")
        >>> bars.shape, bars.attrs["simulated"]
        ((390, 7), True)
        """
        query: Query = {"days": days, "what_to_show": what_to_show, "use_rth": use_rth}
        doors.check_wanted(contract)
        doors.check_query(query)
        adjusting = how(adjusted)
        kept = await self._of_expired(contract, bar_size, (start, end), query)
        if kept is not None:
            if adjusting:
                said = kept.attrs
                check_adjustable(
                    said["instrument"], find_bar_size(bar_size), None, said["what_to_show"]
                )
            return kept
        found, what, _ = await self._wanted(contract, query)
        if legal.is_fleeting(found, what):
            if adjusting:
                raise NotAdjustableError(
                    f"{what} of {found.symbol}", "it is never stored", "adjust the stored TRADES"
                )
            return await self._up_to_now(found, what, bar_size, (start, end), query)
        if adjusting:
            size = find_bar_size(bar_size)
            check_adjustable(naming.slug(found), size, None, what)
        series = await self.prepare.aio(found, bar_size, start, end, **query)
        late, outcome = await self._fill(series)
        read = partial(self._read, series, adjusted, (start, end))
        # what waits for IB there is the factors, which must reach over what was read
        reading = self._read_adjusted(series, read) if adjusting else asyncio.to_thread(read)
        frame = await reading
        if frame.empty:
            raise _nothing(series, outcome)
        known = {"simulated": self._link.simulated, "not_yet": late}
        frame.attrs.update({name: value for name, value in known.items() if value != ""})
        return frame

    async def _fill(self, series: Series) -> tuple[str, Outcome | None]:
        """Ask for what is missing; return why the last bars are still to come, and what came last.

        What else stands in the way is raised.
        """
        late, outcome = "", None
        for first in range(0, len(series.requests), AT_ONCE):
            for outcome in await self._ask_all(series, series.requests[first : first + AT_ONCE]):
                if isinstance(outcome.error, NotYetError):
                    late = late or outcome.reason
                elif outcome.error is not None:
                    raise outcome.error
        return late, outcome

    async def _ask_all(self, series: Series, requests: Sequence[Request]) -> list[Outcome]:
        """Ask several requests at once; raise when all of them are done."""
        work = (self.ask.aio(series, request) for request in requests)
        found = await asyncio.gather(*work, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return cast("list[Outcome]", found)

    def _read(self, series: Series, adjusted: Adjusted, asked: tuple[When, When]) -> pd.DataFrame:
        """Return the stored bars; an empty frame if there is none.

        Bars of two to eight hours are asked for by whole sessions; of an instant, no bar that
        begins on its other side is given.
        """
        try:
            frame: pd.DataFrame = self._store.bars(
                series.slug, series.bar_size.ib, *series.span, adjusted=adjusted, **series.key
            )
        except UnknownSeriesError:
            return pd.DataFrame()
        if series.bar_size.intraday:
            start, end = (read_when(when, "") for when in asked)
            if isinstance(start, datetime) and start > series.span[0]:
                frame = frame[frame.index >= start]
            if isinstance(end, datetime) and end < series.span[1]:
                frame = frame[frame.index < end]
        return frame


def _nothing(series: Series, last: Outcome | None) -> NoDataError:
    """Return the error for a span without a bar: too fresh, never available, or simply empty."""
    if last is not None and isinstance(last.error, NotYetError):
        return last.error
    if reason := next((each.known for each in series.requests if each.known), ""):
        return NeverAvailableError(162, reason, series.contract)
    start, end = series.span
    reason = f"IB has no {series.bar_size.ib} {series.what_to_show} bar in {start} - {end}"
    return NoDataError(162, reason, series.contract)
