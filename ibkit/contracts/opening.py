"""Trading hours as the user asks for them: `kit.contracts.sessions`, `is_open`, `next_open`, ...

A mixin of `Contracts`. Answers about single moments come from timetables that are kept in memory;
only a question that none of them covers travels to the loop. Not here: where sessions come from
(`ibkit.contracts.schedules`), and questions to many moments (`ibkit.contracts.timetable`).
"""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, cast

from ib_async import Contract

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.contracts.hours import Session, TradeDateError, by_date, last_day, trade_date
from ibkit.contracts.timetable import BeyondTimetableError, NaiveTimeError, Timetable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ib_async import ContractDetails

    from ibkit.connection.loop import Face, LoopThread
    from ibkit.contracts.schedules import Schedules

P = ParamSpec("P")
T = TypeVar("T")
# how long an answer about today and the days to come holds; IB may still change these
FRESH_S: Final = 300.0
# a contract's details tell its hours about a week ahead
HOURS_HOLD_DAYS: Final = 1.0
BACK: Final = timedelta(days=10)
AHEAD: Final = timedelta(days=21)
KEPT: Final = 1_024  # timetables in memory, each of a year at most
ONE_DAY: Final = timedelta(days=1)


class _Shortcut(Generic[P, T]):
    """What `answered_by` makes: a face whose plain call tries memory first."""

    def __init__(self, face: on_loop[Any, P, T], quick: Callable[..., T]) -> None:
        self._face, self._quick = face, quick
        functools.update_wrapper(cast("Callable[..., Any]", self), cast("Any", face).__wrapped__)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Face[P, T]:
        if owner is None:
            return cast("Face[P, T]", self._face.__get__(None, cast("type", kind)))
        slow, quick = self._face.__get__(owner, kind), self._quick

        @functools.wraps(cast("Any", self).__wrapped__)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return quick(owner, *args, **kwargs)
            except _UnknownError:
                return slow(*args, **kwargs)

        cast("Any", call).aio = slow.aio
        owner.__dict__[self._name] = call  # found there from now on: making it costs more than it
        return cast("Face[P, T]", call)


def answered_by(quick: Callable[..., T]) -> Callable[[on_loop[Any, P, T]], _Shortcut[P, T]]:
    """Let `quick` answer in the calling thread what it can; else the face that `on_loop` made.

    It raises `_UnknownError` when it does not know. `.aio` always takes the loop.
    """
    return lambda face: _Shortcut(face, quick)


class _UnknownError(Exception):
    """No timetable in memory covers the question."""


