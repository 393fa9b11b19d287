"""When a stop, a trailing stop or a market-if-touched order wakes up.

Pure: from an order and one second of its market to the order after it. A trigger sees every trade
within the second, not only the last one. Not here: what a woken order does (`exchange`).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim.rules import TYPES
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.orders import OrderRequest, WorkingOrder
    from ibkit.sim.watch import Glance

    Step = Callable[[Instrument, Decimal], Decimal]

# IB's trigger methods
DEFAULT, DOUBLE_BID_ASK, LAST, DOUBLE_LAST, BID_ASK, LAST_OR_BID_ASK, MIDPOINT = 0, 1, 2, 3, 4, 7, 8
QUOTED: Final = frozenset({"OPT", "FOP", "CASH", "CFD", "BAG", "BOND"})
METHODS: Final = frozenset({0, 1, 2, 3, 4, 7, 8})
HUNDRED: Final = Decimal(100)


def method_of(instrument: Instrument, method: int) -> int:
    """Return how a trigger is watched; quoted markets have no trades to go by."""
    if method != DEFAULT:
        return method
    return BID_ASK if instrument.sec_type in QUOTED else LAST


def reached(glance: Glance, level: Decimal, *, rising: bool, method: int, kind: Instrument) -> bool:
    """Whether a price has come up to `level` (`rising`) or down to it."""
    return any(
        price >= level if rising else price <= level
        for price in _prices(glance, rising=rising, method=method_of(kind, method))
    )


def _prices(glance: Glance, *, rising: bool, method: int) -> list[Decimal]:
    """Return the prices that count: of trades the most extreme, of quotes the nearer side."""
    quote, found = glance.quote, []
    if method in {LAST, DOUBLE_LAST, LAST_OR_BID_ASK}:
        found.append(glance.high if rising else glance.low)
    if method in {BID_ASK, DOUBLE_BID_ASK, LAST_OR_BID_ASK}:
        found.append(quote.bid if rising else quote.ask)
    if method == MIDPOINT and quote.bid is not None and quote.ask is not None:
        found.append((quote.bid + quote.ask) / 2)
    return [to_decimal(one) for one in found if one is not None]


# --- orders -------------------------------------------------------------------------------------


def begin(order: WorkingOrder, glance: Glance, step: Step) -> WorkingOrder:
    """Return an order with its stop set, and its limit when that follows the stop."""
    request = order.request
    trigger = TYPES[request.kind].trigger
    if not trigger:
        return order if order.triggered else replace(order, triggered=True)
    if trigger != "trail":
        return replace(order, stop=request.aux_price, triggered=False)
    start = request.trail_stop_price
    if start is None:
        start = _trailed(request, _reference(request, glance), step)
    return follow(replace(order, stop=start, triggered=False), step)


def watch(order: WorkingOrder, glance: Glance, step: Step) -> WorkingOrder:
    """Let one second pass for an order that waits for its trigger."""
    request, trigger = order.request, TYPES[order.request.kind].trigger
    order = _adjusted(order, glance, step)
    if order.request is not request:
        return order
    assert order.stop is not None
    up = (request.sign > 0) == (trigger != "touch")
    method = method_of(request.instrument, request.trigger_method)
    if reached(glance, order.stop, rising=up, method=method, kind=request.instrument):
        touches = order.touches + 1
        doubled = method in {DOUBLE_BID_ASK, DOUBLE_LAST}
        return replace(order, touches=touches, triggered=touches > 1 or not doubled)
    if order.touches:
        order = replace(order, touches=0)
    return trail(order, glance, step) if trigger == "trail" else order


def trail(order: WorkingOrder, glance: Glance, step: Step) -> WorkingOrder:
    """Return an order whose stop has followed the market, never away from it."""
    request = order.request
    new = _trailed(request, _reference(request, glance), step)
    if new is None or order.stop is None or (order.stop - new) * request.sign <= 0:
        return order
    return follow(replace(order, stop=new), step)


def follow(order: WorkingOrder, step: Step) -> WorkingOrder:
    """Return an order whose limit keeps its distance to the stop."""
    request = order.request
    if request.kind != "TRAIL LIMIT" or order.stop is None:
        return order
    offset = request.lmt_price_offset
    if offset is None and request.lmt_price is not None and order.limit is None:
        return replace(order, limit=request.lmt_price)
    if offset is None:  # the first limit told the distance
        first = request.trail_stop_price
        offset = abs((request.lmt_price or order.stop) - (first or order.stop))
    return replace(order, limit=to_grid(request, order.stop + offset * request.sign, step))


def to_grid(request: OrderRequest, price: Decimal, step: Step) -> Decimal:
    """Return a price on the grid, no worse for the order's owner."""
    tick = step(request.instrument, abs(price))
    side = ROUND_FLOOR if request.sign > 0 else ROUND_CEILING
    return (price / tick).quantize(Decimal(1), side) * tick


def _reference(request: OrderRequest, glance: Glance) -> Decimal | None:
    """Return the price that a trailing stop follows: the lowest to buy, the highest to sell."""
    method = method_of(request.instrument, request.trigger_method)
    found = _prices(glance, rising=request.sign < 0, method=method)
    if not found:
        return None
    return min(found) if request.sign > 0 else max(found)


def _trailed(request: OrderRequest, reference: Decimal | None, step: Step) -> Decimal | None:
    if reference is None:
        return None
    distance = request.aux_price
    if request.trailing_percent is not None:
        distance = abs(reference) * request.trailing_percent / HUNDRED
    return to_grid(request, reference + (distance or Decimal(0)) * request.sign, step)


def _adjusted(order: WorkingOrder, glance: Glance, step: Step) -> WorkingOrder:
    """Return what an adjustable stop has become, once the market moved its owner's way."""
    request, change = order.request, order.request.adjustment
    if change is None:
        return order
    method = method_of(request.instrument, request.trigger_method)
    if not reached(
        glance, change.trigger, rising=request.sign < 0, method=method, kind=request.instrument
    ):
        return order
    amount = change.trailing
    new = replace(
        request,
        order_type=change.order_type,
        aux_price=amount if change.order_type.startswith("TRAIL") else change.stop,
        lmt_price=change.limit if change.order_type.endswith(("LMT", "LIMIT")) else None,
        trail_stop_price=change.stop,
        trailing_percent=amount if change.percent else None,
        adjustment=None,
    )
    return begin(replace(order, request=new, limit=None, touches=0), glance, step)
