"""Price over time: candles or a line, with volume below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import plotly.graph_objects as go

from ibkit.display import DOWN, UP
from ibkit.plots import look, sessions

if TYPE_CHECKING:
    import pandas as pd

MANY_CANDLES: Final = 700  # more than this and a candle is thinner than a pixel
ABOUT: Final = {
    "candles": "Open, high, low and close of each bar",
    "line": "Close of each bar",
}


def price(
    frame: pd.DataFrame,
    *,
    kind: Literal["auto", "candles", "line"] = "auto",
    every: str | None = None,
    tz: str = "UTC",
    title: str = "",
) -> go.Figure:
    """Draw the price and, where there is any, the volume; pauses between sessions are hidden.

    Parameters
    ----------
    frame : DataFrame
        Bars, index ``ts`` in UTC, columns ``open high low close`` and perhaps ``volume``.
    kind : {"auto", "candles", "line"}
        ``"auto"``: candles as long as they can be told apart.
    every : str, optional
        Draw larger bars, in pandas' words: ``"30min"``.
    tz : str
        Zone of the time axis, as ``"America/New_York"``.
    title : str
        Headline; the default is the instrument.

    Returns
    -------
    Figure
        Marked SIMULATED (or stale…) as `frame.attrs` say.

    Raises
    ------
    ValueError
        `frame` has no rows.
    """
    if frame.empty:
        raise ValueError("there are no bars to draw; store.coverage() lists what is stored")
    bars = sessions.larger(frame, every) if every else frame
    kind = _kind(bars) if kind == "auto" else kind
    times = sessions.local(bars.index, tz)
    with_volume = "volume" in bars and bool(bars["volume"].gt(0).any())
    below = f", volume in {look.volume_unit(frame.attrs)} below" if with_volume else ""
    main = _candles(bars, times) if kind == "candles" else _line(bars, tz)
    drawn = look.figure(
        main,
        title=title or look.name(frame.attrs, "Price"),
        about=f"{ABOUT[kind]}, in {look.currency(frame.attrs)}{below}; time in {tz}.",
        attrs=frame.attrs,
        xaxis={
            "title_text": f"time ({tz})",
            "rangebreaks": sessions.breaks(times, sessions.step(bars)),
            "rangeslider_visible": False,
        },
        yaxis_title_text=look.currency(frame.attrs),
        showlegend=False,
        height=460 if with_volume else 360,
    )
    return _with_volume(drawn, bars, times) if with_volume else drawn


def _kind(bars: pd.DataFrame) -> Literal["candles", "line"]:
    return "candles" if len(bars) <= MANY_CANDLES else "line"


def _candles(bars: pd.DataFrame, times: pd.DatetimeIndex) -> go.Candlestick:
    return go.Candlestick(
        x=times,
        open=bars["open"],
        high=bars["high"],
        low=bars["low"],
        close=bars["close"],
        name="price",
        increasing={"line": {"color": UP, "width": 1}, "fillcolor": UP},
        decreasing={"line": {"color": DOWN, "width": 1}, "fillcolor": DOWN},
    )


def _line(bars: pd.DataFrame, tz: str) -> go.Scatter:
    closes = sessions.paused(bars["close"], sessions.step(bars))
    return go.Scatter(
        x=sessions.local(closes.index, tz),
        y=closes,
        name="close",
        mode="lines",
        line={"width": 1.4, "color": look.BLUE},
        connectgaps=False,
    )


def _with_volume(drawn: go.Figure, bars: pd.DataFrame, times: pd.DatetimeIndex) -> go.Figure:
    rose = np.asarray(bars["close"] >= bars["open"])
    layout: dict[str, Any] = {
        "yaxis": {"domain": [0.27, 1]},
        "yaxis2": {
            "domain": [0, 0.2],
            "title_text": look.volume_unit(bars.attrs),
            "anchor": "x",
            "nticks": 4,
        },
        "xaxis": {"anchor": "y2"},
        "bargap": 0.15,
    }
    drawn.add_bar(
        x=times,
        y=bars["volume"],
        yaxis="y2",
        name="volume",
        marker={"color": np.where(rose, UP, DOWN), "opacity": 0.55, "line": {"width": 0}},
    )
    drawn.update_layout(**layout)
    return drawn
