"""Every request that a client can send at server version 178: its number, name and fields.

Not here: what is done about it (`ibkit.sim.handlers`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from ibkit.sim.wire.blocks import (
    ALGO,
    CONDITIONS,
    CONTRACT,
    CONTRACT_11,
    DATA_LEGS,
    DELTA_NEUTRAL_CONTRACT,
    HEDGE,
    LEG_PRICES,
    LEGS,
    PEGGED_TO_BENCHMARK,
    ROUTING,
    SCALE,
    Values,
    is_bag,
)
from ibkit.sim.wire.fields import Fixed, Item, Message, Nested, When, flag, number, text, whole

REQ: Final = whole("req_id")


def versioned(version: int, *items: Item) -> tuple[Item, ...]:
    """Return a table that begins with a version."""
    return (Fixed(str(version)), *items)


def pegs(*types: str) -> frozenset[str]:
    """Return the spellings of pegged order types, with and without the blank."""
    return frozenset((*types, *(kind.replace(" ", "") for kind in types)))


PEG_BEST, PEG_MID = pegs("PEG BEST"), pegs("PEG MID")


def has_mid_offsets(values: Values) -> bool:
    """Whether the two offsets from the midpoint follow."""
    if values["order_type"] in PEG_BEST:
        return values.get("compete_against_best_offset") == Decimal("Infinity")
    return values["order_type"] in PEG_MID


PLACE_ORDER = Message(
    3,
    "place_order",
    (
        *whole("order_id"),
        CONTRACT,
        *text("sec_id_type sec_id action"),
        *number("total_quantity", unset=""),
        *text("order_type"),
        *number("lmt_price aux_price", unset=""),
        *text("tif oca_group account open_close"),
        *whole("origin", unset="0"),
        *text("order_ref"),
        *flag("transmit"),
        *whole("parent_id", unset="0"),
        *flag("block_order sweep_to_fill"),
        *whole("display_size", unset=""),
        *whole("trigger_method", unset="0"),
        *flag("outside_rth hidden"),
        When(is_bag, (LEGS, LEG_PRICES, ROUTING)),
        Fixed(""),  # once sharesAllocation
        *number("discretionary_amt", unset="0.0"),
        *text("good_after_time good_till_date fa_group fa_method fa_percentage model_code"),
        *whole("short_sale_slot", unset="0"),
        *text("designated_location"),
        *whole("exempt_code", unset="-1"),
        *whole("oca_type", unset="0"),
        *text("rule_80a settling_firm"),
        *flag("all_or_none"),
        *whole("min_qty", unset=""),
        *number("percent_offset", unset=""),
        *flag("e_trade_only firm_quote_only"),
        *number("nbbo_price_cap", unset=""),
        *whole("auction_strategy", unset="0"),
        *number("starting_price stock_ref_price delta", unset=""),
        *number("stock_range_lower stock_range_upper", unset=""),
        *flag("override_percentage_constraints"),
        *number("volatility", unset=""),
        *whole("volatility_type", unset=""),
        *text("delta_neutral_order_type"),
        *number("delta_neutral_aux_price", unset=""),
        When(
            lambda values: values.get("delta_neutral_order_type"),
            (
                *whole("delta_neutral_con_id", unset="0"),
                *text("delta_neutral_settling_firm delta_neutral_clearing_account"),
                *text("delta_neutral_clearing_intent delta_neutral_open_close"),
                *flag("delta_neutral_short_sale"),
                *whole("delta_neutral_short_sale_slot", unset="0"),
                *text("delta_neutral_designated_location"),
            ),
        ),
        *flag("continuous_update"),
        *whole("reference_price_type", unset=""),
        *number("trail_stop_price trailing_percent", unset=""),
        *whole("scale_init_level_size scale_subs_level_size", unset=""),
        *number("scale_price_increment", unset=""),
        SCALE,
        *text("scale_table active_start_time active_stop_time"),
        *HEDGE,
        *flag("opt_out_smart_routing"),
        *text("clearing_account clearing_intent"),
        *flag("not_held"),
        *DELTA_NEUTRAL_CONTRACT,
        *ALGO,
        *text("algo_id"),
        *flag("what_if"),
        *text("order_misc_options"),
        *flag("solicited randomize_size randomize_price"),
        PEGGED_TO_BENCHMARK,
        *CONDITIONS,
        *text("adjusted_order_type"),
        *number("trigger_price lmt_price_offset adjusted_stop_price", unset=""),
        *number("adjusted_stop_limit_price adjusted_trailing_amount", unset=""),
        *whole("adjustable_trailing_unit", unset="0"),
        *text("ext_operator soft_dollar_name soft_dollar_value"),
        *number("cash_qty", unset=""),
        *text("mifid2_decision_maker mifid2_decision_algo"),
        *text("mifid2_execution_trader mifid2_execution_algo"),
        *flag("dont_use_auto_price_for_hedge is_oms_container"),
        *flag("discretionary_up_to_limit_price use_price_mgmt_algo"),
        *whole("duration post_to_ats", unset=""),
        *flag("auto_cancel_parent"),
        *text("advanced_error_override manual_order_time"),
        When(
            lambda values: values["contract"]["exchange"] == "IBKRATS",
            whole("min_trade_qty", unset=""),
        ),
        When(
            lambda values: values["order_type"] in PEG_BEST,
            (
                *whole("min_compete_size", unset=""),
                *number("compete_against_best_offset", unset=""),
            ),
        ),
        When(has_mid_offsets, number("mid_offset_at_whole mid_offset_at_half", unset="")),
    ),
)

EXPIRED = flag("include_expired")

REQUESTS: Final = {
    message.id: message
    for message in (
        Message(
            1,
            "req_mkt_data",
            versioned(
                11,
                *REQ,
                CONTRACT,
                DATA_LEGS,
                *DELTA_NEUTRAL_CONTRACT,
                *text("generic_ticks"),
                *flag("snapshot regulatory_snapshot"),
                *text("options"),
            ),
        ),
        Message(2, "cancel_mkt_data", versioned(2, *REQ)),
        PLACE_ORDER,
        Message(
            4, "cancel_order", versioned(1, *whole("order_id"), *text("manual_order_cancel_time"))
        ),
        Message(5, "req_open_orders", versioned(1)),
        Message(6, "req_account_updates", versioned(2, *flag("subscribe"), *text("account"))),
        Message(
            7,
            "req_executions",
            versioned(
                3,
                *REQ,
                *whole("client_id", unset="0"),
                *text("account time symbol sec_type exchange side"),
            ),
        ),
        Message(8, "req_ids", versioned(1, *whole("count", unset="0"))),
        Message(
            9,
            "req_contract_details",
            versioned(8, *REQ, CONTRACT, *EXPIRED, *text("sec_id_type sec_id issuer_id")),
        ),
        Message(
            10,
            "req_mkt_depth",
            versioned(5, *REQ, CONTRACT, *whole("rows"), *flag("is_smart_depth"), *text("options")),
        ),
        Message(11, "cancel_mkt_depth", versioned(1, *REQ, *flag("is_smart_depth"))),
        Message(12, "req_news_bulletins", versioned(1, *flag("all_messages"))),
        Message(13, "cancel_news_bulletins", versioned(1)),
        Message(14, "set_server_log_level", versioned(1, *whole("level"))),
        Message(15, "req_auto_open_orders", versioned(1, *flag("auto_bind"))),
        Message(16, "req_all_open_orders", versioned(1)),
        Message(17, "req_managed_accts", versioned(1)),
        Message(18, "request_fa", versioned(1, *whole("data_type"))),
        Message(19, "replace_fa", versioned(1, *whole("data_type"), *text("xml"), *REQ)),
        Message(
            20,
            "req_historical_data",
            (
                *REQ,
                CONTRACT,
                *EXPIRED,
                *text("end bar_size duration"),
                *flag("use_rth"),
                *text("what_to_show"),
                *whole("format_date"),
                DATA_LEGS,
                *flag("keep_up_to_date"),
                *text("options"),
            ),
        ),
        Message(
            21,
            "exercise_options",
            versioned(
                2,
                *REQ,
                CONTRACT_11,
                *whole("action quantity"),
                *text("account"),
                *whole("override", unset="0"),
            ),
        ),
        Message(
            22,
            "req_scanner_subscription",
            (
                *REQ,
                *whole("rows", unset=""),
                *text("instrument location_code scan_code"),
                *number("above_price below_price", unset=""),
                *whole("above_volume", unset=""),
                *number("market_cap_above market_cap_below", unset=""),
                *text("moody_above moody_below sp_above sp_below maturity_above maturity_below"),
                *number("coupon_above coupon_below", unset=""),
                *flag("exclude_convertible"),
                *whole("average_option_volume_above", unset=""),
                *text("setting_pairs stock_type_filter filter_options options"),
            ),
        ),
        Message(23, "cancel_scanner_subscription", versioned(1, *REQ)),
        Message(24, "req_scanner_parameters", versioned(1)),
        Message(25, "cancel_historical_data", versioned(1, *REQ)),
        Message(49, "req_current_time", versioned(1)),
        Message(
            50,
            "req_real_time_bars",
            versioned(
                3,
                *REQ,
                CONTRACT,
                *whole("bar_size"),
                *text("what_to_show"),
                *flag("use_rth"),
                *text("options"),
            ),
        ),
        Message(51, "cancel_real_time_bars", versioned(1, *REQ)),
        Message(
            52,
            "req_fundamental_data",
            versioned(
                2,
                *REQ,
                Nested(
                    "contract",
                    (
                        *whole("con_id", unset="0"),
                        *text("symbol sec_type exchange primary_exchange currency local_symbol"),
                    ),
                ),
                *text("report_type"),
                *whole("options_count", unset="0"),
                *text("options"),
            ),
        ),
        Message(53, "cancel_fundamental_data", versioned(1, *REQ)),
        Message(
            54,
            "calculate_implied_volatility",
            versioned(
                3,
                *REQ,
                CONTRACT,
                *number("option_price under_price"),
                *whole("options_count", unset="0"),
                *text("options"),
            ),
        ),
        Message(
            55,
            "calculate_option_price",
            versioned(
                3,
                *REQ,
                CONTRACT,
                *number("volatility under_price"),
                *whole("options_count", unset="0"),
                *text("options"),
            ),
        ),
        Message(56, "cancel_calculate_implied_volatility", versioned(1, *REQ)),
        Message(57, "cancel_calculate_option_price", versioned(1, *REQ)),
        Message(58, "req_global_cancel", versioned(1)),
        Message(59, "req_market_data_type", versioned(1, *whole("market_data_type"))),
        Message(61, "req_positions", versioned(1)),
        Message(62, "req_account_summary", versioned(1, *REQ, *text("group tags"))),
        Message(63, "cancel_account_summary", versioned(1, *REQ)),
        Message(64, "cancel_positions", versioned(1)),
        Message(65, "verify_request", versioned(1, *text("api_name api_version"))),
        Message(66, "verify_message", versioned(1, *text("api_data"))),
        Message(67, "query_display_groups", versioned(1, *REQ)),
        Message(68, "subscribe_to_group_events", versioned(1, *REQ, *whole("group"))),
        Message(69, "update_display_group", versioned(1, *REQ, *text("contract_info"))),
        Message(70, "unsubscribe_from_group_events", versioned(1, *REQ)),
        Message(71, "start_api", versioned(2, *whole("client_id"), *text("capabilities"))),
        Message(72, "verify_and_auth_request", versioned(1, *text("api_name api_version isv_key"))),
        Message(73, "verify_and_auth_message", versioned(1, *text("api_data xyz_response"))),
        Message(74, "req_positions_multi", versioned(1, *REQ, *text("account model_code"))),
        Message(75, "cancel_positions_multi", versioned(1, *REQ)),
        Message(
            76,
            "req_account_updates_multi",
            versioned(1, *REQ, *text("account model_code"), *flag("ledger_and_nlv")),
        ),
        Message(77, "cancel_account_updates_multi", versioned(1, *REQ)),
        Message(
            78,
            "req_sec_def_opt_params",
            (
                *REQ,
                *text("under_symbol fut_fop_exchange under_sec_type"),
                *whole("under_con_id", unset="0"),
            ),
        ),
        Message(79, "req_soft_dollar_tiers", REQ),
        Message(80, "req_family_codes", ()),
        Message(81, "req_matching_symbols", (*REQ, *text("pattern"))),
        Message(82, "req_mkt_depth_exchanges", ()),
        Message(83, "req_smart_components", (*REQ, *text("bbo_exchange"))),
        Message(84, "req_news_article", (*REQ, *text("provider article_id options"))),
        Message(85, "req_news_providers", ()),
        Message(
            86,
            "req_historical_news",
            (
                *REQ,
                *whole("con_id"),
                *text("providers start end"),
                *whole("total"),
                *text("options"),
            ),
        ),
        Message(
            87,
            "req_head_time_stamp",
            (
                *REQ,
                CONTRACT,
                *EXPIRED,
                *flag("use_rth"),
                *text("what_to_show"),
                *whole("format_date"),
            ),
        ),
        Message(
            88,
            "req_histogram_data",
            (*REQ, CONTRACT, *EXPIRED, *flag("use_rth"), *text("period")),
        ),
        Message(89, "cancel_histogram_data", REQ),
        Message(90, "cancel_head_time_stamp", REQ),
        Message(91, "req_market_rule", whole("rule_id")),
        Message(92, "req_pnl", (*REQ, *text("account model_code"))),
        Message(93, "cancel_pnl", REQ),
        Message(94, "req_pnl_single", (*REQ, *text("account model_code"), *whole("con_id"))),
        Message(95, "cancel_pnl_single", REQ),
        Message(
            96,
            "req_historical_ticks",
            (
                *REQ,
                CONTRACT,
                *EXPIRED,
                *text("start end"),
                *whole("count"),
                *text("what_to_show"),
                *flag("use_rth ignore_size"),
                *text("options"),
            ),
        ),
        Message(
            97,
            "req_tick_by_tick_data",
            (
                *REQ,
                CONTRACT,
                *text("tick_type"),
                *whole("count", unset="0"),
                *flag("ignore_size"),
            ),
        ),
        Message(98, "cancel_tick_by_tick_data", REQ),
        Message(99, "req_completed_orders", flag("api_only")),
        Message(100, "req_wsh_meta_data", REQ),
        Message(101, "cancel_wsh_meta_data", REQ),
        Message(
            102,
            "req_wsh_event_data",
            (
                *REQ,
                *whole("con_id", unset="2147483647"),
                *text("filter"),
                *flag("fill_watchlist fill_portfolio fill_competitors"),
                *text("start_date end_date"),
                *whole("total_limit", unset="2147483647"),
            ),
        ),
        Message(103, "cancel_wsh_event_data", REQ),
        Message(104, "req_user_info", REQ),
    )
}
