"""When the exchange has to look: every second, or in a long pause only where it matters.

A minute in which no price came near any order is skipped; no touch is missed, because the minute's
lowest and highest bid, ask and trade are looked at first. Not here: what is done then (`exchange`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim.rules import TYPES, limit_of, sliced
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from ibkit.sim.orders import WorkingOrder
    from ibkit.sim.watch import Watch

BY_SECOND_S: Final = 900  # pauses up to here are looked at second by second
COARSE_S: Final = 15  # outside hours nothing tells a minute's range: look so often


class Moments:
    """Times to look at the market.

    Parameters
    ----------
    watch : Watch
        The market.
    always_open : bool
        Whether quotes move outside hours too.
    """

    def __init__(self, watch: Watch, *, always_open: bool) -> None:
        self._watch, self._always_open = watch, always_open

    def between(
        self, since: float, now: float, orders: Mapping[tuple[int, int], WorkingOrder]
    ) -> Iterator[float]:
        """Yield the whole seconds after `since`, up to `now`, at which something may happen.

        `orders` is looked at again at each minute, since they change on the way.
        """
        first, last = int(since) + 1, int(now)
        if last - first <= BY_SECOND_S:
            yield from map(float, range(first, last + 1))
            return
        at = first
        while at <= last and orders:
            minute = at - at % 60
            until = min(minute + 59, last)
            step = self._step(minute, orders)
            yield from map(float, range(at, until + 1, step))
            at = until + 1
        if at <= last:
            yield float(last)

    def _step(self, minute: int, orders: Mapping[tuple[int, int], WorkingOrder]) -> int:
        """Return how finely a minute has to be looked at: each second, coarsely, or once."""
        steps = [self._needs(order, minute) for order in tuple(orders.values())]
        return min(steps, default=60)

    def _needs(self, order: WorkingOrder, minute: int) -> int:
        request = order.request
        if order.expires_at is not None and minute < order.expires_at < minute + 60:
            return 1
        if request.conditions or request.good_after_time or 0 < order.locating < minute + 60:
            return 1
        if order.waits or order.auction_at or order.locating:  # auctions are at whole minutes
            return 60
        kind = TYPES[request.kind]
        found = self._watch.range_of(request.instrument, minute)
        if found is None:
            is_open = self._watch.is_open(request.instrument, minute)
            return (1 if is_open else COARSE_S) if is_open or self._always_open else 60
        if kind.peg or kind.trigger == "trail" or sliced(request) or request.adjustment:
            return 1
        low, high = (to_decimal(one) for one in found)
        return 1 if _near(order, low, high) else 60


def _near(order: WorkingOrder, low: Decimal, high: Decimal) -> bool:
    """Whether prices from `low` to `high` can wake or fill an order."""
    level = limit_of(order) if order.triggered else order.stop
    if level is None:
        return True
    up = order.request.sign > 0
    if not order.triggered and TYPES[order.request.kind].trigger == "stop":
        up = not up
    return low <= level if up else high >= level
