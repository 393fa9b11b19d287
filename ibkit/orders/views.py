"""Orders and fills as values: snapshots of ib_async's objects, frames, and what IB's words mean.

Pure. A snapshot is taken on the loop thread and may go anywhere.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from ib_async import Contract, OrderStatus
from ib_async.util import UNSET_DOUBLE

from ibkit import naming
from ibkit.errors import describe
from ibkit.orders.checks import order_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ib_async import Fill, OrderState, Trade

    from ibkit.orders.journal import State

# IB's status → our journal's word; the ones that ib_async sets itself are told apart in `make_view`
STATES: Final[dict[str, State]] = {
    "PendingSubmit": "sent",
    "ApiPending": "sent",
    "PreSubmitted": "working",
    "Submitted": "working",
    "PendingCancel": "working",
    "ApiUpdate": "working",
    "ValidationError": "working",
    "Inactive": "working",
    "Filled": "filled",
    "Cancelled": "cancelled",
    "ApiCancelled": "cancelled",
}
REJECTED: Final = 201
TAG: Final = "ibkit:"
Note = tuple[int, str]


@dataclass(frozen=True, slots=True)
class OrderView:
    """One order as it stood at a moment.

    Attributes
    ----------
    status : str
        IB's word.
    state : str
        The journal's word for it.
    provisional : bool
        ib_async concluded the status from an error; IB was asked and has not answered yet.
    acknowledged : bool
        IB gave it a number of its own.
    messages : tuple of (code, text)
        What IB said about it besides.
    """

    order_ref: str
    order_id: int
    perm_id: int
    client_id: int
    contract: Contract
    text: str
    action: str
    quantity: float
    order_type: str
    limit_price: float
    stop_price: float
    tif: str
    status: str
    state: State
    filled: float
    remaining: float
    average_price: float
    why_held: str = ""
    provisional: bool = False
    messages: tuple[Note, ...] = field(default=())

    @property
    def id(self) -> tuple[int, int]:
        """What tells it from all other orders of a connection."""
        return (self.client_id, self.order_id) if self.order_id else (0, self.perm_id)

    @property
    def key(self) -> str:
        """What the caller named it; empty if it is none of ours."""
        parts = self.order_ref.split(":")
        return parts[1] if self.order_ref.startswith(TAG) and len(parts) > 2 else ""

    @property
    def acknowledged(self) -> bool:
        """Whether IB has answered for it."""
        return self.perm_id != 0

    @property
    def done(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.state in {"filled", "cancelled", "refused"} and not self.provisional

    @property
    def refusal(self) -> Note | None:
        """IB's reason, if it was refused."""
        return self.messages[-1] if self.state == "refused" and self.messages else None


def make_view(trade: Trade, notes: Sequence[Note] = (), *, settled: bool = False) -> OrderView:
    """Return a snapshot of `trade`.

    Parameters
    ----------
    trade : Trade
        On the loop thread.
    notes : sequence of (code, text)
        IB's messages with the order's id.
    settled : bool
        IB was asked, and does not list the order as open.
    """
    order, status = trade.order, trade.orderStatus
    perm_id = int(order.permId or status.permId)
    provisional = concluded_locally(trade) and not settled
    return OrderView(
        order_ref=order.orderRef,
        order_id=int(order.orderId),
        perm_id=perm_id,
        client_id=int(order.clientId),
        contract=copy.copy(trade.contract),
        text=order_text(order),
        action=order.action,
        quantity=float(order.totalQuantity),
        order_type=order.orderType,
        limit_price=_price(order.lmtPrice),
        stop_price=_price(order.auxPrice),
        tif=order.tif,
        status=status.status,
        state=_state(trade, perm_id, notes, settled=settled),
        filled=float(status.filled) or float(trade.filled()),
        remaining=float(status.remaining),
        average_price=float(status.avgFillPrice),
        why_held=status.whyHeld,
        provisional=provisional,
        messages=tuple(notes),
    )


def concluded_locally(trade: Trade) -> bool:
    """Whether the status is ib_async's own conclusion from an error message."""
    status = trade.orderStatus.status
    guessed = status in {OrderStatus.Cancelled, OrderStatus.ValidationError}
    return guessed and bool(trade.log) and trade.log[-1].errorCode != 0


