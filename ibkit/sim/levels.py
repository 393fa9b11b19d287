"""Where a price stands each day: one vectorised draw from a fixed first day, for all years at once.

A path's daily moves mix a market factor, a sector factor and its own noise; volatility clusters;
some nights jump. The level keeps near its trend, so that thirty years away prices stay plausible.
Not here: what happens within a day (`ibkit.sim.paths`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np

from ibkit.sim.calendars import FIRST_DAY, LAST_DAY
from ibkit.sim.noise import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ibkit.sim.universe import PathModel

ORIGIN: Final = FIRST_DAY.toordinal() - 1
DAYS: Final = LAST_DAY.toordinal() - ORIGIN + 8
ANCHOR: Final = date(2026, 1, 2).toordinal() - ORIGIN  # the day on which `price` holds
PULL: Final = 0.9985  # of the distance from the trend that is left after a day
NIGHT: Final = 0.3  # of the variance of a day that falls before the opening
JUMPS: Final = (0.012, 3.5)  # how many nights jump, and how much wider they are


@dataclass(frozen=True, slots=True)
class Levels:
    """Logarithms of a path by day number (`day - ORIGIN`).

    Attributes
    ----------
    close : array
        At the end of regular hours.
    day, night : array
        The move of regular hours, and the move before them.
    sigma : array
        The day's own volatility (standard deviation of its whole move).
    """

    close: NDArray[np.float64]
    day: NDArray[np.float64]
    night: NDArray[np.float64]
    sigma: NDArray[np.float64]


@lru_cache(maxsize=128)
def levels(seed: int, path: PathModel, *, all_week: bool = False) -> Levels:
    """Return the levels of a path. Costs some milliseconds; cached."""
    sigma = path.vol / np.sqrt(365 if all_week else 252) * _clusters(seed, path)
    day = sigma * np.sqrt(1 - NIGHT) * _mix(seed, path, "day")
    night = sigma * np.sqrt(NIGHT) * _mix(seed, path, "night") * _jumps(seed, path)
    if not all_week:
        rest = ~_weekdays()
        day[rest] = night[rest] = 0.0
    off_trend = np.fromiter(accumulate((day + night).tolist(), _pulled), float, DAYS)
    trend = path.drift / 365 * np.arange(DAYS)
    close = np.log(path.price) + (trend - trend[ANCHOR]) + (off_trend - off_trend[ANCHOR])
    return Levels(close, day, night, sigma)


def _pulled(before: float, move: float) -> float:
    return PULL * before + move


def _weekdays() -> NDArray[np.bool_]:
    """Whether a day number is a Monday to Friday."""
    first = date.fromordinal(ORIGIN).weekday()
    return (np.arange(DAYS) + first) % 7 < 5


@lru_cache(maxsize=256)
def _normals(seed: int, *key: str) -> NDArray[np.float64]:
    return stream(seed, "days", *key).standard_normal(DAYS)


def _mix(seed: int, path: PathModel, part: str) -> NDArray[np.float64]:
    """Return the path's standard normals: its factors and its own, to a variance of one."""
    rest = max(0.0, 1 - path.market**2 - path.sector_weight**2)
    mixed: NDArray[np.float64] = path.market * _normals(seed, "market", part) + np.sqrt(
        rest
    ) * stream(seed, "days", "own", path.name, part).standard_normal(DAYS)
    if path.sector:
        mixed += path.sector_weight * _normals(seed, "sector", path.sector, part)
    return mixed


def _jumps(seed: int, path: PathModel) -> NDArray[np.float64]:
    """Return 1 for most nights and a multiple for the few with news."""
    share, width = JUMPS
    hit = stream(seed, "jumps", path.name).random(DAYS) < share
    return np.where(hit, width, 1.0)


def _clusters(seed: int, path: PathModel) -> NDArray[np.float64]:
    """Return the factor by which each day's volatility differs from the usual."""
    common = _common(seed)
    own = _calm(stream(seed, "vol", path.name).standard_normal(DAYS), 0.94)
    factor: NDArray[np.float64] = np.exp(0.34 * common + 0.2 * own - (0.34**2 + 0.2**2))
    return factor


@lru_cache(maxsize=16)
def _common(seed: int) -> NDArray[np.float64]:
    """Return the unrest that all paths share."""
    return _calm(_normals(seed, "vol"), 0.975)


def _calm(shocks: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    """Return a slow process of variance one."""
    scaled = (shocks * np.sqrt(1 - keep**2)).tolist()
    return np.fromiter(accumulate(scaled, lambda before, shock: keep * before + shock), float, DAYS)
