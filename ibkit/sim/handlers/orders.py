"""Requests about orders, and the messages that an order's life makes.

Not here: matching and the rules of an order's life (`ibkit.sim.exchange`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ibkit.sim import echo, times
from ibkit.sim.exchange import (
    Commission,
    Event,
    Execution,
    OrderState,
    Refused,
)
from ibkit.sim.handlers import accounts
from ibkit.sim.handlers.reading import read_order
from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.wire import REQUESTS, Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.sim.clients import Client
    from ibkit.sim.exchange import Fill, OrderRequest, WorkingOrder
    from ibkit.sim.server import Gateway

UNSOLICITED: Final = -1
HAND: Final = 0  # the client that hears of orders placed by hand
PLACE_ORDER: Final = 3


def place_order(client: Client, values: Record) -> None:
    """Place, amend or only price an order."""
    gateway, order_id = client.gateway, values["order_id"]
    client.note_order_id(order_id)
    request = read_order(client, values)
    if not values["what_if"]:
        catch_up(gateway)
        dispatch(gateway, gateway.exchange.place(request, gateway.clock.now()))
        gateway.stream.wake()
        return
    if not values["transmit"]:
        raise RefusedError(413, "What-if order should have the transmit flag set to true.")
    send_what_if(client, request)


def send_what_if(client: Client, request: OrderRequest) -> None:
    """Answer with one openOrder that carries the margins and makes no order."""
    margins = client.gateway.exchange.what_if(request, client.gateway.clock.now())
    if isinstance(margins, Refused):
        raise RefusedError(margins.code, margins.text)
    client.send(r.OPEN_ORDER, echo.what_if(margins))


# --- from events to messages --------------------------------------------------------------------


def dispatch(gateway: Gateway, events: Iterable[Event]) -> None:
    """Send what happened to those whom it concerns, in the order in which it happened."""
    changed: set[tuple[str, int]] = set()
    for event in events:
        if isinstance(event, Refused):
            for client in listeners(gateway, event.client_id):
                client.error(event.order_id, event.code, event.text)
            continue
        if isinstance(event, Execution):
            changed.add((event.fill.account, event.fill.instrument.con_id))
        for client in listeners(gateway, event.order.request.client_id):
            send_event(client, event)
    if changed:
        for client in gateway.clients.values():
            accounts.push_after_fill(client, changed)


def listeners(gateway: Gateway, client_id: int) -> list[Client]:
    """Return who hears of a client's orders: that client, and the master if there is one."""
    wanted = dict.fromkeys((client_id, gateway.master_client_id))
    return [gateway.clients[one] for one in wanted if one in gateway.clients]


def catch_up(gateway: Gateway) -> None:
    """Let the exchange live up to now before it hears anything new."""
    dispatch(gateway, gateway.exchange.tick(gateway.clock.now()))


def send_event(client: Client, event: OrderState | Execution | Commission) -> None:
    """Send one event of an order's life."""
    if isinstance(event, OrderState):
        send_state(client, event.order, with_open_order=event.with_open_order)
    elif isinstance(event, Execution):
        send_execution(client, event.fill, UNSOLICITED)
    else:
        send_commission(client, event.fill)


def send_state(client: Client, order: WorkingOrder, *, with_open_order: bool = True) -> None:
    """Send the pair openOrder and orderStatus; a terminal cancel has only the second."""
    shown = by_hand(client.gateway, order.request.order_id)
    if with_open_order:
        client.send(r.OPEN_ORDER, echo.open_order(order), **shown)
    client.send(r.ORDER_STATUS, echo.status(order), **shown)


def send_execution(client: Client, fill: Fill, req_id: int) -> None:
    """Send an execution, as a push or as the answer to a request."""
    shown = by_hand(client.gateway, fill.order_id)
    client.send(r.EXEC_DETAILS, echo.execution(fill), req_id=req_id, **shown)


def send_commission(client: Client, fill: Fill) -> None:
    """Send what an execution cost."""
    client.send(r.COMMISSION_REPORT, echo.commission(fill))


# --- the other requests -------------------------------------------------------------------------


def cancel_order(client: Client, values: Record) -> None:
    """Cancel an order."""
    gateway = client.gateway
    catch_up(gateway)
    events = gateway.exchange.cancel(client.client_id, values["order_id"], gateway.clock.now())
    dispatch(gateway, events)
    for event in events:
        tell_canceller(client, event)


def tell_canceller(client: Client, event: Event) -> None:
    """Tell whoever cancelled another client's order, as if it were the owner."""
    if isinstance(event, Refused):
        if event.client_id != client.client_id:
            client.error(event.order_id, event.code, event.text)
    elif event.order.request.client_id != client.client_id:
        client.send(r.ORDER_STATUS, echo.status(event.order), client_id=client.client_id)


def req_global_cancel(client: Client, _values: Record) -> None:
    """Cancel every order of every client."""
    gateway = client.gateway
    catch_up(gateway)
    dispatch(gateway, gateway.exchange.cancel_all(gateway.clock.now()))


