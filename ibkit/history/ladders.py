"""How much one request for bars may ask for: rungs by bar size, and IB's words for a length.

IB's table of legal steps has two editions: the stricter
https://interactivebrokers.github.io/tws-api/historical_limitations.html (durations by bar size, "a
few thousand bars"), and IBKR Campus, TWS API, "Historical Bars" (units: S for 1 sec - 1 min, D 5
secs - 1 hour, W 10 secs - 4 hours, M 30 secs - 8 hours, Y 1 min - 1 day; at most 2000 S of 1 secs,
else 86400 S, 365 D, 52 W, 12 M, 68 Y). The usual rung of a ladder keeps to both, the rungs above it
to the newer one, and those below are for time-outs. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ibkit.schema import BarSize

YEAR_DAYS: Final = 365
DAY: Final = timedelta(days=1)
# a day has 25 hours when clocks go back, and a month 28 days at least
CLOCKS_CHANGE: Final = timedelta(hours=2)
MONTH: Final = timedelta(days=28)
WEEK: Final = timedelta(days=7)
LEAST_S: Final = 30
LONGEST_WEEKS: Final = 52
LONGEST_MONTHS: Final = 12


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """How much one request asks for: `days` whole trade dates, or, if that is 0, `seconds`."""

    days: int = 0
    seconds: int = 0

    def __str__(self) -> str:
        return f"{self.days} sessions" if self.days else f"{self.seconds} s"


@dataclass(frozen=True, slots=True)
class Ladder:
    """The steps of one bar size.

    Attributes
    ----------
    rungs : tuple of Step
        Ascending, each about twice the one before.
    usual : int
        Index of the rung that a new series begins with.
    """

    rungs: tuple[Step, ...]
    usual: int

    def below(self, step: Step) -> int | None:
        """Return the index of the largest rung smaller than `step`; None: it cannot be halved."""
        smaller = [index for index, rung in enumerate(self.rungs) if rung < step]
        return smaller[-1] if smaller else None


def _seconds(usual: int, *rungs: int) -> Ladder:
    return Ladder(tuple(Step(seconds=each) for each in rungs), rungs.index(usual))


def _days(usual: int, *rungs: int) -> Ladder:
    return Ladder(tuple(Step(each) for each in rungs), rungs.index(usual))


_MINUTE: Final = (*(Step(seconds=each) for each in (3_600, 7_200, 14_400)), Step(1), Step(2))
LADDERS: Final[dict[str, Ladder]] = {
    "1 secs": _seconds(1_800, 225, 450, 900, 1_800),
    "5 secs": _seconds(3_600, 450, 900, 1_800, 3_600, 7_200, 14_400, 28_800),
    "10 secs": _seconds(14_400, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600),
    "15 secs": _seconds(14_400, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400),
    "30 secs": _seconds(28_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400),
    "1 min": Ladder((*_MINUTE, Step(5)), 3),
    "2 mins": _days(2, 1, 2, 5, 10),
    "3 mins": _days(5, 1, 2, 5, 10),
    "5 mins": _days(5, 1, 2, 5, 10, 20),
    "10 mins": _days(5, 1, 2, 5, 10, 20),
    **dict.fromkeys(("15 mins", "20 mins", "30 mins"), _days(20, 2, 5, 10, 20, 40, 80)),
    **dict.fromkeys(("1 hour", "2 hours", "3 hours"), _days(20, 2, 5, 10, 20, 40, 80)),
    **dict.fromkeys(("4 hours", "8 hours"), _days(60, 8, 15, 30, 60, 120)),
    "1 day": _days(1_250, 40, 80, 160, 320, 625, 1_250, 2_500),
    **dict.fromkeys(("1 week", "1 month"), _days(2_500, 320, 625, 1_250, 2_500, 5_000)),
}


def usual(bar_size: BarSize) -> Step:
    """Return the step that a new series begins with."""
    ladder = LADDERS[bar_size.ib]
    return ladder.rungs[ladder.usual]


def seconds_text(length: timedelta) -> str:
    """Return whole seconds in IB's words, at least the 30 that it asks for.

    >>> seconds_text(timedelta(minutes=30)), seconds_text(timedelta(seconds=2.5))
    ('1800 S', '30 S')
    """
    return f"{max(LEAST_S, -int(-length.total_seconds() // 1))} S"


def days_text(bar_size: BarSize, start: datetime, until: datetime, days: int) -> str:
    """Return a length back from `until` that reaches `start`, in a unit legal for `bar_size`.

    Parameters
    ----------
    bar_size : BarSize
        Of the bars.
    start, until : datetime
        What has to be covered.
    days : int
        Calendar days from the first trade date to the last: so many at least, whether IB counts
        days of the calendar or sessions.

    Examples
    --------
    >>> from ibkit.schema import bar_size
    >>> start, until = datetime(2026, 11, 2, 14, 30), datetime(2026, 11, 6, 21)
    >>> [days_text(bar_size(text), start, until, 5) for text in ("5 mins", "4 hours", "8 hours")]
    ['5 D', '1 W', '1 M']
    """
    length = until - start
    days = max(days, -(-length // DAY))
    weeks, months = (-(-(length + CLOCKS_CHANGE) // each) for each in (WEEK, MONTH))
    if bar_size.ib in _BY_WEEKS and weeks <= LONGEST_WEEKS:
        return f"{weeks} W"
    if bar_size.ib in _BY_MONTHS and months <= LONGEST_MONTHS:
        return f"{months} M"
    return f"{days} D" if days <= YEAR_DAYS else f"{days // YEAR_DAYS + 1} Y"


def is_legal(bar_size: BarSize, text: str) -> bool:
    """Whether IB takes a duration for bars of this size.

    >>> from ibkit.schema import bar_size
    >>> is_legal(bar_size("1 secs"), "2000 S"), is_legal(bar_size("1 secs"), "1 D")
    (True, False)
    """
    number, _, unit = text.partition(" ")
    smallest, largest, longest = _UNITS[unit]
    if bar_size.seconds == 1:
        longest = LONGEST_OF_1_SECOND
    return smallest <= bar_size.seconds <= largest and LEAST[unit] <= int(number) <= longest


# unit → the smallest and the largest bars, in seconds, of either edition, and the longest text
_UNITS: Final = {
    "S": (1, 28_800, 86_400),
    "D": (5, 86_400, YEAR_DAYS),
    "W": (10, 604_800, LONGEST_WEEKS),
    "M": (30, 2_678_400, LONGEST_MONTHS),
    "Y": (60, 2_678_400, 68),
}
LEAST: Final = {"S": LEAST_S, "D": 1, "W": 1, "M": 1, "Y": 1}
LONGEST_OF_1_SECOND: Final = 2_000
# the units that both editions allow; D is the stricter one's word for bars of a day
_BY_WEEKS: Final = frozenset({"2 hours", "3 hours", "4 hours", "1 week"})
_BY_MONTHS: Final = frozenset({"8 hours", "1 month"})
