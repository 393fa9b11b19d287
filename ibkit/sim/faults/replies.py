"""What armed faults do with a message on its way out: hold, repeat, delay or spoil it.

An effect gets one message and returns those that go on now. Not here: bytes (`pieces`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ibkit.sim.faults.farms import is_market_data, line_farm
from ibkit.sim.faults.names import OF_ORDERS, PUSHED, replies_named
from ibkit.sim.wire.frames import pack

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.faults.injector import Fault, Faults

Frame = tuple[str, list[str]]
Effect = Callable[["Fault", "Faults", "Client", Frame], list[Frame]]

UNVERSIONED: Final = frozenset({"tick_option_computation", "tick_by_tick", "tick_news"})
DONE: Final = frozenset({"Filled", "Cancelled", "ApiCancelled", "Inactive"})


def hits(fault: Fault, client: Client, name: str) -> bool:
    """Whether a fault with a parameter `message` strikes this one."""
    return name in replies_named(fault["message"]) and fault.strikes(client)


def withhold(fault: Fault, _faults: Faults, client: Client, frame: Frame) -> list[Frame]:
    """Send nothing."""
    return [] if hits(fault, client, frame[0]) else [frame]


def duplicate(fault: Fault, _faults: Faults, client: Client, frame: Frame) -> list[Frame]:
    """Send it more than once."""
    return [frame] * (1 + fault["copies"]) if hits(fault, client, frame[0]) else [frame]


def late(fault: Fault, faults: Faults, client: Client, frame: Frame) -> list[Frame]:
    """Send it later; what follows it overtakes it."""
    if not hits(fault, client, frame[0]):
        return [frame]
    send_later(faults, client, [frame], fault["seconds"])
    return []


def send_later(faults: Faults, client: Client, frames: list[Frame], seconds: float) -> None:
    """Send messages when so many seconds have passed, past all other faults."""

    def act() -> None:
        for _, fields in frames:
            if not client.is_closing():
                client.write(pack(fields))

    faults.later(seconds, act)


def late_execution(fault: Fault, faults: Faults, client: Client, frame: Frame) -> list[Frame]:
    """Keep executions and their costs until their order is done, then send them after that."""
    name, fields = frame
    held: dict[str, list[Frame]] = fault.kept.setdefault(client, {})
    if name == "exec_details" and fields[1] == "-1":
        if fault.strikes(client):
            held.setdefault(fields[2], []).append(frame)
            return []
    elif name == "commission_report":
        order = next((key for key, kept in held.items() if _has(kept, fields[2])), None)
        if order is not None:
            held[order].append(frame)
            return []
    elif name == "order_status" and fields[2] in DONE and fields[1] in held:
        _release(fault, faults, client, fields[1])
    return [frame]


def _release(fault: Fault, faults: Faults, client: Client, order: str) -> None:
    """Send what was kept of an order once the rest of its messages is out."""

    def act() -> None:
        frames = fault.kept.get(client, {}).pop(order, [])
        if frames:
            send_later(faults, client, frames, fault["seconds"])

    faults.later(0, act)


def _has(kept: list[Frame], exec_id: str) -> bool:
    """Whether an execution of this id is among what is kept."""
    return any(name == "exec_details" and exec_id in fields for name, fields in kept)


def corrupt_field(fault: Fault, _faults: Faults, client: Client, frame: Frame) -> list[Frame]:
    """Replace, leave out or add a field; any of them when none is named."""
    name, fields = frame
    if not hits(fault, client, name):
        return [frame]
    at = fault["field"] if fault["field"] > 0 else fault.dice.randrange(1, max(2, len(fields)))
    spoilt = list(fields)
    if fault["how"] == "drop":
        del spoilt[at : at + 1]
    elif fault["how"] == "add":
        spoilt.insert(at, fault["value"])
    elif at < len(spoilt):
        spoilt[at] = fault["value"]
    return [(name, spoilt)]


# --- the service behind -------------------------------------------------------------------------


def link_lost(fault: Fault, faults: Faults, client: Client, frame: Frame) -> list[Frame]:
    """Stop the streams; keep what happens to orders until the link is back."""
    if frame[0] in PUSHED:
        return []
    if frame[0] in OF_ORDERS and not faults.answering:  # lists of orders are the gateway's own
        fault.kept.setdefault("told", []).append((client, frame))
        return []
    return [frame]


def farm_down(fault: Fault, _faults: Faults, client: Client, frame: Frame) -> list[Frame]:
    """Stop the streams of a farm."""
    name, fields = frame
    if name not in PUSHED or not is_market_data(fault["farm"]):
        return [frame]
    req_id = fields[1] if name in UNVERSIONED else fields[2]
    mine = req_id.isdecimal() and line_farm(client, int(req_id)) == fault["farm"]
    return [] if mine else [frame]


def competing(_fault: Fault, _faults: Faults, _client: Client, frame: Frame) -> list[Frame]:
    """Stop the ticks."""
    return [] if frame[0] in PUSHED - {"historical_data_update"} else [frame]


EFFECTS: Final[Mapping[str, Effect]] = {
    "withhold": withhold,
    "duplicate": duplicate,
    "late": late,
    "late_execution": late_execution,
    "corrupt_field": corrupt_field,
    "link_lost": link_lost,
    "farm_down": farm_down,
    "competing_session": competing,
}
