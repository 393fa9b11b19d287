"""Trading sessions, read from IB's words: schedules of the past, hours strings of the next days.

A session runs from `start` to `end` in UTC and belongs to a trade date, which for a futures
session is the day it ends on. Not here: calendars for when IB cannot be asked
(`ibkit.contracts.venues`), nor questions to many sessions at once (`ibkit.contracts.timetable`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ib_async import Contract, ContractDetails, HistoricalSchedule

# names that IB has sent and no zone database knows; the others it sends are legacy links
ZONES: Final = {
    "EST": "America/New_York",
    "CST": "America/Chicago",
    "JST": "Asia/Tokyo",
    "HKT": "Asia/Hong_Kong",
    "MET": "Europe/Berlin",
    "BST": "Europe/London",
    "CET": "Europe/Berlin",
    "AET": "Australia/Sydney",
    "SGT": "Asia/Singapore",
    "KST": "Asia/Seoul",
    "GMT (Greenwich Mean Time)": "Europe/London",  # a clock that is changed in summer, as CST is
}
_SPAN: Final = re.compile(r"(?:(\d{8}):)?(\d{4})-(?:(\d{8}):)?(\d{4})")
FRIDAY: Final = 4


class UnknownTimeZoneError(IbkitError, LookupError):
    """IB named a time zone that nobody knows, or none: `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"IB's time zone {self.name!r} is not known here; its hours cannot be read."


class UnreadableHoursError(IbkitError, ValueError):
    """A part of IB's hours that is in no form that is known: `text`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"IB's trading hours cannot be read: {self.text!r}."


class TradeDateError(IbkitError, ValueError):
    """What should be a trade date is none: `name` of the argument, `text`."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.name, self.text = name, text

    def __str__(self) -> str:
        return (
            f"{self.name} is a trade date, as date(2026, 11, 27) or '2026-11-27', not {self.text}."
        )


def trade_date(value: date | str, name: str) -> date:
    """Return a trade date, given as a date or as text; a datetime is none.

    >>> trade_date("2026-11-27", "start")
    datetime.date(2026, 11, 27)
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)  # type: ignore[arg-type] # a wrong type is told as one
    except (TypeError, ValueError):
        raise TradeDateError(name, repr(value)) from None


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """One trading session: [start, end) in UTC, and the trade date it belongs to.

    `source` says who said so: "IB", "exchange_calendars", "rules" (ours, of a futures exchange), or
    "overrides"; two sessions of the same times are equal whoever said so.
    """

    start: datetime
    end: datetime
    ref_date: date
    source: str = field(default="IB", compare=False)


def zone(name: str) -> ZoneInfo:
    """Return the zone that IB means.

    >>> zone("CST (Central Standard Time)").key, zone("US/Eastern").key
    ('America/Chicago', 'US/Eastern')
    """
    short = name.partition(" ")[0]
    try:
        return ZoneInfo(ZONES.get(name) or ZONES.get(short, short))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownTimeZoneError(name) from None


def sessions_of(details: ContractDetails, *, use_rth: bool) -> list[Session]:
    """Return the sessions of the next days, from a contract's details; [] when IB gives none."""
    text = details.liquidHours if use_rth else details.tradingHours
    return from_hours(text, details.timeZoneId) if text else []


def from_hours(text: str, time_zone: str) -> list[Session]:
    """Return the sessions of an hours string, ascending.

    >>> found = from_hours("20261122:CLOSED;20261123:0930-20261123:1600", "US/Eastern")
    >>> [(session.start.hour, session.ref_date.day) for session in found]
    [(14, 23)]

    Raises
    ------
    UnknownTimeZoneError, UnreadableHoursError
        What cannot be read is no closed day.
    """
    where = zone(time_zone)
    parts = [part for part in text.split(";") if part and not part.endswith(":CLOSED")]
    sessions = [each for part in parts for each in _of_day(part, where)]
    return _over_weekends(sorted(sessions), where)


def _of_day(part: str, where: ZoneInfo) -> Iterator[Session]:
    """Read ``20261123:0930-20261123:1600``, or as until 2018 ``20170621:1700-1515,1530-1600``."""
    day = part[:8]
    for text in part.split(","):
        found = _SPAN.fullmatch(text.strip())
        if found is None:
            raise UnreadableHoursError(part)
        start_day, start_time, end_day, end_time = found.groups()
        day = start_day or day
        try:
            start = _local(day, start_time, where)
            end = _local(end_day or day, end_time, where)
        except ValueError:
            raise UnreadableHoursError(part) from None
        if end <= start and end_day:
            raise UnreadableHoursError(part)
        if end <= start:  # of the old form, whose day is the trade date
            start -= timedelta(days=1)
        yield Session(start.astimezone(UTC), end.astimezone(UTC), _trade_date(end))


def _over_weekends(sessions: list[Session], where: ZoneInfo) -> list[Session]:
    """Give the night from Friday to Saturday the trade date after it: Asia's futures have one."""
    found = []
    for n, each in enumerate(sessions):
        starts = each.start.astimezone(where)
        if starts.weekday() == FRIDAY and each.ref_date > starts.date():
            after = next((one.ref_date for one in sessions[n + 1 :]), None)
            each = replace(each, ref_date=after or each.ref_date + timedelta(days=2))  # noqa: PLW2901 - the one that is kept
        found.append(each)
    return sorted(found)


def from_schedule(schedule: HistoricalSchedule) -> list[Session]:
    """Return the sessions of a `reqHistoricalSchedule` answer, ascending."""
    where = zone(schedule.timeZone)
    return sorted(
        Session(
            _stamp(each.startDateTime, where), _stamp(each.endDateTime, where), _date(each.refDate)
        )
        for each in schedule.sessions
    )


def by_date(sessions: Iterable[Session]) -> dict[date, Session]:
    """Return one session for each trade date, from its first open to its last close.

    A lunch break is inside; bars know of it, spans need not.
    """
    days: dict[date, Session] = {}
    for each in sorted(sessions):
        first = days.get(each.ref_date, each)
        end = max(first.end, each.end)
        days[each.ref_date] = Session(first.start, end, each.ref_date, first.source)
    return days


def last_day(contract: Contract) -> date | None:
    """Return the last trading day of a contract that ends; None of one that does not."""
    text = contract.lastTradeDateOrContractMonth[:8]
    if contract.secType not in {"FUT", "FOP", "OPT"} or len(text) != len("YYYYMMDD"):
        return None
    return date.fromisoformat(text)


def _local(day: str, time: str, where: ZoneInfo) -> datetime:
    clock = "0000" if time == "2400" else time
    moment = datetime.strptime(day + clock, "%Y%m%d%H%M").replace(tzinfo=where)
    return moment + timedelta(days=1) if time == "2400" else moment


def _trade_date(end: datetime) -> date:
    """Return the date a session ends on; midnight still belongs to the day before."""
    return (end - timedelta(microseconds=1)).date()


def _stamp(text: str, where: ZoneInfo) -> datetime:
    """Read ``20260312-09:30:00``, local to `where`."""
    naive = datetime.strptime(text[:17].replace(" ", "-"), "%Y%m%d-%H:%M:%S")  # noqa: DTZ007 - zoned in the next line
    return naive.replace(tzinfo=where).astimezone(UTC)


def _date(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a date has no zone
