"""Appenders, segments and compaction: durable, visible at once, unique, in the files in the end."""

from __future__ import annotations

import os
import threading

import pandas as pd
import pytest

from ibkit.errors import InvalidRowsError, ProfileMixError, StoreAccessError, StoreError
from ibkit.store import Store, merge, wal

SLUG = "STK-AAPL-SMART-USD"


def ticks(n: int = 3, first: int = 0, price: float = 100.0, recorder: str = "r1"):
    ts = pd.Timestamp("2026-11-20 14:30", tz="UTC") + pd.to_timedelta(
        [(first + i) * 100_000 for i in range(n)], unit="us"
    )
    return pd.DataFrame(
        {
            "ts": ts,
            "price": price,
            "size": 1.0,
            "recorder": recorder,
            "seq": range(first, first + n),
        }
    )


def rows(store, dataset="trades", columns=("ts", "price", "seq"), slug=SLUG):
    table = store._table(dataset)
    return table.read(slug, None, None, columns=list(columns)).to_pydict()


def segments(store, dataset="trades"):
    return sorted((store.root / "meta" / dataset / "wal").rglob("*.wal"))


def files(store, dataset="trades"):
    return sorted((store.root / "data" / dataset).rglob("*.parquet"))


@pytest.fixture
def stream(store):
    with store.appender("trades", "AAPL", source="IB", request="ticks") as stream:
        yield stream


def test_an_append_is_in_the_next_read_of_any_store_and_in_no_file(store, stream):
    stream.append(ticks(3))

    assert rows(store)["seq"] == rows(Store(store.root))["seq"] == [0, 1, 2]
    assert files(store) == []
    assert store.instruments("trades") == [SLUG]


def test_coverage_and_sql_count_what_no_file_has_yet(store, stream):
    store.upsert("trades", "AAPL", ticks(2), source="IB")
    stream.append(ticks(3, first=1))

    (row,) = store.coverage("trades").to_dict("records")

    assert (row["rows"], row["files"]) == (4, 1)
    assert row["last"] == ticks(1, first=3)["ts"].item()
    assert store.sql("select count(*), count(distinct seq) from trades").fetchall() == [(4, 4)]


def test_closing_brings_the_rows_into_the_files(store):
    with store.appender("trades", "AAPL", source="IB", request="ticks") as stream:
        stream.append(ticks(3))
        stream.append(ticks(3, first=3))

    assert len(files(store)) == 1
    assert rows(store)["seq"] == [0, 1, 2, 3, 4, 5]
    log = store.history("trades", "AAPL")
    assert log["operation"].tolist() == ["seal"]
    assert log[["rows_in", "rows_added", "source", "request"]].to_numpy().tolist() == [
        [6, 6, "IB", "ticks"]
    ]


def test_the_same_tick_twice_is_one_row_before_and_after_compaction(store, stream):
    stream.append(ticks(3))
    stream.append(ticks(3))
    before = rows(store)

    store.compact()

    assert before["seq"] == [0, 1, 2]
    assert rows(store) == before


def test_the_newest_of_two_appends_of_a_key_wins(store, stream):
    stream.append(ticks(2, price=1.0))
    stream.append(ticks(1, price=2.0))
    assert rows(store)["price"] == [2.0, 1.0]

    store.compact()
    stream.append(ticks(1, price=3.0))

    assert rows(store)["price"] == [3.0, 1.0]


def test_a_write_after_an_append_wins_before_and_after_compaction(store, stream):
    stream.append(ticks(2, price=1.0))
    store.upsert("trades", "AAPL", ticks(1, price=2.0), source="IB")
    before = rows(store)["price"]

    store.compact()

    assert before == rows(store)["price"] == [2.0, 1.0]


def test_a_live_bar_that_is_appended_outranks_a_later_delayed_one(store, bars):
    series = {"what_to_show": "TRADES", "use_rth": True}
    live, delayed = bars(n=2), bars(n=2, seed=2).assign(delayed=True)
    with store.appender("bars_5secs", "AAPL", source="IB", series=series) as stream:
        stream.append(live)
        store.write_bars("AAPL", "5 secs", delayed)
        before = store.bars("AAPL", "5 secs")["close"].tolist()

    assert before == store.bars("AAPL", "5 secs")["close"].tolist() == live["close"].tolist()


