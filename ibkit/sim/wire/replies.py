"""Every message that the server can send at version 178: its number, name and fields.

Not here: when it is sent (`ibkit.sim.handlers`, `ibkit.sim.stream`). IB's clients count fields:
nothing of a newer version may be added.
"""

from __future__ import annotations

from typing import Final

from ibkit.sim.wire.blocks import (
    ALGO,
    ANSWER,
    CONDITIONS,
    DELTA_NEUTRAL_CONTRACT,
    HEDGE,
    HELD,
    LEG_PRICES,
    LEGS,
    ORDERED,
    PEGGED_TO_BENCHMARK,
    ROUTING,
    SCALE,
    SEC_IDS,
)
from ibkit.sim.wire.fields import (
    UNSET_DOUBLE,
    UNSET_INT,
    UNSET_LONG,
    Item,
    Message,
    Nested,
    Rows,
    When,
    flag,
    number,
    text,
    whole,
)
from ibkit.sim.wire.requests import REQ, versioned

U: Final = UNSET_DOUBLE

# --- prices ------------------------------------------------------------
TICK_PRICE = Message(
    1,
    "tick_price",
    versioned(6, *REQ, *whole("tick_type"), *number("price size"), *whole("attributes", unset="0")),
)
TICK_SIZE = Message(2, "tick_size", versioned(6, *REQ, *whole("tick_type"), *number("size")))
TICK_OPTION = Message(
    21,
    "tick_option_computation",
    (
        *REQ,
        *whole("tick_type attribute"),
        *number("implied_vol delta price pv_dividend gamma vega theta under_price"),
    ),
)
TICK_GENERIC = Message(
    45, "tick_generic", versioned(6, *REQ, *whole("tick_type"), *number("value"))
)
TICK_STRING = Message(46, "tick_string", versioned(6, *REQ, *whole("tick_type"), *text("value")))
TICK_EFP = Message(
    47,
    "tick_efp",
    versioned(
        6,
        *REQ,
        *whole("tick_type"),
        *number("basis_points"),
        *text("formatted"),
        *number("implied_future"),
        *whole("hold_days"),
        *text("future_expiry"),
        *number("dividend_impact dividends_to_expiry"),
    ),
)
SNAPSHOT_END = Message(57, "tick_snapshot_end", versioned(1, *REQ))
MARKET_DATA_TYPE = Message(58, "market_data_type", versioned(1, *REQ, *whole("market_data_type")))
TICK_REQ_PARAMS = Message(
    81,
    "tick_req_params",
    (*REQ, *number("min_tick"), *text("bbo_exchange"), *whole("snapshot_permissions")),
)
TICK_NEWS = Message(
    84, "tick_news", (*REQ, *whole("time"), *text("provider article_id headline extra_data"))
)
REROUTE_MKT_DATA = Message(91, "reroute_mkt_data", (*REQ, *whole("con_id"), *text("exchange")))
REROUTE_MKT_DEPTH = Message(92, "reroute_mkt_depth", (*REQ, *whole("con_id"), *text("exchange")))
DEPTH = Message(
    12,
    "mkt_depth",
    versioned(1, *REQ, *whole("position operation side"), *number("price size")),
)
DEPTH_L2 = Message(
    13,
    "mkt_depth_l2",
    versioned(
        1,
        *REQ,
        *whole("position"),
        *text("market_maker"),
        *whole("operation side"),
        *number("price size"),
        *flag("is_smart_depth"),
    ),
)
REALTIME_BAR = Message(
    50,
    "realtime_bar",
    versioned(3, *REQ, *whole("time"), *number("open high low close volume wap"), *whole("count")),
)


TICK_BY_TICK = Message(
    99,
    "tick_by_tick",
    (
        *REQ,
        *whole("kind time"),
        When(
            lambda values: values["kind"] in {1, 2},
            (
                *number("price size"),
                *whole("attributes", unset="0"),
                *text("exchange conditions"),
            ),
        ),
        When(
            lambda values: values["kind"] == 3,
            (*number("bid ask bid_size ask_size"), *whole("attributes", unset="0")),
        ),
        When(lambda values: values["kind"] == 4, number("midpoint")),
    ),
)

