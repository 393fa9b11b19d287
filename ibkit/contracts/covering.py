"""The fewest rows and columns that hold given cells of a grid: requests for options of a chain.

A request for an expiry answers for all its strikes, one for a strike for all expiries. By König's
theorem the fewest of both that cover some options are as many as the most options of which no two
share an expiry or a strike; the proof is the way to find them. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

R = TypeVar("R")
C = TypeVar("C")


def least_cover(cells: Iterable[tuple[R, C]]) -> tuple[set[R], set[C]]:
    """Return rows and columns, as few as can be, such that each cell is in one of them.

    Of covers of the same size, one with many rows is preferred.

    >>> least_cover([("dec", 600), ("dec", 610), ("dec", 620), ("jan", 600), ("feb", 600)])
    ({'dec'}, {600})
    """
    columns_of: defaultdict[R, list[C]] = defaultdict(list)
    for row, column in dict.fromkeys(cells):
        columns_of[row].append(column)
    row_of: dict[C, R] = {}
    for row in columns_of:
        _match(row, columns_of, row_of)
    rows, columns = _reached(columns_of, row_of)
    return {row for row in columns_of if row not in rows}, columns


def _match(start: R, columns_of: dict[R, list[C]], row_of: dict[C, R]) -> None:
    """Find a column for a row, moving other rows to other columns where that makes room."""
    came_from: dict[C, R] = {}
    queue = [start]
    for row in queue:
        for column in columns_of[row]:
            if column in came_from:
                continue
            came_from[column] = row
            if column in row_of:
                queue.append(row_of[column])
                continue
            _shift(column, start, came_from, row_of)
            return


def _shift(column: C, start: R, came_from: dict[C, R], row_of: dict[C, R]) -> None:
    """Give each row on the way back to `start` the column that was found for it."""
    held = {row: each for each, row in row_of.items()}
    free: C | None = column
    while free is not None:
        row = came_from[free]
        row_of[free] = row
        free = held.get(row) if row != start else None


def _reached(columns_of: dict[R, list[C]], row_of: dict[C, R]) -> tuple[set[R], set[C]]:
    """Return what can be reached from rows without a column, along the pairs and between them."""
    paired = set(row_of.values())
    queue = [row for row in columns_of if row not in paired]
    rows, columns = set(queue), set[C]()
    for row in queue:
        for column in columns_of[row]:
            if column in columns:
                continue
            columns.add(column)
            following = row_of[column]
            if following not in rows:
                rows.add(following)
                queue.append(following)
    return rows, columns
