"""The folders as they are, for anything that reads Parquet: no code of ours between."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as pads
import pytest

from ibkit.store import Store

SLUG, NUMBER = "STK-AAPL-SMART-USD", "STK-0700-SEHK-HKD"
ROWS = 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("readers") / "root")
    for slug in (SLUG, NUMBER):
        index = pd.date_range("2026-10-30 14:30", periods=ROWS, freq="min", tz="UTC", unit="us")
        prices = 100 + np.arange(ROWS) / 100
        bars = pd.DataFrame(
            dict.fromkeys(("open", "high", "low", "close"), prices), index=index.rename("ts")
        )
        store.write_bars(slug, "1 min", bars)
        store.write_bars(slug, "1 min", bars[:5] + 1)  # leaves an old file in the history
    return store.root / "data" / "bars_1min"


def check(ts, close, names):
    assert len(ts) == 2 * ROWS
    assert pd.DatetimeIndex(ts).tz_convert("UTC").min() == pd.Timestamp(
        "2026-10-30 14:30", tz="UTC"
    )
    assert float(close.sum()) == pytest.approx(2 * (100 + np.arange(ROWS) / 100).sum() + 10)
    assert set(names) == {SLUG, NUMBER}


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # dask's own, on pandas 3.1
def test_dask(folder):
    with dask.config.set(scheduler="synchronous"):
        frame = dd.read_parquet(folder, engine="pyarrow")
        found = frame[["ts", "close", "instrument", "month"]].compute()
        october = dd.read_parquet(folder, filters=[("month", "==", "2026-10")]).compute()

    check(found["ts"], found["close"], found["instrument"].astype(str))
    assert set(found["month"].astype(str)) == {"2026-10", "2026-11"}
    assert 0 < len(october) < 2 * ROWS


def test_pyarrow(folder):
    found = pads.dataset(folder, partitioning="hive").to_table().to_pandas()

    check(found["ts"], found["close"], found["instrument"])


def test_pandas(folder):
    found = pd.read_parquet(folder)

    check(found["ts"], found["close"], found["instrument"].astype(str))


def test_polars(folder):
    found = pl.scan_parquet(folder, hive_partitioning=True).collect()

    check(found["ts"].to_list(), found["close"].to_numpy(), found["instrument"].to_list())


def test_duckdb(folder):
    query = (
        "select epoch_us(ts) as us, close, instrument "
        f"from read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    )
    with duckdb.connect(":memory:") as connection:
        found = connection.sql(query).fetchnumpy()

    check(
        pd.to_datetime(found["us"], unit="us", utc=True),
        found["close"],
        found["instrument"].tolist(),
    )


SPARK = """
import sys
from pyspark.sql import SparkSession
made = SparkSession.builder.master("local[1]")
for name, value in {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}.items():
    made = made.config(name, value)
spark = made.getOrCreate()
frame = spark.read.parquet(sys.argv[1])
row = frame.selectExpr("count(*)", "sum(close)", "unix_micros(min(ts))").first()
names = sorted(one[0] for one in frame.select("instrument").distinct().collect())
months = sorted(one[0] for one in frame.select("month").distinct().collect())
print("answer", *row, *names, *months)
spark.stop()
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None,
    reason="needs pyspark and a Java 17",
)
def test_spark(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SPARK, folder],
        capture_output=True,
        cwd=tmp_path,
        text=True,
        check=True,
    )

    (line,) = (line for line in done.stdout.splitlines() if line.startswith("answer "))
    rows, total, first, *names = line.split()[1:]
    assert int(rows) == 2 * ROWS
    assert float(total) == pytest.approx(2 * (100 + np.arange(ROWS) / 100).sum() + 10)
    assert int(first) == pd.Timestamp("2026-10-30 14:30", tz="UTC").value // 1000
    assert names == [NUMBER, SLUG, "2026-10", "2026-11"]
