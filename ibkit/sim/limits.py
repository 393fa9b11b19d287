"""How much a client may ask for: IB's numbers, and the counters that hold clients to them.

Pure: whoever asks says what time it is. Not here: the refusals (`ibkit.sim.handlers`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SECOND: Final = 1.0
HOT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """IB's numbers; 0 means: no limit.

    Attributes
    ----------
    clients : int
        Connections at once.
    messages_per_second : int
        From one client; more is error 100, and the third time the end of the connection.
    strikes : int
        At which offence a client is hung up on.
    queue_messages : bool
        Answer late instead of complaining, as with TWS's "pacing API" or ``+PACEAPI``.
    lines : int
        Market data lines of one client.
    depth, tick_by_tick, summaries : int
        Subscriptions of these kinds of one client.
    same_tick_by_tick_s : float
        Between two tick-by-tick requests for one instrument.
    open_history : int
        Requests for bars that are not answered yet, or are kept up to date.
    small_bars : int
        Requests for bars of 30 seconds or less in `small_bars_s` seconds; ``BID_ASK`` counts twice.
    small_bars_s : float
        The length of that window.
    same_bars_s : float
        Between two identical such requests.
    hot_bars : int
        From this many for one instrument within two seconds on, they are refused.
    scanners : int
        Scanner subscriptions of one client.
    """

    clients: int = 32
    messages_per_second: int = 50
    strikes: int = 3
    queue_messages: bool = False
    lines: int = 100
    depth: int = 3
    tick_by_tick: int = 3
    same_tick_by_tick_s: float = 0.0
    summaries: int = 2
    open_history: int = 50
    small_bars: int = 60
    small_bars_s: float = 600.0
    same_bars_s: float = 15.0
    hot_bars: int = 6
    scanners: int = 10

    def room_for_history(self, open_now: int) -> bool:
        """Whether a client with so many open requests for bars may have one more."""
        return not self.open_history or open_now < self.open_history

    @property
    def too_much_history(self) -> str:
        """The words for one open request too many."""
        return f"Only {self.open_history} simultaneous API historical data requests allowed."

    @classmethod
    def none(cls) -> Limits:
        """Return no limits at all, for tests and benchmarks that want speed."""
        return cls(
            clients=0,
            messages_per_second=0,
            lines=0,
            depth=0,
            tick_by_tick=0,
            summaries=0,
            open_history=0,
            small_bars=0,
            same_bars_s=0.0,
            hot_bars=0,
            scanners=0,
        )


class MessageRate:
    """Counts one client's messages by the second."""

    __slots__ = ("_begin", "_count", "_limit", "_told", "strikes")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begin, self._count, self._told = float("-inf"), 0, False
        self.strikes = 0

    def excess(self, now: float) -> int:
        """Count a message; return how many came this second when this one is the first too many."""
        if now - self._begin >= SECOND:
            self._begin, self._count, self._told = now, 0, False
        self._count += 1
        if not self._limit or self._count <= self._limit or self._told:
            return 0
        self._told = True
        self.strikes += 1
        return self._count

    def wait(self, now: float) -> float:
        """Count a message; return how long it has to wait for its turn, for clients that queue."""
        if now - self._begin >= SECOND:
            self._begin, self._count = now, 0
        self._count += 1
        if not self._limit or self._count <= self._limit:
            return 0.0
        left = self._begin + SECOND - now
        self._begin, self._count = now + left, 1
        return left


@dataclass(slots=True)
class BarsPacing:
    """The rules for small bars: identical requests, hot instruments, and the ten-minute window."""

    limits: Limits
    _asked: deque[tuple[float, object, object, int]] = field(default_factory=deque)

    def violates(self, now: float, request: object, instrument: object, weight: int) -> bool:
        """Count a request unless it breaks a rule; return whether it does."""
        limits, asked = self.limits, self._asked
        while asked and asked[0][0] <= now - max(limits.small_bars_s, limits.same_bars_s):
            asked.popleft()
        same = any(a > now - limits.same_bars_s and one == request for a, one, _, _ in asked)
        hot = sum(a > now - HOT_S and one == instrument for a, _, one, _ in asked)
        window = sum(cost for a, _, _, cost in asked if a > now - limits.small_bars_s)
        broken = (
            (limits.same_bars_s > 0 and same)
            or (limits.hot_bars > 0 and hot + 1 >= limits.hot_bars)
            or (limits.small_bars > 0 and window + weight > limits.small_bars)
        )
        if not broken:
            asked.append((now, request, instrument, weight))
        return broken
