"""Keep to IB's limits before the socket, orders first; the limits are a table with sources.

Enforced here: messages per second of one connection, in memory. The windows and leases of the
table bind all processes of a gateway: `budget` plans them, `ledger` keeps them on disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibkit.settings import Pacing

Scope = Literal["all", "request", "contract", "id"]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` of `what` in `window_s` seconds, or open at once if that is 0.

    Attributes
    ----------
    margin_s : float
        Added to the window: what left us in order may reach IB closer together.
    each : {"all", "request", "contract", "id"}
        Whether it counts everything, or each identical request, contract or client id by itself.
    """

    what: str
    most: int
    window_s: float
    source: str
    margin_s: float = 0.0
    each: Scope = "all"

    @property
    def span_s(self) -> float:
        """How long a request counts here."""
        return self.window_s + self.margin_s


_TWS: Final = "https://interactivebrokers.github.io/tws-api"
_CAMPUS: Final = "https://www.interactivebrokers.com/campus/ibkr-api-page/twsapi-doc"
_HISTORY: Final = f"{_TWS}/historical_limitations.html"
LIMITS: Final = (
    # IB allows lines/2, so 50 for 100 lines; the gateway's clock is not ours, hence 45
    Limit("messages", 45, 1, f"{_CAMPUS}/#pacing-limitations"),
    # these three bind bars of 30 secs or less, ticks and head timestamps; BID_ASK counts double
    Limit("identical historical requests", 1, 15, _HISTORY, 0.1, "request"),
    Limit("historical requests of one contract", 5, 2, _HISTORY, 0.25, "contract"),
    Limit("historical requests", 60, 600, _HISTORY, 1.0),
    Limit("real-time bars", 60, 600, f"{_TWS}/realtime_bars.html", 1.0),
    Limit("tick-by-tick of one contract", 1, 15, f"{_CAMPUS}/#tick-by-tick", 0.1, "contract"),
    Limit("open historical requests", 50, 0, _HISTORY),
    Limit("market data lines", 100, 0, f"{_TWS}/market_data.html"),
    Limit("market depth", 3, 0, f"{_TWS}/market_depth.html"),
    Limit("tick-by-tick", 5, 0, f"{_CAMPUS}/#tick-by-tick-limitations"),
    Limit("scanners", 10, 0, f"{_TWS}/market_scanners.html"),
    Limit("account summaries", 2, 0, f"{_TWS}/account_summary.html"),
    Limit("client id", 1, 0, f"{_TWS}/connection.html", each="id"),
)
MESSAGES: Final = LIMITS[0]
# rule → the name of its number in the `[pacing]` table
SET_BY: Final = {
    "historical requests": "small_bars",
    "open historical requests": "open_history",
    "market data lines": "lines",
    "market depth": "depth",
    "tick-by-tick": "tick_by_tick",
    "scanners": "scanners",
}
# kept free for orders and cancels
RESERVE: Final = 5
# placeOrder, cancelOrder, exerciseOptions, reqGlobalCancel, startApi
URGENT: Final = frozenset({"3", "4", "21", "58", "71"})


def limits_for(pacing: Pacing) -> tuple[Limit, ...]:
    """Return IB's limits with the numbers that the settings give."""
    return tuple(
        replace(limit, most=getattr(pacing, SET_BY[limit.what])) if limit.what in SET_BY else limit
        for limit in LIMITS
    )


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

    @property
    def limit(self) -> Limit:
        """The rule that it keeps."""
        return self._limit

    def used(self) -> int:
        """Return how many messages count at this moment."""
        self._forget(asyncio.get_running_loop().time())
        return len(self._sent)

    def left(self) -> int:
        """Return how many ordinary messages may go at this moment."""
        self._forget(asyncio.get_running_loop().time())
        return max(0, self._limit.most - RESERVE - len(self._sent) - self.waiting)

    def next_s(self) -> float:
        """Return in how many seconds one more ordinary message may go; 0 is now."""
        if self.left():
            return 0.0
        most = self._limit.most - RESERVE
        behind = self.waiting // most * self._limit.window_s
        now = asyncio.get_running_loop().time()
        free = self._sent[-most] + self._limit.window_s if len(self._sent) >= most else now
        return max(0.0, free - now) + behind

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
