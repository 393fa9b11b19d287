"""What options cost: a skewed surface of volatility on the path of their underlying.

An option's seconds are its underlying's seconds, priced: within a minute the volatility and the
time left stand still, so a price is a monotone function of the underlying's, and high and low are
where the underlying's are. Its minutes are the sums of these seconds, so every bar size adds up.
Whenever its price changes by a tick it trades; so quotes and trades never disagree, at the cost of
too much volume deep in the money.

American options are worth the European value or what exercise brings, whichever is more: right for
calls without dividends, a little low for puts. No dividends; the rate is `greeks.RATE`. Pure. Not
here: which options there are (`ibkit.sim.optionchains`).
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ibkit.sim.calendars import Block, blocks, local, session
from ibkit.sim.levels import ORIGIN, levels
from ibkit.sim.noise import fraction, stream
from ibkit.sim.refine import Bars

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

    from ibkit.sim.instrument import Instrument

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

RATE: Final = 0.04
YEAR_S: Final = 365 * 86_400
HOUR, MINUTE = 3600, 60
SOONEST: Final = 600 / YEAR_S  # a life shorter than that has no smile of its own
MEMORY: Final = 0.15  # years in which the volatility of the day fades from the surface
RISK: Final = 1.08  # implied volatility against what happens
VOLS: Final = (0.03, 4.0)
WINGS: Final = 5.0  # standard deviations from which the smile is flat
COARSE: Final = {0.01: (3.0, 5), 0.05: (3.0, 2)}  # tick: from this price on, so many ticks
ON_FUTURES: Final = (10.0, 5)  # the same, for options on futures
FINE_ONLY: Final = 26  # the market rule without a coarse part


def priced(instrument: Instrument) -> bool:
    """Whether an instrument has its price from the surface."""
    return instrument.model.under is not None


# --- the surface ------------------------------------------------------------


def volatility(seed: int, instrument: Instrument, day: date, spot: Any, years: Any) -> Floats:
    """Return the volatility of the surface for an option of `instrument`'s strike."""
    under = _under(instrument)
    path = under.model.path
    level = levels(seed, path)
    usual = path.vol / math.sqrt(252)
    stirred = min(2.5, max(0.6, float(level.sigma[day.toordinal() - ORIGIN]) / usual))
    left = np.maximum(years, SOONEST)
    flat = RISK * path.vol * (1 + (stirred - 1) * np.exp(-left / MEMORY))
    moneyness = np.log(instrument.strike / np.asarray(spot)) / (flat * np.sqrt(left))
    skew, smile = _shape(seed, path.name, index=under.sec_type == "IND" or path.vol < 0.22)
    z = np.clip(moneyness, -WINGS, WINGS)
    found: Floats = np.clip(flat * (1 + skew * z + smile * z * z), *VOLS)
    return found


@lru_cache(maxsize=256)
def _shape(seed: int, name: str, *, index: bool) -> tuple[float, float]:
    """Return slope and curvature of an underlying's smile: steeper where crashes are feared."""
    a, b = (fraction(seed, "surface", name, part) for part in ("skew", "smile"))
    if index:
        return -0.075 - 0.02 * a, 0.012 + 0.004 * b
    return -0.035 - 0.02 * a, 0.018 + 0.006 * b


def value(instrument: Instrument, spot: Any, years: Any, vol: Any) -> Floats:
    """Return what an option is worth, for arrays."""
    sign = 1.0 if instrument.right == "C" else -1.0
    strike = instrument.strike
    spot, years = np.asarray(spot, float), np.maximum(years, 1e-9)
    width = vol * np.sqrt(years)
    asset = carried(instrument, spot, years)
    d1 = (np.log(asset / strike) + RATE * years) / width + width / 2
    worth = sign * (
        asset * _normal(sign * d1) - strike * np.exp(-RATE * years) * _normal(sign * (d1 - width))
    )
    floor = 0.0 if instrument.model.european else sign * (spot - strike)
    best: Floats = np.maximum(np.maximum(worth, floor), 0.0)
    return best


def carried(instrument: Instrument, spot: Any, years: Any) -> Any:
    """Return the price that grows to the underlying's at the free rate: less than a future's."""
    return spot * np.exp(-RATE * years) if instrument.sec_type == "FOP" else spot


def _normal(x: Floats) -> Floats:
    """Return the normal distribution, to 1e-7 (Abramowitz and Stegun 26.2.17)."""
    away = np.abs(x)
    t = 1 / (1 + 0.2316419 * away)
    poly = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    tail = poly * np.exp(-away * away / 2) * 0.3989422804014327
    found: Floats = np.where(x > 0, 1 - tail, tail)
    return found


