"""IB's bars as one Arrow table: columns, not an object a row.

Expects `formatDate=2`, so that intraday bars are instants; daily and longer bars come as dates and
get the open of their first session. What IB sends as -1 is null. Not here: storing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibkit.errors import IbkitError
from ibkit.history.plan import period

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ib_async import BarData

    from ibkit.contracts.hours import Session
    from ibkit.schema import BarSize

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
    starts = _instants(bars) if bar_size.intraday else _opens(bars, bar_size, sessions)
    columns = [
        pa.array(starts, pa.int64()).cast(SCHEMA.field("ts").type),
        *(_prices(bars, name) for name in ("open", "high", "low", "close")),
        _known([bar.volume for bar in bars], pa.float64()),
        _known([bar.average for bar in bars], pa.float64(), without=[bar.volume for bar in bars]),
        _known([bar.barCount for bar in bars], pa.int32()),
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


def _instants(bars: Sequence[BarData]) -> list[int]:
    """Return microseconds since 1970."""
    return [int(_instant(bar.date).timestamp()) * 1_000_000 for bar in bars]


def _instant(stamp: date | datetime) -> datetime:
    if not isinstance(stamp, datetime) or stamp.tzinfo is None:
        raise TypeError(f"an intraday bar needs an instant, got {stamp!r}; ask with formatDate=2")
    return stamp


def _opens(bars: Sequence[BarData], bar_size: BarSize, sessions: Iterable[Session]) -> list[int]:
    """Return the open of the first session of each bar's day, week or month."""
    opens: dict[tuple[int, ...], datetime] = {}
    for each in sessions:
        opens.setdefault(period(bar_size, each.ref_date), each.start)
    return [_open(bar.date, bar_size, opens) for bar in bars]


def _open(day: date, bar_size: BarSize, opens: Mapping[tuple[int, ...], datetime]) -> int:
    try:
        start = opens[period(bar_size, day)]
    except KeyError:
        raise UnknownSessionError(day, bar_size.ib) from None
    return int(start.astimezone(UTC).timestamp()) * 1_000_000


def _prices(bars: Sequence[BarData], name: str) -> pa.Array:
    return pa.array(np.fromiter((getattr(bar, name) for bar in bars), float, len(bars)))


def _known(values: list[Any], kind: pa.DataType, without: list[Any] | None = None) -> pa.Array:
    """Return an array in which -1 is null, and so is what belongs to an unknown volume."""
    numbers = np.asarray(values, dtype=float)
    unknown = numbers == UNKNOWN
    if without is not None:
        unknown &= np.asarray(without, dtype=float) == UNKNOWN
    unknown |= np.isnan(numbers)
    return pa.array(np.where(unknown, 0, numbers), pa.float64(), mask=unknown).cast(kind)


def _last_of_each(table: pa.Table, starts: list[int]) -> pa.Table:
    stamps = np.asarray(starts, dtype=np.int64)
    if (np.diff(stamps) > 0).all():
        return table
    _, newest = np.unique(stamps[::-1], return_index=True)
    return table.take(pa.array(len(stamps) - 1 - newest))
