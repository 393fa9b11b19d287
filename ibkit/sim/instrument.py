"""What an instrument is: IB's fields of contract details, and how its price behaves here.

Values only. Not here: which instruments there are (`ibkit.sim.universe`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PathModel:
    """What a price does; instruments may share one."""

    name: str
    price: float
    vol: float
    drift: float = 0.0
    market: float = 0.0
    sector: str = ""
    sector_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Model:
    """How an instrument follows its path, and how it trades.

    Attributes
    ----------
    path : PathModel
        The path, which several instruments may share.
    calendar : str
        A name of `calendars.CALENDARS`.
    scale, power, carry : float
        price = scale * path ** power * exp(carry * years to expiry).
    volume, trade_size : float
        Units a day and units a trade; no volume: only quotes (currencies, indices).
    spread : int
        Ticks between bid and ask.
    size_unit : Decimal
        Sizes are whole multiples of it.
    cycle : int
        Days between two expiries of a futures chain, else 0.
    under : Instrument or None
        What an option is priced on.
    european : bool
        Whether that option is exercised on its last day alone.
    """

    path: PathModel
    calendar: str
    scale: float = 1.0
    power: int = 1
    carry: float = 0.0
    volume: float = 0.0
    trade_size: float = 100.0
    spread: int = 1
    size_unit: Decimal = Decimal(1)
    cycle: int = 0
    under: Instrument | None = None
    european: bool = False


@dataclass(frozen=True, slots=True)
class Bond:
    """What only a bond has; dates are yyyymmdd."""

    cusip: str
    coupon: float
    maturity: str
    issued: str
    ratings: str
    kind: str
    description: str
    callable: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Instrument:
    """One contract, with every field that IB's contract details need (IB's names in snake case)."""

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    local_symbol: str
    trading_class: str
    min_tick: Decimal
    model: Model
    primary_exchange: str = ""
    last_trade_date: str = ""
    strike: float = 0.0
    right: str = ""
    multiplier: str = ""
    market_name: str = ""
    order_types: str = ""
    valid_exchanges: tuple[str, ...] = ()
    price_magnifier: int = 1
    under_con_id: int = 0
    long_name: str = ""
    contract_month: str = ""
    industry: str = ""
    category: str = ""
    subcategory: str = ""
    time_zone_id: str = ""
    market_rule_ids: tuple[int, ...] = ()
    real_expiration_date: str = ""
    stock_type: str = ""
    agg_group: int = 1
    min_size: Decimal = Decimal(1)
    size_increment: Decimal = Decimal(1)
    suggested_size_increment: Decimal = Decimal(1)
    under_symbol: str = ""
    under_sec_type: str = ""
    sec_ids: tuple[tuple[str, str], ...] = ()
    bond: Bond | None = None
    aliases: tuple[str, ...] = field(default=(), compare=False)
    bands: tuple[tuple[int, int], ...] = ()  # in ticks: from this price on, this step

    def __repr__(self) -> str:
        return f"<{self.sec_type} {self.local_symbol} {self.exchange} {self.con_id}>"

    def __hash__(self) -> int:
        return self.con_id  # caches ask for it on every quote

    @property
    def tick(self) -> Decimal:
        """The step of the price as it is quoted."""
        return self.min_tick * self.price_magnifier

    @property
    def point_value(self) -> Decimal:
        """Money for one unit of the quoted price of one unit held."""
        return Decimal(self.multiplier or 1) / self.price_magnifier

    @property
    def expiry(self) -> date | None:
        """The last day it trades, or None."""
        return _day(self.last_trade_date)

    @property
    def settlement(self) -> date | None:
        """The day an option's worth is fixed: the last it trades, or the one after; or None."""
        text = self.real_expiration_date if self.sec_type == "OPT" else ""
        return _day(text) or self.expiry


def _day(text: str) -> date | None:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if text else None


class Description(Protocol):
    """What a client says of the contract it means; empty and 0 mean: anything."""

    con_id: int
    symbol: str
    sec_type: str
    last_trade_date: str
    strike: float | None
    right: str
    multiplier: str
    exchange: str
    primary_exchange: str
    currency: str
    local_symbol: str
    trading_class: str
    include_expired: bool
    sec_id_type: str
    sec_id: str


Rule = tuple[tuple[Decimal, Decimal], ...]  # rows of (from this price on, increment)
