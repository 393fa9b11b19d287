"""Turn ib_async's events into the payloads of `kit.events`, each published once.

Not here: states and notices, which the link publishes itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibkit import clock
from ibkit.connection.events import AccountChanged, FillMade, OrderChanged, PositionChanged

if TYPE_CHECKING:
    from ib_async import IB, AccountValue, Fill, Position, Trade

    from ibkit.connection.events import Events

# IB's sides of an execution
ACTIONS = {"BOT": "BUY", "SLD": "SELL"}


def publish_feeds(ib: IB, events: Events) -> None:
    """Publish the order, fill, position and account events of `ib`."""
    ib.orderStatusEvent += lambda trade: events.publish("order", order_changed(trade))
    ib.execDetailsEvent += lambda trade, fill: events.publish("fill", fill_made(trade, fill))
    ib.positionEvent += lambda position: events.publish("position", position_changed(position))
    ib.accountValueEvent += lambda value: events.publish("account", account_changed(value))


def order_changed(trade: Trade) -> OrderChanged:
    """Return the payload for a changed order."""
    order, status = trade.order, trade.orderStatus
    return OrderChanged(
        ts=clock.now(),
        order_id=order.orderId,
        perm_id=order.permId or status.permId,
        order_ref=order.orderRef,
        contract=trade.contract,
        status=status.status,
        filled=float(status.filled),
        remaining=float(status.remaining),
        average_price=float(status.avgFillPrice),
    )


def fill_made(trade: Trade, fill: Fill) -> FillMade:
    """Return the payload for an execution."""
    done = fill.execution
    return FillMade(
        ts=done.time or clock.now(),
        exec_id=done.execId,
        order_id=done.orderId,
        perm_id=done.permId,
        order_ref=done.orderRef or trade.order.orderRef,
        account=done.acctNumber,
        contract=fill.contract,
        action=ACTIONS.get(done.side, done.side),
        quantity=float(done.shares),
        price=float(done.price),
    )


def position_changed(position: Position) -> PositionChanged:
    """Return the payload for a position."""
    return PositionChanged(
        ts=clock.now(),
        account=position.account,
        contract=position.contract,
        position=float(position.position),
        average_cost=float(position.avgCost),
    )


def account_changed(value: AccountValue) -> AccountChanged:
    """Return the payload for an account value."""
    return AccountChanged(
        ts=clock.now(),
        account=value.account,
        tag=value.tag,
        value=value.value,
        currency=value.currency,
    )
