"""What the gateway itself goes through: its port, its link to IBKR, its farms, a restart.

Events happen once, when they are armed; a state begins when it is armed and ends when it is
disarmed. Not here: what such a state does to messages (`requests`, `replies`).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ibkit.sim.faults import farms
from ibkit.sim.faults.requests import COMPETING
from ibkit.sim.wire.frames import pack

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.faults.injector import Fault, Faults

Act = Callable[["Faults", "Fault"], None]

NOTICE: Final = -1
LOST: Final = "Connectivity between IBKR and Trader Workstation has been lost."
BACK: Final = "Connectivity between IBKR and Trader Workstation has been restored - "
KEPT: Final = "data maintained. All data farms are connected: usfarm; ushmds; secdefnj."
MOVED: Final = (
    "TWS socket port has been reset and this connection is being dropped. "
    "Please reconnect on the new port -{port}"
)
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: the peer gets RST


def concerned(faults: Faults, fault: Fault) -> list[Client]:
    """Return the connected clients that a fault is about."""
    return [
        one
        for one in tuple(faults.gateway.clients.values())
        if fault.client in {None, one.client_id}
    ]


def tell_all(faults: Faults, fault: Fault, code: int, text: str) -> None:
    """Send a system message."""
    for client in concerned(faults, fault):
        client.error(NOTICE, code, text)


# --- events -------------------------------------------------------------------------------------


def drop(faults: Faults, fault: Fault) -> None:
    """Hang up."""
    for client in concerned(faults, fault):
        if fault["reset"]:
            sock = client.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.abort()
        else:
            client.close()


def restart(faults: Faults, fault: Fault) -> None:
    """Close everything, stay away, come back with what is kept."""
    gateway = faults.gateway
    gateway.close_port()
    gateway.drop_clients()
    if not fault["keep_day_orders"]:
        gateway.exchange.end_day(gateway.clock.now())
    faults.later(fault["down_s"], lambda: faults.spawn(gateway.open_port()))


def roll_back_ids(faults: Faults, fault: Fault) -> None:
    """Count order ids anew; the clients that are connected are not told, as in life."""
    faults.gateway.reset_order_ids(fault["to"], fault.client)


def move_port(faults: Faults, fault: Fault) -> None:
    """Say that the port has moved, and hang up; this port goes on listening all the same."""
    tell_all(faults, fault, 1300, MOVED.format(port=fault["port"]))
    for client in concerned(faults, fault):
        client.close()


def notice(faults: Faults, fault: Fault) -> None:
    """Send any system message."""
    tell_all(faults, fault, fault["code"], fault["text"])


def close_lines(faults: Faults, fault: Fault) -> None:
    """End every market data line, and say 1101."""
    for client in concerned(faults, fault):
        streams = client.streams
        for lines in (
            streams.quotes,
            streams.bars,
            streams.real_time_bars,
            streams.ticks,
            streams.depth,
            streams.scanners,
        ):
            lines.clear()
    tell_all(faults, fault, 1101, BACK + "data lost.")


def nightly_reset(faults: Faults, fault: Fault) -> None:
    """Lose the link some times; the last time history and definitions are gone for as long."""
    length = fault["down_s"] + fault["up_s"]
    for flap in range(fault["flaps"]):
        faults.later(flap * length, lambda: _flap(faults, fault))


def _flap(faults: Faults, fault: Fault) -> None:
    """Lose the link and two farms for a while."""
    faults.arm("link_lost", client=fault.client, for_s=fault["down_s"])
    for farm in (farms.HMDS, farms.SECDEF):
        faults.arm(
            "farm_down", farm=farm, client=fault.client, for_s=fault["down_s"] + fault["up_s"] / 4
        )


# --- states -------------------------------------------------------------------------------------


def begin_refuse(faults: Faults, _fault: Fault) -> None:
    """Stop listening; those who are connected stay."""
    faults.gateway.close_port()


def end_refuse(faults: Faults, _fault: Fault) -> None:
    """Listen again."""
    if not faults.armed("refuse"):
        faults.spawn(faults.gateway.open_port())


def begin_greeting(faults: Faults, _fault: Fault) -> None:
    """Greet new sockets as the newest of such faults says."""
    kinds = [one.kind.name for one in faults.armed() if one.kind.name in {"silent", "hang_up"}]
    newest = kinds[-1] if kinds else ""
    faults.greeting = {"silent": "silent", "hang_up": "drop"}.get(newest, "serve")  # type: ignore[assignment]  # the three words of Greeting


def begin_link_lost(faults: Faults, fault: Fault) -> None:
    """Say that the link is gone."""
    tell_all(faults, fault, 1100, LOST)


def end_link_lost(faults: Faults, fault: Fault) -> None:
    """Say that the link is back, then tell what happened to orders, then place what waited."""
    if faults.armed("link_lost"):
        return
    if fault["data_lost"]:
        close_lines(faults, fault)
    else:
        tell_all(faults, fault, 1102, BACK + KEPT)
        refresh_lines(faults, fault)
    for client, (_, fields) in fault.kept.pop("told", []):
        if not client.is_closing():
            client.write(pack(fields))
    for client, name, values in fault.kept.pop("orders", []):
        if not client.is_closing():
            faults.gateway.handle(client, name, values)


def begin_farm_down(faults: Faults, fault: Fault) -> None:
    """Say that a farm is gone."""
    tell_all(faults, fault, *farms.broken(fault["farm"]))


def end_farm_down(faults: Faults, fault: Fault) -> None:
    """Say that a farm is back."""
    tell_all(faults, fault, *farms.restored(fault["farm"]))
    if farms.is_market_data(fault["farm"]):
        refresh_lines(faults, fault, fault["farm"])


def begin_farm_asleep(faults: Faults, fault: Fault) -> None:
    """Say that a farm waits to be needed."""
    tell_all(faults, fault, *farms.asleep(fault["farm"]))


def begin_competing(faults: Faults, fault: Fault) -> None:
    """Tell every line that another session has the data."""
    for client in concerned(faults, fault):
        for req_id in client.streams.quotes:
            client.error(req_id, 10197, COMPETING)


def refresh_lines(faults: Faults, fault: Fault, farm: str = "") -> None:
    """Have the lines that were silent tell the whole quote anew."""
    from ibkit.sim.handlers import lines

    for client in concerned(faults, fault):
        for req_id, line in client.streams.quotes.items():
            if not farm or farms.line_farm(client, req_id) == farm:
                line.silent = True
                lines.retell(client, line)


# --- client ids ---------------------------------------------------------------------------------


def left(faults: Faults, client: Client) -> None:
    """Keep the id of a client that has left, if a fault says so."""
    if client.client_id < 0:
        return
    for fault in faults.armed("linger"):
        if fault.strikes(client):
            fault.kept[client.client_id] = faults.gateway.clock.now() + fault["seconds"]


def holds_id(faults: Faults, client_id: int) -> bool:
    """Whether an id lingers."""
    now = faults.gateway.clock.now()
    return any(now < fault.kept.get(client_id, now) for fault in faults.armed("linger"))


EVENTS: Final[Mapping[str, Act]] = {
    "drop": drop,
    "restart": restart,
    "roll_back_ids": roll_back_ids,
    "move_port": move_port,
    "notice": notice,
    "close_lines": close_lines,
    "nightly_reset": nightly_reset,
}
BEGINS: Final[Mapping[str, Act]] = {
    "refuse": begin_refuse,
    "silent": begin_greeting,
    "hang_up": begin_greeting,
    "link_lost": begin_link_lost,
    "farm_down": begin_farm_down,
    "farm_asleep": begin_farm_asleep,
    "competing_session": begin_competing,
}
ENDS: Final[Mapping[str, Act]] = {
    "refuse": end_refuse,
    "silent": begin_greeting,
    "hang_up": begin_greeting,
    "link_lost": end_link_lost,
    "farm_down": end_farm_down,
    "competing_session": refresh_lines,
}
