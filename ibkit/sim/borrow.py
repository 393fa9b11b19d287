"""Borrowing stock to sell it short: which shares are easy to get, and how long a search takes.

The same for every seed, so that a test that sells short knows what it meets. Not here: what an
order does meanwhile (`life`), what borrowing costs (`derived`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ibkit.sim.instrument import Instrument

# IB's numbers for tick 46: above 2.5 there are shares at once, above 1.5 they are looked for
EASY, LOCATE, NONE = 3.0, 2.0, 1.0
HARD: Final = {("PLTR", "USD"): LOCATE, ("USO", "USD"): NONE}
SEARCH_S: Final = 30.0
HELD_404: Final = "Order held while securities are located."


def ease(instrument: Instrument) -> float:
    """Return how easily an instrument is borrowed, in the numbers of tick 46.

    >>> from ibkit.sim.universe import Universe
    >>> ease(Universe.load().by_con_id(265598))
    3.0
    """
    if instrument.sec_type != "STK":
        return EASY
    return HARD.get((instrument.symbol, instrument.currency), EASY)


def search_s(instrument: Instrument) -> float:
    """Return how long shares are looked for: not at all, a while, or for ever."""
    return {EASY: 0.0, LOCATE: SEARCH_S, NONE: math.inf}[ease(instrument)]
