import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ib_async import Contract

from ibkit.errors import (
    CorruptFileError,
    InvalidRowsError,
    ProfileMixError,
    StoreAccessError,
    StoreBusyError,
    UnknownSeriesError,
)
from ibkit.store import Store, disk
from ibkit.store import table as engine
from ibkit.store.locks import exclusive

SLUG = "STK-AAPL-SMART-USD"


def files_of(store):
    return sorted(path for path in store.root.rglob("*") if path.is_file())


# --- the round trip ------------------------------------------------------------------------------


def test_what_was_written_is_read_back_equal(store, bars):
    frame = bars(n=2000)

    store.write_bars("AAPL", "1 min", frame)

    pd.testing.assert_frame_equal(store.bars("AAPL", "1 min"), frame, check_freq=False)


def test_a_frame_says_what_it_is(store, bars):
    store.write_bars("AAPL", "1 min", bars(), what_to_show="BID", use_rth=False)

    frame = store.bars("AAPL", "1 min", what_to_show="BID", use_rth=False)

    assert frame.attrs == {
        "instrument": SLUG,
        "bar_size": "1 min",
        "what_to_show": "BID",
        "use_rth": False,
        "simulated": False,
        "source": "IB",
    }
    assert str(frame.index.dtype) == "datetime64[us, UTC]"
    assert frame.index.name == "ts"
    assert frame["count"].dtype == "Int32"
    assert {str(kind) for kind in frame.drop(columns="count").dtypes} == {"float64"}


def test_a_frame_may_be_changed_by_its_owner(store, bars):
    store.write_bars("AAPL", "1 min", bars())

    frame = store.bars("AAPL", "1 min")
    frame.loc[frame.index[0], "close"] = 1.0
    frame.iloc[1, frame.columns.get_loc("count")] = 7

    assert store.bars("AAPL", "1 min")["close"].iloc[0] != 1.0


def test_missing_values_come_back_as_missing(store, bars):
    frame = bars(n=3).assign(volume=-1.0, wap=-1.0)
    frame["count"] = -1

    store.write_bars("CASH:EURUSD", "1 min", frame, what_to_show="MIDPOINT")

    back = store.bars("CASH:EURUSD", "1 min", what_to_show="MIDPOINT")
    assert back[["volume", "wap", "count"]].isna().all(axis=None)


@pytest.mark.parametrize("size", ["1 secs", "1 min", "5 mins", "1 hour", "1 day", "1 month"])
def test_every_grain_holds_years_of_rows(store, bars, utc, size):
    frame = bars("2023-12-30", n=40, freq="20D")

    store.write_bars("AAPL", size, frame)

    pd.testing.assert_frame_equal(store.bars("AAPL", size), frame, check_freq=False)
    some = store.bars("AAPL", size, utc(2024, 3, 1), utc(2024, 7, 1))
    pd.testing.assert_frame_equal(some, frame["2024-03-01":"2024-06-30"], check_freq=False)


def test_the_end_is_excluded_and_the_start_is_not(store, bars):
    frame = bars(n=10)
    store.write_bars("AAPL", "1 min", frame)

    some = store.bars("AAPL", "1 min", frame.index[2], frame.index[5])

    assert some.index.tolist() == frame.index[2:5].tolist()


@pytest.mark.parametrize("span", [("2026-09-01", "2026-09-02"), ("2027-01-01", "2027-01-02")])
def test_a_span_without_rows_of_a_known_series_is_empty_with_its_columns(store, bars, span):
    store.write_bars("AAPL", "1 min", bars())
    start, end = (pd.Timestamp(edge, tz="UTC") for edge in span)

    frame = store.bars("AAPL", "1 min", start, end)

    assert len(frame) == 0
    assert list(frame.columns) == list(bars().columns)
    assert str(frame.index.dtype) == "datetime64[us, UTC]"


def test_columns_are_read_as_asked_for(store, bars):
    store.write_bars("AAPL", "1 min", bars())

    assert list(store.bars("AAPL", "1 min", columns=["close", "source"]).columns) == [
        "close",
        "source",
    ]
    with pytest.raises(ValueError, match="no column 'average'"):
        store.bars("AAPL", "1 min", columns=["average"])