# --- history ------------------------------------------------------------
HISTORICAL_DATA = Message(
    17,
    "historical_data",
    (
        *REQ,
        *text("start end"),
        Rows(
            "bars",
            (
                *text("date"),
                *number("open high low close volume wap"),
                *whole("count"),
            ),
            limit=2_000_000,
        ),
    ),
)
HISTORICAL_UPDATE = Message(
    90,
    "historical_data_update",
    (*REQ, *whole("count"), *text("date"), *number("open close high low wap volume")),
)
HEAD_TIMESTAMP = Message(88, "head_timestamp", (*REQ, *text("timestamp")))
HISTOGRAM = Message(89, "histogram_data", (*REQ, Rows("items", (*number("price"), *whole("size")))))
TICKS_MIDPOINT = Message(
    96,
    "historical_ticks",
    (*REQ, Rows("ticks", (*whole("time attributes"), *number("price size"))), *flag("done")),
)
TICKS_BID_ASK = Message(
    97,
    "historical_ticks_bid_ask",
    (
        *REQ,
        Rows("ticks", (*whole("time attributes"), *number("bid ask bid_size ask_size"))),
        *flag("done"),
    ),
)
TICKS_LAST = Message(
    98,
    "historical_ticks_last",
    (
        *REQ,
        Rows(
            "ticks",
            (*whole("time attributes"), *number("price size"), *text("exchange conditions")),
        ),
        *flag("done"),
    ),
)
SCHEDULE = Message(
    106,
    "historical_schedule",
    (*REQ, *text("start end time_zone"), Rows("sessions", text("start end ref_date"))),
)

# --- contracts ------------------------------------------------------------
SIZES = number("min_size size_increment suggested_size_increment")
CONTRACT_DETAILS = Message(
    10,
    "contract_details",
    (
        *REQ,
        *text("symbol sec_type last_trade_date"),
        *number("strike", unset="0"),
        *text("right exchange currency local_symbol market_name trading_class"),
        *whole("con_id"),
        *number("min_tick"),
        *text("multiplier order_types valid_exchanges"),
        *whole("price_magnifier under_con_id"),
        *text("long_name primary_exchange contract_month industry category subcategory"),
        *text("time_zone_id trading_hours liquid_hours ev_rule"),
        *number("ev_multiplier", unset=""),
        SEC_IDS,
        *whole("agg_group", unset=UNSET_INT),
        *text("under_symbol under_sec_type market_rule_ids real_expiration_date stock_type"),
        *SIZES,
    ),
)
BOND_DETAILS = Message(
    18,
    "bond_contract_details",
    (
        *REQ,
        *text("symbol sec_type cusip"),
        *number("coupon", unset=""),
        *text("maturity issue_date ratings bond_type coupon_type"),
        *flag("convertible callable putable"),
        *text("desc_append exchange currency market_name trading_class"),
        *whole("con_id"),
        *number("min_tick"),
        *text("order_types valid_exchanges next_option_date next_option_type"),
        *flag("next_option_partial"),
        *text("notes long_name ev_rule"),
        *number("ev_multiplier", unset=""),
        SEC_IDS,
        *whole("agg_group", unset=UNSET_INT),
        *text("market_rule_ids"),
        *SIZES,
    ),
)
CONTRACT_DETAILS_END = Message(52, "contract_details_end", versioned(1, *REQ))
SEC_DEF_OPT_PARAMS = Message(
    75,
    "sec_def_opt_params",
    (
        *REQ,
        *text("exchange"),
        *whole("under_con_id"),
        *text("trading_class multiplier"),
        Rows("expirations", text("expiration")),
        Rows("strikes", number("strike")),
    ),
)
SEC_DEF_OPT_PARAMS_END = Message(76, "sec_def_opt_params_end", REQ)
SYMBOL_SAMPLES = Message(
    79,
    "symbol_samples",
    (
        *REQ,
        Rows(
            "samples",
            (
                *whole("con_id"),
                *text("symbol sec_type primary_exchange currency"),
                Rows("derivatives", text("sec_type")),
                *text("description issuer_id"),
            ),
        ),
    ),
)
MARKET_RULE = Message(
    93, "market_rule", (*whole("rule_id"), Rows("steps", number("low_edge increment")))
)
SMART_COMPONENTS = Message(
    82,
    "smart_components",
    (*REQ, Rows("components", (*whole("bit"), *text("exchange letter")))),
)
MKT_DEPTH_EXCHANGES = Message(
    80,
    "mkt_depth_exchanges",
    (
        Rows(
            "exchanges",
            (
                *text("exchange sec_type listing_exchange service_data_type"),
                *whole("agg_group", unset=UNSET_INT),
            ),
        ),
    ),
)

