"""What two do at once: each test lets the other one in at the worst moment, by a seam."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import timedelta

import pandas as pd
import pytest

from ibkit.errors import CorruptFileError, PrunedError, StoreAccessError
from ibkit.store import Store, compaction, disk, files, lineage, medium, verify, wal

SLUG = "STK-AAPL-SMART-USD"


@pytest.fixture
def flat():
    def make(price: float, n: int = 3, start: str = "2026-10-01 14:30") -> pd.DataFrame:
        index = pd.date_range(start, periods=n, freq="min", tz="UTC", name="ts")
        return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), price), index=index)

    return make


@pytest.fixture
def meanwhile(monkeypatch):
    """Let `action` happen once, just before a function is called for the `nth` time."""

    def make(owner, name, action, nth=1):
        real, calls = getattr(owner, name), []

        def call(*arguments, **options):
            calls.append(name)
            if len(calls) == nth:
                action()
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, call)
        return calls

    return make


def closes(store) -> list[float]:
    return store.bars("AAPL", "1 min")["close"].tolist()


def test_a_write_of_what_a_file_said_before_a_stream_changed_it_is_not_lost(store, flat):
    series = {"what_to_show": "TRADES", "use_rth": True}
    store.write_bars("AAPL", "1 min", flat(1.0))
    with store.appender("bars_1min", "AAPL", source="IB", series=series) as stream:
        stream.append(flat(2.0))
        assert closes(store) == [2.0] * 3

        store.write_bars("AAPL", "1 min", flat(1.0))

        assert closes(store) == [1.0] * 3
    assert closes(store) == [1.0] * 3


@pytest.mark.parametrize(
    ("owner", "seam"),
    [(files, "read_footer"), (lineage, "_base"), (lineage, "_rows"), (lineage, "_until")],
)
def test_the_past_is_read_right_while_somebody_writes(store, flat, meanwhile, owner, seam):
    first = store.write_bars("AAPL", "1 min", flat(1.0))

    calls = meanwhile(owner, seam, lambda: Store(store.root).write_bars("AAPL", "1 min", flat(2.0)))
    then = store.bars("AAPL", "1 min", as_of=first.commit_id)

    assert calls
    assert then["close"].tolist() == [1.0] * 3
    assert closes(store) == [2.0] * 3


def test_the_past_that_is_pruned_while_it_is_read_is_an_error_not_empty(store, flat, meanwhile):
    first = store.write_bars("AAPL", "1 min", flat(1.0))
    store.write_bars("AAPL", "1 min", flat(2.0))
    meanwhile(lineage, "_rows", lambda: store.prune(older_than=timedelta(0), keep=0))

    with pytest.raises(PrunedError):
        store.bars("AAPL", "1 min", as_of=first.commit_id)


def test_rows_of_a_stream_that_are_sealed_while_the_past_is_read_are_in_it(store, flat, meanwhile):
    series = {"what_to_show": "TRADES", "use_rth": True}
    store.write_bars("AAPL", "1 min", flat(0.5))
    with store.appender("bars_1min", "AAPL", source="IB", series=series) as stream:
        appended = stream.append(flat(1.0))
        stream.close(seal=False)
    meanwhile(wal.Wal, "segments", lambda: store.compact(grace_s=0), nth=1)

    assert store.bars("AAPL", "1 min", as_of=appended)["close"].tolist() == [1.0] * 3


@pytest.mark.parametrize("repair", [False, True])
def test_a_file_that_comes_while_strangers_are_looked_for_is_none(store, flat, meanwhile, repair):
    store.write_bars("AAPL", "1 min", flat(1.0))
    november = flat(2.0, start="2026-11-02 14:30")
    other = Store(store.root)

    def write():
        other.write_bars("AAPL", "1 min", november)
        other.write_bars("MSFT", "1 min", november)

    calls = meanwhile(medium.Local, "below", write)
    found = store.verify("bars_1min", repair=repair)

    assert calls
    assert found.empty
    assert closes(store) == [1.0] * 3 + [2.0] * 3
    assert len(store.bars("MSFT", "1 min")) == 3


@pytest.mark.parametrize("seam", ["read", "read_footer", "_digest"])
def test_verify_raises_no_false_alarm_while_somebody_writes(store, flat, meanwhile, seam):
    store.write_bars("AAPL", "1 min", flat(1.0))
    owner = verify if seam == "_digest" else files

    calls = meanwhile(
        owner, seam, lambda: Store(store.root).write_bars("AAPL", "1 min", flat(2.0, n=5))
    )

    assert store.verify("bars_1min").empty
    assert calls


def test_an_interrupted_look_at_a_segment_forgets_no_frame(store, flat, monkeypatch):
    series = {"what_to_show": "TRADES", "use_rth": True}
    with store.appender("bars_1min", "AAPL", source="IB", series=series) as stream:
        stream.append(flat(1.0, n=1))
        assert len(closes(store)) == 1
        stream.append(flat(2.0, n=1, start="2026-10-01 15:00"))
        real = wal._frames

        def interrupted(content, segment):
            """Ctrl-C comes when the offset is moved on, and the frame is not handed out yet."""
            next(real(content, segment))
            raise KeyboardInterrupt
            yield

        with monkeypatch.context() as patch:
            patch.setattr(wal, "_frames", interrupted)
            with pytest.raises(KeyboardInterrupt):
                closes(store)
        stream.append(flat(3.0, n=1, start="2026-10-01 15:30"))

    assert closes(store) == closes(Store(store.root)) == [1.0, 2.0, 3.0]


def test_a_clock_that_went_back_between_two_appenders_loses_no_row(store, flat, monkeypatch):
    series = {"what_to_show": "TRADES", "use_rth": True}
    first = store.appender("bars_1min", "AAPL", source="IB", series=series)
    later = first.append(flat(1.0))
    first.close(seal=False)
    now = disk.clock.now()
    monkeypatch.setattr(disk.clock, "now", lambda: now - timedelta(days=1))

    with Store(store.root).appender("bars_1min", "AAPL", source="IB", series=series) as second:
        assert second.append(flat(2.0)) > later
        assert closes(store) == [2.0] * 3
    assert closes(store) == [2.0] * 3


@pytest.mark.parametrize("nth", range(1, 4))
def test_a_disk_that_is_full_in_the_middle_of_several_months_takes_none(
    store, flat, monkeypatch, nth
):
    store.write_bars("AAPL", "1 min", flat(1.0))
    months = [flat(2.0, start=f"2026-{month}-01 14:30") for month in (10, 11, 12)]
    written, real = [], disk.write_synced

    def full(path, content, **options):
        written.append(path)
        if len(written) == nth:
            raise StoreAccessError(path, os.strerror(errno.ENOSPC))
        real(path, content, **options)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_synced", full)
        with pytest.raises(StoreAccessError, match="No space left"):
            store.write_bars("AAPL", "1 min", pd.concat(months))

    assert closes(store) == [1.0] * 3
    assert list((store.root / "meta" / "bars_1min" / "tmp").iterdir()) == []
    assert store.verify().empty
    assert store.write_bars("AAPL", "1 min", pd.concat(months)).rows_changed == 3
    assert closes(store) == [2.0] * 9


def test_one_damaged_instrument_keeps_no_other_from_being_compacted(store, flat, monkeypatch):
    series = {"what_to_show": "TRADES", "use_rth": True}
    with store.appender("bars_1min", source="IB", series=series) as stream:
        stream.append_many({SLUG: flat(1.0), "STK-MSFT-SMART-USD": flat(1.0)})
        table, seal = store._table("bars_1min"), type(store._table("bars_1min")).seal

        def damaged(one, slug):
            if slug == SLUG:
                raise CorruptFileError(one.part(slug, 0), "made up")
            return seal(one, slug)

        with monkeypatch.context() as patch:
            patch.setattr(type(table), "seal", damaged)
            with pytest.raises(CorruptFileError, match="made up"):
                compaction.compact([table])
        assert table.log("STK-MSFT-SMART-USD")[-1].operation == "seal"
        assert table.log(SLUG) == ()


FORK = """
import os, signal, sys
from threading import Event, Thread
import pandas as pd
from ibkit.store import Store

store = Store(sys.argv[1])
index = pd.date_range("2026-10-01 14:30", periods=3, freq="min", tz="UTC")
bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 1.0), index=index)
series = {"what_to_show": "TRADES", "use_rth": True}
stream = store.appender("bars_1min", "AAPL", source="IB", series=series)
stream.append(bars)
store.bars("AAPL", "1 min")
table, held, go = store._table("bars_1min"), Event(), Event()

def hold():
    with table.wal._lock, store._journals._lock, store._cache._lock, stream._lock:
        held.set()
        go.wait()

thread = Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(20)  # a lock that nobody will ever free
    stream.append(bars * 2)
    os._exit(store.bars("AAPL", "1 min")["close"].tolist() != [2.0] * 3)
_, status = os.waitpid(child, 0)
go.set()
thread.join()
stream.append(bars * 3)
stream.close()
print(status, store.bars("AAPL", "1 min")["close"].tolist())
"""


def test_a_child_that_is_forked_while_a_thread_holds_every_lock_reads_and_appends(tmp_path):
    found = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, tmp_path / "root"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert found.stdout.split(maxsplit=1) == ["0", "[3.0, 3.0, 3.0]\n"]
