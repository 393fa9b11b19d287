"""Round a price to the grid that an exchange accepts.

The grid comes from IB's market rules (`reqMarketRule`), never from a table of ours: public tick
lists contradict one another. Prices here are Decimal.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ib_async import ContractDetails, PriceIncrement

Number = Decimal | float | int | str


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


def to_decimal(value: Number) -> Decimal:
    """Return the number a person sees: a float by its shortest text, never its binary tail.

    >>> to_decimal(189.1)
    Decimal('189.1')
    """
    if isinstance(value, float) and value.is_integer():
        return Decimal(int(value))
    return value if isinstance(value, Decimal) else Decimal(str(value))


def make_rule(increments: Iterable[PriceIncrement]) -> TickRule:
    """Return the rule of a `reqMarketRule` answer."""
    rows = sorted((to_decimal(row.lowEdge), to_decimal(row.increment)) for row in increments)
    return TickRule(tuple(edge for edge, _ in rows), tuple(step for _, step in rows))


def flat_rule(min_tick: Number) -> TickRule:
    """Return the rule with one step everywhere."""
    return TickRule((Decimal(0),), (to_decimal(min_tick),))


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
    below, above = neighbours(to_decimal(price), rule)
    return below if towards == "BUY" else above
