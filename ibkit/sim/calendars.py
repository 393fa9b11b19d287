"""When each exchange trades: pure functions from a date to blocks of trading, in epoch seconds.

Holidays of the cash exchanges are a table (`holidays.txt`); those of the futures exchanges follow
from New York's, by one rule for all products of a calendar, which is right for most days and not
for all (see `Calendar.holiday_close`). Not here: hours in IB's text form (`ibkit.sim.hours`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_DAY: Final = date(1998, 1, 2)
LAST_DAY: Final = date(2032, 12, 31)
SATURDAY: Final = 5
NO_DAYS: Final[frozenset[date]] = frozenset()


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch without a break, [`start`, `end`) in epoch seconds; whole minutes."""

    start: int
    end: int
    rth: bool
    weight: float

    @property
    def minutes(self) -> int:
        """Return its length."""
        return (self.end - self.start) // 60


@dataclass(frozen=True, slots=True)
class Session:
    """What one trade date covers, [`start`, `end`) in epoch seconds."""

    start: int
    end: int
    ref_date: date


@dataclass(frozen=True, slots=True)
class Hours:
    """One block of a usual day: minutes from local midnight of the trade date."""

    start: int
    end: int
    rth: bool = True
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Calendar:
    """The trading days and hours of one venue.

    Attributes
    ----------
    zone, ib_zone : str
        The zone of its clock, and the name that IB gives it.
    hours : tuple of Hours
        A usual day; a start below zero is the evening before.
    holidays : str
        Which table of `holidays.txt`; "" for none.
    holiday_close : int or None
        For markets that only shorten New York's holidays: the minute at which these days end
        (Good Friday, Christmas and New Year's Day stay closed). None: closed all day.
    early_close : int or None
        The minute at which New York's half days end; None: the table says.
    post_minutes : int
        How long trading after the close lasts on a half day.
    all_week : bool
        Whether Saturday and Sunday trade like any day.
    """

    zone: str
    ib_zone: str
    hours: tuple[Hours, ...]
    holidays: str = ""
    holiday_close: int | None = None
    early_close: int | None = None
    post_minutes: int = 240
    all_week: bool = False


def _at(clock: str) -> int:
    """Return the minute of the day of "0930"; "-1700" is the evening before."""
    minutes = int(clock[-4:-2]) * 60 + int(clock[-2:])
    return minutes - 1440 if clock.startswith("-") else minutes


def _day(*blocks: tuple[str, str, bool, float]) -> tuple[Hours, ...]:
    return tuple(Hours(_at(start), _at(end), rth, weight) for start, end, rth, weight in blocks)


def _round(opens: str, rth: str, rth_end: str, closes: str) -> tuple[Hours, ...]:
    """Return the day of a nearly 24-hour market around its liquid hours."""
    blocks = [(opens, rth, False, 0.2), (rth, rth_end, True, 0.75), (rth_end, closes, False, 0.05)]
    return _day(*(block for block in blocks if _at(block[0]) < _at(block[1])))


def _globex(rth: str, rth_end: str, holiday_close: int = 720) -> Calendar:
    return Calendar(
        "America/Chicago",
        "US/Central",
        _round("-1700", rth, rth_end, "1600"),
        "XNYS",
        holiday_close=holiday_close,
        early_close=_at("1215"),
    )


def _new_york(opens: str, rth: str, closes: str, zone: str = "America/New_York") -> Calendar:
    """Return a day of ICE US, whose clock is New York's."""
    hours = _round(opens, rth, closes, closes)
    return Calendar(zone, "US/Eastern", hours, "XNYS", early_close=_at("1300"))


CALENDARS: Final[dict[str, Calendar]] = {
    "us_stocks": Calendar(
        "America/New_York",
        "US/Eastern",
        _day(
            ("0400", "0930", False, 0.015),
            ("0930", "1600", True, 0.965),
            ("1600", "2000", False, 0.02),
        ),
        "XNYS",
    ),
    "us_index": Calendar("America/New_York", "US/Eastern", (Hours(570, 960),), "XNYS"),
    "london": Calendar("Europe/London", "GB-Eire", (Hours(480, 990),), "XLON"),
    "xetra": Calendar("Europe/Berlin", "MET", (Hours(540, 1050),), "XETR"),
    "tokyo": Calendar(
        "Asia/Tokyo", "Japan", (Hours(540, 690, weight=0.5), Hours(750, 930, weight=0.5)), "XTKS"
    ),
    "hong_kong": Calendar(
        "Asia/Hong_Kong",
        "Hongkong",
        (Hours(570, 720, weight=0.5), Hours(780, 960, weight=0.5)),
        "XHKG",
    ),
    "fx": Calendar("America/New_York", "US/Eastern", _day(("-1715", "1700", True, 1.0)), "FX"),
    "crypto": Calendar("UTC", "UTC", (Hours(0, 1440),), all_week=True),
    "cme_equity": _globex("0830", "1600"),
    "cme_rates": _globex("0720", "1400"),
    "cme_fx": _globex("0720", "1400"),
    "cme_energy": _globex("0800", "1330", _at("1330")),
    "cme_metals": _globex("0720", "1230", _at("1330")),
    "cme_crypto": _globex("0830", "1600", _at("1600")),
    "cme_grains": Calendar(
        "America/Chicago",
        "US/Central",
        _day(("-1900", "0745", False, 0.25), ("0830", "1320", True, 0.75)),
        "XNYS",
        early_close=_at("1205"),
    ),
    "cme_livestock": Calendar(
        "America/Chicago", "US/Central", (Hours(510, 785),), "XNYS", early_close=_at("1215")
    ),
    "cfe": _globex("0830", "1515", _at("1030")),
    "eurex": Calendar(
        "Europe/Berlin", "MET", _round("0110", "0800", "1900", "2200"), "XETR", early_close=840
    ),
    "ice_europe": Calendar(
        "Europe/London", "GB-Eire", _round("0100", "0800", "1930", "2300"), "XLON"
    ),
    "ice_sugar": _new_york("0330", "0330", "1300"),
    "ice_coffee": _new_york("0415", "0415", "1330"),
    "ice_cocoa": _new_york("0445", "0445", "1330"),
    "ice_cotton": _new_york("-2100", "0800", "1420"),
    "ice_dollar": _new_york("-2000", "0800", "1700"),
}


