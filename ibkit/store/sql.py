"""SQL over the datasets: DuckDB views with explicit lists of files, made for each query.

Listing is done by us and only for the datasets that the query names: DuckDB's own globbing costs
more than the query on a large tree. Files that DuckDB cannot read as they are (encrypted, of an
older version, in a bucket), and rows that streams appended, are read by us and handed over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from ibkit.store import files, layout, lazy, snapshot
from ibkit.store.access import ReadOnly

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibkit.store.table import Table


def relation(
    query: str,
    tables: Mapping[str, Table],
    *,
    slugs: Callable[[Table], Sequence[str]],
    start: int | None = None,
    end: int | None = None,
) -> duckdb.DuckDBPyRelation:
    """Return the result of `query` as a lazy relation; it owns its connection.

    Parameters
    ----------
    query : str
        DuckDB's SQL.
    tables : mapping
        What may be named in it.
    slugs : callable
        Says which instruments of a table the query is about.
    start, end : int, optional
        The span of ``ts`` that it is about, in microseconds.
    """
    connection = connect()
    for name, table in tables.items():
        if re.search(rf"\b{name}\b", query, re.IGNORECASE):
            _make_view(connection, name, table, slugs(table), (start, end))
    return connection.sql(query)


def connect() -> duckdb.DuckDBPyConnection:
    """Return a connection of its own that says times in UTC."""
    connection = duckdb.connect(":memory:")
    connection.execute("load icu; set TimeZone = 'UTC'")  # else times come in the machine's zone
    return connection


def _make_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: Table,
    slugs: Sequence[str],
    span: tuple[int | None, int | None],
) -> None:
    """Make a view of files, and of the rows that only we can read or that no file has yet."""
    # a reader leaves no trace, not even second names of files: it reads them itself
    leaves_no_trace = isinstance(table.door.medium, ReadOnly)
    filed = [] if leaves_no_trace else [slug for slug in slugs if lazy.is_filed(table, slug)]
    paths = [path for slug in filed for path in lazy.present(table, slug, *span)]
    owner = pa.table({"files": [len(paths)]})
    connection.register(f"_files_of_{name}", owner)  # so it lives as long as any relation of ours
    links = snapshot.take(paths, table.folder, table.tmp, owner) if paths else []
    if links is None:
        filed, links = [], []
    parts = [_select_files([str(path) for path in links], table)]
    others = [_labelled(table, slug, span) for slug in slugs if slug not in {*filed}]
    if others:
        connection.register(f"_{name}", pa.concat_tables(others))
        parts.append(f'select * from "_{name}"')  # noqa: S608 - the name is ours
    body = " union all by name ".join(parts)
    low, high = (None if edge is None else f"make_timestamptz({edge})" for edge in span)
    tests = [f"ts >= {low}"] * (low is not None) + [f"ts < {high}"] * (high is not None)
    where = f" where {' and '.join(tests)}" if tests else ""
    connection.execute(f"create view {name} as select * from ({body}){where}")  # noqa: S608 - names and paths are ours


def _select_files(paths: Sequence[str], table: Table) -> str:
    if not paths:
        return _nothing(table)
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    types = {table.dataset.partition: "VARCHAR"}
    if table.dataset.grain != "all":
        types[table.dataset.grain] = "VARCHAR"
    hive = ", ".join(f"'{column}': {kind}" for column, kind in types.items())
    # all files are of one version (others are not handed to DuckDB), so none needs to be opened
    # to learn its columns
    return f"select * from read_parquet([{listed}], hive_partitioning=true, hive_types={{{hive}}})"  # noqa: S608 - as above


def _labelled(table: Table, slug: str, span: tuple[int | None, int | None]) -> pa.Table:
    """Return the rows of an instrument with the columns that its folders would give."""
    dataset = table.dataset
    rows = table.read(slug, *span, columns=dataset.names)
    rows = rows.append_column(dataset.partition, pa.repeat(pa.scalar(slug), rows.num_rows))
    if dataset.grain == "all":
        return rows
    codes = layout.codes(files.microseconds(rows["ts"]), dataset.grain)
    found, at = np.unique(codes, return_inverse=True)
    names = [layout.label(code, dataset.grain).partition("=")[2] for code in found.tolist()]
    return rows.append_column(dataset.grain, pa.array(names, pa.string()).take(pa.array(at)))


def _nothing(table: Table) -> str:
    """Return a select with the right columns and no rows."""
    words = {
        "timestamp[us, tz=UTC]": "timestamptz",
        "double": "double",
        "int32": "integer",
        "int64": "bigint",
        "bool": "boolean",
        "string": "varchar",
    }
    columns = [f'null::{words[column.type]} as "{column.name}"' for column in table.dataset.columns]
    columns.append(f"null::varchar as {table.dataset.partition}")
    if table.dataset.grain != "all":
        columns.append(f'null::varchar as "{table.dataset.grain}"')
    return f"select {', '.join(columns)} where false"
