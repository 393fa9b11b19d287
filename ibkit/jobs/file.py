"""The file of a queue: its tables, its owners, its transactions, and the end of a job's claim.

Not here: what may be done with jobs (`queue`).
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from ibkit import clock
from ibkit.connection.owners import Owner
from ibkit.errors import JobQueueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from ibkit.jobs.values import State

VERSION: Final = 1
BUSY_S: Final = 15.0
# a job whose workers keep dying is what kills them
MOST_DEATHS: Final = 5
TABLES: Final = """
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, grp TEXT NOT NULL,
  turn INTEGER NOT NULL, priority INTEGER NOT NULL, payload TEXT NOT NULL, state TEXT NOT NULL,
  due REAL NOT NULL, after INTEGER, most INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
  deaths INTEGER NOT NULL DEFAULT 0, token INTEGER NOT NULL DEFAULT 0,
  owner TEXT NOT NULL DEFAULT '', lease_until REAL NOT NULL DEFAULT 0,
  result TEXT NOT NULL DEFAULT 'null', reason TEXT NOT NULL DEFAULT '', changed REAL NOT NULL,
  ended INTEGER NOT NULL DEFAULT 0,
  UNIQUE (kind, key));
CREATE INDEX IF NOT EXISTS jobs_next ON jobs (state, priority DESC, turn, id);
CREATE INDEX IF NOT EXISTS jobs_group ON jobs (grp, state);
CREATE INDEX IF NOT EXISTS jobs_after ON jobs (after) WHERE after IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_ended ON jobs (ended);
CREATE TABLE IF NOT EXISTS counter (ended INTEGER NOT NULL);
INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);
CREATE TABLE IF NOT EXISTS wanted (
  batch TEXT NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (batch, job)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS wanted_job ON wanted (job);
CREATE TABLE IF NOT EXISTS batches (name TEXT PRIMARY KEY, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS owners (id TEXT PRIMARY KEY, pid INTEGER NOT NULL, name TEXT NOT NULL);
PRAGMA user_version = 1;
"""


class JobFile:
    """One SQLite file of jobs, and our own name among its owners; see `Queue`."""

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float] | None = None,
        monotonic: Callable[[], float] = clock.monotonic,
        name: str = "",
    ) -> None:
        self.path = path
        self._now = now or _wall
        self._monotonic = monotonic
        self._name = name or Path(sys.argv[0] or "python").name
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False
        with self._ours():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._owner = Owner(path.with_suffix(".owners"))
            try:
                self._db = self._open()
            except BaseException:
                self._owner.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what we hold, and leave. Again is allowed, and nothing in a forked child."""
        if self._closed or os.getpid() != self._pid:
            return
        # what stays is found by the next who looks: it has no lock any more
        with suppress(JobQueueError), self._change() as db:
            self._forget(db, self._owner.name, died=False)
        self._closed = True
        with self._lock:
            self._db.close()
            self._owner.close()

    # --- how a claim ends -----------------------------------------------------------------------

    def _end(
        self,
        db: sqlite3.Connection,
        job: int,
        state: State,
        *,
        reason: str = "",
        result: str = "null",
        due: float = 0.0,
    ) -> None:
        ended = db.execute("UPDATE counter SET ended = ended + 1 RETURNING ended").fetchone()[0]
        db.execute(
            "UPDATE jobs SET state = ?, reason = ?, result = ?, due = ?, owner = '', changed = ?, "
            "ended = ? WHERE id = ?",
            (state, reason, result, due, self._now(), ended, job),
        )

    def _free(self, db: sqlite3.Connection, job: int) -> None:
        """Let those go that waited for a job which failed for reasons of its own."""
        db.execute("UPDATE jobs SET state = 'waiting' WHERE after = ? AND state = 'held'", (job,))

    # --- the dead --------------------------------------------------------------------------------

    def _bury(self, db: sqlite3.Connection) -> None:
        """Free what dead processes held, and what was held for too long."""
        rows = db.execute("SELECT id FROM owners WHERE id != ?", (self._owner.name,)).fetchall()
        for (owner,) in rows:
            if not self._owner.alive(owner):
                self._forget(db, owner, died=True)
                self._owner.bury(owner)
        late = db.execute(
            "SELECT id FROM jobs WHERE state = 'working' AND lease_until <= ?",
            (self._monotonic(),),
        ).fetchall()
        self._give_back(db, [row[0] for row in late], died=True)

    def _forget(self, db: sqlite3.Connection, owner: str, *, died: bool) -> None:
        rows = db.execute("SELECT id FROM jobs WHERE owner = ? AND state = 'working'", (owner,))
        self._give_back(db, [row[0] for row in rows.fetchall()], died=died)
        names = db.execute("SELECT name FROM batches WHERE owner = ?", (owner,)).fetchall()
        for (batch,) in names:
            self._forget_batch(db, batch)
        db.execute("DELETE FROM owners WHERE id = ?", (owner,))

    def _forget_batch(self, db: sqlite3.Connection, batch: str) -> None:
        db.execute(
            "DELETE FROM jobs WHERE state = 'done' AND id IN (SELECT job FROM wanted WHERE "
            "batch = ?) AND NOT EXISTS (SELECT 1 FROM wanted WHERE job = jobs.id AND batch != ?)",
            (batch, batch),
        )
        db.execute("DELETE FROM wanted WHERE batch = ?", (batch,))
        db.execute("DELETE FROM batches WHERE name = ?", (batch,))

    def _give_back(self, db: sqlite3.Connection, ids: Sequence[int], *, died: bool) -> None:
        for each in ids:
            db.execute(
                "UPDATE jobs SET state = 'waiting', owner = '', deaths = deaths + ? WHERE id = ?",
                (int(died), each),
            )
            deaths = db.execute("SELECT deaths FROM jobs WHERE id = ?", (each,)).fetchone()[0]
            if deaths >= MOST_DEATHS:
                self._end(db, each, "dead", reason=f"{deaths} workers died, or stood still, at it")
                self._free(db, each)

    # --- the file --------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, VERSION}:
                self._refuse(version)
            if version == 0:
                db.executescript(TABLES)
            db.execute(
                "INSERT INTO owners VALUES (?, ?, ?)", (self._owner.name, self._pid, self._name)
            )
        except BaseException:
            db.close()
            raise
        return db

    def _refuse(self, version: int) -> NoReturn:
        raise JobQueueError(self.path, f"another version of ibkit made it (format {version})")

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """Turn what the disk says into our error."""
        try:
            yield
        except JobQueueError:
            raise
        except (OSError, sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise JobQueueError(self.path, reason) from error

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Yield the file inside one transaction."""
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self._closed or os.getpid() != self._pid:
            raise JobQueueError(self.path, "it was closed here, or belongs to a parent process")
        with self._ours(), self._lock:
            yield self._db


def _wall() -> float:
    return clock.now().timestamp()
