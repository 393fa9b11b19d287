"""A live stream in one process, readers and a compactor in others; and the kit's quality event."""

from __future__ import annotations

import subprocess
import sys
import threading

import pandas as pd
import pytest

import ibkit
from ibkit.settings import Quality
from ibkit.sim.testing import gateway
from ibkit.store import Store

SLUG = "STK-AAPL-SMART-USD"

# appends batch by batch when told to, and says the number of the batch once it is acknowledged
RECORDER = """
import sys
import pandas as pd
from ibkit.store import Store
stream = Store(sys.argv[1]).appender("trades", "AAPL", source="IB", rotate_s=0.2)
for line in sys.stdin:
    n = int(line)
    ts = pd.Timestamp("2026-11-20 14:30", tz="UTC") + pd.to_timedelta([n], unit="s")
    stream.append(pd.DataFrame({"ts": ts, "price": 1.0, "recorder": "r", "seq": [n]}))
    print(n, flush=True)
"""


@pytest.fixture
def recorder(tmp_path):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", RECORDER, str(tmp_path / "root")]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def append(n: int) -> None:
        process.stdin.write(f"{n}\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{n}\n"

    yield append
    process.kill()  # with its segment open: what was acknowledged is there all the same
    process.wait()
    process.stdin.close()
    process.stdout.close()


def seen(store):
    return store._table("trades").read(SLUG, None, None, columns=["ts", "seq"])["seq"].to_pylist()


def test_what_one_process_appends_the_next_read_of_another_has(recorder, tmp_path):
    store = Store(tmp_path / "root")

    for n in range(30):
        recorder(n)
        assert seen(store) == list(range(n + 1))
        if n % 7 == 3:
            store.compact(grace_s=0)


def test_readers_lose_and_double_nothing_while_segments_are_sealed_and_removed(recorder, tmp_path):
    store, stop, wrong = Store(tmp_path / "root"), threading.Event(), []
    recorder(0)
    acked = [0]

    def read():
        mine = Store(tmp_path / "root")
        while not stop.is_set():
            least = acked[0]
            found = seen(mine)
            if found != list(range(len(found))) or len(found) <= least:
                wrong.append((least, found))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    with store.compactor("trades", every_s=0.01, grace_s=0):
        for n in range(1, 60):
            recorder(n)
            acked[0] = n
    stop.set()
    for reader in readers:
        reader.join()

    assert wrong == []
    assert seen(store) == list(range(60))


def test_a_breach_is_an_event_of_the_kit(tmp_path):
    heard = threading.Event()
    with gateway() as running, ibkit.connect(port=running.port, root=tmp_path / "sim") as kit:
        index = pd.date_range("2026-10-01 14:30", periods=20, freq="min", tz="UTC")
        bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 1.0), index=index)
        kit.store.write_bars("AAPL", "1 min", bars.drop(index[[5]]))
        limits = {"bars_1min": Quality(gap_share=0.01)}
        kit.settings = kit.settings.model_copy(update={"quality": limits})
        events = []
        kit.events.quality += lambda event: (events.append(event), heard.set())

        (breach,) = kit.check_store()

        assert heard.wait(10)
    assert (events[0].metric, events[0].value) == ("gap_share", breach.value) == ("gap_share", 0.05)
