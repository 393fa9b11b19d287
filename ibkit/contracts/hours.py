"""Trading sessions, read from IB's words: schedules of the past, hours strings of the next days.

A session runs from `start` to `end` in UTC and belongs to a trade date, which for a futures
session is the day it ends on. Not here: calendars for when IB cannot be asked
(`ibkit.contracts.venues`), nor questions to many sessions at once (`ibkit.contracts.timetable`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ib_async import ContractDetails, HistoricalSchedule

# names that IB has sent and no zone database knows; the others it sends are legacy links
ZONES: Final = {
    "EST": "America/New_York",
    "CST": "America/Chicago",
    "JST": "Asia/Tokyo",
    "HKT": "Asia/Hong_Kong",
    "MET": "Europe/Berlin",
    "BST": "Europe/London",
    "CET": "Europe/Berlin",
}
_SPAN = re.compile(r"(\d{8}):(\d{4})-(?:(\d{8}):)?(\d{4})")


class UnknownTimeZoneError(IbkitError, LookupError):
    """IB named a time zone that nobody knows, or none: `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"IB's time zone {self.name!r} is not known here; its hours cannot be read."


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
        return ZoneInfo(ZONES.get(short, name))
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
    """
    where = zone(time_zone)
    sessions = []
    for start_day, start_time, end_day, end_time in _SPAN.findall(text):
        start = _local(start_day, start_time, where)
        end = _local(end_day or start_day, end_time, where)
        if end <= start:
            end += timedelta(days=1)
        sessions.append(Session(start.astimezone(UTC), end.astimezone(UTC), _trade_date(end)))
    return sorted(sessions)


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
