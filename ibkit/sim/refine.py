"""Seconds inside minutes: drawn so that they add up to their minute exactly.

Pure functions on arrays, sixty seconds a row. Not here: where minutes come from (`paths`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

THIN: Final = 6  # trades; a minute with fewer has them all in one second


@dataclass(frozen=True, slots=True)
class Bars:
    """Consecutive slots of equal length: prices in ticks, sizes in units.

    A slot with `count` 0 had no trade; its prices are the last one's, carried. `gap` is how far
    the bid was below the trades, `spread` how far the ask was above the bid; `turnover` is in
    quarter-ticks.
    """

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    count: Ints
    turnover: Ints
    gap: Ints
    spread: Ints


def refine(rows: Bars, rng: np.random.Generator) -> Bars:
    """Return sixty seconds for each minute that add up to it exactly.

    Where whole numbers leave no way (a handful of trades), all of a minute falls into one second.
    """
    inside = _Inside(rows, rng)
    fine = inside.bars()
    failed = ~inside.exact(fine)
    return _flat(_lump(fine, rows, failed, rng.integers(0, 60, len(failed))), rows)


class _Inside:
    """The work of `refine`, step by step, on arrays of minutes by sixty seconds."""

    def __init__(self, rows: Bars, rng: np.random.Generator) -> None:
        self.rows, self.rng = rows, rng
        self.size = (len(rows.open), 60)
        self.active = self._draw_active()
        self.number = self.active.sum(axis=1)
        self.weight = self.active * rng.standard_exponential(self.size)

    def _draw_active(self) -> Flags:
        """Return which seconds trade: at least four, and no more than there are trades."""
        busy = 1 - np.exp(-0.5 * self.rows.count / 60)
        draw = self.rng.random(self.size)
        ranked = np.sort(draw, axis=1)
        most = np.take_along_axis(ranked, np.clip(self.rows.count, 1, 60)[:, None] - 1, axis=1)
        active: Flags = draw <= np.clip(busy[:, None], ranked[:, 3:4], most)
        return active

    def bars(self) -> tuple[Ints, ...]:
        """Return open, high, low, close, volume, count, turnover."""
        count = self._share(self.rows.count - self.number, self.weight) + self.active
        ohlc = self._prices(count)
        volume = self._volumes(count, ohlc[0] + ohlc[1] + ohlc[2] + ohlc[3])
        return (*ohlc, volume, count, self._turnover(ohlc, volume))

    def exact(self, fine: tuple[Ints, ...]) -> Flags:
        """Whether a minute's seconds add up to it."""
        _, high, low, _, volume, count, turnover = fine
        rows = self.rows
        top = np.where(self.active, high, -1).max(axis=1)
        bottom = np.where(self.active, low, np.iinfo(np.int64).max).min(axis=1)
        ordered = (turnover >= 4 * low * volume) & (turnover <= 4 * high * volume)
        exact: Flags = (
            (rows.count >= THIN)
            & (self.number >= 2)
            & (self.number <= rows.count)
            & (top == rows.high)
            & (bottom == rows.low)
            & (volume.sum(axis=1) == rows.volume)
            & (count.sum(axis=1) == rows.count)
            & (turnover.sum(axis=1) == rows.turnover)
            & (volume >= count).all(axis=1)
            & ordered.all(axis=1)
        )
        return exact

    @staticmethod
    def _share(total: Ints, weight: Floats) -> Ints:
        """Return whole numbers in proportion to `weight` that sum up to `total`."""
        cumulated = np.cumsum(weight, axis=1)
        cumulated /= np.maximum(cumulated[:, -1:], 1e-300)
        steps = np.floor(cumulated * np.maximum(total, 0)[:, None]).astype(np.int64)
        return np.diff(steps, axis=1, prepend=0)

    def _prices(self, count: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Return a walk from open to close, bent so that it just touches high and low."""
        rows, size, rng = self.rows, self.size, self.rng
        opening, closing = rows.open[:, None], rows.close[:, None]
        scale = (np.maximum(rows.high - rows.low, 1) / (1.6 * np.sqrt(self.number + 1.0)))[:, None]
        step = np.where(self.active, rng.standard_normal(size), 0.0)
        order: Ints = np.cumsum(self.active, axis=1, dtype=np.int64)
        step[order <= 1] = 0.0
        walk = np.cumsum(step, axis=1)
        time = np.clip((order - 1) / np.maximum(self.number - 1, 1)[:, None], 0, 1)
        close = opening + time * (closing - opening) + (walk - time * walk[:, -1:]) * scale
        close = self._touch(close, order)
        before = np.concatenate((opening, close[:, :-1]), axis=1)
        open_ = np.where(self.active & (count == 1), close, before)
        wick = rng.standard_exponential((2, *size)) * scale * 0.5
        high = np.maximum(open_, close) + np.where(count >= 3, wick[0], 0)
        low = np.minimum(open_, close) - np.where(count >= 4, wick[1], 0)
        return self._bend(open_, high, low, close)

    def _touch(self, close: Floats, order: NDArray[np.int64]) -> Floats:
        """Lift one second above open and close where the high needs it; likewise for the low."""
        rows, each = self.rows, np.arange(len(close))
        above, below = np.maximum(rows.open, rows.close), np.minimum(rows.open, rows.close)
        inner = self.active & (order > 1) & (order < self.number[:, None])
        at = np.where(inner, close, -np.inf).argmax(axis=1)
        lifted = (rows.high > above) & (close[each, at] <= above) & inner[each, at]
        close[each[lifted], at[lifted]] = above[lifted] + 1.0
        inner[each[lifted], at[lifted]] = False
        at = np.where(inner, close, np.inf).argmin(axis=1)
        sunk = (rows.low < below) & (close[each, at] >= below) & inner[each, at]
        close[each[sunk], at[sunk]] = below[sunk] - 1.0
        latest = np.maximum.accumulate(np.where(self.active, np.arange(60), -1), axis=1)
        carried = np.take_along_axis(close, np.maximum(latest, 0), axis=1)
        filled: Floats = np.where(latest >= 0, carried, rows.open[:, None])
        return filled

    def _bend(self, *ohlc: Floats) -> tuple[Ints, Ints, Ints, Ints]:
        """Stretch what is above open and close up to the high, and below them down to the low."""
        rows = self.rows
        above = np.maximum(rows.open, rows.close)[:, None]
        below = np.minimum(rows.open, rows.close)[:, None]
        top = np.maximum(np.where(self.active, ohlc[1], -np.inf).max(axis=1, keepdims=True), above)
        floor = np.minimum(np.where(self.active, ohlc[2], np.inf).min(axis=1, keepdims=True), below)
        up = (rows.high[:, None] - above) / np.maximum(top - above, 1e-9)
        down = (below - rows.low[:, None]) / np.maximum(below - floor, 1e-9)
        open_, high, low, close = (
            np.rint(
                np.clip(value, below, above)
                + np.maximum(value - above, 0) * up
                - np.maximum(below - value, 0) * down
            ).astype(np.int64)
            for value in ohlc
        )
        return open_, high, low, close

    def _volumes(self, count: Ints, price: Ints) -> Ints:
        """Return volumes that lean to the prices which give the minute's average."""
        rows = self.rows
        mean = (rows.open + rows.high + rows.low + rows.close)[:, None]
        width = np.maximum(4 * (rows.high - rows.low), 1)[:, None]
        x = (price - mean) / width
        spare = np.maximum(rows.volume - rows.count, 0)
        goal = -(count * x).sum(axis=1) / np.maximum(spare, 1)
        return count + self._share(spare, self.weight * np.exp(self._lean(x, goal) * x))

    def _lean(self, x: Floats, goal: Floats) -> Floats:
        """Return the exponent with which the weighted mean of `x` is `goal`, by Newton's rule."""
        lean = np.zeros((len(x), 1))
        for _ in range(8):
            weight = self.weight * np.exp(lean * x)
            total = np.maximum(weight.sum(axis=1), 1e-300)
            mean = (weight * x).sum(axis=1) / total
            spread = (weight * x * x).sum(axis=1) / total - mean * mean
            lean[:, 0] += np.clip((goal - mean) / np.maximum(spread, 1e-4), -4, 4)
        return np.clip(lean, -40.0, 40.0)

    def _turnover(self, ohlc: tuple[Ints, Ints, Ints, Ints], volume: Ints) -> Ints:
        """Return turnovers near the four prices' mean, moved so that they sum up exactly."""
        price = ohlc[0] + ohlc[1] + ohlc[2] + ohlc[3]
        plain = volume * price
        off = self.rows.turnover - plain.sum(axis=1)
        room_up = volume * (4 * ohlc[1] - price)
        room_down = volume * (price - 4 * ohlc[2])
        moved = _spill(room_up, np.maximum(off, 0)) - _spill(room_down, np.maximum(-off, 0))
        moved += plain
        return moved


def _spill(room: Ints, amount: Ints) -> Ints:
    """Return whole numbers up to `room` that sum up to `amount`, as far as there is room."""
    cumulated = np.cumsum(room, axis=1)
    share = np.minimum(amount / np.maximum(cumulated[:, -1], 1), 1.0)
    steps = np.floor(cumulated * share[:, None] + 1e-9).astype(np.int64)
    steps[:, -1] = np.minimum(amount, cumulated[:, -1])
    return np.diff(np.maximum.accumulate(steps, axis=1), axis=1, prepend=0)


def _lump(fine: tuple[Ints, ...], rows: Bars, failed: Flags, second: Ints) -> tuple[Ints, ...]:
    """Return `fine` with the minutes that `failed` put into one second each."""
    at = np.arange(60)[None, :]
    here, later = at == second[:, None], at > second[:, None]
    wanted = (rows.open, rows.high, rows.low, rows.close, rows.volume, rows.count, rows.turnover)
    carried = np.where(later, rows.close[:, None], rows.open[:, None])
    found = []
    for index, (values, whole) in enumerate(zip(fine, wanted, strict=True)):
        rest = carried if index < 4 else np.zeros_like(carried)
        found.append(np.where(failed[:, None], np.where(here, whole[:, None], rest), values))
    return tuple(found)


def _flat(fine: tuple[Ints, ...], rows: Bars) -> Bars:
    """Return the rows one after the other, with each minute's quotes for all of its seconds."""
    gap, spread = np.repeat(rows.gap, 60), np.repeat(rows.spread, 60)
    open_, high, low, close, volume, count, turnover = (values.ravel() for values in fine)
    return Bars(open_, high, low, close, volume, count, turnover, gap, spread)
