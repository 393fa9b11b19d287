"""One ledger, several processes: the budget is shared, the dead hold nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ibkit.connection.asks import LINES
from ibkit.connection.budget import Ask, Charge
from ibkit.connection.ledger import Ledger
from ibkit.connection.pacing import LIMITS
from ibkit.errors import BudgetSpentError, LedgerError

HEAD = """\
import asyncio, os, sys
from pathlib import Path
from ibkit.connection.budget import Ask, Charge
from ibkit.connection.ledger import Ledger
from ibkit.connection.pacing import LIMITS, Limit
PATH = Path(sys.argv[1])
def say(value):
    os.write(1, f"{value}\\n".encode())  # one write: several processes share the pipe
LINE = Ask("lines", (Charge("market data lines", "", 100),))
"""
HOLDS = """
async def main():
    ledger = Ledger(PATH, name="recorder")
    await ledger.admit(LINE)
    await ledger.lease_client_id([7])
    await ledger.admit(Ask("bars", (Charge("real-time bars"),)))
    print("holds", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""
FORKS = """
async def main():
    ledger = Ledger(PATH)
    await ledger.admit(LINE)
    if os.fork() == 0:
        try:
            ledger.gauge()
            print("shared", flush=True)
        except RuntimeError as error:
            print(type(error).__name__, flush=True)
        sys.stdin.read()
        os._exit(0)
    await asyncio.Event().wait()
asyncio.run(main())
"""
# one start of Python for four processes; they begin at the same moment
FOUR = """
for _ in range(4):
    if os.fork() == 0:
        asyncio.run(main())
        os._exit(0)
for _ in range(4):
    os.wait()
"""
SHARES = (
    """
RULE = Limit("requests", 10, 0.5, "")
async def main():
    with Ledger(PATH, limits=[RULE]) as ledger:
        ask = Ask("one", (Charge("requests"),))
        for _ in range(15):
            say((await ledger.admit(ask)).at)
"""
    + FOUR
)
TAKES_ID = (
    """
async def main():
    with Ledger(PATH) as ledger:
        say((await ledger.lease_client_id(range(10, 14))).client_id)
        sys.stdin.readline()
"""
    + FOUR
)
LINE = Ask("a line", (Charge(LINES),))


@pytest.fixture
def start(tmp_path):
    """Start a process on the ledger of this test; all are ended with it."""
    started = []

    def run(body):
        command = [sys.executable, "-c", HEAD + body, str(tmp_path / "pacing.sqlite")]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with suppress(ProcessLookupError):  # everybody of it ended by himself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pacing.sqlite"


def test_four_processes_share_one_budget_and_never_exceed_it(start):
    times = sorted(float(line) for line in start(SHARES).stdout)

    assert len(times) == 60
    for n, first in enumerate(times):
        assert sum(at < first + 0.5 for at in times[n:]) <= 10
    assert times[-1] - times[0] >= 2.5


def test_a_killed_process_frees_its_leases_for_one_that_waits(start, path):
    victim = start(HOLDS)
    assert victim.stdout.readline() == "holds\n"

    async def main():
        with Ledger(path) as ledger:
            with pytest.raises(BudgetSpentError) as full:
                await ledger.admit(LINE, timeout_s=0)
            with pytest.raises(BudgetSpentError) as taken:
                await ledger.lease_client_id([7])
            left = ledger.gauge().left[LINES]
            waiting = asyncio.create_task(ledger.admit(LINE))
            await asyncio.sleep(0)
            victim.send_signal(signal.SIGKILL)
            async with asyncio.timeout(30):
                await waiting
                grant = await ledger.lease_client_id([7])
            holders, gauge = ledger.holders(LINES), ledger.gauge()
            return str(full.value), str(taken.value), left, grant.client_id, holders, gauge

    full, taken, left, client_id, holders, gauge = asyncio.run(main())

    assert f"process {victim.pid} (recorder): 100" in full
    assert f"process {victim.pid} (recorder)" in taken
    assert left == 0
    assert client_id == 7
    assert [holder.pid for holder in holders] == [os.getpid()]
    assert gauge.used["real-time bars"] == 1, "what was sent counts on, at IB, too"


def test_processes_that_start_together_get_client_ids_of_their_own(start, path):
    processes = start(TAKES_ID)
    ids = sorted(int(processes.stdout.readline()) for _ in range(4))

    async def one_more():
        with Ledger(path) as ledger:
            await ledger.lease_client_id(range(10, 14))

    assert ids == [10, 11, 12, 13]
    with pytest.raises(BudgetSpentError, match="client id"):
        asyncio.run(one_more())


def test_a_forked_child_can_neither_use_the_ledger_nor_keep_its_leases(start, path):
    parent = start(FORKS)
    assert parent.stdout.readline() == "LoopThreadError\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()

    with Ledger(path) as ledger:
        held = ledger.gauge().used[LINES]

    assert held == 0  # and the child still runs, until its standard input ends


def test_two_ledgers_of_one_process_count_together(path):
    async def main():
        with Ledger(path) as one, Ledger(path) as two:
            first = await one.lease_client_id([1, 2])
            second = await two.lease_client_id([1, 2])
            await one.admit(LINE)
            return first.client_id, second.client_id, two.gauge().used[LINES]

    assert asyncio.run(main()) == (1, 2, 1)


def test_closing_gives_everything_back(path):
    async def hold():
        with Ledger(path) as ledger:
            await ledger.admit(LINE)
            await ledger.lease_client_id([3])

    asyncio.run(hold())

    with Ledger(path) as ledger:
        assert ledger.gauge().used[LINES] == 0
        assert ledger.holders("client id") == []
        assert len(list(path.with_suffix(".owners").iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(tmp_path / "file" / "pacing.sqlite")


def test_a_file_of_another_format_is_left_alone(path):
    import sqlite3

    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(LedgerError, match="format 99"):
        Ledger(path)


def test_the_clock_goes_on_where_the_last_boot_of_the_machine_left_it(path, monkeypatch):
    """After a start of the machine the monotonic clock is near zero: no row lies in the future."""
    from ibkit import clock

    rule = replace(LIMITS[3], most=1)
    ask = Ask("one", (Charge(rule.what),))

    async def used_after(uptime):
        monkeypatch.setattr(clock, "monotonic", lambda: uptime)
        with Ledger(path, limits=[rule]) as ledger:
            try:
                await ledger.admit(ask, timeout_s=0)
            except BudgetSpentError as error:
                return error.next_s
            return 0.0

    assert asyncio.run(used_after(90_000.0)) == 0
    wait = asyncio.run(used_after(5.0))
    assert 0 < wait <= rule.span_s
    assert asyncio.run(used_after(5.0 + rule.span_s)) == 0


def test_ledgers_that_come_and_go_leave_no_thread_no_file_and_no_owner(path):
    """Closed while some wait, before and after the loop thread that they wait on."""
    import threading

    from ibkit.connection import LoopThread

    full = Ask("all lines", (Charge(LINES, "", 100),))

    async def crowd(ledger, close):
        await ledger.admit(full)
        waiting = [asyncio.ensure_future(ledger.admit(full)) for _ in range(3)]
        await asyncio.sleep(0)  # they begin
        assert ledger.waiting == 3
        if close:
            ledger.close()
            await asyncio.gather(*waiting, return_exceptions=True)

    def cycle(*, close):
        with LoopThread() as thread:
            ledger = Ledger(path)
            thread.run(crowd, ledger, close)
        ledger.close()

    cycle(close=True)
    threads, files = threading.active_count(), len(list(Path("/dev/fd").iterdir()))
    for n in range(20):
        cycle(close=bool(n % 2))

    assert threading.active_count() <= threads
    assert len(list(Path("/dev/fd").iterdir())) <= files
    assert list(path.with_suffix(".owners").iterdir()) == []
