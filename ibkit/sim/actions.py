"""Dividends and splits of the simulated stocks, made up from the seed, the same for ever.

Most of the stocks pay, US ones each quarter, others twice a year; about half have split once
or twice, all of it before 2026. The market's path is in the shares of today, so no split is ever
lived through; an ex-dividend day opens lower by its dividend. Pure and random access. Not here:
the bars without dividends (`market`), the events as Wall Street Horizon tells them (`wsh`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Final, Literal

from ibkit.sim.calendars import FIRST_DAY, LAST_DAY, days
from ibkit.sim.grids import snap
from ibkit.sim.levels import ORIGIN, levels
from ibkit.sim.noise import fraction

if TYPE_CHECKING:
    from ibkit.sim.instrument import Instrument

QUARTERLY: Final = (2, 5, 8, 11)
HALF_YEARLY: Final = (4, 10)
NO_YIELD: Final = 0.3  # of the stocks pay nothing
SPLIT_YEARS: Final = range(2004, 2026)
SPLIT_SHARES: Final = (0.5, 0.88)  # up to which draw a stock never split, split once
RATIOS: Final = (2.0, 2.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)
BARREN: Final = frozenset({"metals", "oil"})  # funds that hold these have no income
LONGEST_BREAK: Final = timedelta(days=15)
YEAR: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Action:
    """What a company did.

    Attributes
    ----------
    day : date
        The first trade date without the dividend, or in the new shares.
    kind : str
        ``dividend`` or ``split``.
    amount : float
        Money for each of today's shares, in the instrument's currency.
    ratio : float
        New shares for an old one.
    """

    day: date
    kind: Literal["dividend", "split"]
    amount: float = 0.0
    ratio: float = 1.0


def actions(seed: int, instrument: Instrument, first: date, last: date) -> list[Action]:
    """Return what happened with an ex-date from `first` to `last`, both included, ascending."""
    found = [
        action
        for year in range(first.year, last.year + 1)
        for action in (*_dividends(seed, instrument, year), *_splits(seed, instrument))
        if action.day.year == year and first <= action.day <= last
    ]
    return sorted(found, key=lambda action: action.day)


def split_ratio(seed: int, instrument: Instrument, day: date) -> float:
    """Return how many of today's shares one share was that was held before trading on `day`."""
    return math.prod(one.ratio for one in _splits(seed, instrument) if one.day >= day)


def dividend_yield(seed: int, instrument: Instrument) -> float:
    """Return the yearly dividends over the price; 0 for what pays none."""
    path = instrument.model.path
    # instruments that follow the stock's own path are the stock or bets on it
    if instrument.sec_type not in {"STK", "CFD"} or (
        not _own(instrument) and (instrument.sec_type == "CFD" or path.sector in BARREN)
    ):
        return 0.0
    draw = fraction(seed, "pays out", path.name)
    return 0.0 if draw < NO_YIELD else round(0.004 + 0.04 * (draw - NO_YIELD), 5)


def _own(instrument: Instrument) -> bool:
    """Whether the path is a stock's own, and not one that an index or a commodity has."""
    return "." in instrument.model.path.name


def dividend_days(seed: int, instrument: Instrument, year: int) -> list[date]:
    """Return the ex-dividend days of a year; none for what pays nothing."""
    return [one.day for one in _dividends(seed, instrument, year)]


@lru_cache(maxsize=8192)
def _dividends(seed: int, instrument: Instrument, year: int) -> tuple[Action, ...]:
    """Return the dividends of a year; they grow once a year, with the price."""
    paid = dividend_yield(seed, instrument)
    if not paid or not FIRST_DAY.year < year <= LAST_DAY.year:
        return ()
    months = QUARTERLY if instrument.currency == "USD" else HALF_YEARLY
    shift = timedelta(days=int(25 * fraction(seed, "ex", instrument.model.path.name)))
    name = instrument.model.calendar
    wished = [date(year, month, 3) + shift for month in months]
    found = [next(iter(days(name, day, min(day + LONGEST_BREAK, LAST_DAY)))) for day in wished]
    base = _plain(seed, instrument, date(year, 1, 2)) / instrument.price_magnifier
    places = 2 if instrument.price_magnifier == 1 else 4
    amount = max(round(base * paid / len(months), places), 10**-places)
    return tuple(Action(day, "dividend", amount=amount) for day in found)


