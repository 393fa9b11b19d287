"""Which bars a session should have, and what became of each: stored, quiet, confirmed, missing.

Pure: arrays in, arrays out. A bar that should be there is a slot of the exchange's clock within a
session. What a slot is follows from two things: whether a bar is stored in it, and whether anybody
has an answer for it. A slot without a bar inside of an answer is quiet: nothing traded, and IB
sends no bar of nothing. Only a slot without a bar and without an answer is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from ibkit.history.plan import period

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ibkit.contracts.hours import Session
    from ibkit.schema import BarSize

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]
    Span = tuple[int, int]

MICROS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Slots:
    """The bars that should be there, ascending; times in microseconds since 1970.

    Attributes
    ----------
    start, end : array of int
        Of each slot; bars that begin within it are its bar.
    day : array of int
        The number of its day, week or month: a place in `days`.
    days : tuple of Session
        One a row of the report: from the first open to the last close.
    """

    start: Ints
    end: Ints
    day: Ints
    days: tuple[Session, ...]

    def until(self, now: int) -> Slots:
        """Return those that are over at `now`."""
        over = self.end <= now
        return Slots(self.start[over], self.end[over], self.day[over], self.days)


def slots(sessions: Sequence[Session], bar_size: BarSize, zone: str) -> Slots:
    """Return the slots of sessions (a day with a break has two), on the clock of `zone`.

    A bar of a day or more is one slot: from its first session's open to its last one's close.

    >>> from datetime import UTC, date, datetime
    >>> from ibkit.contracts.hours import Session
    >>> from ibkit.schema import bar_size
    >>> open, close = (datetime(2026, 10, 20, *at, tzinfo=UTC) for at in ((13, 30), (20, 0)))
    >>> one = Session(open, close, date(2026, 10, 20))
    >>> len(slots([one], bar_size("1 hour"), "America/New_York").start)
    7
    """
    ascending = sorted(sessions)
    days: dict[tuple[int, ...], list[Session]] = {}
    for each in ascending:
        days.setdefault(period(bar_size, each.ref_date), []).append(each)
    rows = tuple(_whole(several) for several in days.values())
    if not bar_size.intraday:
        start, end = (_us([getattr(row, name) for row in rows]) for name in ("start", "end"))
        return Slots(start, end, np.arange(len(rows)), rows)
    parts, at = [], []
    for number, several in enumerate(days.values()):
        for each in several:
            parts.append(_grid(each, bar_size, zone))
            at.append(np.full(len(parts[-1][0]), number))
    none = np.zeros(0, np.int64)
    starts = np.concatenate([none, *(part[0] for part in parts)])
    ends = np.concatenate([none, *(part[1] for part in parts)])
    return Slots(starts, ends, np.concatenate([none, *at]), rows)


def _whole(several: Sequence[Session]) -> Session:
    first = several[0]
    end = max(each.end for each in several)
    return type(first)(first.start, end, first.ref_date, first.source)


def _grid(session: Session, bar_size: BarSize, zone: str) -> tuple[Ints, Ints]:
    """Return start and end of each slot; the first may begin late, the last may end early."""
    length = bar_size.seconds * MICROS
    start, end = _us([session.start, session.end]).tolist()
    offset = session.start.astimezone(ZoneInfo(zone)).utcoffset()
    ahead = round(offset.total_seconds()) * MICROS if offset else 0
    first = (start + ahead) // length * length - ahead
    starts = np.arange(first, end, length, dtype=np.int64)
    ends = np.minimum(starts + length, end)
    starts[:1] = start
    return starts, ends


def _us(moments: Iterable[Any]) -> Ints:
    return np.array([round(each.timestamp() * MICROS) for each in moments], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of each slot; exactly one of the four is true of it."""

    stored: Flags
    confirmed: Flags
    quiet: Flags
    missing: Flags


def fates(found: Slots, ts: Ints, answered: Sequence[Span], confirmed: Sequence[Span]) -> Fates:
    """Return what became of each slot.

    Parameters
    ----------
    found : Slots
        What should be there.
    ts : array of int
        Starts of the stored bars, ascending.
    answered : sequence of (start, end)
        What was asked and answered, disjoint and ascending.
    confirmed : sequence of (start, end)
        Where IB confirmed that there is nothing.
    """
    low, high = np.searchsorted(ts, found.start), np.searchsorted(ts, found.end)
    stored = high > low
    known = within(found.start, answered)
    nothing = within(found.start, confirmed) & known & ~stored
    return Fates(stored, nothing, known & ~stored & ~nothing, ~known & ~stored)


def within(at: Ints, spans: Sequence[Span]) -> Flags:
    """Return which instants lie in one of some spans.

    >>> within(np.array([1, 5, 9]), [(0, 2), (5, 9)]).tolist()
    [True, True, False]
    """
    inside = np.zeros(len(at), dtype=np.bool_)
    for start, end in spans:
        inside |= (at >= start) & (at < end)
    return inside


def per_day(flags: Flags, found: Slots) -> Ints:
    """Return how many slots of each day a flag is true of."""
    return np.bincount(found.day[flags], minlength=len(found.days)).astype(np.int64)
