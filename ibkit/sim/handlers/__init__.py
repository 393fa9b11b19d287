"""What the gateway does about each request: one function each, found by the request's name.

A new request is one row in `ibkit.sim.wire.requests`, one function here, one line in its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ibkit.sim.handlers import (
    accounts,
    advisor,
    depth,
    events,
    history,
    instruments,
    live_bars,
    news,
    options,
    orders,
    quotes,
    scanner,
    session,
    ticks,
)
from ibkit.sim.handlers.refusal import RefusedError, unprocessed
from ibkit.sim.wire import Record
from ibkit.sim.worker import Later

if TYPE_CHECKING:
    from ibkit.sim.clients import Client

Handler = Callable[["Client", Record], Later | None]

HANDLERS: Final[Mapping[str, Handler]] = {
    **session.HANDLERS,
    **instruments.HANDLERS,
    **quotes.HANDLERS,
    **history.HANDLERS,
    **orders.HANDLERS,
    **accounts.HANDLERS,
    **depth.HANDLERS,
    **ticks.HANDLERS,
    **live_bars.HANDLERS,
    **news.HANDLERS,
    **scanner.HANDLERS,
    **events.HANDLERS,
    **options.HANDLERS,
    **advisor.HANDLERS,
}


def not_simulated(_client: Client, _values: Record) -> None:
    """Refuse a request that this gateway knows and cannot serve."""
    raise unprocessed("this request is not simulated")


__all__ = ["HANDLERS", "Handler", "RefusedError", "not_simulated"]
