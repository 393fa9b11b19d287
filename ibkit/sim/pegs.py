"""Orders whose price follows the market: relative, pegged to market, midpoint or best.

Pure. Not here: fixed prices (`rules`) and stops that trail (`triggers`).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim.orders import ZERO
from ibkit.sim.rules import TYPES
from ibkit.sim.triggers import to_grid
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from ibkit.sim.orders import OrderRequest, WorkingOrder
    from ibkit.sim.screen import Quote
    from ibkit.sim.triggers import Step

BETTER_BY: Final = Decimal("0.02")  # IB's default for competing against the best
FAR_AWAY: Final = Decimal(1_000_000)


def pegged(order: WorkingOrder, quote: Quote, step: Step) -> WorkingOrder:
    """Return an order at the price that the quote asks of it; unchanged when there is none."""
    request = order.request
    kind = TYPES[request.kind]
    if not kind.peg or (kind.snap and order.limit is not None):
        return order
    price = _target(request, kind.peg, quote)
    if price is None:
        return order
    cap = request.lmt_price
    if cap:
        price = min(price, cap) if request.sign > 0 else max(price, cap)
    return replace(order, limit=price if kind.peg == "mid" else to_grid(request, price, step))


def _target(request: OrderRequest, peg: str, quote: Quote) -> Decimal | None:
    """Return the price before any cap."""
    if quote.bid is None or quote.ask is None:
        return None
    bid, ask = to_decimal(quote.bid), to_decimal(quote.ask)
    near, far = (bid, ask) if request.sign > 0 else (ask, bid)
    if peg == "mid":
        return (bid + ask) / 2
    if peg == "best":
        offset = request.compete_offset
        if offset is not None and not offset.is_finite():
            return (bid + ask) / 2
        return near + (BETTER_BY if offset is None else offset) * request.sign
    offset = request.aux_price or ZERO
    if request.percent_offset:
        offset = near * request.percent_offset
    return near + offset * request.sign if peg == "near" else far - offset * request.sign
