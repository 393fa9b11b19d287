"""IB's many ways to write a time, both directions.

Not here: sessions and calendars (`universe`, `market`).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ibkit.sim.calendars import Session

DATE_TIME: Final = re.compile(r"(\d{8})(?:(-| +)(\d{1,2}:\d{2}:\d{2})(?: +(\S.*))?)?")
DURATION: Final = re.compile(r"(\d+) +([SDWMY])")
QUARTER_S: Final = 900
# what clients write although it is no IANA name
ALIASES: Final = {"EST5EDT": "US/Eastern", "GMT": "UTC", "": "UTC"}


class TimeTextError(ValueError):
    """A text is no time in any of IB's spellings."""


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """Return the time zone that IB calls `name`."""
    try:
        return ZoneInfo(ALIASES.get(name, name))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TimeTextError(f"{name!r} is no time zone") from error


def parse_time(text: str, home: str) -> tuple[float, bool]:
    """Return the epoch seconds of `text`, and whether it had to be read in the zone `home`.

    >>> parse_time("20260928-19:59:00", "US/Eastern")
    (1790625540.0, False)
    >>> parse_time("20260928 15:59:00", "US/Eastern")
    (1790625540.0, True)
    """
    match = DATE_TIME.fullmatch(text.strip())
    if match is None:
        raise TimeTextError(f"{text!r} is no time")
    day, dash, clock, name = match.groups()
    where = "UTC" if dash == "-" else (name or home)
    try:
        moment = datetime.strptime(  # noqa: DTZ007  the zone follows
            f"{day} {clock or '23:59:59'}", "%Y%m%d %H:%M:%S"
        )
    except ValueError as error:
        raise TimeTextError(f"{text!r} is no time") from error
    return moment.replace(tzinfo=zone(where)).timestamp(), dash != "-" and not name


def parse_duration(text: str) -> tuple[int, str]:
    """Return the number and the unit of a duration.

    >>> parse_duration("20 D")
    (20, 'D')
    """
    match = DURATION.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise TimeTextError(f"{text!r} is no duration")
    return int(match[1]), match[2]


def go_back(end: float, count: int, unit: str, home: str) -> float:
    """Return the instant `count` calendar units before `end`, at the same local time."""
    if unit == "S":
        return end - count
    local = datetime.fromtimestamp(end, zone(home))
    if unit in "DW":
        return (local - timedelta(days=count * (7 if unit == "W" else 1))).timestamp()
    months = local.year * 12 + local.month - 1 - count * (12 if unit == "Y" else 1)
    year, month = max(months // 12, 1900), months % 12 + 1
    day = min(local.day, _days_in(year, month))
    return local.replace(year=year, month=month, day=day).timestamp()


def _days_in(year: int, month: int) -> int:
    """Return the length of a month."""
    after = date(year + month // 12, month % 12 + 1, 1)
    return (after - timedelta(days=1)).day


def local_text(epoch: float, name: str) -> str:
    """Return a time with its zone, the way bars and executions carry it.

    >>> local_text(1790625540, "US/Eastern")
    '20260928 15:59:00 US/Eastern'
    """
    return f"{datetime.fromtimestamp(epoch, zone(name)):%Y%m%d %H:%M:%S} {name}"


def local_texts(epochs: Iterable[int], name: str) -> list[str]:
    """Return `local_text` of many times; every offset from UTC is whole quarters of an hour.

    >>> local_texts([1790625540, 1790625605], "US/Eastern")
    ['20260928 15:59:00 US/Eastern', '20260928 16:00:05 US/Eastern']
    """
    quarters: dict[int, tuple[str, int]] = {}
    tails, found = _tails(name), []
    for epoch in epochs:
        quarter, rest = divmod(epoch, QUARTER_S)
        if quarter not in quarters:
            begin = datetime.fromtimestamp(quarter * QUARTER_S, zone(name))
            quarters[quarter] = f"{begin:%Y%m%d %H}", begin.minute * 60
        hour, begins = quarters[quarter]
        found.append(hour + tails[begins + rest])
    return found


@lru_cache(maxsize=64)
def _tails(name: str) -> list[str]:
    """Return the end of a text for each second of an hour."""
    return [f":{minute:02}:{second:02} {name}" for minute in range(60) for second in range(60)]


def dash_text(epoch: float, name: str = "UTC") -> str:
    """Return a time in the dash form.

    >>> dash_text(345479400)
    '19801212-14:30:00'
    """
    return f"{datetime.fromtimestamp(epoch, zone(name)):%Y%m%d-%H:%M:%S}"


def day_of(epoch: float, name: str) -> date:
    """Return the local date of an instant."""
    return datetime.fromtimestamp(epoch, zone(name)).date()


def utc_text(epoch: float, form: str) -> str:
    """Return an instant in UTC, in a strftime form."""
    return datetime.fromtimestamp(epoch, UTC).strftime(form)


def hours_text(sessions: Sequence[Session], days: Iterable[date], name: str) -> str:
    """Return `tradingHours`: the sessions of `days`, and the days without one as closed."""
    by_day: dict[date, list[str]] = {}
    starts = set()
    for session in sessions:
        start, end = (datetime.fromtimestamp(at, zone(name)) for at in (session.start, session.end))
        by_day.setdefault(session.ref_date, []).append(f"{start:%Y%m%d:%H%M}-{end:%Y%m%d:%H%M}")
        starts.add(start.date())
    parts = (
        ",".join(by_day[day]) if day in by_day else f"{day:%Y%m%d}:CLOSED"
        for day in days
        if day in by_day or day not in starts
    )
    return ";".join(parts)
