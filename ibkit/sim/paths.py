"""What a price does within a day: minutes of a block of trading, and the seconds inside an hour.

A block's minutes are drawn in one pass between the day's levels; the seconds of an hour are then
drawn *inside* their minutes, so that they add up to them exactly: open, high, low, close, volume,
count and turnover. So any bar is the same whether built from seconds or from minutes, and a year
of minutes never needs its seconds. Prices are whole ticks, sizes whole units, turnover whole
quarter-ticks times units (the average price of a bar is the mean of its four prices, exactly).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from ibkit.sim import optionmarket
from ibkit.sim.actions import below
from ibkit.sim.calendars import Block, blocks
from ibkit.sim.grids import Grid, grid, in_steps, scaled
from ibkit.sim.levels import NIGHT, ORIGIN, levels
from ibkit.sim.noise import minute_normals, stream
from ibkit.sim.refine import Bars, refine

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

    from ibkit.sim.universe import Instrument

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

QUOTES_A_MINUTE: Final = 240  # how often an instrument without volume changes
QUOTE_WEIGHT: Final = 16  # units that stand for one such change, inside this module
LONG_NIGHT: Final = 600  # minutes before the liquid hours that make a market round-the-clock
EVERYWHERE: Final = Grid(1, 1, 2**52)  # where every tick will do
HOUR: Final = 60  # minutes whose seconds are drawn together


@lru_cache(maxsize=512)
def minutes(seed: int, instrument: Instrument, day: date, index: int) -> Bars:
    """Return the minutes of block `index` of a trade date. Costs some 0.2 ms; cached."""
    if instrument.model.under is not None:
        return optionmarket.minutes(seed, instrument, day, index)
    block = blocks(instrument.model.calendar, day)[index]
    rng = stream(seed, "block", instrument.con_id, day.toordinal(), index)
    sigma = _sigma(seed, instrument, day, block)
    first, last = edges(seed, instrument, day)[index]
    shape = _shape(block.minutes, block.rth)
    grid = day_grid(seed, instrument, day)
    tick = float(instrument.tick) * grid.step
    log = _walk(seed, instrument, block, sigma * np.sqrt(shape), last - first) + first
    spread = _spread(instrument, block, rng.random(block.minutes))
    lowest = max(8, grid.low)
    price = np.clip(np.rint(np.exp(log) / tick), lowest, grid.high).astype(np.int64)
    opening = min(max(lowest, round(math.exp(first) / tick)), grid.high)
    count, volume = _activity(seed, instrument, day, block, rng)
    reach = sigma * np.sqrt(shape) * np.exp(log) / tick * 0.6
    ohlc = _candles(opening, price, count, reach, rng, (max(4, grid.low), grid.high))
    gap = np.floor(rng.random(block.minutes) * (spread + 1)).astype(np.int64)
    return scaled(Bars(*ohlc, volume, count, volume * sum(ohlc), gap, spread), grid.step)


def day_grid(seed: int, instrument: Instrument, day: date) -> Grid:
    """Return where the prices of a trade date lie."""
    if not instrument.bands:
        return EVERYWHERE
    level = levels(seed, instrument.model.path, all_week=instrument.model.calendar == "crypto")
    marks = [mark for both in edges(seed, instrument, day) for mark in both]
    sigma = float(level.sigma[day.toordinal() - ORIGIN]) * abs(instrument.model.power)
    return grid(instrument.bands, float(instrument.tick), min(marks), max(marks), sigma)


def edges(seed: int, instrument: Instrument, day: date) -> list[tuple[float, float]]:
    """Return the logarithms of price at both ends of each block of a trade date."""
    model = instrument.model
    found = blocks(model.calendar, day)
    level = levels(seed, model.path, all_week=model.calendar == "crypto")
    n = day.toordinal() - ORIGIN
    close, opening = level.close[n], level.close[n] - level.day[n]
    before = sum(block.minutes for block in found if not block.rth and block.end <= _rth(found)[0])
    dawn = opening - level.night[n] * (0.9 if before > LONG_NIGHT else 0.5)
    dusk = close + 0.15 * level.night[n + 1]
    marks = [
        (
            _at(block.start, found, dawn, opening, close, dusk),
            _at(block.end, found, dawn, opening, close, dusk),
        )
        for block in found
    ]
    shift = math.log(model.scale) + model.carry * _years_left(instrument, day)
    shift += below(seed, instrument, day)
    return [(shift + model.power * a, shift + model.power * b) for a, b in marks]


def _rth(found: tuple[Block, ...]) -> tuple[int, int]:
    """Return start and end of regular hours; of the whole day when it has none."""
    regular = [block for block in found if block.rth] or list(found)
    return regular[0].start, regular[-1].end


def _at(
    epoch: int, found: tuple[Block, ...], dawn: float, opening: float, close: float, dusk: float
) -> float:
    """Return the level at an edge: a straight line between the day's four levels."""
    times = (found[0].start, *_rth(found), found[-1].end)
    values = (dawn, opening, close, dusk)
    if epoch <= times[1]:
        return opening if epoch == times[1] else dawn
    return (
        float(np.interp(epoch, times[1:], values[1:]))
        if times[2] < times[3]
        else float(np.interp(epoch, times[1:3], values[1:3]))
    )


