"""SQL over the datasets: DuckDB views with explicit lists of files, made for each query.

Listing is done by us and only for the datasets that the query names: DuckDB's own globbing costs
more than the query on a large tree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibkit.store.table import Table


def relation(query: str, tables: Mapping[str, Table]) -> duckdb.DuckDBPyRelation:
    """Return the result of `query` as a lazy relation; it owns its connection."""
    connection = duckdb.connect(":memory:")
    connection.execute("load icu; set TimeZone = 'UTC'")  # else times come in the machine's zone
    for name, table in tables.items():
        if re.search(rf"\b{name}\b", query, re.IGNORECASE):
            connection.execute(_view(name, table))
    return connection.sql(query)


def _view(name: str, table: Table) -> str:
    paths = [
        str(path)
        for slug in table.slugs()
        for code in table.stored(slug)
        if (path := table.part(slug, code)).is_file()
    ]
    if not paths:
        return f"create view {name} as {_nothing(table)}"
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    types = {table.dataset.partition: "VARCHAR"}
    if table.dataset.grain != "all":
        types[table.dataset.grain] = "VARCHAR"
    hive = ", ".join(f"'{column}': {kind}" for column, kind in types.items())
    return (
        f"create view {name} as select * from read_parquet([{listed}], union_by_name=true, "  # noqa: S608 - names and paths are ours
        f"hive_partitioning=true, hive_types={{{hive}}})"
    )


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
    columns = [f"null::{words[column.type]} as {column.name}" for column in table.dataset.columns]
    columns.append(f"null::varchar as {table.dataset.partition}")
    if table.dataset.grain != "all":
        columns.append(f'null::varchar as "{table.dataset.grain}"')
    return f"select {', '.join(columns)} where false"
