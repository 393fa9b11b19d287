"""`kit.orders`: the one road for every order.

Recipe, checks against the instrument's rules, intent written and synced, then the socket; what
becomes of it is what IB says. Not here: what an order is (`recipes`), its rules (`checks`), the
file (`journal`).
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any, Final, cast

from ibkit.connection.loop import on_loop
from ibkit.errors import (
    InvalidOrderError,
    NotConnectedError,
    OrderPendingError,
    OrderRefusedError,
    ReadOnlyError,
)
from ibkit.log import get_logger
from ibkit.naming import shorthand
from ibkit.orders import recipes
from ibkit.orders.checks import check_order, order_text
from ibkit.orders.journal import Intent, Wish, fingerprint
from ibkit.orders.placed import Placed
from ibkit.orders.recorder import Recorder
from ibkit.orders.views import OrderView, WhatIf, fills_frame, make_what_if, orders_frame
from ibkit.orders.watch import OrderId, Watch

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from ib_async import Contract, Order, OrderState, Trade

    from ibkit.connection import Link
    from ibkit.contracts.resolver import ContractLike, Contracts
    from ibkit.contracts.ticks import Number
    from ibkit.orders.journal import State
    from ibkit.orders.recipes import Action, Tif

log = get_logger(__name__)
# how long to wait for IB's first word about an order, or its last about a cancelled one
ACK_S: Final = 5.0
CANCEL_S: Final = 10.0


class Desk:
    """Place, watch and cancel orders of one account.

    Parameters
    ----------
    link : Link
        The connection; its profile says whether orders may be sent.
    contracts : Contracts
        Who the instruments are, and their rules.
    root : Path
        The profile's data root; the journal is ``journal/<account>.sqlite`` in it.
    keys_required : bool
        Refuse orders without ``key=``, as in an unattended run that may be repeated.
    """

    def __init__(
        self, link: Link, contracts: Contracts, root: Path, *, keys_required: bool = False
    ) -> None:
        self._loop = link.loop
        self._link, self._contracts = link, contracts
        self._recorder = Recorder(root / "journal")
        self._watch = Watch(link, self._follow)
        self._keys_required = keys_required
        self._reconciled: object = None
        self._reconciling = asyncio.Lock()
        self._loop.call(self._watch.listen)
        link.add_recovery("orders", self._reconcile)

    @on_loop
    async def market(
        self,
        contract: ContractLike,
        action: Action,
        quantity: Number,
        *,
        tif: Tif = "DAY",
        key: str | None = None,
        again: bool = False,
    ) -> Placed:
        """Buy or sell at the best price there is.

        Parameters
        ----------
        contract : str or Contract
            The instrument.
        action : {"BUY", "SELL"}
            Carries the sign.
        quantity : number
            Units, positive.
        tif : str
            How long it stands: ``DAY``, ``GTC``, ``IOC``, ``FOK``, ``OPG``.
        key, again
            See `place`.

        Returns
        -------
        Placed
            A handle on the order.

        Raises
        ------
        InvalidOrderError, DuplicateIntentError, OrderRefusedError, ReadOnlyError
            See `place`.
        """
        order = recipes.market(action, quantity, tif=tif)
        return await self.place.aio(contract, order, key=key, again=again)

    @on_loop
    async def limit(
        self,
        contract: ContractLike,
        action: Action,
        quantity: Number,
        price: Number,
        *,
        tif: Tif = "DAY",
        key: str | None = None,
        again: bool = False,
    ) -> Placed:
        """Buy or sell at `price` or better.

        Parameters
        ----------
        price : number
            On the instrument's grid; an error names the nearest valid prices. The other
            parameters, the result and the errors are those of `market`.
        """
        order = recipes.limit(action, quantity, price, tif=tif)
        return await self.place.aio(contract, order, key=key, again=again)

    @on_loop
    async def place(
        self, contract: ContractLike, order: Order, *, key: str | None = None, again: bool = False
    ) -> Placed:
        """Place any order; return when IB has acknowledged it, or after a few seconds.

        Parameters
        ----------
        contract : str or Contract
            The instrument.
        order : Order
            From `ibkit.orders.recipes` or ib_async; it is copied, ids and account are set here.
        key : str, optional
            Names the intent, so that a repeated cell or run cannot place it twice.
        again : bool
            Place it although the key was used, or the same order was placed a moment ago.

        Returns
        -------
        Placed
            A handle whose ``status`` follows what IB says.

        Raises
        ------
        ReadOnlyError
            The connection may not trade.
        InvalidOrderError
            The order breaks a rule of its instrument. Nothing was written or sent.
        DuplicateIntentError
            The key is in the journal; or, without a key, the same order is there from the last
            60 s, or its fate is unknown. Nothing was sent.
        OrderRefusedError
            IB rejected it, in IB's words.
        NotConnectedError
            The connection is not ready.

        Notes
        -----
        The intent is on the disk before the order is on the wire.
        """
        self._check_allowed()
        self._check_key(key)
        found = await self._checked(contract, order)
        await self._be_reconciled()
        intent, sent = await self._intend(found, order, key, again=again)
        await self._send(intent, found, sent)
        view = await self._first_word((sent.clientId, sent.orderId))
        if refusal := view.refusal:
            raise OrderRefusedError(*refusal, found)
        return Placed(self, view)

    @on_loop
    async def what_if(self, contract: ContractLike, order: Order) -> WhatIf:
        """Return what `order` would do to margin and equity, and cost; nothing is placed.

        Allowed on read-only connections too.

        Raises
        ------
        InvalidOrderError
            The order breaks a rule of its instrument.
        RequestRefusedError
            IB would not take it, in IB's words.
        """
        found = await self._checked(contract, order)
        asked = self._copy(order)
        state: OrderState = await self._link.request(
            "what-if order", lambda ib: ib.whatIfOrderAsync(found, asked), contract=found
        )
        return make_what_if(order_text(order), found, state)

    @on_loop
    async def cancel(self, order: Placed | str | int) -> Placed:
        """Cancel one order; return when IB has confirmed that it is over, filled or cancelled.

        Parameters
        ----------
        order : Placed, str or int
            The handle, the key or order reference, or the order id of this connection.

        Raises
        ------
        UnknownOrderError
            There is no such order, or another client placed it.
        OrderPendingError
            IB did not confirm in time; the order may still be working.
        """
        self._check_allowed()
        placed = self._placed(order)
        if not placed.done:
            self._link.ib.cancelOrder(self._watch.trade(placed.view).order)
            await self._watch.wait(placed.id, lambda now: now.done, CANCEL_S)
        return placed

    @on_loop
    async def cancel_all(self) -> pd.DataFrame:
        """Cancel every open order of the login, of all clients and of TWS; the kill switch.

        Returns
        -------
        DataFrame
            The orders that were open, with the status IB gave them; see `open`.
        """
        self._check_allowed()
        before = await self._open_views()
        cast("Any", self._link.ib).reqGlobalCancel()
        for view in before:
            try:
                await self._watch.wait(view.id, lambda now: now.done, CANCEL_S)
            except OrderPendingError:
                log.warning("not confirmed as cancelled", order_ref=view.order_ref)
        return orders_frame(self._watch.view(view.id) for view in before)

    @on_loop
    async def open(self) -> pd.DataFrame:
        """Return the open orders of all clients, as IB lists them now.

        Returns
        -------
        DataFrame
            One row an order: ``order_ref instrument action quantity order_type limit_price
            stop_price tif status filled remaining average_price order_id perm_id client_id``.
            No row if nothing is open.
        """
        return orders_frame(await self._open_views())

    @on_loop
    async def trades(self) -> pd.DataFrame:
        """Return all orders that this connection has seen, done ones too; columns as `open`."""
        return orders_frame(self._watch.take(trade) for trade in self._link.ib.trades())

    @on_loop
    async def fills(self) -> pd.DataFrame:
        """Return today's executions.

        Returns
        -------
        DataFrame
            Index ``ts`` (UTC); ``exec_id order_ref instrument action quantity price exchange
            commission currency order_id perm_id``; the commission is NaN until IB has told it.
        """
        return fills_frame(self._link.ib.fills())

    @on_loop
    async def intents(self, *states: State) -> list[Intent]:
        """Return what the journal holds, oldest first; only these states, if any are named."""
        return await self._recorder.intents(self._account(), *states)

    @on_loop
    async def reconcile(self) -> list[Intent]:
        """Hold the journal against IB's open orders, completed orders and executions.

        Returns
        -------
        list of Intent
            Those whose fate is unknown: IB does not list them. They are never sent again.

        Notes
        -----
        Costs one request; `connect` does it before anything may be sent.
        """
        await self._reconcile()
        return await self._recorder.intents(self._account(), "unknown")

    @on_loop
    async def wait(self, order: Placed | str | int, timeout_s: float = 30.0) -> Placed:
        """Wait until an order is filled, cancelled or refused; see `Placed.wait`."""
        placed = self._placed(order)
        await self._watch.wait(placed.id, lambda now: now.done, timeout_s)
        return placed

    @on_loop
    async def close(self) -> None:
        """Write down what is still in the queue, and close the journal."""
        await self._recorder.close()

    def view(self, order: OrderId) -> OrderView:
        """Return the newest snapshot of an order; from any thread."""
        return self._watch.view(order)

    # --- sending ---------------------------------------------------------------------------------

    def _check_allowed(self) -> None:
        if not self._link.profile.trading:
            raise ReadOnlyError(self._link.profile.name)
        if self._link.state != "ready":
            raise NotConnectedError(self._link.state, "an order")

    def _check_key(self, key: str | None) -> None:
        if self._keys_required and key is None:
            raise InvalidOrderError(
                "a notebook run may be repeated, so each of its orders needs a key=; nothing was "
                "sent."
            )

    async def _checked(self, contract: ContractLike, order: Order) -> Contract:
        """Return the instrument, if it takes the order."""
        details = await self._contracts.details.aio(contract)
        check_order(order, details, await self._contracts.tick_rule.aio(contract))
        assert details.contract is not None
        return details.contract

    def _follow(self, view: OrderView) -> None:
        if account := self._link.account:
            self._recorder.follow(account, view)

    def _account(self) -> str:
        if account := self._link.account:
            return account
        raise InvalidOrderError(
            f"this login has several accounts ({', '.join(self._link.accounts)}); say which one "
            "trades with connect(…, account=…)."
        )

    def _copy(self, order: Order) -> Order:
        sent = copy.copy(order)
        sent.account = order.account or self._account()
        sent.permId = 0
        return sent

    async def _intend(
        self, contract: Contract, order: Order, key: str | None, *, again: bool
    ) -> tuple[Intent, Order]:
        """Write the intent down; return it with the order that carries its name."""
        sent = self._copy(order)
        sent.orderId = self._link.ib.client.getReqId()
        sent.clientId = self._link.profile.client_id
        wish = Wish(
            contract=shorthand(contract),
            order_text=order_text(order),
            fingerprint=fingerprint(sent.account, contract.conId, order_text(order)),
            quantity=float(order.totalQuantity),
            key=key,
            client_id=sent.clientId,
            order_id=sent.orderId,
        )
        intent = await self._recorder.intend(self._account(), wish, again=again)
        sent.orderRef = intent.order_ref
        return intent, sent

    async def _send(self, intent: Intent, contract: Contract, order: Order) -> None:
        """Put the order on the wire; not through `Link.request`, so that it overtakes requests."""
        try:
            if self._link.state != "ready":
                raise NotConnectedError(self._link.state, "an order")
            trade = self._link.ib.placeOrder(contract, order)
        except ConnectionError as error:
            await self._recorder.update(
                self._account(), intent.order_ref, "refused", reason=f"not sent: {error}"
            )
            raise
        log.info("order sent", order_ref=intent.order_ref, order=intent.order_text)
        self._watch.take(trade)

    async def _first_word(self, order: OrderId) -> OrderView:
        """Wait for IB's acknowledgement or refusal; without any, return what is known."""
        try:
            return await self._watch.wait(order, _answered, ACK_S)
        except OrderPendingError as error:
            log.warning("no word from IB yet", order_ref=error.order_ref)
            return self._watch.view(order)

    # --- what IB has -----------------------------------------------------------------------------

    def _placed(self, order: Placed | str | int) -> Placed:
        return order if isinstance(order, Placed) else Placed(self, self._watch.find(order))

    async def _open_views(self) -> list[OrderView]:
        await self._ask_open()
        return [self._watch.take(trade) for trade in self._link.ib.openTrades()]

    async def _ask_open(self) -> list[Trade]:
        open_trades: list[Trade] = await self._link.request(
            "open orders", lambda ib: ib.reqAllOpenOrdersAsync()
        )
        return open_trades

    async def _be_reconciled(self) -> None:
        """Reconcile once a connection, before anything new is sent."""
        async with self._reconciling:
            if self._reconciled != self._link.since:
                await self._reconcile()

    async def _reconcile(self) -> None:
        await self._ask_open()
        views = [self._watch.take(trade) for trade in self._link.ib.trades()]
        await self._recorder.reconcile(self._account(), views, self._link.ib.fills())
        self._reconciled = self._link.since


def _answered(view: OrderView) -> bool:
    return view.done or (view.acknowledged and not view.provisional)
