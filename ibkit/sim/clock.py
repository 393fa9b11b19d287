"""The gateway's time: real, faster than real, or moved by hand in tests.

All three may begin at any instant: a recorded day, a Friday before the close. Everything in the
gateway follows its clock: prices, matching, the end of DAY orders, scheduled faults. Not here:
time zones and sessions, which belong to the instruments.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import Final, Protocol

from ibkit import clock

SHORTEST_S: Final = 0.01  # of real time: however fast the clock, sockets must be served too
SETTLE_TURNS: Final = 8  # of the loop: woken tasks act, queued frames leave


class Clock(Protocol):
    """What the gateway asks of a clock."""

    def now(self) -> float:
        """Return the time in epoch seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed on this clock."""
        ...


class RealClock:
    """A clock that runs by itself.

    Parameters
    ----------
    speed : float
        Seconds that pass on it in one real second: 60 makes a trading day of six and a half
        minutes.
    start : float, optional
        Its first instant, in epoch seconds; now if not given.
    """

    def __init__(self, speed: float = 1.0, start: float | None = None) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be positive, got {speed}")
        self._speed = speed
        self._start = clock.now().timestamp() if start is None else start
        self._origin = clock.monotonic()

    def now(self) -> float:
        """Return the time in epoch seconds."""
        return self._start + (clock.monotonic() - self._origin) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed on this clock, or a little later when it is fast."""
        pause = seconds / self._speed
        await asyncio.sleep(max(pause, SHORTEST_S) if self._speed > 1 else pause)


class ManualClock:
    """A clock that stands still until somebody moves it with `advance`.

    Moved in steps, it makes a day of any length: between two steps everybody who waited for the
    time acts and sleeps again, so the same steps give the same frames.
    """

    def __init__(self, start: float) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        """Return the time in epoch seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return when somebody has moved the clock that far."""
        if seconds <= 0:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float, *, step: float | None = None) -> None:
        """Move the clock, and wake those who waited for it, in the order of their times.

        Parameters
        ----------
        seconds : float
            How far; never back.
        step : float, optional
            Move in steps of so many seconds, and let the gateway act after each; without it, in one
            jump, after which the gateway catches up (orders are still matched second by second).
        """
        if seconds < 0 or (step is not None and step <= 0):
            raise ValueError(f"time only moves forward, got {seconds} in steps of {step}")
        end = self._now + seconds
        while self._now < end:
            self._now = end if step is None else min(end, self._now + step)
            self._wake()
            for _ in range(SETTLE_TURNS):
                await asyncio.sleep(0)

    def _wake(self) -> None:
        """Wake those whose time has come."""
        while self._sleepers and self._sleepers[0][0] <= self._now:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
