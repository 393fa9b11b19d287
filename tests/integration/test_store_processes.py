"""Promises of the store across processes: nothing acknowledged is lost, no reader sees a half.

Small counts; issue 4's crash tests turn the same programs up.
"""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from ibkit.store import Store

START = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)  # half an hour before a month ends
MINUTES = 60

# writes overlapping spans, each with a number of its own, and prints what was acknowledged:
# number, first minute, end minute, when the write began and when it was acknowledged
WRITER = """
import random, sys
import pandas as pd
from ibkit import clock
from ibkit.store import Store
root, writer, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
start = pd.Timestamp("2026-10-31 23:30", tz="UTC")
dice, store = random.Random(writer), Store(root)
for n in range(count):
    number = float(writer * 10_000 + n + 1)
    first = dice.randrange(50)
    end = first + dice.randrange(1, 11)
    index = pd.date_range(start + pd.Timedelta(minutes=first), periods=end - first, freq="min")
    bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), number), index=index)
    began = clock.monotonic()
    store.write_bars("AAPL", "1 min", bars, span=(index[0], index[-1] + pd.Timedelta(minutes=1)))
    print(int(number), first, end, began, clock.monotonic(), flush=True)
"""

# reads until told to stop; dies of the first frame that is not whole
READER = """
import sys, threading
from ibkit.errors import UnknownSeriesError
from ibkit.store import Store
store, stop, reads = Store(sys.argv[1]), threading.Event(), 0
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.is_set() or not reads:
    try:
        bars = store.bars("AAPL", "1 min")
    except UnknownSeriesError:
        continue
    assert bars.index.is_unique and bars.index.is_monotonic_increasing, "doubled or unsorted"
    assert (bars["open"] == bars["close"]).all(), "torn row"
    store.coverage(); store.missing("AAPL", "1 min", bars.index[0], bars.index[-1])
    reads += 1
print(reads)
"""


@dataclass(frozen=True)
class Ack:
    number: int
    first: int
    end: int
    began: float
    done: float


def start(code: str, *arguments: object, stdin: int | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True)


def ack(line: str) -> Ack:
    number, first, end, began, done = line.split()
    return Ack(int(number), int(first), int(end), float(began), float(done))


def survivors(store: Store) -> dict[int, int]:
    bars = store.bars("AAPL", "1 min")
    minutes = (bars.index - START) // timedelta(minutes=1)
    return dict(zip(minutes.tolist(), bars["close"].astype(int).tolist(), strict=True))


def wrong_rows(found: dict[int, int], acks: list[Ack]) -> list[str]:
    """Return the rows that cannot be explained by any order of the acknowledged writes.

    The number that survived must be of a write that no other acknowledged write of that row
    came wholly after.
    """
    by_number = {ack.number: ack for ack in acks}
    wrong = []
    for minute in range(MINUTES):
        here = [ack for ack in acks if ack.first <= minute < ack.end]
        if not here:
            continue
        winner = by_number.get(found.get(minute, 0))
        if winner is None:
            wrong.append(f"minute {minute}: {found.get(minute)} was never acknowledged")
        elif any(ack.began > winner.done for ack in here):
            wrong.append(f"minute {minute}: {winner} outlived a later write")
    return wrong


def test_four_writers_lose_nothing_and_readers_never_see_a_half(tmp_path):
    root = tmp_path / "root"
    readers = [start(READER, root, stdin=subprocess.PIPE) for _ in range(2)]
    writers = [start(WRITER, root, n, 12) for n in range(1, 5)]

    acks = [ack(line) for writer in writers for line in writer.communicate()[0].splitlines()]
    reads = [int(reader.communicate("")[0] or 0) for reader in readers]

    assert [process.returncode for process in [*writers, *readers]] == [0] * 6
    assert len(acks) == 48
    assert min(reads) >= 1
    store = Store(root)
    assert wrong_rows(survivors(store), acks) == []
    assert len(store.verify()) == 0
    assert len(store.history("bars_1min", "AAPL")) == 48


def test_a_writer_killed_at_any_instant_loses_nothing_it_acknowledged(tmp_path):
    root, dice, acks = tmp_path / "root", random.Random(7), []
    for round_ in range(1, 7):
        writer = start(WRITER, root, round_, 1_000)
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(dice.randrange(2, 7))]
        writer.kill()  # SIGKILL, somewhere in the next write
        rest = writer.communicate()[0].splitlines()
        acks += [ack(line) for line in [*lines, *rest] if line.count(" ") == 4 and "." in line]

        store = Store(root)
        found = survivors(store)
        assert len(store.verify()) == 0
        acked = {minute for one in acks for minute in range(one.first, one.end)}
        assert acked <= found.keys()
        unexplained = {
            minute: number
            for minute, number in found.items()
            if number not in {one.number for one in acks}
        }
        # what was written but not acknowledged is of a killed writer's last write, and whole
        last = {
            max((one.number for one in acks if one.number // 10_000 == n), default=n * 10_000) + 1
            for n in range(1, round_ + 1)
        }
        assert set(unexplained.values()) <= last
        span = (START, START + timedelta(minutes=MINUTES))
        covered = set(range(MINUTES)) - {
            minute
            for minute in range(MINUTES)
            if any(
                a <= START + timedelta(minutes=minute) < b
                for a, b in store.missing("AAPL", "1 min", *span)
            )
        }
        assert acked <= covered <= found.keys()


@pytest.mark.parametrize("victim", [1, 2])
def test_the_checker_would_see_a_lost_write(victim):
    early, late = Ack(1, 0, 5, 0.0, 1.0), Ack(2, 3, 8, 2.0, 3.0)
    found = {**dict.fromkeys(range(3), 1), **dict.fromkeys(range(3, 8), 2)}
    assert wrong_rows(found, [early, late]) == []

    lost = {**found, 4: 1} if victim == 2 else {minute: n for minute, n in found.items() if minute}

    assert len(wrong_rows(lost, [early, late])) == 1
