"""What positions must be covered by: a share of their value, and of options what they may lose.

Pure, and rough on purpose: the shape of IB's rules, not their height. Not here: the account's sums
(`account`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim.orders import ZERO
from ibkit.sim.worth import mark, to_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ibkit.sim.account import Position
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.worth import Prices

Share = tuple[Decimal, Decimal]  # initial, maintenance

LONG_STOCK: Final = (Decimal("0.5"), Decimal("0.25"))
SHORT_STOCK: Final = (Decimal("0.5"), Decimal("0.3"))
# what an exchange's scan of risks comes to, as a share of a future's value
FUTURES: Final = {
    "ES": (Decimal("0.066"), Decimal("0.06")),
    "MES": (Decimal("0.066"), Decimal("0.06")),
    "NQ": (Decimal("0.079"), Decimal("0.072")),
    "MNQ": (Decimal("0.079"), Decimal("0.072")),
    "RTY": (Decimal("0.083"), Decimal("0.075")),
    "CL": (Decimal("0.12"), Decimal("0.11")),
    "MCL": (Decimal("0.12"), Decimal("0.11")),
    "NG": (Decimal("0.19"), Decimal("0.17")),
    "GC": (Decimal("0.075"), Decimal("0.068")),
    "SI": (Decimal("0.11"), Decimal("0.1")),
    "ZN": (Decimal("0.02"), Decimal("0.018")),
    "ZB": (Decimal("0.037"), Decimal("0.034")),
    "ZF": (Decimal("0.015"), Decimal("0.0135")),
    "ZT": (Decimal("0.007"), Decimal("0.0065")),
    "VIX": (Decimal("0.4"), Decimal("0.36")),
    "BTC": (Decimal("0.4"), Decimal("0.36")),
    "SOFR": (Decimal("0.004"), Decimal("0.0036")),
}
FUTURE: Final = (Decimal("0.066"), Decimal("0.06"))
SHARES: Final = {
    "CASH": (Decimal("0.03"), Decimal("0.025")),
    "CFD": (Decimal("0.2"), Decimal("0.15")),
    "BOND": (Decimal("0.1"), Decimal("0.09")),
    "CRYPTO": (Decimal(1), Decimal(1)),
}
NO_MARGIN: Final = (Decimal(1), Decimal(1))
OPTIONS: Final = frozenset({"OPT", "FOP"})
NAKED, NAKED_INDEX, LEAST_NAKED = Decimal("0.2"), Decimal("0.15"), Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Need:
    """What must be covered, in the instrument's currency."""

    currency: str
    initial: Decimal
    maintenance: Decimal


def needs(market: Prices, now: float, positions: Iterable[Position]) -> list[Need]:
    """Return what each position must be covered by; options are looked at together."""
    found: list[Need] = []
    options: dict[int, list[Position]] = defaultdict(list)
    stocks: dict[int, Decimal] = {}
    for one in positions:
        if not one.quantity:
            continue
        if one.instrument.sec_type in OPTIONS:
            options[one.instrument.under_con_id].append(one)
            continue
        stocks[one.instrument.con_id] = one.quantity
        value = abs(one.quantity) * mark(market, one.instrument, now) * one.instrument.point_value
        initial, maintenance = shares_of(one.instrument, short=one.quantity < 0)
        found.append(Need(one.instrument.currency, value * initial, value * maintenance))
    for under, chain in options.items():
        found += _of_options(market, now, chain, stocks.get(under, ZERO))
    return found


def shares_of(instrument: Instrument, *, short: bool) -> Share:
    """Return the shares of a position's value that must be covered: initial, maintenance."""
    if instrument.sec_type == "STK":
        return SHORT_STOCK if short else LONG_STOCK
    if instrument.sec_type == "FUT":
        return FUTURES.get(instrument.symbol, FUTURE)
    return SHARES.get(instrument.sec_type, NO_MARGIN)


def _of_options(
    market: Prices, now: float, chain: Sequence[Position], stock: Decimal
) -> list[Need]:
    """Return what the short options on one underlying need: covered, in a spread, or naked."""
    free = {one.instrument: one.quantity for one in chain if one.quantity > 0}
    found = []
    for short in sorted(
        (one for one in chain if one.quantity < 0), key=lambda o: o.instrument.strike
    ):
        left, option = -short.quantity, short.instrument
        size = option.point_value
        cover = stock if option.right == "C" else -stock
        covered = min(left, max(ZERO, cover // size)) if option.sec_type == "OPT" else ZERO
        stock -= covered * size * (1 if option.right == "C" else -1)
        left -= covered
        naked = _naked(market, now, option) * size
        need = ZERO
        for bought, unused in tuple(free.items()):
            if not _protects(bought, option):
                continue
            paired = min(left, unused)
            need += min(naked, _width(bought, option) * size) * paired
            free[bought] = unused - paired
            left -= paired
        need += naked * left
        found.append(Need(option.currency, need, need))
    return found


def _protects(bought: Instrument, sold: Instrument) -> bool:
    """Whether a bought option lives as long as a sold one and pays when it does."""
    return (bought.right, bought.under_con_id) == (sold.right, sold.under_con_id) and (
        bought.last_trade_date >= sold.last_trade_date
    )


def _width(bought: Instrument, sold: Instrument) -> Decimal:
    """Return the most that a spread can lose a unit."""
    low, high = to_decimal(sold.strike), to_decimal(bought.strike)
    return max(ZERO, high - low if sold.right == "C" else low - high)


def _naked(market: Prices, now: float, option: Instrument) -> Decimal:
    """Return what a naked short option needs a unit, beyond nothing that covers it."""
    price, strike = mark(market, option, now), to_decimal(option.strike)
    under = market.universe.by_con_id(option.under_con_id)
    spot = mark(market, under, now) if under is not None else strike
    out = max(ZERO, strike - spot if option.right == "C" else spot - strike)
    share = NAKED_INDEX if under is not None and under.sec_type == "IND" else NAKED
    floor = LEAST_NAKED * (spot if option.right == "C" else strike)
    return price + max(share * spot - out, floor)
