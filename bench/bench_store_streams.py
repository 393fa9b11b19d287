"""What a live stream costs: append, read of what is not sealed yet, sealing; beside a bare append.

    python bench/bench_store_streams.py [batches] [rows]

The limit is a write of as many bytes and an fdatasync, interleaved with the appends.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ibkit.store import Store

SLUG = "STK-AAPL-SMART-USD"


def batch(n, rows):
    ts = pd.Timestamp("2026-11-20 14:30", tz="UTC") + pd.to_timedelta(
        n * 1_000_000 + np.arange(rows) * (900_000 // rows), unit="us"
    )
    price = np.round(100 + np.sin(n / 50) + np.arange(rows) % 7 * 0.01, 2)
    return pd.DataFrame(
        {"ts": ts, "price": price, "size": 100.0, "exchange": "ARCA", "recorder": "bench"}
    ).assign(seq=np.arange(rows) + n * rows)


def main(batches=300, rows=1_000):
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        bare = os.open(Path(folder) / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        mine, limit, size = [], [], 0
        stream = store.appender("trades", "AAPL", source="IB")
        table = store._table("trades")  # noqa: SLF001 - the cost of one part
        for n in range(batches):
            frame = batch(n, rows)
            began = time.perf_counter()
            stream.append(frame)
            mine.append(time.perf_counter() - began)
            size = size or next(table.wal.folder.rglob("*.wal")).stat().st_size
            began = time.perf_counter()
            os.write(bare, b"x" * size)
            os.fdatasync(bare)
            limit.append(time.perf_counter() - began)
        began = time.perf_counter()
        table.read(SLUG, None, None, columns=["ts", "price"])
        cold = time.perf_counter() - began
        began = time.perf_counter()
        found = table.read(SLUG, None, None, columns=["ts", "price"]).num_rows
        warm = time.perf_counter() - began
        began = time.perf_counter()
        stream.close()
        sealed = time.perf_counter() - began
        os.close(bare)
        bytes_ = sum(path.stat().st_size for path in (Path(folder) / "data").rglob("*.parquet"))
    p50, p95 = (np.percentile(mine, q) * 1e3 for q in (50, 95))
    low = np.percentile(limit, 50) * 1e3
    print(f"append of {rows} rows  p50 {p50:.2f} ms  p95 {p95:.2f} ms  x limit {p50 / low:.1f}")
    print(f"read {found:,} unsealed rows  first {cold * 1e3:.1f} ms  again {warm * 1e3:.1f} ms")
    print(f"seal  {sealed * 1e6 / found:.2f} us a row, {bytes_ / found:.1f} B a row in Parquet")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
