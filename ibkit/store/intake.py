"""Any frame becomes an Arrow table in a dataset's schema: types, zones, nulls, order.

pandas, Arrow and polars come in. What cannot be said in the schema is refused with the rows that
do not fit; what is merely said differently is put one way: UTC microseconds, null for missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ibkit.errors import InvalidRowsError
from ibkit.store.files import TYPES, schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibkit.schema import Column, Dataset

# IB's "unset" double is the largest one; rounding on the way may have changed its tail
UNSET: Final = 1e300


def to_table(data: Any, dataset: Dataset, constants: Mapping[str, Any]) -> pa.Table:
    """Return `data` in the schema of `dataset`.

    Parameters
    ----------
    data : DataFrame, pyarrow.Table or RecordBatch, polars.DataFrame
        Columns by their names in the dataset; a pandas index may be ``ts``.
    dataset : Dataset
        Says names and types.
    constants : mapping
        Columns with one value for all rows; a column of `data` of that name goes first.

    Raises
    ------
    InvalidRowsError
        A column is unknown, missing, of the wrong type, or has no time zone.
    TypeError
        `data` is no frame.
    """
    raw = _arrow(data, dataset)
    _check_names(raw, dataset)
    arrays = [_column(raw, dataset, column, constants) for column in dataset.columns]
    return pa.Table.from_arrays(_without_orphans(arrays, dataset), schema=schema(dataset))


def _check_names(raw: pa.Table, dataset: Dataset) -> None:
    twice = {name for name in raw.column_names if raw.column_names.count(name) > 1}
    unknown = [name for name in raw.column_names if name not in dataset.names]
    if unknown:
        words = f"the dataset has no such column; its columns are {', '.join(dataset.names)}"
        raise InvalidRowsError(
            dataset.name, [(f"column {name}", raw.num_rows, words) for name in unknown]
        )
    if twice:
        raise InvalidRowsError(
            dataset.name, [(f"column {name}", raw.num_rows, "is there twice") for name in twice]
        )


def _arrow(data: Any, dataset: Dataset) -> pa.Table:
    if isinstance(data, pd.DataFrame):
        return _from_pandas(data, dataset)
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "to_arrow") and hasattr(data, "columns"):
        return data.to_arrow()
    raise TypeError(
        f"rows come as a pandas or polars DataFrame or an Arrow table, not {type(data).__name__}"
    )


def _from_pandas(frame: pd.DataFrame, dataset: Dataset) -> pa.Table:
    columns: list[tuple[Any, pd.Series[Any] | pd.Index[Any]]] = list(frame.items())
    if "ts" not in frame.columns:
        columns.insert(0, ("ts", frame.index))
    arrays, names, failures = [], [], []
    for name, column in columns:
        try:
            arrays.append(_array(column))
        except (pa.ArrowException, TypeError, ValueError) as error:
            failures.append((f"column {name}", len(frame), f"mixed types: {error}"))
        names.append(str(name))
    if failures:
        raise InvalidRowsError(dataset.name, failures)
    return pa.Table.from_arrays(arrays, names)


def _array(column: pd.Series[Any] | pd.Index[Any]) -> pa.Array:
    plain = isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub"
    return pa.array(column.to_numpy()) if plain else pa.Array.from_pandas(column)


def _column(
    raw: pa.Table, dataset: Dataset, column: Column, constants: Mapping[str, Any]
) -> pa.Array:
    kind = TYPES[column.type]
    if column.name == "commit_id":
        return pa.nulls(raw.num_rows, kind)
    if column.name not in raw.column_names:
        return pa.repeat(pa.scalar(constants.get(column.name), kind), raw.num_rows)
    found = raw[column.name].combine_chunks()
    if isinstance(found, pa.ChunkedArray):
        found = found.chunk(0) if found.num_chunks else pa.array([], found.type)
    if pa.types.is_dictionary(found.type):
        found = found.dictionary_decode()
    if found.type == kind and _is_all_known(found, column):
        return found
    return _known(_cast(found, dataset, column), column)


def _is_all_known(array: pa.Array, column: Column) -> bool:
    """Whether these are numbers, and all of them said: nothing is to be done, at little cost."""
    if column.type not in {"double", "int32", "int64"} or array.null_count or not len(array):
        return False
    values = array.to_numpy()
    if column.type == "double" and not values.max() <= UNSET:  # a NaN is not below it either
        return False
    return column.unknown is None or not (values == column.unknown).any()


def _cast(found: pa.Array, dataset: Dataset, column: Column) -> pa.Array:
    kind = TYPES[column.type]
    if pa.types.is_null(found.type):
        return found.cast(kind)
    if pa.types.is_timestamp(kind):
        _check_zone(found, dataset, column)
    if not _fits(found.type, kind):
        raise _misfit(found, dataset, column, f"{found.type}, wanted {kind}")
    if pa.types.is_floating(found.type):
        found = pc.if_else(pc.is_nan(found), None, found)
        if pa.types.is_integer(kind):  # the sentinel is checked again after the cast
            found = pc.if_else(pc.greater(pc.abs(found), UNSET), None, found)
    try:
        return found.cast(kind)
    except pa.ArrowInvalid as error:
        raise _misfit(found, dataset, column, str(error)) from error


def _fits(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast keeps the meaning: a number stays one, a text is not parsed."""
    number = pa.types.is_integer(wanted) or pa.types.is_floating(wanted)
    if number:
        return bool(
            pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_decimal(given)
        )
    if pa.types.is_string(wanted):
        return bool(pa.types.is_string(given) or pa.types.is_large_string(given)) or (
            given == pa.string_view()
        )
    return bool(given.id == wanted.id)


