"""The worker: what becomes of a job by what its handler says."""

from __future__ import annotations

import asyncio

import pytest

from ibkit.errors import JobQueueError, NotConnectedError
from ibkit.jobs import AgainError, Done, NewJob, Queue, RefusedError, Worker
from ibkit.jobs.backfill import Share


@pytest.fixture
def queue(tmp_path):
    with Queue(tmp_path / "queue.sqlite") as one:
        yield one


def work(queue, handler, **options):
    asyncio.run(Worker(queue, {"a": handler}, **options).run())


def test_results_are_kept_and_told(queue):
    told = []
    queue.add([NewJob("a", str(n), {"n": n}) for n in range(3)])

    async def square(job):
        return job.payload["n"] ** 2

    work(queue, square, ended=lambda *each: told.append(each[1:]))

    assert told == [("done", 0), ("done", 1), ("done", 4)]
    assert [job.result for job in queue.get([1, 2, 3])] == [0, 1, 4]


def test_so_many_at_once_and_no_more(queue):
    queue.add([NewJob("a", str(n)) for n in range(10)])
    open_, most = set(), []

    async def handler(job):
        open_.add(job.id)
        most.append(len(open_))
        await asyncio.sleep(0)
        open_.discard(job.id)

    work(queue, handler, slots=lambda: 4)

    assert max(most) == 4


def test_who_ends_makes_room_for_the_next_without_a_barrier(queue):
    queue.add([NewJob("a", str(n)) for n in range(4)])
    others_done = asyncio.Event()
    order = []

    async def handler(job):
        if job.key == "0":
            await others_done.wait()  # the slow one holds its own place, not the others'
        order.append(job.key)
        if len(order) == 3:
            others_done.set()

    work(queue, handler, slots=lambda: 2)

    assert order[-1] == "0"


def test_again_is_tried_again_and_refused_is_not(queue):
    queue.add([NewJob("a", "shy"), NewJob("a", "never")])
    tries = []

    async def handler(job):
        tries.append(job.key)
        if job.key == "never":
            raise RefusedError("no such thing", result={"kind": "unknown"})
        if tries.count("shy") < 3:
            raise AgainError("not now", 0.0)

    work(queue, handler)

    assert tries.count("shy") == 3
    assert tries.count("never") == 1
    assert queue.dead()["reason"].tolist() == ["no such thing"]


def test_a_handler_that_breaks_is_listed_with_its_error(queue):
    queue.add([NewJob("a", "1", most=1)])

    async def broken(_):
        raise ZeroDivisionError("by nothing")

    work(queue, broken)

    assert queue.dead()["reason"].tolist() == ["ZeroDivisionError: by nothing"]


def test_what_ends_everything_gives_all_back(queue):
    queue.add([NewJob("a", str(n)) for n in range(3)])
    begun = []

    async def handler(job):
        begun.append(job.id)
        if len(begun) == 3:
            raise NotConnectedError("closed", "this")
        await asyncio.Event().wait()

    with pytest.raises(NotConnectedError):
        work(queue, handler, slots=lambda: 3, fatal=(NotConnectedError,))

    frame = queue.frame()
    assert frame["state"].tolist() == ["waiting"] * 3
    assert frame["failures"].sum() == frame["deaths"].sum() == 0


def test_a_cancelled_worker_gives_all_back(queue):
    queue.add([NewJob("a", str(n)) for n in range(3)])

    async def main():
        begun = asyncio.Event()

        async def handler(_):
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(Worker(queue, {"a": handler}, slots=lambda: 2).run())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert queue.frame()["state"].tolist() == ["waiting"] * 3


def test_a_job_that_was_taken_over_is_stopped_and_said_nothing_about(tmp_path):
    steady = [0.0]
    path = tmp_path / "queue.sqlite"
    with (
        Queue(path, lease_s=0.03, monotonic=lambda: steady[0]) as mine,
        Queue(path, lease_s=3600, monotonic=lambda: steady[0]) as theirs,
    ):
        mine.add([NewJob("a", "1")])
        stopped = []

        async def handler(job):
            steady[0] += 1
            [taken] = theirs.claim()
            assert taken.token == job.token + 1
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(job.key)
                theirs.complete(taken, "theirs")

        work(mine, handler)

        assert stopped == ["1"]
        assert mine.get([1])[0].result == "theirs"


def test_a_queue_that_breaks_ends_the_worker(queue):
    queue.add([NewJob("a", "1")])

    async def handler(_):
        queue._db.close()

    with pytest.raises(JobQueueError):
        work(queue, handler)
    queue._closed = True


def test_an_effect_is_written_with_the_result(queue):
    queue.add([NewJob("a", "1")])

    async def handler(job):
        return Done(job.key, lambda db: db.execute("CREATE TABLE mine AS SELECT 7 AS seven"))

    work(queue, handler)

    assert queue._db.execute("SELECT seven FROM mine").fetchone()[0] == 7


def test_the_share_is_smaller_the_more_there_are(tmp_path):
    with Queue(tmp_path / "q.sqlite") as one, Queue(tmp_path / "q.sqlite") as two:
        share = Share(one)
        one.begin("mine")
        one.begin("mine, too")
        share.count()
        assert share.of(32) == 32
        two.begin("theirs")
        share.count()
        assert share.of(32) == 16
        assert share.of(1) == 1
