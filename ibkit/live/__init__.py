"""Watch the present: quotes of instruments, held until their block ends.

Two watchers of one instrument share one market data line. Not here: ticks on the disk (the
recorder), bars made of ticks.
"""

__all__ = ["Live", "Quotes"]

from ibkit.live.quotes import Quotes
from ibkit.live.watch import Live