def test_the_number_of_the_contract_is_kept(store, bars):
    contract = Contract(
        secType="STK", symbol="AAPL", exchange="SMART", currency="USD", conId=265598
    )

    store.write_bars(contract, "1 min", bars())

    assert set(store.bars(SLUG, "1 min", columns=["con_id"])["con_id"]) == {265598}


# --- the files -----------------------------------------------------------------------------------


def test_the_tree_holds_one_file_a_month_and_nothing_else(store, bars):
    store.write_bars("AAPL", "1 min", bars("2026-09-30 23:58", n=4))
    store.write_bars("AAPL", "1 min", bars("2026-10-05", n=4))

    inside = [
        str(path.relative_to(store.root / "data"))
        for path in files_of(store)
        if "data" in path.parts
    ]
    assert inside == [
        f"bars_1min/instrument={SLUG}/month=2026-09/part-0.parquet",
        f"bars_1min/instrument={SLUG}/month=2026-10/part-0.parquet",
    ]
    assert not list((store.root / "meta" / "bars_1min" / "tmp").iterdir())


def test_files_are_encoded_as_the_format_says(store, bars):
    store.write_bars("AAPL", "1 min", bars(n=500))

    (part,) = (store.root / "data").rglob("*.parquet")
    group = pq.ParquetFile(part).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "DELTA_BINARY_PACKED" in columns["ts"].encodings
    assert {
        name: column.compression for name, column in columns.items() if column.compression == "ZSTD"
    }.keys() == {"volume", "wap"}
    assert pq.read_schema(part).field("ts").type == pa.timestamp("us", "UTC")
    assert columns["close"].physical_type == "DOUBLE"


def test_no_folder_is_made_before_the_first_row(tmp_path):
    store = Store(tmp_path / "a" / "b")

    assert store.datasets() == []
    assert len(store.coverage()) == 0
    assert len(store.verify()) == 0
    assert store.kind is None
    assert not (tmp_path / "a").exists()


def test_writing_the_same_again_touches_nothing(store, bars, utc):
    span = (utc(2026, 10, 1), utc(2026, 10, 2))
    store.write_bars("AAPL", "1 min", bars(), span=span)
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in files_of(store)]

    commit = store.write_bars("AAPL", "1 min", bars(), span=span)

    assert (commit.operation, commit.changed, commit.rows_added) == ("none", False, 0)
    assert [
        (path, path.stat().st_mtime_ns, path.stat().st_ino) for path in files_of(store)
    ] == before


def test_an_old_file_is_kept_when_rows_of_it_change_and_only_then(store, bars):
    kept = store.root / "meta" / "bars_1min" / "history"
    first = store.write_bars("AAPL", "1 min", bars(n=5))
    store.write_bars("AAPL", "1 min", bars("2026-10-02", n=5))
    assert not kept.exists()

    third = store.write_bars("AAPL", "1 min", bars(n=5).assign(volume=1.0))

    (old,) = kept.rglob("*.parquet")
    assert third.rows_changed == 5
    assert old.stem == str(third.files[0].kept)
    assert pq.read_table(old).num_rows == 10
    assert first.commit_id in pq.read_table(old, columns=["commit_id"])["commit_id"].to_pylist()


# --- answers and holes ---------------------------------------------------------------------------


def test_holes_are_what_nobody_answered_for(store, bars, utc):
    days = [utc(2026, 10, day) for day in range(1, 8)]
    store.write_bars("AAPL", "1 min", bars(), span=(days[1], days[2]))
    store.confirm_empty(
        "bars_1min", "AAPL", (days[4], days[5]), reason="HMDS query returned no data"
    )

    holes = store.missing("AAPL", "1 min", days[0], days[6])

    assert holes == [(days[0], days[1]), (days[2], days[4]), (days[5], days[6])]
    assert store.missing("AAPL", "1 min", days[1], days[2]) == []
    assert store.missing("AAPL", "1 min", days[0], days[6], use_rth=False) == [(days[0], days[6])]
    assert store.missing("MSFT", "1 min", days[0], days[6]) == [(days[0], days[6])]


def test_rows_without_a_span_answer_for_nothing(store, bars, utc):
    store.write_bars("AAPL", "1 min", bars())

    assert store.missing("AAPL", "1 min", utc(2026, 10, 1), utc(2026, 10, 2)) != []


