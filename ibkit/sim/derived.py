"""Series that are no prices: volatility, the fee for borrowing, and the yields of bonds.

Volatility is that of the same path as the prices, borrowing is made up from the seed. Both are
known at every second, as a line between the ends of minutes, so bars of any size are exact. Yields
follow from the prices of the bars. Pure. Not here: putting bars together (`market`).
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from ibkit.sim.calendars import blocks
from ibkit.sim.levels import ORIGIN, levels
from ibkit.sim.noise import fraction, minute_normals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ibkit.sim.instrument import Instrument

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

SCALE: Final = 1_000_000  # values are whole millionths
LINES: Final = frozenset({"HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY", "FEE_RATE"})
# the yields, and the prices that they are of
YIELDS: Final = {
    "YIELD_LAST": "TRADES",
    "YIELD_BID": "BID",
    "YIELD_ASK": "ASK",
    "YIELD_BID_ASK": "BID_ASK",
}
SESSIONS: Final = 30  # of which historical volatility is made
PREMIUM: Final = 1.08  # what options cost over what happens
TOWARDS_USUAL: Final = 0.4  # how far options expect volatility to return to its usual level
WIGGLE: Final = 0.01  # of its value: how far implied volatility strays within a day
PAR: Final = 100.0
YEAR: Final = 365
NEWTON_STEPS: Final = 12


def line(seed: int, instrument: Instrument, day: date, index: int, what: str, at: Ints) -> Ints:
    """Return the values of a series at the epoch seconds `at`, which lie in block `index`."""
    if what == "FEE_RATE":
        return np.full(len(at), round(fee_rate(seed, instrument, day) * SCALE), dtype=np.int64)
    found = blocks(instrument.model.calendar, day)
    block = found[index]
    knots = _knots(seed, instrument, day, index, what)
    minute = (at - block.start) / 60
    return np.rint(np.interp(minute, np.arange(len(knots)), knots)).astype(np.int64)


@lru_cache(maxsize=512)
def _knots(seed: int, instrument: Instrument, day: date, index: int, what: str) -> Floats:
    """Return the values at the ends of the minutes of a block, and at its beginning."""
    found = blocks(instrument.model.calendar, day)
    block, whole = found[index], found[-1].end - found[0].start
    times = block.start + 60 * np.arange(block.minutes + 1) - found[0].start
    values = _daily(seed, instrument, what)
    n = day.toordinal() - ORIGIN
    before = float(values[n - 1])
    knots = before + (float(values[n]) - before) * times / whole
    if what == "OPTION_IMPLIED_VOLATILITY":
        steps = minute_normals(
            seed, f"implied {instrument.model.path.name}", block.start // 60, block.minutes
        )
        walk = np.concatenate(([0.0], np.cumsum(steps))) / np.sqrt(block.minutes)
        walk -= np.linspace(0.0, 1.0, len(walk)) * walk[-1]
        knots = knots * np.exp(WIGGLE * walk)
    return np.rint(knots * SCALE)


@lru_cache(maxsize=256)
def _daily(seed: int, instrument: Instrument, what: str) -> Floats:
    """Return a year's volatility at the end of each day, by day number."""
    model = instrument.model
    all_week = model.calendar == "crypto"
    level = levels(seed, model.path, all_week=all_week)
    year = 365 if all_week else 252
    if what == "OPTION_IMPLIED_VOLATILITY":
        now = level.sigma * np.sqrt(year)
        usual = (1 - TOWARDS_USUAL) * now**2 + TOWARDS_USUAL * model.path.vol**2
        implied: Floats = PREMIUM * abs(model.power) * np.sqrt(usual)
        return implied
    first = date.fromordinal(ORIGIN).weekday()
    counted = (
        np.ones(len(level.close), bool)
        if all_week
        else (np.arange(len(level.close)) + first) % 7 < 5
    )
    moves = np.diff(level.close[counted], prepend=level.close[0]) * model.power
    sums, squares = (np.cumsum(np.concatenate(([0.0], x))) for x in (moves, moves * moves))
    last = np.arange(1, len(sums))
    begin = np.maximum(last - SESSIONS, 0)
    number = last - begin
    mean = (sums[last] - sums[begin]) / number
    spread = np.maximum((squares[last] - squares[begin]) / number - mean**2, 0.0)
    known = np.sqrt(spread * year)
    found: Floats = known[np.maximum(np.cumsum(counted) - 1, 0)]
    return found


def fee_rate(seed: int, instrument: Instrument, day: date) -> float:
    """Return what borrowing the stock costs on a day, in percent a year: little for most."""
    draw = fraction(seed, "fee", instrument.con_id)
    usual = 0.25 + 0.1 * draw if draw < 0.9 else 0.35 * 80 ** ((draw - 0.9) / 0.1)
    return round(usual * (0.9 + 0.2 * fraction(seed, "fee", instrument.con_id, day)), 4)


def yields(instrument: Instrument, day: date, price: Floats) -> Floats:
    """Return the yields to maturity, in millionths of a percent, of prices in percent of par."""
    bond = instrument.bond
    assert bond is not None, "only bonds have yields"
    end = date(int(bond.maturity[:4]), int(bond.maturity[4:6]), int(bond.maturity[6:8]))
    years = max((end - day).days / YEAR, 1 / YEAR)
    rate = np.full(len(price), bond.coupon / PAR)
    for _ in range(NEWTON_STEPS):
        rate = _better(rate, bond.coupon, years, price)
    return np.rint(rate * PAR * SCALE)


def _better(rate: Floats, paid: float, years: float, price: Floats) -> Floats:
    """Return the rate after a step of Newton's rule; interest is counted without a break."""
    kept = np.exp(-rate * years)
    flat = np.abs(rate) < 1e-9
    safe = np.where(flat, 1.0, rate)
    annuity = np.where(flat, years, (1 - kept) / safe)
    slope = np.where(flat, -(years**2) / 2, (years * kept * safe - (1 - kept)) / safe**2)
    value = paid * annuity + PAR * kept
    steep = paid * slope - PAR * years * kept
    better: Floats = np.clip(rate - (value - price) / steep, -0.5, 5.0)
    return better
