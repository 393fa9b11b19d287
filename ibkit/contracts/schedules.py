"""When an instrument trades: IB's word where there is one, kept on the disk, calendars elsewhere.

Past days come from `reqHistoricalSchedule`, asked once for a market and kept for good. Days from
today on come from the hours strings of the contract's details, which IB publishes about a week
ahead; for what lies beyond, and when IB cannot be asked, the calendars of `ibkit.contracts.venues`
answer, and every session says which it was.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ibkit import clock
from ibkit.connection.asks import ask_for
from ibkit.contracts.hours import (
    Session,
    UnknownTimeZoneError,
    UnreadableHoursError,
    from_schedule,
    last_day,
    sessions_of,
    zone,
)
from ibkit.contracts.overrides import Overrides
from ibkit.contracts.shelf import Known, Shelf, days
from ibkit.contracts.venues import (
    BROKEN,
    HOURS,
    HoursOutOfReachError,
    UnknownVenueError,
    offline_sessions,
    venue_of,
)
from ibkit.errors import (
    BudgetSpentError,
    NoDataError,
    NotConnectedError,
    RequestRefusedError,
    RequestTimeoutError,
)
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ib_async import Contract, ContractDetails, HistoricalSchedule

    from ibkit.connection import Link

YEAR_DAYS: Final = 365  # IB: longer durations must be made in years
FRESH_S: Final = 300.0
# an answer that begins so much later than the question, or ends so much earlier, says when the
# instrument did, not the market
YOUNG_DAYS: Final = 10
SHARED: Final = frozenset({"STK", "ETF", "OPT", "FUT", "FOP", "CONTFUT", "IND", "WAR"})
UNASKED: Final = (*(NotConnectedError, RequestTimeoutError, BudgetSpentError, RequestRefusedError),)
log = get_logger(__name__)


class Schedules:
    """Sessions by market and hours. Used on the loop thread only.

    Parameters
    ----------
    link : Link
        The connection that is asked.
    folder : Path, optional
        Where schedules are kept; None: in memory only.
    overrides : Overrides, optional
        Holidays that the user knows better.
    """

    def __init__(
        self, link: Link, folder: Path | None = None, overrides: Overrides | None = None
    ) -> None:
        self._link = link
        self._shelf = Shelf(folder) if folder else None
        self._overrides = overrides or Overrides()
        self._known: dict[str, Known] = {}
        self._asked_at: dict[str, float] = {}
        self._void: dict[int, set[date]] = {}  # days before an instrument was there
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def between(
        self, details: ContractDetails, start: date, end: date, *, use_rth: bool
    ) -> list[Session]:
        """Return the sessions with trade dates in [`start`, `end`], each without a break."""
        contract = details.contract
        assert contract is not None
        HOURS.set(self._overrides.hours())
        end = min(end, last_day(contract) or end)
        today = clock.now().date()
        coming, last = published(details, today, use_rth=use_rth)
        until = today if last < today else today - timedelta(days=1)
        found = list(await self._past(contract, start, min(end, until), use_rth=use_rth))
        found += [each for each in coming if start <= each.ref_date <= end]
        beyond = max(start, last + timedelta(days=1), until + timedelta(days=1))
        if beyond <= end:
            calendar = partial(_offline, contract, beyond, end, use_rth=use_rth, strict=False)
            found += await asyncio.to_thread(calendar)
        if has_breaks(contract):
            cut = partial(_without_breaks, contract, found, use_rth=use_rth)
            found = await asyncio.to_thread(cut)
        found.sort()
        return _overridden(self._overrides, contract, found, details, (start, end), use_rth=use_rth)

    async def reach(self, details: ContractDetails, end: date, *, use_rth: bool) -> date:
        """Return the last day up to `end` whose hours can be told."""
        contract = details.contract
        assert contract is not None
        HOURS.set(self._overrides.hours())
        today = clock.now().date()
        sure = max(today, published(details, today, use_rth=use_rth)[1])
        if end <= sure:
            return end
        try:
            calendar = partial(offline_sessions, contract, end, end, use_rth=use_rth)
            await asyncio.to_thread(calendar)
        except HoursOutOfReachError as error:
            return max(sure, error.last)
        except UnknownVenueError:
            return sure
        return end

    async def _past(
        self, contract: Contract, start: date, end: date, *, use_rth: bool
    ) -> Iterable[Session]:
        """Return the sessions up to now: known ones, IB's, or a calendar's when IB is away."""
        if end < start:
            return ()
        key = f"{market_of(contract)}-{'rth' if use_rth else 'full'}"
        async with self._locks[key]:  # two callers never ask for the same year
            known = await self._recall(key)
            void = self._void.setdefault(contract.conId, set())
            missing = [each for each in days(start, end) if each not in known.asked | void]
            if missing and await self._reread(key):
                missing = [each for each in missing if each not in known.asked]
            guessed: list[Session] = []
            try:
                if missing:
                    await self._ask(key, contract, missing[0], missing[-1], use_rth=use_rth)
            except UNASKED as error:
                missing = [each for each in missing if each not in known.asked | void]
                instead = partial(_instead, contract, missing, error, use_rth=use_rth)
                guessed = await asyncio.to_thread(instead)
        kept = [each for day in days(start, end) for each in known.sessions.get(day, ())]
        return kept + guessed

    async def _recall(self, key: str) -> Known:
        if key not in self._known:
            shelf = self._shelf
            self._known[key] = await asyncio.to_thread(shelf.read, key) if shelf else Known()
        known = self._known[key]
        if clock.monotonic() - self._asked_at.get(key, float("-inf")) > FRESH_S:
            today = clock.now().date()
            known.asked -= {day for day in known.asked if day >= today}
        return known

    async def _reread(self, key: str) -> bool:
        """Take over what other processes have put on the disk since; whether there was any."""
        if self._shelf is None or not await asyncio.to_thread(self._shelf.is_newer, key):
            return False
        theirs = await asyncio.to_thread(self._shelf.read, key)
        self._known[key].add(theirs.asked, (s for rows in theirs.sessions.values() for s in rows))
        return True

    async def _ask(
        self, key: str, contract: Contract, first: date, last: date, *, use_rth: bool
    ) -> None:
        known = self._known[key]
        try:
            while first <= last:
                start = max(first, last - timedelta(days=YEAR_DAYS - 4))
                answer = await self._fetch(contract, start, last, use_rth=use_rth)
                inside = [each for each in answer if start <= each.ref_date <= last]
                told = answered(start, last, [each.ref_date for each in inside])
                self._void[contract.conId].update({*days(start, last)}.difference(told))
                known.add(told, inside)
                self._asked_at[key] = clock.monotonic()
                last = start - timedelta(days=1)
        finally:
            await self._keep(key)

    async def _keep(self, key: str) -> None:
        over = self._known[key].before(clock.now().date())
        if self._shelf and over.asked:
            await asyncio.to_thread(self._shelf.put, key, over)

    async def _fetch(
        self, contract: Contract, start: date, end: date, *, use_rth: bool
    ) -> list[Session]:
        """Ask IB; the end is noon after the last day, so that no zone's evening is cut off."""
        noon = datetime.combine(end + timedelta(days=1), time(12), tzinfo=UTC)
        until: datetime | str = noon if noon < clock.now() else ""
        count = (end - start).days + 3
        if not until:  # counted back from now
            count = max((clock.now().date() - start).days, 0) + 3
        wanted = (contract, min(count, YEAR_DAYS), until, use_rth)
        try:
            answer: HistoricalSchedule = await self._link.request(
                "schedule",
                lambda ib: ib.reqHistoricalScheduleAsync(*wanted),
                contract=contract,
                ask=ask_for("reqHistoricalSchedule", *wanted),
            )
        except NoDataError:
            return []
        return from_schedule(answer)


