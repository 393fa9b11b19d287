"""The table of futures: multiplier, tick, months, delivery, last trade, one row a product.

For offline work and defaults only: on a connection IB's own details win. Not here: what the rules
mean in dates (`ibkit.contracts.expiry`). Prices and multipliers are Decimal.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal, cast

if TYPE_CHECKING:
    from ib_async import Contract

MONTH_CODES: Final = "FGHJKMNQUVXZ"


@dataclass(frozen=True, slots=True)
class FutureSpec:
    """What is fixed about one futures product.

    Attributes
    ----------
    symbol, ib_symbol, trading_class : str
        The exchange's root (``"6E"``), IB's symbol (``"EUR"``) and IB's class; the root is what
        people type, and symbol and class together are what IB needs.
    multiplier : Decimal
        Money for one whole unit of IB's own price; not always an integer.
    price_magnifier : int
        The quoted price is IB's price in units of 1/`price_magnifier` (cents: 100).
    min_tick : Decimal
        Smallest step before the magnifier, as `ContractDetails.minTick`.
    months : tuple of int
        The liquid contract months, 1 to 12.
    hours : str
        When it trades, a name of `ibkit.contracts.venues.VENUES`; "" when not known.
    calendar : str
        Whose business days the rules count: "US", "LONDON", "EUREX", "US+LONDON".
    last_trade, first_notice : str
        Rule names with their numbers, see `ibkit.contracts.expiry`; "" when there is none.
    confirmed : bool
        Whether two independent sources agree on the row.
    """

    symbol: str
    name: str
    ib_symbol: str
    exchange: str
    trading_class: str
    currency: str
    multiplier: Decimal
    price_magnifier: int
    min_tick: Decimal
    months: tuple[int, ...]
    delivery: Literal["cash", "physical"]
    hours: str
    calendar: str
    last_trade: str
    last_trade_text: str
    first_notice: str
    confirmed: bool
    note: str

    @property
    def quoted_tick(self) -> Decimal:
        """The smallest step of the price as it is quoted."""
        return self.min_tick * self.price_magnifier

    @property
    def tick_value(self) -> Decimal:
        """Money for one tick of one contract."""
        return self.min_tick * self.multiplier

    @property
    def point_value(self) -> Decimal:
        """Money for one whole point of the quoted price."""
        return self.multiplier / self.price_magnifier


@cache
def load_specs() -> dict[str, FutureSpec]:
    """Return the table by the exchange's root symbol.

    >>> es = load_specs()["ES"]
    >>> es.tick_value, es.months
    (Decimal('12.50'), (3, 6, 9, 12))
    """
    text = files("ibkit.contracts").joinpath("futures.csv").read_text(encoding="utf-8")
    specs = (_spec(row) for row in csv.DictReader(text.splitlines()))
    return {spec.symbol: spec for spec in specs}


def _spec(row: dict[str, str]) -> FutureSpec:
    """Return one row of the file, typed."""
    return FutureSpec(
        symbol=row["root"],
        name=row["name"],
        ib_symbol=row["ib_symbol"],
        exchange=row["exchange"],
        trading_class=row["trading_class"],
        currency=row["currency"],
        multiplier=Decimal(row["multiplier"]),
        price_magnifier=int(row["price_magnifier"]),
        min_tick=Decimal(row["min_tick"]),
        months=tuple(MONTH_CODES.index(code) + 1 for code in row["months"]),
        delivery=cast('Literal["cash", "physical"]', row["delivery"]),
        hours=row["hours"],
        calendar=row["calendar"],
        last_trade=row["last_trade"],
        last_trade_text=row["last_trade_text"],
        first_notice=row["first_notice"],
        confirmed=row["confirmed"] == "yes",
        note=row["note"],
    )


def find_spec(
    symbol: str, *, exchange: str = "", trading_class: str = "", multiplier: str = ""
) -> FutureSpec | None:
    """Return the row for what a person or IB calls a product, or None.

    The class decides where a symbol is shared (SI and SIL); without one, the root of that name
    wins over IB's symbol of that name.

    >>> find_spec("EUR").symbol, find_spec("SI").trading_class
    ('6E', 'SI')
    >>> find_spec("SI", multiplier="1000").symbol
    'SIL'
    """
    specs = _fitting(symbol, exchange, trading_class, multiplier)
    specs.sort(key=lambda spec: spec.symbol != symbol)
    return specs[0] if specs else None


def spec_of(contract: Contract) -> FutureSpec | None:
    """Return the row of a contract as IB describes it, or None.

    Its class decides; its multiplier only where it has none, so that a row is found also when IB's
    multiplier is another one than the table's.
    """
    multiplier = "" if contract.tradingClass else contract.multiplier
    return find_spec(contract.symbol, trading_class=contract.tradingClass, multiplier=multiplier)


def share_symbol(
    symbol: str, *, exchange: str = "", trading_class: str = "", multiplier: str = ""
) -> tuple[str, ...]:
    """Return the roots among which a symbol of IB's does not decide; () if it does.

    >>> share_symbol("DAX"), share_symbol("SI"), share_symbol("DAX", trading_class="FDXM")
    (('FDAX', 'FDXM', 'FDXS'), (), ())
    """
    found = [spec.symbol for spec in _fitting(symbol, exchange, trading_class, multiplier)]
    return () if len(found) < 2 or symbol in found else tuple(found)


def _fitting(symbol: str, exchange: str, trading_class: str, multiplier: str) -> list[FutureSpec]:
    return [
        spec
        for spec in load_specs().values()
        if symbol in {spec.symbol, spec.ib_symbol}
        and exchange in {"", spec.exchange}
        and trading_class in {"", spec.trading_class}
        and (not multiplier or Decimal(multiplier) == spec.multiplier)
    ]
