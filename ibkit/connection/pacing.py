"""Keep to IB's limits before the socket, orders first; the limits are a table with sources.

Enforced here so far: messages per second of one connection. The windows and leases of the table
need one ledger for all processes, which is not here yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` of `what` in `window_s` seconds, or open at once if that is 0."""

    what: str
    most: int
    window_s: float
    source: str


_TWS: Final = "https://interactivebrokers.github.io/tws-api"
_CAMPUS: Final = "https://www.interactivebrokers.com/campus/ibkr-api-page/twsapi-doc"
LIMITS: Final = (
    # IB allows lines/2, so 50 for 100 lines; the gateway's clock is not ours, hence 45
    Limit("messages", 45, 1, f"{_CAMPUS}/#pacing-limitations"),
    Limit("identical historical requests", 1, 15, f"{_TWS}/historical_limitations.html"),
    Limit("historical requests of one contract", 5, 2, f"{_TWS}/historical_limitations.html"),
    Limit("historical requests", 60, 600, f"{_TWS}/historical_limitations.html"),
    Limit("open historical requests", 50, 0, f"{_TWS}/historical_limitations.html"),
    Limit("market data lines", 100, 0, f"{_TWS}/market_data.html"),
    Limit("market depth", 3, 0, f"{_TWS}/market_depth.html"),
    Limit("tick-by-tick", 5, 0, f"{_CAMPUS}/#tick-by-tick-limitations"),
)
MESSAGES: Final = LIMITS[0]
# kept free for orders and cancels
RESERVE: Final = 5
# placeOrder, cancelOrder, exerciseOptions, reqGlobalCancel, startApi
URGENT: Final = frozenset({"3", "4", "21", "58", "71"})


class MessageGate:
    """Let messages out at a rate that the gateway accepts; orders and cancels overtake the rest.

    Lives on the loop; `write` puts one message on the socket. A burst is queued, never refused.
    """

    def __init__(self, write: Callable[[str], None], limit: Limit = MESSAGES) -> None:
        self._write, self._limit = write, limit
        self._sent: deque[float] = deque()
        self._urgent: deque[str] = deque()
        self._rest: deque[str | asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many messages and requests wait for their turn."""
        return len(self._urgent) + len(self._rest)

    def left(self) -> int:
        """Return how many ordinary messages may go at this moment."""
        self._forget(asyncio.get_running_loop().time())
        return max(0, self._limit.most - RESERVE - len(self._sent) - self.waiting)

    async def turn(self) -> None:
        """Wait until one ordinary message may go, and book it: send it with ``booked=True``.

        Raises
        ------
        ConnectionError
            `clear` was called.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rest.append(turn)
        self._flush()
        await turn

    def offer(self, message: str, *, booked: bool = False) -> None:
        """Send `message` now or as soon as its turn comes."""
        if booked:
            self._write(message)
            return
        urgent = message.partition("\0")[0] in URGENT
        (self._urgent if urgent else self._rest).append(message)
        self._flush()

    def clear(self) -> None:
        """Forget what waits: its socket is gone."""
        self._urgent.clear()
        while self._rest:
            turn = self._rest.popleft()
            if isinstance(turn, asyncio.Future) and not turn.done():
                turn.set_exception(ConnectionResetError("the connection is gone"))
        self._sent.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        now = asyncio.get_running_loop().time()
        self._forget(now)
        while self._urgent and len(self._sent) < self._limit.most:
            self._let_go(self._urgent.popleft(), now)
        while self._rest and len(self._sent) < self._limit.most - RESERVE:
            self._let_go(self._rest.popleft(), now)
        if self.waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._next_slot(), self._again)

    def _again(self) -> None:
        self._timer = None
        self._flush()

    def _forget(self, now: float) -> None:
        while self._sent and now - self._sent[0] >= self._limit.window_s:
            self._sent.popleft()

    def _next_slot(self) -> float:
        """Return when the next message may go: the rest also waits for orders to move out."""
        most = self._limit.most if self._urgent else self._limit.most - RESERVE
        return self._sent[max(0, len(self._sent) - most)] + self._limit.window_s

    def _let_go(self, item: str | asyncio.Future[None], now: float) -> None:
        if isinstance(item, str):
            self._write(item)
        elif item.done():  # its caller gave up
            return
        else:
            item.set_result(None)
        self._sent.append(now)
