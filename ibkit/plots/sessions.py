"""Where one session ends and the next begins, told from the bars alone.

IB's own schedule knows better (`ibkit.contracts.hours`); a stored frame has only its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ibkit.schema import BAR_SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

NEW_YORK: Final = "America/New_York"
# these trade around the clock and turn to the next date at 17:00 New York
ROUND_THE_CLOCK: Final = ("FUT", "CASH", "CFD", "FOP", "CONTFUT")
MANY: Final = 90
Break = dict[str, Any]


def step(frame: pd.DataFrame) -> pd.Timedelta:
    """Return the length of a bar."""
    known = BAR_SIZES.get(frame.attrs.get("bar_size", ""))
    if known:
        return pd.Timedelta(seconds=known.seconds)
    gaps = frame.index.to_series().diff().dropna()
    return pd.Timedelta(gaps.median()) if len(gaps) else pd.Timedelta(minutes=1)


def dates(frame: pd.DataFrame) -> pd.Series:
    """Return the trade date of each bar, as midnight without a zone.

    Round-the-clock instruments turn at 17:00 New York; for others a session is what lies between
    two pauses of four hours, dated by its middle (so Tokyo's and New York's both come out right).
    """
    index = pd.DatetimeIndex(frame.index)
    if str(frame.attrs.get("instrument", "")).split("-")[0] in ROUND_THE_CLOCK:
        turned = index.tz_convert(NEW_YORK).tz_localize(None) + pd.Timedelta(hours=7)
        return pd.Series(turned.normalize(), index=index, name="session")
    if index.empty:
        return pd.Series(index=index, dtype="datetime64[us]", name="session")
    stamps = index.to_series()
    number = (stamps.diff() > pd.Timedelta(hours=4)).cumsum()
    ends = stamps.groupby(number).agg(["first", "last"])
    middle = (ends["first"] + (ends["last"] - ends["first"]) / 2).dt.tz_localize(None)
    days: pd.Series = number.map(middle.dt.normalize()).rename("session")
    return days


def local(index: pd.Index, tz: str) -> pd.DatetimeIndex:
    """Return instants as wall-clock times of `tz`, without a zone: what plotly draws."""
    return pd.DatetimeIndex(index).tz_convert(tz).tz_localize(None)


def breaks(index: pd.DatetimeIndex, length: pd.Timedelta) -> list[Break]:
    """Return plotly's range breaks for the pauses between sessions in a local `index`.

    A pause is hidden when it is six hours or longer, or comes back at the same time of day; a
    hole inside one session stays visible.
    """
    if len(index) < 2 or length >= pd.Timedelta(days=1):
        return [{"bounds": ["sat", "mon"]}] if len(index) > 5 and _no_weekends(index) else []
    starts, ends = index[:-1] + length, index[1:]
    wide = _pauses(index, length)
    clock = [starts[i].time() for i in wide]
    hidden = [
        (starts[i], ends[i])
        for i, time in zip(wide, clock, strict=True)
        if ends[i] - starts[i] >= pd.Timedelta(hours=6) or clock.count(time) > 1
    ]
    return _as_breaks(hidden)


def paused(values: pd.Series, length: pd.Timedelta) -> pd.Series:
    """Return `values` with a NaN where a pause begins, so that no line is drawn across it."""
    index = pd.DatetimeIndex(values.index)
    if len(index) < 2 or length >= pd.Timedelta(days=1):
        return values
    stops = pd.Series(np.nan, index=index[_pauses(index, length)] + length)
    both: pd.Series = pd.concat([values, stops]).sort_index()
    return both


def _pauses(index: pd.DatetimeIndex, length: pd.Timedelta) -> np.ndarray:
    """Return the positions of the bars after which nothing comes for a while."""
    wait = index[1:] - index[:-1] - length
    return np.flatnonzero(wait > max(length * 2, pd.Timedelta(minutes=30)))


def _as_breaks(hidden: Sequence[tuple[pd.Timestamp, pd.Timestamp]]) -> list[Break]:
    if len(hidden) > MANY:  # the browser would crawl; hide the weekends alone
        return [{"bounds": ["sat", "mon"]}]
    return [{"bounds": [start.isoformat(), end.isoformat()]} for start, end in hidden]


def _no_weekends(index: pd.DatetimeIndex) -> bool:
    return bool((index.day_of_week < 5).all())


def larger(frame: pd.DataFrame, every: str) -> pd.DataFrame:
    """Return `frame` as larger bars of `every` (pandas' words: ``"30min"``), empty ones left out.

    Bars start at round wall-clock times; a session's last bar may be shorter.
    """
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    known = {column: rule for column, rule in how.items() if column in frame}
    grouped = frame[list(known)].groupby(pd.DatetimeIndex(frame.index).floor(every))
    result = grouped.agg(known)
    result["volume"] = grouped["volume"].sum(min_count=1)  # no volume is NaN, not 0
    result.index.name = frame.index.name
    result.attrs = {**frame.attrs, "bar_size": ""}
    return result
