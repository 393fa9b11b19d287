"""IB's bars as one Arrow table: columns, not an object a row.

Expects `formatDate=2`, so that intraday bars are instants; daily and longer bars come as dates and
get the open of their first session. What IB sends as -1 is null. Not here: storing.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibkit.errors import IbkitError
from ibkit.history.plan import period

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ib_async import BarData

    from ibkit.contracts.hours import Session
    from ibkit.schema import BarSize

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]

SCHEMA: Final = pa.schema(
    [
        ("ts", pa.timestamp("us", tz="UTC")),
        *((name, pa.float64()) for name in ("open", "high", "low", "close", "volume", "wap")),
        ("count", pa.int32()),
    ]
)
UNKNOWN: Final = -1


class UnknownSessionError(IbkitError, LookupError):
    """IB sent a bar for `day`, which its own schedule does not know."""

    def __init__(self, day: date, bar_size: str) -> None:
        super().__init__(day, bar_size)
        self.day, self.bar_size = day, bar_size

    def __str__(self) -> str:
        return f"IB sent a {self.bar_size} bar for {self.day}, a day without a session there."


def to_table(
    bars: Sequence[BarData], bar_size: BarSize, sessions: Iterable[Session] = ()
) -> pa.Table:
    """Return bars as columns.

    Parameters
    ----------
    bars : sequence of BarData
        As `reqHistoricalData` gives them with ``formatDate=2``.
    bar_size : BarSize
        What was asked for.
    sessions : iterable of Session
        One a trade date; needed for bars of a day or more, whose ``ts`` is a session's open.

    Returns
    -------
    Table
        ``ts`` (start of the bar, UTC), ``open high low close volume wap`` (float64), ``count``
        (int32); ascending and unique, the last of two bars with one ``ts`` wins.

    Raises
    ------
    UnknownSessionError
        A daily bar has no session.
    """
    if bar_size.intraday:
        starts = [to_us(_instant(bar.date)) for bar in bars]
    else:
        starts = opens([bar.date for bar in bars], bar_size, sessions)
    names = ("open", "high", "low", "close", "volume", "average", "barCount")
    numbers = [
        np.fromiter((getattr(bar, name) for bar in bars), float, len(bars)) for name in names
    ]
    return assemble(np.asarray(starts, np.int64), numbers)


def assemble(starts: Ints, numbers: Sequence[Floats]) -> pa.Table:
    """Return columns as a table of `SCHEMA`: unknown values null, rows ascending and unique.

    Parameters
    ----------
    starts : array of int64
        Starts of the bars, in microseconds since 1970.
    numbers : sequence of seven arrays of float64
        Open, high, low, close, volume, average and count, with -1 where IB has none.
    """
    *prices, volume, average, count = numbers
    columns = [
        pa.array(starts).cast(SCHEMA.field("ts").type),
        *map(pa.array, prices),
        _known(volume, pa.float64()),
        _known(average, pa.float64(), without=volume),
        _known(count, pa.int32()),
    ]
    return _last_of_each(pa.Table.from_arrays(columns, schema=SCHEMA), starts)


def of_sessions(
    bars: Sequence[BarData], bar_size: BarSize, sessions: Sequence[Session]
) -> Sequence[BarData]:
    """Return the bars of the days asked about; IB may send earlier ones, for its own rounding."""
    if bar_size.intraday or not sessions:
        return bars
    first, last = sessions[0].ref_date, sessions[-1].ref_date
    return [bar for bar in bars if first <= bar.date <= last]


def clip(table: pa.Table, start: datetime, end: datetime) -> pa.Table:
    """Return the rows with `start` <= ``ts`` < `end`."""
    ts, kind = table["ts"], SCHEMA.field("ts").type
    inside = pc.and_(
        pc.greater_equal(ts, pa.scalar(start, kind)), pc.less(ts, pa.scalar(end, kind))
    )
    return table.filter(inside)


def to_us(moment: datetime) -> int:
    """Return an instant as microseconds since 1970, to the second."""
    return int(moment.timestamp()) * 1_000_000


def _instant(stamp: date | datetime) -> datetime:
    if not isinstance(stamp, datetime) or stamp.tzinfo is None:
        raise TypeError(f"an intraday bar needs an instant, got {stamp!r}; ask with formatDate=2")
    return stamp


def opens(days: Iterable[date], bar_size: BarSize, sessions: Iterable[Session]) -> list[int]:
    """Return, for each bar's date, the open of the first session of its day, week or month."""
    of = date.toordinal if bar_size.ib == "1 day" else partial(period, bar_size)
    known: dict[object, datetime] = {}
    for each in sessions:
        known.setdefault(of(each.ref_date), each.start)
    found = []
    for day in days:
        start = known.get(of(day))
        if start is None:
            raise UnknownSessionError(day, bar_size.ib)
        found.append(to_us(start))
    return found


def _known(numbers: Floats, kind: pa.DataType, without: Floats | None = None) -> pa.Array:
    """Return an array in which -1 is null, and so is what belongs to an unknown volume."""
    unknown = numbers == UNKNOWN
    if without is not None:
        unknown &= without == UNKNOWN
    unknown |= np.isnan(numbers)
    return pa.array(np.where(unknown, 0, numbers), pa.float64(), mask=unknown).cast(kind)


def _last_of_each(table: pa.Table, starts: Ints) -> pa.Table:
    if (np.diff(starts) > 0).all():
        return table
    _, newest = np.unique(starts[::-1], return_index=True)
    return table.take(pa.array(len(starts) - 1 - newest))
