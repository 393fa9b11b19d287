"""Ticks of the past: from the store first, page by page from IB what is missing there.

Every page is in the store, with the seconds that it answers for, before the next one is asked for;
so an interrupted call loses a page at most, and a repeated one goes on where it stopped. Not here:
what a page says (`ticks`).
"""

from __future__ import annotations

import asyncio
import math
import sys
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from tqdm.std import tqdm

from ibkit import clock, naming
from ibkit.connection.asks import ask_for
from ibkit.connection.loop import on_loop
from ibkit.errors import (
    IbkitError,
    NeverAvailableError,
    NoDataError,
    UnansweredError,
    UnknownSeriesError,
)
from ibkit.history import outcomes, ticks
from ibkit.history.asking import ENDS_ALL, TIMEOUT_S
from ibkit.history.base import Base
from ibkit.history.doors import check_query, check_wanted
from ibkit.history.outcomes import NO_DATA, Outcome
from ibkit.history.plan import Request
from ibkit.history.spans import When, bounds, check_order, read_when, to_day
from ibkit.log import get_logger
from ibkit.schema import DATASETS, BarSize
from ibkit.schema import bar_size as size_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from ib_async import Contract

    from ibkit.contracts.hours import Session
    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.plan import Span
    from ibkit.history.ticks import Page
    from ibkit.schema import WhatToShow

log = get_logger(__name__)
#: have no trades
QUOTED: Final = frozenset({"CASH", "CFD", "CMDTY"})
SILENT_S: Final = 2.0  # before a progress bar is worth showing
# ticks are as fresh as the smallest bars are
_AS: Final[BarSize] = size_of("1 secs")


@dataclass(frozen=True, slots=True)
class Tape:
    """Which ticks are asked about.

    Attributes
    ----------
    contract : Contract
        Qualified.
    slug : str
        Its name in the store.
    what_to_show : {"TRADES", "BID_ASK", "MIDPOINT"}
        IB's word.
    use_rth : bool
        Regular hours only.
    span : tuple of datetime
        [start, end), UTC, whole seconds.
    parts : list of tuple of int
        What the store lacks of it, session by session, in epoch seconds.
    """

    contract: Contract
    slug: str
    what_to_show: WhatToShow
    use_rth: bool
    span: Span
    parts: list[tuple[int, int]]

    @property
    def dataset(self) -> str:
        """Where they are kept."""
        return ticks.DATASETS[self.what_to_show]


