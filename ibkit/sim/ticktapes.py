"""Recorded ticks: single trades and quotes of a store or a folder, and the seconds they make.

From trades come bars of one second, which serve every larger size; from quotes come bid and ask.
Not here: where recordings of bars lie (`recordings`), serving them (`replay`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from ibkit.sim.recordings import MISSING, Columns, Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

Kind = Literal["trades", "quotes"]
MICROS: Final = 1_000_000
UNREPORTED: Final = 2


class Print(NamedTuple):
    """One recorded trade."""

    time: int
    price: float
    size: float
    attributes: int
    exchange: str
    conditions: str


class Book(NamedTuple):
    """Both sides at one moment; None where there is none."""

    bid: float | None
    ask: float | None
    bid_size: float
    ask_size: float


@dataclass
class Ticks:
    """The recorded trades or quotes of one instrument, read when they are first needed."""

    instrument: str
    kind: Kind
    load: Callable[[], Any]

    @cached_property
    def frame(self) -> Any:
        """The rows, in the order of their times; rows of one time stay as they were."""
        return self.load().sort_values("ts", kind="stable")

    @cached_property
    def micros(self) -> NDArray[np.int64]:
        """The times, in microseconds of the epoch."""
        found: NDArray[np.int64] = self.frame["ts"].astype("datetime64[us, UTC]").array.asi8
        return found

    def column(self, name: str, missing: float) -> NDArray[np.float64]:
        """Return a column of numbers; `missing` where there is none."""
        if name not in self.frame:
            return np.full(len(self.frame), missing)
        values = self.frame[name].to_numpy(dtype=float, na_value=np.nan)
        return np.where(np.isnan(values), missing, values)

    def prints(self, start: int, end: int) -> Iterator[Print]:
        """Yield the trades of the seconds from `start` to before `end`."""
        low, high = np.searchsorted(self.micros, [start * MICROS, end * MICROS])
        rows = self.frame.iloc[low:high]
        for at, row in zip(self.micros[low:high], rows.to_dict("records"), strict=True):
            yield Print(
                int(at) // MICROS,
                float(row["price"]),
                float(row.get("size") or 0),
                UNREPORTED if row.get("unreported") is True else 0,
                str(row.get("exchange") or ""),
                str(row.get("conditions") or ""),
            )

    def books(self, start: int, end: int) -> Iterator[tuple[int, Book]]:
        """Yield second and book of the quotes of the seconds from `start` to before `end`."""
        low, high = np.searchsorted(self.micros, [start * MICROS, end * MICROS])
        for index in range(low, high):
            yield int(self.micros[index]) // MICROS, self._book(index)

    def book(self, at: float) -> Book | None:
        """Return the latest quote by the end of the second of `at`."""
        index = int(np.searchsorted(self.micros, (int(at) + 1) * MICROS)) - 1
        return self._book(index) if index >= 0 else None

    def _book(self, index: int) -> Book:
        bid, ask, bid_size, ask_size = (float(side[index]) for side in self._sides)
        return Book(
            bid if bid > MISSING else None, ask if ask > MISSING else None, bid_size, ask_size
        )

    @cached_property
    def _sides(self) -> tuple[NDArray[np.float64], ...]:
        prices = tuple(self.column(name, MISSING) for name in ("bid", "ask"))
        return *prices, *(self.column(name, 0.0) for name in ("bid_size", "ask_size"))

    def seconds(self) -> Columns:
        """Return the bars of one second that the reported trades make, or the quotes' middles."""
        if self.kind == "quotes":
            bid, ask, *_ = self._sides
            both = (bid > MISSING) & (ask > MISSING)
            return _seconds(self.micros[both], (bid + ask)[both] / 2, np.full(both.sum(), MISSING))
        reported = np.ones(len(self.frame), dtype=bool)
        if "unreported" in self.frame:
            reported = ~self.frame["unreported"].fillna(value=False).to_numpy(dtype=bool)
        price, size = self.column("price", MISSING), self.column("size", 0.0)
        return _seconds(self.micros[reported], price[reported], size[reported])

    def as_bars(self) -> Recording:
        """Return trades, or the middles of quotes, as a recording of seconds of all hours."""
        what = "TRADES" if self.kind == "trades" else "MIDPOINT"
        return Recording(self.instrument, "1 secs", what, use_rth=False, read=self.seconds)


def _seconds(
    micros: NDArray[np.int64], price: NDArray[np.float64], size: NDArray[np.float64]
) -> Columns:
    """Return what happened second by second; without sizes there is no volume either."""
    second = micros // MICROS
    if not len(second):
        return Columns(second, *(np.empty(0),) * 7)
    first = np.flatnonzero(np.concatenate(([True], second[1:] != second[:-1])))
    last = np.concatenate((first[1:], [len(second)])) - 1
    volume = np.add.reduceat(size, first)
    money = np.add.reduceat(size * price, first)
    sized = size.max() > MISSING
    known = volume > 0
    return Columns(
        second[first],
        price[first],
        np.maximum.reduceat(price, first),
        np.minimum.reduceat(price, first),
        price[last],
        volume if sized else np.full(len(first), MISSING),
        np.where(known, money / np.where(known, volume, 1), MISSING),
        (last - first + 1).astype(float) if sized else np.full(len(first), MISSING),
    )


def ticks_of_store(root: Path) -> Iterator[Ticks]:
    """Yield the trades and quotes of a store."""
    from ibkit.store import Store

    store = Store(root)
    kinds: tuple[Kind, ...] = ("trades", "quotes")
    for kind in kinds:
        if kind in store.datasets():
            for instrument in store.instruments(kind):
                yield Ticks(instrument, kind, _reader(store, kind, instrument))


def _reader(store: Any, kind: Kind, instrument: str) -> Callable[[], Any]:
    return lambda: store.read(kind, instrument)


def ticks_of_frames(frames: list[Any], kind: Kind) -> Iterator[Ticks]:
    """Yield the trades or quotes of the files of a folder."""
    import pandas as pd

    if not frames:
        return
    for symbol, rows in pd.concat(frames).groupby("symbol", sort=True):
        yield Ticks(str(symbol), kind, _constant(rows))


def _constant(rows: Any) -> Callable[[], Any]:
    return lambda: rows
