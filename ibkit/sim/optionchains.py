"""Option chains: which expiries and strikes a class has, and one option as an instrument.

Pure. An option is made when somebody names it: a chain is arithmetic, never a list kept in memory.
Not here: what options cost (`ibkit.sim.optionmarket`), who asks (`ibkit.sim.universe`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ibkit.contracts.specs import MONTH_CODES
from ibkit.sim.calendars import blocks
from ibkit.sim.chains import make_future

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.chains import Product
    from ibkit.sim.instrument import Description, Instrument, Model

OPTION_IDS: Final = 1_000_000_000
EPOCH: Final = date(2020, 1, 1)  # expiries are numbered by the day from here
LAST_EXPIRY: Final = 5000
STRIKES: Final = 5500  # numbers of strikes a class may use
SLOTS: Final = 20
ANCHOR: Final = date(2026, 1, 2)  # when a path's `price` holds
FRIDAY: Final = 4
DAILY, WEEKLY, MONTHLY = "daily", "weekly", "monthly"
QUARTERLY, MONTH_END = "quarterly", "month-end"
CYCLES: Final = (DAILY, WEEKLY, MONTHLY, QUARTERLY, MONTH_END)
MONTH_ENDS: Final = 6  # how many ends of months are listed
DAYS_AHEAD: Final = 14  # how far ahead daily expiries are listed
WEEKS_AHEAD: Final = 8
MONTHS_AHEAD: Final = 12
LEAPS: Final = 2  # further Januaries
FAR: Final = 270  # days from which only wide strikes are listed
NEAR: Final = 0.15  # share of the level within which narrow strikes are listed
REACH: Final = 2.6  # yearly volatilities that the ladder reaches from the level, at least LEAST
LEAST: Final = 0.4
CALENDAR: Final = "us_index"
VENUES: Final = (
    "SMART,AMEX,BATS,BOX,CBOE,CBOE2,EDGX,EMERALD,GEMINI,IBUSOPT,ISE,MEMX,MERCURY,MIAX,NASDAQBX,"
    "NASDAQOM,PEARL,PHLX,PSE,SAPPHIRE"
)
ORDER_TYPES: Final = (
    "ACTIVETIM,AD,ADJUST,ALERT,ALGO,ALLOC,AVGCOST,BASKET,COND,CONDORDER,DAY,DEACT,DEACTDIS,"
    "DEACTEOD,DIS,FOK,GAT,GTC,GTD,GTT,HID,ICE,IOC,LIT,LMT,MIT,MKT,MTL,NONALGO,OCA,PEGMID,REL,"
    "SCALE,SIZECHK,SMARTSTG,SNAPMID,SNAPMKT,SNAPREL,STP,STPLMT,TRAIL,TRAILLIT,TRAILLMT,TRAILMIT,"
    "VOLAT,WHATIF"
)


@dataclass(frozen=True, slots=True)
class OptionClass:
    """A trading class of options on one underlying.

    Attributes
    ----------
    name : str
        The trading class (SPXW).
    slot : int
        Its place in our conIds; never changes.
    under : Instrument
        What is optioned.
    cycle : str
        "daily" (and all below), "weekly" (Fridays, and months) or "monthly" (third Fridays);
        "quarterly" (third Fridays of four months) or "month-end" (the last trading day of each).
    step, wide : Decimal
        Between strikes near the level, and far from it or in far months.
    european, morning : bool
        Exercised on the last day alone; settled at the opening after the last trading day.
    rule, tick : int, Decimal
        The market rule, and its smallest step.
    venues : tuple of str
        Where it trades.
    product : Product, optional
        For options on futures: `under` is then one month, and each expiry has its own.
    """

    name: str
    slot: int
    under: Instrument
    cycle: str
    step: Decimal
    wide: Decimal
    rule: int
    tick: Decimal
    european: bool = False
    morning: bool = False
    venues: tuple[str, ...] = tuple(VENUES.split(","))
    volume: float = 2000.0
    product: Product | None = None

    def __hash__(self) -> int:
        return self.slot  # caches ask for it often

    @property
    def sec_type(self) -> str:
        """What IB calls these options."""
        return "OPT" if self.product is None else "FOP"

    @property
    def multiplier(self) -> str:
        """How many units of the underlying an option is on."""
        return "100" if self.product is None else self.under.multiplier

    def under_on(self, expiry: date) -> Instrument:
        """Return what an option that expires then is on: of futures the first one left."""
        if self.product is None:
            return self.under
        return _future_of(self, expiry)

    # --- expiries ------------------------------------------------------------

    def expiries(self, today: date) -> list[date]:
        """Return the last trading days that are listed on `today`, nearest first."""
        if self.cycle in {QUARTERLY, MONTH_END}:
            return [day for day in self._listed(today) if day >= today]
        found = {_month_end(today.year, today.month, n) for n in range(MONTHS_AHEAD + 1)}
        years = range(today.year + 1, today.year + 2 + LEAPS)
        found |= {third_friday(year, 1) for year in years}
        if self.cycle != MONTHLY:
            friday = today + timedelta(days=(FRIDAY - today.weekday()) % 7)
            found |= {_open_day(friday + timedelta(weeks=n)) for n in range(WEEKS_AHEAD)}
        if self.cycle == DAILY:
            found |= {day for n in range(DAYS_AHEAD) if _trades(day := today + timedelta(days=n))}
        days = {_before(day) for day in found} if self.morning else found
        return sorted(day for day in days if day >= today)

    def _listed(self, today: date) -> list[date]:
        """Return the ends of quarters, by third Friday, or of months."""
        if self.cycle == MONTH_END:
            ahead = range(1, MONTH_ENDS + 2)
            return [_before(_first_of_month(today, n)) for n in ahead]
        months = (_first_of_month(today, n) for n in range(MONTHS_AHEAD + 3))
        return [third_friday(one.year, one.month) for one in months if one.month % 3 == 0]

    def may_expire(self, day: date) -> bool:
        """Whether the class has, had or will have an option whose last day is `day`."""
        if not _trades(day):
            return False
        if self.cycle == MONTH_END:
            return _open_day_after(day).month != day.month
        if self.cycle == QUARTERLY:
            return day.month % 3 == 0 and day == third_friday(day.year, day.month)
        return self.cycle == DAILY or self._may_expire_on_friday(day)

    def _may_expire_on_friday(self, day: date) -> bool:
        """Whether a day is the end of a week or a month of options, or the day before it."""
        if self.morning:
            settled = _open_day_after(day)
            return settled == third_friday(settled.year, settled.month)
        friday = day + timedelta(days=(FRIDAY - day.weekday()) % 7)
        if _open_day(friday) != day:
            return False
        return self.cycle == WEEKLY or day == third_friday(friday.year, friday.month)

    # --- strikes ------------------------------------------------------------

    def level(self, expiry: date) -> float:
        """Return the price that the ladder of an expiry is laid around: its path's trend."""
        model = self.under.model
        years = (expiry - ANCHOR).days / 365
        return model.scale * model.path.price * math.exp(model.path.drift * years)

    def strikes(self, expiry: date, today: date) -> list[float]:
        """Return the strikes of an expiry, lowest first."""
        far = (expiry - today).days > FAR
        level, reach = self.level(expiry), max(LEAST, REACH * self.under.model.path.vol)
        first = math.ceil(level * math.exp(-reach) / float(self.step))
        last = min(STRIKES - 1, math.floor(level * math.exp(min(reach, 1.1)) / float(self.step)))
        return [
            float(strike)
            for n in range(max(1, first), last + 1)
            if not (strike := n * self.step) % self.wide
            or (not far and abs(float(strike) / level - 1) <= NEAR)
        ]

    def has_strike(self, strike: float) -> bool:
        """Whether a strike may be on a ladder of the class."""
        number = Decimal(str(strike)) / self.step
        return number == int(number) and 0 < number < STRIKES


