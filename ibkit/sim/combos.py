"""Combinations: one contract made of several, and what each leg of a trade costs.

Pure. Not here: quotes of combinations (`watch`) and the booking of their legs (`floor`).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from zlib import crc32

from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.orders import Leg, OrderRequest
    from ibkit.sim.watch import Watch

BAG_CON_ID: Final = 28_812_380  # what IB calls every combination of US securities
TICK: Final = Decimal("0.01")


def combination(legs: Sequence[Leg], symbol: str, exchange: str) -> Instrument:
    """Return a combination as an instrument: hours and currency of its first leg.

    Its own number is derived from its legs, so that two combinations never share a book.
    """
    first = legs[0].instrument
    names = ",".join(dict.fromkeys(leg.instrument.symbol for leg in legs))
    number = -(crc32(description(legs).encode()) + 1)
    return replace(
        first,
        con_id=number,
        symbol=symbol or names,
        sec_type="BAG",
        exchange=exchange or "SMART",
        primary_exchange="",
        local_symbol=names,
        trading_class="COMB",
        last_trade_date="",
        strike=0.0,
        right="",
        multiplier=_multiplier(legs),
        min_tick=TICK,
        market_rule_ids=(),
        min_size=Decimal(1),
        size_increment=Decimal(1),
        price_magnifier=1,
    )


def description(legs: Sequence[Leg]) -> str:
    """Return the legs in IB's short form: conId, a bar, and the signed ratio."""
    return ",".join(f"{leg.instrument.con_id}|{leg.ratio * leg.sign}" for leg in legs)


def _multiplier(legs: Sequence[Leg]) -> str:
    found = {leg.instrument.multiplier for leg in legs}
    return found.pop() if len(found) == 1 else ""


def leg_prices(request: OrderRequest, price: Decimal, watch: Watch, now: float) -> list[Decimal]:
    """Return a price for each leg so that together they make `price`: the first leg gives way."""
    prices = []
    for leg in request.legs:
        quote = watch.quote(leg.instrument, now)
        touch = quote.ask if leg.sign * request.sign > 0 else quote.bid
        prices.append(to_decimal(touch or quote.last or quote.close or 0))
    total = sum(
        (one * leg.ratio * leg.sign for one, leg in zip(prices, request.legs, strict=True)),
        Decimal(0),
    )
    first = request.legs[0]
    prices[0] += (price - total) / (first.ratio * first.sign)
    return prices
