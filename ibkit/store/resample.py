"""Larger bars from smaller ones, as IB makes them. Pure.

IB cuts a session by the exchange's own clock: an hour bar of a US stock begins at 09:30 and the
next at 10:00, and the last one ends with the session. A day is a trade date, so a futures session
that opens on Sunday evening is Monday's. Exact sessions are handed in where somebody knows them
(`ibkit.contracts`, `kit.history`); without, they are inferred from the bars themselves.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa

from ibkit.store.files import microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.schema import BarSize

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]

SECOND: Final = 1_000_000
QUARTER: Final = 900 * SECOND  # every zone is a whole number of them from UTC
HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
GRID: Final = 5 * 60 * SECOND  # sessions open on whole five minutes
# how far beyond the asked span a bar may reach, by the kind of bar
REACH: Final = {"1day": 3 * DAY, "1week": 10 * DAY, "1month": 40 * DAY}

# the exchange's own clock, and the local hour at which its next trade date begins
CLOCKS: Final = {
    "CME": ("America/Chicago", 17),
    "CBOT": ("America/Chicago", 17),
    "CFE": ("America/Chicago", 17),
    "CBOE": ("America/Chicago", 0),
    "NYMEX": ("America/New_York", 18),
    "COMEX": ("America/New_York", 18),
    "NYBOT": ("America/New_York", 18),
    "IDEALPRO": ("America/New_York", 17),
    "LSE": ("Europe/London", 0),
    "LSEETF": ("Europe/London", 0),
    "IBIS": ("Europe/Berlin", 0),
    "IBIS2": ("Europe/Berlin", 0),
    "EUREX": ("Europe/Berlin", 0),
    "AEB": ("Europe/Amsterdam", 0),
    "SBF": ("Europe/Paris", 0),
    "EBS": ("Europe/Zurich", 0),
    "TSEJ": ("Asia/Tokyo", 0),
    "OSE.JPN": ("Asia/Tokyo", 0),
    "SEHK": ("Asia/Hong_Kong", 0),
    "HKFE": ("Asia/Hong_Kong", 0),
    "ASX": ("Australia/Sydney", 0),
    "PAXOS": ("UTC", 0),
    "ZEROHASH": ("UTC", 0),
}
HOME: Final = {
    "USD": "America/New_York",
    "CAD": "America/Toronto",
    "EUR": "Europe/Berlin",
    "GBP": "Europe/London",
    "CHF": "Europe/Zurich",
    "JPY": "Asia/Tokyo",
    "HKD": "Asia/Hong_Kong",
    "AUD": "Australia/Sydney",
}


def clock_of(contract: Any) -> tuple[str, int]:
    """Return the zone of a contract's exchange, and the local hour when its trade date rolls.

    >>> from ibkit import naming
    >>> clock_of(naming.parse("AAPL")), clock_of(naming.parse("FUT:ES@CME:202612"))
    (('America/New_York', 0), ('America/Chicago', 17))
    """
    return CLOCKS.get(contract.exchange) or (HOME.get(contract.currency, "UTC"), 0)


def reach(size: BarSize) -> int:
    """Return how many microseconds around a span its bars of `size` may draw on."""
    return REACH.get(size.slug, max(size.seconds * SECOND, DAY))


def resample(
    rows: pa.Table,
    size: BarSize,
    clock: tuple[str, int],
    *,
    sessions: Iterable[Any] | None = None,
    mean: bool = False,
) -> pa.Table:
    """Return bars of `size` made of smaller ones.

    Parameters
    ----------
    rows : pyarrow.Table
        One series, ascending: ``ts`` and any of ``open high low close volume wap count``; ``wap``
        needs ``volume``.
    size : BarSize
        Of the new bars.
    clock : (str, int)
        See `clock_of`.
    sessions : iterable, optional
        With ``start`` and ``end`` (and ``ref_date``, for days and longer), in UTC. Without, a
        session opens at the earliest time of day that any of `rows` has on its trade date, to
        the last five minutes.
    mean : bool
        Open and close are averages, as in ``BID_ASK`` bars, which have no trades.

    Returns
    -------
    pyarrow.Table
        The same columns; ``ts`` is the start of each bar: of its slot of the exchange's clock,
        or of the session where that begins later. A bar at a session's end is shorter. High is
        the highest, low the lowest, volume and count the sums of those known, wap is weighted
        by volume.
    """
    if not rows.num_rows:
        return rows
    whole = microseconds(rows["ts"])
    # nothing of a bar's limits changes within a step, so one row of each will do
    step = 1 if sessions is not None else gcd(QUARTER, size.seconds * SECOND)
    edges = _changes(whole // step)
    ts = whole[edges]
    local = ts + _offsets(ts, clock[0])
    day = (local + (-clock[1] % 24) * HOUR) // DAY
    opens = _inferred(ts, local, day, clock[1])
    if sessions is not None:
        day, opens = _named(ts, day, opens, sessions)
    slot, begin = _slots(ts, local, day, size)
    first = _changes(slot)
    begin = np.maximum(begin[first], opens[first])
    return _added(rows, edges[first], begin, mean=mean)


def _changes(values: Ints) -> Ints:
    """Return the rows whose value is not that of the row before."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))