def test_what_replace_range_removed_does_not_come_back_from_a_segment(store, stream):
    stream.append(ticks(3))

    start, end = ticks(3)["ts"].iloc[[0, 2]]
    store.replace_range(
        "trades", "AAPL", ticks(0), start, end, source="IB", series={"recorder": "r1"}
    )

    assert rows(store)["seq"] == [2]
    store.compact(grace_s=0)
    assert rows(store)["seq"] == [2]


def test_compacting_twice_changes_nothing_and_a_killed_seal_is_done_again(store, stream):
    stream.append(ticks(3))
    assert store.compact()["rows_added"].tolist() == [3]
    assert len(store.compact()) == 0

    journal = store.root / "meta" / "trades" / "journal" / f"{SLUG}.jsonl"
    journal.write_bytes(b"")  # as if the seal had died between the file and its line

    assert rows(Store(store.root))["seq"] == [0, 1, 2]
    assert Store(store.root).compact()["rows_added"].tolist() == [0]
    assert len(store.verify()) == 0


def test_segments_stay_while_they_are_written_and_for_a_grace_period(store):
    stream = store.appender("trades", "AAPL", source="IB")
    stream.append(ticks(3))
    store.compact(grace_s=0)
    assert len(segments(store)) == 1

    stream.close()
    store.compact(grace_s=3600)
    assert len(segments(store)) == 1

    store.compact(grace_s=0)
    assert segments(store) == []
    assert rows(store)["seq"] == [0, 1, 2]


def test_a_last_append_while_old_segments_are_removed_is_kept(store, monkeypatch):
    stream = store.appender("trades", "AAPL", source="IB")
    stream.append(ticks(1))
    store.compact(grace_s=0)
    asked, is_active = [], wal.is_active

    def active(path):
        """The writer writes once more and goes, while somebody asks whether it is there."""
        if not asked:
            asked.append(path)
            stream.append(ticks(1, first=1))
            stream.close(seal=False)
        return is_active(path)

    monkeypatch.setattr(wal, "is_active", active)
    store.compact(grace_s=0)

    assert asked
    assert rows(Store(store.root))["seq"] == [0, 1]


def test_a_segment_that_is_being_made_is_not_removed(store, monkeypatch):
    flock, removed = wal.fcntl.flock, []

    def compacting(descriptor, how):
        if not removed:
            removed.append(True)
            store.compact(grace_s=0)
        return flock(descriptor, how)

    monkeypatch.setattr(wal.fcntl, "flock", compacting)
    with store.appender("trades", "AAPL", source="IB") as stream:
        stream.append(ticks(2))
        assert rows(Store(store.root))["seq"] == [0, 1]

    assert removed
    assert rows(Store(store.root))["seq"] == [0, 1]


def test_a_seal_answers_only_for_the_rows_that_it_saw(store, stream, monkeypatch):
    stream.append(ticks(1))
    latest, once = merge.latest, []

    def reading_on(table, dataset):
        """A reader in another thread reads the shared segments on, in the middle of a seal."""
        if not once:
            once.append(True)
            stream.append(ticks(1, first=1))
            store._table("trades").wal.segments(SLUG)
        return latest(table, dataset)

    monkeypatch.setattr(merge, "latest", reading_on)
    store.compact(grace_s=0)

    assert once
    assert rows(store)["seq"] == rows(Store(store.root))["seq"] == [0, 1]


def test_a_torn_tail_is_passed_over_wherever_it_is_torn(store, stream):
    stream.append(ticks(2))
    stream.append(ticks(2, first=2))
    (segment,) = segments(store)
    whole = segment.read_bytes()
    ends = [frame.end for frame in store._table("trades").wal.all()[0].frames]

    for size in [*range(ends[0], len(whole), 13), *range(len(whole) - 20, len(whole))]:
        segment.write_bytes(whole[:size])
        assert rows(Store(store.root))["seq"] == [0, 1]


def test_a_damaged_frame_hides_no_other_and_is_found(store, stream):
    for first in (0, 1, 2):
        stream.append(ticks(1, first=first))
    (segment,) = segments(store)
    ends = [frame.end for frame in store._table("trades").wal.all()[0].frames]
    damaged = bytearray(segment.read_bytes())
    damaged[ends[1] - 5] ^= 1
    segment.write_bytes(damaged)

    again = Store(store.root)

    assert rows(again)["seq"] == [0, 2]
    assert again.verify()["problem"].tolist() == ["1 frames of it are damaged"]


