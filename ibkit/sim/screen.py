"""What a screen shows at a given second: bid, ask, last and the session so far.

Reads the same minutes and seconds that bars are made of, so a stream sampled each second and the
history agree. Pure. Not here: bars (`market`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from ibkit.sim import optionmarket
from ibkit.sim.calendars import Block, blocks, local, session
from ibkit.sim.levels import ORIGIN, levels
from ibkit.sim.noise import fraction, stream
from ibkit.sim.paths import day_grid, minutes, seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ibkit.sim.universe import Instrument

    Ints = NDArray[np.int64]

NO_LOW: Final = 2**62
LONGEST_BREAK: Final = 15  # days; no calendar is closed for longer
AFTER_HOURS_MOVE: Final = 0.03  # of a day's volatility: how far quotes stray from the last close
LATTICE: Final = ((900, 1.0), (60, 0.35))  # seconds between the knots of the strays, and their size


@dataclass(frozen=True, slots=True)
class Quote:
    """What a screen shows at one moment; None where there is nothing.

    `open`, `high`, `low` and `volume` are those of the session so far; `close` is the close of the
    session before.
    """

    bid: float | None
    ask: float | None
    last: float | None
    bid_size: float
    ask_size: float
    last_size: float
    volume: float
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    last_time: float
    halted: bool = False

    @property
    def middle(self) -> float:
        """Between bid and ask; the last price where there are none."""
        if self.bid is None or self.ask is None:
            return self.last or self.close or 0.0
        return (self.bid + self.ask) / 2


@dataclass(frozen=True, slots=True)
class State:
    """A screen in whole ticks and units; `last` is 0 before the first trade ever."""

    price: int
    gap: int
    spread: int
    bid_size: int
    ask_size: int
    last: int
    last_size: int
    last_time: int
    volume: int
    open: int
    high: int
    low: int


@dataclass(frozen=True, slots=True)
class Sofar:
    """The session before a block begins."""

    volume: int
    open: int
    high: int
    low: int


@dataclass(frozen=True, slots=True)
class Trade:
    """The latest trade."""

    price: int
    size: int
    time: int


class Hour:
    """The seconds of an hour of a block, with running sums."""

    __slots__ = ("ask_size", "at", "bid_size", "fine", "high", "low", "sums")

    def __init__(self, seed: int, instrument: Instrument, day: date, index: int, hour: int) -> None:
        self.fine = fine = seconds(seed, instrument, day, index, hour)
        traded = fine.count > 0
        here = np.arange(len(traded))
        self.at = np.maximum.accumulate(np.where(traded, here, -1))
        self.sums = np.cumsum(fine.volume)
        self.high = np.maximum.accumulate(np.where(traded, fine.high, 0))
        self.low = np.minimum.accumulate(np.where(traded, fine.low, NO_LOW))
        rng = stream(seed, "book", instrument.con_id, day.toordinal(), index, hour)
        sizes = _book_unit(instrument) * (1 + rng.geometric(0.3, (2, len(traded))))
        self.bid_size, self.ask_size = sizes

    def trade(self, at: int, start: int) -> Trade:
        """Return the trade of second `at`; the hour began at `start`."""
        size = max(1, int(self.fine.volume[at] // self.fine.count[at]))
        return Trade(int(self.fine.close[at]), size, start + at)


def _book_unit(instrument: Instrument) -> int:
    """Return the size, in units, that the book shows in multiples of."""
    model = instrument.model
    units = max(1, round(model.trade_size / float(model.size_unit)))
    return 100 if instrument.sec_type == "STK" and instrument.currency == "USD" else units


@lru_cache(maxsize=128)
def hour_of(seed: int, instrument: Instrument, day: date, index: int, hour: int) -> Hour:
    """Return the seconds of an hour of a block; cached."""
    return Hour(seed, instrument, day, index, hour)


class Running:
    """Running sums over the minutes of a block; entry n is what was before minute n."""

    __slots__ = ("high", "low", "open", "sums", "traded")

    def __init__(self, seed: int, instrument: Instrument, day: date, index: int) -> None:
        bars = minutes(seed, instrument, day, index)
        active = bars.count > 0
        at = np.where(active, np.arange(len(active)), -1)
        self.open = int(bars.open[0])
        self.sums = np.concatenate(([0], np.cumsum(bars.volume)))
        self.traded = np.maximum.accumulate(np.concatenate(([-1], at)))
        self.high = np.maximum.accumulate(np.concatenate(([0], np.where(active, bars.high, 0))))
        self.low = np.minimum.accumulate(
            np.concatenate(([NO_LOW], np.where(active, bars.low, NO_LOW)))
        )


@lru_cache(maxsize=256)
def running(seed: int, instrument: Instrument, day: date, index: int) -> Running:
    """Return the running sums of a block; cached."""
    return Running(seed, instrument, day, index)


@lru_cache(maxsize=16_384)
def block_at(name: str, minute: int) -> tuple[date, int, Block] | None:
    """Return (trade date, index, block) that minute `minute` of the epoch lies in, or None."""
    at = minute * 60
    today = local(at, name).date()
    for day in (today, today + timedelta(days=1)):
        for index, block in enumerate(blocks(name, day)):
            if block.start <= at < block.end:
                return day, index, block
    return None


@lru_cache(maxsize=16_384)
def block_before(name: str, minute: int) -> tuple[date, int, Block]:
    """Return (trade date, index, block) of the last block that has ended by minute `minute`."""
    at = minute * 60
    today = local(at, name).date()
    for back in range(-1, LONGEST_BREAK):
        day = today - timedelta(days=back)
        found = blocks(name, day)
        for index in reversed(range(len(found))):
            if found[index].end <= at:
                return day, index, found[index]
    raise LookupError(f"{name} has not traded in the {LONGEST_BREAK} days before {today}")


def previous(name: str, day: date, index: int) -> tuple[date, int, Block]:
    """Return the block before block `index` of trade date `day`."""
    if index > 0:
        return day, index - 1, blocks(name, day)[index - 1]
    for back in range(1, LONGEST_BREAK):
        before = day - timedelta(days=back)
        found = blocks(name, before)
        if found:
            return before, len(found) - 1, found[-1]
    raise LookupError(f"{name} has not traded in the {LONGEST_BREAK} days before {day}")


@lru_cache(maxsize=8192)
def last_trade(seed: int, instrument: Instrument, day: date, index: int) -> Trade:
    """Return the latest trade when a block has ended, in it or before it."""
    for _ in range(LONGEST_BREAK):
        minute = int(running(seed, instrument, day, index).traded[-1])
        if minute >= 0:
            return _latest(seed, instrument, day, index, minute * 60 + 59)
        day, index, _ = previous(instrument.model.calendar, day, index)
    block = blocks(instrument.model.calendar, day)[index]
    return Trade(int(minutes(seed, instrument, day, index).close[-1]), 0, block.end)


@lru_cache(maxsize=4096)
def prior_close(seed: int, instrument: Instrument, day: date) -> int:
    """Return the last price of regular hours of the trade date before `day`."""
    name = instrument.model.calendar
    before, index, block = previous(name, day, 0)
    while not block.rth:
        before, index, block = previous(name, before, index)
    return last_trade(seed, instrument, before, index).price


@lru_cache(maxsize=4096)
def so_far(seed: int, instrument: Instrument, day: date, index: int) -> Sofar:
    """Return the session before block `index`: volume, and open, high, low as far as they count.

    Regular hours start open, high and low anew, and what follows them no longer changes these.
    """
    found = blocks(instrument.model.calendar, day)[:index]
    sums = [running(seed, instrument, day, n) for n in range(index)]
    volume = sum(int(one.sums[-1]) for one in sums)
    regular = [one for one, block in zip(sums, found, strict=True) if block.rth]
    now_regular = blocks(instrument.model.calendar, day)[index].rth
    counted = [one for one in (regular if regular or now_regular else sums) if one.traded[-1] >= 0]
    if not counted:
        return Sofar(volume, 0, 0, NO_LOW)
    return Sofar(
        volume,
        counted[0].open,
        max(int(one.high[-1]) for one in counted),
        min(int(one.low[-1]) for one in counted),
    )


def state_in(seed: int, instrument: Instrument, day: date, index: int, offset: int) -> State:
    """Return the screen at the end of second `offset` of a block."""
    number, at = divmod(offset, 3600)
    hour = hour_of(seed, instrument, day, index, number)
    sums = running(seed, instrument, day, index)
    before = so_far(seed, instrument, day, index)
    first = number * 60  # minutes of the block before this hour
    trade = _latest(seed, instrument, day, index, offset)
    found = blocks(instrument.model.calendar, day)
    frozen = not found[index].rth and any(block.rth for block in found[:index])
    high, low = before.high, before.low
    if not frozen:
        high = max(high, int(sums.high[first]), int(hour.high[at]))
        low = min(low, int(sums.low[first]), int(hour.low[at]))
    began = bool(hour.at[at] >= 0 or sums.traded[first] >= 0)
    return State(
        price=int(hour.fine.close[at]),
        gap=int(hour.fine.gap[at]),
        spread=int(hour.fine.spread[at]),
        bid_size=int(hour.bid_size[at]),
        ask_size=int(hour.ask_size[at]),
        last=trade.price,
        last_size=trade.size,
        last_time=trade.time,
        volume=before.volume + int(sums.sums[first] + hour.sums[at]),
        open=before.open or (sums.open if began and not frozen else 0),
        high=high,
        low=low,
    )


def _latest(seed: int, instrument: Instrument, day: date, index: int, offset: int) -> Trade:
    """Return the latest trade by second `offset` of a block."""
    number, at = divmod(offset, 3600)
    hour = hour_of(seed, instrument, day, index, number)
    start = blocks(instrument.model.calendar, day)[index].start
    found = int(hour.at[at])
    if found >= 0:
        return hour.trade(found, start + number * 3600)
    minute = int(running(seed, instrument, day, index).traded[number * 60])
    if minute >= 0:
        return _latest(seed, instrument, day, index, minute * 60 + 59)
    before, last, _ = previous(instrument.model.calendar, day, index)
    return last_trade(seed, instrument, before, last)


def end_of_life(instrument: Instrument) -> int | None:
    """Return when an instrument stops trading for good, in epoch seconds, or None."""
    if instrument.expiry is None:
        return None
    last = session(instrument.model.calendar, instrument.expiry, use_rth=False)
    if last is not None:
        return last.end
    return _noon(instrument.expiry)


def _noon(day: date) -> int:
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400 + 43_200


@lru_cache(maxsize=8192)
def screen(seed: int, instrument: Instrument, second: int, *, always_open: bool) -> Quote:
    """Return what the screen shows at `second` of the epoch."""
    end = end_of_life(instrument)
    dead = end is not None and second >= end
    if dead and end is not None:
        second = end
    name = instrument.model.calendar
    found = None if dead else block_at(name, second // 60)
    if found is not None:
        day, index, block = found
        state = state_in(seed, instrument, day, index, second - block.start)
        return _quote(seed, instrument, day, state, two_sided=True)
    day, index, block = block_before(name, second // 60)
    state = state_in(seed, instrument, day, index, block.end - block.start - 1)
    if always_open and not dead:
        state = _stray(seed, instrument, day, state, block.end, second)
    return _quote(seed, instrument, day, state, two_sided=always_open and not dead)


def _stray(
    seed: int, instrument: Instrument, day: date, state: State, end: int, second: int
) -> State:
    """Return the closing screen moved a little, for quotes outside trading hours."""
    level = levels(seed, instrument.model.path, all_week=instrument.model.calendar == "crypto")
    reach = max(2.0, AFTER_HOURS_MOVE * float(level.sigma[day.toordinal() - ORIGIN]) * state.price)
    moved = round(reach * _noise(seed, instrument.con_id, second) * min(1.0, (second - end) / 60))
    steps = day_grid(seed, instrument, day)
    price = max(8, state.price + moved)
    if steps.step > 1:
        price = steps.step * min(max(round(price / steps.step), steps.low), steps.high)
    if instrument.model.under is not None:
        spot = screen(seed, instrument.model.under, second, always_open=True).middle
        price = optionmarket.stray(seed, instrument, day, spot, second)
    draw = fraction(seed, "stray", instrument.con_id, second)
    unit = _book_unit(instrument)
    size = max(1, round(instrument.model.trade_size / float(instrument.model.size_unit)))
    return State(
        price=price,
        gap=_stray_gap(instrument, state, draw, price, steps.step),
        spread=state.spread,
        bid_size=unit * (1 + int(draw * 89) % 7),
        ask_size=unit * (1 + int(draw * 983) % 7),
        last=price,
        last_size=size,
        last_time=second,
        volume=state.volume + (second - end + 1) * size,
        open=state.open or price,
        high=max(state.high, price),
        low=min(state.low, price),
    )


def _stray_gap(instrument: Instrument, state: State, draw: float, price: int, step: int) -> int:
    """Return how far the bid is below the price; an option's price is its middle."""
    if instrument.model.under is not None:
        return min(state.gap, price - 1)
    return int(draw * 997) % (state.spread // step + 1) * step


def _noise(seed: int, con_id: int, second: int) -> float:
    """Return a smooth number around 0, within about one, that depends on the second alone."""
    total = 0.0
    for step, size in LATTICE:
        knot, rest = divmod(second, step)
        a, b = (2 * fraction(seed, "knot", con_id, step, knot + n) - 1 for n in (0, 1))
        t = rest / step
        total += size * (a + (b - a) * t * t * (3 - 2 * t))
    return total


def _quote(seed: int, instrument: Instrument, day: date, state: State, *, two_sided: bool) -> Quote:
    """Return a screen in prices and sizes."""
    price, size = Pricer(instrument), _Sizer(instrument)
    quoted = two_sided and instrument.sec_type != "IND"
    traded = instrument.sec_type != "CASH"
    bid = state.price - state.gap
    known = state.open > 0
    volume = instrument.model.volume > 0
    return Quote(
        bid=price(bid) if quoted else None,
        ask=price(bid + state.spread) if quoted else None,
        last=price(state.last) if traded else None,
        bid_size=size(state.bid_size) if quoted else 0,
        ask_size=size(state.ask_size) if quoted else 0,
        last_size=size(state.last_size) if traded and volume else 0,
        volume=size(state.volume) if volume else 0,
        open=price(state.open) if known else None,
        high=price(state.high) if known else None,
        low=price(state.low) if known else None,
        close=price(prior_close(seed, instrument, day)),
        last_time=state.last_time,
    )


def decimals(instrument: Instrument) -> int:
    """Return how many places the tick has."""
    exponent = instrument.tick.normalize().as_tuple().exponent
    return max(0, -int(exponent))


class Pricer:
    """Turns ticks into a price: the float that its decimal text denotes."""

    __slots__ = ("places", "tick")

    def __init__(self, instrument: Instrument) -> None:
        self.tick, self.places = float(instrument.tick), decimals(instrument)

    def __call__(self, ticks: float) -> float:
        """Return the price of so many ticks."""
        return round(ticks * self.tick, self.places)


class _Sizer:
    """Turns units into a size: an int where sizes are whole."""

    __slots__ = ("places", "unit")

    def __init__(self, instrument: Instrument) -> None:
        unit = instrument.model.size_unit
        self.unit, self.places = float(unit), max(0, -int(unit.normalize().as_tuple().exponent))

    def __call__(self, units: int) -> float:
        """Return the size of so many units."""
        return round(units * self.unit, self.places) if self.places else units
