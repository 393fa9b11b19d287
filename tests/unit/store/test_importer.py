import arch.data.sp500
import numpy as np
import pandas as pd
import pytest

from ibkit.errors import InvalidRowsError, StoreAccessError

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
        ({}, {"columns": {"ts": "ts", "open": "open"}}, "no column for 'high'.*columns="),
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
