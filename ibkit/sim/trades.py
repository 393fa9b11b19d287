"""Single trades and quotes, taken apart from the seconds that the bars are made of.

A second's trades have its open, high, low and close, add up to its volume and count, and give its
average price as near as whole sizes allow: so what was streamed and the bars served later agree.
Pure. Not here: who gets them (`ibkit.sim.handlers.ticks`).
"""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ibkit.schema import BAR_SIZES
from ibkit.sim import times
from ibkit.sim.grids import instrument_step
from ibkit.sim.market import NoDataError
from ibkit.sim.noise import fraction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.market import Bars, Market
    from ibkit.sim.replay import ReplayMarket

    AnyMarket = Market | ReplayMarket

ODD_LOTS: Final = 0.25  # how often a trade of a US stock is joined by one too small to be reported
ROUND_LOT: Final = 100
UNREPORTED: Final = 2


class Trade(NamedTuple):
    """One trade; with `attributes` 2 it is not reported and is in no bar."""

    time: int
    price: float
    size: float
    attributes: int
    exchange: str
    conditions: str


class BidAsk(NamedTuple):
    """Both sides of the book at the end of a second."""

    time: int
    bid: float
    ask: float
    bid_size: float
    ask_size: float


def trades(
    market: AnyMarket, seed: int, instrument: Instrument, start: int, end: int
) -> Iterator[Trade]:
    """Yield the trades of the seconds from `start` to before `end`, unreported ones too.

    Where history has no seconds (a recording of minutes, or a market that is kept open for
    demonstrations) the changes of the last price stand for trades.
    """
    recorded = _recorded(market, "trades", instrument, start, end)
    if recorded is not None:
        yield from (Trade(*one) for one in recorded)
        return
    bars = _second_bars(market, instrument, start, end)
    known = set() if bars is None else set(bars.time.tolist())
    for second in range(start, end):
        if second in known:
            assert bars is not None
            yield from _taken_apart(seed, instrument, bars, int(bars.time.searchsorted(second)))
        elif bars is None or not market.is_open(instrument, second):
            yield from _from_quotes(market, instrument, second)


def _recorded(
    market: AnyMarket, kind: str, instrument: Instrument, start: int, end: int
) -> Iterator[Any] | None:
    """Return what a replay has recorded, or None where it has not."""
    find = getattr(market, f"recorded_{kind}", None)
    return None if find is None else find(instrument, start, end)


def _second_bars(market: AnyMarket, instrument: Instrument, start: int, end: int) -> Bars | None:
    try:
        return market.bars(instrument, start, end, BAR_SIZES["1 secs"], "TRADES", use_rth=False)
    except NoDataError:
        return None


def _from_quotes(market: AnyMarket, instrument: Instrument, second: int) -> Iterator[Trade]:
    """Yield what traded in a second, by what the screen showed before and after it."""
    before, after = market.quote(instrument, second - 1), market.quote(instrument, second)
    if after.last is None or (after.last_time, after.volume) == (before.last_time, before.volume):
        return
    if after.last_time < second:
        return
    yield Trade(second, after.last, after.last_size, 0, venue(instrument, second), "")


def venue(instrument: Instrument, draw: int) -> str:
    """Return one of the exchanges that an instrument trades on."""
    names = [name for name in instrument.valid_exchanges if name not in {"SMART", "IBKRATS"}]
    return names[draw % len(names)] if names else instrument.exchange


