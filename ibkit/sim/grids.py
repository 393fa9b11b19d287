"""Price steps that grow with the price: MiFID II bands, and the tables of Tokyo and Hong Kong.

A day's prices lie on one grid that fits every step of the prices that it may reach, so that bars
still add up in whole numbers; near the edge of a band that grid is coarser than the rule asks.
Prices here are whole ticks, the finest step of the rule. Not here: the tables (`universe.toml`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ibkit.sim.refine import Bars

if TYPE_CHECKING:
    from decimal import Decimal

    from ibkit.sim.instrument import Instrument, Rule

Bands = tuple[tuple[int, int], ...]  # rows of (from this price on, step), ascending
REACH: Final = 5.0  # standard deviations that a day may move
MARGIN: Final = 1.2  # how much further its quotes may lie
IN_TICKS: Final = ("open", "high", "low", "close", "turnover", "gap", "spread")


@dataclass(frozen=True, slots=True)
class Grid:
    """Where a day's prices lie: multiples of `step`, from `low` to `high`."""

    step: int
    low: int
    high: int


def bands(rule: Rule) -> Bands:
    """Return a market rule in its finest step; () when it has only one.

    >>> from decimal import Decimal
    >>> bands(((Decimal(0), Decimal("0.01")), (Decimal(10), Decimal("0.05"))))
    ((0, 1), (1000, 5))
    """
    if len(rule) == 1:
        return ()
    tick: Decimal = min(step for _, step in rule)
    return tuple((int(edge / tick), int(step / tick)) for edge, step in rule)


def step_at(steps: Bands, price: int) -> int:
    """Return the step at a price."""
    return next((step for edge, step in reversed(steps) if price >= edge), 1)


def common_step(steps: Bands, low: int, high: int) -> int:
    """Return the smallest step that fits every band of the prices from `low` to `high`.

    >>> common_step(((0, 1), (1000, 2), (2000, 5)), 1500, 2500)
    10
    """
    within = [
        step
        for n, (edge, step) in enumerate(steps)
        if edge <= high and (n + 1 == len(steps) or steps[n + 1][0] > low)
    ]
    return math.lcm(*within) if within else 1


def shared_step(steps: Bands, *prices: int) -> int:
    """Return a step that these prices share and their bands allow; 1 when they are off the grid."""
    step = common_step(steps, min(prices), max(prices))
    return step if all(price % step == 0 for price in prices) else 1


def snap(steps: Bands, price: int, away: int = 0) -> int:
    """Return the nearest price that the bands allow, or the next one up (1) or down (-1).

    >>> steps = ((0, 1), (1000, 5))
    >>> snap(steps, 998), snap(steps, 1003), snap(steps, 1003, -1), snap(steps, 1001, 1)
    (998, 1005, 1000, 1005)
    """
    step = step_at(steps, price)
    if away:
        return -(-price // step) * step if away > 0 else price // step * step
    return round(price / step) * step


@lru_cache(maxsize=4096)
def grid(steps: Bands, tick: float, lowest: float, highest: float, sigma: float) -> Grid:
    """Return the grid of a day whose levels, as logarithms, lie from `lowest` to `highest`."""
    low = math.exp(lowest - REACH * sigma) / tick
    high = math.exp(highest + REACH * sigma) / tick
    step = common_step(steps, int(low / MARGIN), math.ceil(high * MARGIN))
    return Grid(step, math.ceil(low / step), int(high / step))


def scaled(bars: Bars, step: int) -> Bars:
    """Return bars in ticks that were in steps."""
    names = Bars.__dataclass_fields__
    found = (getattr(bars, name) * (step if name in IN_TICKS else 1) for name in names)
    return bars if step == 1 else Bars(*found)


def in_steps(bars: Bars, step: int) -> Bars:
    """Return bars in steps that were in ticks, all multiples of the step."""
    names = Bars.__dataclass_fields__
    found = (getattr(bars, name) // (step if name in IN_TICKS else 1) for name in names)
    return bars if step == 1 else Bars(*found)


def instrument_step(instrument: Instrument, *prices: int) -> int:
    """Return the step that some prices of an instrument share."""
    return shared_step(instrument.bands, *prices) if instrument.bands else 1
