"""`kit.history`: bars of the past. Reads the store, asks IB for the holes, writes, reads back.

Every answer is in the store, with the span that it answers for, before the next request goes out;
so an interrupted call loses nothing and a repeated one asks nothing. Not here: the arithmetic of
requests (`plan`), the decoding (`decode`).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack, cast

import pandas as pd
from ib_async import Contract

from ibkit import clock, naming
from ibkit.connection.asks import ask_for
from ibkit.connection.loop import on_loop
from ibkit.errors import NoDataError, UnknownSeriesError
from ibkit.history import decode
from ibkit.history.plan import Request, Span, cut, plan, seconds_for, whole
from ibkit.history.spans import When, bounds, check_order, read_when, to_day
from ibkit.schema import BarSize, WhatToShow
from ibkit.schema import bar_size as find_bar_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ib_async import BarDataList

    from ibkit.connection import Link
    from ibkit.contracts.hours import Session
    from ibkit.contracts.resolver import ContractLike, Contracts
    from ibkit.store import Store

TIMEOUT_S: Final = 60.0
# what bars are made of when nobody says; TRADES otherwise
USUAL: Final[dict[str, WhatToShow]] = {
    **dict.fromkeys(("CASH", "CFD", "CMDTY"), "MIDPOINT"),  # have no trades
    "CRYPTO": "AGGTRADES",  # IB refuses TRADES of coins: error 10299
}
MAX_LOOK_BACK: Final = 400


@dataclass(frozen=True, slots=True)
class Series:
    """What one series of bars is of, over which span, and what of it is missing.

    Attributes
    ----------
    contract : Contract
        Qualified.
    slug : str
        The instrument's name in the store.
    span : tuple of datetime
        [start, end), UTC; cut where the last complete bar ends.
    sessions : tuple of Session
        The trading sessions in it.
    requests : tuple of Request
        What closes the holes.
    """

    contract: Contract
    slug: str
    bar_size: BarSize
    what_to_show: WhatToShow
    use_rth: bool
    span: Span
    sessions: tuple[Session, ...]
    holes: tuple[Span, ...] = ()
    requests: tuple[Request, ...] = ()

    @property
    def key(self) -> dict[str, Any]:
        """The columns that tell this series from others of the instrument."""
        return {"what_to_show": self.what_to_show, "use_rth": self.use_rth}


class Query(TypedDict, total=False):
    """Which bars, besides instrument, size, start and end; see `History.bars`."""

    days: int | None
    what_to_show: WhatToShow | None
    use_rth: bool


class History:
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

    def __init__(self, link: Link, contracts: Contracts, store: Store) -> None:
        self._loop = link.loop
        self._link, self._contracts, self._store = link, contracts, store

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

        Returns
        -------
        DataFrame, shape (n_bars, 7), n_bars >= 1
            Index ``ts``: start of the bar, UTC, ascending, unique; a daily bar has the open of
            its session. Columns ``open high low close volume wap`` (float64) and ``count``; NaN
            where IB has no value. Complete bars only. ``attrs`` say instrument, bar size, what,
            source and whether it is simulated.

        Raises
        ------
        NoDataError
            The span has no bar at all; an empty frame would hide that.
        AmbiguousContractError, UnknownContractError, NoPermissionError, PacingError
            IB's refusals.
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
        series = await self.prepare.aio(
            contract, bar_size, start, end, days=days, what_to_show=what_to_show, use_rth=use_rth
        )
        for request in series.requests:
            await self.fill.aio(series, request)
        return await asyncio.to_thread(self._read, series)

    @on_loop
    async def sessions(
        self,
        contract: ContractLike,
        n: int = 5,
        end: When = None,
        *,
        use_rth: bool = True,
    ) -> list[Session]:
        """Return the last `n` finished sessions up to `end`, ascending; fewer if there were none.

        Parameters
        ----------
        contract : str or Contract
            The instrument.
        n : int
            How many.
        end : str, date or datetime, optional
            The last trade date, or an instant; by default now.
        use_rth : bool
            Regular hours only.
        """
        if n < 1:
            raise ValueError(f"days counts sessions and starts at 1, got {n}")
        until = read_when(end, "end") or clock.now()
        last, first_try = to_day(until), n * 7 // 5 + 5
        for length in (first_try, first_try + 30, max(MAX_LOOK_BACK, 2 * first_try)):
            found = await self._contracts.sessions.aio(
                contract, last - timedelta(days=length), last + timedelta(days=1), use_rth=use_rth
            )
            done = [each for each in found if _finished(each, until)]
            if len(done) >= n:
                break
        return done[-n:]

    @on_loop
    async def plan(
        self,
        symbols: ContractLike | Sequence[ContractLike],
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        **query: Unpack[Query],
    ) -> pd.DataFrame:
        """Return what a backfill would ask for, and roughly how long it would take.

        Parameters
        ----------
        symbols : str, Contract or sequence of them
            The instruments; the other parameters are those of `bars`.

        Returns
        -------
        DataFrame
            One row a series: ``instrument, what_to_show, start, end, sessions, holes, requests,
            seconds``; the last is an estimate under IB's pacing rules.
        """
        several = [symbols] if isinstance(symbols, str | Contract) else symbols
        all_series = [
            await self.prepare.aio(each, bar_size, start, end, **query) for each in several
        ]
        return plan_frame(all_series)

    @on_loop
    async def prepare(
        self,
        contract: ContractLike,
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        **query: Unpack[Query],
    ) -> Series:
        """Return one series with its holes and the requests that close them; fetches no bars.

        The parameters are those of `bars`.
        """
        size = find_bar_size(bar_size)
        first, last = read_when(start, "start"), read_when(end, "end")
        check_order(first, last)
        if first is not None and query.get("days") is not None:
            raise ValueError("start and days say the same thing twice; give one of them")
        found = await self._contracts.contract.aio(contract)
        usual = USUAL.get(found.secType, "TRADES")
        what, use_rth = query.get("what_to_show") or usual, query.get("use_rth", True)
        if first is None:
            n = query.get("days")
            first, last = await self._days(found, 1 if n is None else n, last, use_rth=use_rth)
        sessions = await self._sessions(found, size, first, last, use_rth=use_rth)
        span = self._span(found, size, sessions, first, last)
        series = Series(
            found, naming.slug(found), size, what, use_rth, span, tuple(_within(sessions, span))
        )
        holes = await asyncio.to_thread(
            self._store.holes, series.slug, size.ib, *span, **series.key
        )
        return replace(series, holes=tuple(holes), requests=tuple(plan(holes, size, sessions)))

    @on_loop
    async def fill(self, series: Series, request: Request) -> int:
        """Ask IB for one planned request and store the answer; return how many bars are new.

        No data is an answer too and is remembered, so that it is not asked for again.

        Raises
        ------
        RequestRefusedError, RequestTimeoutError, NotConnectedError
            Nothing was stored for this request.
        """
        size = series.bar_size
        wanted = (
            series.contract,
            request.until,
            request.duration,
            size.ib,
            series.what_to_show,
            series.use_rth,
        )
        try:
            bars: BarDataList = await self._link.request(
                "historical data",
                lambda ib: ib.reqHistoricalDataAsync(*wanted, formatDate=2, timeout=0),
                contract=series.contract,
                timeout_s=max(TIMEOUT_S, self._link.profile.timeout_s),
                ask=ask_for("reqHistoricalData", *wanted, formatDate=2),
                wait_s=math.inf,  # IB's pace is what it is; whoever asked may interrupt
            )
        except NoDataError as error:
            return await asyncio.to_thread(self._confirm_empty, series, request, error.reason)
        found = decode.of_sessions(bars, size, series.sessions)
        table = decode.to_table(found, size, series.sessions)
        table = decode.clip(table, request.start, request.end)
        if not len(table):
            return await asyncio.to_thread(
                self._confirm_empty, series, request, "the answer has no bar in the span"
            )
        return await asyncio.to_thread(self._write, series, request, table)

    @on_loop
    async def fill_many(self, work: Sequence[tuple[Series, Request]]) -> list[int | Exception]:
        """Ask IB for several planned requests at once; return new bars or the error of each."""
        outcomes = await asyncio.gather(
            *(self.fill.aio(series, request) for series, request in work), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
        return cast("list[int | Exception]", outcomes)

    async def _days(
        self, contract: Contract, n: int, end: date | datetime | None, *, use_rth: bool
    ) -> tuple[date, date]:
        """Return the trade dates of the first and the last of `n` finished sessions."""
        found = await self.sessions.aio(contract, n, end, use_rth=use_rth)
        if not found:
            raise NoDataError(162, f"no finished session before {end or 'now'}", contract)
        return found[0].ref_date, found[-1].ref_date

    async def _sessions(
        self,
        contract: Contract,
        size: BarSize,
        start: date | datetime,
        end: date | datetime | None,
        *,
        use_rth: bool,
    ) -> list[Session]:
        """Return the sessions that the span may touch, with those that complete its first bar."""
        today = clock.now().date()
        margin = {"1 week": 7, "1 month": 31}.get(size.ib, 1)
        first = to_day(start) - timedelta(days=margin)
        last = min(to_day(end or today), today) + timedelta(days=1)
        if first > last:
            raise NoDataError(162, f"{to_day(start)} is still to come", contract)
        return await self._contracts.sessions.aio(contract, first, last, use_rth=use_rth)

    def _span(
        self,
        contract: Contract,
        size: BarSize,
        sessions: list[Session],
        start: date | datetime | None,
        end: date | datetime | None,
    ) -> Span:
        span = bounds(sessions, start, end)
        if span is None:
            raise NoDataError(162, f"no session between {start} and {end or 'now'}", contract)
        span = whole(span, size, sessions)
        until = cut(span[1], clock.now(), size, _within(sessions, span))
        if until <= span[0]:
            raise NoDataError(162, f"no complete {size.ib} bar since {span[0]} yet", contract)
        return span[0], until

    def _write(self, series: Series, request: Request, table: Any) -> int:
        commit = self._store.write_bars(
            series.contract,
            series.bar_size.ib,
            table,
            span=(request.start, request.end),
            source=self._source,
            request=f"{request.duration} to {request.until.isoformat()}",
            **series.key,
        )
        return int(commit.rows_added)

    def _confirm_empty(self, series: Series, request: Request, reason: str) -> int:
        self._store.confirm_empty(
            series.bar_size.dataset,
            series.slug,
            (request.start, request.end),
            reason=reason,
            **series.key,
        )
        return 0

    def _read(self, series: Series) -> pd.DataFrame:
        try:
            frame: pd.DataFrame = self._store.bars(
                series.slug, series.bar_size.ib, *series.span, **series.key
            )
        except UnknownSeriesError:
            frame = pd.DataFrame()
        if frame.empty:
            start, end = series.span
            reason = f"IB has no {series.bar_size.ib} {series.what_to_show} bar in {start} - {end}"
            raise NoDataError(162, reason, series.contract)
        frame.attrs["simulated"] = self._link.simulated
        return frame

    @property
    def _source(self) -> str:
        return "SIM" if self._link.simulated else "IB"


def plan_frame(all_series: Sequence[Series]) -> pd.DataFrame:
    """Return one row for each series: what is missing, and what closing it costs."""
    rows = [
        {
            "instrument": naming.shorthand(each.contract),
            "what_to_show": each.what_to_show,
            "start": each.span[0],
            "end": each.span[1],
            "sessions": len(each.sessions),
            "holes": len(each.holes) if each.requests else 0,
            "requests": len(each.requests),
            "seconds": seconds_for(len(each.requests), each.bar_size),
        }
        for each in all_series
    ]
    columns = ["instrument", "what_to_show", "start", "end", "sessions"]
    return pd.DataFrame(rows, columns=[*columns, "holes", "requests", "seconds"])


def _within(sessions: Sequence[Session], span: Span) -> list[Session]:
    return [each for each in sessions if each.start < span[1] and each.end > span[0]]


def _finished(session: Session, until: date | datetime) -> bool:
    """Whether a session is over: by `until`, and by now."""
    over = session.end <= clock.now()
    if isinstance(until, datetime):
        return over and session.end <= until
    return over and session.ref_date <= until