def _years_left(instrument: Instrument, day: date) -> float:
    return (instrument.expiry - day).days / 365 if instrument.expiry else 0.0


def _sigma(seed: int, instrument: Instrument, day: date, block: Block) -> float:
    """Return the standard deviation of a block's walk."""
    model = instrument.model
    level = levels(seed, model.path, all_week=model.calendar == "crypto")
    found = blocks(model.calendar, day)
    alike = sum(other.minutes for other in found if other.rth == block.rth)
    share = (1 - NIGHT) if block.rth else 0.4 * NIGHT
    return float(level.sigma[day.toordinal() - ORIGIN]) * math.sqrt(share * block.minutes / alike)


@lru_cache(maxsize=64)
def _shape(count: int, rth: bool) -> Floats:  # noqa: FBT001  the key of a cache
    """Return each minute's share of a block's variance: a U by day, flat by night."""
    x = (np.arange(count) + 0.5) / count
    shape: Floats = (
        1 + 1.6 * np.exp(-x / 0.05) + 0.8 * np.exp(-(1 - x) / 0.05) if rth else np.ones(count)
    )
    return normed(shape)


@lru_cache(maxsize=64)
def _busy(count: int, rth: bool, after: bool) -> Floats:  # noqa: FBT001  the key of a cache
    """Return each minute's share of a block's volume: busiest next to the regular hours."""
    x = (np.arange(count) + 0.5) / count
    if rth:
        shape = 0.6 + 2.2 * np.exp(-x / 0.04) + 1.2 * np.exp(-(1 - x) / 0.03) + (2 * x - 1) ** 2
    else:
        shape = np.exp(-5 * x) if after else np.exp(5 * (x - 1)) + 0.08
    return normed(shape)


def normed(shape: Floats) -> Floats:
    """Return shares that sum up to one."""
    shares: Floats = shape / shape.sum()
    return shares


def _walk(seed: int, instrument: Instrument, block: Block, scale: Floats, move: float) -> Floats:
    """Return the way from 0 to `move` at the end of each minute, driven by the shared factors."""
    path = instrument.model.path
    first, count = block.start // 60, block.minutes
    rest = math.sqrt(max(0.0, 1 - path.market**2 - path.sector_weight**2))
    steps = path.market * minute_normals(seed, "market", first, count)
    steps = steps + rest * minute_normals(seed, f"own {path.name}", first, count)
    if path.sector:
        steps += path.sector_weight * minute_normals(seed, f"sector {path.sector}", first, count)
    walk = np.cumsum(steps * scale) * instrument.model.power
    time = np.cumsum(scale * scale)
    bridge: Floats = walk + time / time[-1] * (move - walk[-1])
    return bridge


def _spread(instrument: Instrument, block: Block, draw: Floats) -> Ints:
    """Return each minute's spread: sometimes a tick wider, much wider before and after hours."""
    usual = instrument.model.spread
    wide = usual if block.rth or instrument.sec_type != "STK" else 2 * usual + 1
    return np.where(draw < 0.15, wide + 1, wide)