def _taken_apart(seed: int, instrument: Instrument, bars: Bars, n: int) -> Iterator[Trade]:
    """Yield the trades of one second's bar."""
    second = int(bars.time[n])
    chance = Random(int(fraction(seed, "trades", instrument.con_id, second) * 2**53))  # noqa: S311  prices, not secrets
    tick = float(instrument.tick)
    open_, high, low, close = (
        round(float(x[n]) / tick) for x in (bars.open, bars.high, bars.low, bars.close)
    )
    step = instrument_step(instrument, open_, high, low, close)
    ends = (each // step for each in (open_, high, low, close))
    prices = walk(chance, int(bars.count[n]), *ends)
    unit = float(instrument.model.size_unit)
    units = round(float(bars.volume[n]) / unit) if bars.volume[n] > 0 else len(prices)
    sizes = shares(chance, prices, units, float(bars.wap[n]) / tick / step)
    odd = instrument.sec_type == "STK" and instrument.currency == "USD"
    places = max(0, -int(instrument.model.size_unit.normalize().as_tuple().exponent))
    for price, size in zip(prices, sizes, strict=True):
        at = _price(instrument, price * step)
        draw = chance.random()
        if odd and draw < ODD_LOTS:
            small = 1 + int(draw / ODD_LOTS * (ROUND_LOT - 1))
            yield Trade(second, at, small, UNREPORTED, "FINRA", "   I")
        done = round(size * unit, places) if places else size
        yield Trade(second, at, done, 0, venue(instrument, int(chance.random() * 1000)), "")


def _price(instrument: Instrument, ticks: int) -> float:
    return float(instrument.tick * ticks)


def walk(chance: Random, count: int, open_: int, high: int, low: int, close: int) -> list[int]:
    """Return `count` prices from open to close that touch high and low, and go no further.

    >>> sorted(walk(Random(1), 4, 10, 12, 7, 11))
    [7, 10, 11, 12]
    """
    inner = [high] if high > max(open_, close) else []
    if low < min(open_, close):
        inner.append(low)
    if count <= 1 + len(inner):
        return ([open_, *inner, close] if inner or open_ != close else [close])[: max(count, 1)]
    inner += [chance.randint(low, high) for _ in range(count - 2 - len(inner))]
    chance.shuffle(inner)
    return [open_, *inner, close]


def shares(chance: Random, prices: list[int], units: int, mean: float) -> list[int]:
    """Return sizes of at least 1 that add up to `units` and give `mean` as nearly as they can."""
    count = len(prices)
    spare = max(units - count, 0)
    weights = [-math.log(1 - chance.random()) for _ in prices]
    edges = [0.0]
    total = sum(weights)
    for weight in weights:
        edges.append(edges[-1] + weight)
    cut = [int(spare * edge / total) for edge in edges[:-1]] + [spare]
    sizes = [1 + after - before for before, after in pairwise(cut)]
    _lean(prices, sizes, mean)
    return sizes


def _lean(prices: list[int], sizes: list[int], mean: float) -> None:
    """Move units between trades until the average price is as near `mean` as it can be."""
    order = sorted(range(len(prices)), key=prices.__getitem__)
    off = round(mean * sum(sizes) - sum(p * s for p, s in zip(prices, sizes, strict=True)))
    for give in order if off > 0 else reversed(order):
        take = order[-1] if off > 0 else order[0]
        step = prices[take] - prices[give]
        if not step:
            break
        moved = min(sizes[give] - 1, off // step)
        if moved > 0:
            sizes[give] -= moved
            sizes[take] += moved
            off -= moved * step


def open_spans(
    market: AnyMarket, instrument: Instrument, start: int, end: int, *, use_rth: bool
) -> list[tuple[int, int]]:
    """Return the stretches of [`start`, `end`) in which the market was open."""
    home = instrument.time_zone_id
    first = times.day_of(start, home) - timedelta(days=1)
    last = times.day_of(end, home) + timedelta(days=1)
    found = market.sessions(instrument, first, last, use_rth)
    cut = ((max(one.start, start), min(one.end, end)) for one in found)
    return [(a, b) for a, b in cut if a < b]


def bid_asks(market: AnyMarket, instrument: Instrument, start: int, end: int) -> Iterator[BidAsk]:
    """Yield both sides of the book whenever a second changed them; recorded ones as they were."""
    recorded = _recorded(market, "quotes", instrument, start, end)
    if recorded is not None:
        whole = ((second, book) for second, book in recorded if None not in book)
        yield from (BidAsk(second, *book) for second, book in whole)
        return
    seen = None
    for second in range(start, end):
        quote = market.quote(instrument, second)
        if quote.bid is None or quote.ask is None:
            continue
        now = (quote.bid, quote.ask, quote.bid_size, quote.ask_size)
        if now != seen:
            seen = now
            yield BidAsk(second, *now)
