"""What IB says about orders: snapshots by id, kept up to date, waited for, journaled.

A status that ib_async concluded from an error message is provisional here until IB was asked. Runs
on the loop thread, except for `view`. Not here: sending anything.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ibkit.errors import NotConnectedError, OrderPendingError, UnknownOrderError
from ibkit.orders.views import OrderView, concluded_locally, make_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from ib_async import Contract, Fill, Trade

    from ibkit.connection import Link
    from ibkit.orders.views import Note

OrderId = tuple[int, int]  # client id and order id; what was completed before has 0 and the perm id
# request ids of messages that are about no request
NOBODY: Final = -1


class Watch:
    """Snapshots of all orders that a connection hears of.

    Parameters
    ----------
    link : Link
        Whose orders.
    follow : callable
        Gets each new snapshot of an order that carries one of our references.
    """

    def __init__(self, link: Link, follow: Callable[[OrderView], None]) -> None:
        self._link, self._follow = link, follow
        self._views: dict[OrderId, OrderView] = {}
        self._names: dict[str, OrderId] = {}
        self._notes: dict[OrderId, list[Note]] = defaultdict(list)
        self._pulse = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        """Connect to ib_async's events."""
        ib = self._link.ib
        ib.orderStatusEvent += self._on_status
        ib.openOrderEvent += self._on_status
        ib.execDetailsEvent += self._on_fill
        ib.errorEvent += self._on_error
        ib.disconnectedEvent += self._wake

    def view(self, order: OrderId) -> OrderView:
        """Return the newest snapshot of an order; from any thread."""
        return self._views[order]

    def find(self, name: str | int) -> OrderView:
        """Return the newest snapshot by key, order reference or order id of this connection.

        Raises
        ------
        UnknownOrderError
            There is none.
        """
        order = self._names.get(name) if isinstance(name, str) else (self._client_id, name)
        if order not in self._views or order is None:
            raise UnknownOrderError(
                f"This connection knows no order {name!r}; kit.orders.trades() lists them."
            )
        return self._views[order]

    def trade(self, view: OrderView) -> Trade:
        """Return ib_async's trade behind a snapshot, if this client may change it.

        Raises
        ------
        UnknownOrderError
            Another client placed it, or IB does not list it any more.
        """
        for trade in self._link.ib.trades():
            if order_id(trade) == view.id and view.client_id == self._client_id:
                return trade
        raise UnknownOrderError(
            f"{view.text} was placed by client {view.client_id}, or IB lists it no more; connect "
            "with that client_id to cancel it, or use cancel_all()."
        )

    def take(self, trade: Trade, *, settled: bool = False) -> OrderView:
        """Keep a snapshot, wake who waits for it, and tell the journal."""
        order = order_id(trade)
        old = self._views.get(order)
        settled = settled or (old is not None and old.done and concluded_locally(trade))
        view = make_view(trade, self._notes.get(order, ()), settled=settled)
        if view != old:
            self._views[order] = view
            if view.key:
                self._names[view.order_ref] = self._names[view.key] = order
                self._follow(view)
            self._wake()
        return view

    async def wait(
        self, order: OrderId, enough: Callable[[OrderView], bool], timeout_s: float
    ) -> OrderView:
        """Return the first snapshot that is `enough`.

        Raises
        ------
        OrderPendingError
            None was in time.
        NotConnectedError
            The connection ended.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not enough(self._views[order]):
                    if self._link.state == "closed":
                        raise NotConnectedError("closed", "news of an order")
                    await self._pulse.wait()
        except TimeoutError:
            view = self._views[order]
            raise OrderPendingError(view.order_ref or view.text, view.status, timeout_s) from None
        return self._views[order]

    @property
    def _client_id(self) -> int:
        return self._link.profile.client_id

    def _on_status(self, trade: Trade) -> None:
        self.take(trade)
        if concluded_locally(trade):
            task = asyncio.get_running_loop().create_task(self._ask_about(trade))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    def _on_fill(self, trade: Trade, _: Fill) -> None:
        self.take(trade)

    def _on_error(self, request_id: int, code: int, text: str, _: Contract | None) -> None:
        order = (self._client_id, request_id)
        if request_id == NOBODY or order not in self._views:
            return
        self._notes[order].append((code, text))
        for trade in self._link.ib.trades():
            if order_id(trade) == order:
                self.take(trade)

    async def _ask_about(self, trade: Trade) -> None:
        """Find out whether an order is over that ib_async took an error message to have ended."""
        try:
            found: list[Trade] = await self._link.request(
                "open orders", lambda ib: ib.reqOpenOrdersAsync()
            )
        except (NotConnectedError, TimeoutError):
            return  # it stays provisional; the next connection asks again
        if concluded_locally(trade):
            self.take(trade, settled=trade not in found)

    def _wake(self) -> None:
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()


def order_id(trade: Trade) -> OrderId:
    """Return what tells a trade from all others of a connection."""
    order = trade.order
    return (int(order.clientId), int(order.orderId)) if order.orderId else (0, int(order.permId))
