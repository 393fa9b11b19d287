"""The shape of a trading day: how volume spreads over its hours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ibkit.display import UP
from ibkit.plots import look, sessions


def volume_profile(
    frame: pd.DataFrame, *, minutes: int = 15, tz: str = "UTC", title: str = ""
) -> go.Figure:
    """Draw volume by time of day: the last session against the usual range of those before.

    Parameters
    ----------
    frame : DataFrame
        Intraday bars with ``volume``, index ``ts`` in UTC.
    minutes : int
        Width of a slot.
    tz : str
        Zone of the clock.

    Raises
    ------
    ValueError
        `frame` has no volume (a currency pair, a midpoint series).
    """
    if frame.empty or not frame["volume"].gt(0).any():
        raise ValueError("these bars have no volume; TRADES of a stock or a future have")
    table = slots(frame, minutes=minutes, tz=tz)
    earlier, last = table.iloc[:-1], table.iloc[-1]
    unit = look.volume_unit(frame.attrs)
    return look.figure(
        *_band(earlier),
        go.Bar(
            x=list(table.columns),
            y=last,
            name=f"{table.index[-1]:%a %d %b %Y}",
            marker={"color": UP, "opacity": 0.55},
        ),
        title=title or f"{look.name(frame.attrs)} volume by time of day",
        about=f"Bars: the last session. Line and band: median and middle half of the "
        f"{len(earlier)} sessions before. Slots of {minutes} minutes, time in {tz}.",
        attrs=frame.attrs,
        xaxis={"title_text": f"time of day ({tz})", "type": "category", "nticks": 14},
        yaxis={"title_text": f"volume ({unit})", "rangemode": "tozero"},
        bargap=0.1,
        height=380,
    )


def slots(frame: pd.DataFrame, *, minutes: int, tz: str) -> pd.DataFrame:
    """Return volume by session (rows) and time of day (columns, ``"09:30"``, in trading order)."""
    times = sessions.local(frame.index, tz)
    slot = (times.hour * 60 + times.minute) // minutes * minutes
    table = pd.DataFrame(
        {
            "session": sessions.dates(frame).to_numpy(),
            "slot": slot,
            "volume": frame["volume"].to_numpy(),
        }
    ).pivot_table(index="session", columns="slot", values="volume", aggfunc="sum")
    order = _in_order(table.columns.to_numpy(), minutes)
    table = table[order]
    table.columns = pd.Index([f"{minute // 60:02d}:{minute % 60:02d}" for minute in order])
    return table


def _in_order(minutes: np.ndarray, width: int) -> list[int]:
    """Return slots from the first after the day's longest pause on, past midnight if need be."""
    found = np.sort(minutes)
    pauses = np.diff(found, append=found[0] + 1440) - width
    start = (int(np.argmax(pauses)) + 1) % len(found)
    return [int(minute) for minute in np.roll(found, -start)]


def _band(earlier: pd.DataFrame) -> list[go.Scatter]:
    if earlier.empty:
        return []
    low, middle, high = (earlier.quantile(share) for share in (0.25, 0.5, 0.75))
    x, hidden = list(earlier.columns), {"mode": "lines", "line": {"width": 0}, "showlegend": False}
    return [
        go.Scatter(x=x, y=low, hoverinfo="skip", **hidden),
        go.Scatter(
            x=x,
            y=high,
            hoverinfo="skip",
            **{**hidden, "showlegend": True},
            fill="tonexty",
            fillcolor=look.FILL,
            name="middle half",
        ),
        go.Scatter(
            x=x, y=middle, mode="lines", name="median", line={"color": look.BLUE, "width": 2}
        ),
    ]
