"""The journal's door for the loop thread: SQLite work goes to a thread, in order.

Updates from IB's messages are queued and written one after another; an intent is awaited.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ibkit.log import get_logger
from ibkit.orders.journal import UNRESOLVED, Intent, Journal, Wish

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ib_async import Fill

    from ibkit.orders.journal import State
    from ibkit.orders.views import OrderView

log = get_logger(__name__)


class Recorder:
    """Journals by account, opened when first needed. Used on the loop thread only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journals: dict[str, Journal] = {}
        self._opening = asyncio.Lock()
        self._last: asyncio.Task[None] | None = None

    async def intend(self, account: str, wish: Wish, *, again: bool) -> Intent:
        """Write an intent; it is on the disk when this returns.

        Interrupted meanwhile, it is written down as not sent.
        """
        journal = await self._journal(account)
        work = asyncio.ensure_future(asyncio.to_thread(journal.intend, wish, again=again))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            intent = await work
            reason = "interrupted before it was sent"
            await asyncio.to_thread(journal.update, intent.order_ref, "refused", reason=reason)
            raise

    async def update(self, account: str, order_ref: str, state: State, *, reason: str = "") -> None:
        """Write one change, after those that are queued."""
        await self._drain()
        journal = await self._journal(account)
        await asyncio.to_thread(journal.update, order_ref, state, reason=reason)

    async def intents(self, account: str, *states: State) -> list[Intent]:
        """Return intents, oldest first, with everything that is queued written."""
        await self._drain()
        journal = await self._journal(account)
        return await asyncio.to_thread(journal.intents, *states)

    def follow(self, account: str, view: OrderView) -> None:
        """Queue what a snapshot says."""
        self._last = asyncio.get_running_loop().create_task(self._follow(self._last, account, view))
        self._last.add_done_callback(_report)

    async def reconcile(
        self, account: str, views: Sequence[OrderView], fills: Iterable[Fill]
    ) -> None:
        """Bind intents of unknown fate to what IB lists; mark the others as unknown."""
        await self._drain()
        journal = await self._journal(account)
        listed = {view.order_ref for view in views}
        executed = _executed(fills)
        for intent in await asyncio.to_thread(journal.intents, *UNRESOLVED, "working"):
            if intent.order_ref in listed:
                continue  # `follow` has written what IB says
            quantity, price = executed.get(intent.order_ref, (0.0, 0.0))
            state: State = "filled" if quantity >= intent.quantity else "unknown"
            reason = "" if state == "filled" else "IB lists no such open or completed order"
            await asyncio.to_thread(
                journal.update,
                intent.order_ref,
                state,
                filled=quantity,
                average_price=price,
                reason=reason,
            )
            if state == "unknown":
                log.warning("fate of an order is unknown", order_ref=intent.order_ref)

    async def close(self) -> None:
        """Write what is queued and close the files."""
        await self._drain()
        for journal in self._journals.values():
            await asyncio.to_thread(journal.close)
        self._journals.clear()

    async def _follow(
        self, before: asyncio.Task[None] | None, account: str, view: OrderView
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        journal = await self._journal(account)
        reason = f"IB {view.messages[-1][0]}: {view.messages[-1][1]}" if view.messages else ""
        await asyncio.to_thread(
            journal.update,
            view.order_ref,
            view.state,
            perm_id=view.perm_id,
            filled=view.filled,
            average_price=view.average_price,
            reason=reason,
        )

    async def _drain(self) -> None:
        while (last := self._last) is not None and not last.done():
            await asyncio.wait({last})

    async def _journal(self, account: str) -> Journal:
        async with self._opening:
            if account not in self._journals:
                path = self._folder / f"{account}.sqlite"
                self._journals[account] = await asyncio.to_thread(Journal, path)
        return self._journals[account]


def _executed(fills: Iterable[Fill]) -> dict[str, tuple[float, float]]:
    """Return quantity and average price by order reference."""
    sums: dict[str, tuple[float, float]] = {}
    for fill in fills:
        done = fill.execution
        quantity, paid = sums.get(done.orderRef, (0.0, 0.0))
        sums[done.orderRef] = (quantity + done.shares, paid + done.shares * done.price)
    return {ref: (quantity, paid / quantity) for ref, (quantity, paid) in sums.items() if quantity}


def _report(task: asyncio.Task[None]) -> None:
    """Say that a change did not reach the disk; the next reconciliation writes it."""
    if not task.cancelled() and (error := task.exception()):
        log.error("the order journal could not be written", error=str(error))
