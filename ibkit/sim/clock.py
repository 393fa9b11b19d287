"""The gateway's time: real, faster than real, or moved by hand in tests.

Not here: time zones and sessions, which belong to the instruments.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ibkit import clock


class Clock(Protocol):
    """What the gateway asks of a clock."""

    def now(self) -> float:
        """Return the time in epoch seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed on this clock."""
        ...


class RealClock:
    """The time of the machine, `speed` times as fast from the moment it is made."""

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be positive, got {speed}")
        self._speed = speed
        self._start, self._origin = clock.now().timestamp(), clock.monotonic()

    def now(self) -> float:
        """Return the time in epoch seconds."""
        return self._start + (clock.monotonic() - self._origin) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed on this clock."""
        await asyncio.sleep(seconds / self._speed)


class ManualClock:
    """A clock that stands still until a test moves it with `advance`."""

    def __init__(self, start: float) -> None:
        self._now = start
        self._moved = asyncio.Condition()

    def now(self) -> float:
        """Return the time in epoch seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return when somebody has moved the clock that far."""
        until = self._now + seconds
        async with self._moved:
            await self._moved.wait_for(lambda: self._now >= until)

    async def advance(self, seconds: float) -> None:
        """Move the clock, and wake those who waited for it."""
        async with self._moved:
            self._now += seconds
            self._moved.notify_all()