class Opening:
    """When an instrument trades. A part of `Contracts`."""

    _loop: LoopThread
    _schedules: Schedules
    _tables: dict[tuple[object, bool, int], tuple[Timetable, float]]

    if TYPE_CHECKING:

        async def _resolve(
            self, wanted: str | Contract, *, max_age_days: float | None = None
        ) -> ContractDetails: ...

    @on_loop
    async def sessions(
        self,
        wanted: str | Contract,
        start: date | str,
        end: date | str,
        *,
        use_rth: bool = True,
        breaks: bool = False,
    ) -> list[Session]:
        """Return the trading sessions with trade dates from `start` to `end`, both included.

        Parameters
        ----------
        wanted : str or Contract
            The instrument.
        start, end : date or str
            Trade dates (``"2026-11-27"``); days without trading are left out.
        use_rth : bool
            Regular hours only.
        breaks : bool
            Two sessions for a day with a break (lunch in Hong Kong, the morning pause of corn).

        Returns
        -------
        list of Session
            In UTC, ascending; one for each trade date, unless `breaks`. Each says its `source`:
            IB for past days and those that it has published, about a week ahead; a calendar
            beyond, and where IB could not be asked.

        Raises
        ------
        NotConnectedError, RequestTimeoutError, RequestRefusedError
            IB could not be asked, and no calendar knows the exchange either.
        TradeDateError
            Not a trade date, or the end is before the start.
        BeyondTimetableError
            Nobody knows the hours of the last of these days yet.

        Notes
        -----
        Costs a `reqHistoricalSchedule` for each year that was not asked for before, by anybody who
        uses this data root; instruments of one exchange and trading class share the answer.
        """
        first, last = trade_date(start, "start"), trade_date(end, "end")
        if last < first:
            raise TradeDateError("end", f"{last}, before the start")
        details = await self._of_hours(wanted)
        await self._check_known(details, first, last, use_rth=use_rth)
        found = await self._schedules.between(details, first, last, use_rth=use_rth)
        return found if breaks else list(by_date(found).values())

    @on_loop
    async def timetable(
        self, wanted: str | Contract, start: date | str, end: date | str, *, use_rth: bool = True
    ) -> Timetable:
        """Return the hours from `start` to `end`, both included, for many questions at once.

        ``timetable.mask(frame.index)`` says of each row whether the instrument traded then.

        Raises
        ------
        TradeDateError
            Not a trade date, or the end is before the start.
        BeyondTimetableError
            On a question outside the span, or outside what anybody knows.
        """
        first, last = trade_date(start, "start"), trade_date(end, "end")
        if last < first:
            raise TradeDateError("end", f"{last}, before the start")
        details = await self._of_hours(wanted)
        return await self._timetable(details, first, last, use_rth=use_rth)

    def _quick_is_open(
        self, wanted: str | Contract, at: datetime | None = None, *, use_rth: bool = True
    ) -> bool:
        at = _instant(at)
        return self._remembered(wanted, at, use_rth=use_rth).is_open_at(at.timestamp())

    @answered_by(_quick_is_open)
    @on_loop
    async def is_open(
        self, wanted: str | Contract, at: datetime | None = None, *, use_rth: bool = True
    ) -> bool:
        """Whether an instrument trades at `at`, or now; holidays, half days and breaks count.

        Parameters
        ----------
        wanted : str or Contract
            The instrument.
        at : datetime, optional
            With a zone. The last instant of a session is not part of it.
        use_rth : bool
            Regular hours only; False: also before the open and after the close.

        Raises
        ------
        ValueError
            `at` has no zone.
        BeyondTimetableError
            Nobody knows the hours of that day yet.

        Notes
        -----
        Asks as `sessions` does, once a year of the past and every five minutes for the present;
        all other calls are answered from memory, in the calling thread.
        """
        at = _instant(at)
        return (await self._table_at(wanted, at, use_rth=use_rth)).is_open(at)

    @on_loop
    async def next_open(
        self, wanted: str | Contract, at: datetime | None = None, *, use_rth: bool = True
    ) -> datetime:
        """Return when an instrument opens next after `at`, or after now, in UTC.

        While it is open, that is the opening after. Arguments and errors as `is_open`; a contract
        that never opens again (it has expired) is a BeyondTimetableError, too.
        """
        at = _instant(at)
        table = await self._table_at(wanted, at, use_rth=use_rth)
        found = table.next_open(at)
        if found is None:
            details = await self._of_hours(wanted)
            day = at.date()
            table = await self._timetable(details, day - ONE_DAY, day + 2 * AHEAD, use_rth=use_rth)
            found = table.next_open(at)
        if found is None:
            raise BeyondTimetableError(table.name, at, table.start, table.end)
        return found

    @on_loop
    async def minutes_open(
        self, wanted: str | Contract, start: datetime, end: datetime, *, use_rth: bool = True
    ) -> float:
        """Return for how many minutes of [`start`, `end`) an instrument trades.

        Arguments and errors as `is_open`.
        """
        start, end = _instant(start, "start"), _instant(end, "end")
        if end <= start:
            return 0.0
        first, last = (each.astimezone(UTC).date() for each in (start, end))
        details = await self._of_hours(wanted)
        table = await self._timetable(details, first - ONE_DAY, last + 2 * ONE_DAY, use_rth=use_rth)
        return table.minutes_open(start, end)

    async def _check_known(
        self, details: ContractDetails, first: date, last: date, *, use_rth: bool
    ) -> None:
        """Refuse days that nobody knows of yet: they are not closed."""
        contract = details.contract
        assert contract is not None
        last = min(last, last_day(contract) or last)
        if last <= clock.now().date() + ONE_DAY:  # tomorrow begins somewhere already
            return
        known = await self._schedules.reach(details, last, use_rth=use_rth)
        if known < last:
            name = naming.shorthand(contract)
            span = _midnight(min(first, known)), _midnight(known + ONE_DAY)
            raise BeyondTimetableError(name, _midnight(last), *span)

    async def _of_hours(self, wanted: str | Contract) -> ContractDetails:
        """Return details with hours in them: of a combo, those of its first leg."""
        details = await self._resolve(wanted, max_age_days=HOURS_HOLD_DAYS)
        assert details.contract is not None
        if details.contract.secType != "BAG":
            return details
        leg = details.contract.comboLegs[0]
        return await self._of_hours(Contract(conId=leg.conId, exchange=leg.exchange))

    async def _table_at(self, wanted: str | Contract, at: datetime, *, use_rth: bool) -> Timetable:
        """Return a timetable that covers `at`, and remember it."""
        try:
            return self._remembered(wanted, at, use_rth=use_rth)
        except _UnknownError:
            pass
        details = await self._of_hours(wanted)
        today, day = clock.now().date(), at.astimezone(UTC).date()
        if day.year < today.year and day < today - BACK:
            start, end = date(day.year, 1, 1) - ONE_DAY, date(day.year, 12, 31) + 2 * ONE_DAY
            end = min(end, today)
        else:
            start, end = min(day, today) - BACK, max(day, today) + AHEAD
        table = await self._timetable(details, start, end, use_rth=use_rth)
        while len(self._tables) >= KEPT:
            self._tables.pop(next(iter(self._tables)))
        self._tables[_name(wanted), use_rth, at.year] = table, clock.monotonic()
        return table

    def _remembered(self, wanted: str | Contract, at: datetime, *, use_rth: bool) -> Timetable:
        table, made = self._tables.get((_name(wanted), use_rth, at.year), (None, 0.0))
        if table is None or not table.knows(at):
            raise _UnknownError
        age = clock.monotonic() - made
        if age > FRESH_S and at > clock.now() - 2 * ONE_DAY:
            raise _UnknownError
        return table

    async def _timetable(
        self, details: ContractDetails, start: date, end: date, *, use_rth: bool
    ) -> Timetable:
        """Return the hours of the UTC days from `start` to `end`."""
        contract = details.contract
        assert contract is not None
        last = await self._schedules.reach(details, end + ONE_DAY, use_rth=use_rth)
        first = start - ONE_DAY
        found = await self._schedules.between(details, first, max(first, last), use_rth=use_rth)
        known = _midnight(start), _midnight(max(start, last))
        return Timetable(found, *known, name=naming.shorthand(contract))


def _name(wanted: str | Contract) -> object:
    """Return what a timetable is remembered by."""
    if isinstance(wanted, str):
        return wanted
    return (wanted.conId, wanted.exchange) if wanted.conId else repr(wanted)


def _instant(at: datetime | None, name: str = "at") -> datetime:
    if at is None:
        return clock.now()
    if getattr(at, "tzinfo", None) is None:  # a date has none either
        raise NaiveTimeError(name)
    return at


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