@lru_cache(maxsize=65_536)
def blocks(name: str, day: date) -> tuple[Block, ...]:
    """Return the blocks that calendar `name` trades for trade date `day`; () when closed.

    >>> [(b.minutes, b.rth) for b in blocks("us_stocks", date(2026, 11, 27))]
    [(330, False), (210, True), (240, False)]
    """
    calendar = CALENDARS[name]
    if day.weekday() >= SATURDAY and not calendar.all_week:
        return ()
    hours = _hours(calendar, day)
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001  the zone follows
    zone = _zone(calendar.zone)
    return tuple(
        Block(_epoch(midnight, h.start, zone), _epoch(midnight, h.end, zone), h.rth, h.weight)
        for h in hours
    )


def session(name: str, day: date, *, use_rth: bool) -> Session | None:
    """Return the session of `day`, or None when closed."""
    found = [block for block in blocks(name, day) if block.rth or not use_rth]
    return Session(found[0].start, found[-1].end, day) if found else None


def days(name: str, first: date, last: date) -> Iterator[date]:
    """Yield the trade dates from `first` to `last`, both included."""
    day, last = max(first, FIRST_DAY), min(last, LAST_DAY)
    while day <= last:
        if blocks(name, day):
            yield day
        day += timedelta(days=1)


def _hours(calendar: Calendar, day: date) -> tuple[Hours, ...]:
    """Return the blocks of `day` after holidays and half days."""
    closed, early = holidays(calendar.holidays)
    if day in closed:
        whole = calendar.holiday_close is None or _is_great_holiday(day)
        return () if whole else _cut(calendar, calendar.holiday_close or 0)
    if day in early:
        at = early[day] if calendar.early_close is None else calendar.early_close
        return _cut(calendar, at)
    if calendar.holidays == "XTKS" and day < date(2024, 11, 5):
        return _cut(calendar, 900)  # Tokyo closed at 15:00 until then
    return calendar.hours


def _cut(calendar: Calendar, close: int) -> tuple[Hours, ...]:
    """Return a day whose regular hours end at minute `close`."""
    kept: list[Hours] = []
    for block in calendar.hours:
        after = kept and kept[-1].rth and not block.rth and calendar.holiday_close is None
        if after and calendar.early_close is None:
            kept.append(Hours(close, close + calendar.post_minutes, block.rth, block.weight))
        elif block.start < close:
            kept.append(Hours(block.start, min(block.end, close), block.rth, block.weight))
    return tuple(kept)


def _is_great_holiday(day: date) -> bool:
    """Whether even the futures exchanges close: Good Friday, Christmas, New Year's Day."""
    month_day = (day.month, day.day)
    if month_day in {(12, 24), (12, 25), (12, 26), (1, 1), (1, 2), (12, 31)}:
        return True
    return day.weekday() == 4 and day.month in {3, 4}


@cache
def holidays(name: str) -> tuple[frozenset[date], dict[date, int]]:
    """Return the closed weekdays, and the minute at which the half days end."""
    if not name:
        return NO_DAYS, {}
    if name == "FX":
        years = range(FIRST_DAY.year, LAST_DAY.year + 1)
        return frozenset(date(y, m, d) for y in years for m, d in ((1, 1), (12, 25))), {}
    closed: set[date] = set()
    early: dict[date, int] = {}
    for year, days_off, half_days in _table()[name]:
        closed.update(_date(year, text) for text in days_off)
        early.update((_date(year, text[:4]), _at(text[5:])) for text in half_days)
    return frozenset(closed), early


@cache
def _table() -> dict[str, list[tuple[int, list[str], list[str]]]]:
    """Return the rows of the file by calendar."""
    table: dict[str, list[tuple[int, list[str], list[str]]]] = {}
    text = files("ibkit.sim").joinpath("holidays.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        if not line.startswith("#"):
            name, year, closed, early = line.split()
            table.setdefault(name, []).append((int(year), _list(closed), _list(early)))
    return table


def _list(text: str) -> list[str]:
    return [] if text == "-" else text.split(",")


def _date(year: int, text: str) -> date:
    return date(year, int(text[:2]), int(text[2:4]))


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _epoch(midnight: datetime, minute: int, zone: ZoneInfo) -> int:
    wall = midnight + timedelta(minutes=minute)
    return int(wall.replace(tzinfo=zone).timestamp())


def local(epoch: int, name: str) -> datetime:
    """Return the wall clock of calendar `name` at `epoch`."""
    return datetime.fromtimestamp(epoch, _zone(CALENDARS[name].zone))
