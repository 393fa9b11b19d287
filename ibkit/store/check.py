"""Rows that cannot be true are refused at the door, all faults of a write at once.

Vectorised and pure. What is merely odd (a gap, a jump, a wap outside the bar) is quality, not a
fault, and is never refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from ibkit.errors import InvalidRowsError
from ibkit.store.intake import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ibkit.schema import Dataset

    Fault = tuple[str, np.ndarray[Any, Any], list[str]]

# 1900 and 2200: outside, somebody took seconds for microseconds
EARLIEST, LATEST = -2_208_988_800_000_000, 7_258_118_400_000_000


def check_rows(table: pa.Table, dataset: Dataset) -> None:
    """Raise if a row of `table` breaks a rule of `dataset`.

    Raises
    ------
    InvalidRowsError
        Each broken rule with its number of rows and the first of them.
    """
    failures = [
        (what, len(rows), text(table, rows, names))
        for what, mask, names in faults(table, dataset)
        if len(rows := np.flatnonzero(mask))
    ]
    if failures:
        raise InvalidRowsError(dataset.name, failures)


def faults(table: pa.Table, dataset: Dataset) -> Iterator[Fault]:
    """Yield each rule with the rows that break it, if any, and the columns that show it."""
    yield from _columns(table, dataset)
    if {"open", "high", "low", "close"} <= set(dataset.names):
        yield from _prices(table)


def _columns(table: pa.Table, dataset: Dataset) -> Iterator[Fault]:
    for column in dataset.columns:
        array, shown = table[column.name], list(dict.fromkeys(["ts", column.name]))
        if column.required and array.null_count:
            yield f"{column.name} is missing", _mask(pc.is_null(array)), shown
        if column.type == "double":
            yield f"{column.name} is infinite", _mask(pc.is_inf(array)), shown
        if not column.signed:
            yield f"{column.name} is negative", _mask(pc.less(array, 0)), shown
        if column.type.startswith("timestamp"):
            yield f"{column.name} is not between 1900 and 2200", _outside(array), shown


def _outside(array: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    us = array.cast("int64")
    return _mask(pc.or_(pc.less(us, EARLIEST), pc.greater(us, LATEST)))


def _prices(table: pa.Table) -> Iterator[Fault]:
    names = ["ts", "open", "high", "low", "close"]
    open_, high, low, close = (table[name].to_numpy() for name in names[1:])
    yield "high is below open, low or close", high < np.fmax(np.fmax(open_, close), low), names
    yield "low is above open or close", low > np.fmin(open_, close), names


def _mask(condition: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return np.asarray(pc.fill_null(condition, fill_value=False).to_numpy())
