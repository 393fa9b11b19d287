"""What the exchange takes: order types, times in force, sizes, price steps; IB's codes and words.

Pure functions on an order. A new order type begins with a row of `TYPES`. Not here: margin and
matching (`ibkit.sim.exchange`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ibkit.sim.calendars import local
from ibkit.sim.orders import ZERO

if TYPE_CHECKING:
    from decimal import Decimal

    from ibkit.sim.orders import OrderRequest, WorkingOrder
    from ibkit.sim.universe import Universe

INVALID: Final = "Error validating request.-'bF' : cause - "


@dataclass(frozen=True, slots=True)
class OrderType:
    """How an order of a type trades: `limited` says that it has a price to keep to."""

    limited: bool


TYPES: Final = {"MKT": OrderType(limited=False), "LMT": OrderType(limited=True)}
# IB knows these; this exchange does not trade them yet
KNOWN_TYPES: Final = frozenset(
    {"STP", "STP LMT", "TRAIL", "TRAIL LIMIT", "MIT", "LIT", "MOC", "LOC", "MTL", "REL"}
    | {"MIDPRICE", "PEG MKT", "PEG MID", "PEG BEST", "VOL"}
)
TIFS: Final = frozenset({"DAY", "GTC", "IOC", "FOK"})


class InvalidOrder(Exception):  # noqa: N818  a verdict
    """An order that is not even taken: IB's code and words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


def check(request: OrderRequest, universe: Universe, now: float) -> None:
    """Refuse what the exchange would not take at all."""
    instrument = request.instrument
    if request.action not in {"BUY", "SELL", "SSHORT"}:
        raise InvalidOrder(321, f"{INVALID}Invalid side")
    if request.quantity <= 0:
        raise InvalidOrder(434, "The order size cannot be zero.")
    if request.order_type not in TYPES:
        raise _unknown_type(request)
    if instrument.sec_type in {"IND", "CONTFUT"}:
        raise InvalidOrder(201, "Order rejected - reason:No Trading Permission")
    if instrument.expiry and local(int(now), instrument.model.calendar).date() > instrument.expiry:
        raise InvalidOrder(392, "Invalid order: contract expired.")
    _check_size(request)
    if TYPES[request.order_type].limited:
        _check_price(request, universe)


def _check_size(request: OrderRequest) -> None:
    instrument = request.instrument
    if instrument.sec_type == "STK" and request.quantity % 1:
        text = (
            "Fractional-sized order cannot be placed via API. "
            "Please refer to desktop version of TWS for Revision."
        )
        raise InvalidOrder(10243, text)
    if request.quantity < instrument.min_size:
        raise InvalidOrder(388, "Order size is smaller than the minimum requirement.")
    if request.quantity % instrument.size_increment:
        raise InvalidOrder(355, "Order size does not conform to market rule.")


def _check_price(request: OrderRequest, universe: Universe) -> None:
    price = request.lmt_price
    if price is None:
        raise InvalidOrder(321, f"{INVALID}Limit price is missing.")
    if price % universe.increment(request.instrument, abs(price)):
        text = "The price does not conform to the minimum price variation for this contract."
        raise InvalidOrder(110, text)
    if price <= 0:
        raise InvalidOrder(321, f"{INVALID}Limit price must be positive.")


def _unknown_type(request: OrderRequest) -> InvalidOrder:
    if request.order_type in KNOWN_TYPES:
        return InvalidOrder(387, "Unsupported order type for this exchange and security type.")
    return InvalidOrder(321, f"{INVALID}Invalid order type was entered")


def priority(order: WorkingOrder) -> tuple[int, Decimal, float, int]:
    """Return who is first: market orders, then better limits, then older orders."""
    price = order.request.lmt_price
    if price is None or not TYPES[order.request.order_type].limited:
        return (0, ZERO, order.placed_at, order.perm_id)
    return (1, -price * order.request.sign, order.placed_at, order.perm_id)


def good_enough(request: OrderRequest, price: Decimal) -> bool:
    """Whether an order trades at `price`."""
    if not TYPES[request.order_type].limited or request.lmt_price is None:
        return True
    return (price - request.lmt_price) * request.sign <= 0
