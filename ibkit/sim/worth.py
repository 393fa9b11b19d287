"""What things are worth at a moment: an instrument's mark, a currency in another.

Not here: positions (`ibkit.sim.account`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import date

    from ibkit.sim.calendars import Session
    from ibkit.sim.screen import Quote
    from ibkit.sim.universe import Instrument, Universe


class Prices(Protocol):
    """Where prices come from: a market, as far as money is concerned."""

    universe: Universe

    def quote(self, instrument: Instrument, at: float) -> Quote:
        """Return what a screen shows."""
        ...


class Market(Prices, Protocol):
    """What an exchange needs of a market besides."""

    @property
    def bars(self) -> Any:
        """The function that gives bars."""
        ...

    def is_open(self, instrument: Instrument, at: float, *, use_rth: bool = False) -> bool:
        """Whether `at` lies in a session."""
        ...

    def sessions(
        self,
        instrument: Instrument,
        first: date,
        last: date,
        use_rth: bool = True,  # noqa: FBT001, FBT002  IB's field, in IB's place
    ) -> list[Session]:
        """Return the sessions of some trade dates."""
        ...


def mark(market: Prices, instrument: Instrument, now: float) -> Decimal:
    """Return the price that positions are valued at: between bid and ask, else the last."""
    quote = market.quote(instrument, now)
    if quote.last is not None:
        return to_decimal(quote.last)
    if quote.bid is not None and quote.ask is not None:
        return (to_decimal(quote.bid) + to_decimal(quote.ask)) / 2
    return to_decimal(quote.close or 0)


def exchange_rate(market: Prices, now: float, currency: str, base: str) -> Decimal:
    """Return what one unit of `currency` is worth in `base`; 1 when no pair is traded here."""
    if currency == base:
        return Decimal(1)
    for one in market.universe.instruments:
        if one.sec_type == "CASH" and {one.symbol, one.currency} == {currency, base}:
            price = mark(market, one, now)
            return price if one.symbol == currency else 1 / price
    return Decimal(1)


def to_decimal(value: float) -> Decimal:
    """Return the number that a person sees, never its binary tail."""
    return Decimal(repr(value))
