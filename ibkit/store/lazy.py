"""Reads that do not fit in memory, or should not: one file at a time, or a polars LazyFrame.

Files are named one by one; nothing globs. What streams appended and no file has yet is read at
once and laid over its files, so a lazy read says what an eager one says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibkit.errors import StoreError
from ibkit.store import files, layout

ROWS: Final = 131_072  # of a batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from ibkit.store.table import Table

    Edges = tuple[int | None, int | None]


def cut(rows: pa.Table, start: int | None, end: int | None) -> pa.Table:
    """Return the rows of ``[start, end)``; they ascend by ``ts``."""
    ts = files.microseconds(rows["ts"])
    first = 0 if start is None else int(np.searchsorted(ts, start))
    after = len(ts) if end is None else int(np.searchsorted(ts, end))
    return rows.slice(first, max(0, after - first))


def equal(rows: pa.Table, where: Mapping[str, Any]) -> pa.Table:
    """Return the rows that have these values."""
    for name, value in where.items():
        rows = rows.filter(pc.equal(rows[name], value))
    return rows


def batches(
    table: Table,
    slugs: Sequence[str],
    span: Edges,
    names: Sequence[str],
    where: Mapping[str, Any],
    rows: int,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of instruments, period by period; one period is in memory at a time."""
    dataset = table.dataset
    head = dataset.series
    series = tuple(where[name] for name in head) if head and set(head) <= set(where) else None
    needed = [*dict.fromkeys([*names, "ts", *where])]
    for slug in slugs:
        for start, end in _pieces(table, slug, span):
            part = equal(table.read(slug, start, end, columns=needed, series=series), where)
            label = pa.repeat(pa.scalar(slug), part.num_rows)
            named = part.select(names).add_column(0, dataset.partition, label)
            yield from named.combine_chunks().to_batches(max_chunksize=rows)


def _pieces(table: Table, slug: str, span: Edges) -> Iterator[Edges]:
    """Yield the span period by period."""
    grain = table.dataset.grain
    if grain == "all":
        yield span
        return
    tail = table.fresh(slug)
    codes = set(table.periods(slug, *span))
    if tail is not None:
        codes.update(layout.codes(files.microseconds(tail.rows["ts"]), grain).tolist())
    start, end = span
    for code in sorted(codes):
        first, after = layout.bounds(code, grain)
        low = first if start is None else max(first, start)
        high = after if end is None else min(after, end)
        if low < high:
            yield low, high


def scan(
    table: Table,
    slugs: Sequence[str],
    span: Edges,
    where: Mapping[str, Any],
) -> pl.LazyFrame:
    """Return a LazyFrame of the rows, with the partition column first.

    It reads by our own reader, period by period, whatever polars' plan asks for: polars alone
    opens a file by its name several times, and a writer may replace it in between.
    """
    engine = polars()
    names = table.dataset.names
    empty = files.empty(table.dataset, names)
    label = pa.array([], pa.string())
    schema = engine.from_arrow(empty.add_column(0, table.dataset.partition, label)).schema

    def source(
        columns: list[str] | None, predicate: Any, most: int | None, _size: int | None
    ) -> Iterator[Any]:
        wanted = list(schema) if columns is None else columns
        own = [name for name in names if name in wanted] or ["ts"]
        for batch in batches(table, slugs, span, own, where, ROWS):
            frame = engine.from_arrow(pa.Table.from_batches([batch]))
            if most is not None:
                frame = frame.head(most)
                most -= frame.height
            if predicate is not None:
                frame = frame.filter(predicate)
            yield frame.select(wanted)
            if most == 0:
                return

    from polars.io.plugins import register_io_source

    found: pl.LazyFrame = register_io_source(source, schema=schema)
    return found


def is_filed(table: Table, slug: str) -> bool:
    """Whether plain files hold all rows of an instrument, for other engines to read."""
    return plain(table) and table.fresh(slug) is None


def present(table: Table, slug: str, start: int | None, end: int | None) -> list[Path]:
    """Return the files that may hold rows of ``[start, end)``, in order."""
    table.door.tell_read("scan", table.dataset.name, slug, start=start, end=end)
    paths = (table.part(slug, code) for code in table.periods(slug, start, end))
    return [path for path in paths if path.is_file()]


def plain(table: Table) -> bool:
    """Whether other engines read the files as they are: local, of one version, not encrypted."""
    door = table.door
    return (
        door.medium.local
        and not door.encrypted
        and not table.dataset.upgrades
        and getattr(table, "at", None) is None
    )


def polars() -> Any:
    """Return polars.

    Raises
    ------
    StoreError
        It is not installed.
    """
    try:
        import polars as pl
    except ImportError as error:
        raise StoreError("polars is not installed here.\nHint: pip install polars") from error
    return pl
