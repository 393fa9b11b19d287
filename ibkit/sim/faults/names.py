"""What people call requests and replies: IB's camelCase, our snake_case, or a class of them.

Not here: the messages themselves (`ibkit.sim.wire`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.errors import SimulationError
from ibkit.sim.wire import REPLIES, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Mapping

# requests by what serves them upstream; "all" is added below
CLASSES: Final[Mapping[str, frozenset[str]]] = {
    "market_data": frozenset({
        "req_mkt_data", "req_mkt_depth", "req_tick_by_tick_data", "req_real_time_bars",
        "req_smart_components", "req_mkt_depth_exchanges", "calculate_implied_volatility",
        "calculate_option_price",
    }),
    "historical": frozenset({
        "req_historical_data", "req_head_time_stamp", "req_histogram_data", "req_historical_ticks",
        "req_fundamental_data", "req_historical_news",
    }),
    "contracts": frozenset({
        "req_contract_details", "req_matching_symbols", "req_sec_def_opt_params",
        "req_market_rule",
    }),
    "orders": frozenset({
        "place_order", "cancel_order", "req_global_cancel", "exercise_options",
    }),
    "order_state": frozenset({
        "req_open_orders", "req_all_open_orders", "req_auto_open_orders", "req_completed_orders",
        "req_executions",
    }),
    "account": frozenset({
        "req_account_updates", "req_account_updates_multi", "req_account_summary",
        "req_positions", "req_positions_multi", "req_pnl", "req_pnl_single",
    }),
    "reference": frozenset({
        "req_scanner_parameters", "req_scanner_subscription", "req_news_providers",
        "req_news_article", "req_wsh_meta_data", "req_wsh_event_data",
    }),
}  # fmt: skip
REQUEST_NAMES: Final = frozenset(message.name for message in REQUESTS.values())
REPLY_NAMES: Final = frozenset(message.name for message in REPLIES.values())
# what the clients' callbacks are called where the message has another name
ALIASES: Final = {
    "exec": "exec_details",
    "tickoptioncomputation": "tick_option_computation",
    "updateaccountvalue": "account_value",
    "updateportfolio": "portfolio_value",
    "updateaccounttime": "account_update_time",
    "accountdownloadend": "account_download_end",
    "updatemktdepth": "mkt_depth",
    "updatemktdepthl2": "mkt_depth_l2",
    "historicaldataupdate": "historical_data_update",
    "securitydefinitionoptionparameter": "sec_def_opt_params",
    "securitydefinitionoptionparameterend": "sec_def_opt_params_end",
    "tickbytickalllast": "tick_by_tick",
    "tickbytickbidask": "tick_by_tick",
    "tickbytickmidpoint": "tick_by_tick",
    "updatenewsbulletin": "news_bulletin",
    "startapi": "start_api",
    "reqheadtimestamp": "req_head_time_stamp",
    "requserinfo": "req_user_info",
}
PUSHED: Final = frozenset({
    "tick_price", "tick_size", "tick_option_computation", "tick_generic", "tick_string",
    "tick_efp", "tick_news", "mkt_depth", "mkt_depth_l2", "realtime_bar", "tick_by_tick",
    "historical_data_update",
})  # fmt: skip
OF_ORDERS: Final = frozenset({"open_order", "order_status", "exec_details", "commission_report"})


def requests_named(name: str) -> frozenset[str]:
    """Return the requests that a name means: one, a class of them, or all.

    >>> sorted(requests_named("reqHistoricalData")), "place_order" in requests_named("orders")
    (['req_historical_data'], True)
    """
    if name == "all":
        return REQUEST_NAMES - {"start_api"}
    if name in CLASSES:
        return CLASSES[name]
    return frozenset({_find(name, REQUEST_NAMES, "request", (*CLASSES, "all"))})


def replies_named(name: str) -> frozenset[str]:
    """Return the replies that a name means: one, or all.

    >>> sorted(replies_named("execDetailsEnd"))
    ['exec_details_end']
    """
    if name == "all":
        return REPLY_NAMES
    return frozenset({_find(name, REPLY_NAMES, "reply", ("all",))})


def is_reply(name: str) -> bool:
    """Whether a name is that of one reply."""
    try:
        replies_named(name)
    except ValueError:
        return False
    return True


def _find(name: str, known: frozenset[str], what: str, more: tuple[str, ...]) -> str:
    squeezed = name.replace("_", "").lower()
    found = [one for one in known if one.replace("_", "") == squeezed]
    if not found and ALIASES.get(squeezed) in known:
        found = [ALIASES[squeezed]]
    if not found:
        near = [one for one in sorted(known) if squeezed in one.replace("_", "")][:5]
        hint = ", ".join([*near, *more])
        raise SimulationError(f"no {what} is called {name!r}; try one of {hint}")
    return found[0]
