"""What an execution does to an order: pure, from the order before to the order after.

Not here: when it happens (`exchange`) and what it does to the account (`account`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from ibkit.sim.fees import order_fee
from ibkit.sim.orders import ZERO, Fill, WorkingOrder

if TYPE_CHECKING:
    from ibkit.sim.universe import Instrument


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade that an order is about to make; `realized` is before fees, None when it opens."""

    shares: Decimal
    price: Decimal
    time: float
    liquidity: int
    realized: Decimal | None


def executed(
    order: WorkingOrder, trade: Trade, account_id: str, seed: int
) -> tuple[WorkingOrder, Fill, Decimal]:
    """Return the order after a trade, the execution, and all fees of the order so far.

    While the execution is told, a full order's own commission is not yet known.
    """
    instrument, charged = order.request.instrument, order.commission or ZERO
    filled, paid = order.filled + trade.shares, order.paid + trade.shares * trade.price
    fees = order_fee(instrument, filled, paid * instrument.point_value)
    full = filled == order.request.quantity
    after = replace(
        order,
        filled=filled,
        paid=paid,
        last_fill_price=trade.price,
        fills=order.fills + 1,
        commission=None if full else fees,
        status="Filled" if full else "Submitted",
        completed_time=trade.time if full else None,
        completed_status=f"Filled Size: {filled:f}" if full else "",
    )
    return after, _fill(after, trade, fees - charged, account_id, seed), fees


def _fill(after: WorkingOrder, trade: Trade, fee: Decimal, account_id: str, seed: int) -> Fill:
    """Return the execution that led to the order `after`."""
    request, instrument = after.request, after.request.instrument
    return Fill(
        exec_id=f"{seed & 0xFFFFFFFF:08x}.{after.perm_id:08x}.{after.fills:02x}.01",
        time=trade.time,
        exchange=_venue(instrument),
        side="BOT" if request.sign > 0 else "SLD",
        shares=trade.shares,
        price=trade.price,
        cum_qty=after.filled,
        avg_price=after.avg_fill_price,
        liquidity=trade.liquidity,
        commission=fee,
        currency=instrument.currency,
        realized_pnl=None if trade.realized is None else trade.realized - fee,
        order_ref=request.order_ref,
        client_id=request.client_id,
        order_id=request.order_id,
        perm_id=after.perm_id,
        account=request.account or account_id,
        instrument=instrument,
    )


def tradable(shares: Decimal, instrument: Instrument) -> Decimal:
    """Return `shares` rounded down to what can be traded."""
    step = Decimal(1) if instrument.sec_type == "STK" else instrument.size_increment
    return shares - shares % step


def _venue(instrument: Instrument) -> str:
    """Return where a trade is printed."""
    if instrument.exchange != "SMART":
        return instrument.exchange
    return instrument.primary_exchange or instrument.exchange
