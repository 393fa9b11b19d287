"""What an execution does to an order: pure, from the order before to the order after.

Not here: when it happens (`floor`) and what it does to the account (`account`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ibkit.sim.orders import ZERO, Fill, WorkingOrder

if TYPE_CHECKING:
    from decimal import Decimal

    from ibkit.sim.universe import Instrument


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade that an order is about to make; `liquidity` is 1 when it added, 2 when it took."""

    shares: Decimal
    price: Decimal
    time: float
    liquidity: int


@dataclass(frozen=True, slots=True)
class Booking:
    """Whose trade it is, and what it costs and wins; `realized` is None when it opens."""

    account: str
    shares: Decimal
    fee: Decimal
    realized: Decimal | None


def executed(order: WorkingOrder, trade: Trade, fees: Decimal) -> WorkingOrder:
    """Return the order after a trade; `fees` are all of it so far.

    While the execution is told, a full order's own commission is not yet known.
    """
    filled = order.filled + trade.shares
    full = filled >= order.request.quantity
    return replace(
        order,
        filled=filled,
        paid=order.paid + trade.shares * trade.price,
        last_fill_price=trade.price,
        fills=order.fills + 1,
        traded_at=trade.time,
        commission=None if full else fees,
        status="Filled" if full else "Submitted",
        why_held="",
        completed_time=trade.time if full else None,
        completed_status=f"Filled Size: {filled:f}" if full else "",
    )


def make_fill(
    after: WorkingOrder, trade: Trade, booking: Booking, *, seed: int, part: str = ""
) -> Fill:
    """Return the execution that led to the order `after`."""
    request, instrument = after.request, after.request.instrument
    return Fill(
        exec_id=f"{seed & 0xFFFFFFFF:08x}.{after.perm_id:08x}.{after.fills:02x}{part}.01",
        time=trade.time,
        exchange=venue(instrument),
        side="BOT" if request.sign > 0 else "SLD",
        shares=booking.shares,
        price=trade.price,
        cum_qty=after.filled,
        avg_price=after.avg_fill_price,
        liquidity=trade.liquidity,
        commission=booking.fee,
        currency=instrument.currency,
        realized_pnl=booking.realized,
        order_ref=request.order_ref,
        client_id=request.client_id,
        order_id=request.order_id,
        perm_id=after.perm_id,
        account=booking.account,
        instrument=instrument,
    )


def leg_fill(
    whole: Fill,
    number: int,
    instrument: Instrument,
    trade: Trade,
    booking: Booking,
    *,
    bought: bool,
) -> Fill:
    """Return the execution of one leg of a combination, named after that of the whole."""
    return replace(
        whole,
        exec_id=f"{whole.exec_id.removesuffix('.01')}.{number:02x}.01.01",
        exchange=venue(instrument),
        side="BOT" if bought else "SLD",
        shares=trade.shares,
        price=trade.price,
        cum_qty=trade.shares,
        avg_price=trade.price,
        commission=booking.fee,
        currency=instrument.currency,
        realized_pnl=booking.realized,
        instrument=instrument,
    )


def tradable(shares: Decimal, instrument: Instrument) -> Decimal:
    """Return `shares` rounded down to what can be traded."""
    step = type(ZERO)(1) if instrument.sec_type == "STK" else instrument.size_increment
    return shares - shares % step


def venue(instrument: Instrument) -> str:
    """Return where a trade is printed."""
    if instrument.exchange != "SMART":
        return instrument.exchange
    return instrument.primary_exchange or instrument.exchange