@lru_cache(maxsize=1024)
def _splits(seed: int, instrument: Instrument) -> tuple[Action, ...]:
    """Return all splits that a company ever made."""
    key = instrument.model.path.name
    if instrument.sec_type != "STK" or instrument.stock_type == "ETF" or not _own(instrument):
        return ()
    draw = fraction(seed, "splits", key)
    number = sum(draw >= share for share in SPLIT_SHARES)
    half = len(SPLIT_YEARS) // 2
    found = []
    for n in range(number):
        years = SPLIT_YEARS if number == 1 else SPLIT_YEARS[n * half : (n + 1) * half - 2]
        wished = date(years[int(len(years) * fraction(seed, "split year", key, n))], 1, 6)
        wished += timedelta(days=int(330 * fraction(seed, "split day", key, n)))
        day = next(iter(days(instrument.model.calendar, wished, wished + LONGEST_BREAK)))
        ratio = RATIOS[int(len(RATIOS) * fraction(seed, "ratio", key, n))]
        found.append(Action(day, "split", ratio=ratio))
    return tuple(found)


def _plain(seed: int, instrument: Instrument, day: date) -> float:
    """Return the price at the end of regular hours, had there been no dividends."""
    model = instrument.model
    level = levels(seed, model.path, all_week=model.calendar == "crypto")
    return model.scale * math.exp(model.power * float(level.close[day.toordinal() - ORIGIN]))


# --- what dividends do to prices --------------------------------------------------------------


@lru_cache(maxsize=16_384)
def below(seed: int, instrument: Instrument, day: date) -> float:
    """Return the logarithm of the price over its path: how far dividends put it below.

    On an ex-day the price loses the dividend; until the next one it grows back to its path, so
    that dividends are part of the drift and prices of years far away stay what they were.
    """
    near = [
        one
        for year in (day.year - 1, day.year, day.year + 1)
        for one in _dividends(seed, instrument, year)
    ]
    past = [one for one in near if one.day <= day]
    coming = [one for one in near if one.day > day]
    if not past:
        return 0.0
    last = past[-1]
    until = coming[0].day if coming else last.day + YEAR / 4
    lost = (
        last.amount
        * instrument.price_magnifier
        / _plain(seed, instrument, _eve(instrument, last.day))
    )
    return math.log1p(-lost) * (1 - (day - last.day).days / (until - last.day).days)


def close_before(seed: int, instrument: Instrument, day: date) -> float:
    """Return the price, on the tick grid, at the end of the regular hours before `day`."""
    eve = _eve(instrument, day)
    price = _plain(seed, instrument, eve) * math.exp(below(seed, instrument, eve))
    ticks = max(8, round(price / float(instrument.tick)))
    return float(instrument.tick * snap(instrument.bands, ticks))


def _eve(instrument: Instrument, day: date) -> date:
    """Return the trade date before `day`."""
    return list(days(instrument.model.calendar, day - LONGEST_BREAK, day - timedelta(days=1)))[-1]


def adjustment(seed: int, instrument: Instrument, day: date, until: date) -> float:
    """Return what a price of `day` is multiplied by to leave out the dividends up to `until`."""
    last, kept = _kept(seed, instrument, until)
    return kept[bisect_right(last, day)]


@lru_cache(maxsize=256)
def _kept(seed: int, instrument: Instrument, until: date) -> tuple[list[date], list[float]]:
    """Return the ex-days up to `until`, and what the prices before each, and after all, keep."""
    found = [
        one
        for year in range(FIRST_DAY.year, until.year + 1)
        for one in _dividends(seed, instrument, year)
        if one.day <= until
    ]
    magnifier = instrument.price_magnifier
    shares = [1 - x.amount * magnifier / close_before(seed, instrument, x.day) for x in found]
    kept = list(accumulate(reversed(shares), mul, initial=1.0))[::-1]
    return [one.day for one in found], kept


def dividend_text(seed: int, instrument: Instrument, today: date) -> str:
    """Return the tick of the dividends: past and next twelve months, next day and amount."""
    near = actions(seed, instrument, today - YEAR + timedelta(days=1), today + YEAR)
    paid = [one for one in near if one.kind == "dividend"]
    past = sum(one.amount for one in paid if one.day <= today)
    coming = [one for one in paid if one.day > today]
    if not coming:
        return ",,,"
    total = sum(one.amount for one in coming)
    return f"{past:.2f},{total:.2f},{coming[0].day:%Y%m%d},{coming[0].amount:.2f}"
