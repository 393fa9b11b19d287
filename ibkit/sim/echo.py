"""What an order, its state and its executions look like on the wire: the client's fields come back.

Pure. Not here: when they are sent, and to whom (`handlers.orders`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ibkit.sim import times
from ibkit.sim.combos import BAG_CON_ID, description
from ibkit.sim.contracts import contract_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibkit.sim.exchange import Fill, OrderRequest, WhatIf, WorkingOrder
    from ibkit.sim.wire import Record

SHAREHOLDER: Final = "Not an insider or substantial shareholder"
TRAILING: Final = frozenset({"TRAIL", "TRAIL LIMIT"})
LEG_DOTS: Final = 4  # in the id of a leg's execution there are more


def order_fields(order: WorkingOrder) -> Record:
    """Return the client's own order fields, with what a server fills in and what has moved."""
    request = order.request
    wire = request.wire
    trails = request.kind in TRAILING
    limit = order.limit if trails and order.limit is not None else request.lmt_price
    stop = order.stop if trails and order.stop is not None else request.trail_stop_price
    return {
        **wire,
        "contract": contract(request),
        "client_id": request.client_id,
        "order_type": request.order_type,
        "total_quantity": request.quantity,
        "lmt_price": limit,
        "aux_price": request.aux_price,
        "tif": request.tif,
        "account": request.account,
        "open_close": "",
        "oca_group": order.oca_group or request.oca_group,
        "oca_type": order.oca_type or request.oca_type or None,
        "trail_stop_price": stop,
        "trailing_percent": request.trailing_percent,
        "limit_or_stop": request.lmt_price + 1
        if request.kind == "LMT" and request.lmt_price is not None
        else stop,
        "combo_legs_descrip": description(request.legs) if request.legs else "",
    }


def contract(request: OrderRequest) -> Record:
    """Return the contract of an order, routed as the client routed it."""
    asked = request.wire["contract"]["exchange"] or request.instrument.exchange
    record = contract_record(request.instrument, asked)
    return {**record, "con_id": BAG_CON_ID} if request.legs else record


def open_order(order: WorkingOrder) -> Record:
    """Return the values of an openOrder message."""
    request = order.request
    quantity = format(request.quantity, "f")
    return {
        **order_fields(order),
        "perm_id": order.perm_id,
        "status": order.status,
        "shares_allocation": f"{order.perm_id}.0/{request.account}/{quantity}",
        "commission": order.commission,
        "commission_currency": request.instrument.currency if order.commission is not None else "",
    }


def what_if(margins: WhatIf) -> Record:
    """Return the openOrder that answers a what-if: margins, and no order."""
    return {
        **order_fields(margins.order),
        "perm_id": 0,
        "status": "PreSubmitted",
        "init_margin_before": margins.init_before,
        "maint_margin_before": margins.maint_before,
        "equity_with_loan_before": margins.equity_before,
        "init_margin_change": margins.init_after - margins.init_before,
        "maint_margin_change": margins.maint_after - margins.maint_before,
        "equity_with_loan_change": margins.equity_after - margins.equity_before,
        "init_margin_after": margins.init_after,
        "maint_margin_after": margins.maint_after,
        "equity_with_loan_after": margins.equity_after,
        "commission": margins.commission,
        "min_commission": margins.commission,
        "max_commission": margins.commission,
        "commission_currency": margins.currency,
    }


def status(order: WorkingOrder) -> Mapping[str, Any]:
    """Return the values of an orderStatus message."""
    request = order.request
    return {
        "order_id": request.order_id,
        "status": order.status,
        "filled": order.filled,
        "remaining": order.remaining,
        "avg_fill_price": order.avg_fill_price,
        "perm_id": order.perm_id,
        "parent_id": request.parent_id,
        "last_fill_price": order.last_fill_price,
        "client_id": request.client_id,
        "why_held": order.why_held,
    }


def completed_order(order: WorkingOrder) -> Record:
    """Return the values of a completedOrder message."""
    request = order.request
    return {
        **order_fields(order),
        "perm_id": order.perm_id,
        "status": order.status,
        "parent_perm_id": order.parent_perm_id or None,
        "filled_quantity": order.filled,
        "shareholder": SHAREHOLDER,
        "completed_time": times.local_text(
            order.completed_time or 0.0, request.instrument.time_zone_id
        ),
        "completed_status": order.completed_status,
    }


def execution(fill: Fill) -> Record:
    """Return the values of an execDetails message."""
    instrument = fill.instrument
    combined = instrument.sec_type == "BAG"
    leg = fill.exec_id.count(".") > LEG_DOTS
    return {
        "order_id": fill.order_id,
        "contract": {
            **contract_record(instrument, fill.exchange),
            "right": instrument.right,
            **({"con_id": BAG_CON_ID} if combined else {}),
            **({"trading_class": ""} if leg else {}),
        },
        "exec_id": fill.exec_id,
        "time": times.local_text(fill.time, fill.instrument.time_zone_id),
        "account": fill.account,
        "exec_exchange": fill.exchange,
        "side": fill.side,
        "shares": fill.shares,
        "price": fill.price,
        "perm_id": fill.perm_id,
        "client_id": fill.client_id,
        "cum_qty": fill.cum_qty,
        "avg_price": fill.avg_price,
        "order_ref": fill.order_ref,
        "last_liquidity": fill.liquidity,
    }


def commission(fill: Fill) -> Record:
    """Return the values of a commissionReport; profit is unset when it opened a position."""
    return {
        "exec_id": fill.exec_id,
        "commission": fill.commission,
        "currency": fill.currency,
        "realized_pnl": fill.realized_pnl,
    }
