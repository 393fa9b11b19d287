"""What is missing of a series, and when it trades: `prepare`, `sessions`, `schedule`.

Asks IB for schedules at most, which are kept, and never for bars.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Unpack

import pandas as pd

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.errors import NoDataError, WrongSeriesError
from ibkit.history import doors, heads, legal
from ibkit.history.base import Base
from ibkit.history.plan import Span, cut, plan, whole
from ibkit.history.series import USUAL, Query, Series
from ibkit.history.spans import When, bounds, check_order, read_when, to_day
from ibkit.schema import bar_size as find_bar_size
from ibkit.store.adjusted import refuse
from ibkit.store.resample import clock_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ib_async import Contract

    from ibkit.contracts.hours import Session
    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.ladders import Step
    from ibkit.history.legal import Before
    from ibkit.schema import BarSize, WhatToShow

MAX_LOOK_BACK: Final = 400
SCHEDULE: Final = ("start", "end", "minutes", "source")


class Preparing(Base):
    """What would have to be asked: `prepare`; and the sessions that say so."""

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
        doors.check_query({"days": n})
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
    async def schedule(
        self,
        contract: ContractLike,
        start: date | str,
        end: date | str,
        use_rth: bool = True,  # noqa: FBT001, FBT002 - as IB's own call
    ) -> pd.DataFrame:
        """Return when an instrument traded, or will trade.

        Parameters
        ----------
        contract : str or Contract
            The instrument.
        start, end : date or str
            Trade dates, both included.
        use_rth : bool
            Regular hours only.

        Returns
        -------
        DataFrame
            One row a session, or a stretch of one where the day has a break; index ``day`` (the
            trade date: that of the evening before is the next day's), ascending. ``start end``
            (UTC), ``minutes`` between them, and ``source``: IB, or the calendar that answered
            instead.

        Raises
        ------
        TradeDateError
            Not a trade date, or the end is before the start.
        NotConnectedError, RequestTimeoutError, RequestRefusedError
            IB could not be asked, and no calendar knows the exchange either.

        Notes
        -----
        One request for each year that nobody has asked for before; the answers are kept.

        Examples
        --------
        >>> hours = kit.history.schedule("AAPL", "2026-11-24", "2026-11-27")
        >>> hours["minutes"].tolist()
        [390, 390, 210]
        """
        found = await self._contracts.sessions.aio(
            contract, start, end, use_rth=use_rth, breaks=True
        )
        days = pd.DatetimeIndex([each.ref_date for each in found], name="day").as_unit("us")
        rows = [(each.start, each.end, _minutes(each), each.source) for each in found]
        frame = pd.DataFrame(rows, columns=list(SCHEDULE), index=days)
        kinds = {"start": "datetime64[us, UTC]", "end": "datetime64[us, UTC]", "minutes": "int64"}
        return frame.astype(kinds)

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

        Raises
        ------
        WrongSeriesError
            IB has no such bars of this kind of instrument, or they are never stored.
        NoDataError
            No session lies in the span, or nothing in it is complete yet.
        """
        size = find_bar_size(bar_size)
        found, what, use_rth = await self._wanted(contract, query)
        if legal.is_fleeting(found, what):
            reason = "a continuous future is another series after each roll and is never stored; "
            reason += "history.bars() gives it fresh, history.continuous() stitches what is stored"
            raise WrongSeriesError(what, found, reason)
        bare = await self._bare(found, size, (what, use_rth), (start, end), query.get("days"))
        missing = partial(self._store.missing, bare.slug, size.ib, *bare.span, **bare.key)
        holes = await asyncio.to_thread(missing)
        if not holes:
            return bare
        step, before = await asyncio.to_thread(self._learned, bare)
        requests = plan(holes, size, bare.sessions, step, before)
        return replace(bare, holes=tuple(holes), requests=tuple(requests))

    async def _wanted(
        self, contract: ContractLike, query: Query
    ) -> tuple[Contract, WhatToShow, bool]:
        """Return the instrument and which series of it is meant."""
        doors.check_wanted(contract)
        doors.check_query(query)
        found = await self._contracts.contract.aio(contract)
        what = query.get("what_to_show") or USUAL.get(found.secType, "TRADES")
        refuse(what)
        legal.check(found, what)
        return found, what, query.get("use_rth", True)

    async def _bare(
        self,
        contract: Contract,
        size: BarSize,
        which: tuple[WhatToShow, bool],
        span: tuple[When, When],
        days: int | None,
    ) -> Series:
        """Return a series with its span and sessions, as if nothing were missing."""
        what, use_rth = which
        first, last = read_when(span[0], "start"), read_when(span[1], "end")
        check_order(first, last)
        if first is not None and days is not None:
            raise ValueError("start and days say the same thing twice; give one of them")
        if first is None:
            count = 1 if days is None else days
            first, last = await self._days(contract, count, last, use_rth=use_rth)
        sessions = await self._sessions(contract, size, first, last, use_rth=use_rth)
        inside = self._span(contract, size, sessions, first, last)
        held = tuple(_within(sessions, inside))
        return Series(contract, naming.slug(contract), size, what, use_rth, inside, held)

    def _learned(self, series: Series) -> tuple[Step, Before | None]:
        """Return how much to ask for at once, and before when there is nothing."""
        now = clock.now()
        _, head = self._steps.head(series.head_text, now)
        known = (
            [] if head is None else [legal.Before(head - heads.SLACK, heads.REASON.format(head))]
        )
        if rule := legal.never_before(series.contract, series.bar_size, now):
            known.append(rule)
        before = max(known, key=lambda one: one.until, default=None)
        return self._steps.step(series.slug, series.bar_size), before

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
        until = cut(span[1], clock.now(), size, _within(sessions, span), clock_of(contract)[0])
        if until <= span[0]:
            raise NoDataError(162, f"no complete {size.ib} bar since {span[0]} yet", contract)
        return span[0], until


def _within(sessions: Sequence[Session], span: Span) -> list[Session]:
    return [each for each in sessions if each.start < span[1] and each.end > span[0]]


def _finished(session: Session, until: date | datetime) -> bool:
    """Whether a session is over: by `until`, and by now."""
    over = session.end <= clock.now()
    if isinstance(until, datetime):
        return over and session.end <= until
    return over and session.ref_date <= until


def _minutes(session: Session) -> int:
    return int((session.end - session.start).total_seconds()) // 60
