"""How far a backfill has come: counted here, shown by `Display`, told in the report.

The board is written on the loop and read by whoever draws. Not here: the work.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from tqdm.auto import tqdm as auto_tqdm
from tqdm.std import tqdm as text_tqdm

from ibkit import clock
from ibkit.history.price import seconds_for, time_words

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from ibkit.history.series import Series
    from ibkit.jobs.values import Job

# so many series have a line each for good; of more, only those under way
LINES: Final = 20
ACTIVE: Final = 8
REFRESH_S: Final = 0.25
# in a file, where each drawing stays
SELDOM_S: Final = 15.0
# the pace of the last so many answers is what the rest is expected to take
RECENT: Final = 200
# bars of so many seconds or less are under IB's hard rules
HARD_S: Final = 30


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that has no final answer; see `ibkit.history.outcomes.Outcome` for `kind`."""

    start: str
    end: str
    kind: str
    reason: str


@dataclass(slots=True)
class Progress:
    """How far one series has come."""

    name: str
    series: Series | None = None
    requests: int = 0
    fetched: int = 0
    elsewhere: int = 0
    rows_new: int = 0
    empty: int = 0
    ended: int = 0
    retries: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.ended >= self.requests

    @property
    def words(self) -> str:
        """How far it is, for one line."""
        failed = f", {len(self.failures)} FAILED" if self.failures else ""
        return f"{self.rows_new:,} new{failed}"


class Board:
    """The series of one backfill, and how their jobs ended."""

    def __init__(self) -> None:
        self.all: list[Progress] = []
        self.groups: dict[str, Progress] = {}
        self.note = ""
        self._told: set[int] = set()
        self._times: deque[float] = deque(maxlen=RECENT)

    def add(self, progress: Progress, group: str = "") -> None:
        """Take a series in; one without a group could not be planned."""
        self.all.append(progress)
        if group:
            self.groups[group] = progress

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return sum(one.requests for one in self.all)

    @property
    def ended(self) -> int:
        """How many of them are over."""
        return sum(one.ended for one in self.all)

    def ours(self, job: Job, state: str, found: Any) -> None:
        """Count a job that we worked on; one that is dead is told by `over`."""
        progress = self.groups.get(job.group)
        if progress is None or job.id in self._told:
            return
        if state == "waiting":
            progress.retries += 1
        elif state == "done":
            self._count(progress, job.id)
            progress.fetched += found["fetched"]
            progress.rows_new += found["rows_new"]
            progress.empty += found["empty"]

    def over(self, jobs: Iterable[Job]) -> None:
        """Count jobs that the queue says are over, if they are news: others did them."""
        for job in jobs:
            progress = self.groups.get(job.group)
            if progress is None or job.id in self._told:
                continue
            self._count(progress, job.id)
            if job.state == "done":
                progress.elsewhere += 1
            else:
                kind = (job.result or {}).get("kind", "unknown")
                span = job.payload["start"], job.payload["end"]
                progress.failures.append(Failure(*span, kind, job.reason))

    def left_s(self) -> float | None:
        """Return how long the rest will take: at the pace of late, and at IB's at best."""
        left = self.total - self.ended
        if left == 0:
            return 0.0
        if len(self._times) < 2:
            return None
        pace = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        planned = sum(
            seconds_for(one.requests - one.ended, one.series.bar_size)
            for one in self.all
            if one.series is not None and one.series.bar_size.seconds <= HARD_S
        )
        return max(pace * left, planned)

    def _count(self, progress: Progress, job: int) -> None:
        self._told.add(job)
        progress.ended += 1
        self._times.append(clock.monotonic())


class Display:
    """Progress bars of a board; a context manager. Made and closed in the caller's thread.

    In a terminal and in a notebook: a line for each series, or for those under way if they are
    many, and one for all with the time left. Elsewhere (a pipe, cron, papermill): one line for all,
    and one for each series when it is through.
    """

    def __init__(self, board: Board, *, shown: bool) -> None:
        self._board = board
        self._shown = shown and board.total > 0
        self._text = bool(os.environ.get("IBKIT_RUN"))
        self._alive = not self._text and (sys.stderr.isatty() or _in_notebook())
        self._lines: list[Any] = []
        self._said: set[int] = set()
        self._bar: Any = None
        self._drawn = -SELDOM_S

    def __enter__(self) -> Self:
        if self._shown:
            count = len([one for one in self._board.all if one.requests])
            lines = min(count, LINES if count <= LINES else ACTIVE) if self._alive else 0
            if count > 1:
                self._lines = [self._make(f"{'':12}", leave=count <= LINES) for _ in range(lines)]
            self._bar = self._make("backfill", total=self._board.total, leave=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self.refresh(last=True)
            for bar in (*self._lines, self._bar):
                bar.close()
            self._bar = None

    def refresh(self, *, last: bool = False) -> None:
        """Draw what the board says; where drawings stay, only now and then, and the `last`."""
        bar, board = self._bar, self._board
        if bar is None:
            return
        self._draw_lines()
        if not self._alive:
            if not self._text:
                self._say_finished()
            if not last and clock.monotonic() < self._drawn + SELDOM_S:
                return
            self._drawn = clock.monotonic()
        bar.n = board.ended
        rest = left_words(board.left_s())
        failed = sum(len(one.failures) for one in board.all)
        words = [board.note, f"{failed} failed" if failed else "", rest]
        bar.set_postfix_str(", ".join(filter(None, words)), refresh=False)
        bar.refresh()

    def _draw_lines(self) -> None:
        shown = self._chosen()
        for place, line in enumerate(self._lines):
            one = shown[place] if place < len(shown) else None
            if one is None:
                continue
            line.total, line.n = one.requests, one.ended
            line.set_description_str(f"{one.name:12}", refresh=False)
            line.set_postfix_str(one.words, refresh=False)
            line.refresh()

    def _chosen(self) -> list[Progress]:
        """Return the series that have a line: all, or those that are under way."""
        wanted = [one for one in self._board.all if one.requests]
        if len(wanted) <= len(self._lines):
            return wanted
        busy = (one for one in wanted if not one.over)
        return list(islice(busy, len(self._lines)))

    def _say_finished(self) -> None:
        for one in self._board.all:
            if one.requests and one.over and id(one) not in self._said:
                self._said.add(id(one))
                text_tqdm.write(f"{one.name}: {one.ended}/{one.requests}, {one.words}")

    def _make(self, name: str, *, total: int = 1, leave: bool) -> Any:
        kind = text_tqdm if self._text else auto_tqdm
        return kind(
            total=total,
            desc=name,
            unit="request",
            file=sys.stderr,
            leave=leave,
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}{postfix}",
        )


def left_words(seconds: float | None) -> str:
    """Return a time that is left, for people.

    >>> [left_words(each) for each in (None, 0.0, 42.4, 400, 9000)]
    ['', '', '42 s left', '7 min left', '2 h 30 min left']
    """
    return f"{time_words(seconds)} left" if seconds else ""


def _in_notebook() -> bool:
    """Whether tqdm draws widgets here."""
    return any(kind.__module__ == "tqdm.notebook" for kind in auto_tqdm.__mro__)