# --- orders ------------------------------------------------------------
ORDER_STATUS = Message(
    3,
    "order_status",
    (
        *whole("order_id"),
        *text("status"),
        *number("filled remaining avg_fill_price"),
        *whole("perm_id parent_id"),
        *number("last_fill_price"),
        *whole("client_id"),
        *text("why_held"),
        *number("mkt_cap_price", unset="0.0"),
    ),
)

# the parts that openOrder and completedOrder share, in their order
ORDER_HEAD: tuple[Item, ...] = (
    *text("action"),
    *number("total_quantity"),
    *text("order_type"),
    *number("lmt_price aux_price", unset="0.0"),
    *text("tif oca_group account open_close"),
    *whole("origin", unset="0"),
    *text("order_ref"),
)
ORDER_HELD: tuple[Item, ...] = (
    *whole("perm_id"),
    *flag("outside_rth hidden"),
    *number("discretionary_amt", unset="0.0"),
    *text("good_after_time"),
)
ORDER_GROUP: tuple[Item, ...] = (
    *text("fa_group fa_method fa_percentage model_code good_till_date rule_80a"),
    *number("percent_offset", unset=""),
    *text("settling_firm"),
    *whole("short_sale_slot", unset="0"),
    *text("designated_location"),
    *whole("exempt_code", unset="-1"),
)
STOCK_PRICES: tuple[Item, ...] = (
    *number("starting_price stock_ref_price delta", unset=""),
    *number("stock_range_lower stock_range_upper", unset=""),
    *whole("display_size", unset=UNSET_INT),
)
VOLATILITY: tuple[Item, ...] = (
    *number("volatility", unset=""),
    *whole("volatility_type", unset="0"),
    *text("delta_neutral_order_type", unset="None"),
    *number("delta_neutral_aux_price", unset=""),
)
REFERENCE: tuple[Item, ...] = (
    *flag("continuous_update"),
    *whole("reference_price_type", unset="0"),
    *number("trail_stop_price trailing_percent", unset=""),
)
COMBO: tuple[Item, ...] = (
    *text("combo_legs_descrip"),
    LEGS,
    LEG_PRICES,
    ROUTING,
    *whole("scale_init_level_size scale_subs_level_size", unset=UNSET_INT),
    *number("scale_price_increment", unset=""),
    SCALE,
    *HEDGE,
)
COMPETE: tuple[Item, ...] = (
    *whole("min_trade_qty min_compete_size", unset=""),
    *number("compete_against_best_offset mid_offset_at_whole mid_offset_at_half", unset=""),
)

