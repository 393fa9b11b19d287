"""Orders as values: what each kind needs, checked on its own, unsent.

Pure. Not here: whether an instrument takes the order (`checks`), sending (`desk`).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from ib_async import Order

from ibkit.contracts.ticks import Number, to_decimal
from ibkit.errors import InvalidOrderError

Action = Literal["BUY", "SELL"]
Tif = Literal["DAY", "GTC", "IOC", "FOK", "OPG"]
ACTIONS: Final = ("BUY", "SELL")
TIFS: Final = ("DAY", "GTC", "IOC", "FOK", "OPG")


def market(action: Action, quantity: Number, *, tif: Tif = "DAY") -> Order:
    """Buy or sell `quantity` units at the best price there is; unsent, without ids.

    >>> market("SELL", 10).orderType
    'MKT'
    """
    return _checked(
        Order(action=action, totalQuantity=_quantity(quantity), orderType="MKT", tif=tif)
    )


def limit(action: Action, quantity: Number, price: Number, *, tif: Tif = "DAY") -> Order:
    """Buy or sell `quantity` units at `price` or better; unsent, without ids.

    >>> limit("BUY", 100, Decimal("189.5")).orderType
    'LMT'
    """
    order = market(action, quantity, tif=tif)
    order.orderType, order.lmtPrice = "LMT", number(price, "price")
    return order


def number(value: Number, name: str) -> Decimal:
    """Return `value` as Decimal, or say that it is no number."""
    try:
        found = to_decimal(value)
    except (InvalidOperation, ValueError, TypeError):
        found = Decimal("NaN")
    if not found.is_finite():
        raise InvalidOrderError(f"{name} must be a number, got {value!r}")
    return found


def _quantity(quantity: Number) -> float:
    """Return a positive quantity; a float, as ib_async has it, prints as the number given."""
    found = number(quantity, "quantity")
    if found <= 0:
        raise InvalidOrderError(
            f"quantity must be positive, got {quantity}; the action carries the sign"
        )
    return float(found)


def _checked(order: Order) -> Order:
    if order.action not in ACTIONS:
        raise InvalidOrderError(f"action must be BUY or SELL, got {order.action!r}")
    if order.tif not in TIFS:
        raise InvalidOrderError(f"tif must be one of {', '.join(TIFS)}, got {order.tif!r}")
    return order
