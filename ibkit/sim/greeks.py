"""Option arithmetic: Black and Scholes with a constant rate, its way back, and the Greeks.

Pure. Not here: how the market prices its options (`market`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ibkit.sim.optionmarket import carried, settled_at
from ibkit.sim.screen import end_of_life

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.screen import Quote

RATE: Final = 0.04
YEAR_S: Final = 365 * 86_400
BID, ASK, LAST, MODEL, CUSTOM = 10, 11, 12, 13, 53
PRICE_BASED: Final = 1
NOT_COMPUTED: Final = -1.0  # of prices and volatilities
NO_GREEK: Final = -2.0
HIGHEST_VOL: Final = 20.0


@dataclass(frozen=True, slots=True)
class Greeks:
    """A price, its volatility and its sensitivities: gamma per unit, vega and theta per point, day.

    None where it cannot be computed.
    """

    price: float
    volatility: float | None
    delta: float | None = None
    gamma: float | None = None
    vega: float | None = None
    theta: float | None = None


@dataclass(frozen=True, slots=True)
class Computation:
    """One message of an option computation."""

    kind: int
    greeks: Greeks
    under: float

    def values(self) -> tuple[object, ...]:
        """Return the fields after the kind; -1 and -2 stand for what was not computed."""
        g = self.greeks
        vol = NOT_COMPUTED if g.volatility is None else _text(g.volatility)
        delta, gamma, vega, theta = (
            NO_GREEK if x is None else _text(x) for x in (g.delta, g.gamma, g.vega, g.theta)
        )
        price = _text(g.price)
        return (PRICE_BASED, vol, delta, price, 0.0, gamma, vega, theta, _text(self.under))


def _text(value: float) -> str:
    """Return a number without an exponent."""
    return f"{value:.10f}".rstrip("0").rstrip(".") or "0"


def value(spot: float, strike: float, years: float, vol: float, right: str) -> Greeks:
    """Return what an option is worth, and its Greeks.

    >>> round(value(100, 100, 1.0, 0.2, "C").price, 4)
    9.9251
    """
    sign = -1 if right.startswith("P") else 1
    if years <= 0 or vol <= 0 or spot <= 0 or strike <= 0:
        inner = max(0.0, sign * (spot - strike))
        return Greeks(inner, None, float(sign) if inner else 0.0, 0.0, 0.0, 0.0)
    width = vol * math.sqrt(years)
    d1 = (math.log(spot / strike) + (RATE + vol * vol / 2) * years) / width
    d2 = d1 - width
    discount = math.exp(-RATE * years)
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    price = sign * (spot * _normal(sign * d1) - strike * discount * _normal(sign * d2))
    theta = -spot * density * vol / (2 * math.sqrt(years))
    theta -= sign * RATE * strike * discount * _normal(sign * d2)
    return Greeks(
        max(price, 0.0),
        vol,
        sign * _normal(sign * d1),
        density / (spot * width),
        spot * density * math.sqrt(years) / 100,
        theta / 365,
    )


def _normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def implied(price: float, spot: float, strike: float, years: float, right: str) -> float | None:
    """Return the volatility that gives `price`, or None when none does.

    >>> round(implied(9.9251, 100, 100, 1.0, "C"), 3)
    0.2
    """
    if years <= 0 or not value(spot, strike, years, 1e-6, right).price <= price < spot + strike:
        return None
    low, high = 1e-6, HIGHEST_VOL
    if value(spot, strike, years, high, right).price < price:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        if value(spot, strike, years, middle, right).price < price:
            low = middle
        else:
            high = middle
    return high


def years_left(instrument: Instrument, now: float) -> float:
    """Return the time to expiry."""
    end = settled_at(instrument) or end_of_life(instrument)
    return 0.0 if end is None else max(0.0, (end - now) / YEAR_S)


def at_price(instrument: Instrument, price: float, spot: float, now: float) -> Greeks:
    """Return the Greeks of an option at the volatility that its price implies."""
    years = years_left(instrument, now)
    spot = float(carried(instrument, spot, years))
    vol = implied(price, spot, instrument.strike, years, instrument.right)
    if vol is None:
        return Greeks(price, None)
    return value(spot, instrument.strike, years, vol, instrument.right)


def computations(
    instrument: Instrument,
    quote: Quote,
    seen: Quote | None,
    under: Quote,
    now: float,
    surface: Callable[[float], float | None] = lambda _spot: None,
) -> Iterator[Computation]:
    """Yield the computations of bid, ask, last and model (the middle), where a price changed.

    `surface` gives the model's volatility at a price of the underlying; without one it is what the
    middle implies.
    """
    spot = under.last
    if spot is None and under.bid is not None and under.ask is not None:
        spot = (under.bid + under.ask) / 2
    if spot is None:
        return
    rows = [
        (BID, quote.bid, seen and seen.bid),
        (ASK, quote.ask, seen and seen.ask),
        (LAST, quote.last, seen and seen.last),
    ]
    if quote.bid is not None and quote.ask is not None:
        before = None
        if seen is not None and seen.bid is not None and seen.ask is not None:
            before = (seen.bid + seen.ask) / 2
        rows.append((MODEL, (quote.bid + quote.ask) / 2, before))
    for kind, price, old in rows:
        if price is not None and price != old:
            vol = surface(spot) if kind == MODEL else None
            found = at_price(instrument, price, spot, now)
            if vol is not None:
                years = years_left(instrument, now)
                asset = float(carried(instrument, spot, years))
                found = value(asset, instrument.strike, years, vol, instrument.right)
            yield Computation(kind, found, spot)
