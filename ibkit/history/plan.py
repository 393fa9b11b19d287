"""Turn holes into requests: which sessions to ask for at once, up to when, for how long.

Pure: no clock, no store, no connection. How much one request may ask for is in `ladders`. Not
here: the pace at which requests may go out (the link's), and what that costs (`price`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from ibkit.history.ladders import LADDERS, Step, days_text, seconds_text, usual

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ibkit.contracts.hours import Session
    from ibkit.history.legal import Before
    from ibkit.schema import BarSize

Span = tuple[datetime, datetime]
Day = list["Session"]

HOUR_S: Final = 3_600
DAY_S: Final = 86_400


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
    known : str
        Why IB has nothing there, where that is known beforehand: it is not asked, and costs
        nothing. Empty for all others.
    """

    start: datetime
    end: datetime
    until: datetime
    duration: str
    known: str = ""


def plan(
    holes: Iterable[Span],
    bar_size: BarSize,
    sessions: Sequence[Session],
    step: Step | None = None,
    before: Before | None = None,
) -> list[Request]:
    """Return the requests that close `holes`, newest first.

    Parameters
    ----------
    holes : iterable of (start, end)
        Spans without data, UTC.
    bar_size : BarSize
        Of the bars to fetch.
    sessions : sequence of Session
        The instrument's sessions over the holes, ascending. Time outside them costs no request.
    step : Step, optional
        How much to ask for at once; by default the bar size's usual one.
    before : Before, optional
        Up to when IB has nothing: what lies before that is one request that costs nothing.

    Returns
    -------
    list of Request
        They tile the part of each hole that has sessions in it, and do not overlap.
    """
    step = step or usual(bar_size)
    days = [list(day) for _, day in groupby(sessions, key=lambda each: each.ref_date)]
    edge = None if before is None else _edge(before.until, bar_size, sessions)
    requests = []
    for start, end in holes:
        if before is not None and edge is not None and start < edge:
            known = (start, min(edge, end))
            if any(each.start < known[1] and each.end > known[0] for each in sessions):
                requests.append(Request(*known, known[1], "", before.reason))
        if edge is None or end > edge:
            span = (start if edge is None else max(start, edge), end)
            requests += _close(span, bar_size, days, step)
    return sorted(requests, key=lambda request: request.start, reverse=True)


def smaller(request: Request, bar_size: BarSize, sessions: Sequence[Session]) -> Step | None:
    """Return the next step below what `request` asks for; None: it cannot be halved."""
    ladder = LADDERS[bar_size.ib]
    index = ladder.below(size_of(request, bar_size, sessions))
    return None if index is None else ladder.rungs[index]


def size_of(request: Request, bar_size: BarSize, sessions: Sequence[Session]) -> Step:
    """Return how much `request` asks for; part of a day counts as seconds where steps do."""
    dates = {each.ref_date for each in sessions if _touches(each, (request.start, request.end))}
    if len(dates) > 1 or LADDERS[bar_size.ib].rungs[0].days:
        return Step(max(1, len(dates)))
    opened = min((each.start for each in sessions if each.ref_date in dates), default=request.start)
    return Step(seconds=int((request.until - max(request.start, opened)).total_seconds()))


def step_of(request: Request, bar_size: BarSize, sessions: Sequence[Session]) -> Step:
    """Return the step that `request` is of: as `size_of`, but a whole day is a day."""
    size = size_of(request, bar_size, sessions)
    touched = [each for each in sessions if _touches(each, (request.start, request.end))]
    whole_day = touched and request.start <= touched[0].start and request.until >= touched[-1].end
    in_days = any(rung.days for rung in LADDERS[bar_size.ib].rungs)
    return Step(1) if not size.days and whole_day and in_days else size


def cut(
    end: datetime,
    now: datetime,
    bar_size: BarSize,
    sessions: Sequence[Session],
    zone: str = "UTC",
) -> datetime:
    """Return `end`, moved to where a complete bar ends, at `now` or before.

    Bars up to an hour lie on the grid of the clock of `zone`, which may be half an hour off UTC's;
    longer ones end with a session, weekly and monthly ones with the last session before the running
    week or month. With nothing complete at all it is the first session's start.
    """
    if bar_size.seconds <= HOUR_S:
        closes = any(each.end == end for each in sessions)
        grid = _floor(now, bar_size, zone)
        over = max(grid, *(each.end for each in sessions if each.end <= now), grid)
        return min(end if closes else _floor(end, bar_size, zone), over)
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


def _floor(moment: datetime, bar_size: BarSize, zone: str = "UTC") -> datetime:
    offset = moment.astimezone(ZoneInfo(zone)).utcoffset()
    ahead = round(offset.total_seconds()) if offset else 0
    grid = (int(moment.timestamp()) + ahead) // bar_size.seconds * bar_size.seconds - ahead
    return datetime.fromtimestamp(grid, tz=UTC)


def _touches(session: Session, span: Span) -> bool:
    return session.start < span[1] and session.end > span[0]


def _edge(until: datetime, bar_size: BarSize, sessions: Sequence[Session]) -> datetime:
    """Return `until`, moved back to where the bar begins that it lies in."""
    if bar_size.seconds <= HOUR_S:
        return _floor(until, bar_size)
    held = next((each for each in sessions if each.end > until), None)
    if held is None:
        return until
    same = period(bar_size, held.ref_date)
    return min(until, *(s.start for s in sessions if period(bar_size, s.ref_date) == same))


def _close(hole: Span, bar_size: BarSize, days: Sequence[Day], step: Step) -> Iterator[Request]:
    """Yield the requests for one hole; the closed hours between sessions go with the later one."""
    inside = [day for each in days if (day := [s for s in each if _touches(s, hole)])]
    stop = len(inside)
    while stop:
        first = _first(inside, stop, max(1, step.days), bar_size)
        start = inside[first - 1][-1].end if first else hole[0]
        end = inside[stop - 1][-1].end if stop < len(inside) else hole[1]
        yield from _split(inside[first:stop], (start, end), bar_size, step)
        stop = first


def _first(days: Sequence[Day], stop: int, count: int, bar_size: BarSize) -> int:
    """Return where a chunk of about `count` days before `stop` begins: no week or month is cut."""
    first = max(0, stop - count)
    same = period(bar_size, days[first][0].ref_date)
    while first and period(bar_size, days[first - 1][0].ref_date) == same:
        first -= 1
    return first


def _split(chunk: Sequence[Day], span: Span, bar_size: BarSize, step: Step) -> Iterator[Request]:
    """Yield one request for whole days, or several for a part of one."""
    if step.days:
        until, begin = min(span[1], chunk[-1][-1].end), max(span[0], chunk[0][0].start)
        days = (chunk[-1][0].ref_date - chunk[0][0].ref_date).days + 1
        yield Request(*span, until, days_text(bar_size, begin, until, days))
        return
    end = span[1]
    for number, stretch in reversed(list(enumerate(chunk[0]))):  # the breaks of a day cost nothing
        start = span[0] if not number else chunk[0][number - 1].end
        yield from _pieces(stretch, (start, end), step.seconds)
        end = start


def _pieces(stretch: Session, span: Span, seconds: int) -> Iterator[Request]:
    """Yield requests of so many seconds, from the end of a stretch without a break."""
    until, last = min(span[1], stretch.end), span[1]
    start = max(span[0], stretch.start)
    while start < until:
        begin = max(start, until - timedelta(seconds=seconds))
        yield Request(begin if begin > start else span[0], last, until, seconds_text(until - begin))
        until = last = begin
