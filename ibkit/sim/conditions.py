"""Conditions that hold an order back, or cancel it, until they are met: price, time, margin, ...

Pure: a condition, and a view of the world to judge it by. Not here: what follows (`exchange`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol

from ibkit.sim.triggers import reached
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.orders import Fill
    from ibkit.sim.watch import Glance

PRICE, TIME, MARGIN, EXECUTION, VOLUME, CHANGE = 1, 3, 4, 5, 6, 7
HUNDRED: Final = Decimal(100)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; `either` ties it to the next by *or*, else by *and*.

    `value` is a price, an epoch time, per cent of cushion, a volume, or a change in per cent.
    """

    kind: int
    either: bool = False
    is_more: bool = True
    value: Decimal = Decimal(0)
    instrument: Instrument | None = None
    trigger_method: int = 0
    symbol: str = ""
    sec_type: str = ""
    exchange: str = ""


class World(Protocol):
    """What a condition may look at."""

    def glance(self, instrument: Instrument, now: float) -> Glance:
        """Return the market of one instrument."""
        ...

    def cushion(self, now: float) -> Decimal:
        """Return the account's excess liquidity as a share of its value."""
        ...

    def fills_since(self, since: float) -> Sequence[Fill]:
        """Return the executions from `since` on."""
        ...


def met(conditions: Sequence[Condition], world: World, now: float, since: float) -> bool:
    """Whether conditions hold together: *and* binds before *or*.

    >>> yes, no = Condition(TIME, value=Decimal(5)), Condition(TIME, value=Decimal(15))
    >>> met([no, yes], None, 10.0, 0.0)
    False
    """
    every = True
    for condition in conditions:
        every = every and holds(condition, world, now, since)
        if condition.either:
            if every:
                return True
            every = True
    return every and not (conditions and conditions[-1].either)


def holds(one: Condition, world: World, now: float, since: float) -> bool:
    """Whether one condition is met; `since` is when its order was placed."""
    if one.kind == TIME:
        return (to_decimal(now) >= one.value) == one.is_more
    if one.kind == MARGIN:
        return _passes(world.cushion(now) * HUNDRED, one)
    if one.kind == EXECUTION:
        return any(_is_of(fill, one) for fill in world.fills_since(since))
    if one.instrument is None:
        return False
    return _market_holds(one, one.instrument, world.glance(one.instrument, now))


def _market_holds(one: Condition, instrument: Instrument, glance: Glance) -> bool:
    """Whether a condition about an instrument's market is met."""
    if one.kind == VOLUME:
        return _passes(to_decimal(glance.quote.volume), one)
    if one.kind == CHANGE:
        return _changed(glance, one)
    return reached(
        glance, one.value, rising=one.is_more, method=one.trigger_method, kind=instrument
    )


def _passes(value: Decimal, one: Condition) -> bool:
    return value >= one.value if one.is_more else value <= one.value


def _changed(glance: Glance, one: Condition) -> bool:
    close, last = glance.quote.close, glance.quote.last or glance.quote.bid
    if not close or last is None:
        return False
    return _passes((to_decimal(last) / to_decimal(close) - 1) * HUNDRED, one)


def _is_of(fill: Fill, one: Condition) -> bool:
    traded = fill.instrument
    return (
        one.symbol in {"", traded.symbol}
        and one.sec_type in {"", traded.sec_type}
        and one.exchange in {"", "SMART", "*", fill.exchange}
    )
