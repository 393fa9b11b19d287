"""How much of IB's limits is left, as a frame. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from ibkit.connection.asks import CLIENT_ID
from ibkit.connection.budget import NEVER, free_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.connection.budget import Books
    from ibkit.connection.pacing import Limit, MessageGate

MESSAGES: Final = "messages"
COLUMNS: Final = ("rule", "most", "window_s", "used", "left", "next_s", "each", "source")
# rules that a status card has room for, and what it calls them
SHOWN: Final = {"market data lines": "lines", "historical requests": "small-bar requests"}


def gauge_frame(limits: Iterable[Limit], books: Books, now: float) -> pd.DataFrame:
    """Return one row a limit: see `ibkit.connection.ledger.Ledger.gauge`."""
    rows = [_row(limit, books, now) for limit in limits if limit.what != MESSAGES]
    return pd.DataFrame(rows, columns=list(COLUMNS)).set_index("rule")


def message_row(gate: MessageGate) -> tuple[object, ...]:
    """Return the row of the messages, which each connection counts by itself. On the loop."""
    limit = gate.limit
    return (
        limit.what, limit.most, limit.window_s, gate.used(), gate.left(), gate.next_s(),
        limit.each, limit.source,
    )  # fmt: skip


def pacing_frame(messages: tuple[object, ...], rules: pd.DataFrame | None) -> pd.DataFrame:
    """Return the whole gauge: the messages first, then what all processes share."""
    first = pd.DataFrame([messages], columns=list(COLUMNS)).set_index("rule")
    if rules is None:
        return first
    return pd.concat([first, rules.drop(index=CLIENT_ID, errors="ignore")])  # no request


def pacing_words(frame: pd.DataFrame, *, shared: bool) -> str:
    """Return the gauge in one line, for a status card.

    >>> frame = pd.DataFrame({"left": [45, 97]}, ["messages", "market data lines"])
    >>> pacing_words(frame, shared=True)
    '45 messages, 97 lines may go now'
    """
    names = {MESSAGES: MESSAGES} | SHOWN
    parts = [f"{frame.left[rule]} {word}" for rule, word in names.items() if rule in frame.index]
    return f"{', '.join(parts)} may go now" + ("" if shared else " (other processes not counted)")


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
