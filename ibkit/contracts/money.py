"""What a price and a quantity are worth, and which quantities an exchange takes; in Decimal.

IB gives a multiplier for its own price and a magnifier between that and the quoted one: corn is
quoted in cents, 5,000 bushels at 450.25 are not two million dollars. Multipliers need not be whole.
Pure. Not here: prices (`ibkit.contracts.ticks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any, Literal

from ib_async.util import UNSET_DOUBLE

from ibkit.contracts.ticks import Number, to_amount, to_decimal
from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from ib_async import ContractDetails

ONE = Decimal(1)


class InvalidSizeError(IbkitError, ValueError):
    """A quantity that an instrument cannot be traded in: `quantity`, `rule`."""

    def __init__(self, quantity: Decimal, rule: SizeRule) -> None:
        super().__init__(quantity, rule)
        self.quantity, self.rule = quantity, rule

    def __str__(self) -> str:
        return (
            f"{self.quantity} is no size of this instrument: at least {self.rule.least}, "
            f"in steps of {self.rule.step}."
        )


class UnevenComboError(IbkitError, ValueError):
    """A combo whose legs are worth different money for a point: `name`, `points`."""

    def __init__(self, name: str, points: tuple[Decimal, ...]) -> None:
        super().__init__(name, points)
        self.name, self.points = name, points

    def __str__(self) -> str:
        worth = ", ".join(map(str, self.points))
        return f"A point of {self.name} has no one value: that of its legs is {worth}."


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Which quantities are taken.

    Attributes
    ----------
    least, step : Decimal
        The smallest order, and what orders are multiples of.
    suggested : Decimal
        The step that IB suggests: the board lot, where there is one.
    """

    least: Decimal = ONE
    step: Decimal = ONE
    suggested: Decimal = ONE

    def fits(self, quantity: Number) -> bool:
        """Whether an order of `quantity` is taken."""
        exact = to_amount(quantity)
        return exact >= self.least and exact % self.step == 0

    def check(self, quantity: Number) -> Decimal:
        """Return `quantity`, exact; raise `InvalidSizeError` if it is not taken."""
        exact = to_amount(quantity)
        if not self.fits(exact):
            raise InvalidSizeError(exact, self)
        return exact

    def round(self, quantity: Number, *, lots: bool = False) -> Decimal:
        """Return the largest size up to `quantity`; 0 when even the least is more.

        >>> SizeRule(suggested=Decimal(100)).round(250.7, lots=True)
        Decimal('200')
        """
        step = max(self.step, self.suggested) if lots else self.step
        rounded = (to_amount(quantity) / step).to_integral_value(ROUND_FLOOR) * step
        return rounded if rounded >= self.least else Decimal(0)


def size_rule(details: ContractDetails) -> SizeRule:
    """Return the rule of an instrument; whole units where IB says nothing.

    Of stocks, too: IB names fractions of a share, and refuses them in orders of the API (10243).
    """
    step = _set(details.sizeIncrement) or ONE
    least = _set(details.minSize) or step
    if details.contract is not None and details.contract.secType == "STK":
        step, least = max(step, ONE), max(least, ONE)
    return SizeRule(
        least=least,
        step=step,
        suggested=_set(details.suggestedSizeIncrement) or step,
    )


def point_value(details: ContractDetails) -> Decimal:
    """Return money for one whole point of the quoted price of one unit, in its currency."""
    assert details.contract is not None
    text = details.contract.multiplier
    multiplier = Decimal(text) if text else ONE
    return multiplier / (details.priceMagnifier or 1)


def notional(details: ContractDetails, quantity: Number, price: Number) -> Decimal:
    """Return what `quantity` units are worth at the quoted `price`; negative for a short one."""
    return to_amount(quantity) * to_amount(price) * point_value(details)


def units_for(
    details: ContractDetails,
    money: Number,
    price: Number,
    *,
    rounding: Literal["down", "nearest"] = "down",
) -> Decimal:
    """Return how many units `money` buys at the quoted `price`, as a size that is taken.

    "nearest" may cost more than `money`. 0 when it does not buy the least.
    """
    rule = size_rule(details)
    worth = to_amount(price) * point_value(details)
    if worth <= 0:
        raise ValueError(f"a price of {price} buys no definite quantity")
    exact = to_amount(money) / worth
    if rounding == "nearest":
        exact = (exact / rule.step).to_integral_value(ROUND_HALF_EVEN) * rule.step
    return rule.round(exact)


def _set(value: Any) -> Decimal | None:
    """Return a positive number that IB has set; None for its several ways of not setting one."""
    try:
        number = to_decimal(value)
    except (ArithmeticError, ValueError):
        return None
    return number if 0 < number < Decimal(UNSET_DOUBLE) else None
