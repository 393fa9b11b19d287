"""When each exchange trades: pure functions from a date to blocks of trading, in epoch seconds.

Holidays of the cash exchanges are a table (`holidays.txt`); hours and holidays of the futures
exchanges are those of `ibkit.contracts.venues`, product group by product group. Not here: hours in
IB's text form (`ibkit.sim.times`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from ibkit.contracts.venues import FIRST_YEAR, VENUES, day_minutes

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
    venue : str
        The rules that say what its days are, a name of `ibkit.contracts.venues.VENUES`; "": the
        table says.
    post_minutes : int
        How long trading after the close lasts on a half day.
    all_week : bool
        Whether Saturday and Sunday trade like any day.
    """

    zone: str
    ib_zone: str
    hours: tuple[Hours, ...]
    holidays: str = ""
    venue: str = ""
    post_minutes: int = 240
    all_week: bool = False


def _at(clock: str) -> int:
    """Return the minute of the day of "0930"; "-1700" is the evening before."""
    minutes = int(clock[-4:-2]) * 60 + int(clock[-2:])
    return minutes - 1440 if clock.startswith("-") else minutes


def _day(*blocks: tuple[str, str, bool, float]) -> tuple[Hours, ...]:
    return tuple(Hours(_at(start), _at(end), rth, weight) for start, end, rth, weight in blocks)


def _venue(name: str, ib_zone: str, *weights: float) -> Calendar:
    """Return the calendar of a venue: its usual day, split where the regular hours begin and end.

    `weights` are the shares of the day's volume, one a block.
    """
    venue = VENUES[name]
    cuts = [edge for span in venue.regular for edge in span]
    hours = []
    for start, end in venue.full:
        edges = [start, *(cut for cut in cuts if start < cut < end), end]
        hours += [
            (opens, closes, any(opens >= a and closes <= z for a, z in venue.regular))
            for opens, closes in pairwise(edges)
        ]
    blocks_ = tuple(Hours(*each, weight) for each, weight in zip(hours, weights, strict=True))
    return Calendar(venue.zone, ib_zone, blocks_, venue.market, venue=name)


# the night, the regular hours, the rest of the day
_ROUND: Final = (0.2, 0.75, 0.05)
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
    "cme_equity": _venue("cme_equity", "US/Central", 0.2, 0.75),
    "cme_rates": _venue("cme_rates", "US/Central", *_ROUND),
    "cme_fx": _venue("cme_fx", "US/Central", *_ROUND),
    "cme_energy": _venue("cme_energy", "US/Central", *_ROUND),
    "cme_metals": _venue("cme_metals", "US/Central", *_ROUND),
    "cme_crypto": _venue("cme_crypto", "US/Central", 0.2, 0.75),
    "cme_grains": _venue("cme_grains", "US/Central", 0.25, 0.75),
    "cme_livestock": _venue("cme_livestock", "US/Central", 1.0),
    "cfe": _venue("cfe", "US/Central", *_ROUND),
    "eurex": _venue("eurex", "MET", *_ROUND),
    "eurex_vstoxx": _venue("eurex_vstoxx", "MET", *_ROUND),
    "ice_europe": _venue("ice_brent", "GB-Eire", *_ROUND),
    "ice_sugar": _venue("ice_sugar", "US/Eastern", 0.75),
    "ice_coffee": _venue("ice_coffee", "US/Eastern", 0.75),
    "ice_cocoa": _venue("ice_cocoa", "US/Eastern", 0.75),
    "ice_cotton": _venue("ice_cotton", "US/Eastern", 0.95),
    "ice_dollar": _venue("ice_dollar", "US/Eastern", 0.95),
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
    if calendar.venue and day.year >= FIRST_YEAR:
        return _by_rule(calendar, day)
    closed, early = holidays(calendar.holidays)
    if day in closed:
        return ()
    if day in early:
        return _cut(calendar, early[day])
    if calendar.holidays == "XTKS" and day < date(2024, 11, 5):
        return _cut(calendar, 900)  # Tokyo closed at 15:00 until then
    return calendar.hours


def _by_rule(calendar: Calendar, day: date) -> tuple[Hours, ...]:
    """Return the usual blocks as far as the venue's rules let them trade on `day`."""
    open_ = day_minutes(calendar.venue, day, use_rth=False)
    kept = (
        Hours(max(block.start, span.start), min(block.end, span.end), block.rth, block.weight)
        for span in open_
        for block in calendar.hours
    )
    return tuple(each for each in kept if each.start < each.end)


def _cut(calendar: Calendar, close: int) -> tuple[Hours, ...]:
    """Return a day whose regular hours end at minute `close`."""
    kept: list[Hours] = []
    for block in calendar.hours:
        if kept and kept[-1].rth and not block.rth:
            kept.append(Hours(close, close + calendar.post_minutes, block.rth, block.weight))
        elif block.start < close:
            kept.append(Hours(block.start, min(block.end, close), block.rth, block.weight))
    return tuple(kept)


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
