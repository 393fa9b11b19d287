"""How much of IB's limits is left, as a frame. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ibkit.connection.budget import NEVER, free_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.connection.budget import Books
    from ibkit.connection.pacing import Limit

MESSAGES = "messages"


def gauge_frame(limits: Iterable[Limit], books: Books, now: float) -> pd.DataFrame:
    """Return one row a limit: see `ibkit.connection.ledger.Ledger.gauge`."""
    rows = [_row(limit, books, now) for limit in limits if limit.what != MESSAGES]
    frame = pd.DataFrame(
        rows,
        columns=["rule", "most", "window_s", "used", "left", "next_s", "each", "source"],
    )
    return frame.set_index("rule")


def _row(limit: Limit, books: Books, now: float) -> tuple[object, ...]:
    used, wait = _window(limit, books, now) if limit.window_s else _held(limit, books)
    left = max(0, limit.most - used)
    return (
        limit.what, limit.most, limit.window_s, used, left, wait, limit.each, limit.source,
    )  # fmt: skip


def _window(limit: Limit, books: Books, now: float) -> tuple[int, float]:
    """Return what the busiest key used, and how long until it may go again."""
    used, wait = 0, 0.0
    for (rule, _), times in books.sent.items():
        if rule == limit.what:
            live = [(at, cost) for at, cost in times if at + limit.span_s > now]
            used = max(used, sum(cost for _, cost in live))
            wait = max(wait, free_at(live, limit, 1) - now)
    return used, wait


def _held(limit: Limit, books: Books) -> tuple[int, float]:
    used = max((cost for (rule, _), cost in books.held.items() if rule == limit.what), default=0)
    if limit.most < 1:
        return used, NEVER
    return used, 0.0 if used < limit.most else float("nan")
