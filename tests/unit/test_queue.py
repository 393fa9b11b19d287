"""The queue of jobs: claims, leases, results, failures; the clocks are in the test's hand."""

from datetime import UTC, datetime

import pytest

from ibkit.errors import JobQueueError, StaleJobError
from ibkit.jobs.queue import Queue
from ibkit.jobs.values import Merge, NewJob


class Clock:
    """Two clocks: the wall's, and one that never jumps."""

    def __init__(self):
        self.wall, self.steady = 1_000_000.0, 0.0

    def pass_(self, seconds):
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(tmp_path, clock):
    """Open the same queue once more, as another process would."""
    opened = []

    def one():
        opened.append(
            Queue(
                tmp_path / "jobs" / "queue.sqlite",
                lease_s=30,
                now=lambda: clock.wall,
                monotonic=lambda: clock.steady,
            )
        )
        return opened[-1]

    yield one
    for each in opened:
        each.close()


@pytest.fixture
def queue(make):
    return make()


def keys(jobs):
    return [job.key for job in jobs]


def test_a_job_of_one_kind_and_key_is_in_once(queue):
    first = queue.add([NewJob("mail", "friday", {"to": "desk"})])
    again = queue.add([NewJob("mail", "friday", {"to": "nobody"}), NewJob("call", "friday")])

    assert again[0] == first[0]
    assert queue.claim(["mail"])[0].payload == {"to": "desk"}


def test_the_higher_priority_goes_first_then_the_lower_turn(queue):
    queue.add(
        [
            NewJob("a", "old", turn=1),
            NewJob("a", "new", turn=0),
            NewJob("a", "urgent", priority=5, turn=9),
        ]
    )

    assert keys(queue.claim(most=5)) == ["urgent", "new", "old"]


def test_not_before_is_heeded(queue, clock):
    later = datetime.fromtimestamp(clock.wall + 60, tz=UTC)
    queue.add([NewJob("a", "1", not_before=later)])

    assert queue.claim() == []
    assert queue.left().due_s == 60
    clock.pass_(60)
    assert keys(queue.claim()) == ["1"]


def test_an_instant_without_a_zone_is_refused_and_nothing_is_added(queue):
    with pytest.raises(ValueError, match="no time zone"):
        queue.add([NewJob("a", "1"), NewJob("a", "2", not_before=datetime(2026, 1, 1))])  # noqa: DTZ001 - what is refused

    assert queue.frame().empty


def test_what_is_claimed_is_nobody_elses(queue, make):
    queue.add([NewJob("a", "1")])

    assert len(queue.claim()) == 1
    assert make().claim() == []


def test_what_a_dead_process_had_is_free_at_once(queue, make):
    other = make()
    queue.add([NewJob("a", "1")])
    queue.begin("its batch")
    queue.claim()
    queue._owner.let_go()  # as the kernel does after kill -9

    [job] = other.claim()

    assert job.token == 2
    assert other.frame()["deaths"].tolist() == [1]
    assert other.workers() == 0


def test_nobody_looks_for_work_in_the_middle_of_anothers_change(queue, make):
    other = make()
    queue.add([NewJob("a", "1")])
    other._db.execute("PRAGMA busy_timeout = 0")

    with queue._change(), pytest.raises(JobQueueError, match="locked"):
        other.claim()

    assert keys(other.claim()) == ["1"]


def test_a_crash_between_the_effect_and_the_end_undoes_the_effect(queue, make, monkeypatch):
    queue.add([NewJob("a", "1")])
    [job] = queue.claim()

    def cut(*_, **__):
        raise RuntimeError("power cut")

    monkeypatch.setattr(queue, "_end", cut)
    with pytest.raises(RuntimeError):
        queue.complete(job, effect=lambda db: db.execute("CREATE TABLE happened (key TEXT)"))

    assert not make()._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'happened'").fetchall()