def _state(trade: Trade, perm_id: int, notes: Sequence[Note], *, settled: bool) -> State:
    status = trade.orderStatus.status
    if concluded_locally(trade):
        if not settled:
            return "working" if perm_id else "sent"
        return "cancelled" if perm_id else "refused"
    if status == OrderStatus.Inactive and any(code == REJECTED for code, _ in notes):
        return "refused"
    return STATES.get(status, "working")


def orders_frame(views: Iterable[OrderView]) -> pd.DataFrame:
    """Return one row an order, newest last; prices that an order has not are NaN."""
    rows = [
        {
            "order_ref": view.order_ref,
            "instrument": naming.shorthand(view.contract),
            "action": view.action,
            "quantity": view.quantity,
            "order_type": view.order_type,
            "limit_price": view.limit_price,
            "stop_price": view.stop_price,
            "tif": view.tif,
            "status": view.status,
            "filled": view.filled,
            "remaining": view.remaining,
            "average_price": view.average_price,
            "order_id": view.order_id,
            "perm_id": view.perm_id,
            "client_id": view.client_id,
        }
        for view in views
    ]
    return pd.DataFrame(rows, columns=list(ORDER_COLUMNS)).astype(ORDER_COLUMNS)


def fills_frame(fills: Iterable[Fill]) -> pd.DataFrame:
    """Return one row an execution, oldest first: index ``ts``, quantities positive."""
    rows = [_fill_row(fill) for fill in fills]
    frame = pd.DataFrame(rows, columns=["ts", *FILL_COLUMNS]).astype(FILL_COLUMNS)
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True).astype("datetime64[us, UTC]")
    return frame.set_index("ts").sort_index(kind="stable")


def _fill_row(fill: Fill) -> dict[str, Any]:
    done, report = fill.execution, fill.commissionReport
    known = bool(report.execId)
    return {
        "ts": done.time,
        "exec_id": done.execId,
        "order_ref": done.orderRef,
        "instrument": naming.shorthand(fill.contract),
        "action": {"BOT": "BUY", "SLD": "SELL"}.get(done.side, done.side),
        "quantity": done.shares,
        "price": done.price,
        "exchange": done.exchange,
        "commission": report.commission if known else math.nan,
        "currency": report.currency,
        "order_id": done.orderId,
        "perm_id": done.permId,
    }


ORDER_COLUMNS: Final = {
    "order_ref": "object",
    "instrument": "object",
    "action": "object",
    "quantity": "float64",
    "order_type": "object",
    "limit_price": "float64",
    "stop_price": "float64",
    "tif": "object",
    "status": "object",
    "filled": "float64",
    "remaining": "float64",
    "average_price": "float64",
    "order_id": "int64",
    "perm_id": "int64",
    "client_id": "int64",
}
FILL_COLUMNS: Final = {
    "exec_id": "object",
    "order_ref": "object",
    "instrument": "object",
    "action": "object",
    "quantity": "float64",
    "price": "float64",
    "exchange": "object",
    "commission": "float64",
    "currency": "object",
    "order_id": "int64",
    "perm_id": "int64",
}


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What an order would do to the account; IB's figures, NaN where IB gives none.

    Attributes
    ----------
    text : str
        The order and the instrument, in few words.
    init_margin_change, maint_margin_change, equity_change : float
        In the account's base currency; `…_after` is the level that would follow.
    commission, min_commission, max_commission : float
        In `commission_currency`.
    warning : str
        IB's own words.
    """

    text: str
    init_margin_change: float
    maint_margin_change: float
    equity_change: float
    init_margin_after: float
    maint_margin_after: float
    equity_after: float
    commission: float
    min_commission: float
    max_commission: float
    commission_currency: str
    warning: str


def make_what_if(text: str, contract: Contract, state: OrderState) -> WhatIf:
    """Return IB's answer to a what-if order as numbers."""
    return WhatIf(
        text=f"{text} {describe(contract)}",
        init_margin_change=_price(state.initMarginChange),
        maint_margin_change=_price(state.maintMarginChange),
        equity_change=_price(state.equityWithLoanChange),
        init_margin_after=_price(state.initMarginAfter),
        maint_margin_after=_price(state.maintMarginAfter),
        equity_after=_price(state.equityWithLoanAfter),
        commission=_price(state.commission),
        min_commission=_price(state.minCommission),
        max_commission=_price(state.maxCommission),
        commission_currency=state.commissionCurrency,
        warning=state.warningText,
    )


def _price(value: Any) -> float:
    """Return IB's number; NaN where it is not set, which IB says in several ways."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return math.nan if number in {UNSET_DOUBLE, math.inf} else number