def req_open_orders(client: Client, _values: Record) -> None:
    """Answer with the client's own working orders."""
    for order in client.gateway.exchange.working():
        if order.request.client_id == client.client_id:
            send_state(client, order)
    client.send(r.OPEN_ORDER_END)


def req_all_open_orders(client: Client, _values: Record) -> None:
    """Answer with everybody's working orders."""
    for order in client.gateway.exchange.working():
        send_state(client, order)
    client.send(r.OPEN_ORDER_END)


def req_auto_open_orders(client: Client, values: Record) -> None:
    """Give orders placed by hand a number of client 0, now and from now on; for client 0 alone."""
    if client.client_id != HAND:
        raise RefusedError(
            327,
            "Only API connections with clientId set to 0 can set the auto bind TWS orders "
            "property.",
        )
    gateway = client.gateway
    gateway.auto_bind = values["auto_bind"]
    if gateway.auto_bind:
        for order in gateway.exchange.working():
            bind(gateway, order)


# --- orders placed by hand, as in the window of a TWS -------------------------------------------


def by_hand(gateway: Gateway, order_id: int) -> Record:
    """Return what is told instead of an order's number: 0 for one by hand that is not bound."""
    return {"order_id": 0} if order_id < 0 and order_id not in gateway.bound else {}


def bind(gateway: Gateway, order: WorkingOrder) -> None:
    """Tell client 0 the number under which it may change an order that was placed by hand."""
    request, owner = order.request, gateway.clients.get(HAND)
    if owner is None or request.order_id >= 0 or request.order_id in gateway.bound:
        return
    gateway.bound.add(request.order_id)
    owner.send(r.ORDER_BOUND, perm_id=order.perm_id, client_id=HAND, order_id=request.order_id)
    send_state(owner, order)


def place_by_hand(gateway: Gateway, values: Record) -> int:
    """Place an order as somebody at the screen of a TWS would; return its (negative) number.

    Client 0 hears of it: under the number 0, or under its own once bound (`req_auto_open_orders`).
    `values` are those of a `place_order` message, without the number.
    """
    gateway.hand_orders += 1
    order_id = -gateway.hand_orders
    message = REQUESTS[PLACE_ORDER]
    whole = message.decode(message.fields({**values, "order_id": order_id}))
    hand = Hand(gateway)
    request = read_order(hand, whole)  # type: ignore[arg-type]  # it reads no more than Hand has
    dispatch(gateway, gateway.exchange.place(request, gateway.clock.now()))
    gateway.stream.wake()
    if gateway.auto_bind:
        for order in gateway.exchange.working():
            bind(gateway, order)
    return order_id


@dataclass(frozen=True, slots=True)
class Hand:
    """Whoever sits at the screen: places orders in the name of client 0."""

    gateway: Gateway
    client_id: int = 0

    def error(self, _about: int, _code: int, _text: str) -> None:
        """See a message on the screen."""


def req_completed_orders(client: Client, _values: Record) -> None:
    """Answer with what was filled or cancelled today."""
    for order in client.gateway.exchange.completed():
        client.send(r.COMPLETED_ORDER, echo.completed_order(order))
    client.send(r.COMPLETED_ORDERS_END)


def req_executions(client: Client, values: Record) -> None:
    """Answer with the executions that pass the filter; each is followed by its commission."""
    since = execution_time(values["time"])
    for fill in client.gateway.exchange.executions():
        if fill.time >= since and passes(fill, values):
            send_execution(client, fill, values["req_id"])
            if fill.instrument.sec_type != "BAG":  # its legs have them
                send_commission(client, fill)
    client.send(r.EXEC_DETAILS_END, req_id=values["req_id"])


def execution_time(text: str) -> float:
    """Return the earliest time that a filter lets through."""
    if not text:
        return 0.0
    try:
        return times.parse_time(text, "UTC")[0]
    except times.TimeTextError as error:
        raise invalid(f"Invalid time of the execution filter: {error}") from None


def passes(fill: Fill, values: Record) -> bool:
    """Whether an execution passes a filter; empty and 0 let everything through."""
    wanted = (
        (values["client_id"], fill.client_id),
        (values["account"], fill.account),
        (values["symbol"], fill.instrument.symbol),
        (values["sec_type"], fill.instrument.sec_type),
        (values["exchange"], fill.exchange),
        ({"BUY": "BOT", "SELL": "SLD"}.get(values["side"], values["side"]), fill.side),
    )
    return all(not wish or wish == has for wish, has in wanted)


HANDLERS: Final = {
    "place_order": place_order,
    "cancel_order": cancel_order,
    "req_global_cancel": req_global_cancel,
    "req_open_orders": req_open_orders,
    "req_all_open_orders": req_all_open_orders,
    "req_auto_open_orders": req_auto_open_orders,
    "req_completed_orders": req_completed_orders,
    "req_executions": req_executions,
}
