"""The queue under any history of claims, crashes, renewals and clocks: nothing lost, nothing twice.

Workers are queues of their own on one file, as other processes have them. A crash lets go of the
worker's lock, which is what the kernel does after ``kill -9``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from ibkit.errors import StaleJobError
from ibkit.jobs.queue import Queue
from ibkit.jobs.values import NewJob

LEASE_S = 30.0
KEYS = st.sampled_from([f"job {n}" for n in range(4)])
# about as long as a lease, so that many are just over, and many just not
SECONDS = st.sampled_from([1.0, 14.0, 29.0, LEASE_S, 31.0])


class PowerCutError(Exception):
    """The process ends here."""


class Jobs(RuleBasedStateMachine):
    """Workers come, claim, renew, stand still, end their jobs, and die, in any order."""

    claims = Bundle("claims")

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.wall, self.steady = 1e9, 0.0
        self.workers = {}
        self.wanted, self.effects = set(), []
        # what the model knows: who holds a job, until when
        self.held = {}
        self.looker = self.open()
        for key in ("job 0", "job 1"):
            self.add_one(key, 0)

    def open(self):
        queue = Queue(
            Path(self.folder.name) / "queue.sqlite",
            lease_s=LEASE_S,
            now=lambda: self.wall,
            monotonic=lambda: self.steady,
        )
        queue._db.execute("PRAGMA synchronous=OFF")  # no power is cut here; hundreds of runs
        return queue

    def worker(self, n):
        if n not in self.workers:
            self.workers[n] = self.open()
        return self.workers[n]

    def holds(self, queue, job):
        """Whether a claim is the latest of its job, and was not lost."""
        return self.held.get(job.id, (None,))[0] == (id(queue), job.token)

    @rule(key=KEYS, priority=st.integers(0, 2))
    def add(self, key, priority):
        self.add_one(key, priority)

    def add_one(self, key, priority):
        self.looker.add([NewJob("a", key, priority=priority, most=99)])
        self.wanted.add(key)

    @rule(target=claims, n=st.integers(0, 2), most=st.integers(1, 3))
    def claim(self, n, most):
        return self.claimed(n, most)

    @rule(target=claims, n=st.integers(0, 2))
    def overtake(self, n):
        """All stand still until their leases are over, and one of them goes on."""
        self.pass_(LEASE_S)
        return self.claimed(n, 9)

    @rule(target=claims, n=st.integers(0, 2), claim=claims)
    def keep_alive(self, n, claim):
        """One renews in time, and another one looks for work when it would have been over."""
        self.pass_(LEASE_S - 1)
        self.renewed(claim)
        self.pass_(2.0)
        return self.claimed(n, 9)

    @rule(target=claims, n=st.integers(0, 2))
    def contend(self, n):
        """Two look for work at once."""
        first, second = self.claimed(n, 9), self.claimed((n + 1) % 3, 9)
        return multiple(*first.values, *second.values)

    def claimed(self, n, most):
        queue = self.worker(n)
        found = queue.claim(most=most)
        taken = {job.id for job in found}
        for job in found:
            before = self.held.get(job.id)
            # nobody else has it any more: never claimed, given back, dead, or over its time
            assert before is None or before[1] <= self.steady
            assert before is None or job.token > before[0][1]
            self.held[job.id] = ((id(queue), job.token), self.steady + LEASE_S)
        # whoever claims frees all that is over its time, also what he has no hands for
        late = {job for job, (_, until) in self.held.items() if until <= self.steady}
        for job in late - taken:
            del self.held[job]
        return multiple(*((queue, job) for job in found))

    @rule(claim=claims)
    def renew(self, claim):
        self.renewed(claim)

    def renewed(self, claim):
        queue, job = claim
        if queue not in self.workers.values():
            return
        lost = queue.renew([job])
        assert (not lost) == self.holds(queue, job)
        if not lost:
            self.held[job.id] = ((id(queue), job.token), self.steady + LEASE_S)

    @rule(claim=consumes(claims))
    def complete(self, claim):
        queue, job = claim
        if queue not in self.workers.values():
            return
        holds = self.holds(queue, job)
        try:
            queue.complete(job, effect=lambda db: self.happen(db, job.key))
        except StaleJobError:
            assert not holds
        else:
            assert holds
            del self.held[job.id]
            self.effects.append(job.key)

    @rule(claim=consumes(claims))
    def die_between_effect_and_end(self, claim):
        queue, job = claim
        if queue not in self.workers.values() or not self.holds(queue, job):
            return

        def cut(*_, **__):
            raise PowerCutError

        queue._end = cut
        with pytest.raises(PowerCutError):
            queue.complete(job, effect=lambda db: self.happen(db, job.key))
        self.crash(next(n for n, each in self.workers.items() if each is queue))

    @rule(claim=consumes(claims), retry=st.booleans())
    def fail(self, claim, retry):
        queue, job = claim
        if queue not in self.workers.values() or not retry:
            return
        holds = self.holds(queue, job)
        try:
            queue.fail(job, "no", retry_s=0.0)
        except StaleJobError:
            assert not holds
        else:
            assert holds
            del self.held[job.id]

    @rule(claim=consumes(claims))
    def release(self, claim):
        queue, job = claim
        if queue not in self.workers.values():
            return
        queue.release([job])
        if self.holds(queue, job):
            del self.held[job.id]

    @rule(n=st.integers(0, 2))
    def crash(self, n):
        queue = self.workers.pop(n, None)
        if queue is not None:
            queue._owner.let_go()
            queue._db.close()
            self.free(queue)

    @rule(n=st.integers(0, 2))
    def leave(self, n):
        queue = self.workers.pop(n, None)
        if queue is not None:
            queue.close()
            self.free(queue)

    @rule(seconds=SECONDS)
    def pass_(self, seconds):
        self.wall += seconds
        self.steady += seconds

    @rule(seconds=st.floats(-1e6, 1e6))
    def jump(self, seconds):
        self.wall += seconds

    def free(self, queue):
        for job, (who, _) in tuple(self.held.items()):
            if who[0] == id(queue):
                del self.held[job]
        # an id of a closed queue may come again, with another queue
        self.gone = [*getattr(self, "gone", []), queue]

    def happen(self, db, key):
        db.execute("CREATE TABLE IF NOT EXISTS happened (key TEXT)")
        db.execute("INSERT INTO happened VALUES (?)", (key,))

    @invariant()
    def each_effect_happens_once(self):
        if not hasattr(self, "looker"):
            return
        assert len(self.effects) == len(set(self.effects))
        db = self.looker._db
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'happened'").fetchone():
            rows = [row[0] for row in db.execute("SELECT key FROM happened")]
            assert sorted(rows) == sorted(self.effects)

    @invariant()
    def nothing_is_lost(self):
        if hasattr(self, "looker"):
            rows = self.looker._db.execute("SELECT key FROM jobs").fetchall()
            assert {row[0] for row in rows} == self.wanted

    def teardown(self):
        if not hasattr(self, "looker"):
            return
        # whatever happened, one worker who goes on brings every job to its end
        self.steady += LEASE_S
        self.wall = max(self.wall, 1e9) + 1e9
        last = self.open()
        try:
            self.finish(last)
        finally:
            for queue in (last, self.looker, *self.workers.values()):
                queue.close()
            self.folder.cleanup()

    def finish(self, last):
        for _ in range(20):
            for job in last.claim(most=9):
                last.complete(job)
                self.effects.append(job.key)
        frame = last.frame()
        assert set(frame["state"]) <= {"done", "dead"}
        assert (frame["deaths"][frame["state"] == "dead"] >= 5).all()
        assert len(self.effects) == len(set(self.effects))


Jobs.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=25,
    deadline=None,
    # a broken queue is told of within seconds; to shrink such a history takes minutes of disk
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
TestJobs = Jobs.TestCase