def model_volatility(seed: int, instrument: Instrument, spot: float, now: float) -> float | None:
    """Return the surface's volatility at a moment, or None for what is not on it.

    >>> from ibkit.sim.universe import Universe
    >>> model_volatility(1, Universe.load().by_con_id(265598), 100.0, 1.7e9) is None
    True
    """
    end = end_of(instrument)
    if not priced(instrument) or end is None or now >= end or spot <= 0:
        return None
    day = local(int(now), instrument.model.calendar).date()
    left = (settled_at(instrument) or end) - now
    return float(volatility(seed, instrument, day, spot, left / YEAR_S))


# --- the path ------------------------------------------------------------


@lru_cache(maxsize=2048)
def end_of(instrument: Instrument) -> int | None:
    """Return when an option trades for the last time."""
    if instrument.expiry is None:
        return None
    found = session(instrument.model.calendar, instrument.expiry, use_rth=False)
    return found.end if found else None


@lru_cache(maxsize=2048)
def settled_at(instrument: Instrument) -> int | None:
    """Return when it is known what an option is worth: its end, or the opening that follows it."""
    day = instrument.settlement
    if not priced(instrument) or day is None or day == instrument.expiry:
        return end_of(instrument)
    found = session(instrument.model.calendar, day, use_rth=True)
    return found.start if found else end_of(instrument)


