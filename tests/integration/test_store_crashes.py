"""Kill -9 at any instant, many writers at once: nothing acknowledged is lost, all is readable.

A process that has imported everything forks a fresh writer for each kill, so hundreds take
seconds. `IBKIT_KILLS` sets how many (200).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from ibkit.errors import UnknownSeriesError
from ibkit.store import Store

KILLS = int(os.environ.get("IBKIT_KILLS", "200"))
START = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)  # half an hour before a month ends
MINUTES = 60
SLUG = "STK-AAPL-SMART-USD"

# Reads lines "number seconds count options…"; forks a writer called `number` that works until it
# has done `count` things, and kills it after `seconds` (0: never). What it begins and what was
# acknowledged goes to a file of its own, in single writes that outlive the kill. Prints the
# number when the writer is gone.
NURSERY = """
import gc, json, os, random, select, signal, sys, threading, traceback
from contextlib import nullcontext
import pandas as pd
from ibkit import clock
from ibkit.store import Store, medium
root, out = sys.argv[1:]
start = pd.Timestamp("2026-10-31 23:30", tz="UTC")

def bars(first, end, number):
    index = pd.date_range(start + pd.Timedelta(minutes=first), periods=end - first, freq="min")
    return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), number), index=index)

def ticks(writer, first, end):
    ts = start + pd.to_timedelta(range(first, end), unit="s")
    facts = {"price": float(writer), "recorder": f"r{writer}", "seq": range(first, end)}
    return pd.DataFrame({"ts": ts, **facts})

