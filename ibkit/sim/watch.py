"""The market as an exchange sees it: each second's quote, and the trades printed within it.

Looks at nothing twice in one second. A combination is worth what its legs are. Not here: what
orders do about it (`exchange`, `triggers`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.schema import bar_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.market import Bars
    from ibkit.sim.orders import Leg
    from ibkit.sim.screen import Quote
    from ibkit.sim.worth import Market

SECOND, MINUTE = bar_size("1 secs"), bar_size("1 min")
CHUNK_S: Final = 300
WINDOW_S: Final = 4 * 3600
CACHED: Final = 4096
BAG: Final = "BAG"
SIDES: Final = ("TRADES", "BID", "ASK")

Prints = dict[int, tuple[float, float, float]]  # second -> low, high, volume


@dataclass(frozen=True, slots=True)
class Glance:
    """One second of an instrument: the screen at its end, and the trades within it."""

    quote: Quote
    low: float | None
    high: float | None
    volume: float


class Watch:
    """Eyes on a market.

    Parameters
    ----------
    market : Market
        Where prices come from.
    """

    def __init__(self, market: Market) -> None:
        self.market, self.universe = market, market.universe
        self._second = -1
        self._glances: dict[int, Glance] = {}
        self._prints: dict[int, tuple[int, Prints]] = {}
        self._ranges: dict[tuple[int, int], dict[int, tuple[float, float]]] = {}
        self._legs: dict[int, tuple[Leg, ...]] = {}

    def learn(self, instrument: Instrument, legs: tuple[Leg, ...]) -> None:
        """Remember what a combination is made of."""
        self._legs[instrument.con_id] = legs

    def glance(self, instrument: Instrument, now: float) -> Glance:
        """Return what is to be seen of `instrument` in the second of `now`."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._glances.clear()
        found = self._glances.get(instrument.con_id)
        if found is None:
            found = self._glances[instrument.con_id] = self._look(instrument, second)
        return found

    def quote(self, instrument: Instrument, at: float) -> Quote:
        """Return what a screen shows."""
        if instrument.con_id in self._legs:
            return self.glance(instrument, at).quote
        return self.market.quote(instrument, at)

    def is_open(self, instrument: Instrument, at: float, *, use_rth: bool = False) -> bool:
        """Whether an instrument, or every leg of it, is in a session."""
        legs = self._legs.get(instrument.con_id)
        if legs is None:
            return self.market.is_open(instrument, at, use_rth=use_rth)
        return all(self.market.is_open(leg.instrument, at, use_rth=use_rth) for leg in legs)

    def regular(self, instrument: Instrument, first: date, last: date) -> list[tuple[int, int]]:
        """Return start and end of the regular sessions of some days."""
        return [(one.start, one.end) for one in self.market.sessions(instrument, first, last)]

    def range_of(self, instrument: Instrument, minute: int) -> tuple[float, float] | None:
        """Return the lowest and highest price of anything in a minute; None when not known."""
        window = minute - minute % WINDOW_S
        key = (instrument.con_id, window)
        if key not in self._ranges:
            if len(self._ranges) > CACHED:
                self._ranges.clear()
            self._ranges[key] = self._extremes(instrument, window)
        return self._ranges[key].get(minute)

    def _look(self, instrument: Instrument, second: int) -> Glance:
        legs = self._legs.get(instrument.con_id)
        if legs is not None:
            return Glance(
                _combined([(leg, self.market.quote(leg.instrument, second)) for leg in legs]),
                None,
                None,
                0,
            )
        quote = self.market.quote(instrument, second)
        found = self._prints_of(instrument, second).get(second)
        if found is not None:
            return Glance(quote, *found)
        return Glance(
            quote, quote.last, quote.last, quote.last_size if quote.last_time == second else 0
        )

    def _prints_of(self, instrument: Instrument, second: int) -> Prints:
        chunk = second - second % CHUNK_S
        known = self._prints.get(instrument.con_id)
        if known is None or known[0] != chunk:
            found = self._bars(instrument, chunk, chunk + CHUNK_S, "TRADES")
            known = self._prints[instrument.con_id] = (chunk, _by_time(found) if found else {})
            if len(self._prints) > CACHED:
                del self._prints[next(iter(self._prints))]
        return known[1]

    def _bars(
        self, instrument: Instrument, start: int, end: int, what: str, size: object = SECOND
    ) -> Bars | None:
        """Return bars, or None where the market has no such series."""
        make: Callable[..., Bars] = self.market.bars
        try:
            return make(instrument, start, end, size, what, False)  # noqa: FBT003  IB's useRTH
        except LookupError:
            return None

    def _extremes(self, instrument: Instrument, window: int) -> dict[int, tuple[float, float]]:
        found: dict[int, tuple[float, float]] = {}
        for what in SIDES:
            bars = self._bars(instrument, window, window + WINDOW_S, what, MINUTE)
            for at, (low, high, _) in _by_time(bars).items() if bars else ():
                before = found.get(at, (low, high))
                found[at] = min(low, before[0]), max(high, before[1])
        return found


def _by_time(bars: Bars) -> Prints:
    rows = zip(
        bars.time.tolist(), bars.low.tolist(), bars.high.tolist(), bars.volume.tolist(), strict=True
    )
    return {at: (low, high, volume) for at, low, high, volume in rows}


def _combined(parts: list[tuple[Leg, Quote]]) -> Quote:
    """Return the quote of a combination: what it costs to trade all legs at once."""
    bid = _total([(leg, quote.bid if leg.sign > 0 else quote.ask) for leg, quote in parts])
    ask = _total([(leg, quote.ask if leg.sign > 0 else quote.bid) for leg, quote in parts])
    sizes = [min(quote.bid_size, quote.ask_size) / leg.ratio for leg, quote in parts]
    last = _total([(leg, quote.last) for leg, quote in parts])
    close = _total([(leg, quote.close) for leg, quote in parts])
    size = float(int(min(sizes))) or 1.0
    return replace(
        parts[0][1], bid=bid, ask=ask, last=last, close=close, bid_size=size, ask_size=size,
        last_size=0, volume=0, open=None, high=None, low=None,
    )  # fmt: skip


def _total(parts: list[tuple[Leg, float | None]]) -> float | None:
    total = Decimal(0)
    for leg, price in parts:
        if price is None:
            return None
        total += Decimal(repr(price)) * leg.ratio * leg.sign
    return float(total)