class Ticking(Base):
    """`ticks`, for `History`."""

    @on_loop
    async def ticks(
        self,
        contract: ContractLike,
        start: When,
        end: When = None,
        what_to_show: WhatToShow | None = None,
        use_rth: bool = True,  # noqa: FBT001, FBT002 - by name or by place, as in ib_async
        *,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return single trades or quotes of the past, from the store and, for its holes, from IB.

        Parameters
        ----------
        contract : str or Contract
            Shorthand such as ``"AAPL"``, or an ib_async contract. Not a combo.
        start, end : str, date or datetime
            As of `bars`. Without `end`: now.
        what_to_show : {"TRADES", "BID_ASK", "MIDPOINT"}, optional
            By default ``TRADES``; ``MIDPOINT`` of currencies and CFDs, which have no trades.
        use_rth : bool
            Regular trading hours only, from the open to before the second of the close: prints of
            the closing auction that come after it are outside.
        progress : bool
            Show how far it is, if it takes long.

        Returns
        -------
        DataFrame, shape (n_ticks, n), n_ticks >= 1
            Index ``ts``: the second of each tick, UTC, ascending, not unique; ticks of one second
            in IB's order. Columns of ``TRADES``: ``price size exchange conditions past_limit
            unreported``; of ``BID_ASK``: ``bid ask bid_size ask_size bid_past_low
            ask_past_high``; of ``MIDPOINT``: ``price``. Whole seconds only.

        Raises
        ------
        NoDataError
            The span has no tick at all; NotYetError: not yet.
        NoPermissionError, PacingError, RequestTimeoutError
            IB's refusals. What came before is stored, and not asked for again.
        ValueError
            A time without a zone, `start` after `end`, or an unknown `what_to_show`.

        Notes
        -----
        IB gives a thousand ticks at a time and sixty such answers in ten minutes (thirty of
        ``BID_ASK``): 100 ticks a second. They are kept in the datasets ``trades``, ``quotes`` and
        ``midpoints``, of the recorder ``history``, whatever `use_rth` says.

        Examples
        --------
        >>> ticks = kit.history.ticks("AAPL", "2026-10-20T09:30-04:00", "2026-10-20T09:31-04:00")
        >>> ticks.columns.tolist()[:2], ticks.index.is_monotonic_increasing
        (['price', 'size'], True)
        """
        tape = await self._tape(contract, start, end, what_to_show, use_rth=use_rth)
        total = sum(high - low for low, high in tape.parts)
        name = f"{naming.shorthand(tape.contract)} {tape.what_to_show}"
        fresh = None
        with _bar(total, name, shown=progress) as bar:
            for part in tape.parts:
                async with aclosing(self._fill_ticks(tape, *part)) as found:
                    async for outcome in found:
                        _count(bar, outcome)
                        if outcome.kind == "not_yet":
                            fresh = outcome.error
                        elif outcome.error is not None:
                            raise outcome.error
        return await asyncio.to_thread(self._read_ticks, tape, fresh)

    async def _tape(
        self,
        wanted: ContractLike,
        start: When,
        end: When,
        what: WhatToShow | None,
        *,
        use_rth: bool,
    ) -> Tape:
        """Return what is asked about, and what the store lacks of it."""
        check_wanted(wanted)
        check_query({"use_rth": use_rth})
        first, last = read_when(start, "start"), read_when(end, "end")
        if first is None:
            raise ValueError("ticks need a start; a session of a large stock has hundreds of pages")
        check_order(first, last)
        contract = await self._contracts.contract.aio(wanted)
        usual: WhatToShow = "MIDPOINT" if contract.secType in QUOTED else "TRADES"
        what = what or usual
        if what not in (*ticks.DATASETS,):
            raise ValueError(f"ticks are one of {', '.join(ticks.DATASETS)}, not {what!r}")
        if contract.secType == "BAG":
            reason = "IB has no ticks of combos"
            raise NeverAvailableError(NO_DATA, reason, contract, "ask for those of the legs.")
        now = clock.now().replace(microsecond=0)
        sessions = await self._stretches(contract, first, last or now, use_rth=use_rth)
        span = bounds(sessions, first, last)
        if span is None or span[0] >= now:
            reason = f"no session between {first} and {last or 'now'}"
            raise NoDataError(NO_DATA, reason, contract)
        span = (span[0], min(span[1], now))
        slug = naming.slug(contract)
        unanswered = partial(self._store.unanswered, series=ticks.SERIES)
        holes = await asyncio.to_thread(unanswered, ticks.DATASETS[what], slug, *span)
        return Tape(contract, slug, what, use_rth, span, ticks.parts(holes, sessions))

    async def _stretches(
        self, contract: Contract, start: Any, end: Any, *, use_rth: bool
    ) -> Sequence[Session]:
        """Return the sessions that the span may touch; a break makes two of a day."""
        first = to_day(start) - timedelta(days=1)
        last = max(first, min(to_day(end), clock.now().date()) + timedelta(days=1))
        return await self._contracts.sessions.aio(
            contract, first, last, use_rth=use_rth, breaks=True
        )

    async def _fill_ticks(self, tape: Tape, start: int, end: int) -> AsyncGenerator[Outcome, None]:
        """Ask for one part of a session, page by page; store each, and yield what came of it."""
        fresh = outcomes.is_fresh(ticks.moment(end), clock.now(), _AS)
        known = start
        try:
            ask = partial(self._ask_ticks, tape)
            async with aclosing(ticks.pages(ask, start, end, fresh=fresh)) as pages:
                async for page in pages:
                    span = _request(page.start, page.end)
                    if not page.ticks and (told := self._disconnected(tape, span, "no ticks")):
                        yield told
                        return
                    yield await asyncio.to_thread(self._keep_ticks, tape, page)
                    known = page.end
        except ENDS_ALL:
            raise
        except (IbkitError, ticks.BackwardsError) as error:
            rest = _request(known, end)
            outcome = self._refused(tape, rest, error)
            if outcome.kind == "empty" and (told := self._disconnected(tape, rest, "no data")):
                outcome = told
            if outcome.kind == "empty":
                await asyncio.to_thread(self._confirm_no_ticks, tape, rest, outcome.reason)
            yield outcome
            return
        if known < end:
            yield self._not_yet(tape, _request(known, end))

    async def _ask_ticks(self, tape: Tape, start: int) -> Sequence[Any]:
        wanted = (
            tape.contract,
            ticks.moment(start),
            "",
            ticks.PAGE,
            tape.what_to_show,
            tape.use_rth,
        )
        return await self._link.request(
            "historical ticks",
            lambda ib: ib.reqHistoricalTicksAsync(*wanted),
            contract=tape.contract,
            timeout_s=max(TIMEOUT_S, self._link.profile.timeout_s),
            ask=ask_for("reqHistoricalTicks", *wanted),
            wait_s=math.inf,  # IB's pace is what it is; whoever asked may interrupt
        )

    def _keep_ticks(self, tape: Tape, page: Page) -> Outcome:
        """Make a page all that there is of its seconds."""
        request = _request(page.start, page.end)
        if not page.ticks:
            reason = "IB answered with no tick"
            self._confirm_no_ticks(tape, request, reason)
            return Outcome("empty", request, reason=reason)
        reason = ""
        if page.cut:
            reason = (
                f"second {ticks.moment(page.end - 1):%H:%M:%S} fills a page: it may have more ticks"
            )
            log.warning("IB may have cut a second short", instrument=tape.slug, reason=reason)
        commit = self._store.replace_range(
            tape.dataset,
            tape.contract,
            ticks.to_table(page.ticks, tape.what_to_show),
            request.start,
            request.end,
            source=self._source,
            series=ticks.SERIES,
            request=f"{len(page.ticks)} ticks from {request.start.isoformat()}",
        )
        return Outcome("data", request, len(page.ticks), commit.rows_added, reason)

    def _confirm_no_ticks(self, tape: Tape, request: Request, reason: str) -> None:
        self._store.confirm_empty(
            tape.dataset,
            tape.contract,
            (request.start, request.end),
            what_to_show=tape.what_to_show,
            use_rth=tape.use_rth,
            series=ticks.SERIES,
            reason=reason,
        )

    def _refused(self, tape: Tape, rest: Request, error: Exception) -> Outcome:
        if not isinstance(error, IbkitError):
            count, start = error.args
            reason = f"IB answered with {count} ticks of before {start:%Y-%m-%d %H:%M:%S} UTC"
            error = UnansweredError(NO_DATA, reason, tape.contract)
        return outcomes.refusal(error, rest, _AS, clock.now(), tape.contract)

    def _not_yet(self, tape: Tape, rest: Request) -> Outcome:
        reason = "IB has no more ticks yet"
        error = outcomes.not_yet(rest, _AS, tape.contract, reason)
        return Outcome("not_yet", rest, reason=reason, error=error)

    def _read_ticks(self, tape: Tape, fresh: IbkitError | None) -> pd.DataFrame:
        columns = DATASETS[tape.dataset].columns
        names = ["ts", *(each.name for each in columns if each.role == "value")]
        names.remove("delayed")
        try:
            frame: pd.DataFrame = self._store.read(
                tape.dataset, tape.slug, *tape.span, columns=names, series=ticks.SERIES
            )
        except UnknownSeriesError:
            frame = pd.DataFrame()
        if frame.empty:
            start, end = tape.span
            reason = f"IB has no {tape.what_to_show} tick in {start} - {end}"
            raise fresh or NoDataError(NO_DATA, reason, tape.contract)
        frame = frame[names].set_index("ts")
        frame.attrs = {
            "instrument": tape.slug,
            "what_to_show": tape.what_to_show,
            "use_rth": tape.use_rth,
            "simulated": self._link.simulated,
            "source": self._source,
        }
        return frame


def _request(start: int, end: int) -> Request:
    low, high = ticks.moment(start), ticks.moment(end)
    return Request(low, high, high, f"{end - start} S")


def _bar(total: int, name: str, *, shown: bool) -> Any:
    """Return a bar of the seconds that are to be filled, which shows itself when that is long."""
    return tqdm(
        total=total,
        unit="s",
        unit_scale=True,
        desc=name,
        file=sys.stderr,
        delay=SILENT_S,
        disable=not (shown and total),
    )


def _count(bar: Any, outcome: Outcome) -> None:
    span = outcome.request.end - outcome.request.start
    bar.set_postfix_str(f"{outcome.request.end:%Y-%m-%d %H:%M:%S}", refresh=False)
    bar.update(span.total_seconds())
