"""Round a price to the grid that an exchange accepts.

The grid comes from IB's market rules (`reqMarketRule`), never from a table of ours: public tick
lists contradict one another. Prices here are Decimal.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final, Literal

from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ib_async import ContractDetails, PriceIncrement

Number = Decimal | float | int | str
LARGEST: Final = 15  # the exponent of the largest price or quantity: what is beyond is a mistake


@dataclass(frozen=True, slots=True)
class TickRule:
    """Price bands: from `edges[i]` upwards the step is `steps[i]`."""

    edges: tuple[Decimal, ...]
    steps: tuple[Decimal, ...]

    def step(self, price: Decimal) -> Decimal:
        """Return the step at `price`; for negative prices, that of the same distance from zero."""
        inside = [
            step for edge, step in zip(self.edges, self.steps, strict=True) if edge <= abs(price)
        ]
        return inside[-1] if inside else self.steps[0]


class NotANumberError(IbkitError, ValueError):
    """What should be a price or a quantity is no number: `text`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"{self.text!r} is no number; prices and quantities are like 189.5 or '189.5'."


def to_decimal(value: Number) -> Decimal:
    """Return the number a person sees: a float by its shortest text, never its binary tail.

    >>> to_decimal(189.1)
    Decimal('189.1')

    Raises
    ------
    NotANumberError
        The text is none.
    """
    if isinstance(value, float) and value.is_integer():
        return Decimal(int(value))
    try:
        return value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        raise NotANumberError(str(value)) from None


def to_amount(value: Number) -> Decimal:
    """Return a number as `to_decimal` does; refuse what is not finite.

    Raises
    ------
    NotANumberError
        It is no number, or infinite, or so large that no grid has room for it.
    """
    exact = to_decimal(value)
    if not exact.is_finite() or exact.adjusted() > LARGEST:
        raise NotANumberError(str(value))
    return exact


def make_rule(increments: Iterable[PriceIncrement]) -> TickRule:
    """Return the rule of a `reqMarketRule` answer."""
    rows = sorted((to_decimal(row.lowEdge), to_decimal(row.increment)) for row in increments)
    return TickRule(tuple(edge for edge, _ in rows), tuple(step for _, step in rows))


def flat_rule(min_tick: Number) -> TickRule:
    """Return the rule with one step everywhere."""
    return TickRule((Decimal(0),), (to_decimal(min_tick),))


def quoted_rule(rule: TickRule, min_tick: Number, magnifier: int) -> TickRule:
    """Return a rule in the units that prices are quoted in.

    Corn's minimum tick is 0.0025 dollars, its prices are cents: they move by 0.25. A rule whose
    finest step is the minimum tick is in IB's own units, and so are its edges.

    >>> quoted_rule(flat_rule("0.0025"), "0.0025", 100).steps
    (Decimal('0.2500'),)
    """
    if magnifier <= 1 or not rule.steps or min(rule.steps) != to_decimal(min_tick):
        return rule
    return TickRule(
        tuple(edge * magnifier for edge in rule.edges),
        tuple(step * magnifier for step in rule.steps),
    )


def rule_id(details: ContractDetails, exchange: str) -> int | None:
    """Return the number of the market rule that holds at `exchange`; the lists are aligned."""
    exchanges = details.validExchanges.split(",")
    rules = details.marketRuleIds.split(",")
    by_exchange = dict(zip(exchanges, rules, strict=False))
    text = by_exchange.get(exchange, rules[0])
    return int(text) if text.strip().isdigit() else None


def is_on_grid(price: Decimal, rule: TickRule) -> bool:
    """Whether an exchange with this rule accepts `price`."""
    step = rule.step(price)
    return step <= 0 or price % step == 0


def neighbours(price: Decimal, rule: TickRule) -> tuple[Decimal, Decimal]:
    """Return the valid prices next below and above; both are `price` when it is valid.

    >>> neighbours(Decimal("189.503"), flat_rule("0.01"))
    (Decimal('189.50'), Decimal('189.51'))
    """
    if is_on_grid(price, rule):
        return price, price
    step = rule.step(price)
    below = (price / step).to_integral_value(ROUND_FLOOR) * step
    above = (price / step).to_integral_value(ROUND_CEILING) * step
    return below, above


def round_to_tick(price: Number, rule: TickRule, *, towards: Literal["BUY", "SELL"]) -> Decimal:
    """Return the nearest valid price that is no worse for the order's owner.

    A buyer's price goes down, a seller's up: rounding never makes an order more aggressive.

    >>> round_to_tick("189.503", flat_rule("0.01"), towards="BUY")
    Decimal('189.50')
    """
    if towards not in {"BUY", "SELL"}:
        raise ValueError(f"towards is 'BUY' or 'SELL', not {towards!r}")
    below, above = neighbours(to_amount(price), rule)
    return below if towards == "BUY" else above
