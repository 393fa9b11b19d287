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

    @pytest.fixture
    def write(self, store):
        def write(rows):
            return store.upsert(self.name, "AAPL", rows, source="IB")

        return write

    @pytest.fixture
    def read(self, store):
        names = ", ".join(f'"{name}"' for name in DATASETS[self.name].names)
        order = ", ".join(DATASETS[self.name].key)

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
    type(f"Test_{name}", (BarsContract,), {"name": name}) for name in DATASETS if "bars" in name
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