OPEN_ORDER = Message(
    5,
    "open_order",
    (
        *whole("order_id"),
        ORDERED,
        *ORDER_HEAD,
        *whole("client_id"),
        *ORDER_HELD,
        *text("shares_allocation"),
        *ORDER_GROUP,
        *whole("auction_strategy", unset="0"),
        *STOCK_PRICES,
        *flag("block_order sweep_to_fill all_or_none"),
        *whole("min_qty", unset=""),
        *whole("oca_type", unset="3"),
        *flag("e_trade_only firm_quote_only"),
        *number("nbbo_price_cap", unset=""),
        *whole("parent_id trigger_method", unset="0"),
        *VOLATILITY,
        # the order type above is at least the word None, so these always follow
        *whole("delta_neutral_con_id", unset="0"),
        *text("delta_neutral_settling_firm delta_neutral_clearing_account"),
        *text("delta_neutral_clearing_intent"),
        *text("delta_neutral_open_close", unset="?"),
        *flag("delta_neutral_short_sale"),
        *whole("delta_neutral_short_sale_slot", unset="0"),
        *text("delta_neutral_designated_location"),
        *REFERENCE,
        *number("basis_points", unset=""),
        *whole("basis_points_type", unset=""),
        *COMBO,
        *flag("opt_out_smart_routing"),
        *text("clearing_account"),
        *text("clearing_intent", unset="IB"),
        *flag("not_held"),
        *DELTA_NEUTRAL_CONTRACT,
        *ALGO,
        *flag("solicited what_if"),
        *text("status"),
        *number("init_margin_before maint_margin_before equity_with_loan_before", unset=U),
        *number("init_margin_change maint_margin_change equity_with_loan_change", unset=U),
        *number("init_margin_after maint_margin_after equity_with_loan_after", unset=U),
        *number("commission min_commission max_commission", unset=""),
        *text("commission_currency warning_text"),
        *flag("randomize_size randomize_price"),
        PEGGED_TO_BENCHMARK,
        *CONDITIONS,
        *text("adjusted_order_type", unset="None"),
        *number("trigger_price limit_or_stop lmt_price_offset", unset=U),
        *number("adjusted_stop_price adjusted_stop_limit_price", unset=U),
        *number("adjusted_trailing_amount", unset=U),
        *whole("adjustable_trailing_unit", unset="0"),
        *text("soft_dollar_name soft_dollar_value soft_dollar_display"),
        *number("cash_qty", unset="0"),
        *flag("dont_use_auto_price_for_hedge is_oms_container"),
        *flag("discretionary_up_to_limit_price use_price_mgmt_algo"),
        *whole("duration post_to_ats", unset=""),
        *flag("auto_cancel_parent"),
        *COMPETE,
    ),
)
COMPLETED_ORDER = Message(
    101,
    "completed_order",
    (
        ORDERED,
        *ORDER_HEAD,
        *ORDER_HELD,
        *ORDER_GROUP,
        *STOCK_PRICES,
        *flag("sweep_to_fill all_or_none"),
        *whole("min_qty", unset=""),
        *whole("oca_type", unset="3"),
        *whole("trigger_method", unset="0"),
        *VOLATILITY,
        *whole("delta_neutral_con_id", unset="0"),
        *flag("delta_neutral_short_sale"),
        *whole("delta_neutral_short_sale_slot", unset="0"),
        *text("delta_neutral_designated_location"),
        *REFERENCE,
        *COMBO,
        *text("clearing_account"),
        *text("clearing_intent", unset="IB"),
        *flag("not_held"),
        *DELTA_NEUTRAL_CONTRACT,
        *ALGO,
        *flag("solicited"),
        *text("status"),
        *flag("randomize_size randomize_price"),
        PEGGED_TO_BENCHMARK,
        *CONDITIONS,
        *number("limit_or_stop lmt_price_offset", unset=U),
        *number("cash_qty", unset="0"),
        *flag("dont_use_auto_price_for_hedge is_oms_container"),
        *text("auto_cancel_date"),
        *number("filled_quantity"),
        *whole("ref_futures_con_id", unset=UNSET_INT),
        *flag("auto_cancel_parent"),
        *text("shareholder"),
        *flag("imbalance_only route_marketable_to_bbo"),
        *whole("parent_perm_id", unset=UNSET_LONG),
        *text("completed_time completed_status"),
        *COMPETE,
    ),
)
OPEN_ORDER_END = Message(53, "open_order_end", versioned(1))
COMPLETED_ORDERS_END = Message(102, "completed_orders_end", ())
EXEC_DETAILS = Message(
    11,
    "exec_details",
    (
        *REQ,
        *whole("order_id"),
        HELD,
        *text("exec_id time account exec_exchange side"),
        *number("shares price"),
        *whole("perm_id client_id"),
        *flag("liquidation"),
        *number("cum_qty avg_price"),
        *text("order_ref ev_rule"),
        *number("ev_multiplier", unset=""),
        *text("model_code"),
        *whole("last_liquidity", unset="0"),
        *flag("pending_price_revision"),
    ),
)
EXEC_DETAILS_END = Message(55, "exec_details_end", versioned(1, *REQ))
COMMISSION_REPORT = Message(
    59,
    "commission_report",
    versioned(
        1,
        *text("exec_id"),
        *number("commission"),
        *text("currency"),
        *number("realized_pnl yield", unset=U),
        *text("yield_redemption_date"),
    ),
)
ORDER_BOUND = Message(100, "order_bound", whole("perm_id client_id order_id"))
DELTA_NEUTRAL_VALIDATION = Message(
    56,
    "delta_neutral_validation",
    versioned(1, *REQ, *whole("con_id"), *number("delta price")),
)