def market_of(contract: Contract) -> str:
    """Return what instruments with the same hours share: exchange and class.

    >>> from ib_async import Contract
    >>> market_of(Contract("FUT", 1, "ES", exchange="CME", tradingClass="ES"))
    'FUT-CME-ES'
    >>> market_of(Contract("CASH", 12087792, "EUR", exchange="IDEALPRO", tradingClass="EUR.USD"))
    'CONID-12087792'
    """
    home = contract.primaryExchange or contract.exchange
    if contract.secType not in SHARED or not home or not contract.tradingClass:
        return f"CONID-{contract.conId}"
    return f"{contract.secType}-{home}-{contract.tradingClass}"


def published(
    details: ContractDetails, today: date, *, use_rth: bool
) -> tuple[list[Session], date]:
    """Return the sessions from `today` on in IB's hours strings, and the last day these tell of.

    That day is yesterday when the strings are missing, old or not readable.
    """
    text = details.liquidHours if use_rth else details.tradingHours
    told = [date.fromisoformat(each) for each in _TOLD.findall(text or "")]
    yesterday = today - timedelta(days=1)
    last = max(told, default=yesterday)
    if last < today:
        return [], yesterday
    try:
        found = sessions_of(details, use_rth=use_rth)
    except (UnknownTimeZoneError, UnreadableHoursError) as error:
        log.warning("IB's hours are not readable: a calendar is used", error=str(error))
        return [], yesterday
    return [each for each in found if each.ref_date >= today], last


