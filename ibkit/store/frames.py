"""Arrow rows as the frames that users get. Pure.

One dtype a column, whatever is missing: prices float64 with NaN, counts Int32 with NA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa

from ibkit.store.files import microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def _values(column: pa.ChunkedArray) -> Any:
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
    wanted = list(BAR_FIELDS if columns is None else columns)
    known = (*BAR_FIELDS, "delayed", "source", "con_id", "commit_id")
    strange = [name for name in wanted if name not in known]
    if strange:
        raise ValueError(f"bars have no column {strange[0]!r}; they have {', '.join(known)}")
    return ["ts", *wanted]


def rows(columns: Mapping[str, Any]) -> pa.Table:
    """Return a few rows as Arrow, for datasets that we write ourselves."""
    return pa.table(dict(columns))
