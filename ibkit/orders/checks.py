"""Hold an order against the rules of its instrument, before it is journaled or sent.

Each `check_…` raises InvalidOrderError or returns None; `CHECKS` lists them in order. Pure: IB's
details and price grid come from the caller. Not here: risk limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ib_async.util import UNSET_DOUBLE

from ibkit.contracts.ticks import TickRule, is_on_grid, neighbours, to_decimal
from ibkit.errors import InvalidOrderError, describe
from ibkit.orders.recipes import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from ib_async import ContractDetails, Order

# what ib_async calls a price, and the order types whose price must lie on the grid
PRICES: Final = (("lmtPrice", "limit price"), ("auxPrice", "stop price"))
NEEDS_LIMIT: Final = frozenset({"LMT", "STP LMT", "LIT", "LOC"})
AMOUNTS: Final = frozenset({"TRAIL", "TRAIL LIMIT", "REL"})  # here auxPrice is a distance


@dataclass(frozen=True, slots=True)
class Case:
    """An order and the rules that it must keep."""

    order: Order
    details: ContractDetails
    rule: TickRule

    @property
    def words(self) -> str:
        """The order in a few words, for error texts."""
        assert self.details.contract is not None
        return f"{order_text(self.order)} {describe(self.details.contract)}"


def check_order(order: Order, details: ContractDetails, rule: TickRule) -> None:
    """Raise InvalidOrderError for the first rule that `order` breaks.

    Parameters
    ----------
    order : Order
        Complete but for ids.
    details : ContractDetails
        IB's details of the instrument.
    rule : TickRule
        Its price grid at the exchange it is routed to.
    """
    case = Case(order, details, rule)
    for check in CHECKS:
        check(case)


def check_action(case: Case) -> None:
    """Buy or sell, nothing else."""
    if case.order.action not in ACTIONS:
        raise InvalidOrderError(f"action must be BUY or SELL, got {case.order.action!r}")


def check_tradable(case: Case) -> None:
    """IB takes no order of any type for an index or a continuous future."""
    contract = case.details.contract
    assert contract is not None
    if contract.secType in {"IND", "CONTFUT"}:
        raise InvalidOrderError(f"{describe(contract)} cannot be traded; it is only quoted.")


def check_order_type(case: Case) -> None:
    """Look into the instrument's own list; IB writes its names without blanks there."""
    kinds = {kind.strip() for kind in case.details.orderTypes.split(",") if kind.strip()}
    wanted = case.order.orderType.replace(" ", "")
    if kinds and wanted not in kinds:
        contract = case.details.contract
        assert contract is not None
        raise InvalidOrderError(
            f"{describe(contract)} takes no {case.order.orderType} orders; it takes "
            f"{', '.join(sorted(kinds))}."
        )


def check_quantity(case: Case) -> None:
    """Positive, not below the smallest size, on the size's step."""
    quantity = _number(case.order.totalQuantity)
    if quantity is None or quantity <= 0:
        raise InvalidOrderError(
            f"quantity must be positive, got {case.order.totalQuantity}; the action carries the "
            "sign"
        )
    smallest, step = _number(case.details.minSize), _number(case.details.sizeIncrement)
    if smallest and quantity < smallest:
        raise InvalidOrderError(f"{case.words}: the smallest quantity is {smallest:f}.")
    if step and quantity % step:
        below = quantity // step * step
        raise InvalidOrderError(
            f"{case.words}: the quantity goes in steps of {step:f}; nearest: {below:f} or "
            f"{below + step:f}."
        )


def check_prices(case: Case) -> None:
    """Every price lies on the instrument's grid; the nearest valid ones are named."""
    for field, name in PRICES:
        price = _number(getattr(case.order, field))
        if price is None or (field == "auxPrice" and case.order.orderType in AMOUNTS):
            if field == "lmtPrice" and case.order.orderType in NEEDS_LIMIT:
                raise InvalidOrderError(f"{case.words}: a {case.order.orderType} needs a price.")
            continue
        if not is_on_grid(price, case.rule):
            below, above = neighbours(price, case.rule)
            raise InvalidOrderError(
                f"{case.words}: the {name} {price:f} is not on the grid of "
                f"{case.rule.step(price):f}; nearest: {below:f} or {above:f}."
            )


def order_text(order: Order) -> str:
    """Return what an order does, in few words.

    >>> from ibkit.orders.recipes import limit
    >>> order_text(limit("BUY", 100, "189.50"))
    'BUY 100 LMT 189.50 DAY'
    """
    limit, stop = _number(order.lmtPrice), _number(order.auxPrice)
    # IB echoes 0 for the price that an order type does not have
    prices = (limit if limit or order.orderType in NEEDS_LIMIT else None, stop or None)
    parts = (order.action, f"{_number(order.totalQuantity):f}", order.orderType)
    return " ".join([*parts, *(f"{price:f}" for price in prices if price is not None), order.tif])


def _number(value: float | Decimal | None) -> Decimal | None:
    """Return IB's number as Decimal; None where it is not set."""
    if value is None or value == UNSET_DOUBLE or not math.isfinite(value):
        return None
    return to_decimal(value)


CHECKS: Final[tuple[Callable[[Case], None], ...]] = (
    check_action,
    check_tradable,
    check_order_type,
    check_quantity,
    check_prices,
)