_TOLD: Final = re.compile(r"(?:^|[;,-])(\d{8})(?=:)")


def answered(start: date, last: date, traded: list[date]) -> list[date]:
    """Return the days that an answer tells of for the whole market.

    An answer that begins much later than it was asked for, or ends much earlier, tells that this
    instrument is young, or gone; others of its market trade on.
    """
    if not traded:
        return []
    young = timedelta(days=YOUNG_DAYS)
    first, final = min(traded), max(traded)
    return days(first if first - start > young else start, final if last - final > young else last)


def _instead(
    contract: Contract, missing: list[date], error: Exception, *, use_rth: bool
) -> list[Session]:
    """Return what a calendar says of days that IB could not be asked about."""
    try:
        found = _offline(contract, missing[0], missing[-1], use_rth=use_rth, strict=True)
    except (UnknownVenueError, HoursOutOfReachError):
        raise error from None
    log.warning(
        "IB did not tell a schedule: a calendar is used",
        contract=contract.localSymbol or contract.symbol,
        start=str(missing[0]),
        end=str(missing[-1]),
        error=str(error),
    )
    return [each for each in found if each.ref_date in set(missing)]


def _offline(
    contract: Contract, start: date, end: date, *, use_rth: bool, strict: bool
) -> list[Session]:
    """Return a calendar's sessions; without `strict`, as far as one reaches."""
    if end < start:
        return []
    try:
        return offline_sessions(contract, start, end, use_rth=use_rth)
    except HoursOutOfReachError as error:
        if strict or error.last < start:
            if strict:
                raise
            return []
        return offline_sessions(contract, start, error.last, use_rth=use_rth)
    except UnknownVenueError:
        if strict:
            raise
        return []


def has_breaks(contract: Contract) -> bool:
    """Whether its days may have a break that IB's schedules of past days do not tell of."""
    try:
        return venue_of(contract) in BROKEN
    except UnknownVenueError:
        return False


def _without_breaks(contract: Contract, sessions: list[Session], *, use_rth: bool) -> list[Session]:
    """Cut lunch and other breaks out."""
    if not sessions:
        return []
    first, last = sessions[0].ref_date, max(each.ref_date for each in sessions)
    stretches: dict[date, list[Session]] = {}
    for each in _offline(contract, first, last, use_rth=use_rth, strict=False):
        stretches.setdefault(each.ref_date, []).append(each)
    return [each for whole in sessions for each in _cut(whole, stretches.get(whole.ref_date, []))]


def _cut(whole: Session, stretches: list[Session]) -> Iterator[Session]:
    start = whole.start
    for before, after in pairwise(stretches):
        if start < before.end < after.start < whole.end:
            yield Session(start, before.end, whole.ref_date, whole.source)
            start = after.start
    yield Session(start, whole.end, whole.ref_date, whole.source)


def _overridden(
    overrides: Overrides,
    contract: Contract,
    sessions: list[Session],
    details: ContractDetails,
    span: tuple[date, date],
    *,
    use_rth: bool,
) -> list[Session]:
    """Apply the user's holidays; times of early closes are the exchange's."""
    row = overrides.holiday(contract.primaryExchange or contract.exchange, contract.symbol)
    if not row.said():
        return sessions
    kept = [each for each in sessions if each.ref_date not in row.closed]
    have = {each.ref_date for each in kept}
    for day in row.open:
        if span[0] <= day <= span[1] and day not in have:
            kept += _like_a_usual_day(contract, day, use_rth=use_rth)
    home = zone(details.timeZoneId) if details.timeZoneId else UTC
    for day, at in row.early.items():
        close = datetime.combine(day, at, tzinfo=home).astimezone(UTC)
        kept = [
            each
            if each.ref_date != day or each.end <= close
            else Session(each.start, close, day, "overrides")
            for each in kept
            if each.ref_date != day or each.start < close
        ]
    return sorted(kept)


def _like_a_usual_day(contract: Contract, day: date, *, use_rth: bool) -> list[Session]:
    """Return the sessions of a day that trades after all, by the clock of the last usual one."""
    for back in range(1, 15):
        usual = _offline(
            contract, day - timedelta(days=back), day - timedelta(days=back), use_rth=use_rth,
            strict=False,
        )  # fmt: skip
        if usual:
            shift = timedelta(days=back)
            return [Session(s.start + shift, s.end + shift, day, "overrides") for s in usual]
    return []
