"""One recorded series: its trade dates, and the price inside a bar that is in progress.

Not here: reading it (`recordings`), serving it (`replay`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from ibkit.schema import bar_size
from ibkit.sim.calendars import Session, local, session
from ibkit.sim.screen import Quote, block_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ibkit.schema import BarSize
    from ibkit.sim.recordings import Columns, Recording
    from ibkit.sim.universe import Instrument

DAY: Final = 86_400
BOOK_SIZE: Final = 500  # units at bid and ask: recordings of bars do not know the book
TURNS: Final = (0.3, 0.7)  # when, within a bar, the price is at its two extremes


class Tape:
    """One recorded series of an instrument, read when it is first needed."""

    def __init__(self, instrument: Instrument, recording: Recording) -> None:
        self.instrument, self.recording = instrument, recording
        self.size = bar_size(recording.bar_size)

    @cached_property
    def bars(self) -> Columns:
        """The bars."""
        return self.recording.read()

    @cached_property
    def times(self) -> list[int]:
        """The begins of the bars."""
        return [int(at) for at in self.bars.ts]

    @cached_property
    def ref_dates(self) -> NDArray[np.int64]:
        """The trade date (yyyymmdd) of each bar."""
        found = [trade_date(self.instrument, at, self.size) for at in self.times]
        return np.array([to_number(day) for day in found], dtype=np.int64)

    @cached_property
    def dates(self) -> list[date]:
        """The trade dates, each once, ascending."""
        return [to_date(number) for number in np.unique(self.ref_dates).tolist()]


def trade_date(instrument: Instrument, at: int, size: BarSize) -> date:
    """Return the trade date of a bar that begins at `at`.

    A day's bar may be stamped with its session's begin, or with midnight of the exchange or UTC.
    """
    if not size.intraday and at % DAY == 0:
        return datetime.fromtimestamp(at, UTC).date()
    found = block_at(instrument.model.calendar, at // 60)
    return found[0] if found else local(at, instrument.model.calendar).date()


def session_of(instrument: Instrument, day: date, *, use_rth: bool) -> Session:
    """Return the calendar's session of a day, or the whole day when the calendar is closed."""
    found = session(instrument.model.calendar, day, use_rth=use_rth)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    start = int(midnight.timestamp())
    return found or Session(start, start + DAY, day)


def to_date(number: int) -> date:
    """Return the day that yyyymmdd means."""
    return date(number // 10_000, number // 100 % 100, number % 100)


def to_number(day: date) -> int:
    """Return a day as yyyymmdd."""
    return day.year * 10_000 + day.month * 100 + day.day


def stretch(tape: Tape, index: int) -> tuple[int, int]:
    """Return begin and length of the time that a bar covers: a day's bar, its regular hours."""
    if tape.size.intraday:
        return tape.times[index], tape.size.seconds
    found = session_of(tape.instrument, to_date(int(tape.ref_dates[index])), use_rth=True)
    return found.start, found.end - found.start


def quote_in(tape: Tape, index: int, share: float, at: float) -> Quote:
    """Return the screen when `share` of a bar has passed."""
    bars, instrument = tape.bars, tape.instrument
    if share <= 0:  # the day has a bar, but its session has not begun
        index, share = max(0, index - 1), 1.0
    last = inside(bars, index, share, float(instrument.tick))
    tick = float(instrument.tick)
    quoted = instrument.sec_type != "IND"
    day = _day_so_far(tape, index)
    volume = float(bars.volume[index])
    here = [float(bars.open[index]), last, *_passed(bars, index, share)]
    high, low = max(day[1], *here), min(day[2], *here)
    return Quote(
        bid=_rounded(last - tick, tick) if quoted else None,
        ask=_rounded(last + tick, tick) if quoted else None,
        last=last,
        bid_size=BOOK_SIZE if quoted else 0,
        ask_size=BOOK_SIZE if quoted else 0,
        last_size=1,
        volume=day[3] + int(max(volume, 0) * share),
        open=day[0],
        high=high,
        low=low,
        close=day[4],
        last_time=float(int(at)),
    )


def _day_so_far(tape: Tape, index: int) -> tuple[float, float, float, float, float | None]:
    """Return open, highs, lows and volume of the bars of the day before this one, and its close."""
    bars, dates = tape.bars, tape.ref_dates
    first = int(np.searchsorted(dates, dates[index]))
    past = slice(first, index)
    volume = float(np.maximum(bars.volume[past], 0).sum())
    before = float(bars.close[first - 1]) if first else None
    return (
        float(bars.open[first]),
        float(bars.high[past].max(initial=float(bars.open[first]))),
        float(bars.low[past].min(initial=float(bars.open[first]))),
        volume,
        before,
    )


def inside(bars: Columns, index: int, share: float, tick: float) -> float:
    """Return the price when `share` of a bar has passed: open, one extreme, the other, close.

    Never outside low and high; at the end exactly the close.
    """
    if share >= 1:
        return float(bars.close[index])
    turns = _turns(bars, index)
    at = np.interp(share, (0.0, *TURNS, 1.0), (bars.open[index], *turns, bars.close[index]))
    return min(max(_rounded(float(at), tick), min(turns)), max(turns))


def _turns(bars: Columns, index: int) -> tuple[float, float]:
    """Return low and high of a bar in the order in which the price gets there."""
    low, high = float(bars.low[index]), float(bars.high[index])
    return (low, high) if bars.close[index] >= bars.open[index] else (high, low)


def _passed(bars: Columns, index: int, share: float) -> list[float]:
    """Return the extremes that the price has been at when `share` of a bar has passed."""
    at = zip(TURNS, _turns(bars, index), strict=True)
    return [price for when, price in at if share >= when]


def _rounded(price: float, tick: float) -> float:
    return round(round(price / tick) * tick, 10)


def no_quote(at: float) -> Quote:
    """Return an empty screen."""
    return Quote(
        bid=None,
        ask=None,
        last=None,
        bid_size=0,
        ask_size=0,
        last_size=0,
        volume=0,
        open=None,
        high=None,
        low=None,
        close=None,
        last_time=at,
    )
