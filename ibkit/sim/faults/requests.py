"""What armed faults do with a request that was heard: let it pass, refuse, delay or swallow it.

An effect returns whether the request goes on. Not here: what is sent (`replies`, `pieces`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ibkit.sim.faults.farms import farm_of, wakes
from ibkit.sim.faults.names import CLASSES, requests_named

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.faults.injector import Fault, Faults
    from ibkit.sim.wire import Record

Effect = Callable[["Fault", "Faults", "Client", str, "Record"], bool]

HMDS: Final = "Historical Market Data Service error message:"
PROCESSING: Final = "Error processing request.-'bM' : cause - "
DUPLICATE: Final = "Duplicate ticker ID for API historical query"
PACING: Final = HMDS + "Historical data request pacing violation"
READ_ONLY: Final = (
    "Error validating request.-'bW' : cause - The API interface is currently in Read-Only mode."
)
PRESET: Final = "Order TIF was set to {tif} based on order preset."
COMPETING: Final = "No market data during competing live session"
UPSTREAM: Final = frozenset().union(
    *(CLASSES[name] for name in ("market_data", "historical", "contracts", "reference"))
)
WRITES: Final = CLASSES["orders"] | {
    "req_open_orders",
    "req_all_open_orders",
    "req_auto_open_orders",
    "req_completed_orders",
}


def about(values: Record) -> int:
    """Return the id that an error about a request carries."""
    found = values.get("req_id", values.get("order_id"))
    return -1 if found is None else int(found)


def refuse(client: Client, values: Record, code: int, text: str) -> bool:
    """Refuse a request; it does not go on."""
    client.error(about(values), code, text)
    return False


def hits(fault: Fault, client: Client, name: str) -> bool:
    """Whether a fault with a parameter `request` strikes this one."""
    return name in requests_named(fault["request"]) and fault.strikes(client)


def ignore(fault: Fault, faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Swallow a request; one for history stays open until it is cancelled."""
    if not hits(fault, client, name):
        return True
    if name in CLASSES["historical"] and fits(client, values):
        faults.open.add((client, about(values)))
    return False


def slow(fault: Fault, faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Answer a request later."""
    if not hits(fault, client, name):
        return True
    seconds = fault["seconds"] + fault.dice.random() * fault["jitter_s"]
    later(faults, client, name, values, seconds)
    return False


def later(faults: Faults, client: Client, name: str, values: Record, seconds: float) -> None:
    """Hand a request to its handler in so many seconds, unless its client has left by then.

    A request for history is open meanwhile: it counts against what may be, and can be cancelled.
    """
    slot, counts = (client, about(values)), name in CLASSES["historical"]
    if counts:
        if not fits(client, values):
            return
        faults.open.add(slot)

    def act() -> None:
        cancelled = counts and slot not in faults.open
        faults.open.discard(slot)
        if not (cancelled or client.is_closing()):
            faults.gateway.handle(client, name, values)

    faults.later(seconds, act)


def fits(client: Client, values: Record) -> bool:
    """Whether one more request for history may be open; if not, the client is told."""
    if client.gateway.faults.is_open(client, about(values)):
        return refuse(client, values, 386, DUPLICATE)
    if client.gateway.limits.room_for_history(client.open_history):
        return True
    return refuse(client, values, 322, PROCESSING + client.gateway.limits.too_much_history)


def reject(fault: Fault, _faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Refuse a request with any code."""
    if not hits(fault, client, name):
        return True
    return refuse(client, values, fault["code"], fault["text"])


# --- history ------------------------------------------------------------------------------------


def pacing_violation(
    fault: Fault, _faults: Faults, client: Client, name: str, values: Record
) -> bool:
    """Say that requests come too fast."""
    return not hits(fault, client, name) or refuse(client, values, 162, PACING)


def max_open(fault: Fault, faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Refuse one request for history too many; bars kept up to date hold a place too."""
    if name not in CLASSES["historical"]:
        return True
    kept = sum(len(one.streams.bars) for one in faults.gateway.clients.values())
    if len(faults.open) + kept < fault["limit"] or not fault.strikes(client):
        return True
    return refuse(client, values, 162, HMDS + "Max number of historical data requests exceeded")


# --- market data --------------------------------------------------------------------------------


def max_lines(fault: Fault, faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Refuse one line too many; the lines of all clients count."""
    if name != "req_mkt_data" or values.get("snapshot"):
        return True
    lines = sum(len(one.streams.quotes) for one in faults.gateway.clients.values())
    if lines < fault["limit"] or not fault.strikes(client):
        return True
    return refuse(client, values, 101, "Max number of tickers has been reached.")


def competing(fault: Fault, _faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Tell a new line that another session has the data; the line stays."""
    if name == "req_mkt_data" and fault.strikes(client):
        client.error(values["req_id"], 10197, COMPETING)
    return True


# --- the service behind -------------------------------------------------------------------------


def link_lost(fault: Fault, _faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Swallow what needs IBKR; orders and cancels wait until the link is back."""
    if name in CLASSES["orders"]:
        fault.kept.setdefault("orders", []).append((client, name, values))
        return False
    return name not in UPSTREAM


def farm_down(fault: Fault, faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Swallow what a broken farm would serve."""
    return farm_of(faults.gateway, name, values) != fault["farm"] or not fault.strikes(client)


def farm_asleep(fault: Fault, faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Swallow the request that wakes a farm."""
    if farm_of(faults.gateway, name, values) != fault["farm"] or not fault.strikes(client):
        return True
    for code, text in wakes(fault["farm"]):
        for one in faults.gateway.clients.values():
            one.error(-1, code, text)
    faults.disarm(fault)
    return False


# --- orders -------------------------------------------------------------------------------------


def read_only(fault: Fault, _faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Refuse orders, and lists of them."""
    if name not in WRITES or not fault.strikes(client):
        return True
    return refuse(client, values, 321, READ_ONLY)


def order_rejected(fault: Fault, faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Have the broker refuse a new order: it becomes Inactive, and is told why."""
    if name == "place_order" and not values["what_if"] and fault.strikes(client):
        key = client.client_id, values["order_id"]
        faults.gateway.exchange.vetoes[key] = fault["reason"]
    return True


def preset(fault: Fault, faults: Faults, client: Client, name: str, values: Record) -> bool:
    """Give an order a time in force, and say so after it was taken."""
    if name != "place_order" or not (fault["always"] or not values["tif"]):
        return True
    if values["tif"] == fault["tif"] or not fault.strikes(client):
        return True
    values["tif"] = fault["tif"]
    faults.gateway.handle(client, name, values)
    client.error(values["order_id"], 10349, PRESET.format(tif=fault["tif"]))
    return False


# asked in this order: what refuses comes before what delays
EFFECTS: Final[Mapping[str, Effect]] = {
    "half_open": lambda fault, _faults, client, _name, _values: not fault.concerns(client),
    "link_lost": link_lost,
    "farm_down": farm_down,
    "farm_asleep": farm_asleep,
    "read_only": read_only,
    "pacing_violation": pacing_violation,
    "max_open": max_open,
    "max_lines": max_lines,
    "reject": reject,
    "competing_session": competing,
    "order_rejected": order_rejected,
    "ignore": ignore,
    "preset": preset,
    "slow": slow,
}
