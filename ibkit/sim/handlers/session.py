"""Requests about the connection itself, and those that are answered with little or nothing.

Not here: START_API, which opens the door (`ibkit.sim.server`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client

LOG_LEVELS: Final = range(1, 6)
GROUPS: Final = range(1, 8)
DISPLAY_GROUPS: Final = "|".join(str(group) for group in GROUPS)


def req_ids(client: Client, _values: Record) -> None:
    """Answer with the first unused order id; the number asked for is ignored."""
    client.send(r.NEXT_VALID_ID, order_id=client.next_valid_id)


def req_current_time(client: Client, _values: Record) -> None:
    """Answer with the gateway's time."""
    client.send(r.CURRENT_TIME, time=int(client.gateway.clock.now()))


def req_managed_accts(client: Client, _values: Record) -> None:
    """Answer with the account list."""
    client.send(r.MANAGED_ACCOUNTS, accounts=client.gateway.managed_accounts())


def set_server_log_level(_client: Client, values: Record) -> None:
    """Accept a level silently."""
    if values["level"] not in LOG_LEVELS:
        raise RefusedError(319, "Invalid log level")


def req_user_info(client: Client, values: Record) -> None:
    """Answer that the user is of no white brand."""
    client.send(r.USER_INFO, req_id=values["req_id"])


def req_family_codes(client: Client, _values: Record) -> None:
    """Answer with the one family that everybody without one gets."""
    client.send(r.FAMILY_CODES, codes=[("*", "")])


def req_soft_dollar_tiers(client: Client, values: Record) -> None:
    """Answer that there are none."""
    client.send(r.SOFT_DOLLAR_TIERS, req_id=values["req_id"])


def query_display_groups(client: Client, values: Record) -> None:
    """Answer with the groups of a TWS that has windows; this one has none behind them."""
    client.send(r.DISPLAY_GROUPS, req_id=values["req_id"], groups=DISPLAY_GROUPS)


def subscribe_to_group_events(client: Client, values: Record) -> None:
    """Answer with the contract that a group shows, now and whenever it changes."""
    if values["group"] not in GROUPS:
        raise invalid(f"Invalid group {values['group']}")
    client.streams.groups[values["req_id"]] = values["group"]
    shown = client.gateway.display_groups.get(values["group"], "none")
    client.send(r.DISPLAY_GROUP, req_id=values["req_id"], contract_info=shown)


def update_display_group(client: Client, values: Record) -> None:
    """Let a group show another contract, and tell everybody who watches it."""
    group = client.streams.groups.get(values["req_id"])
    if group is None:
        raise invalid(f"No subscription to a group has the id {values['req_id']}")
    client.gateway.display_groups[group] = values["contract_info"]
    for other in tuple(client.gateway.clients.values()):
        for req_id, watched in other.streams.groups.items():
            if watched == group:
                other.send(r.DISPLAY_GROUP, req_id=req_id, contract_info=values["contract_info"])


def unsubscribe_from_group_events(client: Client, values: Record) -> None:
    """Stop, silently."""
    client.streams.groups.pop(values["req_id"], None)


def accept(_client: Client, _values: Record) -> None:
    """Accept silently what a real gateway accepts silently."""


SILENT: Final = (
    "cancel_fundamental_data",
    "verify_request",
    "verify_message",
    "verify_and_auth_request",
    "verify_and_auth_message",
)
HANDLERS: Final = {
    "req_ids": req_ids,
    "req_current_time": req_current_time,
    "req_managed_accts": req_managed_accts,
    "set_server_log_level": set_server_log_level,
    "req_user_info": req_user_info,
    "req_family_codes": req_family_codes,
    "req_soft_dollar_tiers": req_soft_dollar_tiers,
    "query_display_groups": query_display_groups,
    "subscribe_to_group_events": subscribe_to_group_events,
    "update_display_group": update_display_group,
    "unsubscribe_from_group_events": unsubscribe_from_group_events,
    **dict.fromkeys(SILENT, accept),
}
