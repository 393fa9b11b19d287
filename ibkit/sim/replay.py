"""Recorded prices as a market: the bars of a store or a folder, served value by value.

Has the interface of `ibkit.sim.market.Market`. Bars of a stored size come out as they went in;
larger ones are added up; finer ones than stored are refused, for nobody knows them. Quotes walk
inside the bar in progress, within its low and high. Not here: reading files (`recordings`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from ibkit.sim.calendars import Block, Session, blocks, days, local
from ibkit.sim.casting import known, made_up
from ibkit.sim.market import Bars, NoDataError
from ibkit.sim.recordings import MISSING, Columns, recordings
from ibkit.sim.screen import Quote, block_at
from ibkit.sim.tape import DAY, Tape, no_quote, quote_in, session_of, stretch, to_date
from ibkit.sim.universe import Universe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ibkit.schema import BarSize
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.ticktapes import Book, Print

AS_TRADES: Final = frozenset({"ADJUSTED_LAST", "AGGTRADES"})


class ReplayMarket:
    """A market of recorded prices.

    Parameters
    ----------
    source : Path or str
        The root of a store, or a folder of CSV and Parquet files.
    universe : Universe, optional
        Instruments that are recorded but not in it are added, with plain contract details.

    Attributes
    ----------
    universe : Universe
        With the recorded instruments.
    """

    simulated: Final = True

    def __init__(self, source: Path | str, universe: Universe | None = None) -> None:
        base = universe or Universe.load()
        found, ticks = recordings(source)
        found += [one.as_bars() for one in ticks]
        names = {one.instrument for one in found} | {one.instrument for one in ticks}
        cast = {name: known(base, name) for name in sorted(names)}
        new = {name: made_up(name) for name, one in cast.items() if one is None}
        self.universe = base.with_instruments(list(new.values()))
        self._tapes: dict[int, list[Tape]] = defaultdict(list)
        for one in found:
            instrument = cast[one.instrument] or new[one.instrument]
            self._tapes[instrument.con_id].append(Tape(instrument, one))
        self._ticks = {
            ((cast[one.instrument] or new[one.instrument]).con_id, one.kind): one for one in ticks
        }
        for tapes in self._tapes.values():
            tapes.sort(key=lambda tape: tape.size.seconds)

    # --- when -----------------------------------------------------------------------------------

    def sessions(
        self,
        instrument: Instrument,
        first: date,
        last: date,
        use_rth: bool = True,  # noqa: FBT001, FBT002  IB's field, in IB's place
    ) -> list[Session]:
        """Return the sessions: of the recorded days where there are any, else the calendar's."""
        name = instrument.model.calendar
        usual = set(days(name, first, last))
        recorded = self._recorded(instrument)
        if recorded:
            inside = {one for one in usual if recorded[0] <= one <= recorded[-1]}
            usual = (usual - inside) | {one for one in recorded if first <= one <= last}
        return [session_of(instrument, day, use_rth=use_rth) for day in sorted(usual)]

    def blocks(self, instrument: Instrument, day: date) -> tuple[Block, ...]:
        """Return the stretches that a trade date consists of; () when closed."""
        return blocks(instrument.model.calendar, day)

    def is_open(self, instrument: Instrument, at: float, *, use_rth: bool = False) -> bool:
        """Whether `at` lies in a session."""
        found = block_at(instrument.model.calendar, int(at) // 60)
        return found is not None and (found[2].rth or not use_rth)

    def head(self, instrument: Instrument) -> int:
        """Return when the recording begins, in epoch seconds."""
        return min(tape.times[0] for tape in self._of(instrument, "TRADES"))

    @property
    def begins(self) -> float:
        """When the first recorded session begins: where a clock starts to trade it again."""
        first = min((tape for tapes in self._tapes.values() for tape in tapes), key=_first)
        day = session_of(first.instrument, first.dates[0], use_rth=True)
        return float(day.start if not first.size.intraday else min(first.times[0], day.start))

    def _recorded(self, instrument: Instrument) -> list[date]:
        tapes = self._tapes.get(instrument.con_id, [])
        return tapes[-1].dates if tapes else []

    def _of(self, instrument: Instrument, what: str) -> list[Tape]:
        """Return the tapes of a kind of series, the finest first; any kind when there is none."""
        tapes = self._tapes.get(instrument.con_id, [])
        if not tapes:
            raise NoDataError(f"HMDS query returned no data: {_called(instrument, what)}")
        wanted = "TRADES" if what in AS_TRADES else what
        return [tape for tape in tapes if tape.recording.what == wanted] or tapes

    # --- bars -----------------------------------------------------------------------------------

    def bars(
        self,
        instrument: Instrument,
        start: float,
        end: float,
        size: BarSize,
        what: str = "TRADES",
        use_rth: bool = True,  # noqa: FBT001, FBT002  IB's field, in IB's place
    ) -> Bars:
        """Return the bars that begin in [`start`, `end`), as `Market.bars` does.

        Raises
        ------
        NoDataError
            The instrument or this kind of series was not recorded, or only in larger bars.
        """
        tape = self._pick(instrument, size, what, use_rth=use_rth)
        low = int(start) if size.intraday else _begin(instrument, int(start), size)
        begin = bisect_right(tape.times, low - 1 if size.intraday else low - DAY)
        stop = bisect_right(tape.times, int(end) - 1)
        cut = _cut(tape.bars, begin, stop)
        rows = _bars(cut, tape.ref_dates[begin:stop])
        if use_rth and not tape.recording.use_rth and tape.size.intraday:
            rows = _pick(rows, self._regular(instrument, rows.time))
        if not size.intraday:
            rows = _pick(rows, _in_span(tape, rows, low, int(end)))
        return rows if tape.size == size else _added(rows, instrument, size)

    def _pick(self, instrument: Instrument, size: BarSize, what: str, *, use_rth: bool) -> Tape:
        """Return the tape to serve from: of the very size, else the largest that divides it."""
        wanted = "TRADES" if what in AS_TRADES else what
        tapes = [tape for tape in self._of(instrument, what) if tape.recording.what == wanted]
        same_hours = [tape for tape in tapes if tape.recording.use_rth == use_rth] or tapes
        fitting = [tape for tape in same_hours if _divides(tape.size, size)]
        if not fitting:
            known = ", ".join(sorted({tape.size.ib for tape in tapes})) or "other series"
            raise NoDataError(
                f"HMDS query returned no data: {_called(instrument, what)} (the recording has "
                f"{known})"
            )
        return next((tape for tape in fitting if tape.size == size), fitting[-1])

    # --- quotes ---------------------------------------------------------------------------------

    def quote(self, instrument: Instrument, at: float) -> Quote:
        """Return what a screen shows at `at`, from the finest recording."""
        try:
            tape = self._of(instrument, "TRADES")[0]
        except NoDataError:
            return no_quote(at)
        index = bisect_right(tape.times, int(at)) - 1
        if index < 0:
            return no_quote(at)
        begin, length = stretch(tape, index)
        share = min(1.0, (int(at) - begin + 1) / length)
        quote = quote_in(tape, index, share, at)
        quotes = self._ticks.get((instrument.con_id, "quotes"))
        book = quotes.book(at) if quotes is not None else None
        return quote if book is None else replace(quote, **book._asdict())

    def recorded_trades(
        self, instrument: Instrument, start: int, end: int
    ) -> Iterator[Print] | None:
        """Return the recorded trades of some seconds, or None where none were recorded."""
        ticks = self._ticks.get((instrument.con_id, "trades"))
        return ticks.prints(start, end) if ticks is not None else None

    def recorded_quotes(
        self, instrument: Instrument, start: int, end: int
    ) -> Iterator[tuple[int, Book]] | None:
        """Return the recorded quotes of some seconds, or None where none were recorded."""
        ticks = self._ticks.get((instrument.con_id, "quotes"))
        return ticks.books(start, end) if ticks is not None else None

    def _regular(self, instrument: Instrument, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether bars begin in regular hours."""
        minutes, which = np.unique(times // 60, return_inverse=True)
        regular = [
            self.is_open(instrument, minute * 60, use_rth=True) for minute in minutes.tolist()
        ]
        return np.array(regular, dtype=bool)[which]


def _first(tape: Tape) -> int:
    return tape.times[0]


def _begin(instrument: Instrument, start: int, size: BarSize) -> int:
    """Return `start`, or the begin of the week or month that it lies in."""
    at = local(start, instrument.model.calendar)
    if size.slug not in {"1week", "1month"}:
        return start
    back = at.weekday() if size.slug == "1week" else at.day - 1
    first = (at - timedelta(days=back)).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp())


def _in_span(tape: Tape, rows: Bars, start: int, end: int) -> NDArray[np.bool_]:
    """Whether a day's session lies at least in part in [`start`, `end`)."""
    found = [session_of(tape.instrument, to_date(n), use_rth=False) for n in rows.ref_date.tolist()]
    return np.array([one.end > start and one.start < end for one in found], dtype=bool)


# --- adding up ---------------------------------------------------------------------------------


def _divides(small: BarSize, large: BarSize) -> bool:
    """Whether bars of `large` can be made of bars of `small`."""
    if small == large:
        return True
    if not small.intraday:
        return small.slug == "1day" and large.seconds > small.seconds
    return not large.intraday or large.seconds % small.seconds == 0


def _cut(columns: Columns, begin: int, stop: int) -> Columns:
    names = Columns.__dataclass_fields__
    return Columns(**{name: getattr(columns, name)[begin:stop] for name in names})


def _bars(columns: Columns, ref_dates: NDArray[np.int64]) -> Bars:
    return Bars(
        columns.ts,
        columns.open,
        columns.high,
        columns.low,
        columns.close,
        columns.volume,
        columns.wap,
        columns.count.astype(np.int64),
        ref_dates,
    )


def _pick(bars: Bars, which: NDArray[np.bool_]) -> Bars:
    return Bars(**{name: getattr(bars, name)[which] for name in Bars.__dataclass_fields__})


def _added(bars: Bars, instrument: Instrument, size: BarSize) -> Bars:
    """Return larger bars made of these."""
    if not len(bars):
        return bars
    slot = _slots(bars, instrument, size)
    first = np.flatnonzero(np.concatenate(([True], slot[1:] != slot[:-1])))
    last = np.concatenate((first[1:], [len(slot)])) - 1
    volume, count = (_sum(x, first) for x in (bars.volume, bars.count.astype(float)))
    money = _sum(np.where(bars.wap < 0, MISSING, bars.wap * bars.volume), first)
    known = (money >= 0) & (volume > 0)
    return Bars(
        bars.time[first],
        bars.open[first],
        np.maximum.reduceat(bars.high, first),
        np.minimum.reduceat(bars.low, first),
        bars.close[last],
        volume,
        np.where(known, money / np.where(known, volume, 1), MISSING),
        count.astype(np.int64),
        bars.ref_date[last],
    )


def _sum(values: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sums; -1 where a part is missing."""
    missing = np.maximum.reduceat(values < 0, first)
    return np.where(missing, MISSING, np.add.reduceat(values, first))


def _slots(bars: Bars, instrument: Instrument, size: BarSize) -> NDArray[np.int64]:
    """Return a number for the larger bar that each bar belongs to."""
    dates = bars.ref_date
    if size.slug == "1month":
        return dates // 100
    if size.slug == "1week":
        ordinals = np.array([to_date(n).toordinal() for n in dates.tolist()], dtype=np.int64)
        return (ordinals - 1) // 7
    if not size.intraday:
        return dates
    shift = local(int(bars.time[0]), instrument.model.calendar).utcoffset() or timedelta(0)
    within = (bars.time + int(shift.total_seconds())) // size.seconds
    return dates * 100_000 + within % 100_000


def _called(instrument: Instrument, what: str) -> str:
    return f"{instrument.symbol}@{instrument.exchange} {what.title()}"