def test_an_unrenewed_claim_is_lost_and_its_completion_refused(queue, make, clock):
    other = make()
    queue.add([NewJob("a", "1")])
    [mine] = queue.claim()
    clock.pass_(31)
    [theirs] = other.claim()

    with pytest.raises(StaleJobError):
        queue.complete(mine, "mine")
    other.complete(theirs, "theirs")

    assert theirs.token == mine.token + 1
    assert queue.get([mine.id])[0].result == "theirs"


def test_a_claim_that_was_lost_and_taken_again_by_the_same_worker_counts_only_once(queue, clock):
    queue.add([NewJob("a", "1")])
    [old] = queue.claim()
    clock.pass_(31)
    [new] = queue.claim()

    for call in (queue.complete, lambda job: queue.fail(job, "no")):
        with pytest.raises(StaleJobError):
            call(old)
    queue.release([old])
    assert queue.renew([old, new]) == [old]
    queue.complete(new, "once")

    assert queue.get([new.id])[0].result == "once"


def test_a_renewed_claim_holds(queue, make, clock):
    queue.add([NewJob("a", "1")])
    [mine] = queue.claim()
    for _ in range(3):
        clock.pass_(20)
        assert queue.renew([mine]) == []

    assert make().claim() == []
    queue.complete(mine)


def test_renewing_says_what_is_lost(queue, make, clock):
    queue.add([NewJob("a", "1")])
    [mine] = queue.claim()
    clock.pass_(31)
    make().claim()

    assert queue.renew([mine]) == [mine]


def test_a_jump_of_the_systems_clock_ends_no_claim(queue, make, clock):
    queue.add([NewJob("a", "1")])
    queue.claim()
    clock.wall += 86_400

    assert make().claim() == []


def test_a_closed_queue_gives_back_at_once(queue, make):
    queue.add([NewJob("a", "1")])
    queue.claim()
    queue.close()
    other = make()

    [job] = other.claim()

    assert job.key == "1"
    assert other.frame()["deaths"].tolist() == [0]


def test_the_effect_and_the_end_are_one(queue, make, clock):
    other = make()
    queue.add([NewJob("a", "1")])
    [stale] = queue.claim()
    clock.pass_(31)
    [job] = other.claim()

    def pay(db):
        db.execute("CREATE TABLE IF NOT EXISTS paid (key TEXT)")
        db.execute("INSERT INTO paid VALUES ('1')")

    with pytest.raises(StaleJobError):
        queue.complete(stale, effect=pay)
    other.complete(job, effect=pay)

    def look(db):
        seen.append(db.execute("SELECT count(*) FROM paid").fetchone()[0])

    seen = []
    other.add([NewJob("a", "2")])
    other.complete(other.claim()[0], effect=look)
    assert seen == [1]


def test_an_effect_that_fails_leaves_the_job_open(queue):
    queue.add([NewJob("a", "1")])
    [job] = queue.claim()

    def broken(_):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        queue.complete(job, effect=broken)

    assert queue.get([job.id])[0].state == "working"


def test_a_failure_is_tried_again_later_and_is_dead_in_the_end(queue, clock):
    queue.add([NewJob("a", "1", most=2)])
    [job] = queue.claim()
    assert queue.fail(job, "no answer", retry_s=10) == "waiting"
    assert queue.claim() == []
    clock.pass_(10)
    [job] = queue.claim()

    assert queue.fail(job, "still none", retry_s=10) == "dead"
    assert queue.dead()["reason"].tolist() == ["still none"]
    assert queue.left().jobs == 0


def test_a_refusal_of_the_group_ends_all_that_wait_in_it(queue):
    queue.add([NewJob("a", str(n), group="AAPL") for n in range(3)] + [NewJob("a", "other")])
    [job] = queue.claim()

    queue.fail(job, "not subscribed", group=True, result={"kind": "no_permission"})

    assert len(queue.dead()) == 3
    assert keys(queue.claim(most=9)) == ["other"]


