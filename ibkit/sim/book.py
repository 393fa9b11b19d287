"""The book that orders meet: the market's quote, levels behind it, less what was taken already.

Within a second the same size is never sold twice. Not here: who trades (`exchange`).
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim.orders import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.orders import OrderRequest
    from ibkit.sim.universe import Universe
    from ibkit.sim.worth import Prices

LEVELS: Final = 5  # behind the best price, that an order may sweep at once


class Book:
    """Prices and sizes on both sides of every instrument.

    Parameters
    ----------
    universe, market
        Price steps and quotes.
    """

    def __init__(self, universe: Universe, market: Prices) -> None:
        self._universe, self._market = universe, market
        self._taken: dict[tuple[int, bool, Decimal], Decimal] = defaultdict(Decimal)
        self._second = -1

    def levels(self, request: OrderRequest, now: float) -> Iterator[tuple[Decimal, Decimal]]:
        """Yield price and size of the levels that an order would meet, the best first."""
        if int(now) != self._second:
            self._taken.clear()
            self._second = int(now)
        quote = self._market.quote(request.instrument, now)
        buys = request.sign > 0
        touch, size = (quote.ask, quote.ask_size) if buys else (quote.bid, quote.bid_size)
        if touch is None:
            return
        price, whole = Decimal(repr(touch)), Decimal(repr(size))
        for level in range(LEVELS + 1):
            left = whole * (1 + level) - self._taken.get(_place(request, price), ZERO)
            if left > 0 and price > 0:
                yield price, left
            price += request.sign * self._universe.increment(request.instrument, price)

    def take(self, request: OrderRequest, price: Decimal, shares: Decimal) -> None:
        """Remember that an order took `shares` of a level."""
        self._taken[_place(request, price)] += shares


def _place(request: OrderRequest, price: Decimal) -> tuple[int, bool, Decimal]:
    return request.instrument.con_id, request.sign > 0, price
