"""An option chain as a table: which options there may be on an underlying, and the choice of some.

Made from one `reqSecDefOptParams`, which names expiries and strikes of each class, not which of
them go together: rows are possible options until they are qualified. Pure, except for nothing. Not
here: prices and greeks of a market (`ibkit.options`); deltas here are Black's, at one volatility.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
from ib_async import Contract

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ib_async import OptionChain

Cycle = Literal["monthly", "weekly", "daily", "month-end"]
Range = tuple[float, float]
FRIDAY: Final = 4
YEAR: Final = 365.0
COLUMNS: Final = (
    *("expiry", "strike", "right", "trading_class", "multiplier", "days", "cycle", "adjusted"),
)


@dataclass(frozen=True)
class Chain:
    """Options on one underlying, a row each.

    Attributes
    ----------
    under : Contract
        The underlying, qualified.
    exchange : str
        Where the options are routed to.
    table : DataFrame
        ``expiry`` (yyyymmdd) ``strike right trading_class multiplier days`` (calendar days left)
        ``cycle adjusted``; after qualifying also ``con_id local_symbol``.
    as_of : date
        The day that ``days`` is counted from.
    spot : float or None
        The underlying's price, for moneyness and delta.
    requests : int
        How many requests it took to get here.
    """

    under: Contract
    exchange: str
    table: pd.DataFrame = field(repr=False)
    as_of: date
    spot: float | None = None
    requests: int = 0

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        known = "qualified" if self.qualified else "possible"
        days = self.table["expiry"].nunique()
        return (
            f"<Chain {self.under.symbol}: {len(self):,} {known} options, {days} expiries, "
            f"classes {', '.join(self.classes) or 'none'}, {self.requests} requests>"
        )

    @property
    def qualified(self) -> bool:
        """Whether each row is an option that exists, with its conId."""
        return "con_id" in self.table

    @property
    def classes(self) -> list[str]:
        """The trading classes, in order."""
        return sorted(self.table["trading_class"].unique())

    @property
    def expiries(self) -> list[str]:
        """The expiries, nearest first."""
        return sorted(self.table["expiry"].unique())

    def frame(self) -> pd.DataFrame:
        """Return a copy of the table."""
        return self.table.copy()

    def contracts(self) -> list[Contract]:
        """Return the options as contracts; with conIds, if they are qualified."""
        kind = "FOP" if self.under.secType == "FUT" else "OPT"
        numbers = self.table["con_id"] if self.qualified else [0] * len(self)
        names = self.table["local_symbol"] if self.qualified else [""] * len(self)
        columns = [self.table[name] for name in COLUMNS[:5]]
        return [
            Contract(
                secType=kind,
                conId=int(number),
                symbol=self.under.symbol,
                lastTradeDateOrContractMonth=expiry,
                strike=strike,
                right=right,
                multiplier=multiplier,
                exchange=self.exchange,
                currency=self.under.currency,
                localSymbol=local,
                tradingClass=name,
            )
            for expiry, strike, right, name, multiplier, number, local in zip(
                *columns, numbers, names, strict=True
            )
        ]

    def select(  # noqa: PLR0913 - each narrows by one thing
        self,
        *,
        days: float | Range | None = None,
        expiries: str | Iterable[str] | None = None,
        cycle: Cycle | Sequence[Cycle] | None = None,
        right: Literal["C", "P"] | None = None,
        strikes: Range | None = None,
        moneyness: float | Range | None = None,
        delta: float | Range | None = None,
        classes: str | Iterable[str] | None = None,
        adjusted: bool = False,
        spot: float | None = None,
        vol: float | None = None,
        rate: float = 0.0,
    ) -> Chain:
        """Return the options that fit all that is said. A range includes both ends.

        Parameters
        ----------
        days : float or (float, float), optional
            Calendar days to expiry; of a single number, the expiry that is nearest to it.
        expiries : str or iterable of str, optional
            yyyymmdd.
        cycle : str or sequence of str, optional
            ``monthly`` (third Fridays), ``weekly``, ``daily``, ``month-end``.
        right : {"C", "P"}, optional
            Calls or puts.
        strikes : (float, float), optional
            Lowest and highest.
        moneyness : float or (float, float), optional
            Strike over `spot`; of a single number, the nearest strike of each expiry.
        delta : float or (float, float), optional
            Size of the delta, 0 to 1, at volatility `vol`; of a single number, the nearest strike
            of each expiry and side.
        classes : str or iterable of str, optional
            Trading classes: ``"SPXW"``.
        adjusted : bool
            Whether classes are allowed that a corporate action has left, with odd deliverables.
        spot, vol, rate : float, optional
            The underlying's price (the chain's own, if it has one), the yearly volatility, and the
            interest rate.

        Raises
        ------
        ValueError
            Moneyness or delta without `spot`, or delta without `vol`.

        Examples
        --------
        >>> chain = kit.contracts.chain("SPY")
        >>> far = chain.select(days=30, cycle="monthly", right="P", delta=0.25, spot=680, vol=0.18)
        >>> len(far)
        1
        """
        rows = self.table
        rows = rows if adjusted else rows[~rows["adjusted"]]
        named = (("expiry", expiries), ("cycle", cycle), ("trading_class", classes))
        for column, wanted in named:
            if wanted is not None:
                some = [wanted] if isinstance(wanted, str) else list(wanted)
                rows = rows[rows[column].isin(some)]
        rows = rows if right is None else rows[rows["right"] == right]
        rows = rows if strikes is None else rows[rows["strike"].between(*strikes)]
        rows = _near(rows, rows["days"], days, ["trading_class"])
        price = self.spot if spot is None else spot
        if moneyness is not None:
            level = rows["strike"] / _given(price, "spot", "moneyness")
            rows = _near(rows, level, moneyness, ["trading_class", "expiry", "right"])
        if delta is not None:
            found = (_given(price, "spot", "delta"), _given(vol, "vol", "delta"), rate)
            sizes = deltas(rows, *found).abs()
            rows = _near(rows, sizes, delta, ["trading_class", "expiry", "right"])
        return replace(self, table=rows.reset_index(drop=True), spot=price)


def _given(value: float | None, name: str, what: str) -> float:
    if value is None or not value > 0 or not math.isfinite(value):
        raise ValueError(f"{what} needs {name}=, a number above zero; it is {value}")
    return value


def _near(
    rows: pd.DataFrame, values: pd.Series[float], wanted: float | Range | None, by: list[str]
) -> pd.DataFrame:
    """Keep rows whose value is in a range, or the nearest to a number within each group."""
    if wanted is None or rows.empty:
        return rows
    if isinstance(wanted, tuple):
        return rows[values.between(*wanted)]
    off = (values - wanted).abs()
    best = off.groupby([rows[name] for name in by]).transform("min")
    kept = rows[off <= best]
    if "expiry" in by:  # two strikes may be equally near
        kept = kept.drop_duplicates(by)
    return kept


def deltas(rows: pd.DataFrame, spot: float, vol: float, rate: float = 0.0) -> pd.Series[float]:
    """Return the Black-Scholes delta of each option; of puts below zero.

    On its last day an option has half a day left.
    """
    years = np.maximum(rows["days"].to_numpy(float), 0.5) / YEAR
    spread = vol * np.sqrt(years)
    strike = rows["strike"].to_numpy(float)
    d1 = (np.log(spot / strike) + (rate + vol**2 / 2) * years) / spread
    calls = np.array([(1 + math.erf(each / math.sqrt(2))) / 2 for each in d1])
    return pd.Series(np.where(rows["right"] == "C", calls, calls - 1), index=rows.index)


def make_chain(
    under: Contract,
    params: Sequence[OptionChain],
    as_of: date,
    *,
    exchange: str,
    spot: float | None = None,
) -> Chain:
    """Return the chain that IB's parameters describe, on one exchange."""
    parts = [_rows(under, each, as_of) for each in params if each.exchange == exchange]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=list(COLUMNS))
    table = table.sort_values(["expiry", "trading_class", "strike", "right"], kind="stable")
    return Chain(under, exchange, table.reset_index(drop=True), as_of, spot, 1)


