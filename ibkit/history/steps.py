"""What was learned by asking: how much a request may ask for, where data begin, silent answers.

One small SQLite file (WAL) a data root, shared by all processes. It only saves time: a file that
cannot be used is told of once, and this process goes on with a memory of its own.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ibkit.history.ladders import LADDERS, Step
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ibkit.history.plan import Request
    from ibkit.schema import BarSize

log = get_logger(__name__)
BUSY_S: Final = 5.0
# so many answers in a row, in time, before a request asks for more; twice as many after each fall
PATIENCE: Final = 12
MOST_PATIENCE: Final = 768
TOGETHER: Final = 4
# where an instrument's data begin seldom moves; that IB cannot tell may change
HEAD_HOLDS: Final = timedelta(days=180)
NONE_HOLDS: Final = timedelta(days=7)
# two answers without bars and without a reason, so far apart, are a confirmation
SILENT_TWICE: Final = timedelta(hours=20)
TABLES: Final = """
CREATE TABLE IF NOT EXISTS learned (
  kind TEXT NOT NULL, key TEXT NOT NULL, fact TEXT NOT NULL, PRIMARY KEY (kind, key));
PRAGMA user_version = 1;
"""
READ: Final = "SELECT fact FROM learned WHERE kind = ? AND key = ?"
WRITE: Final = "INSERT OR REPLACE INTO learned VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Learned:
    """How far up its ladder a series is, answers in a row there, and how many it takes to climb."""

    rung: int
    streak: int = 0
    patience: int = PATIENCE


class Steps:
    """The memory of one data root. Blocking, a millisecond at most; safe in threads and processes.

    Parameters
    ----------
    path : Path, optional
        The file; None keeps it in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._lock = path, threading.Lock()
        self._memory: dict[tuple[str, str], Any] = {}
        self._tally: dict[str, tuple[list[Step], list[float]]] = {}

    def __repr__(self) -> str:
        return f"<Steps {self._path or 'in memory'}>"

    # --- how much to ask for ---------------------------------------------------------------------

    def step(self, slug: str, bar_size: BarSize) -> Step:
        """Return how much one request about this instrument asks for."""
        found = self._read("step", f"{slug} {bar_size.ib}")
        return LADDERS[bar_size.ib].rungs[_learned(found, bar_size).rung]

    def answered(
        self, slug: str, bar_size: BarSize, asked: Step, seconds: float = 0.0, *, quick: bool = True
    ) -> None:
        """Note that a request for `asked` was answered, and how soon.

        After many quick answers in a row more is asked for; an answer to less than a full step
        says nothing about it. A few answers are written down together.
        """
        key = f"{slug} {bar_size.ib}"
        with self._lock:
            asks, times = self._tally.setdefault(key, ([], []))
            asks += [asked] if quick else []
            times += [seconds] if seconds else []
            if max(len(asks), len(times)) < TOGETHER:
                return
            del self._tally[key]
        if times:
            mean = sum(times) / len(times)
            self._change("seconds", bar_size.ib, lambda found: _smooth(found, mean))
        self._change("step", key, lambda found: _climbed(found, asks, bar_size))

    def timed_out(self, slug: str, bar_size: BarSize, asked: Step) -> Step | None:
        """Note that `asked` was too much; return what to ask for instead, None: it is the least."""
        ladder = LADDERS[bar_size.ib]
        below = ladder.below(asked)
        if below is None:
            return None

        def fall(found: Any) -> Any:
            learned = _learned(found, bar_size)
            if below >= learned.rung:
                return found
            return _packed(Learned(below, 0, min(MOST_PATIENCE, 2 * learned.patience)))

        key = f"{slug} {bar_size.ib}"
        with self._lock:
            self._tally.pop(key, None)
        self._change("step", key, fall)
        return ladder.rungs[below]

    def seconds(self, bar_size: BarSize) -> float | None:
        """Return how long an answer takes, lately; None: nobody has asked yet."""
        found: float | None = self._read("seconds", bar_size.ib)
        return found

    # --- where data begin ------------------------------------------------------------------------

    def head(self, series: str, now: datetime) -> tuple[bool, datetime | None]:
        """Return whether it is known where a series begins, and where; None: IB cannot tell."""
        found = self._read("head", series)
        if found is None:
            return False, None
        text, at = found
        head = None if text is None else datetime.fromisoformat(text)
        holds = NONE_HOLDS if head is None else HEAD_HOLDS
        return (True, head) if now - datetime.fromisoformat(at) < holds else (False, None)

    def keep_head(self, series: str, head: datetime | None, now: datetime) -> None:
        """Remember where a series begins."""
        text = None if head is None else head.astimezone(UTC).isoformat()
        self._change("head", series, lambda _: [text, now.isoformat()])

    # --- answers that say nothing ----------------------------------------------------------------

    def silent(self, series: str, request: Request, now: datetime) -> datetime | None:
        """Note an answer without bars and without a reason.

        Returns when the same span was answered so before, if that is long enough ago to count.
        """
        key = f"{series} {request.start.isoformat()} {request.end.isoformat()}"
        first = datetime.fromisoformat(
            self._change("silent", key, lambda found: found or now.isoformat())
        )
        return first if now - first >= SILENT_TWICE else None

    # --- the file --------------------------------------------------------------------------------

    def _read(self, kind: str, key: str) -> Any:
        def read(db: sqlite3.Connection) -> Any:
            row = db.execute(READ, (kind, key)).fetchone()
            return None if row is None else json.loads(row[0])

        return self._with_file(read, lambda: self._memory.get((kind, key)))

    def _change(self, kind: str, key: str, change: Callable[[Any], Any]) -> Any:
        """Replace a fact by what `change` makes of it, no other process between; return that."""

        def write(db: sqlite3.Connection) -> Any:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute(READ, (kind, key)).fetchone()
            before = None if row is None else json.loads(row[0])
            after = change(before)
            if after != before:
                db.execute(WRITE, (kind, key, json.dumps(after)))
            db.execute("COMMIT")
            return after

        def remember() -> Any:
            after = self._memory[kind, key] = change(self._memory.get((kind, key)))
            return after

        return self._with_file(write, remember)

    def _with_file(
        self, use: Callable[[sqlite3.Connection], Any], instead: Callable[[], Any]
    ) -> Any:
        """Use the file; if there is none, or it fails, what this process remembers."""
        with self._lock:
            if self._path is not None:
                try:
                    with closing(_connect(self._path)) as db:
                        return use(db)
                except (sqlite3.Error, OSError, ValueError) as error:
                    text = str(error)
                    log.warning(
                        "what history learns is not kept", path=str(self._path), reason=text
                    )
                    self._path = None
            return instead()


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file for one statement: nothing stays open, and a fork inherits nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous=OFF")  # a power cut may cost what was learned
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(TABLES)
    except BaseException:
        db.close()
        raise
    return db


def _learned(found: Any, bar_size: BarSize) -> Learned:
    ladder = LADDERS[bar_size.ib]
    if found is None:
        return Learned(ladder.usual)
    rung, streak, patience = found
    return Learned(min(max(0, rung), len(ladder.rungs) - 1), streak, patience)


def _climbed(found: Any, asks: list[Step], bar_size: BarSize) -> Any:
    """Return what is known after some quick answers in a row."""
    learned, rungs = _learned(found, bar_size), LADDERS[bar_size.ib].rungs
    full = sum(asked >= rungs[learned.rung] for asked in asks)
    if not full or learned.rung == len(rungs) - 1:
        return found
    streak = learned.streak + full
    if streak < learned.patience:
        return _packed(replace(learned, streak=streak))
    return _packed(Learned(learned.rung + 1, 0, learned.patience))


def _smooth(found: float | None, seconds: float) -> float:
    return round(seconds if found is None else 0.7 * found + 0.3 * seconds, 4)


def _packed(learned: Learned) -> list[int]:
    return [learned.rung, learned.streak, learned.patience]