def test_confirmed_absence_is_a_row_that_people_can_read(store, utc):
    span = (utc(2026, 10, 3), utc(2026, 10, 4))

    store.confirm_empty("bars_1min", "AAPL", span, reason="weekend")
    again = store.confirm_empty("bars_1min", "AAPL", span, reason="weekend")

    gaps = store.sql('select dataset, ts, "end", reason from gaps').to_arrow_table()
    assert [tuple(row.values()) for row in gaps.to_pylist()] == [("bars_1min", *span, "weekend")]
    assert again.operation == "none"
    assert len(store.bars("AAPL", "1 min")) == 0  # known to be empty is not unknown


def test_a_file_removed_by_hand_is_a_hole_again(store, bars, utc):
    span = (utc(2026, 9, 15), utc(2026, 10, 15))
    store.write_bars("AAPL", "1 min", bars("2026-09-30 23:58", n=4), span=span)
    next((store.root / "data").rglob("month=2026-09/*.parquet")).unlink()

    assert store.missing("AAPL", "1 min", *span) == [(span[0], utc(2026, 10, 1))]
    assert store.verify()["problem"].tolist() == ["it is gone; the journal knows 2 rows"]


@pytest.mark.parametrize("size", ["1 min", "1 day"])
def test_an_answer_without_rows_is_an_answer(store, bars, utc, size):
    span = (utc(2026, 10, 3), utc(2026, 10, 4))

    store.write_bars("AAPL", size, bars(n=0), span=span)

    assert store.missing("AAPL", size, *span) == []


def test_a_replaced_range_holds_exactly_the_new_rows(store, bars, utc):
    frame = bars("2026-09-30 23:55", n=10)
    store.write_bars("AAPL", "1 min", frame)
    store.write_bars("AAPL", "1 min", frame, what_to_show="BID")

    commit = store.replace_range(
        "bars_1min", "AAPL", frame.iloc[[1, 7]], frame.index[1], frame.index[8], source="IB",
        series={"what_to_show": "TRADES", "use_rth": True},
    )  # fmt: skip

    assert commit.rows_removed == 5
    assert store.bars("AAPL", "1 min").index.tolist() == frame.index[[0, 1, 7, 8, 9]].tolist()
    assert len(store.bars("AAPL", "1 min", what_to_show="BID")) == 10
    assert store.missing("AAPL", "1 min", frame.index[1], frame.index[8]) == []


def test_rows_outside_of_the_replaced_range_are_refused(store, bars):
    frame = bars()

    with pytest.raises(ValueError, match="outside of the range"):
        store.replace_range(
            "bars_1min", "AAPL", frame, frame.index[0], frame.index[3], source="IB",
            series={"what_to_show": "TRADES", "use_rth": True},
        )  # fmt: skip


def test_a_span_needs_its_series(store, bars, utc):
    frame = bars().assign(what_to_show="TRADES", use_rth=True)

    with pytest.raises(ValueError, match="speaks of one series"):
        store.upsert(
            "bars_1min", "AAPL", frame, source="IB", span=(utc(2026, 1, 1), utc(2026, 1, 2))
        )


@pytest.mark.parametrize("call", ["bars", "missing", "span"])
def test_times_without_a_zone_are_refused(store, bars, utc, call):
    naive, good = utc(2026, 1, 1).replace(tzinfo=None), utc(2027, 1, 1)
    calls = {
        "bars": lambda: store.bars("AAPL", "1 min", naive, good),
        "missing": lambda: store.missing("AAPL", "1 min", naive, good),
        "span": lambda: store.write_bars("AAPL", "1 min", bars(), span=(naive, good)),
    }

    with pytest.raises(ValueError, match="no time zone"):
        calls[call]()


def test_a_span_that_ends_before_it_starts_is_refused(store, bars, utc):
    with pytest.raises(ValueError, match="not after its start"):
        store.write_bars("AAPL", "1 min", bars(), span=(utc(2026, 2, 1), utc(2026, 1, 1)))


# --- what is refused -----------------------------------------------------------------------------


def test_bad_rows_leave_no_trace(store, bars):
    with pytest.raises(InvalidRowsError):
        store.write_bars("AAPL", "1 min", bars().assign(high=0.0))

    assert not store.root.exists()


