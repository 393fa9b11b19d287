"""Arrow tables as Parquet bytes, and back: encodings, codecs, and the footer that says what is in.

Each series of a file has row groups of its own, and the footer (key ``ibkit``) says which, so a
reader takes one series without decoding the columns that tell them apart. Not here: disks.
Encodings are those that every reader but fastparquet decodes (it misreads our timestamps).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ibkit.errors import CorruptFileError, StoreAccessError, StoreError, TamperedFileError
from ibkit.store.medium import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ibkit.schema import Column, Dataset
    from ibkit.store.medium import Door

TYPES: Final = {
    "timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"),
    "double": pa.float64(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}
DELTA: Final = ("timestamp[us, tz=UTC]", "int32")  # rising or small: differences are tiny


# what reading a damaged file may raise
DAMAGE: Final = (OSError, pa.ArrowException, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Run:
    """One series in a file: its key's head, its row groups, how many rows, first and last ts."""

    series: tuple[Any, ...]
    groups: tuple[int, int]
    rows: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file says about itself.

    `commit_id` wrote it; `altered` is the last commit that changed or removed rows rather than
    added some (0: none did). The rows as of an instant T are those with ``commit_id <= T`` of
    the latest version, kept in the history or current, whose ``altered`` is not after T.
    """

    dataset: str
    version: int
    commit_id: int
    altered: int
    rows: int
    runs: tuple[Run, ...]


@cache
def schema(dataset: Dataset) -> pa.Schema:
    """Return the Arrow schema of a dataset's files."""
    return pa.schema([(column.name, TYPES[column.type]) for column in dataset.columns])


def empty(dataset: Dataset, columns: Sequence[str]) -> pa.Table:
    """Return an empty table of some columns of a dataset."""
    return _part_of_schema(dataset, tuple(columns)).empty_table()


@lru_cache(maxsize=512)
def _part_of_schema(dataset: Dataset, columns: tuple[str, ...]) -> pa.Schema:
    return pa.schema([schema(dataset).field(name) for name in columns])


