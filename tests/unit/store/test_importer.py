import arch.data.sp500
import numpy as np
import pandas as pd
import pytest

from ibkit.errors import InvalidRowsError, StoreAccessError
from ibkit.store import importer

SPX = "IND-SPX-CBOE-USD"


def test_the_daily_sp500_series_comes_out_equal_value_by_value(store):
    theirs = arch.data.sp500.load()

    commit = store.import_bars(SPX, "1 day", theirs, zone="UTC", source="arch")

    ours = store.bars(SPX, "1 day")
    assert commit.rows_added == len(theirs) == 5031
    for column in ("Open", "High", "Low", "Close", "Volume"):
        np.testing.assert_array_equal(ours[column.lower()].to_numpy(), theirs[column].to_numpy())
    assert ours.index.tz_localize(None).tolist() == theirs.index.tolist()
    assert ours.attrs["source"] == "arch"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_file_is_imported_by_its_suffix(store, bars, tmp_path, suffix):
    frame = bars(n=20)
    path = tmp_path / f"bars{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path)

    store.import_bars("AAPL", "1 min", path)

    pd.testing.assert_frame_equal(store.bars("AAPL", "1 min"), frame, check_freq=False)
    assert store.bars("AAPL", "1 min").attrs["source"] == f"import:bars{suffix}"


def test_a_column_map_takes_what_it_names_and_leaves_the_rest(store, bars):
    frame = bars().rename(columns={"open": "o", "high": "h", "low": "l", "close": "c"})
    frame = frame.reset_index(names="when").assign(junk="x")
    columns = {"when": "ts", "o": "open", "h": "high", "l": "low", "c": "close"}

    store.import_bars("AAPL", "1 min", frame, columns=columns)

    back = store.bars("AAPL", "1 min")
    assert back["close"].tolist() == frame["c"].tolist()
    assert back["volume"].isna().all()


def test_times_of_the_exchange_are_put_in_utc(store, bars):
    frame = bars().tz_convert("America/New_York").tz_localize(None)

    store.import_bars("AAPL", "1 min", frame, zone="America/New_York")

    assert store.bars("AAPL", "1 min").index.tolist() == bars().index.tolist()


def test_a_csv_with_two_offsets_keeps_every_instant(store, bars, tmp_path):
    frame = bars("2026-10-31 14:30", n=3, freq="D").tz_convert("America/New_York")  # DST ends
    frame.to_csv(tmp_path / "bars.csv")

    store.import_bars("AAPL", "1 day", tmp_path / "bars.csv")

    assert store.bars("AAPL", "1 day").index.tolist() == frame.index.tolist()


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"ts": ["2026-10-01"] * 5}, {}, "no time zone.*zone=.*2026-10-01"),
        ({"ts": range(5)}, {}, "these are numbers"),
        (
            {"ts": ["2026-10-01 10:00", "2026-10-01 10:01+00:00"] * 2 + ["x"]},
            {},
            "some have a zone",
        ),
        ({"ts": ["soon"] * 5}, {}, "no dates"),
        ({}, {"columns": {"Time": "ts"}}, "no column 'Time'.*the data has ts, open"),
        ({}, {"columns": {"ts": "ts", "open": "open"}}, "no column for high, low, close.*columns="),
    ],
)
def test_what_cannot_be_understood_is_told_with_the_way_out(store, bars, change, options, words):
    frame = bars().reset_index().assign(**change)

    with pytest.raises(InvalidRowsError, match=words):
        store.import_bars("AAPL", "1 min", frame, **options)


@pytest.mark.parametrize("content", [None, b"", b'a,b\n"1,2'])
def test_a_file_that_cannot_be_read_is_named(store, tmp_path, content):
    path = tmp_path / "bars.csv"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises((StoreAccessError, InvalidRowsError)):
        store.import_bars("AAPL", "1 min", path)


