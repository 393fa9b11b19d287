"""The ticks that a client asks for by number ("generic ticks"): which are legal, what they say.

Pure. Numbers that the market does not know (shares to borrow, option volumes, ratios) are made up
from the seed, the same for a whole day. Not here: when they are sent (`ibkit.sim.lines`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ibkit.schema import BAR_SIZES
from ibkit.sim import borrow, times
from ibkit.sim.actions import dividend_text
from ibkit.sim.market import NoDataError
from ibkit.sim.noise import fraction
from ibkit.sim.wire import replies as r
from ibkit.sim.wire.fields import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.market import Bars, Market
    from ibkit.sim.quotes import Tick
    from ibkit.sim.replay import ReplayMarket
    from ibkit.sim.screen import Quote

YEAR_S: Final = 365 * 86_400
DAYS_OF: Final = {13: 64, 26: 128, 52: 256}  # sessions in so many weeks
TRADING_DAYS: Final = 252

STOCK: Final = {
    100: "Option Volume",
    101: "Option Open Interest",
    104: "Historical Volatility",
    105: "Average Option Volume",
    106: "Option Implied Volatility",
    165: "Miscellaneous Stats",
    221: "Mark Price",
    225: "Auction Values",
    232: "Pl Price",
    233: "RTVolume",
    236: "Shortable",
    256: "Inventory",
    258: "Fundamental Ratios",
    292: "Wide News",
    293: "TradeCount",
    294: "TradeRate",
    295: "VolumeRate",
    318: "LastRTHTrade",
    375: "RTTrdVolume",
    411: "RTHistVol",
    456: "IBDividends",
    576: "EtfNavLast",
    577: "EtfNavClose",
    578: "EtfNavPriorClose",
    586: "IPOHLPRC",
    595: "Short-Term Volume X Mins",
    614: "EtfNavMisc",
    619: "Creditman Slow Mark Price",
    623: "EtfFrozenNavLast",
}
COMMON: Final = (165, 221, 225, 232, 233, 293, 294, 295, 318, 375, 411, 595, 619)
OPTIONED: Final = (100, 101, 104, 105, 106, 162)
NAMES: Final = {
    **STOCK,
    162: "Index Future Premium",
    460: "Bond Factor Multiplier",
    588: "Futures Open Interest",
}
BY_TYPE: Final = {
    "STK": tuple(STOCK),
    "IND": (*OPTIONED, 165, 221, 232, 233, 292, 411, 619),
    "FUT": (*COMMON, 100, 101, 104, 105, 106, 588),
    "OPT": (*COMMON, 100, 101, 104, 106),
    "FOP": (*COMMON, 100, 101, 104, 106),
    "BOND": (165, 221, 232, 233, 460, 619),
    "CASH": (165, 221, 232, 233, 411, 619),
    "CFD": (165, 221, 232, 233, 236, 619),
    "NEWS": (292,),
    "BAG": (),
}


def legal(sec_type: str) -> dict[int, str]:
    """Return number and name of the generic ticks that a kind of instrument has.

    >>> 588 in legal("FUT"), 588 in legal("STK")
    (True, False)
    """
    return {number: NAMES[number] for number in BY_TYPE.get(sec_type, COMMON)}


@dataclass
class Facts:
    """What is known about an instrument on a day: where its generic ticks come from."""

    market: Market | ReplayMarket
    seed: int
    instrument: Instrument
    quote: Quote
    now: float

    @cached_property
    def year(self) -> Bars | None:
        """The daily bars of the year before, or None when there are none."""
        size = BAR_SIZES["1 day"]
        try:
            found = self.market.bars(
                self.instrument, self.now - YEAR_S, self.now, size, "TRADES", use_rth=True
            )
        except NoDataError:
            return None
        return found if len(found) > 1 else None

    @property
    def price(self) -> float:
        """The last price, or what comes nearest to it."""
        quote = self.quote
        if quote.last is not None:
            return quote.last
        if quote.bid is not None and quote.ask is not None:
            return (quote.bid + quote.ask) / 2
        return quote.close or 0.0

    @property
    def volatility(self) -> float:
        """The yearly volatility of the last thirty sessions."""
        if self.year is None:
            return self.instrument.model.path.vol
        moves = np.diff(np.log(self.year.close[-31:]))
        return round(float(moves.std() * np.sqrt(TRADING_DAYS)), 6)

    def draw(self, name: str, low: float, high: float) -> float:
        """Return a made-up number of today, between `low` and `high`."""
        day = int(self.now) // 86_400
        return low + (high - low) * fraction(self.seed, name, self.instrument.con_id, day)


def generic_ticks(numbers: Iterable[int], facts: Facts) -> Iterator[Tick]:
    """Yield the ticks that the generic ticks `numbers` stand for."""
    for number in sorted(numbers):
        maker = MAKERS.get(number)
        if maker is not None:
            yield from maker(facts)


def trade_ticks(numbers: frozenset[int], facts: Facts) -> Iterator[Tick]:
    """Yield those that follow every trade: the time and sales, and the mark price."""
    yield from generic_ticks(numbers & ON_TRADE, facts)


def _price(kind: int, value: float) -> Tick:
    return r.TICK_PRICE, (kind, plain(round(value, 6)), 0, 0)


def _size(kind: int, value: float) -> Tick:
    return r.TICK_SIZE, (kind, plain(value))


def _generic(kind: int, value: float) -> Tick:
    return r.TICK_GENERIC, (kind, plain(round(value, 8)))


def _text(kind: int, value: str) -> Tick:
    return r.TICK_STRING, (kind, value)


def _sizes(*kinds: int, most: int) -> Callable[[Facts], list[Tick]]:
    """Return a maker of sizes that nobody knows."""
    return lambda facts: [_size(kind, int(facts.draw(f"size {kind}", 0, most))) for kind in kinds]


def _year(facts: Facts) -> Iterator[Tick]:
    """Yield the lows and highs of 13, 26 and 52 weeks, and the average daily volume."""
    if facts.year is None:
        return
    low, high = facts.year.low, facts.year.high
    for kind, weeks in zip((15, 17, 19), DAYS_OF, strict=True):
        yield _price(kind, float(low[-DAYS_OF[weeks] :].min()))
        yield _price(kind + 1, float(high[-DAYS_OF[weeks] :].max()))
    if facts.year.volume[-1] >= 0:
        yield _size(21, int(facts.year.volume[-90:].mean()))


def _mark(facts: Facts) -> list[Tick]:
    return [_price(37, facts.price)]


def _auction(facts: Facts) -> list[Tick]:
    """Return an auction that is not going on: no volume, no imbalance."""
    return [_size(34, 0), _price(35, facts.price), _size(36, 0), _size(61, 0)]


def _time_and_sales(kind: int) -> Callable[[Facts], list[Tick]]:
    def make(facts: Facts) -> list[Tick]:
        quote = facts.quote
        if quote.last is None:
            return []
        parts = (quote.last, quote.last_size, int(quote.last_time * 1000), quote.volume)
        average = round((quote.last + (quote.open or quote.last)) / 2, 8)
        return [_text(kind, ";".join(map(str, (*parts, average, "true"))))]

    return make


def _shortable(facts: Facts) -> list[Tick]:
    """Return how easily it is borrowed, and how many shares of it there are."""
    level = borrow.ease(facts.instrument)
    shares = int(facts.draw("borrow", 1e5, 2e7)) if level == borrow.EASY else 0
    return [_generic(46, level), _size(89, shares)]


def _ratios(facts: Facts) -> list[Tick]:
    """Return a few ratios in the form ``KEY=value;``."""
    earnings = facts.price / facts.draw("pe", 12, 40)
    ratios = {
        "NPRICE": round(facts.price, 2),
        "TTMEPSXCLX": round(earnings, 4),
        "PEEXCLXOR": round(facts.price / earnings, 4) if earnings else -99999.99,
        "BETA": round(facts.instrument.model.path.market * 1.4, 4),
        "MKTCAP": round(facts.price * facts.draw("shares", 300, 9000), 2),
    }
    return [_text(47, ";".join(f"{key}={value}" for key, value in ratios.items()))]


def _rates(facts: Facts) -> tuple[float, float]:
    """Return trades and units a minute."""
    model = facts.instrument.model
    volume = model.volume / 390
    return volume / max(model.trade_size, 1e-9), volume


def _dividends(facts: Facts) -> list[Tick]:
    """Return past and next twelve months' dividends, and the next one."""
    if facts.instrument.sec_type != "STK":
        return []
    today = times.day_of(facts.now, facts.instrument.time_zone_id)
    return [_text(59, dividend_text(facts.seed, facts.instrument, today))]


