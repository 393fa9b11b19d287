"""Turn holes into requests: which sessions to ask for at once, up to when, for how long.

Pure: no clock, no store, no connection. IB's limits on durations and steps are the table here
(https://interactivebrokers.github.io/tws-api/historical_limitations.html). Not here: the pace at
which requests may go out, that is the link's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ibkit.contracts.hours import Session
    from ibkit.schema import BarSize

Span = tuple[datetime, datetime]

# How much one request asks for: seconds below a session, else whole sessions
CHUNK_S: Final = {1: 1_800, 5: 3_600, 10: 14_400, 15: 14_400, 30: 28_800}
CHUNK_SESSIONS: Final = {
    "1 min": 1,
    "2 mins": 2,
    "3 mins": 5,
    "5 mins": 5,
    "10 mins": 5,
    "15 mins": 20,
    "20 mins": 20,
    "30 mins": 20,
    "1 hour": 20,
    "2 hours": 20,
    "3 hours": 20,
    "4 hours": 60,
    "8 hours": 60,
    "1 day": 1_250,
    "1 week": 2_500,
    "1 month": 2_500,
}
YEAR_DAYS: Final = 365
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
# 60 requests in ten minutes for bars of 30 secs or less; half a second apart is fine above
SECONDS_SMALL: Final = 10.0
SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """One historical request.

    Attributes
    ----------
    start, end : datetime
        The span that the answer is kept for, and covers when it is in: [start, end), UTC.
    until : datetime
        What IB is given as the end.
    duration : str
        Length back from `until`, in IB's words, long enough to reach `start`.
    """

    start: datetime
    end: datetime
    until: datetime
    duration: str


def plan(holes: Iterable[Span], bar_size: BarSize, sessions: Sequence[Session]) -> list[Request]:
    """Return the requests that close `holes`, newest first.

    Parameters
    ----------
    holes : iterable of (start, end)
        Spans without data, UTC.
    bar_size : BarSize
        Of the bars to fetch.
    sessions : sequence of Session
        The instrument's sessions over the holes, one a trade date, ascending. Time outside them
        costs no request.

    Returns
    -------
    list of Request
        They tile the part of each hole that has sessions in it, and do not overlap.
    """
    requests = [request for hole in holes for request in _close(hole, bar_size, sessions)]
    return sorted(requests, key=lambda request: request.start, reverse=True)


def seconds_for(requests: int, bar_size: BarSize) -> float:
    """Return how long so many requests take under IB's pacing rules, roughly."""
    return requests * (SECONDS_SMALL if bar_size.seconds in CHUNK_S else SECONDS)


def cut(end: datetime, now: datetime, bar_size: BarSize, sessions: Sequence[Session]) -> datetime:
    """Return `end`, moved to where a complete bar ends, at `now` or before.

    Bars up to an hour lie on the clock's grid; longer ones end with a session, weekly and monthly
    ones with the last session before the running week or month. With nothing complete at all it
    is the first session's start.
    """
    if bar_size.seconds <= HOUR_S:
        closes = any(each.end == end for each in sessions)
        return min(end if closes else _floor(end, bar_size), _floor(now, bar_size))
    running = period(bar_size, now.date())
    complete = [
        each.end
        for each in sessions
        if each.end <= now
        and each.start < end
        and (bar_size.seconds <= DAY_S or period(bar_size, each.ref_date) < running)
    ]
    return max(complete, default=sessions[0].start if sessions else end)


def whole(span: Span, bar_size: BarSize, sessions: Sequence[Session]) -> Span:
    """Return `span`, begun where a bar begins: longer bars start with a session or its period."""
    if bar_size.seconds <= HOUR_S:
        return span
    first = next(each for each in sessions if each.end > span[0])
    same = (
        each.start
        for each in sessions
        if period(bar_size, each.ref_date) == period(bar_size, first.ref_date)
    )
    return next(same), span[1]


def period(bar_size: BarSize, day: date) -> tuple[int, ...]:
    """Return what a bar of a day or more is a bar of: the day, the ISO week, the month.

    >>> from ibkit.schema import bar_size
    >>> period(bar_size("1 week"), date(2026, 12, 31))
    (2026, 53)
    """
    if bar_size.ib == "1 week":
        return day.isocalendar()[:2]
    if bar_size.ib == "1 month":
        return day.year, day.month
    return day.year, day.month, day.day


def _floor(moment: datetime, bar_size: BarSize) -> datetime:
    grid = int(moment.timestamp()) // bar_size.seconds * bar_size.seconds
    return datetime.fromtimestamp(grid, tz=UTC)


def _close(hole: Span, bar_size: BarSize, sessions: Sequence[Session]) -> Iterator[Request]:
    """Yield the requests for one hole; the closed hours between sessions go with the later one."""
    inside = [each for each in sessions if each.start < hole[1] and each.end > hole[0]]
    size = CHUNK_SESSIONS.get(bar_size.ib, 1)
    for stop in range(len(inside), 0, -size):
        first = max(0, stop - size)
        start = inside[first - 1].end if first else hole[0]
        end = inside[stop - 1].end if stop < len(inside) else hole[1]
        yield from _split(inside[first:stop], (start, end), bar_size)


def _split(chunk: Sequence[Session], span: Span, bar_size: BarSize) -> Iterator[Request]:
    """Yield one request for whole sessions, or several for a part of one."""
    until = min(span[1], chunk[-1].end)
    step = CHUNK_S.get(bar_size.seconds)
    if step is None:
        yield Request(*span, until, _duration(chunk))
        return
    start, last = max(span[0], chunk[0].start), span[1]
    while start < until:
        begin = max(start, until - timedelta(seconds=step))
        yield Request(begin if begin > start else span[0], last, until, _seconds(until - begin))
        until = last = begin


def _duration(chunk: Sequence[Session]) -> str:
    """Return enough days: calendar ones, so that it holds whether IB counts these or sessions."""
    days = (chunk[-1].ref_date - chunk[0].ref_date).days + 1
    return f"{days} D" if days <= YEAR_DAYS else f"{days // YEAR_DAYS + 1} Y"


def _seconds(length: timedelta) -> str:
    """Return whole seconds, at least the 30 that IB asks for."""
    return f"{max(30, -int(-length.total_seconds() // 1))} S"
