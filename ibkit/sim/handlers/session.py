"""Requests about the connection itself, and those that are answered with little or nothing.

Not here: START_API, which opens the door (`ibkit.sim.server`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim.handlers.refusal import RefusedError
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client

LOG_LEVELS: Final = range(1, 6)
DISPLAY_GROUPS: Final = "|".join(str(group) for group in range(1, 8))


def req_ids(client: Client, _values: Record) -> None:
    """Answer with the first unused order id; the number asked for is ignored."""
    client.send(r.NEXT_VALID_ID, order_id=client.next_valid_id)


def req_current_time(client: Client, _values: Record) -> None:
    """Answer with the gateway's time."""
    client.send(r.CURRENT_TIME, time=int(client.gateway.clock.now()))


def req_managed_accts(client: Client, _values: Record) -> None:
    """Answer with the account list."""
    client.send(r.MANAGED_ACCOUNTS, accounts=client.gateway.account.account_id)


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


def accept(_client: Client, _values: Record) -> None:
    """Accept silently what a real gateway accepts silently."""


SILENT: Final = (
    "cancel_news_bulletins",
    "req_news_bulletins",
    "cancel_wsh_meta_data",
    "cancel_wsh_event_data",
    "cancel_fundamental_data",
    "cancel_calculate_implied_volatility",
    "cancel_calculate_option_price",
    "update_display_group",
    "unsubscribe_from_group_events",
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
    **dict.fromkeys(SILENT, accept),
}
