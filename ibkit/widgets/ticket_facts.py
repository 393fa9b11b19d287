"""Between the services' values and an order ticket's: details, quotes, orders, errors.

Pure. Not here: what a ticket shows of them (`ticket_view`), who asks for them (`order_ticket`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from ib_async.util import UNSET_DOUBLE

from ibkit import naming
from ibkit.errors import IbkitError
from ibkit.log import redact
from ibkit.orders import recipes
from ibkit.widgets.ticket_view import Draft, Line, Quote, Ticket, tidy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from ib_async import Contract, ContractDetails, Order

    from ibkit.connection.events import OrderChanged
    from ibkit.kit import Kit

# a round lot; one contract of anything else: a hundred futures are millions
BEGIN_WITH: Final = {"STK": 100.0, "CASH": 20_000.0}
READ_ONLY: Final = "Read-only: connect({!r}, trading=True) to send orders."


def blank(kit: Kit, contract: Contract, name: str) -> Ticket:
    """Return a ticket that knows where it is and nothing else."""
    return Ticket(
        symbol=naming.shorthand(contract),
        name=name,
        kind=kit.profile.kind,
        account=redact(kit.link.account),
        connection=kit.link.state,
        blocked="" if kit.profile.trading else READ_ONLY.format(kit.profile.name),
    )


def sizes(details: ContractDetails) -> dict[str, float]:
    """Return the quantity to begin with, on the instrument's own steps."""
    assert details.contract is not None
    usual = BEGIN_WITH.get(details.contract.secType, 1.0)
    step = _size(details.sizeIncrement) or 1.0
    return {"quantity": max(usual, _size(details.minSize)), "step": step}


def _size(value: Decimal | float) -> float:
    """Return IB's size as a number; 0 where it is not set."""
    size = float(value)
    return size if 0 < size < UNSET_DOUBLE else 0.0


def make_order(draft: Draft) -> Order:
    """Return the order that is filled in; what is wrong with it, the recipe says."""
    if draft.order_type == "MKT":
        return recipes.market(draft.action, draft.quantity, tif=draft.tif)
    assert draft.limit_price is not None
    return recipes.limit(draft.action, draft.quantity, draft.limit_price, tif=draft.tif)


def make_quote(row: Mapping[Any, Any], marks: tuple[str, ...]) -> Quote:
    """Return what a ticket keeps of a row of `Quotes.frame`."""
    ts = row.get("ts")
    told = tuple(mark for mark in marks if mark != "SIMULATED")  # the head says that
    return Quote(
        bid=row.get("bid"),
        ask=row.get("ask"),
        last=row.get("last"),
        bid_size=row.get("bid_size"),
        ask_size=row.get("ask_size"),
        ts=ts if pd.notna(ts) else None,
        marks=told,
    )


def updated(line: Line, event: OrderChanged) -> Line:
    """Return an order's line with what IB said last."""
    return replace(
        line,
        status=event.status,
        filled=tidy(event.filled),
        average_price=event.average_price,
        ts=event.ts,
    )


def tell(error: Exception) -> str:
    """Return what a person is told; an error that is not ours keeps its type's name."""
    ours = isinstance(error, IbkitError)
    return redact(str(error) if ours else f"{type(error).__name__}: {error}")
