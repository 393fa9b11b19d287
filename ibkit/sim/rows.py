"""Pieces of a path in columns, and how they are added up to bars.

Not here: which pieces a bar is made of, and prices (`ibkit.sim.market`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Pieces of the path in columns: what bars are added up from.

    `slot` tells which bar a row belongs to, `label` is that bar's start, `until` the end of its
    session; prices are in half-ticks; `weight` is how many seconds or minutes a row stands for.
    """

    slot: Ints
    label: Ints
    until: Ints
    ref_date: Ints
    open: Ints | Floats
    high: Ints
    low: Ints
    close: Ints | Floats
    volume: Ints
    count: Ints
    turnover: Ints
    weight: Ints


def join(rows: list[Rows]) -> Rows:
    """Return the rows one after the other."""
    names = Rows.__dataclass_fields__
    if not rows:
        return Rows(*(np.zeros(0, dtype=np.int64) for _ in names))
    return Rows(*(np.concatenate([getattr(row, name) for row in rows]) for name in names))


def pick(rows: Rows, which: NDArray[np.bool_]) -> Rows:
    """Return some of the rows."""
    if which.all():
        return rows
    return Rows(*(getattr(rows, name)[which] for name in Rows.__dataclass_fields__))


def add(rows: Rows, *, mean: bool) -> Rows:
    """Return one row for each slot: first open, highest high, lowest low, last close, sums."""
    if not len(rows.slot):
        return rows
    new = np.concatenate(([True], rows.slot[1:] != rows.slot[:-1]))
    if new.all():
        return rows
    first = np.flatnonzero(new)
    last = np.concatenate((first[1:], [len(rows.slot)])) - 1
    volume, count, turnover = (
        np.add.reduceat(x, first) for x in (rows.volume, rows.count, rows.turnover)
    )
    weight = np.add.reduceat(rows.weight, first)
    ends = (rows.open[first], rows.close[last])
    if mean:
        weighted = (np.add.reduceat(x * rows.weight, first) for x in (rows.open, rows.close))
        ends = (next(weighted) / weight, next(weighted) / weight)
    return Rows(
        rows.slot[first],
        rows.label[first],
        rows.until[last],
        rows.ref_date[last],
        ends[0],
        np.maximum.reduceat(rows.high, first),
        np.minimum.reduceat(rows.low, first),
        ends[1],
        volume,
        count,
        turnover,
        weight,
    )