def _rows(under: Contract, each: OptionChain, as_of: date) -> pd.DataFrame:
    """Return all that one class may have: each expiry with each strike, both sides."""
    days = sorted({day for day in each.expirations if day >= f"{as_of:%Y%m%d}"})
    strikes = np.array(sorted(set(each.strikes)), float)
    size = len(strikes) * 2
    cycles = cycles_of(days)
    left = [(_day(day) - as_of).days for day in days]
    return pd.DataFrame(
        {
            "expiry": np.repeat(np.array(days, object), size),
            "strike": np.tile(np.repeat(strikes, 2), len(days)),
            "right": np.tile(np.array(["C", "P"], object), len(strikes) * len(days)),
            "trading_class": each.tradingClass,
            "multiplier": each.multiplier,
            "days": np.repeat(np.array(left, int), size),
            "cycle": np.repeat(np.array(cycles, object), size),
            "adjusted": is_adjusted(under, each.tradingClass, each.multiplier),
        }
    )


def is_adjusted(under: Contract, trading_class: str, multiplier: str) -> bool:
    """Whether a class is what a split or a merger has left: AAPL1, 2SPY, or odd lots.

    >>> is_adjusted(Contract(secType="STK", symbol="AAPL"), "AAPL1", "100")
    True
    >>> is_adjusted(Contract(secType="IND", symbol="SPX"), "SPXW", "100")
    False
    """
    if under.secType != "STK":
        return False
    name = re.escape(under.symbol.replace(" ", ""))
    numbered = re.fullmatch(rf"\d{name}|{name}\d", trading_class) is not None
    return numbered or multiplier not in {"", "100", "100.0"}


def cycles_of(days: Sequence[str]) -> list[Cycle]:
    """Return what kind of expiry each of a class's days is.

    A monthly one is on the third Friday, or on the day before it when the class has none then; a
    weekly one on another Friday, by the same rule.

    >>> cycles_of(["20261218", "20261221", "20261224", "20261231"])
    ['monthly', 'daily', 'weekly', 'month-end']
    """
    known = set(days)
    return [_cycle(_day(day), known) for day in days]


def _cycle(day: date, known: set[str]) -> Cycle:
    friday = day + timedelta(days=FRIDAY - day.weekday())
    ends_week = day == friday or (
        day == friday - timedelta(days=1) and f"{friday:%Y%m%d}" not in known
    )
    if ends_week and 15 <= friday.day <= 21:
        return "monthly"
    following = day + timedelta(days=3 if day.weekday() == FRIDAY else 1)
    if following.month != day.month and day.weekday() <= FRIDAY:
        return "month-end"
    return "weekly" if ends_week else "daily"


def _day(text: str) -> date:
    return datetime.strptime(text[:8], "%Y%m%d").date()  # noqa: DTZ007 - a date has no zone


def to_value(params: Sequence[OptionChain]) -> list[Any]:
    """Return IB's parameters as JSON takes them."""
    return [
        [e.exchange, e.underlyingConId, e.tradingClass, e.multiplier, e.expirations, e.strikes]
        for e in params
    ]
