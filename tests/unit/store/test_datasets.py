"""What every dataset promises, written once; a new dataset adds a subclass with its rows."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ibkit.schema import DATASETS
from ibkit.store import files


class DatasetContract:
    """Subclass it, name the dataset, and let the fixture `rows` return valid rows of it."""

    name: str
    instrument = "AAPL"

    @pytest.fixture
    def write(self, store):
        def write(rows):
            return store.upsert(self.name, self.instrument, rows, source="IB")

        return write

    @pytest.fixture
    def read(self, store):
        names = ", ".join(f'"{name}"' for name in DATASETS[self.name].names)
        order = ", ".join(f'"{name}"' for name in DATASETS[self.name].key)

        def read():
            query = f"select {names} from {self.name} order by {order}"
            return store.sql(query).to_arrow_table().to_pylist()

        return read

    def test_writing_the_same_rows_twice_changes_nothing(self, write, read, rows):
        write(rows)
        before = read()

        assert write(rows).operation == "none"
        assert read() == before

    def test_rows_come_back_as_they_went_in(self, write, read, rows):
        write(rows)

        back = read()

        assert len(back) == len(rows)
        for column in rows.columns:
            assert [row[column] for row in back] == list(rows[column])

    def test_halves_in_the_wrong_order_are_the_whole(self, write, read, rows):
        write(rows.iloc[1:])
        write(rows.iloc[:1])

        assert len(read()) == len(rows)

    def test_a_file_is_of_the_schema_and_of_its_version(self, store, write, rows):
        write(rows)

        dataset = DATASETS[self.name]
        for part in (store.root / "data").rglob("*.parquet"):
            footer = files.read_footer(part, dataset)
            assert (footer.dataset, footer.version) == (self.name, dataset.version)
            assert files.read(part, dataset).num_rows == footer.rows
            assert pq.read_schema(part).remove_metadata().equals(files.schema(dataset))

    def test_what_was_written_is_whole(self, store, write, rows):
        write(rows)

        assert len(store.verify()) == 0


class BarsContract(DatasetContract):
    @pytest.fixture
    def rows(self, bars):
        return bars(n=4).reset_index().assign(what_to_show="TRADES", use_rth=True)


TestBars = [
    type(f"Test_{name}", (BarsContract,), {"name": name})
    for name in DATASETS
    if name.startswith("bars_")
]
for contract in TestBars:
    globals()[contract.__name__] = contract


class TestGaps(DatasetContract):
    name = "gaps"

    @pytest.fixture
    def rows(self):
        ts = pd.date_range("2026-10-03", periods=3, freq="D", tz="UTC", unit="us")
        return pd.DataFrame(
            {
                "ts": ts,
                "end": ts + pd.Timedelta(days=1),
                "reason": ["weekend", "weekend", ""],
                "dataset": "bars_1min",
                "what_to_show": "TRADES",
                "use_rth": True,
            }
        )


def instants(n: int = 3):
    return pd.date_range("2026-10-02 14:30:00.5", periods=n, freq="s", tz="UTC", unit="us")


class TestTrades(DatasetContract):
    name = "trades"

    @pytest.fixture
    def rows(self):
        return pd.DataFrame(
            {
                "ts": instants(),
                "price": [189.5, 189.51, 189.5],
                "size": [100.0, 1.0, 0.5],
                "exchange": ["ARCA", "ARCA", "Q"],
                "past_limit": False,
                "recorder": "rec-1",
                "seq": [1, 2, 3],
            }
        )


class TestQuotes(DatasetContract):
    name = "quotes"

    @pytest.fixture
    def rows(self):
        return pd.DataFrame(
            {
                "ts": instants(),
                "bid": [189.5, 189.51, 189.5],
                "ask": [189.52, 189.52, 189.51],
                "bid_size": [100.0, 300.0, 200.0],
                "ask_size": [100.0, 1.0, 2.0],
                "recorder": "history",
                "seq": [0, 0, 0],
            }
        )


class TestMidpoints(DatasetContract):
    name = "midpoints"

    @pytest.fixture
    def rows(self):
        return pd.DataFrame(
            {
                "ts": instants(),
                "price": [1.1, 1.10005, 1.1],
                "recorder": "history",
                "seq": [0, 0, 0],
            }
        )


def contracts_of(rows: pd.DataFrame) -> pd.DataFrame:
    rights = {"expiry": "20261218", "right": ["C", "P", "C", "C"], "trading_class": "AAPL"}
    return rows.assign(**rights, strike=[182.5, 182.5, 182.25, 190.0])


class TestOptionChain(DatasetContract):
    name = "option_chain"

    @pytest.fixture
    def rows(self):
        chain = contracts_of(pd.DataFrame({"ts": instants(1).repeat(4), "bid": [8.1, 1, 8.3, 4]}))
        chain = chain.assign(delta=[0.6, -0.4, 0.61, 0.5], open_interest=10.0)
        return chain.sort_values(["expiry", "strike", "right"]).reset_index(drop=True)


class OptionBarsContract(DatasetContract):
    @pytest.fixture
    def rows(self, bars):
        some = bars(n=4).reset_index().assign(what_to_show="TRADES", use_rth=True)
        return contracts_of(some).sort_values(["expiry", "strike", "right"]).reset_index(drop=True)


for contract in [
    type(f"Test_{name}", (OptionBarsContract,), {"name": name})
    for name in ("option_bars_1min", "option_bars_1hour", "option_bars_1day")  # one a grain
]:
    globals()[contract.__name__] = contract


class TestFills(DatasetContract):
    name = "fills"

    @pytest.fixture
    def rows(self):
        return pd.DataFrame(
            {
                "ts": instants(),
                "exec_id": ["0001.01", "0001.02", "0002.01"],
                "action": ["BUY", "BUY", "SELL"],
                "quantity": [60.0, 40.0, 100.0],
                "price": [189.5, 189.51, 190.0],
                "perm_id": [7, 7, 8],
            }
        )


class TestOrders(DatasetContract):
    name = "orders"

    @pytest.fixture
    def rows(self):
        return pd.DataFrame(
            {
                "ts": instants(),
                "client_id": 1,
                "order_id": [5, 5, 6],
                "order_type": "LMT",
                "status": ["working", "filled", "working"],
                "limit_price": 189.5,
            }
        )


class TestAccountValues(DatasetContract):
    name = "account_values"
    instrument = "ACCOUNT-DU1234567"

    @pytest.fixture
    def rows(self):
        tags = ["AccountType", "NetLiquidation", "NetLiquidation"]
        return pd.DataFrame(
            {
                "ts": instants(),
                "tag": tags,
                "currency": ["", "BASE", "USD"],
                "value": ["INDIVIDUAL", "100000.5", "100000.5"],
            }
        )


class TestEvents(DatasetContract):
    name = "events"

    @pytest.fixture
    def rows(self):
        return pd.DataFrame(
            {
                "ts": instants(),
                "kind": ["dividend", "earnings", "earnings"],
                "event_key": ["d1", "e1", "e2"],
                "status": "CONFIRMED",
            }
        )

    def test_a_date_that_is_moved_is_still_one_event(self, write, read, rows):
        write(rows)
        write(rows.assign(ts=rows["ts"] + pd.Timedelta(days=1)))

        assert [row["ts"] for row in read()] == list(rows["ts"] + pd.Timedelta(days=1))


class TestFactors(DatasetContract):
    name = "factors"

    @pytest.fixture
    def rows(self):
        return pd.DataFrame(
            {
                "ts": instants(),
                "kind": ["dividend", "span", "split"],
                "day": ["2026-02-09", "2026-11-20", "2026-06-10"],
                "factor": [0.99, 1.0, 0.25],
                "ratio": [1.0, 1.0, 4.0],
                "basis": ["ADJUSTED_LAST", "ADJUSTED_LAST", "events"],
            }
        )


class TestContracts(DatasetContract):
    name = "contracts"

    @pytest.fixture
    def rows(self):
        columns = {"entry": "AAPL", "symbol": "AAPL", "min_tick": 0.01, "detail": "{}"}
        return pd.DataFrame({"ts": instants(), **columns})
