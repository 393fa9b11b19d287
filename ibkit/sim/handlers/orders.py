"""Requests about orders, and the messages that an order's life makes.

Not here: matching and the rules of an order's life (`ibkit.sim.exchange`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim import echo, times
from ibkit.sim.exchange import (
    Commission,
    Event,
    Execution,
    OrderRequest,
    OrderState,
    Refused,
)
from ibkit.sim.handlers import accounts
from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.sim.clients import Client
    from ibkit.sim.exchange import Fill, WorkingOrder
    from ibkit.sim.server import Gateway

UNSOLICITED: Final = -1


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


def read_order(client: Client, values: Record) -> OrderRequest:
    """Return the order inside a request; its fields travel along for the echo."""
    if not values["total_quantity"]:
        raise RefusedError(434, "The order size cannot be zero.")
    if values["action"] not in {"BUY", "SELL", "SSHORT"}:
        raise invalid("Invalid order action was entered")
    account = values["account"] or client.gateway.account.account_id
    if account != client.gateway.account.account_id:
        raise invalid(f"Invalid account code '{account}'")
    return OrderRequest(
        client_id=client.client_id,
        order_id=values["order_id"],
        instrument=resolve(client.gateway, values),
        action=values["action"],
        quantity=values["total_quantity"],
        order_type=values["order_type"],
        lmt_price=values["lmt_price"],
        aux_price=values["aux_price"],
        tif=values["tif"] or "DAY",
        account=account,
        outside_rth=values["outside_rth"],
        oca_group=values["oca_group"],
        oca_type=values["oca_type"] or 0,
        parent_id=values["parent_id"] or 0,
        transmit=values["transmit"],
        what_if=values["what_if"],
        order_ref=values["order_ref"],
        good_till_date=values["good_till_date"],
        wire=values,
    )


def send_what_if(client: Client, request: OrderRequest) -> None:
    """Answer with one openOrder that carries the margins and makes no order."""
    margins = client.gateway.exchange.what_if(request, client.gateway.clock.now())
    if isinstance(margins, Refused):
        raise RefusedError(margins.code, margins.text)
    client.send(r.OPEN_ORDER, echo.what_if(request, margins))


# --- from events to messages --------------------------------------------------------------------


def dispatch(gateway: Gateway, events: Iterable[Event]) -> None:
    """Send what happened to those whom it concerns, in the order in which it happened."""
    filled = False
    for event in events:
        if isinstance(event, Refused):
            owner = gateway.clients.get(event.client_id)
            if owner is not None:
                owner.error(event.order_id, event.code, event.text)
            continue
        filled = filled or isinstance(event, Execution)
        owner = gateway.clients.get(event.order.request.client_id)
        if owner is not None:
            send_event(owner, event)
    if filled:
        for client in gateway.clients.values():
            accounts.push_after_fill(client)


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
    if with_open_order:
        client.send(r.OPEN_ORDER, echo.open_order(order))
    client.send(r.ORDER_STATUS, echo.status(order))


def send_execution(client: Client, fill: Fill, req_id: int) -> None:
    """Send an execution, as a push or as the answer to a request."""
    client.send(r.EXEC_DETAILS, echo.execution(fill), req_id=req_id)


def send_commission(client: Client, fill: Fill) -> None:
    """Send what an execution cost."""
    client.send(r.COMMISSION_REPORT, echo.commission(fill))


# --- the other requests -------------------------------------------------------------------------


def cancel_order(client: Client, values: Record) -> None:
    """Cancel an order."""
    gateway = client.gateway
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


def req_auto_open_orders(client: Client, _values: Record) -> None:
    """Accept from client 0 alone; nobody places orders by hand here."""
    if client.client_id != 0:
        raise RefusedError(
            327,
            "Only API connections with clientId set to 0 can set the auto bind TWS orders "
            "property.",
        )


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
