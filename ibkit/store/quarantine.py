"""Rows and files that are set aside instead of refused: kept with the reason, out of every read.

Rows go to ``meta/<dataset>/quarantine/rows``, one Parquet file a write. Not here: which rows are
bad (`check`), nor when a file is (`repair`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ibkit import clock
from ibkit.store import files, layout, merge
from ibkit.store.check import faults
from ibkit.store.journal import micros, moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.schema import Dataset
    from ibkit.store.table import Table, Write

    Bools = np.ndarray[Any, np.dtype[np.bool_]]

ROWS: Final = "rows"
REASON: Final = "reason"
FIRST: Final = ("dataset", "instrument", "at", REASON, "source", "request")


def prepare(table: Table, data: Any, order: Write) -> tuple[pa.Table, pa.Table]:
    """Return the rows of `data` that may be written, as `Table.prepare` does, and the others."""
    good, bad = split(table.taken(data, order), table.dataset)
    return table.arranged(good, order), bad


def split(table: pa.Table, dataset: Dataset) -> tuple[pa.Table, pa.Table]:
    """Return the rows that may be true, and the others with a column ``reason``."""
    reasons: dict[int, list[str]] = {}
    for what, mask, _ in [*faults(table, dataset), *_twins(table, dataset)]:
        for row in np.flatnonzero(mask).tolist():
            reasons.setdefault(row, []).append(what)
    rows = sorted(reasons)
    good = np.ones(table.num_rows, bool)
    good[rows] = False
    words = pa.array(["; ".join(reasons[row]) for row in rows], pa.string())
    return table.filter(good), table.take(pa.array(rows, pa.int64())).append_column(REASON, words)


def _twins(table: pa.Table, dataset: Dataset) -> Iterable[tuple[str, Bools, list[str]]]:
    """Yield the rows that share a key and disagree."""
    if any(table[name].null_count for name in dataset.key):
        return
    keys = merge.key_numbers(table, dataset.key)
    order = np.lexsort(keys[::-1])
    twins = np.flatnonzero(merge.same_as_next([key[order] for key in keys]))
    first, second = order[twins], order[twins + 1]
    differ = ~merge.equal(table.take(first), table.take(second), dataset.values)
    mask = np.zeros(table.num_rows, bool)
    mask[first[differ]] = mask[second[differ]] = True
    yield "the same key twice with other values", mask, list(dataset.key)


def keep(table: Table, slug: str, bad: pa.Table, order: Write) -> None:
    """Write rows that were set aside to a file of their own, durably."""
    facts = {"rows": bad.num_rows, "source": order.source}
    table.door.tell_write("quarantine", table.dataset.name, slug, **facts)
    about = json.dumps({"source": order.source, "request": order.request})
    schema = bad.schema.with_metadata({"ibkit": about})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, encryption_properties=table.door.writing()) as writer:
        writer.write_table(bad.cast(schema))
    name = f"{micros(clock.now())}-{uuid4().hex[:8]}.parquet"
    content = sink.getvalue().to_pybytes()
    table.door.medium.create(table.quarantine / ROWS / slug / name, content, tmp=table.tmp)


def frame(tables: Iterable[Table], slug: str | None = None) -> pd.DataFrame:
    """Return the rows that were set aside, one row each, with when and why."""
    found = [
        one for table in tables for name in _slugs(table, slug) for one in _frames(table, name)
    ]
    if not found:
        return pd.DataFrame(columns=list(FIRST))
    return pd.concat(found, ignore_index=True)


def _slugs(table: Table, slug: str | None) -> list[str]:
    if slug is not None:
        return [slug]
    names = table.door.medium.names(table.quarantine / ROWS, "the folder of rows set aside")
    return [name for name in names if layout.is_slug(name)]


def _frames(table: Table, slug: str) -> Iterable[pd.DataFrame]:
    folder = table.quarantine / ROWS / slug
    for name in table.door.medium.names(folder, "the folder of rows set aside"):
        with files.opened(folder / name, table.door) as file:
            if file is None:
                continue
            about = json.loads(file.schema_arrow.metadata[b"ibkit"])
            rows = file.read().to_pandas()
        at = pd.Timestamp(moment(int(name.partition("-")[0])))
        facts = [table.dataset.name, slug, at, rows.pop(REASON), about["source"], about["request"]]
        for place, (column, value) in enumerate(zip(FIRST, facts, strict=True)):
            rows.insert(place, column, value, allow_duplicates=True)
        yield rows.loc[:, ~rows.columns.duplicated()]
