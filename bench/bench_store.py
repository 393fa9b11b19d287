"""How far the store is from what the disk and the memory allow, measured in the same run.

    python bench/bench_store.py [--symbols 5]

Limits: for writes, the same bytes written and synced, nothing else; for reads, the same columns
copied out of a memory-mapped Arrow file into a frame. Rounds of ours and of the limit alternate,
so that a busy machine slows both. Peers (ArcticDB, delta-rs, DuckDB) come with issue 4.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pandas as pd
import pyarrow as pa

from ibkit.store import Store

FIELDS = ["high", "close", "volume"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    bars = minute_bars()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = Store(root / "store")
        store.write_bars("WARM", "1 min", bars.iloc[:390])
        ingest(store, bars, arguments.symbols, root)
        one_day(store, bars, arguments, root)
        one_month(store, bars, arguments, root)
        everything(store, bars, arguments, root)
        size(store)


def minute_bars() -> pd.DataFrame:
    """Return two years of minutes: cents, a random walk, log-normal volumes."""
    random = np.random.default_rng(1)
    days = pd.bdate_range("2024-01-01", "2025-12-31", tz="America/New_York")
    opens = (days + pd.Timedelta(hours=9.5)).tz_convert("UTC").as_unit("us")
    ts = (opens.to_numpy("M8[us]")[:, None] + np.arange(390) * np.timedelta64(60, "s")).ravel()
    n = len(ts)
    close = (20_000 + random.normal(0, 4, n).cumsum().round()) / 100
    open_ = close + random.integers(-3, 4, n) / 100
    spread = random.integers(0, 6, (2, n)) / 100
    high, low = np.maximum(open_, close) + spread[0], np.minimum(open_, close) - spread[1]
    return pd.DataFrame(
        {
            "open": open_.round(2),
            "high": high.round(2),
            "low": low.round(2),
            "close": close.round(2),
            "volume": random.lognormal(8, 1, n).round(),
            "wap": ((open_ + close) / 2).round(3),
            "count": random.integers(1, 300, n),
        },
        index=pd.DatetimeIndex(ts, name="ts").tz_localize("UTC"),
    )


def timed(work) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def say(what: str, ours: list[float], limit: list[float], target: str, rows: int = 0) -> None:
    ratio = median(ours) / median(limit)
    speed = f"{rows / median(ours) / 1e6:6.2f} Mrows/s" if rows else " " * 14
    print(
        f"{what:<28} p50 {median(ours) * 1e3:8.2f} ms  p95 {np.percentile(ours, 95) * 1e3:8.2f} ms"
        f"  {speed}  {ratio:5.1f} x the limit ({median(limit) * 1e3:.2f} ms)  target {target}"
    )


def raw_write(path: Path, content: bytes) -> None:
    """Write `content` durably, and nothing else: the price that every safe write has."""
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def ingest(store: Store, bars: pd.DataFrame, symbols: int, root: Path) -> None:
    months = [month for _, month in bars.groupby(bars.index.strftime("%Y-%m"))]
    ours, limit = [], []
    for n in range(symbols):
        for month in months:
            content = np.ascontiguousarray(month.to_numpy(float)).tobytes()
            ours.append(timed(lambda: store.write_bars(f"S{n}", "1 min", month)))  # noqa: B023 - called here
            limit.append(timed(lambda: raw_write(root / "raw", content)))  # noqa: B023 - called here
    say("ingest, a month a call", ours, limit, "<= 10 x, >= 1.0 Mrows/s", len(bars) // len(months))
    whole = [timed(lambda: store.write_bars("WHOLE", "1 min", bars))]
    content = np.ascontiguousarray(bars.to_numpy(float)).tobytes()
    limit = [timed(lambda: raw_write(root / "raw", content))]
    say("ingest, two years a call", whole, limit, ">= 1.4 Mrows/s", len(bars))


def one_day(store: Store, bars: pd.DataFrame, arguments: argparse.Namespace, root: Path) -> None:
    day = bars.loc["2025-06-10"].copy()
    content = os.urandom(120_000)  # as large as the file that is rewritten
    ours, limit = [], []
    for n in range(arguments.rounds):
        day["volume"] += 1
        name = f"S{n % arguments.symbols}"
        ours.append(timed(lambda: store.write_bars(name, "1 min", day)))  # noqa: B023 - called here
        limit.append(timed(lambda: raw_write(root / "raw", content)))
    say("upsert of one day", ours, limit, "<= 8 x, p95 <= 25 ms")


def mapped(frame: pd.DataFrame, path: Path):
    """Return a reader of `frame` out of a memory-mapped Arrow file."""
    table = pa.Table.from_pandas(frame.reset_index(), preserve_index=False)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())

    def read(columns: list[str]) -> pd.DataFrame:
        with pa.memory_map(str(path)) as source:
            found = pa.ipc.open_file(source).read_all()
            index = pd.DatetimeIndex(found["ts"].to_numpy(), name="ts").tz_localize("UTC")
            return pd.DataFrame({name: found[name].to_numpy().copy() for name in columns}, index)

    return read


def one_month(store: Store, bars: pd.DataFrame, arguments: argparse.Namespace, root: Path) -> None:
    start, end = pd.Timestamp("2025-06-01", tz="UTC"), pd.Timestamp("2025-07-01", tz="UTC")
    limit_read = mapped(bars.loc["2025-06"], root / "month.arrow")
    ours, limit = [], []
    for n in range(arguments.rounds):
        name = f"S{n % arguments.symbols}"
        ours.append(timed(lambda: store.bars(name, "1 min", start, end, columns=FIELDS)))  # noqa: B023 - called here
        limit.append(timed(lambda: limit_read(FIELDS)))
    say("read of a month, 3 columns", ours, limit, "<= 2.2 x, <= 2 ms")


def everything(store: Store, bars: pd.DataFrame, arguments: argparse.Namespace, root: Path) -> None:
    limit_read = mapped(bars, root / "all.arrow")
    ours, limit = [], []
    for n in range(max(5, arguments.rounds // 6)):
        name = f"S{n % arguments.symbols}"
        ours.append(timed(lambda: store.bars(name, "1 min")))  # noqa: B023 - called here
        limit.append(timed(lambda: limit_read(list(bars.columns))))
    say("read of two years, all", ours, limit, "<= 7 x", len(bars))


def size(store: Store) -> None:
    coverage = store.coverage("bars_1min")
    per_row = coverage["bytes"].sum() / coverage["rows"].sum()
    print(f"size {per_row:.1f} bytes a row in {coverage['files'].sum()} files; target <= 16")


if __name__ == "__main__":
    main()
