"""Arithmetic of half-open spans ``[start, end)``. Pure; works on anything that compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Span = tuple[int, int]


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the same time as the fewest spans, in order.

    >>> union([(5, 9), (1, 3), (3, 6)])
    [(1, 9)]
    """
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def minus(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Return the time of `spans` that no span of `taken` covers, in order.

    >>> minus([(0, 10)], [(2, 3), (8, 20)])
    [(0, 2), (3, 8)]
    """
    left: list[Span] = []
    holes = union(taken)
    for first, end in union(spans):
        start = first
        for low, high in holes:
            if low >= end:
                break
            if low > start:
                left.append((start, low))
            start = max(start, high)
        if start < end:
            left.append((start, end))
    return left
