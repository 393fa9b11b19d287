"""What an order, its state and its executions look like on the wire: the client's fields come back.

Pure. Not here: when they are sent, and to whom (`handlers.orders`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ibkit.sim import times
from ibkit.sim.contracts import contract_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibkit.sim.exchange import Fill, OrderRequest, WhatIf, WorkingOrder
    from ibkit.sim.wire import Record

SHAREHOLDER: Final = "Not an insider or substantial shareholder"


def order_fields(request: OrderRequest) -> Record:
    """Return the client's own order fields, with what a server fills in."""
    wire = request.wire
    return {
        **wire,
        "contract": contract_record(
            request.instrument, wire["contract"]["exchange"] or request.instrument.exchange
        ),
        "client_id": request.client_id,
        "tif": request.tif,
        "account": request.account,
        "open_close": "",
        "oca_type": request.oca_type or None,
        "limit_or_stop": limit_or_stop(request),
    }


def limit_or_stop(request: OrderRequest) -> object:
    """Return what stands where ib_async reads trailStopPrice: for a limit, one above it."""
    if request.order_type == "LMT" and request.lmt_price is not None:
        return request.lmt_price + 1
    return request.wire["trail_stop_price"]


def open_order(order: WorkingOrder) -> Record:
    """Return the values of an openOrder message."""
    request = order.request
    quantity = format(request.quantity, "f")
    return {
        **order_fields(request),
        "perm_id": order.perm_id,
        "status": order.status,
        "shares_allocation": f"{order.perm_id}.0/{request.account}/{quantity}",
        "commission": order.commission,
        "commission_currency": request.instrument.currency if order.commission is not None else "",
    }


def what_if(request: OrderRequest, margins: WhatIf) -> Record:
    """Return the openOrder that answers a what-if: margins, and no order."""
    return {
        **order_fields(request),
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
        **order_fields(request),
        "perm_id": order.perm_id,
        "status": order.status,
        "filled_quantity": order.filled,
        "shareholder": SHAREHOLDER,
        "completed_time": times.local_text(
            order.completed_time or 0.0, request.instrument.time_zone_id
        ),
        "completed_status": order.completed_status,
    }


def execution(fill: Fill) -> Record:
    """Return the values of an execDetails message."""
    return {
        "order_id": fill.order_id,
        "contract": {
            **contract_record(fill.instrument, fill.exchange),
            "right": fill.instrument.right,
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
