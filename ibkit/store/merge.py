"""Old rows and new rows become one sorted, unique table. Pure.

The rules: by key, the newest wins; a row that says nothing new leaves the old one as it is, its
origin included; an outranked row (delayed) never replaces a better one (live).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibkit.errors import InvalidRowsError
from ibkit.store.files import microseconds
from ibkit.store.intake import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.schema import Dataset

    Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome: the table (None: nothing changed), and how many rows are what."""

    table: pa.Table | None
    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def additive(self) -> bool:
        """Whether every old row is still there, unchanged."""
        return self.changed == 0 and self.removed == 0


def in_order(table: pa.Table, dataset: Dataset) -> pa.Table:
    """Return `table` sorted by key, equal twins once.

    Raises
    ------
    InvalidRowsError
        Two rows share a key and disagree.
    """
    keys = key_numbers(table, dataset.key)
    if not _rising(keys):
        order = np.lexsort(keys[::-1])
        table, keys = table.take(order), [key[order] for key in keys]
    twins = np.flatnonzero(same_as_next(keys))
    if not len(twins):
        return table
    agree = equal(table.take(twins), table.take(twins + 1), dataset.values)
    if not agree.all():
        rows = np.repeat(twins[~agree], 2) + np.tile([0, 1], int((~agree).sum()))
        names = list(dict.fromkeys([*dataset.key, *dataset.values]))
        failure = ("the same key twice with other values", len(rows), text(table, rows, names))
        raise InvalidRowsError(dataset.name, [failure])
    keep = np.ones(table.num_rows, bool)
    keep[twins + 1] = False
    return table.filter(keep)


def latest(table: pa.Table, dataset: Dataset) -> pa.Table:
    """Return `table`, oldest row first, sorted by key; of twins the last, a better one before all.

    Better is what is not outranked, as in `upsert`.
    """
    keys = key_numbers(table, dataset.key)
    if _strictly_rising(keys):
        return table
    ranks = [~table[dataset.outranked].to_numpy()] if dataset.outranked else []
    order = np.lexsort([np.arange(table.num_rows), *ranks, *keys[::-1]])
    twins = same_as_next([key[order] for key in keys])
    return table.take(order[np.flatnonzero(~np.append(twins, False))])


def upsert(old: pa.Table, new: pa.Table, dataset: Dataset) -> Merged:
    """Return `old` with the rows of `new` in it; both are sorted and unique by key."""
    if not new.num_rows:
        return Merged(None)
    start, end = _window(old, new, dataset)
    middle = old.slice(start, end - start)
    both = pa.concat_tables([middle, new])
    order, twins = _interleaved(both, dataset)
    if not len(twins):
        return Merged(_joined(old, start, end, both.take(order)), added=new.num_rows)
    first, second = order[twins], order[twins + 1]
    loser_is_new = _keeps_old(both.take(first), both.take(second), dataset)
    changed = int((~loser_is_new).sum())
    added = new.num_rows - len(twins)
    if not changed and not added:
        return Merged(None)
    keep = np.ones(len(order), bool)
    keep[twins + loser_is_new] = False
    return Merged(_joined(old, start, end, both.take(order[keep])), added, changed)


def replace_range(
    old: pa.Table, new: pa.Table, dataset: Dataset, drop: np.ndarray[Any, Any]
) -> Merged:
    """Return `old` with `new`, and without the rows marked in `drop` that `new` lacks."""
    doomed = drop.copy()
    doomed[drop] = _missing_mask(old.filter(drop), new, dataset)
    if not doomed.any():
        return upsert(old, new, dataset)
    kept = old.filter(~doomed)
    merged = upsert(kept, new, dataset)
    table = kept if merged.table is None else merged.table
    return Merged(table, merged.added, merged.changed, int(doomed.sum()))


def _missing_mask(table: pa.Table, other: pa.Table, dataset: Dataset) -> np.ndarray[Any, Any]:
    """Return which rows of `table` have a key that `other` has not."""
    both = pa.concat_tables([table, other])
    order, twins = _interleaved(both, dataset)
    mask = np.ones(table.num_rows, bool)
    mask[order[twins]] = False
    return mask


def _interleaved(both: pa.Table, dataset: Dataset) -> tuple[Ints, Ints]:
    """Return the stable order by key, and where in it a row has the key of the next one."""
    keys = key_numbers(both, dataset.key)
    order = np.arange(both.num_rows) if _rising(keys) else np.lexsort(keys[::-1])
    return order, np.flatnonzero(same_as_next([key[order] for key in keys]))


def _keeps_old(old: pa.Table, new: pa.Table, dataset: Dataset) -> np.ndarray[Any, Any]:
    keeps = equal(old, new, dataset.values) | _later(old, new)
    if dataset.outranked:
        outranked = [side[dataset.outranked].to_numpy() for side in (old, new)]
        keeps = np.where(outranked[0] == outranked[1], keeps, outranked[1])
    return np.asarray(keeps)