# --- accounts ------------------------------------------------------------
ACCOUNT_VALUE = Message(6, "account_value", versioned(2, *text("key value currency account")))
PORTFOLIO = Message(
    7,
    "portfolio_value",
    versioned(
        8,
        Nested(
            "contract",
            (
                *whole("con_id"),
                *text("symbol sec_type last_trade_date"),
                *number("strike", unset="0"),
                *text("right", unset="0"),
                *text("multiplier primary_exchange currency local_symbol trading_class"),
            ),
        ),
        *number("position market_price market_value average_cost unrealized_pnl realized_pnl"),
        *text("account"),
    ),
)
ACCOUNT_TIME = Message(8, "account_update_time", versioned(1, *text("time")))
ACCOUNT_DOWNLOAD_END = Message(54, "account_download_end", versioned(1, *text("account")))
MANAGED_ACCOUNTS = Message(15, "managed_accounts", versioned(1, *text("accounts")))
POSITION = Message(
    61,
    "position",
    versioned(3, *text("account"), HELD, *number("position avg_cost")),
)
POSITION_END = Message(62, "position_end", versioned(1))
ACCOUNT_SUMMARY = Message(
    63, "account_summary", versioned(1, *REQ, *text("account tag value currency"))
)
ACCOUNT_SUMMARY_END = Message(64, "account_summary_end", versioned(1, *REQ))
POSITION_MULTI = Message(
    71,
    "position_multi",
    versioned(3, *REQ, *text("account"), HELD, *number("position avg_cost"), *text("model_code")),
)
POSITION_MULTI_END = Message(72, "position_multi_end", versioned(1, *REQ))
ACCOUNT_MULTI = Message(
    73,
    "account_update_multi",
    versioned(1, *REQ, *text("account model_code key value currency")),
)
ACCOUNT_MULTI_END = Message(74, "account_update_multi_end", versioned(1, *REQ))
PNL = Message(94, "pnl", (*REQ, *number("daily unrealized realized", unset=U)))
PNL_SINGLE = Message(
    95,
    "pnl_single",
    (*REQ, *number("position"), *number("daily unrealized realized value", unset=U)),
)
RECEIVE_FA = Message(16, "receive_fa", versioned(1, *whole("data_type"), *text("xml")))
REPLACE_FA_END = Message(103, "replace_fa_end", (*REQ, *text("text")))
FAMILY_CODES = Message(78, "family_codes", (Rows("codes", text("account family_code")),))
SOFT_DOLLAR_TIERS = Message(
    77, "soft_dollar_tiers", (*REQ, Rows("tiers", text("name value display_name")))
)
USER_INFO = Message(107, "user_info", (*REQ, *text("white_branding_id")))

# --- the rest ------------------------------------------------------------
ERROR = Message(4, "error", versioned(2, *whole("id code"), *text("text advanced_order_reject")))
NEXT_VALID_ID = Message(9, "next_valid_id", versioned(1, *whole("order_id")))
CURRENT_TIME = Message(49, "current_time", versioned(1, *whole("time")))
NEWS_BULLETIN = Message(
    14, "news_bulletin", versioned(1, *whole("message_id message_type"), *text("text exchange"))
)
NEWS_PROVIDERS = Message(85, "news_providers", (Rows("providers", text("code name")),))
NEWS_ARTICLE = Message(83, "news_article", (*REQ, *whole("article_type"), *text("text")))
HISTORICAL_NEWS = Message(86, "historical_news", (*REQ, *text("time provider article_id headline")))
HISTORICAL_NEWS_END = Message(87, "historical_news_end", (*REQ, *flag("has_more")))
SCANNER_PARAMETERS = Message(19, "scanner_parameters", versioned(1, *text("xml")))
SCANNER_DATA = Message(
    20,
    "scanner_data",
    versioned(
        3,
        *REQ,
        Rows(
            "rows",
            (
                *whole("rank"),
                *(field for field in ANSWER if field.name not in {"multiplier", "trading_class"}),
                *text("market_name trading_class distance benchmark projection legs"),
            ),
        ),
    ),
)
FUNDAMENTAL_DATA = Message(51, "fundamental_data", versioned(1, *REQ, *text("xml")))
DISPLAY_GROUPS = Message(67, "display_group_list", versioned(1, *REQ, *text("groups")))
DISPLAY_GROUP = Message(68, "display_group_updated", versioned(1, *REQ, *text("contract_info")))
WSH_META_DATA = Message(104, "wsh_meta_data", (*REQ, *text("json")))
WSH_EVENT_DATA = Message(105, "wsh_event_data", (*REQ, *text("json")))

REPLIES: Final = {
    message.id: message for message in list(globals().values()) if isinstance(message, Message)
}
