import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ibkit.errors import StoreAccessError, UnknownSeriesError
from ibkit.store import Store

FIELDS = ["ts", "open", "high", "low", "close", "volume", "wap", "count"]
SLUG = "STK-AAPL-SMART-USD"


@pytest.fixture
def full(store, bars):
    store.write_bars("AAPL", "1 min", bars("2026-10-30 14:30", n=3000))  # over the end of a month
    store.write_bars("MSFT", "1 min", bars(n=7))
    return store


@pytest.mark.parametrize("fmt", ["csv", "csv.gz", "parquet", "arrow"])
def test_what_is_exported_is_imported_back_equal(full, tmp_path, fmt):
    done = full.export("bars_1min", tmp_path / "out", fmt=fmt, each=True, columns=FIELDS)

    assert done["rows"].tolist() == [3000, 7]
    other = Store(tmp_path / "other")
    other.import_bars("AAPL", "1 min", tmp_path / "out" / f"{SLUG}.{fmt}")
    pd.testing.assert_frame_equal(
        other.bars("AAPL", "1 min"), full.bars("AAPL", "1 min"), check_freq=False
    )


def test_one_file_names_the_instruments(full, tmp_path):
    done = full.export("bars_1min", tmp_path / "all.parquet")

    table = pq.read_table(tmp_path / "all.parquet")
    assert done[["instruments", "rows"]].to_numpy().tolist() == [[2, 3007]]
    assert table.column_names[:2] == ["instrument", "ts"]
    assert set(table["instrument"].to_pylist()) == {SLUG, "STK-MSFT-SMART-USD"}
    assert table.schema.field("ts").type == pa.timestamp("us", "UTC")


def test_a_range_some_columns_and_one_series(full, tmp_path, utc, bars):
    full.write_bars("AAPL", "1 min", bars("2026-10-30 14:30", n=9), what_to_show="BID")
    full.export(
        "bars_1min",
        tmp_path / "some.csv",
        "AAPL",
        utc(2026, 10, 30, 14, 31),
        utc(2026, 10, 30, 14, 34),
        columns=["ts", "close"],
        series={"what_to_show": "BID", "use_rth": True},
    )

    lines = (tmp_path / "some.csv").read_text().splitlines()
    assert lines[0] == '"instrument","ts","close"'
    assert len(lines) == 4
    assert lines[1].startswith(f'"{SLUG}","2026-10-30T14:31:00.000000+00:00",')


def test_nothing_is_overwritten_unasked_and_nothing_half_is_left(full, tmp_path, monkeypatch):
    target = tmp_path / "all.csv"
    target.write_text("mine")
    with pytest.raises(StoreAccessError, match="overwrite=True"):
        full.export("bars_1min", target)
    monkeypatch.setattr(full, "batches", lambda *_, **__: iter([1 / 1, None]))
    with pytest.raises((AttributeError, TypeError)):
        full.export("bars_1min", target, overwrite=True)
    monkeypatch.undo()

    assert target.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.csv"]
    full.export("bars_1min", target, overwrite=True)
    assert target.read_text() != "mine"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("x.xlsx", {}, "says no format"),
        ("x", {}, "says no format"),
        ("x", {"fmt": "feather"}, "says no format"),
        ("x.csv", {"each": True}, "say the format"),
        ("x.csv", {"columns": ["nothing"]}, "no column 'nothing'"),
    ],
)
def test_what_makes_no_export_is_told(full, tmp_path, name, options, words):
    with pytest.raises(ValueError, match=words):
        full.export("bars_1min", tmp_path / name, **options)
    assert not list(tmp_path.glob("x*"))


def test_an_empty_dataset_is_no_empty_file(store, tmp_path):
    with pytest.raises(UnknownSeriesError, match="holds nothing to export"):
        store.export("bars_1min", tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()