def _later(old: pa.Table, new: pa.Table) -> np.ndarray[Any, Any]:
    """Return which rows of `old` were written after those of `new`, which a stream held back."""
    later = pc.greater(old["commit_id"], new["commit_id"])
    return np.asarray(pc.fill_null(later, fill_value=False).to_numpy())


def equal(left: pa.Table, right: pa.Table, names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return which rows say the same in all of `names`; two nulls do."""
    same = np.ones(left.num_rows, bool)
    for name in names:
        a, b = left[name], right[name]
        alike = pc.fill_null(pc.equal(a, b), fill_value=False)
        if a.null_count and b.null_count:
            alike = pc.or_(alike, pc.and_(pc.is_null(a), pc.is_null(b)))
        same &= alike.to_numpy()
    return same


def _window(old: pa.Table, new: pa.Table, dataset: Dataset) -> tuple[int, int]:
    """Return the part of `old` between the first and the last key of `new`."""
    first, last = _key_at(new, dataset, 0), _key_at(new, dataset, new.num_rows - 1)
    return _position(old, dataset.key, first)[0], _position(old, dataset.key, last)[1]


def _key_at(table: pa.Table, dataset: Dataset, row: int) -> list[Any]:
    one = table.slice(row, 1)
    return [
        microseconds(one[name])[0] if name == "ts" else one[name][0].as_py() for name in dataset.key
    ]


def _position(table: pa.Table, names: Sequence[str], key: Sequence[Any]) -> tuple[int, int]:
    start, end = 0, table.num_rows
    for name, value in zip(names, key, strict=True):
        if start == end:
            break
        column = table[name].slice(start, end - start)
        left, right = _bisect(column, value)
        start, end = start + left, start + right
    return start, end


def _bisect(column: pa.ChunkedArray, value: Any) -> tuple[int, int]:
    if pa.types.is_timestamp(column.type):
        numbers = microseconds(column)
        return int(np.searchsorted(numbers, value)), int(np.searchsorted(numbers, value, "right"))
    if column[0].as_py() == value == column[-1].as_py():
        return 0, len(column)
    below = pc.sum(pc.less(column, value)).as_py() or 0
    return below, below + (pc.sum(pc.equal(column, value)).as_py() or 0)


def _joined(old: pa.Table, start: int, end: int, middle: pa.Table) -> pa.Table:
    return pa.concat_tables([old.slice(0, start), middle, old.slice(end)])


def key_numbers(table: pa.Table, names: Sequence[str]) -> list[Ints]:
    """Return the columns as integers in the same order as their values."""
    return [_numbers(table[name]) for name in names]


def _numbers(column: pa.ChunkedArray) -> Ints:
    if pa.types.is_timestamp(column.type):
        return microseconds(column)
    if pa.types.is_string(column.type):
        coded = column.combine_chunks().dictionary_encode()
        ranks = np.argsort(np.argsort(coded.dictionary.to_numpy(zero_copy_only=False)))
        return np.asarray(ranks[coded.indices.to_numpy()])
    if pa.types.is_floating(column.type):
        return _ordered_bits(column.to_numpy())
    return np.asarray(column.to_numpy().astype(np.int64))


def _ordered_bits(values: np.ndarray[Any, np.dtype[np.float64]]) -> Ints:
    """Return integers in the order of the floats that they are the bits of; -0.0 is 0.0."""
    bits = (values + 0.0).view(np.int64)
    return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)


def _rising(keys: Sequence[Ints]) -> bool:
    """Whether rows are in order already, twins allowed; cheap where all but ts is constant."""
    varying = [key for key in keys if len(key) and key[0] != key[-1]]
    if len(varying) != 1 or any((key != key[0]).any() for key in keys if key is not varying[0]):
        return False
    return bool((np.diff(varying[0]) >= 0).all())


def _strictly_rising(keys: Sequence[Ints]) -> bool:
    """Whether rows are sorted and unique already, as those of one stream are."""
    after = np.zeros(max(len(keys[0]) - 1, 0), bool)
    for key in reversed(keys):
        after = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & after)
    return bool(after.all())


def same_as_next(keys: Sequence[Ints]) -> np.ndarray[Any, Any]:
    """Return which rows have the key of the row after them."""
    same = np.ones(max(len(keys[0]) - 1, 0), bool)
    for key in keys:
        same &= key[1:] == key[:-1]
    return same


def run_starts(table: pa.Table, names: Sequence[str]) -> list[int]:
    """Return the rows where a new combination of `names` begins; `table` is sorted by them."""
    if not table.num_rows:
        return []
    if all(table[name][0] == table[name][-1] for name in names):
        return [0]
    differs = ~same_as_next(key_numbers(table, names))
    return [0, *(np.flatnonzero(differs) + 1).tolist()]