@pytest.mark.parametrize("name", ["MSFT", "FUT:ES", "FUT-ES-CME-USD-20261218"])
def test_an_unknown_series_is_an_error_not_an_empty_frame(store, bars, name):
    store.write_bars("AAPL", "1 min", bars())

    with pytest.raises(UnknownSeriesError, match="bars_1min"):
        store.bars(name, "1 min")


def test_an_unknown_series_of_a_known_instrument_says_what_there_is(store, bars):
    store.write_bars("AAPL", "1 min", bars())

    with pytest.raises(UnknownSeriesError, match="it holds what_to_show=TRADES use_rth=True"):
        store.bars("AAPL", "1 min", what_to_show="BID")


def test_an_unknown_dataset_is_named_with_those_that_exist(store):
    with pytest.raises(UnknownSeriesError, match=r"no dataset 'bars_1m'.*bars_1min"):
        store.coverage("bars_1m")


def test_simulated_and_real_rows_never_share_a_root(store, bars):
    store.write_bars("AAPL", "1 min", bars())

    with pytest.raises(ProfileMixError, match="holds real data"):
        store.write_bars("MSFT", "1 min", bars(), source="SIM")
    with pytest.raises(ProfileMixError, match="holds real data; simulated data cannot join"):
        Store(store.root, kind="sim")
    assert store.instruments("bars_1min") == [SLUG]


def test_a_simulated_root_remembers_that_it_is_and_its_frames_say_so(tmp_path, bars):
    Store(tmp_path, kind="sim").write_bars("AAPL", "1 min", bars())

    again = Store(tmp_path)

    assert again.kind == "sim"
    assert again.bars("AAPL", "1 min").attrs["simulated"] is True
    assert again.bars("AAPL", "1 min").attrs["source"] == "SIM"
    with pytest.raises(ProfileMixError):
        again.write_bars("AAPL", "1 min", bars(), source="IB")


def test_two_new_stores_of_one_root_cannot_disagree(tmp_path, bars):
    real, sim = Store(tmp_path, kind="real"), Store(tmp_path, kind="sim")
    sim.write_bars("AAPL", "1 min", bars())

    with pytest.raises(ProfileMixError):
        real.write_bars("AAPL", "1 min", bars())


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "root").write_text("")

    with pytest.raises(StoreAccessError, match="this is a file"):
        Store(tmp_path / "root")


def test_a_root_below_a_file_is_refused_at_the_first_write(tmp_path, bars):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreAccessError, match="Not a directory"):
        Store(tmp_path / "file" / "root").write_bars("AAPL", "1 min", bars())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2, "kind": "real"}'])
def test_a_damaged_marker_is_an_error_not_a_new_store(tmp_path, content):
    (tmp_path / "store.json").write_text(content)

    with pytest.raises(CorruptFileError, match=r"store\.json"):
        Store(tmp_path)


# --- when the disk fails -------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["write_synced", "link", "sync_folder", "append_line"])
def test_a_disk_that_fails_at_any_step_is_named_and_costs_nothing(store, bars, monkeypatch, step):
    frame = bars()
    store.write_bars("AAPL", "1 min", frame)

    def full(path, *_, **__):
        with disk.access(path, "a file"):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(disk, step, full)
        with pytest.raises(StoreAccessError, match="No space left on device"):
            store.write_bars("AAPL", "1 min", frame.assign(volume=1.0))

    assert len(store.bars("AAPL", "1 min")) == 5
    assert not list((store.root / "meta" / "bars_1min" / "tmp").iterdir())
    store.write_bars("AAPL", "1 min", frame.assign(volume=2.0))
    assert store.bars("AAPL", "1 min")["volume"].tolist() == [2.0] * 5
    assert len(store.verify()) == 0