def encode(
    table: pa.Table,
    dataset: Dataset,
    starts: Sequence[int],
    commit_id: int,
    altered: int = 0,
    *,
    keys: Any = None,
    place: str = "",
) -> bytes:
    """Return `table` as the bytes of a Parquet file.

    Parameters
    ----------
    table : pyarrow.Table
        In the dataset's schema, sorted by its key.
    dataset : Dataset
        Says how each column is encoded.
    starts : sequence of int
        The row where each series begins.
    commit_id, altered : int
        The commit that writes this file, and the last one that did more than add rows.
    keys : pyarrow FileEncryptionProperties, optional
        To encrypt the file.
    place : str
        ``slug/period``: signed into an encrypted file, so that it cannot stand in for another.
    """
    sink = pa.BufferOutputStream()
    edges = [*starts, table.num_rows]
    runs: list[Run] = []
    group = 0
    with pq.ParquetWriter(
        sink, schema(dataset), encryption_properties=keys, **_options(dataset)
    ) as writer:
        for start, end in pairwise(edges):
            part = table.slice(start, end - start)
            writer.write_table(part, row_group_size=dataset.row_group)
            after = group + -(-part.num_rows // dataset.row_group)
            runs.append(_run(part, dataset, (group, after)))
            group = after
        head = (dataset.name, dataset.version, commit_id, altered, table.num_rows)
        footer = Footer(*head, tuple(runs))
        writer.add_key_value_metadata({"ibkit": json.dumps(_facts(footer))})
        if keys is not None:
            writer.add_key_value_metadata({"ibkit.place": place})
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _facts(one: Footer | Run) -> dict[str, Any]:
    """Return what a footer says, by name; `dataclasses.asdict` copies deeply, and slowly."""
    facts = {name: getattr(one, name) for name in one.__slots__}
    if isinstance(one, Footer):
        facts["runs"] = [_facts(run) for run in one.runs]
    return facts


def _run(part: pa.Table, dataset: Dataset, groups: tuple[int, int]) -> Run:
    ts = microseconds(part["ts"])
    series = tuple(part[name][0].as_py() for name in dataset.series)
    return Run(series, groups, part.num_rows, int(ts.min()), int(ts.max()))


@cache
def _options(dataset: Dataset) -> dict[str, Any]:
    delta = [column.name for column in dataset.columns if column.type in DELTA]
    return {
        "compression": {column.name: _codec(column) for column in dataset.columns},
        "use_dictionary": [
            column.name
            for column in dataset.columns
            if column.repeats and column.name not in delta and column.type != "bool"
        ],
        "column_encoding": dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        "write_page_checksum": True,
        "store_schema": False,
        "version": "2.6",
    }


def _codec(column: Column) -> str:
    return column.codec.upper()


def read(
    path: Path,
    dataset: Dataset,
    columns: Sequence[str] | None = None,
    series: tuple[Any, ...] | None = None,
    *,
    door: Door = PLAIN,
) -> pa.Table | None:
    """Return the rows of one file, of one series if asked for; None where there is no file.

    Raises
    ------
    CorruptFileError
        The file is no Parquet file of a store, or a page fails its checksum.
    StoreAccessError
        The file system refuses it.
    """
    with opened(path, door) as file:
        if file is None:
            return None
        footer = _footer(file, dataset)
        runs = [run for run in footer.runs if series in (None, run.series)]
        groups = [group for run in runs for group in range(*run.groups)]
        if footer.version == dataset.version:
            table = file.read_row_groups(groups, columns, use_threads=False)
        else:
            names = columns or dataset.names
            table = _upgraded(file, groups, dataset, names, footer.version)
        _check_shape(table, dataset, columns, sum(run.rows for run in runs))
        return table


def _upgraded(
    file: Any, groups: Sequence[int], dataset: Dataset, names: Sequence[str], version: int
) -> pa.Table:
    """Return the rows of a file of an older version as the dataset's present columns."""
    changes = dataset.upgrades[version]
    there = file.schema_arrow.names
    old = {name: changes.get(name, name) for name in names}
    found = file.read_row_groups(groups, [name for name in there if name in {*old.values()}])
    rows = sum(file.metadata.row_group(group).num_rows for group in groups)
    wanted = empty(dataset, names).schema

    def column(field: pa.Field) -> Any:
        origin = old[field.name]
        if not isinstance(origin, str):  # ("=", value)
            return pa.repeat(pa.scalar(origin[1], field.type), rows)
        if origin not in there:
            return pa.nulls(rows, field.type)
        return found[origin].cast(field.type)

    return pa.Table.from_arrays([column(field) for field in wanted], schema=wanted)


def _check_shape(
    table: pa.Table, dataset: Dataset, columns: Sequence[str] | None, rows: int
) -> None:
    """Raise if the part of the footer that no checksum covers was damaged."""
    wanted = _part_of_schema(dataset, tuple(columns or dataset.names))
    if not table.schema.equals(wanted):
        raise ValueError(f"its columns are not those of {dataset.name}")
    if table.num_rows != rows:
        raise ValueError(f"it has {table.num_rows} rows where its footer says {rows}")


def read_footer(path: Path, dataset: Dataset, *, door: Door = PLAIN) -> Footer | None:
    """Return what a file says about itself; None where there is no file. Errors as in `read`."""
    with opened(path, door) as file:
        return None if file is None else _footer(file, dataset)


@contextmanager
def opened(path: Path, door: Door) -> Iterator[Any]:
    """Open a Parquet file for the length of the block; None where there is none. Errors: `read`."""
    try:
        file = door.open(path)
    except FileNotFoundError:
        yield None
        return
    except DAMAGE as error:
        raise _unreadable(door, path, error) from error
    try:
        _check_place(file, path)
        yield file
    except DAMAGE as error:
        raise _unreadable(door, path, error) from error
    finally:
        file.close()


def _check_place(file: Any, path: Path) -> None:
    """Raise if an encrypted file lies where it was not written."""
    found = (file.metadata.metadata or {}).get(b"ibkit.place")
    if found is None:
        return
    slug, _, label = found.decode().partition("/")
    folders = {part.partition("=")[2] or part for part in path.parts} | {*path.parts}
    if slug not in folders or (label and label not in folders):
        raise ValueError(f"it was written as {slug} {label}, and put here")


def _unreadable(door: Door, name: Path, error: Exception) -> StoreError:
    """Return whose fault it is: the file system's, which has a number for it, or the file's."""
    path = door.medium.show(name)
    if isinstance(error, OSError) and error.errno is not None:
        return StoreAccessError(path, f"a data file: {error.strerror}")
    lines = str(error).strip().splitlines()
    kind = TamperedFileError if door.encrypted else CorruptFileError
    return kind(path, lines[0] if lines else type(error).__name__)


def _footer(file: Any, dataset: Dataset) -> Footer:
    found = (file.metadata.metadata or {}).get(b"ibkit")
    if found is None:
        raise ValueError("it was not written by ibkit: its footer does not say what is in it")
    facts = json.loads(found)
    runs = tuple(
        Run(tuple(run["series"]), tuple(run["groups"]), run["rows"], run["first"], run["last"])
        for run in facts.pop("runs")
    )
    footer = Footer(runs=runs, **facts)
    known = (dataset.version, *dataset.upgrades)
    if footer.dataset != dataset.name or footer.version not in known:
        raise ValueError(
            f"it is of {footer.dataset} version {footer.version}, "
            f"not of {dataset.name} version {dataset.version}"
        )
    return footer


def microseconds(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return a timestamp column as microseconds since 1970."""
    if column.num_chunks == 1:
        chunk = column.chunk(0)
        return np.asarray(chunk.view(pa.int64()).to_numpy(zero_copy_only=chunk.null_count == 0))
    return np.asarray(column.cast(pa.int64()).to_numpy())