def _activity(
    seed: int, instrument: Instrument, day: date, block: Block, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Return trades and volume of each minute."""
    model, count = instrument.model, block.minutes
    noise = rng.standard_normal((2, count))
    if not model.volume:
        quotes = np.full(count, QUOTES_A_MINUTE, dtype=np.int64)
        return quotes, quotes * QUOTE_WEIGHT
    unit = float(model.size_unit)
    after = not block.rth and block.start >= _rth(blocks(model.calendar, day))[1]
    expected = _day_volume(seed, instrument, day) * block.weight / unit
    trades = expected * _busy(count, block.rth, after) / (model.trade_size / unit)
    number = np.floor(trades * np.exp(0.45 * noise[0] - 0.1) + rng.random(count)).astype(np.int64)
    sizes = number * (model.trade_size / unit) * np.exp(0.3 * noise[1] - 0.045)
    return number, np.where(number > 0, np.maximum(np.rint(sizes).astype(np.int64), number), 0)


def _day_volume(seed: int, instrument: Instrument, day: date) -> float:
    """Return about how much a day trades: more when the market moves, most in the front month."""
    model = instrument.model
    level = levels(seed, model.path, all_week=model.calendar == "crypto")
    n = day.toordinal() - ORIGIN
    usual = model.path.vol / math.sqrt(365 if model.calendar == "crypto" else 252)
    stirred = (level.sigma[n] / usual) ** 0.7 * (1 + 0.25 * min(abs(level.day[n]) / usual, 4.0))
    return float(model.volume * stirred * 0.85 * _front_share(instrument, day))


def _front_share(instrument: Instrument, day: date) -> float:
    """Return a month's share of the front month's volume, by days to its expiry."""
    cycle, expiry = instrument.model.cycle, instrument.expiry
    if not cycle or expiry is None:
        return 1.0
    left = (expiry - day).days
    fading = 1 / (1 + math.exp(-(left - 8) / 2.5))
    behind = max(0, left - cycle - 8) / cycle
    return fading * (0.95 * math.exp(-12 * behind) + 0.05 / (1 + behind))


def _candles(
    opening: int,
    price: Ints,
    count: Ints,
    reach: Floats,
    rng: np.random.Generator,
    bounds: tuple[int, int],
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return open, high, low, close of each minute; what few trades cannot make is left out."""
    close = _carry(price, count > 0, opening)
    before = np.concatenate(([opening], close[:-1]))
    first = int(np.argmax(count > 0))
    jump = (count == 1) & (np.arange(len(price)) > first)
    open_ = np.where(jump, close, before)
    # the first trade of a block is its opening price, also when it is the minute's only one
    lone = count[first] == 1
    if lone:
        close = close.copy()
        stay = np.flatnonzero(count[first + 1 :] > 0)
        end = first + 1 + int(stay[0]) if len(stay) else len(price)
        close[first:end] = opening
        open_ = np.where(jump, close, np.concatenate(([opening], close[:-1])))
    wicks = -np.log1p(-rng.random((2, len(price)))) * reach
    up, down = np.minimum(wicks, 6 * reach).astype(np.int64)
    high = np.maximum(open_, close) + np.where(count >= 3, up, 0)
    low = np.minimum(open_, close) - np.where(count >= 4, down, 0)
    return open_, np.minimum(high, bounds[1]), np.maximum(low, bounds[0]), close


def _carry(price: Ints, traded: NDArray[np.bool_], opening: int) -> Ints:
    """Return the price of the last slot that traded, for each slot."""
    at = np.maximum.accumulate(np.where(traded, np.arange(len(price)), -1))
    return np.where(at >= 0, price[at], opening)


@lru_cache(maxsize=128)
def seconds(seed: int, instrument: Instrument, day: date, index: int, hour: int) -> Bars:
    """Return the seconds of minutes [60 * hour, 60 * hour + 60) of a block. About 2 ms; cached."""
    if instrument.model.under is not None:
        return optionmarket.seconds(seed, instrument, day, index, hour)
    whole = minutes(seed, instrument, day, index)
    part = slice(hour * HOUR, (hour + 1) * HOUR)
    rows = Bars(*(getattr(whole, name)[part] for name in Bars.__dataclass_fields__))
    rng = stream(seed, "seconds", instrument.con_id, day.toordinal(), index, hour)
    step = day_grid(seed, instrument, day).step
    return scaled(refine(in_steps(rows, step), rng), step)
