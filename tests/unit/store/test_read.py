"""Reads: any frame, many symbols, any dataset, lazily, and never more files than needed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from ibkit.errors import StoreError, UnknownSeriesError
from ibkit.schema import DATASETS, Column, Dataset
from ibkit.store import Store, files, layout, lazy
from ibkit.store.journal import Journals
from ibkit.store.medium import Door
from ibkit.store.table import Table, Write


@pytest.fixture
def filled(store, bars):
    """Return a store with three symbols over a year, one bar a day."""
    for seed, name in enumerate(("AAPL", "MSFT", "XOM")):
        store.write_bars(name, "1 min", bars("2025-11-03 15:00", 300, seed=seed, freq="D"))
    return store


@pytest.fixture
def opened(monkeypatch):
    """Return the list of the data files that are opened from now on."""
    found = []
    real = Door.open

    def counted(self, path):
        found.append(path.parent.name)
        return real(self, path)

    monkeypatch.setattr(Door, "open", counted)
    return found


class TestFrames:
    def test_every_frame_says_the_same(self, filled):
        whole = filled.bars("AAPL", columns=["close", "volume"])
        arrow = filled.bars("AAPL", columns=["close", "volume"], as_="arrow")
        polars = filled.bars("AAPL", columns=["close", "volume"], as_="polars")
        relation = filled.bars("AAPL", columns=["close", "volume"], as_="duckdb")

        assert isinstance(arrow, pa.Table)
        assert isinstance(relation, duckdb.DuckDBPyRelation)
        assert arrow.column_names == polars.columns == relation.columns == ["ts", "close", "volume"]
        for rows in (arrow.to_pylist(), polars.to_dicts(), relation.to_arrow_table().to_pylist()):
            assert [row["close"] for row in rows] == whole["close"].tolist()
            assert [row["ts"] for row in rows] == whole.index.tolist()

    def test_another_frame_is_refused(self, filled):
        with pytest.raises(ValueError, match="'vaex' is no frame"):
            filled.bars("AAPL", as_="vaex")

    def test_columns_come_in_the_order_asked_for(self, filled):
        frame = filled.bars("AAPL", columns=["close", "open"])

        assert list(frame.columns) == ["close", "open"]
        pd.testing.assert_frame_equal(frame, filled.bars("AAPL")[["close", "open"]])

    def test_no_polars_is_a_clear_error(self, filled, monkeypatch):
        monkeypatch.setitem(sys.modules, "polars", None)

        with pytest.raises(StoreError, match="pip install polars"):
            filled.bars("AAPL", as_="polars")


class TestManySymbols:
    def test_a_long_frame_in_the_order_asked_for(self, filled):
        frame = filled.bars(["MSFT", "AAPL"], columns=["close"])

        assert frame["instrument"].unique().tolist() == ["STK-MSFT-SMART-USD", "STK-AAPL-SMART-USD"]
        for name in ("MSFT", "AAPL"):
            mine = frame[frame["instrument"] == f"STK-{name}-SMART-USD"]
            pd.testing.assert_frame_equal(
                mine[["close"]], filled.bars(name, columns=["close"]), check_flags=False
            )
        assert frame.attrs["instrument"] == ["STK-MSFT-SMART-USD", "STK-AAPL-SMART-USD"]

    def test_one_that_is_not_stored_is_an_error(self, filled):
        with pytest.raises(UnknownSeriesError, match="NVDA"):
            filled.bars(["AAPL", "NVDA"])

    def test_one_that_is_named_twice_is_there_once(self, filled):
        assert len(filled.bars(["AAPL", "XOM", "STK-AAPL-SMART-USD"])) == 600

    def test_none_is_an_error(self, filled):
        with pytest.raises(ValueError, match="no instrument is named"):
            filled.bars([])


class TestAnyDataset:
    def test_rows_of_all_instruments(self, filled):
        rows = filled.read("bars_1min", columns=["ts", "close"])

        assert list(rows.columns) == ["instrument", "ts", "close"]
        assert len(rows) == 900

    def test_an_unknown_instrument_is_an_error_not_an_empty_frame(self, filled):
        with pytest.raises(UnknownSeriesError):
            filled.trades("AAPL")

    def test_a_dataset_without_rows_is_an_empty_frame_with_its_columns(self, filled):
        assert list(filled.fills().columns) == ["instrument", *DATASETS["fills"].names]

    def test_a_key_column_picks_a_series(self, store):
        ts = pd.date_range("2026-10-01 14:30", periods=2, freq="s", tz="UTC")
        for recorder, price in (("a", 1.0), ("b", 2.0)):
            rows = pd.DataFrame({"ts": ts, "price": price, "recorder": recorder, "seq": [1, 2]})
            store.trades.write("AAPL", rows, source="IB")

        picked = store.trades("AAPL", series={"recorder": "b"}, columns=["price"])

        assert picked["price"].tolist() == [2.0, 2.0]
        assert len(store.trades("AAPL")) == 4

    def test_historical_ticks_replace_whole_seconds_and_nothing_else(self, store, utc):
        ts = pd.to_datetime(["2026-10-01 14:30:00", "2026-10-01 14:30:00", "2026-10-01 14:30:01"])
        first = pd.DataFrame(
            {
                "ts": ts.tz_localize("UTC"),
                "price": [1.0, 2, 3],
                "recorder": "history",
                "seq": [0, 1, 0],
            }
        )
        store.trades.write("AAPL", first, source="IB")
        store.trades.write("AAPL", first.assign(recorder="live"), source="IB")
        store.trades.replace_range(
            "AAPL",
            first.iloc[:1].assign(price=9.0),
            utc(2026, 10, 1, 14, 30),
            utc(2026, 10, 1, 14, 30, 1),
            source="IB",
            series={"recorder": "history"},
        )

        history = store.trades("AAPL", series={"recorder": "history"})
        assert history["price"].tolist() == [9.0, 3.0]
        assert len(store.trades("AAPL", series={"recorder": "live"})) == 3

    def test_every_dataset_has_a_door(self, store):
        for name in DATASETS:
            assert store.repository(name).dataset.name == name
        for name in ("trades", "quotes", "option_chain", "fills", "orders", "events", "gaps"):
            assert getattr(store, name).name == name
        assert store.option_bars("5 mins").name == "option_bars_5mins"
        with pytest.raises(UnknownSeriesError):
            store.repository("bars_7min")

    def test_accounts_have_a_name_of_their_own(self, store):
        ts = pd.DatetimeIndex(["2026-10-01"], tz="UTC")
        rows = pd.DataFrame({"ts": ts, "tag": "NetLiquidation", "currency": "USD", "number": 1.5})
        store.account_values.write("ACCOUNT-DU1", rows, source="IB")

        back = store.account_values("ACCOUNT-DU1")

        assert back["account"].tolist() == ["ACCOUNT-DU1"]
        assert back["number"].tolist() == [1.5]


class TestPruning:
    def test_only_the_months_of_the_span_are_opened(self, filled, opened, utc):
        filled.bars("AAPL", "1 min", utc(2026, 3, 10), utc(2026, 4, 2))

        assert opened == ["month=2026-03", "month=2026-04"]

    def test_nothing_is_opened_for_an_instrument_that_is_not_asked_for(self, filled, opened, utc):
        filled.bars(["AAPL", "XOM"], "1 min", utc(2026, 3, 10), utc(2026, 3, 12))

        assert opened == ["month=2026-03"] * 2

    def test_row_groups_of_other_series_are_not_decoded(self, store, bars, monkeypatch):
        for what in ("TRADES", "BID", "ASK"):
            store.write_bars("AAPL", "1 min", bars(n=50), what_to_show=what)
        decoded = []
        real = files.pq.ParquetFile.read_row_groups

        def counted(self, groups, *rest, **options):
            decoded.extend(groups)
            return real(self, groups, *rest, **options)

        monkeypatch.setattr(files.pq.ParquetFile, "read_row_groups", counted)
        store.bars("AAPL", what_to_show="BID")

        assert len(decoded) == 1

    def test_sql_opens_only_the_folders_that_it_needs(self, filled):
        plan = filled.sql(
            "explain analyze select count(*) from bars_1min "
            "where instrument = 'STK-XOM-SMART-USD' and month = '2026-03'"
        ).fetchall()[0][1]

        assert "Total Files Read: 1" in plan

    def test_sql_may_be_told_what_it_is_about(self, filled, utc):
        count = "select count(*) from bars_1min"

        assert filled.sql(count).fetchall() == [(900,)]
        assert filled.sql(count, instruments=["XOM"]).fetchall() == [(300,)]
        assert filled.sql(count, start=utc(2026, 3, 1), end=utc(2026, 4, 1)).fetchall() == [(93,)]


class TestLazily:
    def test_batches_are_the_rows_in_order_and_small(self, filled, utc):
        span = (utc(2026, 1, 5), utc(2026, 3, 7))
        batches = list(
            filled.batches("bars_1min", ["XOM", "AAPL"], *span, columns=["ts", "close"], rows=10)
        )

        whole = pa.Table.from_batches(batches)
        assert max(batch.num_rows for batch in batches) <= 10
        eager = filled.bars(["XOM", "AAPL"], "1 min", *span, columns=["close"])
        assert whole["close"].to_pylist() == eager["close"].tolist()
        assert whole["instrument"].to_pylist() == eager["instrument"].tolist()

    def test_one_file_is_open_at_a_time(self, filled, opened):
        batches = filled.batches("bars_1min", "AAPL", columns=["close"])
        next(batches)

        assert len(opened) == 1

    def test_a_lazy_frame_says_what_an_eager_read_says(self, filled, utc):
        import polars as pl

        span = (utc(2026, 1, 5), utc(2026, 3, 7))
        query = filled.scan("bars_1min", ["AAPL", "XOM"], *span, series={"what_to_show": "TRADES"})

        found = query.group_by("instrument").agg(pl.col("close").sum()).sort("instrument").collect()

        eager = filled.bars(["AAPL", "XOM"], "1 min", *span)
        expected = eager.groupby("instrument", observed=True)["close"].sum()
        assert found["close"].to_list() == pytest.approx(expected.tolist())

    def test_a_lazy_frame_over_nothing_has_the_columns(self, store):
        assert store.scan("fills").collect().columns == ["instrument", *DATASETS["fills"].names]

    def test_rows_of_a_stream_are_in_every_kind_of_read(self, filled, bars):
        fresh = bars("2026-09-10 15:00", 3).reset_index()
        fresh = fresh.assign(what_to_show="TRADES", use_rth=True)
        with filled.appender("bars_1min", "AAPL", source="IB") as appender:
            appender.append(fresh)
            want = 303

            assert len(filled.bars("AAPL")) == want
            assert len(filled.read("bars_1min", "AAPL")) == want
            assert filled.scan("bars_1min", "AAPL").collect().height == want
            assert sum(batch.num_rows for batch in filled.batches("bars_1min", "AAPL")) == want
            query = "select count(*) from bars_1min where instrument = 'STK-AAPL-SMART-USD'"
            assert filled.sql(query).fetchall() == [(want,)]


class TestOldFiles:
    """A dataset whose schema changed: its old files are read as the new one, then become it."""

    OLD = Dataset(
        "events",
        (
            Column("ts", "timestamp[us, tz=UTC]", "key", required=True),
            Column("sum", "double"),
            Column("source", "string", "origin", required=True),
            Column("commit_id", "int64", "origin"),
        ),
        key=("ts",),
        series=(),
        grain="all",
    )
    NEW = Dataset(
        "events",
        (
            Column("ts", "timestamp[us, tz=UTC]", "key", required=True),
            Column("amount", "double"),
            Column("currency", "string"),
            Column("rank", "int32"),
            Column("source", "string", "origin", required=True),
            Column("commit_id", "int64", "origin"),
        ),
        key=("ts",),
        series=(),
        grain="all",
        version=2,
        upgrades={1: {"amount": "sum", "rank": ("=", 7)}},
    )

    def write(self, dataset, root, frame):
        table = Table(dataset, layout.Layout(root), Journals())
        order = Write("upsert", "IB")
        table.write("STK-AAPL-SMART-USD", table.prepare(frame, order), order)
        return table

    def frame(self, **columns):
        first = datetime(2026, 10, 1, tzinfo=UTC)
        size = len(next(iter(columns.values())))
        return pd.DataFrame({"ts": [first + timedelta(days=n) for n in range(size)], **columns})

    def test_they_are_read_as_the_new_schema(self, tmp_path):
        self.write(self.OLD, tmp_path, self.frame(sum=[1.0, 2.0]))
        table = Table(self.NEW, layout.Layout(tmp_path), Journals())

        rows = table.read("STK-AAPL-SMART-USD", None, None, columns=self.NEW.names)

        assert rows.schema.equals(files.schema(self.NEW))
        assert rows["amount"].to_pylist() == [1.0, 2.0]
        assert rows["currency"].to_pylist() == [None, None]
        assert rows["rank"].to_pylist() == [7, 7]

    def test_they_become_it_with_the_next_write(self, tmp_path):
        self.write(self.OLD, tmp_path, self.frame(sum=[1.0, 2.0]))
        table = self.write(self.NEW, tmp_path, self.frame(amount=[1.0, 2.0, 3.0]).iloc[2:])

        footer = files.read_footer(table.part("STK-AAPL-SMART-USD", 0), self.NEW)
        rows = table.read("STK-AAPL-SMART-USD", None, None, columns=["ts", "amount"])

        assert footer.version == 2
        assert rows["amount"].to_pylist() == [1.0, 2.0, 3.0]

    def test_a_newer_file_is_refused(self, tmp_path):
        self.write(self.NEW, tmp_path, self.frame(amount=[1.0]))
        table = Table(self.OLD, layout.Layout(tmp_path), Journals())

        with pytest.raises(StoreError, match="version 2"):
            table.read("STK-AAPL-SMART-USD", None, None, columns=["ts"])

    def test_other_engines_are_given_whole_tables_meanwhile(self, tmp_path):
        table = self.write(self.OLD, tmp_path, self.frame(sum=[1.0]))

        assert lazy.plain(table)
        assert not lazy.plain(Table(self.NEW, layout.Layout(tmp_path), Journals()))


def test_a_store_from_the_outside_is_the_same(filled):
    assert len(Store(filled.root).bars("AAPL")) == 300