def _nav(*kinds: int) -> Callable[[Facts], list[Tick]]:
    def make(facts: Facts) -> list[Tick]:
        if facts.instrument.stock_type != "ETF":
            return []
        return [_price(kind, facts.price) for kind in kinds]

    return make


def _fixed(kind: int, value: Callable[[Facts], float]) -> Callable[[Facts], list[Tick]]:
    return lambda facts: [_generic(kind, value(facts))]


MAKERS: Final[dict[int, Callable[[Facts], Any]]] = {
    100: _sizes(29, 30, most=200_000),
    101: _sizes(27, 28, most=2_000_000),
    104: _fixed(23, lambda facts: facts.volatility),
    105: _sizes(87, most=300_000),
    106: _fixed(24, lambda facts: facts.volatility * facts.draw("implied", 0.95, 1.2)),
    162: _fixed(31, lambda facts: facts.price * 0.001),
    165: _year,
    221: _mark,
    225: _auction,
    232: _mark,
    233: _time_and_sales(48),
    236: _shortable,
    256: lambda _facts: [],
    258: _ratios,
    293: _fixed(54, lambda facts: facts.quote.volume // facts.instrument.model.trade_size),
    294: _fixed(55, lambda facts: _rates(facts)[0]),
    295: _fixed(56, lambda facts: _rates(facts)[1]),
    318: lambda facts: [_price(57, facts.price)],
    375: _time_and_sales(77),
    411: _fixed(58, lambda facts: facts.volatility),
    456: _dividends,
    460: _fixed(60, lambda _facts: 1.0),
    576: _nav(96, 97),
    577: _nav(92),
    578: _nav(93),
    586: lambda _facts: [],
    588: _sizes(86, most=2_000_000),
    595: _sizes(63, 64, 65, most=500_000),
    614: _nav(98, 99),
    619: lambda facts: [_price(79, facts.price)],
    623: _nav(94, 95),
}
ON_TRADE: Final = frozenset({221, 232, 233, 375})
