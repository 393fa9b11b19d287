"""Everything that is sent without being asked: ticks, fills, PnL, account updates.

One task per gateway; it sleeps for good while nobody listens and no order works.
Not here: what the messages look like (`quotes`, `handlers.orders`, `handlers.accounts`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from ibkit.log import get_logger
from ibkit.sim.handlers import accounts, history, orders
from ibkit.sim.quotes import next_ticks

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.server import Gateway

log = get_logger(__name__)
STEP_S: Final = 0.05
QUOTES_EVERY_S: Final = 0.25
BARS_EVERY_S: Final = 2.0
PNL_EVERY_S: Final = 1.0
ACCOUNT_EVERY_S: Final = 180.0


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
        if self._is_due("quotes", now, QUOTES_EVERY_S):
            self._send_quotes(clients, now)
        if self._is_due("bars", now, BARS_EVERY_S):
            for client in clients:
                history.send_updates(client, now)
        if self._is_due("pnl", now, PNL_EVERY_S):
            for client in clients:
                accounts.send_pnl(client, now)
        if self._is_due("account", now, ACCOUNT_EVERY_S):
            for client in clients:
                accounts.refresh(client, now)

    def _is_due(self, what: str, now: float, every: float) -> bool:
        """Whether `every` seconds have passed since this was last done."""
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every
        return True

    def _send_quotes(self, clients: tuple[Client, ...], now: float) -> None:
        """Send every line what changed on it; each instrument is looked at once."""
        quotes: dict[int, Any] = {}
        for client in clients:
            for sub in client.streams.quotes.values():
                con_id = sub.instrument.con_id
                if con_id not in quotes:
                    quotes[con_id] = self._gateway.market.quote(sub.instrument, now)
                for message, tick in next_ticks(sub, quotes[con_id]):
                    client.send(message, tick, req_id=sub.req_id)
                sub.seen = quotes[con_id]