def third_friday(year: int, month: int) -> date:
    """Return the last trading day of a month's options: the third Friday, or the day before.

    >>> third_friday(2026, 12), third_friday(2025, 4)
    (datetime.date(2026, 12, 18), datetime.date(2025, 4, 17))
    """
    first = date(year, month, 1)
    return _open_day(first + timedelta(days=(FRIDAY - first.weekday()) % 7 + 14))


def _month_end(year: int, month: int, ahead: int) -> date:
    index = year * 12 + month - 1 + ahead
    return third_friday(index // 12, index % 12 + 1)


def _first_of_month(day: date, ahead: int) -> date:
    index = day.year * 12 + day.month - 1 + ahead
    return date(index // 12, index % 12 + 1, 1)


@lru_cache(maxsize=1024)
def _future_of(one: OptionClass, expiry: date) -> Instrument:
    """Return the first future that trades as long as an option that expires then."""
    assert one.product is not None
    for ahead in range(MONTHS_AHEAD + 1):
        month = _first_of_month(expiry, ahead)
        if month.month in one.product.spec.months:
            future = make_future(one.product, month.year, month.month)
            if future.expiry is not None and future.expiry >= expiry:
                return future
    raise AssertionError("a product has a month each year")


def _trades(day: date) -> bool:
    return bool(blocks(CALENDAR, day))


def _open_day(day: date) -> date:
    """Return `day`, or the trading day before it."""
    while not _trades(day):
        day -= timedelta(days=1)
    return day


def _before(day: date) -> date:
    return _open_day(day - timedelta(days=1))


def _open_day_after(day: date) -> date:
    day += timedelta(days=1)
    while not _trades(day):
        day += timedelta(days=1)
    return day


# --- one option ------------------------------------------------------------


@lru_cache(maxsize=65_536)
def make_option(one: OptionClass, expiry: date, strike: float, right: str) -> Instrument:
    """Return one option."""
    settled = _open_day_after(expiry) if one.morning else expiry
    under = one.under_on(expiry)
    number = round(Decimal(str(strike)) / one.step)
    day = (expiry - EPOCH).days
    key = ((one.slot * LAST_EXPIRY + day) * STRIKES + number) * 2 + (right == "P")
    return replace(
        under,
        con_id=OPTION_IDS + key,
        sec_type=one.sec_type,
        exchange=one.venues[0],
        primary_exchange="",
        local_symbol=_local_symbol(one, settled, strike, right),
        trading_class=one.name,
        min_tick=one.tick,
        model=_model(one, expiry),
        last_trade_date=f"{expiry:%Y%m%d}",
        strike=strike,
        right=right,
        multiplier=one.multiplier,
        market_name=one.name,
        order_types=ORDER_TYPES,
        valid_exchanges=one.venues,
        price_magnifier=1,
        under_con_id=under.con_id,
        contract_month=f"{settled:%Y%m}",
        time_zone_id="US/Eastern" if one.product is None else under.time_zone_id,
        market_rule_ids=(one.rule,) * len(one.venues),
        real_expiration_date=f"{settled:%Y%m%d}",
        stock_type="",
        agg_group=2 if one.product is None else under.agg_group,
        min_size=Decimal(1),
        size_increment=Decimal(1),
        suggested_size_increment=Decimal(1),
        under_symbol=under.symbol,
        under_sec_type=under.sec_type,
        sec_ids=(),
        aliases=(),
    )


def _local_symbol(one: OptionClass, settled: date, strike: float, right: str) -> str:
    if one.product is None:
        return f"{one.name:<6}{settled:%y%m%d}{right}{round(strike * 1000):08}"
    return f"{one.name}{MONTH_CODES[settled.month - 1]}{settled.year % 10} {right}{strike:g}"


@lru_cache(maxsize=1024)
def _model(one: OptionClass, expiry: date) -> Model:
    under = one.under.model
    return replace(
        under,
        calendar=CALENDAR if one.product is None else under.calendar,
        volume=one.volume,
        trade_size=2.0,
        spread=2,
        size_unit=Decimal(1),
        cycle=0,
        under=one.under_on(expiry),
        european=one.european,
    )


def read_option(classes: dict[int, OptionClass], con_id: int) -> Instrument | None:
    """Return the option that a number of ours stands for, or None."""
    rest, put = divmod(con_id - OPTION_IDS, 2)
    rest, number = divmod(rest, STRIKES)
    slot, day = divmod(rest, LAST_EXPIRY)
    one = classes.get(slot) if con_id >= OPTION_IDS else None
    if one is None or not number:
        return None
    expiry = EPOCH + timedelta(days=day)
    if not one.may_expire(expiry):
        return None
    return make_option(one, expiry, float(number * one.step), "P" if put else "C")


def options(one: OptionClass, wanted: Description, today: date) -> Iterator[Instrument]:
    """Yield the options of a class that may be meant; only the strikes and days that are named."""
    if wanted.local_symbol and one.product is None:
        yield from _by_name(one, wanted.local_symbol)
        return
    for expiry in _days(one, wanted, today):
        for strike in _ladder(one, wanted, expiry, today):
            for right in ("C", "P"):
                if wanted.right[:1] in {"", right}:
                    yield make_option(one, expiry, strike, right)


def _by_name(one: OptionClass, name: str) -> Iterator[Instrument]:
    """Yield the option of a local symbol, such as ``SPXW  261218C06850000``."""
    tail = name[6:]
    if name[:6].rstrip() != one.name or len(tail) != 15 or not (tail[:6] + tail[7:]).isdigit():
        return
    strike = int(tail[7:]) / 1000
    try:
        settled = date(2000 + int(tail[:2]), int(tail[2:4]), int(tail[4:6]))
    except ValueError:
        return
    expiry = _before(settled) if one.morning else settled
    if tail[6] in "CP" and _exists(one, expiry, strike):
        yield make_option(one, expiry, strike, tail[6])


def _exists(one: OptionClass, expiry: date, strike: float) -> bool:
    """Whether an expiry is the class's and in the range of our numbers, and the strike too."""
    inside = 0 <= (expiry - EPOCH).days < LAST_EXPIRY
    return inside and one.may_expire(expiry) and one.has_strike(strike)


def _days(one: OptionClass, wanted: Description, today: date) -> list[date]:
    """Return the listed expiries that a text (yyyymm, yyyymmdd or nothing) may mean."""
    text = wanted.last_trade_date.split(" ")[0].replace("-", "")
    listed = one.expiries(today)
    if len(text) == len("yyyymm"):
        months = (day + timedelta(days=1) if one.morning else day for day in listed)
        return [day for day, of in zip(listed, months, strict=True) if f"{of:%Y%m}" == text]
    return [day for day in listed if text in {"", f"{day:%Y%m%d}"}]


def _ladder(one: OptionClass, wanted: Description, expiry: date, today: date) -> list[float]:
    strikes = one.strikes(expiry, today)
    if not wanted.strike:
        return strikes
    return [wanted.strike] if wanted.strike in strikes else []
