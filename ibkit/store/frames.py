"""Arrow rows as the frames that users get. Pure.

One dtype a column, whatever is missing: prices float64 with NaN, counts Int32 with NA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from ibkit.store import lazy, sql
from ibkit.store.files import microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibkit.schema import Dataset
    from ibkit.store.journal import Commit

MASKED: Final = (pa.int32(), pa.int64())
BAR_FIELDS: Final = ("open", "high", "low", "close", "volume", "wap", "count")


def bar_frame(table: pa.Table, attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Return bars with the index ``ts`` (UTC) and what is true of all of them in ``attrs``."""
    index = pd.DatetimeIndex(microseconds(table["ts"]).view("M8[us]"), name="ts").tz_localize("UTC")
    data = {name: _values(table[name]) for name in table.column_names if name != "ts"}
    frame = pd.DataFrame(data, index=index)
    frame.attrs.update(attrs)
    return frame


def give(table: pa.Table, attrs: Mapping[str, Any], as_: str) -> Any:
    """Return bars as the frame that was asked for; only pandas' has ``attrs``."""
    if as_ == "pandas":
        return bar_frame(table, attrs)
    return give_plain(table, attrs, as_)


def give_plain(table: pa.Table, attrs: Mapping[str, Any], as_: str) -> Any:
    """Return rows as the frame that was asked for, ``ts`` a column like the others.

    Raises
    ------
    ValueError
        There is no such frame.
    """
    if as_ == "pandas":
        frame = pd.DataFrame({name: _column(table[name]) for name in table.column_names})
        frame.attrs.update(attrs)
        return frame
    if as_ == "arrow":
        return table
    if as_ == "polars":
        return lazy.polars().from_arrow(table)
    if as_ == "duckdb":
        return duckdb_relation(table)
    raise ValueError(f"{as_!r} is no frame; there are pandas, arrow, polars and duckdb")


def duckdb_relation(table: pa.Table) -> Any:
    """Return `table` as a relation with a connection of its own, times in UTC."""
    connection = sql.connect()
    connection.register("bars", table)
    return connection.sql("select * from bars")


def long(
    parts: Sequence[tuple[str, pa.Table]],
    head: str = "instrument",
    nothing: pa.Table | None = None,
) -> pa.Table:
    """Return the rows of several instruments, one after the other, named in the first column.

    With no part at all, they are those of `nothing`.
    """
    codes = np.repeat(np.arange(len(parts), dtype=np.int32), [len(rows) for _, rows in parts])
    names = pa.array([slug for slug, _ in parts], pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array(codes), names)
    tables = [rows for _, rows in parts] or [nothing]
    return pa.concat_tables(tables).add_column(0, head, column)


def _column(column: pa.ChunkedArray) -> Any:
    if pa.types.is_timestamp(column.type) or pa.types.is_dictionary(column.type):
        return column.to_pandas().array
    if pa.types.is_string(column.type):
        return pd.array(column.to_pandas(), dtype="str")
    if pa.types.is_boolean(column.type):
        return pd.array(column.to_pandas(), dtype="boolean" if column.null_count else "bool")
    return _values(column)


def _values(column: pa.ChunkedArray) -> Any:
    if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
        return _column(column)
    if column.type in MASKED:
        missing = column.is_null().to_numpy()
        numbers = column.fill_null(0).to_numpy()
        return pd.arrays.IntegerArray(numbers.copy(), missing.copy())
    return column.to_numpy()


def log_frame(commits: tuple[Commit, ...]) -> pd.DataFrame:
    """Return a commit log, one row a commit, oldest first."""
    rows = [
        {
            "at": pd.Timestamp(commit.at),
            "commit_id": commit.commit_id,
            "operation": commit.operation,
            **commit.series,
            "start": pd.Timestamp(commit.span[0]) if commit.span else pd.NaT,
            "end": pd.Timestamp(commit.span[1]) if commit.span else pd.NaT,
            "rows_in": commit.rows_in,
            "rows_added": commit.rows_added,
            "rows_changed": commit.rows_changed,
            "rows_removed": commit.rows_removed,
            "files": len(commit.files),
            "source": commit.source,
            "request": commit.request,
            "rows_set_aside": commit.rows_set_aside,
            "first": pd.Timestamp(commit.range[0]) if commit.range else pd.NaT,
            "last": pd.Timestamp(commit.range[1]) if commit.range else pd.NaT,
            "who": commit.who,
            "sha256": ", ".join(change.sha256 for change in commit.files),
            "versions": ", ".join(f"{name} {text}" for name, text in commit.versions.items()),
        }
        for commit in commits
    ]
    return pd.DataFrame(rows)


def bar_columns(columns: Any) -> list[str]:
    """Return the columns to read: ts, and the ones asked for.

    Raises
    ------
    ValueError
        Bars have no such column.
    """
    wanted = [name for name in (BAR_FIELDS if columns is None else columns) if name != "ts"]
    known = (*BAR_FIELDS, "delayed", "source", "con_id", "commit_id")
    strange = [name for name in wanted if name not in known]
    if strange:
        raise ValueError(f"bars have no column {strange[0]!r}; they have {', '.join(known)}")
    return ["ts", *wanted]


def columns_of(dataset: Dataset, columns: Any) -> list[str]:
    """Return the columns to read of any dataset: all, or the ones asked for.

    Raises
    ------
    ValueError
        It has no such column.
    """
    wanted = list(dataset.names if columns is None else columns)
    strange = [name for name in wanted if name not in dataset.names]
    if strange:
        known = ", ".join(dataset.names)
        raise ValueError(f"{dataset.name} has no column {strange[0]!r}; it has {known}")
    return wanted


def rows(columns: Mapping[str, Any]) -> pa.Table:
    """Return a few rows as Arrow, for datasets that we write ourselves."""
    return pa.table(dict(columns))