def test_what_waits_for_another_goes_when_that_is_done(queue):
    queue.add([NewJob("a", "first"), NewJob("a", "second", after="first")])
    [job] = queue.claim(most=2)
    assert queue.claim() == []

    queue.complete(job)

    assert keys(queue.claim()) == ["second"]


def test_what_waits_for_another_goes_when_that_is_dead_or_dropped(queue):
    queue.add([NewJob("a", "first"), NewJob("a", "second", after="first")])
    queue.fail(queue.claim()[0], "a reason of its own")
    assert keys(queue.claim()) == ["second"]

    [third, _] = queue.add([NewJob("a", "third"), NewJob("a", "fourth", after="third")])
    queue.drop([third])
    assert keys(queue.claim()) == ["fourth"]


def test_a_job_that_kills_its_workers_is_dead_in_the_end(make, clock):
    last = make()
    last.add([NewJob("a", "poison")])
    for _ in range(5):
        assert make().claim()
        clock.pass_(31)

    assert last.claim() == []
    assert "5 workers died" in last.dead()["reason"].iloc[0]


def test_the_dead_can_be_tried_again_or_dropped(queue):
    queue.add([NewJob("a", "1"), NewJob("a", "2")])
    for job in queue.claim(most=2):
        queue.fail(job, "no")
    [first, second] = queue.dead().index

    assert queue.retry([first]) == 1
    assert queue.drop([second]) == 1
    assert keys(queue.claim(most=9)) == ["1"]


def test_what_is_worked_on_is_not_dropped(queue):
    queue.add([NewJob("a", "1")])
    queue.claim()

    assert queue.drop() == 0


def test_done_is_done_unless_wanted_again(queue):
    queue.add([NewJob("a", "1")])
    queue.complete(queue.claim()[0], 7)

    queue.add([NewJob("a", "1")])
    assert queue.claim() == []
    queue.add([NewJob("a", "1")], again=True)
    assert keys(queue.claim()) == ["1"]


def test_a_batch_sees_its_own_jobs_and_those_that_it_shares(queue, make):
    other = make()
    queue.begin("mine")
    other.begin("theirs")
    queue.add([NewJob("a", "1", group="g"), NewJob("a", "x")], batch="mine")

    added, shared = other.merge(
        "g", lambda found: Merge([NewJob("a", "2", group="g")], found), batch="theirs"
    )

    assert len(added) == len(shared) == 1
    assert sorted(keys(other.claim(batch="theirs", most=9))) == ["1", "2"]
    assert queue.workers() == 2


def test_a_finished_batch_leaves_nothing_that_nobody_wants(queue):
    queue.begin("b")
    queue.add([NewJob("a", "1"), NewJob("a", "2")], batch="b")
    queue.complete(queue.claim(batch="b")[0])

    queue.finish("b")

    assert queue.frame()["key"].tolist() == ["2"]


def test_over_tells_each_end_once(queue):
    queue.begin("b")
    queue.add([NewJob("a", "1"), NewJob("a", "2")], batch="b")
    queue.complete(queue.claim(batch="b")[0])
    ended, since = queue.over("b")
    queue.fail(queue.claim(batch="b")[0], "no")

    assert keys(ended) == ["1"]
    assert keys(queue.over("b", since=since)[0]) == ["2"]


def test_a_file_that_is_no_queue_is_said_so(tmp_path):
    path = tmp_path / "queue.sqlite"
    path.write_text("this is no database, and long enough to be seen as none" * 50)

    with pytest.raises(JobQueueError, match="cannot be used"):
        Queue(path)


def test_a_queue_of_another_version_is_refused(queue, make):
    queue._db.execute("PRAGMA user_version = 99")

    with pytest.raises(JobQueueError, match="format 99"):
        make()


def test_a_closed_queue_says_so(queue):
    queue.close()

    with pytest.raises(JobQueueError, match="closed"):
        queue.claim()