def _check_zone(found: pa.Array, dataset: Dataset, column: Column) -> None:
    if pa.types.is_timestamp(found.type) and found.type.tz is None:
        words = "has no time zone; use tz_localize(exchange's zone) first"
        raise _misfit(found, dataset, column, words)


def _misfit(found: pa.Array, dataset: Dataset, column: Column, words: str) -> InvalidRowsError:
    sample = ", ".join(repr(value.as_py()) for value in found[:3])
    failure = (f"column {column.name}", len(found), f"{words}; such as {sample}")
    return InvalidRowsError(dataset.name, [failure])


def _known(array: pa.Array, column: Column) -> pa.Array:
    """Return `array` with every way of saying "unknown" as null."""
    if pa.types.is_floating(array.type):
        missing = pc.and_(pc.greater(array, UNSET), pc.is_finite(array))
        if column.unknown is not None:
            missing = pc.or_(missing, pc.equal(array, column.unknown))
    elif column.unknown is not None:
        missing = pc.equal(array, pa.scalar(int(column.unknown), array.type))
    else:
        return array
    if not pc.any(missing).as_py():
        return array
    return pc.if_else(missing, None, array)


def _without_orphans(arrays: list[pa.Array], dataset: Dataset) -> list[pa.Array]:
    """Null a wap of -1 where there is no volume: that one is no price (oil once had one of -1)."""
    if "wap" not in dataset.names:
        return arrays
    at = dataset.names.index("wap")
    orphan = pc.and_(
        pc.fill_null(pc.equal(arrays[at], -1.0), fill_value=False),
        pc.is_null(arrays[dataset.names.index("volume")]),
    )
    if pc.any(orphan).as_py():
        arrays[at] = pc.if_else(orphan, None, arrays[at])
    return arrays


def text(table: pa.Table, rows: np.ndarray[Any, Any], names: list[str], limit: int = 3) -> str:
    """Return the first of `rows` as words: their number, and their values in `names`."""
    shown = []
    for row in rows[:limit].tolist():
        values = " ".join(f"{name}={table[name][row].as_py()!s}" for name in names)
        shown.append(f"row {row}: {values}")
    more = f"; and {len(rows) - limit} more" if len(rows) > limit else ""
    return "; ".join(shown) + more
