"""Everything that is sent without being asked: ticks, fills, PnL, account updates.

One task per gateway; it sleeps for good while nobody listens and no order works.
Not here: what is sent (the `handlers`, each with a function for its own streams).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from ibkit.log import get_logger
from ibkit.sim.handlers import (
    accounts,
    depth,
    history,
    lines,
    live_bars,
    news,
    orders,
    scanner,
    ticks,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibkit.sim.clients import Client
    from ibkit.sim.screen import Quote
    from ibkit.sim.server import Gateway

    Quotes = dict[tuple[int, int], Quote]

log = get_logger(__name__)
STEP_S: Final = 0.05
ACCOUNT_EVERY_S: Final = 180.0
# what is due how often (seconds of the gateway's clock), for each client
JOBS: Final[tuple[tuple[str, float, Callable[[Client, float], object]], ...]] = (
    ("ticks", 0.25, ticks.send_ticks),
    ("real_time_bars", 0.5, live_bars.send_bars),
    ("depth", 0.5, depth.send_changes),
    ("bars", 2.0, history.send_updates),
    ("pnl", 1.0, accounts.each_second),
    ("bulletins", 1.0, news.send_bulletins),
    ("scanners", 1.0, scanner.send_scans),
    ("account", ACCOUNT_EVERY_S, accounts.refresh),
)


class Stream:
    """The gateway's own initiative.

    Parameters
    ----------
    gateway : Gateway
        Whose clients and orders it serves.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._task: asyncio.Task[None] | None = None
        self._busy = asyncio.Event()
        self._due = {"account": gateway.clock.now() + ACCOUNT_EVERY_S}

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sim-stream")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        """Say that there is something to do."""
        self._busy.set()

    async def _run(self) -> None:
        """Step while there is something to do."""
        while True:
            await self._busy.wait()
            try:
                self.step()
            except Exception:  # a bug in one quote must not end everybody's stream
                log.exception("step_failed")
            if not self._needed():
                self._busy.clear()
            await self._gateway.clock.sleep(STEP_S)

    def _needed(self) -> bool:
        """Whether anybody waits for anything."""
        clients = self._gateway.clients.values()
        return bool(self._gateway.exchange.working()) or any(c.streams.any for c in clients)

    def step(self) -> None:
        """Do what is due now: match orders, then tell what moved."""
        now = self._gateway.clock.now()
        orders.dispatch(self._gateway, self._gateway.exchange.tick(now))
        clients = tuple(self._gateway.clients.values())
        quotes: Quotes = {}
        for client in clients:
            self._do(send_quotes, client, now, quotes)
        for what, every, job in JOBS:
            if self._is_due(what, now, every):
                for client in clients:
                    self._do(job, client, now)

    @staticmethod
    def _do(job: Callable[..., object], *about: object) -> None:
        """Do one thing for one client; a bug in it must not end what others get."""
        try:
            job(*about)
        except Exception:
            log.exception("job_failed", job=job.__name__)

    def _is_due(self, what: str, now: float, every: float) -> bool:
        """Whether `every` seconds have passed since this was last done."""
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every
        return True


def send_quotes(client: Client, now: float, quotes: Quotes) -> None:
    """Send every line that is due what changed on it; `quotes` are those of this step."""
    for sub in tuple(client.streams.quotes.values()):
        if now >= sub.due:
            lines.update(client, sub, now, quotes)
