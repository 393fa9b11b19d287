"""The book that orders meet: the market's quote, levels behind it, less what was taken already.

Within a second the same size is never sold twice. Not here: who trades (`floor`), and the orders of
clients, which rest in `registry`.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim.orders import ZERO
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.orders import OrderRequest
    from ibkit.sim.watch import Watch

LEVELS: Final = 5  # behind the best price, that an order may sweep at once
Place = tuple[int, int, Decimal | None]


class Book:
    """Prices and sizes on both sides of every instrument.

    Parameters
    ----------
    watch : Watch
        The market's quotes and trades.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._taken: dict[Place, Decimal] = defaultdict(Decimal)
        self._second = -1

    def levels(self, request: OrderRequest, now: float) -> Iterator[tuple[Decimal, Decimal]]:
        """Yield price and whole size of the levels that an order would meet, the best first."""
        self._turn(now)
        quote = self._watch.glance(request.instrument, now).quote
        buys = request.sign > 0
        touch, size = (quote.ask, quote.ask_size) if buys else (quote.bid, quote.bid_size)
        if touch is None:
            return
        price, whole = to_decimal(touch), to_decimal(size)
        signed = request.instrument.sec_type == "BAG"
        for level in range(LEVELS + 1):
            if price > 0 or signed:
                yield price, whole * (1 + level)
            price += request.sign * self._watch.universe.increment(request.instrument, abs(price))

    def taken(self, request: OrderRequest, price: Decimal) -> Decimal:
        """Return how much of a level was sold in this second."""
        return self._taken.get(_place(request, price), ZERO)

    def printed(self, request: OrderRequest, now: float) -> Decimal:
        """Return how much was traded in this second that a resting order may still have."""
        self._turn(now)
        volume = to_decimal(self._watch.glance(request.instrument, now).volume)
        return max(ZERO, volume - self._taken.get(_place(request, None), ZERO))

    def take(self, request: OrderRequest, price: Decimal | None, shares: Decimal) -> None:
        """Remember that an order took `shares` of a level, or (None) of the trades."""
        self._taken[_place(request, price)] += shares

    def _turn(self, now: float) -> None:
        if int(now) != self._second:
            self._taken.clear()
            self._second = int(now)


def _place(request: OrderRequest, price: Decimal | None) -> Place:
    return request.instrument.con_id, request.sign, price
