"""Groups of fields that several messages share: contracts, order parts, conditions.

Not here: whole messages (`requests`, `replies`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ibkit.sim.wire.fields import (
    HUGE,
    Choice,
    Field,
    Item,
    Nested,
    Rows,
    When,
    flag,
    number,
    text,
    whole,
)

Values = Mapping[str, Any]

# the contract as clients describe it ("C12" in IB's order), and the same without primaryExchange
SPEC: tuple[Field, ...] = (
    *whole("con_id", unset="0"),
    *text("symbol sec_type last_trade_date"),
    *number("strike", unset=""),
    *text("right multiplier exchange primary_exchange currency local_symbol trading_class"),
)
SPEC_11 = tuple(field for field in SPEC if field.name != "primary_exchange")

# the contract in answers; strike and right stand for "none" in a way of their own per message
ANSWER: tuple[Field, ...] = (
    *whole("con_id"),
    *text("symbol sec_type last_trade_date"),
    *number("strike", unset="0.0"),
    *text("right multiplier exchange currency local_symbol trading_class"),
)
ORDER_ANSWER: tuple[Field, ...] = (
    *whole("con_id"),
    *text("symbol sec_type last_trade_date"),
    *number("strike", unset="0"),
    *text("right", unset="?"),
    *text("multiplier exchange currency local_symbol trading_class"),
)

CONTRACT = Nested("contract", SPEC)
CONTRACT_11 = Nested("contract", SPEC_11)
HELD = Nested("contract", ANSWER)
ORDERED = Nested("contract", ORDER_ANSWER)

TAG_VALUE = text("tag value")
SEC_IDS = Rows("sec_ids", TAG_VALUE)


def is_bag(values: Values) -> bool:
    """Whether the contract is a combination."""
    return bool(values["contract"]["sec_type"] == "BAG")


DATA_LEGS = When(
    is_bag, (Rows("legs", (*whole("con_id ratio"), *text("action exchange")), limit=1_000),)
)
LEG: tuple[Item, ...] = (
    *whole("con_id ratio"),
    *text("action exchange"),
    *whole("open_close short_sale_slot", unset="0"),
    *text("designated_location"),
    *whole("exempt_code", unset="-1"),
)
LEG_PRICE = number("price", unset="")
LEGS = Rows("combo_legs", LEG, limit=1_000)
LEG_PRICES = Rows("order_combo_legs", LEG_PRICE, limit=1_000)
ROUTING = Rows("smart_combo_routing_params", TAG_VALUE, limit=1_000)

DELTA_NEUTRAL_CONTRACT: tuple[Item, ...] = (
    *flag("delta_neutral"),
    When(
        lambda values: values.get("delta_neutral"),
        (
            *whole("dn_contract_con_id", unset="0"),
            *number("dn_contract_delta dn_contract_price", unset="0"),
        ),
    ),
)


def has_scale(values: Values) -> bool:
    """Whether the order scales, so that seven more fields follow."""
    increment = values.get("scale_price_increment")
    return increment is not None and 0 < increment < HUGE


SCALE = When(
    has_scale,
    (
        *number("scale_price_adjust_value", unset=""),
        *whole("scale_price_adjust_interval", unset=""),
        *number("scale_profit_offset", unset=""),
        *flag("scale_auto_reset"),
        *whole("scale_init_position scale_init_fill_qty", unset=""),
        *flag("scale_random_percent"),
    ),
)
HEDGE: tuple[Item, ...] = (
    *text("hedge_type"),
    When(lambda values: values.get("hedge_type"), text("hedge_param")),
)
ALGO: tuple[Item, ...] = (
    *text("algo_strategy"),
    When(
        lambda values: values.get("algo_strategy"),
        (Rows("algo_params", TAG_VALUE, limit=1_000),),
    ),
)


def is_pegged_to_benchmark(values: Values) -> bool:
    """Whether the order follows another contract's price."""
    return values["order_type"] in {"PEG BENCH", "PEGBENCH"}


PEGGED_TO_BENCHMARK = When(
    is_pegged_to_benchmark,
    (
        *whole("reference_contract_id", unset="0"),
        *flag("is_pegged_change_amount_decrease"),
        *number("pegged_change_amount reference_change_amount", unset="0.0"),
        *text("reference_exchange_id"),
    ),
)
CONDITIONS: tuple[Item, ...] = (
    Choice(
        "conditions",
        "type",
        {
            1: (
                *text("conjunction"),
                *flag("is_more"),
                *number("price", unset="0"),
                *whole("con_id", unset="0"),
                *text("exchange"),
                *whole("trigger_method", unset="0"),
            ),
            3: (*text("conjunction"), *flag("is_more"), *text("time")),
            4: (*text("conjunction"), *flag("is_more"), *whole("percent", unset="0")),
            5: text("conjunction sec_type exchange symbol"),
            6: (
                *text("conjunction"),
                *flag("is_more"),
                *whole("volume con_id", unset="0"),
                *text("exchange"),
            ),
            7: (
                *text("conjunction"),
                *flag("is_more"),
                *number("change_percent", unset="0"),
                *whole("con_id", unset="0"),
                *text("exchange"),
            ),
        },
    ),
    When(
        lambda values: values.get("conditions"),
        flag("conditions_ignore_rth conditions_cancel_order"),
    ),
)