def test_a_file_whose_writer_died_before_the_journal_is_taken_over(store, bars, monkeypatch):
    frame = bars()
    with monkeypatch.context() as broken:
        broken.setattr(disk, "append_line", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.write_bars("AAPL", "1 min", frame)
    assert len(store.history("bars_1min", "AAPL")) == 0
    assert len(store.verify()) == 0

    commit = store.write_bars("AAPL", "1 min", frame)

    assert (commit.operation, commit.rows_added, len(commit.files)) == ("upsert", 0, 1)
    assert len(store.history("bars_1min", "AAPL")) == 1
    assert len(store.verify()) == 0


def test_a_damaged_file_is_an_error_and_is_not_overwritten(store, bars):
    store.write_bars("AAPL", "1 min", bars(n=500))
    (part,) = (store.root / "data").rglob("*.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 0xFF
    part.write_bytes(content)

    with pytest.raises(CorruptFileError, match=r"part-0\.parquet"):
        store.bars("AAPL", "1 min")
    with pytest.raises(CorruptFileError):
        store.write_bars("AAPL", "1 min", bars(n=3))
    assert part.read_bytes() == content
    assert store.verify()["file"].tolist() == [str(part)]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a parquet file at all"])
def test_a_file_that_is_no_parquet_is_corrupt(store, bars, content):
    store.write_bars("AAPL", "1 min", bars())
    next((store.root / "data").rglob("*.parquet")).write_bytes(content)

    with pytest.raises(CorruptFileError):
        store.bars("AAPL", "1 min")


def test_a_foreign_parquet_file_is_not_taken_for_ours(store, bars):
    store.write_bars("AAPL", "1 min", bars())
    part = next((store.root / "data").rglob("*.parquet"))
    bars().reset_index().to_parquet(part)

    with pytest.raises(CorruptFileError, match="not written by ibkit"):
        store.bars("AAPL", "1 min")


def test_rows_changed_behind_our_back_are_found(store, bars):
    other = Store(store.root.parent / "other")
    other.write_bars("AAPL", "1 min", bars(n=50, seed=9))
    store.write_bars("AAPL", "1 min", bars(n=50))
    theirs, ours = (next((root / "data").rglob("*.parquet")) for root in (other.root, store.root))

    ours.write_bytes(theirs.read_bytes())

    assert store.verify()["problem"].tolist() == ["its bytes are not those that were written"]


@pytest.mark.parametrize(
    "stray", ["part-1.parquet", "month=2026-10/x.tmp", f"instrument={SLUG}/part-0.parquet"]
)
def test_a_file_that_nobody_wrote_is_found(store, bars, stray):
    store.write_bars("AAPL", "1 min", bars())
    path = store.root / "data" / "bars_1min" / stray
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")

    (problem,) = store.verify().to_dict("records")

    assert problem["file"] == str(path)
    assert "none of ours" in problem["problem"]
    assert len(store.bars("AAPL", "1 min")) == 5


def test_a_folder_that_is_no_instrument_is_passed_over(store, bars):
    store.write_bars("AAPL", "1 min", bars())
    (store.root / "data" / "bars_1min" / "instrument=mine").mkdir()

    assert store.instruments("bars_1min") == [SLUG]
    with pytest.raises(UnknownSeriesError):
        store.bars("FUT:ES", "1 min")


# --- threads -------------------------------------------------------------------------------------


def test_threads_that_write_one_instrument_lose_nothing(store, bars):
    frames = [bars(f"2026-10-{day:02} 14:30", n=3) for day in range(1, 13)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda frame: store.write_bars("AAPL", "1 min", frame), frames))

    assert len(store.bars("AAPL", "1 min")) == 36
    log = store.history("bars_1min", "AAPL")
    assert log["commit_id"].is_monotonic_increasing
    assert log["commit_id"].is_unique
    assert len(log) == 12


def test_a_lock_that_is_held_too_long_is_an_error(store, bars, monkeypatch):
    monkeypatch.setattr(engine, "LOCK_TIMEOUT_S", 0.0)
    store.write_bars("AAPL", "1 min", bars())
    held, done = threading.Event(), threading.Event()
    lock = store.root / "meta" / "bars_1min" / "lock" / SLUG

    def hold():
        with exclusive(lock, 1.0):
            held.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    try:
        with pytest.raises(StoreBusyError, match="Another process was writing"):
            store.write_bars("AAPL", "1 min", bars("2026-10-02"))
        assert len(store.bars("AAPL", "1 min")) == 5  # readers do not wait
        store.write_bars("MSFT", "1 min", bars())  # nor do writers of other instruments
    finally:
        done.set()
        holder.join(10)


# --- the log -------------------------------------------------------------------------------------


def test_the_log_says_who_wrote_what(store, bars, utc):
    store.write_bars(
        "AAPL",
        "1 min",
        bars(),
        span=(utc(2026, 10, 1), utc(2026, 10, 2)),
        request="1 D to 20261002",
    )
    store.write_bars("AAPL", "1 min", bars().assign(volume=1.0))

    log = store.history("bars_1min", "AAPL")

    assert log["rows_added"].tolist() == [5, 0]
    assert log["rows_changed"].tolist() == [0, 5]
    assert log["request"].tolist() == ["1 D to 20261002", ""]
    assert log["start"][0] == utc(2026, 10, 1)
    assert pd.isna(log["start"][1])
    assert set(store.bars("AAPL", "1 min", columns=["commit_id"])["commit_id"]) == {
        log["commit_id"][1]
    }


def test_commits_rise_even_when_the_clock_goes_back(store, bars, monkeypatch, utc):
    times = iter([utc(2026, 10, 2), utc(2026, 10, 1), utc(2026, 10, 1)])
    monkeypatch.setattr(engine.clock, "now", lambda: next(times, utc(2026, 9, 1)))

    ids = [
        store.write_bars("AAPL", "1 min", bars().assign(volume=float(n))).commit_id
        for n in range(3)
    ]

    assert ids == sorted(set(ids))


# --- the tables ----------------------------------------------------------------------------------


def test_coverage_has_one_row_a_series(store, bars, utc):
    span = (utc(2026, 9, 30), utc(2026, 10, 2))
    store.write_bars("AAPL", "1 min", bars("2026-09-30 23:58", n=4), span=span)
    store.write_bars("AAPL", "1 min", bars(n=2), what_to_show="BID")
    store.write_bars("MSFT", "1 day", bars(n=1))
    store.confirm_empty("bars_1min", "TSLA", span)

    rows = store.coverage().set_index(["dataset", "instrument", "what_to_show"])

    assert len(rows) == 4
    aapl = rows.loc[("bars_1min", SLUG, "TRADES")]
    assert (aapl["rows"], aapl["files"], aapl["spans"]) == (4, 2, [span])
    assert aapl["first"] == utc(2026, 9, 30, 23, 58)
    assert aapl["last"] == utc(2026, 10, 1, 0, 1)
    assert aapl["bytes"] > 0
    assert rows.loc[("bars_1min", SLUG, "BID"), "spans"] == []
    tsla = rows.loc[("bars_1min", "STK-TSLA-SMART-USD", "TRADES")]
    assert tsla["rows"] == 0
    assert pd.isna(tsla["first"])
    assert len(store.coverage("bars_1day")) == 1
    assert store.datasets() == ["bars_1min", "bars_1day", "gaps"]


def test_an_empty_coverage_has_its_columns(store):
    frame = store.coverage()

    assert list(frame.columns[:3]) == ["dataset", "instrument", "what_to_show"]
    assert str(frame["first"].dtype) == "datetime64[us, UTC]"


def test_sql_sees_every_dataset_with_its_partitions(store, bars, utc):
    store.write_bars("AAPL", "1 min", bars("2026-09-30 23:58", n=4))
    store.write_bars("BRK B", "1 day", bars(n=1))

    minute = store.sql(
        "select instrument, month, count(*) as n, min(ts) as first "
        "from bars_1min group by all order by month"
    ).to_arrow_table()
    day = store.sql("select instrument, close from bars_1day").fetchall()
    nothing = store.sql("select count(*) from bars_1hour where year = '2026'").fetchall()

    assert minute["month"].to_pylist() == ["2026-09", "2026-10"]
    assert minute["first"].type.tz in {"UTC", "Etc/UTC"}
    assert minute["first"][0].as_py() == utc(2026, 9, 30, 23, 58)
    assert day[0][1] == bars(n=1)["close"].item()
    assert nothing == [(0,)]


def test_other_readers_see_the_same_rows(store, bars):
    frame = bars("2026-09-30 23:58", n=4)
    store.write_bars("AAPL", "1 min", frame)
    store.write_bars("0700@SEHK:HKD", "1 min", frame)

    table = pd.read_parquet(store.root / "data" / "bars_1min", engine="pyarrow")

    assert set(table["instrument"]) == {SLUG, "STK-0700-SEHK-HKD"}
    mine = table[table["instrument"] == SLUG].set_index("ts")[list(frame.columns)]
    np.testing.assert_array_equal(mine.to_numpy(float), frame.to_numpy(float))


def test_a_store_says_who_it_is(store):
    assert repr(store) == f"<Store {store.root} new>"