@lru_cache(maxsize=512)
def minutes(seed: int, instrument: Instrument, day: date, index: int) -> Bars:
    """Return the minutes of a block: the sums of its seconds. Costs some 20 ms; cached."""
    block = blocks(instrument.model.calendar, day)[index]
    hours = [seconds(seed, instrument, day, index, hour) for hour in range(-(-block.minutes // 60))]
    shaped = (
        np.concatenate([getattr(one, name) for one in hours]).reshape(-1, MINUTE)
        for name in Bars.__dataclass_fields__
    )
    o, h, low, c, volume, count, turnover, gap, spread = shaped
    sums = (each.sum(axis=1) for each in (volume, count, turnover))
    ohlc = o[:, 0], h.max(axis=1), low.min(axis=1), c[:, -1]
    columns = (*ohlc, *sums, gap[:, 0], spread[:, 0])
    return Bars(*columns)


@lru_cache(maxsize=128)
def seconds(seed: int, instrument: Instrument, day: date, index: int, hour: int) -> Bars:
    """Return the seconds of an hour of a block. Costs some 3 ms; cached."""
    block = blocks(instrument.model.calendar, day)[index]
    here = _hour(seed, instrument, day, block, hour)
    before = here.close_before()
    close = here.close
    opening = np.concatenate(([close[0] if before is None else before], close[:-1]))
    ends = here.ticks(here.under.high), here.ticks(here.under.low)
    high = np.maximum.reduce([*ends, opening, close])
    low = np.minimum.reduce([*ends, opening, close])
    count, volume = _trades(here, opening, high, low, close)
    turnover = volume * (opening + high + low + close)
    gap, spread = here.sides(low)
    return Bars(opening, high, low, close, volume, count, turnover, gap, spread)


class _Hour:
    """An hour of a block: the underlying's seconds, and what stands still within each minute."""

    def __init__(
        self, seed: int, instrument: Instrument, day: date, block: Block, hour: int
    ) -> None:
        self.key = (seed, instrument, day, block, hour)
        self.instrument = instrument
        self.under = _under_seconds(seed, instrument, day, block, hour)
        self.scale = float(_under(instrument).tick)
        first = self.under.close[::MINUTE] * self.scale
        starts = block.start + hour * HOUR + MINUTE * np.arange(len(first))
        end = settled_at(instrument) or int(starts[-1])
        self.years = np.maximum(end - starts, MINUTE) / YEAR_S
        self.vol = volatility(seed, instrument, day, first, self.years)
        worth = value(instrument, first, self.years, self.vol)
        self.spread = _spread(instrument, first, self.years, worth)
        self.step = _step(instrument, worth)
        self.spread = -(-self.spread // self.step) * self.step

    def ticks(self, price: Ints) -> Ints:
        """Return the option's price, in its ticks, at prices of the underlying."""
        wide = (np.repeat(each, MINUTE) for each in (self.years, self.vol, self.step))
        years, vol, step = wide
        worth = value(self.instrument, price * self.scale, years, vol)
        whole = np.rint(worth / float(self.instrument.tick) / step).astype(np.int64) * step
        found: Ints = np.maximum(whole, step)
        return found

    def sides(self, low: Ints) -> tuple[Ints, Ints]:
        """Return how far the bid is below the price, and the ask above the bid."""
        least = low.reshape(-1, MINUTE).min(axis=1)
        half = np.minimum(self.spread // self.step // 2 * self.step, least - 1)
        gap = np.maximum(half // self.step * self.step, 0)
        return np.repeat(gap, MINUTE), np.repeat(self.spread, MINUTE)

    def close_before(self) -> int | None:
        """Return the close of the hour before, in its own minute's volatility."""
        seed, instrument, day, block, hour = self.key
        if not hour:
            return None
        return int(_hour(seed, instrument, day, block, hour - 1).close[-1])

    @cached_property
    def close(self) -> Ints:
        """The option's price at the end of each second, in ticks."""
        return self.ticks(self.under.close)

    def draws(self) -> np.random.Generator:
        """Return the hour's own generator, from its beginning."""
        seed, instrument, day, block, hour = self.key
        return stream(seed, "option", instrument.con_id, day.toordinal(), block.start, hour)


@lru_cache(maxsize=16)
def _hour(seed: int, instrument: Instrument, day: date, block: Block, hour: int) -> _Hour:
    """Return an hour; cached, since the next one begins where it ends."""
    return _Hour(seed, instrument, day, block, hour)


def _under(instrument: Instrument) -> Instrument:
    under = instrument.model.under
    assert under is not None
    return under


def _under_seconds(seed: int, instrument: Instrument, day: date, block: Block, hour: int) -> Bars:
    """Return the seconds of the underlying in an hour of the option's block."""
    from ibkit.sim import paths  # which asks here for the paths of options

    under = _under(instrument)
    found = blocks(under.model.calendar, day)
    index = next(n for n, one in enumerate(found) if one.start == block.start)
    return paths.seconds(seed, under, day, index, hour)


def _spread(instrument: Instrument, spot: Any, years: Any, worth: Floats) -> Ints:
    """Return the spread in ticks: it grows with vega, and with the price."""
    near = np.exp(-(np.log(spot / instrument.strike) ** 2) / (0.08 * np.sqrt(years) + 1e-4))
    vega = spot * 0.4 * np.sqrt(years) * near / 100
    liquid = 3.0 if instrument.model.volume < 1000 else 1.0
    wide = (0.006 + 0.06 * vega + 0.004 * worth) * liquid / float(instrument.tick)
    found: Ints = np.maximum(1, np.rint(wide)).astype(np.int64)
    return found


def _step(instrument: Instrument, worth: Floats) -> Ints:
    """Return each minute's price step in ticks: coarse from the price on where the rule says so."""
    limit, step = COARSE.get(float(instrument.tick), (math.inf, 1))
    if instrument.sec_type == "FOP":
        limit, step = ON_FUTURES
    if instrument.market_rule_ids[:1] == (FINE_ONLY,):
        return np.ones(len(worth), dtype=np.int64)
    found: Ints = np.where(worth > 0.75 * limit, step, 1).astype(np.int64)
    return found


def _trades(here: _Hour, opening: Ints, high: Ints, low: Ints, close: Ints) -> tuple[Ints, Ints]:
    """Return trades and contracts: enough for each change of price, and a few more by chance."""
    needed = (
        2 * (opening != close)
        + (high > np.maximum(opening, close))
        + (low < np.minimum(opening, close))
    )
    needed = np.maximum(needed, high != low)
    rng = here.draws()
    extra = rng.random(len(close)) < _busy(here)
    count = (needed + extra).astype(np.int64)
    return count, count * rng.geometric(0.5, len(close))


def _busy(here: _Hour) -> float:
    """Return how likely a second has a trade of its own: most for near strikes and near ends."""
    model, strike = here.instrument.model, here.instrument.strike
    spot, years = float(here.under.close[0]) * here.scale, float(here.years[0])
    z = math.log(spot / strike) / (model.path.vol * math.sqrt(years) + 0.02)
    return min(0.5, model.volume / 23_400 * math.exp(-z * z / 2) / (1 + 8 * years))


def stray(seed: int, instrument: Instrument, day: date, spot: float, second: int) -> int:
    """Return the price in ticks outside trading hours, from the underlying's."""
    end = settled_at(instrument) or second
    years = max(end - second, MINUTE) / YEAR_S
    worth = value(instrument, spot, years, volatility(seed, instrument, day, spot, years))
    step = int(_step(instrument, np.asarray([worth]))[0])
    return max(1, round(float(worth) / float(instrument.tick) / step)) * step
