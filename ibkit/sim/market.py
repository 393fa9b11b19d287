"""The synthetic market: bars and quotes of any instrument at any time, the same for ever.

Pure and random access: nothing depends on what was asked before. Bars of every size are sums over
the one path of each block of trading (`ibkit.sim.paths`); quotes (`ibkit.sim.screen`) read the same
path second by second. Not here: orders (`exchange`), recorded prices (`replay`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ibkit.sim import derived
from ibkit.sim.actions import adjustment
from ibkit.sim.calendars import FIRST_DAY, Block, Session, blocks, days, local, session
from ibkit.sim.paths import minutes, seconds
from ibkit.sim.rows import Rows, add, join, pick
from ibkit.sim.screen import Quote, block_at, decimals, end_of_life, screen
from ibkit.sim.worker import check_wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ibkit.schema import BarSize
    from ibkit.sim.refine import Bars as Path
    from ibkit.sim.universe import Instrument, Universe

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = ["Bars", "Market", "NoDataError", "Quote", "Session"]

LISTED_BEFORE: Final = timedelta(days=730)  # its expiry, a future begins to trade
TRADED: Final = frozenset({"TRADES", "ADJUSTED_LAST", "AGGTRADES"})
MISSING: Final = -1
MINUTE: Final = 60
HOUR: Final = 3600


class NoDataError(LookupError):
    """The market has no such series; the text is IB's."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in columns; `time` is the start in epoch seconds.

    `ref_date` (yyyymmdd) is the trade date, of weeks and months the last one. `volume`, `wap` and
    `count` are -1 where IB has none.
    """

    time: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    wap: Floats
    count: Ints
    ref_date: Ints

    def __len__(self) -> int:
        return len(self.time)


class Market:
    """Prices of a universe, from a seed.

    Parameters
    ----------
    universe : Universe
        Its instruments carry what their prices do.
    seed : int
        Another seed is another history.
    always_open : bool
        Whether quotes go on around the last close outside trading hours; bars never do.
    """

    simulated: Final = True

    def __init__(self, universe: Universe, seed: int = 1, *, always_open: bool = True) -> None:
        self.universe, self.seed, self.always_open = universe, seed, always_open

    def sessions(
        self,
        instrument: Instrument,
        first: date,
        last: date,
        use_rth: bool = True,  # noqa: FBT001, FBT002  IB's field, in IB's place
    ) -> list[Session]:
        """Return the sessions of trade dates `first` to `last`, both included."""
        name = instrument.model.calendar
        found = (session(name, day, use_rth=use_rth) for day in days(name, first, last))
        return [one for one in found if one is not None]

    def blocks(self, instrument: Instrument, day: date) -> tuple[Block, ...]:
        """Return the stretches that a trade date consists of; () when closed."""
        return blocks(instrument.model.calendar, day)

    def is_open(self, instrument: Instrument, at: float, *, use_rth: bool = False) -> bool:
        """Whether `at` lies in a session."""
        found, end = block_at(instrument.model.calendar, int(at) // 60), end_of_life(instrument)
        return found is not None and (found[2].rth or not use_rth) and (end is None or at < end)

    def head(self, instrument: Instrument) -> int:
        """Return when the history begins, in epoch seconds."""
        return _head(instrument)

    def quote(self, instrument: Instrument, at: float) -> Quote:
        """Return what a screen shows at `at`: the state after the trades of that second."""
        return screen(self.seed, instrument, int(at), always_open=self.always_open)

    def bars(
        self,
        instrument: Instrument,
        start: float,
        end: float,
        size: BarSize,
        what: str = "TRADES",
        use_rth: bool = True,  # noqa: FBT001, FBT002  IB's field, in IB's place
    ) -> Bars:
        """Return the bars that begin in [`start`, `end`), ascending.

        A bar in progress at `end` holds what happened before `end`. Days, weeks and months are
        those whose sessions lie at least in part in the span, and are whole at its beginning.
        """
        make = _Making(self.seed, instrument, int(start), int(end), size, what, use_rth)
        return make.bars()


@lru_cache(maxsize=1024)
def _head(instrument: Instrument) -> int:
    first = FIRST_DAY + timedelta(days=10)
    if instrument.bond is not None:
        first = max(first, _to_date(instrument.bond.issued))
    elif instrument.expiry is not None:
        first = max(first, instrument.expiry - LISTED_BEFORE)
    following = (blocks(instrument.model.calendar, first + timedelta(days=n)) for n in range(40))
    return next(found[0].start for found in following if found)


def _to_date(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


@dataclass(frozen=True, slots=True)
class _Making:
    """One request for bars, on its way; `basis` are the prices that the series is made of."""

    seed: int
    instrument: Instrument
    start: int
    end: int
    size: BarSize
    what: str
    use_rth: bool

    @property
    def basis(self) -> str:
        return derived.YIELDS.get(self.what, self.what)

    def bars(self) -> Bars:
        """Return the answer."""
        rows = [row for day in self._dates() for row in self._rows(day)]
        joined = join(rows)
        if self.basis in TRADED:
            joined = pick(joined, joined.count > 0)
        added = add(joined, mean=self.basis == "BID_ASK")
        begins = added.label >= self.start if self.size.intraday else added.until > self.start
        return _priced(pick(added, begins), self.instrument, self.what)

    def _dates(self) -> Iterator[date]:
        """Yield the trade dates that the bars may be made of."""
        name = self.instrument.model.calendar
        first = local(self.start, name).date()
        last = local(self.end, name).date() + timedelta(days=1)
        if self.size.slug == "1week":
            first -= timedelta(days=first.weekday())
        if self.size.slug == "1month":
            first = first.replace(day=1)
        first = max(first, local(_head(self.instrument), name).date())
        if self.instrument.expiry is not None:
            last = min(last, self.instrument.expiry)
        return days(name, first, last)

    def _rows(self, day: date) -> Iterator[Rows]:
        """Yield a trade date's pieces of the path, up to the end of the span."""
        found = [
            (index, block)
            for index, block in enumerate(blocks(self.instrument.model.calendar, day))
            if block.rth or not self.use_rth
        ]
        run = before = 0
        check_wanted()
        for index, block in found:
            run = block.start if block.start != before else run
            before = block.end
            late = self.size.intraday and block.end <= self.start - self.size.seconds
            if block.start < self.end and not late:
                place = _Place(day, run, found[0][1].start, found[-1][1].end)
                yield from self._block(index, block, place)

    def _block(self, index: int, block: Block, place: _Place) -> Iterator[Rows]:
        """Yield the pieces of one block."""
        key = (self.seed, self.instrument, place.day, index)
        if self.what in derived.LINES:
            yield self._line(key, block, place)
        elif not self.size.intraday and self.end >= block.end:
            yield self._placed(_whole(*key, self.basis), np.array([block.start]), place)
        elif self.size.seconds < MINUTE or self.basis == "BID_ASK":
            yield from self._seconds(key, block, place)
        else:
            yield from self._minutes(key, block, place)

    def _minutes(self, key: Key, block: Block, place: _Place) -> Iterator[Rows]:
        """Yield the finished minutes of a block, and the one that `end` cuts."""
        count, rest = divmod(min(block.end, self.end) - block.start, MINUTE)
        times = block.start + MINUTE * np.arange(count + 1)
        yield self._placed(_side(minutes(*key), self.basis, 0, count), times[:-1], place)
        if rest:
            hour, at = divmod(count * MINUTE, HOUR)
            part = _side(seconds(*key, hour), self.basis, at, at + rest)
            yield self._placed(_one(part), times[-1:], place)

    def _seconds(self, key: Key, block: Block, place: _Place) -> Iterator[Rows]:
        """Yield the seconds of a block, hour by hour; of a whole day, a row an hour."""
        begin = self.start - self.size.seconds - block.start if self.size.intraday else 0
        end = min(block.end, self.end) - block.start
        for hour in range(max(0, begin) // HOUR, -(-end // HOUR)):
            count = min(end - hour * HOUR, HOUR)
            times = block.start + hour * HOUR + np.arange(count)
            part = _side(seconds(*key, hour), self.basis, 0, count)
            if not self.size.intraday:
                part, times = _one(part, mean=self.basis == "BID_ASK"), times[:1]
            yield self._placed(part, times, place)

    def _line(self, key: Key, block: Block, place: _Place) -> Rows:
        """Return a block of a series that is no price, in seconds or minutes."""
        step = MINUTE if self.size.seconds >= MINUTE else 1
        skip = max(0, self.start - self.size.seconds - block.start) if self.size.intraday else 0
        begin, end = block.start + skip // MINUTE * MINUTE, min(block.end, self.end)
        edges = np.append(np.arange(begin, end, step), end)
        value = derived.line(*key, self.what, edges)
        ends = value[:-1], value[1:]
        zero = np.zeros_like(edges[1:])
        part = (ends[0], np.maximum(*ends), np.minimum(*ends), ends[1], zero, zero, zero, zero + 1)
        return self._placed(part, edges[:-1], place)

    def _shown(self, part: Part, day: date) -> Part:
        """Return prices without the dividends to come, or as yields; other series as they are."""
        open_, high, low, close, volume, count, turnover, weight = part
        if self.what == "ADJUSTED_LAST":
            now = local(self.end, self.instrument.model.calendar).date()
            kept = adjustment(self.seed, self.instrument, day, now)
            prices = (x * kept for x in (open_, high, low, close))
            return (*prices, volume, count, turnover * kept, weight)
        if self.what in derived.YIELDS:
            tick = float(self.instrument.tick)
            prices = (
                derived.yields(self.instrument, day, x * (tick / 2))
                for x in (open_, low, high, close)
            )
            return (*prices, volume, count, turnover, weight)
        return part

    def _placed(self, part: Part, times: Ints, place: _Place) -> Rows:
        """Return rows that know which bar they belong to."""
        part = self._shown(part, place.day)
        same = np.full(len(times), 1, dtype=np.int64)
        ref_date = place.day.year * 10_000 + place.day.month * 100 + place.day.day
        if self.size.intraday:
            slot = _slots(times, self.size.seconds, _offset(self.instrument, place.run))
            label = np.maximum(slot, place.run)
        else:
            slot = same * _period(place.day, self.size.slug)
            label = same * place.start
        return Rows(slot, label, same * place.end, same * ref_date, *part)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a block belongs: its trade date, and the starts and end that label bars.

    `run` is the start of the unbroken stretch that it lies in, `start` and `end` the session's.
    """

    day: date
    run: int
    start: int
    end: int


Key = tuple[int, "Instrument", date, int]
# open, high, low, close, volume, count, turnover, weight
Part = tuple["NDArray[Any]", ...]


def _side(path: Path, what: str, first: int, last: int) -> Part:
    """Return slots of the path as `what` shows them."""
    cut = slice(first, last)
    gap, spread = path.gap[cut], path.spread[cut]
    if what in TRADED:
        shift = np.zeros_like(gap)
    elif what == "BID":
        shift = -2 * gap
    elif what == "ASK":
        shift = 2 * (spread - gap)
    elif what == "MIDPOINT":
        shift = spread - 2 * gap
    else:
        bid = 2 * (path.close[cut] - gap)
        ask = bid + 2 * spread
        zero = np.zeros_like(gap)
        return (bid, ask, bid, ask, zero, zero, zero, zero + 1)
    prices = (2 * each[cut] + shift for each in (path.open, path.high, path.low, path.close))
    return (*prices, path.volume[cut], path.count[cut], path.turnover[cut], np.ones_like(gap))


def _one(part: Part, *, mean: bool = False) -> Part:
    """Return one row for all of them; with `mean`, open and close are averages."""
    open_, high, low, close, *sums = part
    if mean:
        ends = open_.mean(keepdims=True), close.mean(keepdims=True)
    else:
        ends = open_[:1], close[-1:]
    added = (each.sum(keepdims=True) for each in sums)
    return (ends[0], high.max(keepdims=True), low.min(keepdims=True), ends[1], *added)


@lru_cache(maxsize=16_384)
def _whole(seed: int, instrument: Instrument, day: date, index: int, what: str) -> Part:
    """Return a whole block in one row; cached, so that years of days cost their minutes once."""
    key = (seed, instrument, day, index)
    path = minutes(*key)
    if what != "BID_ASK":
        return _one(_side(path, what, 0, len(path.open)))
    hours = range(-(-len(path.open) * MINUTE // HOUR))
    parts = [_one(_side(seconds(*key, hour), what, 0, HOUR), mean=True) for hour in hours]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    weight = columns[7]
    ends = [(columns[n] * weight).sum(keepdims=True) / weight.sum() for n in (0, 3)]
    whole = _one(tuple(columns))
    return (ends[0], whole[1], whole[2], ends[1], *whole[4:])


def _slots(times: Ints, length: int, offset: int) -> Ints:
    """Return the start of each time's slot, on the exchange's own clock."""
    return (times + offset) // length * length - offset


def _offset(instrument: Instrument, at: int) -> int:
    """Return the seconds that the exchange's clock is ahead of UTC."""
    shift = local(at, instrument.model.calendar).utcoffset()
    return int(shift.total_seconds()) if shift else 0


def _period(day: date, slug: str) -> int:
    """Return the number of the day, or of the Monday or the first of its week or month."""
    if slug == "1week":
        return day.toordinal() - day.weekday()
    return day.replace(day=1).toordinal() if slug == "1month" else day.toordinal()


def _priced(rows: Rows, instrument: Instrument, what: str) -> Bars:
    """Return rows in prices and sizes."""
    half, places = float(instrument.tick) / 2, decimals(instrument) + 1
    average_places = places + 2
    if what == "ADJUSTED_LAST":
        places -= 1
    if what in derived.LINES or what in derived.YIELDS:
        half, places = 1 / derived.SCALE, 6
    open_, high, low, close = (
        np.round(x * half, places) for x in (rows.open, rows.high, rows.low, rows.close)
    )
    missing = np.full(len(rows.slot), float(MISSING))
    volume, wap, count = missing, missing, missing.astype(np.int64)
    if what in TRADED:
        unit = instrument.model.size_unit
        volume = np.round(rows.volume * float(unit), max(0, -int(unit.normalize().as_tuple()[2])))
        wap = np.round(rows.turnover / np.maximum(rows.volume, 1) * half / 2, average_places)
        count = rows.count
        volume = volume if instrument.model.volume else 0 * volume
    return Bars(rows.label, open_, high, low, close, volume, wap, count, rows.ref_date)
