"""A queue of jobs on the disk: any kind of work, each done once, whoever dies meanwhile.

One SQLite file (WAL, ``synchronous=FULL``), for all processes of one machine. A worker claims a
job by a lease with a number that grows at each claim (a fencing token), and renews it while it
works; whoever comes with an older number is refused. A lease ends when its time is over, on a
clock that no change of the system's time moves, or at once when its process is dead. Blocking:
services call it in a worker thread. Not here: doing the work (`worker`).

What is promised: a job is `done` once, by the one completion that carries the newest number; that
completion, its result, and what its `effect` writes into this file are one transaction. An effect
elsewhere may happen more than once, when a worker died after it and before it said so: give it an
idempotence key (the job's ``kind`` and ``key`` never change), or make it repeatable, as upserts of
the store are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ibkit import clock
from ibkit.errors import StaleJobError
from ibkit.jobs.file import JobFile
from ibkit.jobs.values import Job, Left, Merge, NewJob, State, read_job

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import pandas as pd

LEASE_S: Final = 30.0
# columns of the frame that people see
SHOWN: Final = (
    "id", "kind", "key", "state", "priority", "failures", "deaths", "due", "changed", "reason",
)  # fmt: skip
LIVE: Final = "('held', 'waiting', 'working')"


class Queue(JobFile):
    """The jobs of one data root.

    Parameters
    ----------
    path : Path
        The file; made with mode 0600, its folder with 0700.
    lease_s : float
        How long a claim holds without being renewed.
    now, monotonic : callable, optional
        The clocks: seconds since 1970 for `not_before`, and one for leases that never jumps.
    name : str
        Who works, for people.

    Raises
    ------
    JobQueueError
        The file cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ibkit.jobs import NewJob, Queue
    >>> with tempfile.TemporaryDirectory() as folder, Queue(Path(folder) / "q.sqlite") as queue:
    ...     queue.add([NewJob("mail", "report of Friday", {"to": "desk"})])
    ...     [job] = queue.claim()
    ...     queue.complete(job, {"sent": True})
    ...     queue.add([NewJob("mail", "report of Friday", {"to": "desk"})])  # done: not again
    ...     queue.claim()
    [1]
    [1]
    []
    """

    def __init__(
        self,
        path: Path,
        *,
        lease_s: float = LEASE_S,
        now: Callable[[], float] | None = None,
        monotonic: Callable[[], float] = clock.monotonic,
        name: str = "",
    ) -> None:
        super().__init__(path, now=now, monotonic=monotonic, name=name)
        self.lease_s = lease_s

    # --- in --------------------------------------------------------------------------------------

    def add(self, jobs: Iterable[NewJob], *, batch: str = "", again: bool = False) -> list[int]:
        """Put jobs in, all or none; return their numbers.

        Parameters
        ----------
        jobs : iterable of NewJob
            One whose kind and key are known already is that job, and is not put in a second time.
        batch : str
            A name for all of them together, see `claim`; they are added to it.
        again : bool
            Whether one that is done is done again. One that is dead gets a new life anyway.

        Raises
        ------
        ValueError
            A `not_before` has no zone.
        """
        with self._change() as db:
            return self._add(db, jobs, batch, again=again)

    def merge(
        self,
        group: str,
        make: Callable[[Sequence[Job]], Merge],
        *,
        batch: str = "",
    ) -> tuple[list[int], list[int]]:
        """Put jobs in, knowing what of their group is there, in one transaction.

        Parameters
        ----------
        group : str
            Whose jobs `make` gets: all but those that are done.
        make : callable
            Pure: what is to become of the group.
        batch : str
            Gets all of them.

        Returns
        -------
        tuple of list of int
            The numbers of the added and of the shared ones.
        """
        with self._change() as db:
            self._bury(db)
            query = "SELECT * FROM jobs WHERE grp = ? AND state != 'done' ORDER BY turn, id"
            found = make([read_job(row) for row in db.execute(query, (group,))])
            for job in found.superseded:
                db.execute("DELETE FROM jobs WHERE id = ? AND state = 'dead'", (job.id,))
                if job.state in {"held", "waiting"}:
                    self._end(db, job.id, "done")
            added = self._add(db, found.fresh, batch, again=True)
            ids = [job.id for job in found.shared]
            self._want(db, batch, ids)
            for each in ids:  # one that waits for another which nobody may care for any more
                db.execute(
                    "UPDATE jobs SET state = 'waiting', after = NULL WHERE id = ? AND "
                    "state = 'held' AND after NOT IN (SELECT job FROM wanted WHERE batch = ?)",
                    (each, batch),
                )
        return added, ids

    # --- work ------------------------------------------------------------------------------------

    def claim(
        self, kinds: Iterable[str] | None = None, *, batch: str = "", most: int = 1
    ) -> list[Job]:
        """Take up to `most` jobs that may start now, the first in line first.

        Parameters
        ----------
        kinds : iterable of str, optional
            Only these.
        batch : str
            Only jobs that were added, or merged, under this name.
        most : int
            How many.
        """
        words = ["state = 'waiting'", "due <= ?"]
        values: list[Any] = [self._now()]
        if kinds is not None:
            known = list(kinds)
            words.append(f"kind IN ({', '.join('?' * len(known))})")
            values += known
        if batch:
            words.append("EXISTS (SELECT 1 FROM wanted WHERE batch = ? AND job = jobs.id)")
            values.append(batch)
        query = (
            f"SELECT id FROM jobs WHERE {' AND '.join(words)} "  # noqa: S608 - our own words
            "ORDER BY priority DESC, turn, id LIMIT ?"
        )
        with self._change() as db:
            self._bury(db)
            ids = [row[0] for row in db.execute(query, (*values, most)).fetchall()]
            until = self._monotonic() + self.lease_s
            for each in ids:
                db.execute(
                    "UPDATE jobs SET state = 'working', token = token + 1, owner = ?, "
                    "lease_until = ?, changed = ? WHERE id = ?",
                    (self._owner.name, until, self._now(), each),
                )
            return self._read(db, ids)

    def renew(self, jobs: Iterable[Job]) -> list[Job]:
        """Hold claims for another `lease_s`; return those that somebody else has by now."""
        lost = []
        with self._change() as db:
            until = self._monotonic() + self.lease_s
            for job in jobs:
                done = db.execute(
                    "UPDATE jobs SET lease_until = ? WHERE id = ? AND token = ? AND owner = ? "
                    "AND state = 'working'",
                    (until, job.id, job.token, self._owner.name),
                )
                if not done.rowcount:
                    lost.append(job)
        return lost

    def complete(
        self,
        job: Job,
        result: Any = None,
        *,
        effect: Callable[[sqlite3.Connection], object] | None = None,
    ) -> None:
        """End a job well.

        Parameters
        ----------
        job : Job
            As it was claimed.
        result : object
            Kept with it, as JSON.
        effect : callable
            Writes what has to happen exactly once into tables of its own in this file: it gets the
            connection, inside the transaction, and only if the claim still holds.

        Raises
        ------
        StaleJobError
            The claim was lost, and another one has the job: nothing was written.
        """
        text = json.dumps(result)
        with self._change() as db:
            self._check(db, job)
            if effect is not None:
                effect(db)
            self._end(db, job.id, "done", result=text)
            db.execute(
                "UPDATE jobs SET state = 'waiting' WHERE after = ? AND state = 'held'", (job.id,)
            )

    def fail(
        self,
        job: Job,
        reason: str,
        *,
        retry_s: float | None = None,
        group: bool = False,
        result: Any = None,
    ) -> State:
        """Say that a job did not work; return whether it is ``waiting`` for a retry or ``dead``.

        Parameters
        ----------
        job : Job
            As it was claimed.
        reason : str
            For people.
        retry_s : float, optional
            Try again after so long, unless it has failed too often; None: never.
        group : bool
            It would be the same with all that wait in its group: they are dead with it.
        result : object
            More about it, kept as JSON.

        Raises
        ------
        StaleJobError
            The claim was lost.
        """
        text = json.dumps(result)
        with self._change() as db:
            self._check(db, job)
            db.execute("UPDATE jobs SET failures = failures + 1 WHERE id = ?", (job.id,))
            again = retry_s is not None and job.failures + 1 < job.most
            if again:
                due = self._now() + (retry_s or 0.0)
                self._end(db, job.id, "waiting", reason=reason, result=text, due=due)
                return "waiting"
            self._end(db, job.id, "dead", reason=reason, result=text)
            if group and job.group:
                same = "SELECT id FROM jobs WHERE grp = ? AND state IN ('held', 'waiting')"
                for row in db.execute(same, (job.group,)).fetchall():
                    self._end(db, row[0], "dead", reason=reason, result=text)
            self._free(db, job.id)
            return "dead"

    def release(self, jobs: Iterable[Job]) -> None:
        """Give claims back, as if they had never been; those that are lost already stay so."""
        with self._change() as db:
            for job in jobs:
                db.execute(
                    "UPDATE jobs SET state = 'waiting', owner = '' WHERE id = ? AND token = ? "
                    "AND owner = ? AND state = 'working'",
                    (job.id, job.token, self._owner.name),
                )

    # --- looking ---------------------------------------------------------------------------------

    def left(self, kinds: Iterable[str] | None = None, *, batch: str = "") -> Left:
        """Return how much is not over yet, and when the next may start."""
        words, values = [f"state IN {LIVE}"], list[Any]()
        if kinds is not None:
            known = list(kinds)
            words.append(f"kind IN ({', '.join('?' * len(known))})")
            values += known
        if batch:
            words.append("id IN (SELECT job FROM wanted WHERE batch = ?)")
            values.append(batch)
        query = (
            "SELECT count(*), min(CASE WHEN state = 'waiting' THEN due END) "  # noqa: S608 - our own words
            f"FROM jobs WHERE {' AND '.join(words)}"
        )
        with self._reading() as db:
            count, due = db.execute(query, values).fetchone()
        return Left(count, None if due is None else max(0.0, due - self._now()))

    def over(self, batch: str, *, since: int = 0) -> tuple[list[Job], int]:
        """Return the jobs of a batch that ended after `since`, and the number to ask with next."""
        query = (
            "SELECT * FROM jobs WHERE ended > ? AND state IN ('done', 'dead') AND "
            "EXISTS (SELECT 1 FROM wanted WHERE batch = ? AND job = jobs.id) ORDER BY ended"
        )
        with self._reading() as db:
            rows = db.execute(query, (since, batch)).fetchall()
        return [read_job(row) for row in rows], max((row["ended"] for row in rows), default=since)

    def get(self, ids: Sequence[int]) -> list[Job]:
        """Return the jobs with these numbers."""
        with self._reading() as db:
            return self._read(db, ids)

    def workers(self) -> int:
        """Return how many living processes, or parts of them, have a batch under way."""
        with self._change() as db:
            self._bury(db)
            return int(db.execute("SELECT count(DISTINCT owner) FROM batches").fetchone()[0])

    def frame(self, state: State | None = None) -> pd.DataFrame:
        """Return the jobs as a frame, the first in line first.

        Returns
        -------
        DataFrame
            Index ``id``; ``kind key state priority failures deaths due changed reason``, instants
            in UTC.
        """
        import pandas as pd

        where, values = ("WHERE state = ?", (state,)) if state else ("", ())
        query = f"SELECT {', '.join(SHOWN)} FROM jobs {where} ORDER BY priority DESC, turn, id"  # noqa: S608 - our own words
        with self._reading() as db:
            rows = [tuple(row) for row in db.execute(query, values)]
        frame = pd.DataFrame(rows, columns=list(SHOWN)).set_index("id")
        for name in ("due", "changed"):
            stamps = pd.to_datetime(frame[name].astype(float), unit="s", utc=True)
            frame[name] = stamps.astype("datetime64[us, UTC]")
        return frame

    def dead(self) -> pd.DataFrame:
        """Return the dead letters: what failed for good, with its reason; see `frame`."""
        return self.frame("dead")

    # --- by hand ---------------------------------------------------------------------------------

    def retry(self, ids: Iterable[int] | None = None) -> int:
        """Give dead jobs a new life; all of them if none is named. Return how many."""
        with self._change() as db:
            return self._each(db, _REVIVE + " WHERE state = 'dead'", ids, (self._now(),))

    def drop(self, ids: Iterable[int] | None = None) -> int:
        """Remove jobs that nobody works on; all such if none is named. Return how many."""
        with self._change() as db:
            self._bury(db)
            count = self._each(db, "DELETE FROM jobs WHERE state != 'working'", ids)
            db.execute("DELETE FROM wanted WHERE job NOT IN (SELECT id FROM jobs)")
            db.execute(
                "UPDATE jobs SET state = 'waiting', after = NULL "
                "WHERE state = 'held' AND after NOT IN (SELECT id FROM jobs)"
            )
            return count

    def begin(self, batch: str) -> None:
        """Say that we have a batch under way; it is forgotten when we are dead."""
        with self._change() as db:
            db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?)", (batch, self._owner.name))

    def finish(self, batch: str) -> None:
        """Forget a batch, and those of its jobs that are done and that nobody else wants."""
        with self._change() as db:
            self._forget_batch(db, batch)

    def prune(self, older_s: float) -> int:
        """Forget what has been done for longer than that; return how many jobs that were."""
        with self._change() as db:
            query = "DELETE FROM jobs WHERE state = 'done' AND changed < ?"
            return db.execute(query, (self._now() - older_s,)).rowcount

    # --- rows ------------------------------------------------------------------------------------

    def _add(
        self, db: sqlite3.Connection, jobs: Iterable[NewJob], batch: str, *, again: bool
    ) -> list[int]:
        ids = [self._add_one(db, job, again=again) for job in jobs]
        self._want(db, batch, ids)
        return ids

    def _add_one(self, db: sqlite3.Connection, job: NewJob, *, again: bool) -> int:
        found = db.execute(
            "SELECT id, state FROM jobs WHERE kind = ? AND key = ?", (job.kind, job.key)
        ).fetchone()
        if found is not None and (
            found[1] not in {"done", "dead"} or (found[1] == "done" and not again)
        ):
            return int(found[0])
        if job.not_before is not None and job.not_before.tzinfo is None:
            raise ValueError(f"not_before={job.not_before} of the job {job.key!r} has no time zone")
        first = self._first(db, job)
        due = job.not_before.timestamp() if job.not_before else 0.0
        row = (
            job.group, job.turn, job.priority, json.dumps(job.payload),
            "held" if first else "waiting", due, first, job.most, self._now(),
        )  # fmt: skip
        if found is not None:
            db.execute(
                "UPDATE jobs SET grp = ?, turn = ?, priority = ?, payload = ?, state = ?, due = ?, "
                "after = ?, most = ?, changed = ?, failures = 0, deaths = 0, reason = '', "
                "result = 'null' WHERE id = ?",
                (*row, found[0]),
            )
            return int(found[0])
        done = db.execute(
            "INSERT INTO jobs (kind, key, grp, turn, priority, payload, state, due, after, most, "
            "changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (job.kind, job.key, *row),
        )
        return int(done.lastrowid or 0)

    def _first(self, db: sqlite3.Connection, job: NewJob) -> int | None:
        """Return the job that this one has to wait for, if that is not over."""
        if not job.after:
            return None
        row = db.execute(
            f"SELECT id FROM jobs WHERE kind = ? AND key = ? AND state IN {LIVE}",  # noqa: S608 - our own words
            (job.kind, job.after),
        ).fetchone()
        return int(row[0]) if row else None

    def _want(self, db: sqlite3.Connection, batch: str, ids: Iterable[int]) -> None:
        if batch:
            rows = ((batch, each) for each in ids)
            db.executemany("INSERT OR IGNORE INTO wanted VALUES (?, ?)", rows)

    def _read(self, db: sqlite3.Connection, ids: Sequence[int]) -> list[Job]:
        rows = (db.execute("SELECT * FROM jobs WHERE id = ?", (each,)).fetchone() for each in ids)
        return [read_job(row) for row in rows if row is not None]

    def _check(self, db: sqlite3.Connection, job: Job) -> None:
        row = db.execute("SELECT state, token, owner FROM jobs WHERE id = ?", (job.id,)).fetchone()
        if row is None or tuple(row) != ("working", job.token, self._owner.name):
            raise StaleJobError(job.kind, job.key)

    def _each(
        self,
        db: sqlite3.Connection,
        query: str,
        ids: Iterable[int] | None,
        values: tuple[Any, ...] = (),
    ) -> int:
        if ids is None:
            return db.execute(query, values).rowcount
        return sum(db.execute(f"{query} AND id = ?", (*values, each)).rowcount for each in ids)


_REVIVE: Final = (
    "UPDATE jobs SET state = 'waiting', after = NULL, failures = 0, deaths = 0, due = 0, "
    "changed = ?"
)