def test_many_instruments_share_a_segment_and_a_sync(store):
    msft = "STK-MSFT-SMART-USD"
    with store.appender("trades", source="IB") as stream:
        stream.append_many({SLUG: ticks(2), msft: ticks(1)})

        assert len(segments(store)) == 1
        assert rows(store)["seq"] == [0, 1]
        assert rows(store, slug=msft)["seq"] == [0]
        assert store.instruments("trades") == [SLUG, msft]

    assert len(files(store)) == 2
    store.compact(grace_s=0)
    assert segments(store) == []


def test_a_new_segment_begins_after_a_while_and_after_a_failure(store, monkeypatch):
    with store.appender("trades", "AAPL", source="IB", rotate_s=0) as stream:
        stream.append(ticks(1))
        stream.append(ticks(1, first=1))
        assert len(segments(store)) == 2

    stream = store.appender("trades", "AAPL", source="IB")
    stream.append(ticks(1, first=2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(StoreAccessError, match="a segment: Input/output error"):
            stream.append(ticks(1, first=3))
    stream.append(ticks(1, first=3))

    assert len(segments(store)) == 4
    assert rows(store)["seq"] == [0, 1, 2, 3]
    stream.close()


def broken(descriptor: int) -> None:
    raise OSError(5, os.strerror(5))


def test_a_batch_that_was_written_in_part_is_not_acknowledged_nor_in_the_way(store, monkeypatch):
    stream, real = store.appender("trades", "AAPL", source="IB"), os.write
    stream.append(ticks(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, content: real(fd, content[: len(content) // 2]))
        with pytest.raises(StoreAccessError, match="is the disk full"):
            stream.append(ticks(1, first=1))

    stream.append(ticks(1, first=2))

    assert rows(store)["seq"] == [0, 2]
    stream.close()
    store.compact(grace_s=0)
    assert rows(store)["seq"] == [0, 2]
    assert segments(store) == []


def test_bad_rows_are_refused_at_the_door(store, stream):
    with pytest.raises(InvalidRowsError, match="size is negative"):
        stream.append(ticks(1).assign(size=-5.0))

    assert segments(store) == []


def test_a_stream_of_the_wrong_kind_or_after_its_end_is_refused(store, stream):
    stream.append(ticks(1))
    with pytest.raises(ProfileMixError):
        store.appender("trades", "AAPL", source="SIM")

    stream.close()
    with pytest.raises(StoreError, match="is closed"):
        stream.append(ticks(1))


def test_ids_rise_even_if_the_clock_goes_back(store, stream, monkeypatch):
    from datetime import UTC, datetime

    first = stream.append(ticks(1, price=1.0))
    monkeypatch.setattr("ibkit.clock.now", lambda: datetime(2001, 1, 1, tzinfo=UTC))
    second = stream.append(ticks(1, price=2.0))
    commit = store.upsert("trades", "AAPL", ticks(1, price=3.0), source="IB")
    assert first < second < commit.commit_id
    assert rows(store)["price"] == [3.0]

    stream.append(ticks(1, price=4.0))

    assert rows(store)["price"] == [4.0]
    store.compact()
    assert rows(store)["price"] == [4.0]


def test_a_compactor_works_in_the_background(store, stream):
    stream.append(ticks(3))
    sealed = threading.Event()
    table = store._table("trades")
    table.seal, seal = (lambda slug: (seal(slug), sealed.set())[0]), table.seal

    with store.compactor("trades", every_s=0.001):
        assert sealed.wait(10)

    assert rows(store)["seq"] == [0, 1, 2]
    assert len(files(store)) == 1


def test_threads_of_one_appender_lose_nothing(store, stream):
    def work(number: int) -> None:
        for n in range(10):
            stream.append(ticks(1, first=number * 10 + n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert rows(store)["seq"] == list(range(40))


def test_an_old_segment_is_read_in_todays_schema(store, stream, monkeypatch):
    stream.append(ticks(1))
    table = store._table("trades")
    (segment,) = table.wal.all()
    old = segment.schema.remove(segment.schema.get_field_index("conditions"))
    batch = wal._upgraded(
        next(iter(segment.batches.values()), None) or table.wal._batch(segment, segment.frames[0]),
        table.dataset,
        1,
    )

    upgraded = wal._upgraded(batch.select(old.names), table.dataset, 0)

    assert upgraded.schema.equals(batch.schema)
    assert upgraded["price"].equals(batch["price"])
    assert upgraded["conditions"].null_count == 1
