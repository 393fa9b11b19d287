"""Rows of the store as files for others: CSV, Parquet or Arrow, one file or one an instrument.

Written batch by batch, so the size of the memory does not matter, and put in place when whole. What
was encrypted is plain in there: an export is for whoever gets the file.
"""

from __future__ import annotations

import gzip
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ibkit.errors import StoreAccessError, UnknownSeriesError
from ibkit.store import disk, files, frames
from ibkit.store.read import slugs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from ibkit.store.table import Table

FORMATS: Final = (".csv", ".csv.gz", ".parquet", ".arrow")
COLUMNS: Final = {"file": "str", "instruments": "int64", "rows": "int64", "bytes": "int64"}


class Exporting:
    """What `Store` does to hand rows on; needs its `_table` and `batches`."""

    if TYPE_CHECKING:

        def _table(self, name: str) -> Table: ...
        def batches(self, dataset: str, *args: Any, **options: Any) -> Iterator[pa.RecordBatch]:
            """Yield record batches, see `Reading.batches`."""
            ...

    def export(  # noqa: PLR0913 - what to take, and how to write it
        self,
        dataset: str,
        target: Path | str,
        instrument: Any = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        series: Mapping[str, Any] | None = None,
        fmt: Literal["csv", "csv.gz", "parquet", "arrow"] | None = None,
        each: bool = False,
        overwrite: bool = False,
    ) -> pd.DataFrame:
        """Write rows to CSV, Parquet or Arrow files for others.

        Parameters
        ----------
        dataset : str
            One of `ibkit.schema.DATASETS`.
        target : Path or str
            The file; its ending says the format. With `each` the folder of the files.
        instrument : str, Contract, or a sequence of them, optional
            None: all.
        start, end : datetime, optional
            With a zone; `end` is excluded.
        columns : sequence of str, optional
            No others; ``ts`` is not added.
        series : mapping, optional
            Values of key columns: ``{"what_to_show": "TRADES", "use_rth": True}``.
        fmt : {"csv", "csv.gz", "parquet", "arrow"}, optional
            Needed with `each`; else that of the ending.
        each : bool
            One file an instrument, ``<slug>.<fmt>``, instead of one for all.
        overwrite : bool
            Replace files that are there.

        Returns
        -------
        DataFrame
            One row a file: ``file instruments rows bytes``.

        Raises
        ------
        StoreAccessError
            A file is there already, or cannot be written.
        UnknownSeriesError
            The dataset does not have the instrument, or nothing at all.
        ValueError
            The format is not known, or a time has no zone.

        Notes
        -----
        Times are in UTC; the first column names the instrument. One file is in memory at a time. A
        file appears when it is whole. Encrypted rows are plain in an export.
        """
        table, folder = self._table(dataset), Path(target)
        slugs = slugs_of(table, instrument)
        if not slugs:
            raise UnknownSeriesError(f"{dataset} holds nothing to export.")
        suffix = suffix_of(folder, fmt)
        if each and fmt is None:
            raise ValueError("with each=True say the format: fmt='parquet'")
        names = frames.columns_of(table.dataset, columns)
        schema = files.empty(table.dataset, names).schema
        schema = schema.insert(0, pa.field(table.dataset.partition, pa.string()))
        jobs = [(folder / f"{one}{suffix}", [one]) for one in slugs] if each else [(folder, slugs)]
        for path, _ in jobs:
            _check_free(path, over=overwrite)
        done = []
        for path, some in jobs:
            table.door.tell_read("export", dataset, ", ".join(some), file=path)
            parts = self.batches(dataset, some, start, end, columns=names, series=series)
            done.append(one_file(path, suffix, schema, parts, over=overwrite))
        return pd.DataFrame(done, columns=list(COLUMNS)).astype(COLUMNS)


def suffix_of(target: Path, fmt: str | None) -> str:
    """Return the format's suffix: of `fmt`, else of the file's name.

    Raises
    ------
    ValueError
        It is none that is written here.
    """
    wanted = f".{fmt.lstrip('.')}" if fmt else "".join(target.suffixes[-2:])
    for known in sorted(FORMATS, key=len, reverse=True):
        if wanted.endswith(known):
            return known
    words = ", ".join(FORMATS)
    raise ValueError(f"{target.name!r} says no format; an export ends in one of {words}")


def one_file(
    target: Path, suffix: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, over: bool
) -> dict[str, Any]:
    """Write all batches to one file, and return what it holds."""
    _check_free(target, over=over)
    unfinished = target.with_name(f".{target.name}-{os.getpid()}-{uuid4().hex[:8]}")
    rows, names = 0, set()
    try:
        with disk.access(target, "the file to export to"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                write = _writer(stack, unfinished, suffix, schema)
                for batch in batches:
                    write(batch)
                    rows += batch.num_rows
                    names.update(batch.column(0).unique().to_pylist())
            unfinished.replace(target)
            size = target.stat().st_size
    finally:
        unfinished.unlink(missing_ok=True)
    return {"file": str(target), "instruments": len(names), "rows": rows, "bytes": size}


def _check_free(target: Path, *, over: bool) -> None:
    if target.exists() and not over:
        raise StoreAccessError(target, "it is there already; say overwrite=True to replace it")


def _writer(
    stack: ExitStack, path: Path, suffix: str, schema: pa.Schema
) -> Callable[[pa.RecordBatch], None]:
    if suffix == ".parquet":
        parquet = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
        return parquet.write_batch  # type: ignore[no-any-return] # pyarrow ships no types
    if suffix == ".arrow":
        file = stack.enter_context(pa.OSFile(str(path), "wb"))
        arrow = stack.enter_context(pa.ipc.new_file(file, schema))
        return arrow.write_batch  # type: ignore[no-any-return] # as above
    opened: Any = gzip.open if suffix == ".csv.gz" else open
    sink = stack.enter_context(opened(path, "wb"))
    csv = stack.enter_context(pcsv.CSVWriter(sink, _csv_schema(schema)))
    return lambda batch: csv.write_batch(_csv_batch(batch, schema))  # texts for instants


def _csv_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with instants as texts: ISO 8601, in UTC, every reader's."""
    return pa.schema(
        [
            pa.field(one.name, pa.string()) if pa.types.is_timestamp(one.type) else one
            for one in schema
        ]
    )


def _csv_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        _iso(column) if pa.types.is_timestamp(column.type) else column for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_csv_schema(schema))


def _iso(column: pa.Array) -> pa.Array:
    plain = column.cast(pa.timestamp("us"))
    return pc.binary_join_element_wise(
        pc.strftime(plain, "%Y-%m-%dT%H:%M:%S"), pa.scalar("+00:00"), pa.scalar("")
    )
