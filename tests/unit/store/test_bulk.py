import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ibkit.errors import InvalidRowsError, ProfileMixError, RoleError, StoreAccessError
from ibkit.store import Store, bulk

SERIES = {"what_to_show": "TRADES", "use_rth": True}


@pytest.fixture
def full(store, bars, utc):
    for name in ("AAPL", "MSFT", "FUT-ES-CME-USD-20261218"):
        store.write_bars(name, "1 min", bars("2026-10-30 14:30", n=3000))  # two months
    store.write_bars("AAPL", "1 min", bars(n=9) + 1, what_to_show="BID")
    at = utc(2026, 11, 20, 14, 30)
    fill = {"ts": [at, at], "exec_id": ["0001", "0002.01"], "account": ["DU0000001", None]}
    fill |= {"action": ["BUY", "SELL"], "quantity": [100.0, 1.0], "price": [1.5, 2.5]}
    fill |= {"order_ref": ["", None], "order_id": [7, None]}
    store.upsert("fills", "AAPL", pd.DataFrame(fill), source="IB")
    tick = {"ts": [at, at], "price": [1.0, 1.5], "size": [1.0, 2.0], "seq": [1, 2]}
    tick |= {"recorder": ["a", "a"], "received": [at, None], "past_limit": [False, True]}
    store.upsert("trades", "MSFT", pd.DataFrame(tick), source="IB")
    value = {"ts": [at], "tag": ["NetLiquidation"], "currency": ["USD"], "value": ["007"]}
    store.upsert("account_values", "ACCOUNT-DU0000001", pd.DataFrame(value), source="IB")
    store.confirm_empty("bars_1min", "AAPL", (at, at + pd.Timedelta("1D")), reason="holiday")
    return store


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".arrow"])
def test_what_is_exported_of_any_dataset_is_imported_back_equal(full, tmp_path, suffix):
    other = Store(tmp_path / "other")
    for dataset in full.datasets():
        file = tmp_path / f"{dataset}{suffix}"
        full.export(dataset, file)
        done = other.import_rows(dataset, file)

        assert done["rows_added"].sum() == len(full.read(dataset))
        was, now = (one.read(dataset).drop(columns="commit_id") for one in (full, other))
        pd.testing.assert_frame_equal(was, now)
    assert other.datasets() == full.datasets()
    again = other.import_rows("bars_1min", tmp_path / f"bars_1min{suffix}")
    assert again[["rows_added", "rows_changed"]].sum().sum() == 0


def test_one_file_of_other_peoples_names_holds_many_instruments(store):
    theirs = pd.DataFrame(
        {
            "Symbol": ["AAPL", "VOD@LSE:GBP", "AAPL"],
            "Date": ["2026-11-18 09:30", "2026-11-19 09:30", "2026-11-19 09:30"],
            **{name: [1.0, 2.0, 3.0] for name in "OHLC"},
            "Junk": ["x", "y", "z"],
        }
    )
    names = {"Symbol": "instrument", "Date": "ts", "O": "open", "H": "high"}
    names |= {"L": "low", "C": "close"}
    options = {"columns": names, "zone": "America/New_York", "series": SERIES}

    done = store.import_rows("bars_1min", theirs, **options)

    assert done[["instrument", "rows_added"]].to_numpy().tolist() == [
        ["STK-AAPL-SMART-USD", 2],
        ["STK-VOD-LSE-GBP", 1],
    ]
    assert store.bars("AAPL").index[0] == pd.Timestamp("2026-11-18 14:30", tz="UTC")


