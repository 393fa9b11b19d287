"""An option chain as a table: which options there may be on an underlying, and the choice of some.

Made from one `reqSecDefOptParams`, which names expiries and strikes of each class, not which of
them go together: rows are possible options until they are qualified. Pure. Not here: prices and
greeks of a market (`ibkit.options`); deltas here are Black's, at one volatility.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pandas as pd
from ib_async import Contract

from ibkit.contracts.expiry import Days
from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ib_async import OptionChain

Cycle = Literal["monthly", "weekly", "daily", "month-end"]
Range = tuple[float, float]
FRIDAY: Final = 4
YEAR: Final = 365.0
COLUMNS: Final = (
    *("expiry", "strike", "right", "trading_class", "multiplier", "days", "cycle", "adjusted"),
    "settlement",
)
# index options that settle on the next day's opening prices; the others on their last close
MORNING: Final = frozenset({"SPX", "NDX", "RUT", "DJX", "MXEA", "MXEF", "VIX", "VIXW"})
ONE_KIND: Final = 0.7


class ChoiceError(IbkitError, ValueError):
    """A choice among options that cannot be made: `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


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
        ``cycle adjusted settlement`` (``AM`` or ``PM``; of options on futures, empty); after
        qualifying also ``con_id local_symbol``.
    as_of : date
        The day that ``days`` is counted from.
    spot : float or None
        The underlying's price, for moneyness and delta.
    requests : int
        How many requests it took to get here.
    vol : float or None
        A yearly volatility of the underlying, for delta.
    note : str
        Where price and volatility are from.
    """

    under: Contract
    exchange: str
    table: pd.DataFrame = field(repr=False)
    as_of: date
    spot: float | None = None
    requests: int = 0
    vol: float | None = None
    note: str = ""

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        known = "qualified" if self.qualified else "possible"
        days = self.table["expiry"].nunique()
        return (
            f"<Chain {self.under.symbol}: {len(self):,} {known} options, {days} expiries, "
            f"classes {', '.join(self.classes) or 'none'}, {self.requests} requests"
            f"{'; ' + self.note if self.note else ''}>"
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
        expiries: str | date | Iterable[str | date] | None = None,
        cycle: Cycle | Sequence[Cycle] | None = None,
        right: Literal["C", "P"] | None = None,
        strikes: float | Range | None = None,
        moneyness: float | Range | None = None,
        delta: float | Range | None = None,
        classes: str | Iterable[str] | None = None,
        adjusted: bool = False,
        spot: float | None = None,
        vol: float | None = None,
        rate: float = 0.0,
        deltas: Mapping[int, float] | pd.Series[float] | None = None,
    ) -> Chain:
        """Return the options that fit all that is said. A range includes both ends.

        Parameters
        ----------
        days : float or (float, float), optional
            Calendar days to expiry; of a single number, the expiry that is nearest to it.
        expiries : str or iterable of str, optional
            ``"20261218"``, ``"2026-12-18"`` or dates.
        cycle : str or sequence of str, optional
            ``monthly`` (third Fridays), ``weekly``, ``daily``, ``month-end``. A Friday that ends
            a month is weekly and month-end.
        right : {"C", "P"}, optional
            Calls or puts.
        strikes : float or (float, float), optional
            One, or lowest and highest.
        moneyness : float or (float, float), optional
            Strike over `spot`; of a single number, the nearest strike of each expiry.
        delta : float or (float, float), optional
            Size of the delta, 0 to 1; of a single number, the nearest strike of each expiry and
            side; below zero, of puts only. Black's at volatility `vol`, unless `deltas` says
            better.
        classes : str or iterable of str, optional
            Trading classes: ``"SPXW"``.
        adjusted : bool
            Whether classes are allowed that a corporate action has left, with odd deliverables.
        spot, vol, rate : float, optional
            The underlying's price and yearly volatility (the chain's own, if it has them: see
            ``market=`` of `kit.contracts.chain`), and the interest rate.
        deltas : mapping or Series, optional
            Deltas by conId, such as those of IB's model greeks, for a chain that is qualified;
            options without one are left out.

        Raises
        ------
        ChoiceError
            Moneyness or delta without `spot`, or delta without `vol`; `deltas` for options that
            have no conId yet; what is no number, no range, no side and no cycle.

        Examples
        --------
        >>> chain = kit.contracts.chain("SPY")
        >>> far = chain.select(days=30, cycle="monthly", right="P", delta=0.25, spot=680, vol=0.18)
        >>> len(far)
        1
        """
        rows = self.table
        rows = rows if adjusted else rows[~rows["adjusted"]]
        delta, right = _sided(_number(delta, "delta"), right)
        days, strikes = _number(days, "days"), _number(strikes, "strikes")
        moneyness = _number(moneyness, "moneyness")
        rows = rows if cycle is None else rows[_in_cycle(rows, cycle)]
        named = (("expiry", expiries), ("trading_class", classes))
        for column, wanted in named:
            if wanted is not None:
                some = [wanted] if isinstance(wanted, str | date) else list(wanted)
                rows = rows[rows[column].isin([str(each).replace("-", "") for each in some])]
        rows = rows if right is None else rows[rows["right"] == right]
        if strikes is not None:
            ends = strikes if isinstance(strikes, tuple) else (strikes, strikes)
            rows = rows[rows["strike"].between(*ends)]
        rows = _near(rows, rows["days"], days, ["trading_class"])
        price = self.spot if spot is None else spot
        if moneyness is not None:
            level = rows["strike"] / _given(price, "spot", "moneyness")
            rows = _near(rows, level, moneyness, ["trading_class", "expiry", "right"])
        level_of_vol = self.vol if vol is None else vol
        if delta is not None:
            sizes = (
                _told(rows, deltas)
                if deltas is not None
                else black_deltas(
                    rows,
                    _given(price, "spot", "delta"),
                    _given(level_of_vol, "vol", "delta"),
                    rate,
                )
            ).abs()
            rows = _near(rows, sizes, delta, ["trading_class", "expiry", "right"])
        return replace(self, table=rows.reset_index(drop=True), spot=price, vol=level_of_vol)


def _number(value: float | Range | None, name: str) -> float | Range | None:
    """Return a number or a range, lowest first, if it is one."""
    if value is None:
        return None
    try:
        found = (
            tuple(float(each) for each in value) if isinstance(value, Sequence) else float(value)
        )
    except (TypeError, ValueError):
        raise ChoiceError(f"{name} is a number or a pair of them, not {value!r}") from None
    ends = found if isinstance(found, tuple) else (found, found)
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ChoiceError(f"{name} is a number or (lowest, highest), not {value!r}")
    return ends if isinstance(found, tuple) else found


def _sided(
    delta: float | Range | None, right: Literal["C", "P"] | None
) -> tuple[float | Range | None, Literal["C", "P"] | None]:
    """Return the size of a delta and the side that is meant: below zero, puts."""
    if right not in {None, "C", "P"}:
        raise ChoiceError(f"right is 'C' or 'P', not {right!r}")
    if delta is None:
        return None, right
    ends = delta if isinstance(delta, tuple) else (delta, delta)
    if ends[0] < 0 < ends[1] or max(map(abs, ends)) > 1:
        raise ChoiceError(f"a delta is between 0 and 1, or of puts -1 and 0; not {delta!r}")
    if ends[0] >= 0:
        return delta, right
    if right == "C":
        raise ChoiceError(f"calls have no delta of {delta!r}")
    return ((-ends[1], -ends[0]) if isinstance(delta, tuple) else -delta), "P"


def _given(value: float | None, name: str, what: str) -> float:
    if value is None or not value > 0 or not math.isfinite(value):
        raise ChoiceError(f"{what} needs {name}=, a number above zero; it is {value}")
    return value


def _told(rows: pd.DataFrame, deltas: Mapping[int, float] | pd.Series[float]) -> pd.Series[float]:
    """Return the delta that somebody told of each option; NaN of the others."""
    if "con_id" not in rows:
        raise ChoiceError("deltas= goes by conId: qualify the chain first")
    known = pd.Series(deltas, dtype=float)
    return rows["con_id"].map(known[~known.index.duplicated()])


def _in_cycle(rows: pd.DataFrame, cycle: Cycle | Sequence[Cycle]) -> pd.Series[bool]:
    """Whether each option is of one of some cycles."""
    wanted = {cycle} if isinstance(cycle, str) else set(cycle)
    if unknown := wanted - set(get_args(Cycle)):
        raise ChoiceError(f"cycle is one of {', '.join(get_args(Cycle))}, not {min(unknown)}")
    found = rows["cycle"].isin(wanted)
    if "weekly" in wanted:
        ends = {day for day in rows["expiry"].unique() if _day(day).weekday() == FRIDAY}
        found |= (rows["cycle"] == "month-end") & rows["expiry"].isin(ends)
    return found


def _near(
    rows: pd.DataFrame, values: pd.Series[float], wanted: float | Range | None, by: list[str]
) -> pd.DataFrame:
    """Keep rows whose value is in a range, or the nearest to a number within each group."""
    if wanted is None or rows.empty:
        return rows
    if isinstance(wanted, tuple):
        return rows[values.between(*wanted)]
    off = (values - wanted).abs().dropna()
    rows = rows.loc[off.index]
    best = off.groupby([rows[name] for name in by]).transform("min")
    kept = rows[off <= best]
    if "expiry" in by:  # two strikes may be equally near
        return kept.drop_duplicates(by)
    # and two expiries: the earlier one, then
    first = values[kept.index].groupby([kept[name] for name in by]).transform("min")
    return kept[values[kept.index] <= first]


def black_deltas(
    rows: pd.DataFrame, spot: float, vol: float, rate: float = 0.0
) -> pd.Series[float]:
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
    here = [each for each in params if each.exchange == exchange]
    usual = usual_multiplier(under, here)
    parts = [_rows(under, each, as_of, usual) for each in here]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=list(COLUMNS))
    table = table.sort_values(["expiry", "trading_class", "strike", "right"], kind="stable")
    return Chain(under, exchange, table.reset_index(drop=True), as_of, spot, 1)


def usual_multiplier(under: Contract, params: Sequence[OptionChain]) -> str:
    """Return the multiplier that is not odd: of the class of the underlying's name, or of most.

    It is 100 in America, 1000 in London, and each stock's own lot in Hong Kong.
    """
    own = [each.multiplier for each in params if each.tradingClass == under.symbol]
    counts = Counter(own or [each.multiplier for each in params])
    return counts.most_common(1)[0][0] if counts else ""


def _rows(under: Contract, each: OptionChain, as_of: date, usual: str) -> pd.DataFrame:
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
            "adjusted": is_adjusted(under, each.tradingClass, each.multiplier, usual),
            "settlement": settlement_of(under, each.tradingClass),
        }
    )


def settlement_of(under: Contract, trading_class: str) -> str:
    """Return whether a class settles on opening (AM) or closing prices (PM); "" if not known.

    >>> [settlement_of(Contract(secType="IND"), each) for each in ("SPX", "SPXW")]
    ['AM', 'PM']
    """
    if under.secType == "FUT":
        return ""
    return "AM" if under.secType == "IND" and trading_class in MORNING else "PM"


def is_adjusted(under: Contract, trading_class: str, multiplier: str, usual: str = "100") -> bool:
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
    if multiplier in {"", usual}:
        return numbered
    return numbered or float(multiplier) != float(usual or 100)


def cycles_of(days: Sequence[str]) -> list[Cycle]:
    """Return what kind of expiry each of a class's days is.

    A monthly one is on the third Friday, or on the day before it when the class has none then; a
    weekly one on another Friday, by the same rule. A class that expires once a month, by no rule
    of Fridays (VIX, crude oil), is monthly.

    >>> cycles_of(["20261218", "20261221", "20261224", "20261231"])
    ['monthly', 'daily', 'weekly', 'month-end']
    """
    known = set(days)
    found = [_cycle(_day(day), known) for day in days]
    if len({day[:6] for day in days}) == len(days) > 2:  # one a month: all of one kind
        kind = max(sorted(set(found)), key=found.count)
        return [
            kind if kind != "daily" and found.count(kind) >= ONE_KIND * len(found) else "monthly"
        ] * len(days)
    return found


def _cycle(day: date, known: set[str]) -> Cycle:
    friday = day + timedelta(days=FRIDAY - day.weekday())
    ends_week = day == friday or (
        day == friday - timedelta(days=1) and f"{friday:%Y%m%d}" not in known
    )
    if ends_week and 15 <= friday.day <= 21:
        return "monthly"
    if day.weekday() <= FRIDAY and Days("US").add(day, 1).month != day.month:
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
