"""Historical bars from the wire to Arrow: a message's fields become columns, no object a bar.

What comes out is, byte for byte, what ib_async's objects and `decode.to_table` give; only quicker.
Pure. Not here: asking (`ibkit.connection.taps`).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from ib_async.util import parseIBDatetime

from ibkit.errors import UnreadableAnswerError
from ibkit.history import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ibkit.contracts.hours import Session
    from ibkit.history.plan import Span
    from ibkit.schema import BarSize

    T = TypeVar("T")
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]

WHAT: Final = "historical data"
# kind of message, request, first and last time, number of bars; then the bars
HEAD: Final = 5
NAMES: Final = ("date", "open", "high", "low", "close", "volume", "average", "count")
WIDTH: Final = len(NAMES)
# characters of plain numbers, and the end of a field
PLAIN: Final = b"0123456789.-\0"
# seconds since 1970 from nine digits on, as eight are a date; up to the year 9999
FIRST: Final = 100_000_000
LAST: Final = 253_402_300_799
DAY_DIGITS: Final = 8


def read(
    answer: Sequence[str], bar_size: BarSize, sessions: Sequence[Session], span: Span
) -> tuple[pa.Table, int]:
    """Return the bars of an answer that start in `span`, and how many it has at all.

    Parameters and errors are those of `to_table`.
    """
    table = to_table(answer, bar_size, sessions)
    return decode.clip(table, *span), len(_bars(answer)) // WIDTH


def to_table(
    answer: Sequence[str], bar_size: BarSize, sessions: Sequence[Session] = ()
) -> pa.Table:
    """Return the bars of one answer as columns.

    Parameters
    ----------
    answer : sequence of str
        The fields of the message, as `ibkit.connection.taps.bars` gives them.
    bar_size : BarSize
        What was asked for.
    sessions : sequence of Session
        One a trade date, ascending; needed for bars of a day or more, whose ``ts`` is a session's
        open. Bars dated before the first or after the last are left out.

    Returns
    -------
    Table
        As of `decode.to_table` for the bars that `decode.of_sessions` leaves.

    Raises
    ------
    UnreadableAnswerError
        Bars are missing, or a value is no number or no time.
    UnknownSessionError
        A daily bar has no session.

    Notes
    -----
    About half a microsecond a bar; ib_async's objects and a frame of them take some four.
    """
    bars = _bars(answer)
    columns = _plain(bars)
    numbers = _careful(bars) if columns is None else [*columns[1:]]
    if bar_size.intraday:
        starts = None if columns is None else _seconds(columns[0])
        if starts is None:
            starts = np.array(_read("time", bars[::WIDTH], _instant), np.int64)
    else:
        days = _read("date", bars[::WIDTH], _day)
        asked = _asked(days, sessions)
        numbers = [column[asked] for column in numbers]
        wanted = (day for day, kept in zip(days, asked, strict=True) if kept)
        starts = np.array(decode.opens(wanted, bar_size, sessions), np.int64)
    try:
        return decode.assemble(starts, numbers)
    except pa.ArrowInvalid as error:
        raise _unreadable(f"a count of trades is none: {error}") from error


def _bars(answer: Sequence[str]) -> Sequence[str]:
    """Return the fields of all bars, one after the other."""
    if len(answer) < HEAD:
        raise _unreadable("it is no message of bars")
    try:
        n = int(answer[HEAD - 1])
    except ValueError:
        n = -1
    if n < 0:
        raise _unreadable(f"{answer[HEAD - 1]!r} is no number of bars")
    bars = answer[HEAD : HEAD + n * WIDTH]
    if len(bars) < n * WIDTH:
        raise _unreadable(f"it announces {n} bars and holds {len(bars) // WIDTH}")
    return bars


def _plain(bars: Sequence[str]) -> Floats | None:
    """Return all columns as numbers; None if not every field is one in plain digits.

    The texts become one Arrow array without a look at each: their bytes, and where they end.
    """
    if not bars:
        return np.empty((WIDTH, 0))
    text = "\0".join(bars).encode()
    whole = "".join([*bars[::WIDTH], *bars[WIDTH - 1 :: WIDTH]])  # times and counts
    if text.translate(None, PLAIN) or "." in whole:
        return None
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
    offsets = np.empty(len(bars) + 1, np.int32)
    offsets[0], offsets[-1] = 0, len(text) - len(ends)
    offsets[1:-1] = ends - np.arange(len(ends))
    parts = [pa.py_buffer(offsets), pa.py_buffer(text.translate(None, b"\0"))]
    try:
        numbers = pa.StringArray.from_buffers(len(bars), *parts).cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return np.ascontiguousarray(numbers.reshape(-1, WIDTH).T)


def _seconds(stamps: Floats) -> Ints | None:
    """Return seconds since 1970 as microseconds; None if some are something else."""
    if len(stamps) and (stamps.min() < FIRST or stamps.max() > LAST):
        return None
    return stamps.astype(np.int64) * 1_000_000


def _careful(bars: Sequence[str]) -> list[Floats]:
    """Return the columns but the first, each text read as Python, and ib_async, reads it."""
    readers = [float] * (WIDTH - 2) + [int]
    return [
        np.array(_read(name, bars[at::WIDTH], reader), float)
        for at, (name, reader) in enumerate(zip(NAMES[1:], readers, strict=True), 1)
    ]


def _read(name: str, texts: Sequence[str], reader: Callable[[str], T]) -> list[T]:
    """Return what `reader` makes of each text, or say which one it cannot read."""
    done: list[T] = []
    try:
        for text in texts:
            done.append(reader(text))  # noqa: PERF401 - how far it came is told
    except (ValueError, OverflowError, OSError, LookupError) as error:
        row = len(done)
        reason = f"{texts[row]!r} is no {name}, in bar {row + 1} of {len(texts)} ({error})"
        raise _unreadable(reason) from error
    return done


def _instant(text: str) -> int:
    stamp = parseIBDatetime(text)
    if not isinstance(stamp, datetime) or stamp.tzinfo is None:
        raise ValueError("an instant was asked for")
    return decode.to_us(stamp)


def _day(text: str) -> date:
    if len(text) != DAY_DIGITS or not text.isdigit():
        raise ValueError("a date was asked for")
    return date.fromisoformat(text)


def _asked(days: Sequence[date], sessions: Sequence[Session]) -> np.ndarray[Any, np.dtype[np.bool]]:
    """Return which days were asked about; IB may send earlier ones, for its own rounding."""
    if not sessions:
        return np.ones(len(days), bool)
    first, last = sessions[0].ref_date, sessions[-1].ref_date
    return np.array([first <= day <= last for day in days], bool)


def _unreadable(reason: str) -> UnreadableAnswerError:
    return UnreadableAnswerError(WHAT, reason)
