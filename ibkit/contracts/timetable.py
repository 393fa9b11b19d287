"""Answers about many sessions at once: is it open, when does it open, for how many minutes.

A timetable is a value: it asks nobody and never changes, so any thread may use it, and a question
costs two bisections. It answers for the span that it knows and refuses beyond it. Not here: where
sessions come from (`ibkit.contracts.schedules`, `ibkit.contracts.venues`).
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt
    import pandas as pd

    from ibkit.contracts.hours import Session

MINUTE_S: Final = 60.0


class BeyondTimetableError(IbkitError, LookupError):
    """A moment that no schedule reaches: `name`, `at`, `start`, `end`."""

    def __init__(self, name: str, at: datetime, start: datetime, end: datetime) -> None:
        super().__init__(name, at, start, end)
        self.name, self.at, self.start, self.end = name, at, start, end

    def __str__(self) -> str:
        return (
            f"The hours of {self.name or 'this instrument'} are known from {self.start:%Y-%m-%d} "
            f"to {self.end:%Y-%m-%d}, not at {self.at:%Y-%m-%d %H:%M}."
        )


class NaiveTimeError(IbkitError, ValueError):
    """A time without a zone: `name` of the argument."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"{self.name} is no time with a zone; write datetime(..., tzinfo=UTC)."


class Timetable:
    """When one instrument trades.

    Parameters
    ----------
    sessions : iterable of Session
        Continuous stretches; those that touch or overlap are joined.
    start, end : datetime
        The span that is known, with zones: outside the sessions in it, the market is closed.
    name : str
        Of the instrument, for error texts.

    Examples
    --------
    >>> from ibkit.contracts.hours import from_hours
    >>> day = from_hours("20261127:0930-20261127:1300", "US/Eastern")
    >>> known = datetime(2026, 11, 27, tzinfo=UTC), datetime(2026, 11, 28, tzinfo=UTC)
    >>> half = Timetable(day, *known)
    >>> half.is_open(datetime(2026, 11, 27, 17, 59, tzinfo=UTC)), half.minutes_open(*known)
    (True, 210.0)
    """

    __slots__ = ("_ends", "_starts", "end", "name", "sessions", "start")

    def __init__(
        self, sessions: Iterable[Session], start: datetime, end: datetime, *, name: str = ""
    ) -> None:
        self.name = name
        self.sessions: Sequence[Session] = tuple(sorted(sessions))
        self.start, self.end = start, end
        joined = _joined((each.start.timestamp(), each.end.timestamp()) for each in self.sessions)
        self._starts = [first for first, _ in joined]
        self._ends = [last for _, last in joined]

    def __repr__(self) -> str:
        return f"<Timetable {self.name} {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}>"

    def is_open(self, at: datetime) -> bool:
        """Whether it trades at `at`; the end of a session is not part of it.

        Raises
        ------
        BeyondTimetableError
            `at` is outside the span that is known.
        ValueError
            `at` has no zone.
        """
        return self.is_open_at(self._moment(at))

    def is_open_at(self, epoch_s: float) -> bool:
        """Whether it trades at a time in epoch seconds that is known to be in the span."""
        index = bisect_right(self._starts, epoch_s) - 1
        return index >= 0 and epoch_s < self._ends[index]

    def knows(self, at: datetime) -> bool:
        """Whether `at` is in the span that is known."""
        return self.start <= at < self.end

    def next_open(self, at: datetime) -> datetime | None:
        """Return when it opens next after `at`, in UTC; None if not within the span.

        Of an instrument that is open at `at`, the opening after that.
        """
        index = bisect_right(self._starts, self._moment(at))
        return _utc(self._starts[index]) if index < len(self._starts) else None

    def next_close(self, at: datetime) -> datetime | None:
        """Return when it closes next after `at`, in UTC; None if not within the span."""
        index = bisect_right(self._ends, self._moment(at))
        return _utc(self._ends[index]) if index < len(self._ends) else None

    def minutes_open(self, start: datetime, end: datetime) -> float:
        """Return for how many minutes of [`start`, `end`) it trades."""
        first, last = self._moment(start), self._moment(end, last=True)
        spans = zip(self._starts, self._ends, strict=True)
        open_s = (min(last, stop) - max(first, begin) for begin, stop in spans)
        return sum(seconds for seconds in open_s if seconds > 0) / MINUTE_S

    def mask(self, index: pd.DatetimeIndex) -> npt.NDArray[np.bool_]:
        """Return of each instant of an index, zone and all, whether it trades then."""
        if index.tz is None:
            raise NaiveTimeError("index")
        if not len(index):
            return np.zeros(0, dtype=np.bool_)
        self._moment(index.min().to_pydatetime())
        self._moment(index.max().to_pydatetime())
        at = index.as_unit("ns").asi8 / 1e9
        found = np.searchsorted(np.array(self._starts), at, side="right") - 1
        ends = np.array([*self._ends, -np.inf])  # index -1: before the first session
        return np.asarray(at < ends[found], dtype=np.bool_)

    def _moment(self, at: datetime, *, last: bool = False) -> float:
        """Return `at` in epoch seconds, if it can be answered for."""
        if at.tzinfo is None:
            raise NaiveTimeError("at")
        if not (self.start <= at < self.end or (last and at == self.end)):
            raise BeyondTimetableError(self.name, at, self.start, self.end)
        return at.timestamp()


def _joined(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join ascending spans that touch or overlap."""
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
