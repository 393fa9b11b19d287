"""Foreign engines beside writers: they see whole files, and leave nothing behind."""

from __future__ import annotations

import gc
import os
from threading import Event, Thread

import numpy as np
import pandas as pd
import pytest

from ibkit.store import Store, disk

MINUTES = 4000


def frame(value: int) -> pd.DataFrame:
    """Return bars whose closes are all `value`, and whose file has another size each time."""
    close = np.full(MINUTES, float(value))
    volume = np.random.default_rng(value).integers(1, 10 ** (1 + value % 5), MINUTES)
    index = pd.date_range("2026-10-01", periods=MINUTES, freq="min", tz="UTC", unit="us")
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return pd.DataFrame({**prices, "volume": volume.astype(float)}, index=index)


def by_sql(store):
    query = "select count(*) as n, count(distinct close) as k from bars_1min"
    return tuple(store.sql(query).to_arrow_table().to_pylist()[0].values())


def by_scan(store):
    import polars as pl

    query = store.scan("bars_1min", "AAPL").select(pl.len(), pl.col("close").n_unique())
    return query.collect().row(0)


def by_batches(store):
    closes = [batch["close"].to_numpy() for batch in store.batches("bars_1min", "AAPL")]
    whole = np.concatenate(closes)
    return len(whole), len(np.unique(whole))


@pytest.mark.parametrize("read", [by_sql, by_scan, by_batches])
def test_no_reader_sees_two_versions_of_a_file(store, read):
    store.write_bars("AAPL", "1 min", frame(1))
    stop, seen = Event(), []

    def look():
        mine = Store(store.root)
        while not stop.is_set():
            seen.append(read(mine))

    reader = Thread(target=look)
    reader.start()
    for value in range(2, 60):
        store.write_bars("AAPL", "1 min", frame(value))
    stop.set()
    reader.join()

    assert set(seen) == {(MINUTES, 1)}


@pytest.fixture
def filled(store):
    store.write_bars("AAPL", "1 min", frame(1))
    return store


def left(store):
    return list((store.root / "meta" / "bars_1min" / "tmp").iterdir())


def test_a_relation_reads_what_was_there_when_it_was_made(filled):
    relation = filled.sql("select max(close) as c from bars_1min")

    filled.write_bars("AAPL", "1 min", frame(5))

    assert relation.to_arrow_table()["c"].to_pylist() == [1.0]


def test_its_names_live_as_long_as_what_was_made_of_it(filled):
    relation = filled.sql("select * from bars_1min").filter("close > 0")
    gc.collect()

    assert len(left(filled)) == 1
    assert relation.to_arrow_table().num_rows == MINUTES
    del relation
    gc.collect()
    assert left(filled) == []


def test_where_no_link_can_be_made_we_read_ourselves(filled, monkeypatch):
    def refused(*rest):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)

    assert by_sql(filled) == (MINUTES, 1)
    assert left(filled) == []


def test_what_a_kill_leaves_is_swept(filled, monkeypatch):
    tmp = filled.root / "meta" / "bars_1min" / "tmp"
    dead = tmp / "999999999-x" / "instrument=X"
    dead.mkdir(parents=True)
    os.utime(dead.parent, (0, 0))

    assert disk.sweep(tmp) == 1
    assert left(filled) == []


def test_a_file_that_vanishes_is_not_missed(filled, monkeypatch):
    real = os.link

    def late(source, target):
        source.unlink()
        return real(source, target)

    monkeypatch.setattr(os, "link", late)

    assert by_sql(filled) == (0, 0)