def work(root, writer, count, options):
    if "unlocked" in options:
        medium.exclusive = lambda path, timeout_s: nullcontext()
    log = os.open(f"{out}/{writer}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    say = lambda *words: os.write(log, (json.dumps([*words, clock.monotonic()]) + "\\n").encode())
    dice, store = random.Random(writer), Store(root)
    stream = store.appender("trades", "AAPL", source="IB", rotate_s=0.01)
    seq = 0
    for n in range(count):
        number = writer * 10_000 + n + 1
        kind = "bars" if "unlocked" in options else dice.choice(["bars", "bars", "ticks", "seal"])
        if kind == "bars":
            first = dice.randrange(50)
            end = first + dice.randrange(1, 11)
            frame = bars(first, end, float(number))
            say("begin", kind, number, first, end)
            store.write_bars("AAPL", "1 min", frame, span=(frame.index[0], frame.index[-1]
                + pd.Timedelta(minutes=1)))
            say("done", kind, number, first, end)
        elif kind == "ticks":
            end = seq + dice.randrange(1, 5)
            frame = ticks(writer, seq, end)
            say("begin", kind, number, seq, end)
            stream.append(frame)
            say("done", kind, number, seq, end)
            seq = end
        else:
            store.compact("trades", grace_s=0)
    os._exit(0)

def raise_one(number, seconds, count, options):
    ready, born = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(born, b"!")
        try:
            work(root, number, count, options)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(born)
    os.read(ready, 1)
    os.close(ready)
    if seconds:
        select.select([], [], [], seconds)
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(number, flush=True)

os.makedirs(out, exist_ok=True)
warm = Store(root + "-warm")
warm.write_bars("AAPL", "1 min", bars(0, 1, 1.0)); warm.bars("AAPL", "1 min")
with warm.appender("trades", "AAPL", source="IB") as stream:
    stream.append(ticks(0, 0, 1))
warm.compact()
gc.freeze()  # children copy no page that a collection would touch
threads = []
for line in sys.stdin:
    number, seconds, count, *options = line.split()
    args = (int(number), float(seconds), int(count), options)
    thread = threading.Thread(target=raise_one, args=args)
    thread.start()
    threads.append(thread)
for thread in threads:
    thread.join()
"""

# reads until told to stop; dies of the first frame that is not whole
READER = """
import sys, threading
from ibkit.errors import UnknownSeriesError
from ibkit.store import Store
store, stop, reads = Store(sys.argv[1]), threading.Event(), 0
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
trades, most = store._table("trades"), 0
while not stop.is_set() or not reads:
    try:
        bars = store.bars("AAPL", "1 min")
    except UnknownSeriesError:
        continue
    assert bars.index.is_unique and bars.index.is_monotonic_increasing, "doubled or unsorted"
    assert (bars["open"] == bars["close"]).all(), "torn row"
    ticks = trades.read("STK-AAPL-SMART-USD", None, None, columns=["ts", "recorder", "seq"])
    keys = set(zip(ticks["recorder"].to_pylist(), ticks["seq"].to_pylist()))
    assert len(keys) == ticks.num_rows, "a tick twice"
    assert len(keys) >= most, "a tick that was seen is gone"
    most = len(keys); reads += 1
print(reads)
"""


@dataclass(frozen=True)
class Op:
    """One write: what, the number it wrote, which rows, when it began and was acknowledged."""

    kind: str
    number: int
    first: int
    end: int
    began: float
    done: float  # infinite: its writer was killed first


class Nursery:
    """Raises writers, kills them, and knows what they did."""

    def __init__(self, tmp_path):
        self.root, self._out = tmp_path / "root", tmp_path / "out"
        command = [sys.executable, "-c", NURSERY, str(self.root), str(self._out)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.raised = 0

    def run(self, kills, count=10_000, options=""):
        """Run one writer for each of `kills` (seconds; 0: to its end), and wait for all."""
        for seconds in kills:
            self.raised += 1
            self._process.stdin.write(f"{self.raised} {seconds} {count} {options}\n")
        self._process.stdin.flush()
        for _ in kills:
            assert self._process.stdout.readline(), "the nursery died"

    def ops(self):
        """Return what all writers did, with what the kill left open."""
        found = []
        for path in self._out.iterdir():
            begun = None
            for line in path.read_text().splitlines():
                what, kind, number, first, end, at = json.loads(line)
                if what == "begin":
                    begun = Op(kind, number, first, end, at, float("inf"))
                else:
                    found.append(Op(kind, number, first, end, begun.began, at))
                    begun = None
            found += [begun] if begun else []
        return found

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture
def nursery(tmp_path):
    nursery = Nursery(tmp_path)
    yield nursery
    nursery.close()


def wrong_bars(found: dict[int, int], ops: list[Op]) -> list[str]:
    """Return the rows that no order of the writes explains; a killed one may or may not count."""
    by_number = {op.number: op for op in ops}
    wrong = []
    for minute in range(MINUTES):
        acked = [op for op in ops if op.first <= minute < op.end and op.done < float("inf")]
        number = found.get(minute)
        winner = by_number.get(number)
        if number is None:
            wrong += [f"minute {minute} is lost"] if acked else []
        elif winner is None or not winner.first <= minute < winner.end:
            wrong.append(f"minute {minute}: nobody wrote {number} there")
        elif any(op.began > winner.done for op in acked):
            wrong.append(f"minute {minute}: {winner} outlived a later write")
    return wrong


def wrong_ticks(found: list[tuple[str, int]], ops: list[Op]) -> list[str]:
    """Return what is lost, doubled, torn or made up; a batch is there whole or not at all."""
    here, wrong = set(found), []
    if len(here) != len(found):
        wrong.append("a tick is there twice")
    explained = set()
    for op in ops:
        batch = {(f"r{op.number // 10_000}", seq) for seq in range(op.first, op.end)}
        explained |= batch
        if op.done < float("inf") and not batch <= here:
            wrong.append(f"{op} is lost")
        if batch & here and not batch <= here:
            wrong.append(f"{op} is torn")
    return [*wrong, *(f"nobody wrote {key}" for key in here - explained)]


def problems(root, ops) -> list[str]:
    """Read everything with a fresh store, and hold it against what was done."""
    store, kinds = Store(root), defaultdict(list)
    for op in ops:
        kinds[op.kind].append(op)
    minutes, numbers = [], []
    with suppress(UnknownSeriesError):  # nothing yet; if something was acknowledged, it is lost
        bars = store.bars("AAPL", "1 min")
        minutes = ((bars.index - START) // timedelta(minutes=1)).tolist()
        numbers = bars["close"].astype(int).tolist()
    table = store._table("trades")
    ticks = table.read(SLUG, None, None, columns=["ts", "recorder", "seq"])
    keys = list(zip(ticks["recorder"].to_pylist(), ticks["seq"].to_pylist(), strict=True))
    return [
        *wrong_bars(dict(zip(minutes, numbers, strict=True)), kinds["bars"]),
        *wrong_ticks(keys, kinds["ticks"]),
    ]


def test_writers_killed_at_any_instant_lose_nothing_that_was_acknowledged(nursery):
    dice, longest, ops = random.Random(11), 0.15, []

    while nursery.raised < KILLS:
        nursery.run([round(dice.uniform(0.005, longest), 4) for _ in range(4)])
        ops = nursery.ops()
        assert problems(nursery.root, ops) == []
        if sum(op.done < float("inf") for op in ops) < nursery.raised:
            longest = min(1.5 * longest, 2.0)  # a busy machine: let them live to acknowledge

    ops, store = nursery.ops(), Store(nursery.root)
    assert sum(op.done < float("inf") for op in ops) > KILLS // 2
    assert sum(op.done == float("inf") for op in ops) > KILLS // 10  # killed in the act
    assert len(store.verify()) == 0
    span = (START, START + timedelta(minutes=MINUTES))
    holes = store.missing("AAPL", "1 min", *span)
    for op in (op for op in ops if op.kind == "bars" and op.done < float("inf")):
        first, end = (START + timedelta(minutes=minute) for minute in (op.first, op.end))
        assert not any(low < end and first < high for low, high in holes)
    store.compact(grace_s=0)
    assert problems(nursery.root, ops) == []
    assert not list((nursery.root / "meta" / "trades" / "wal").rglob("*.wal"))


def test_four_writers_and_two_readers_on_the_same_rows(nursery):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", READER, str(nursery.root)]
    readers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]

    nursery.run([0] * 4, count=40)

    reads = [int(reader.communicate("")[0] or 0) for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert min(reads) >= 1
    ops = nursery.ops()
    assert problems(nursery.root, ops) == []
    store = Store(nursery.root)
    assert len(store.verify()) == 0
    upserts = sum(op.kind == "bars" for op in ops)
    assert (store.history("bars_1min", "AAPL")["operation"] == "upsert").sum() == upserts


def test_without_the_lock_the_same_checker_finds_losses(nursery):
    lost: list[str] = []
    for _ in range(5):
        nursery.run([0] * 4, count=25, options="unlocked")
        lost = problems(nursery.root, nursery.ops())
        if lost:
            break

    assert lost


def test_the_checker_sees_each_kind_of_damage():
    early, late = Op("bars", 1, 0, 5, 0.0, 1.0), Op("bars", 2, 3, 8, 2.0, 3.0)
    killed = Op("bars", 3, 0, 1, 4.0, float("inf"))
    right = {**dict.fromkeys(range(3), 1), **dict.fromkeys(range(3, 8), 2)}
    ops = [early, late, killed]
    assert wrong_bars(right, ops) == wrong_bars({**right, 0: 3}, ops) == []

    assert len(wrong_bars({**right, 4: 1}, ops)) == 1
    assert len(wrong_bars({minute: n for minute, n in right.items() if minute}, ops)) == 1
    assert len(wrong_bars({**right, 7: 3}, ops)) == 1

    done, open_ = Op("ticks", 10_001, 0, 2, 0.0, 1.0), Op("ticks", 10_002, 2, 4, 2.0, float("inf"))
    keys = [("r1", 0), ("r1", 1)]
    assert wrong_ticks(keys, [done, open_]) == []
    assert wrong_ticks([*keys, ("r1", 2), ("r1", 3)], [done, open_]) == []
    for damage in (keys[:1], keys * 2, [*keys, ("r1", 2)], [*keys, ("r9", 0)]):
        assert wrong_ticks(damage, [done, open_]) != []
