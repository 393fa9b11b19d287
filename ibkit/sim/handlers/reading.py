"""How a client's message becomes an order: contract, legs, conditions, and everything optional.

Pure apart from looking up instruments. Not here: whether the order is any good (`ibkit.sim.rules`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ibkit.sim import times
from ibkit.sim.combos import combination
from ibkit.sim.conditions import CHANGE, MARGIN, PRICE, TIME, VOLUME, Condition
from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.refusal import RefusedError, invalid, no_definition
from ibkit.sim.orders import ZERO, Adjustment, Leg, OrderRequest

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.wire import Record

HOME: Final = "US/Eastern"
VALUES: Final = {PRICE: "price", MARGIN: "percent", VOLUME: "volume", CHANGE: "change_percent"}
# fields that mean the same under the same name; None and "" leave the order's own default
SAME: Final = (
    "lmt_price",
    "aux_price",
    "tif",
    "outside_rth",
    "transmit",
    "what_if",
    "order_ref",
    "oca_group",
    "good_till_date",
    "good_after_time",
    "trail_stop_price",
    "trailing_percent",
    "lmt_price_offset",
    "percent_offset",
    "hidden",
    "all_or_none",
    "hedge_type",
    "algo_strategy",
    "fa_group",
    "account",
    "e_trade_only",
    "firm_quote_only",
)
OR_ZERO: Final = ("parent_id", "oca_type", "trigger_method", "min_qty", "display_size")


def read_order(client: Client, values: Record) -> OrderRequest:
    """Return the order inside a request; its fields travel along for the echo."""
    if not values["total_quantity"] and not values["cash_qty"]:
        raise RefusedError(434, "The order size cannot be zero.")
    if values["action"] not in {"BUY", "SELL", "SSHORT"}:
        raise invalid("Invalid order action was entered")
    instrument, legs = contract_of(client, values)
    plain: dict[str, Any] = {name: values[name] for name in SAME}
    plain |= {name: values[name] or 0 for name in OR_ZERO}
    return OrderRequest(
        client_id=client.client_id,
        order_id=values["order_id"],
        instrument=instrument,
        action=values["action"],
        quantity=values["total_quantity"] or ZERO,
        order_type=values["order_type"],
        **plain,
        cash_qty=values["cash_qty"] or None,
        compete_offset=values.get("compete_against_best_offset"),
        hedge_param=values.get("hedge_param") or "",
        algo_params=tuple((one["tag"], one["value"]) for one in values.get("algo_params") or ()),
        conditions=tuple(condition(client, one) for one in values.get("conditions") or ()),
        conditions_ignore_rth=bool(values.get("conditions_ignore_rth")),
        conditions_cancel_order=bool(values.get("conditions_cancel_order")),
        adjustment=adjustment(values),
        legs=legs,
        wire=values,
    )


def contract_of(client: Client, values: Record) -> tuple[Instrument, tuple[Leg, ...]]:
    """Return what an order or a line of market data is about, and the legs of a combination."""
    if values["contract"]["sec_type"] != "BAG":
        return resolve(client.gateway, values), ()
    rows = values.get("combo_legs") or values.get("legs") or ()
    if len(rows) < 2:
        raise RefusedError(312, "The combo details are invalid.")
    legs = tuple(leg(client, row) for row in rows)
    contract = values["contract"]
    return combination(legs, contract["symbol"], contract["exchange"]), legs


def leg(client: Client, row: Record) -> Leg:
    """Return one leg of a combination."""
    instrument = client.gateway.universe.by_con_id(row["con_id"] or 0)
    if instrument is None:
        raise no_definition()
    if (row["ratio"] or 0) <= 0 or row["action"] not in {"BUY", "SELL", "SSHORT"}:
        raise RefusedError(313, "The combo details for a leg are invalid.")
    return Leg(instrument, row["ratio"], row["action"])


def condition(client: Client, row: Record) -> Condition:
    """Return one condition; a contract that does not exist leaves it without instrument."""
    kind = row["type"]
    value: Any = row.get(VALUES.get(kind, ""), 0) or 0
    if kind == TIME:
        try:
            value = times.parse_time(row["time"], HOME)[0]
        except times.TimeTextError:
            value = "NaN"  # the rules refuse it
    con_id = row.get("con_id") or 0
    return Condition(
        kind,
        either=row["conjunction"] == "o",
        is_more=bool(row.get("is_more", True)),
        value=Decimal(str(value)),
        instrument=client.gateway.universe.by_con_id(con_id) if con_id else None,
        trigger_method=row.get("trigger_method") or 0,
        symbol=row.get("symbol") or "",
        sec_type=row.get("sec_type") or "",
        exchange=row.get("exchange") or "",
    )


def adjustment(values: Record) -> Adjustment | None:
    """Return what a stop turns into, or None when it stays what it is."""
    kind, trigger = values["adjusted_order_type"], values["trigger_price"]
    if kind in {"", "None"} or trigger is None:
        return None
    return Adjustment(
        kind,
        trigger,
        values["adjusted_stop_price"],
        values["adjusted_stop_limit_price"],
        values["adjusted_trailing_amount"],
        percent=values["adjustable_trailing_unit"] == 100,
    )
