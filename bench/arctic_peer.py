"""ArcticDB's side of bench_store.py, in an environment of its own: it pins pandas < 3.

Reads one JSON order a line from stdin, answers each with the seconds it took; frames come as
``.npz`` files that both sides can read. Started by bench_store.py; knows nothing of ibkit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import arcticdb
import numpy as np
import pandas as pd
from arcticdb import QueryBuilder

FIELDS = ["high", "close", "volume"]


class Arctic:
    """One library on LMDB."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.lib = arcticdb.Arctic(f"lmdb://{folder}").get_library("bars", create_if_missing=True)

    def load(self, path: str) -> None:
        held = np.load(path)
        self.bars = pd.DataFrame(
            {name: held[name] for name in held.files if name != "ts"},
            index=pd.DatetimeIndex(held["ts"], name="ts"),
        )

    def part(self, start: str, end: str) -> pd.DataFrame:
        return self.bars.loc[(self.bars.index >= start) & (self.bars.index < end)]

    def month(self, name: str, start: str, end: str) -> float:
        frame = self.part(start, end)
        began = perf_counter()
        if self.lib.has_symbol(name):
            self.lib.append(name, frame, prune_previous_versions=True)
        else:
            self.lib.write(name, frame)
        return perf_counter() - began

    def day(self, name: str, start: str, end: str, add: float) -> float:
        frame = self.part(start, end).copy()
        frame["volume"] += add
        began = perf_counter()
        self.lib.update(name, frame, prune_previous_versions=True)
        return perf_counter() - began

    def read(self, names: list, start: str | None, end: str | None, columns: list | None) -> float:
        span = (
            None
            if start is None
            else (pd.Timestamp(start), pd.Timestamp(end) - pd.Timedelta("1us"))
        )
        began = perf_counter()
        for name in names:
            _ = self.lib.read(name, date_range=span, columns=columns).data
        return perf_counter() - began

    def daily(self, names: list) -> float:
        how = {"high": "max", "low": "min", "close": "last", "volume": "sum"}
        began = perf_counter()
        for name in names:
            query = QueryBuilder().resample("1D").agg(how)
            _ = self.lib.read(name, query_builder=query).data
        return perf_counter() - began

    def size(self) -> float:
        return float(sum(each.stat().st_blocks * 512 for each in self.folder.rglob("*")))


def main() -> None:
    arctic = Arctic(sys.argv[1])
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(arctic, order["do"])(*order["with"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