def test_an_import_into_a_simulated_store_says_that_it_is_simulated(tmp_path, bars):
    from ibkit.store import Store

    store = Store(tmp_path, kind="sim")
    store.import_bars("AAPL", "1 min", bars())

    assert store.bars("AAPL", "1 min").attrs["source"] == "SIM:import"


def test_bars_that_are_labelled_by_their_end_begin_a_bar_earlier(store, bars):
    frame = bars()

    store.import_bars("AAPL", "1 min", frame.shift(freq="1min"), label="end")

    assert store.bars("AAPL", "1 min").index.tolist() == frame.index.tolist()
    with pytest.raises(ValueError, match="dated by their session"):
        store.import_bars("AAPL", "1 day", frame, label="end")
    with pytest.raises(ValueError, match="not by 'middle'"):
        store.import_bars("AAPL", "1 min", frame, label="middle")


def test_volumes_in_lots_become_shares(store, bars):
    frame = bars()

    store.import_bars("AAPL", "1 min", frame, volume_unit=100)

    assert store.bars("AAPL", "1 min")["volume"].tolist() == (frame["volume"] * 100).tolist()
    for unit in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a number above 0"):
            store.import_bars("AAPL", "1 min", frame, volume_unit=unit)


def test_the_hour_that_autumn_has_twice_is_told_apart_by_its_order(store, bars):
    frame = bars("2026-11-01 04:00", n=240)  # New York leaves summer time at 06:00 UTC
    local = frame.tz_convert("America/New_York").tz_localize(None)

    store.import_bars("AAPL", "1 min", local, zone="America/New_York")

    assert store.bars("AAPL", "1 min").index.tolist() == frame.index.tolist()


@pytest.mark.parametrize(
    ("zone", "time", "words"),
    [
        ("America/New_York", "2026-03-08 02:30", "not in America/New_York"),  # never was
        ("Mars/Olympus", "2026-03-08 12:30", "no time zone 'Mars/Olympus'"),
    ],
)
def test_times_that_a_zone_does_not_have_are_named(store, bars, zone, time, words):
    frame = bars(n=1).reset_index().assign(ts=[time])

    with pytest.raises(InvalidRowsError, match=words):
        store.import_bars("AAPL", "1 min", frame, zone=zone)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_big_file_comes_in_chunks_and_counts_as_one(store, bars, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(importer.Source.chunks, "__defaults__", (100,))
    frame, path = bars(n=450), tmp_path / f"bars{suffix}"
    frame.to_csv(path) if suffix == ".csv" else frame.to_parquet(path)

    commit = store.import_bars("AAPL", "1 min", path)

    assert (commit.rows_in, commit.rows_added) == (450, 450)
    pd.testing.assert_frame_equal(store.bars("AAPL", "1 min"), frame, check_freq=False)
    assert len(store.history("bars_1min", "AAPL")) == 5
    assert store.import_bars("AAPL", "1 min", path).operation == "none"


def test_a_bad_row_far_down_is_named_and_nothing_of_the_file_is_written(
    store, bars, tmp_path, monkeypatch
):
    monkeypatch.setattr(importer.Source.chunks, "__defaults__", (100,))
    frame = bars(n=450)
    frame.iloc[321, 1] = 1.0  # high
    frame.to_csv(tmp_path / "bars.csv")

    with pytest.raises(InvalidRowsError, match=r"counted from row 300: row 21: ts="):
        store.import_bars("AAPL", "1 min", tmp_path / "bars.csv")
    assert store.datasets() == []

    commit = store.import_bars("AAPL", "1 min", tmp_path / "bars.csv", on_error="quarantine")
    assert (commit.rows_added, commit.rows_set_aside) == (449, 1)


def test_an_empty_file_is_told(store, tmp_path):
    (tmp_path / "bars.csv").write_text("ts,open,high,low,close\n")

    with pytest.raises(InvalidRowsError):
        store.import_bars("AAPL", "1 min", tmp_path / "bars.csv", zone="UTC")
