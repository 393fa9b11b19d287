"""The one owner of an ib_async.IB: loop thread, link, pacing, health, requests, proxy, events.

Not here: anything that knows contracts, bars or orders.
"""

__all__ = ["Link", "LoopThread", "on_loop"]

from ibkit.connection.link import Link
from ibkit.connection.loop import LoopThread, on_loop