def _offsets(ts: Ints, zone: str) -> Ints:
    """Return how far the zone's clock is ahead of UTC; looked up once an hour."""
    hour = ts // HOUR
    edges = _changes(hour)
    utc = pd.DatetimeIndex((hour[edges] * HOUR).view("M8[us]")).tz_localize("UTC")
    wall = utc.tz_convert(ZoneInfo(zone)).tz_localize(None).as_unit("us")
    ahead = wall.to_numpy("M8[us]").view(np.int64) - hour[edges] * HOUR
    return np.repeat(ahead, np.diff(np.append(edges, len(ts))))


def _inferred(ts: Ints, local: Ints, day: Ints, roll: int) -> Ints:
    """Return for each row when its trade date opened, judged by the rows themselves."""
    begins = day * DAY - (-roll % 24) * HOUR  # of the trade date, on the local clock
    first = _changes(day)
    earliest = int((local[first] - begins[first]).min()) // GRID * GRID
    opens = begins + earliest - (local - ts)
    firsts = np.repeat(ts[first], np.diff(np.append(first, len(ts))))
    return np.minimum(opens, firsts)


def _named(ts: Ints, day: Ints, opens: Ints, sessions: Iterable[Any]) -> tuple[Ints, Ints]:
    """Return trade dates and opens from `sessions`; a row outside of all keeps the inferred."""
    known = sorted(
        (pd.Timestamp(each.start), pd.Timestamp(each.end), each.ref_date) for each in sessions
    )
    if not known:
        return day, opens
    start, end = (
        pd.DatetimeIndex([each[n] for each in known]).tz_convert("UTC").as_unit("us")
        for n in (0, 1)
    )
    starts, ends = (edge.to_numpy("M8[us]").view(np.int64) for edge in (start, end))
    dates = np.array([each[2] for each in known], "M8[D]").view(np.int64)
    at = np.searchsorted(starts, ts, "right") - 1
    inside = (at >= 0) & (ts < ends[at])
    return np.where(inside, dates[at], day), np.where(inside, starts[at], opens)


def _slots(ts: Ints, local: Ints, day: Ints, size: BarSize) -> tuple[Ints, Ints]:
    """Return what tells one bar's rows from the next one's, and the earliest start it may have."""
    if size.intraday:
        length = size.seconds * SECOND
        begin = local // length * length
        # a trade date may change within a slot, and a slot belongs to one
        return begin // SECOND * 4 + day % 4, begin - (local - ts)
    never = np.full(len(ts), np.iinfo(np.int64).min)
    if size.slug == "1week":
        return (day + 3) // 7, never
    if size.slug == "1month":
        return day.view("M8[D]").astype("M8[M]").view(np.int64), never
    return day, never


def _added(rows: pa.Table, starts: Ints, begin: Ints, *, mean: bool) -> pa.Table:
    ends = np.append(starts[1:], rows.num_rows) - 1
    counts = ends - starts + 1
    found: dict[str, Any] = {}
    for name in rows.column_names:
        kind = rows.schema.field(name).type
        if name == "ts":
            found[name] = pa.array(begin).view(kind)
            continue
        values = rows[name].to_numpy().astype(np.float64, copy=False)
        if name in {"open", "close"} and mean:
            new = np.add.reduceat(values, starts) / counts
        elif name in {"open", "close"}:
            new = values[starts if name == "open" else ends]
        elif name == "high":
            new = np.maximum.reduceat(values, starts)
        elif name == "low":
            new = np.minimum.reduceat(values, starts)
        elif name == "wap":
            new = _weighted(values, rows["volume"].to_numpy().astype(np.float64), starts)
        else:
            new = _sum(values, starts)
        found[name] = pa.array(new, from_pandas=True).cast(kind)
    return pa.table(found, schema=rows.schema)


def _sum(values: Floats, starts: Ints) -> Floats:
    """Return the sums of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    if known.all():
        return np.asarray(np.add.reduceat(values, starts))
    total = np.add.reduceat(np.where(known, values, 0.0), starts)
    return np.where(np.add.reduceat(known.astype(np.int64), starts) > 0, total, np.nan)


def _weighted(wap: Floats, volume: Floats, starts: Ints) -> Floats:
    """Return the mean price by volume; by number of bars where none of them traded."""
    weight = np.where(np.isnan(wap), 0.0, np.nan_to_num(volume))
    price = np.nan_to_num(wap)
    total = np.add.reduceat(weight, starts)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.add.reduceat(price * weight, starts) / total
        known = (~np.isnan(wap)).astype(np.float64)
        plain = np.add.reduceat(price, starts) / np.add.reduceat(known, starts)
    return np.where(total > 0, mean, plain)
