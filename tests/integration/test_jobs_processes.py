"""The queue and the backfill among real processes: kill -9, two at once, a gateway restart."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

import ibkit
from ibkit.jobs import NewJob, Queue
from ibkit.sim import launch
from ibkit.store import Store

WORK = """
import asyncio, sys
from pathlib import Path
from ibkit.jobs import Done, Queue, Worker

async def handler(job):
    print("begun", job.key, flush=True)
    if sys.argv[2] == "hang":
        await asyncio.Event().wait()
    def effect(db):
        db.execute("CREATE TABLE IF NOT EXISTS happened (key TEXT)")
        db.execute("INSERT INTO happened VALUES (?)", (job.key,))
    return Done(job.key, effect)

async def main():
    with Queue(Path(sys.argv[1])) as queue:
        await Worker(queue, {"a": handler}, slots=lambda: 3).run()

asyncio.run(main())
"""
BACKFILL = """
import sys, ibkit
with ibkit.connect("sim", root=sys.argv[1], client_id="auto") as kit:
    print("ready", flush=True)
    sys.stdin.readline()
    report = kit.backfill(sys.argv[3:], "1 min", days=int(sys.argv[2]), end="2026-10-21",
                          progress=False)
    print(report.requests, int(report.frame["elsewhere"].sum()), report.rows_new, flush=True)
"""
SYMBOLS, DAYS = ["AAPL", "MSFT", "SPY"], 12
ROWS = len(SYMBOLS) * DAYS * 390


def run(code, *args):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )


@pytest.fixture
def started():
    """Start processes; whatever is left of them ends with the test."""
    processes = []

    def start(code, *args):
        processes.append(run(code, *args))
        return processes[-1]

    yield start
    for each in processes:
        each.kill()
        each.communicate()


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IBKIT_DATA", raising=False)
    (tmp_path / "ibkit.toml").touch()
    folder = tmp_path / "data" / "sim"
    launch.start_or_join(folder)
    yield folder
    launch.stop(folder)


def begin(process):
    """Let a backfill go that has said it is ready."""
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


def answered(root):
    """How often each span of each series was written, by the store's journal."""
    store = Store(root)
    counts = Counter()
    for slug in store.instruments("bars_1min"):
        log = store.history("bars_1min", slug)
        counts.update(log["request"])
    return counts


def test_after_kill_9_another_worker_goes_on_at_once_and_every_effect_happens_once(
    tmp_path, started
):
    path = tmp_path / "queue.sqlite"
    with Queue(path, lease_s=3600) as queue:
        queue.add([NewJob("a", str(n)) for n in range(20)])
    victim = started(WORK, path, "hang")
    for _ in range(3):
        assert victim.stdout.readline().startswith("begun")
    victim.send_signal(signal.SIGKILL)
    victim.wait()

    workers = [started(WORK, path, "work") for _ in range(2)]
    for each in workers:
        each.communicate(timeout=60)

    with Queue(path) as queue:
        assert set(queue.frame()["state"]) == {"done"}
        assert queue.frame()["deaths"].sum() == 3
        rows = queue._db.execute("SELECT key FROM happened").fetchall()
    assert sorted(int(row[0]) for row in rows) == list(range(20))


def test_two_backfills_at_once_share_the_work_and_ask_nothing_twice(root, started):
    both = [started(BACKFILL, root, DAYS, *SYMBOLS) for _ in range(2)]
    for each in both:
        begin(each)
    told = [each.communicate(timeout=120)[0].split() for each in both]

    assert sum(int(rows) for _, _, rows in told) == ROWS
    assert Store(root).coverage()["rows"].sum() == ROWS
    assert max(answered(root).values()) == 3  # the same words, once for each of three instruments


def test_a_killed_backfill_is_finished_by_the_next_run(root, started):
    victim = started(BACKFILL, root, DAYS, *SYMBOLS)
    begin(victim)
    while not len(Store(root).coverage()):
        assert victim.poll() is None
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    before = int(Store(root).coverage()["rows"].sum())

    with ibkit.connect("sim", root=root, client_id="auto") as kit:
        report = kit.backfill(SYMBOLS, "1 min", days=DAYS, end="2026-10-21", progress=False)

    assert before + report.rows_new == ROWS
    assert max(answered(root).values()) == 3


def test_a_gateway_that_restarts_in_the_middle_is_waited_for(root):
    def again():
        launch.stop(root)
        launch.start_or_join(root)

    with ibkit.connect("sim", root=root) as kit:
        asked, ask = [], kit.link.request

        async def asking(name, call, **how):
            if name == "historical data":
                asked.append(name)
                if len(asked) == 10:
                    await asyncio.to_thread(again)
            return await ask(name, call, **how)

        kit.link.request = asking
        report = kit.backfill(SYMBOLS, "1 min", days=DAYS, end="2026-10-21")

    assert report.complete
    assert Store(root).coverage()["rows"].sum() == ROWS
    assert max(answered(root).values()) == 3


def test_what_a_killed_backfill_left_can_be_done_by_a_worker(root, started):
    victim = started(BACKFILL, root, DAYS, *SYMBOLS)
    begin(victim)
    while not len(Store(root).coverage()):
        assert victim.poll() is None
    victim.send_signal(signal.SIGKILL)
    victim.wait()

    worker = started("from ibkit.cli import main; main()", "jobs", "work")
    told = worker.communicate(timeout=120)[0]

    assert "0 failed" in told
    assert Store(root).coverage()["rows"].sum() == ROWS
    assert len(Store(root).verify()) == 0