def test_a_file_in_pieces_counts_as_one(full, tmp_path, monkeypatch):
    full.export("bars_1min", tmp_path / "x.csv")
    monkeypatch.setattr(bulk, "BLOCK", 20_000)
    other = Store(tmp_path / "other")

    done = other.import_rows("bars_1min", tmp_path / "x.csv")

    assert done["rows_in"].tolist() == [3000, 3009, 3000]
    assert len(other.history("bars_1min", "AAPL")) > 1


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"Tims": "ts", "C": "close"}, r"no column 'Tims' \(did you mean 'Time'\?\)"),
        ({"Time": "ts", "C": "closs"}, r"'C' cannot become 'closs' \(did you mean 'close'\?\)"),
        ({"Time": "ts", "C": "close", "O": "close"}, "'close' is named twice"),
        ({"C": "close"}, "no column for 'ts'"),
        ({"Time": "ts", "C": "close"}, "no column 'instrument'"),
    ],
)
def test_a_map_that_does_not_fit_is_told_by_the_names_of_its_columns(store, columns, words):
    theirs = pd.DataFrame({"Time": pd.to_datetime(["2026-11-20"], utc=True), "O": 1.0, "C": 1.0})

    with pytest.raises(InvalidRowsError, match=words):
        store.import_rows("bars_1min", theirs, columns=columns, series=SERIES)
    assert store.datasets() == []


def test_a_bad_row_of_the_last_instrument_lets_none_in(full, tmp_path):
    full.export("bars_1min", tmp_path / "x.parquet", series=SERIES)
    table = pq.read_table(tmp_path / "x.parquet").to_pandas()
    table.loc[len(table) - 1, "low"] = 1e6
    other = Store(tmp_path / "other")

    with pytest.raises(InvalidRowsError, match="low"):
        other.import_rows("bars_1min", table)

    assert other.datasets() == []
    done = other.import_rows("bars_1min", table, on_error="quarantine")
    assert done["rows_set_aside"].sum() == 1


def test_simulated_rows_stay_simulated_and_out_of_real_stores(tmp_path, bars):
    sim = Store(tmp_path / "sim", kind="sim")
    sim.write_bars("AAPL", "1 min", bars(n=3))
    sim.export("bars_1min", tmp_path / "x.parquet")
    real = Store(tmp_path / "real", kind="real")

    with pytest.raises(ProfileMixError):
        real.import_rows("bars_1min", tmp_path / "x.parquet")
    again = Store(tmp_path / "again")
    again.import_rows("bars_1min", tmp_path / "x.parquet")
    assert again.kind == "sim"
    table = pq.read_table(tmp_path / "x.parquet")
    at = table.schema.get_field_index("source")
    mixed = table.set_column(at, "source", pa.array(["SIM", "IB", "IB"]))
    with pytest.raises(ProfileMixError, match="some of these rows are simulated"):
        again.import_rows("bars_1min", mixed)


@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_a_column_of_sources_is_no_way_round_the_kind_of_a_store(store, bars, kind):
    frame = bars(n=3).assign(source=["IB", "sim:x", "IB"])
    data = frame if kind == "pandas" else pa.Table.from_pandas(frame)
    store.write_bars("AAPL", "1 min", bars(n=3).assign(source="elsewhere"))

    with pytest.raises(ProfileMixError, match="source 'sim:x' cannot be written as real"):
        store.write_bars("MSFT", "1 min", data)

    assert store.instruments("bars_1min") == ["STK-AAPL-SMART-USD"]


def test_what_is_no_file_of_rows_is_named(store, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no")
    (tmp_path / "x.csv").write_text("ts,close\n2026-11-20,abc\n")
    for name in ("x.parquet", "x.csv", "y.csv"):
        with pytest.raises(StoreAccessError, match=name):
            store.import_rows("bars_1min", tmp_path / name, "AAPL", series=SERIES)
    (tmp_path / "head.csv").write_text("ts,open,high,low,close\n")
    with pytest.raises(InvalidRowsError, match="there are no rows"):
        store.import_rows("bars_1min", tmp_path / "head.csv", "AAPL", series=SERIES)
    with pytest.raises(RoleError):
        Store(store.root, role="reader").import_rows("bars_1min", tmp_path / "x.csv")
