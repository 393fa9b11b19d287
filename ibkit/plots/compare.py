"""Several instruments in one picture: performance, volatility, correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from ibkit.plots import look, sessions

if TYPE_CHECKING:
    from collections.abc import Mapping


def performance(
    frames: Mapping[str, pd.DataFrame], *, every: str | None = None, tz: str = "UTC"
) -> go.Figure:
    """Draw each instrument's price against its own first close, in percent.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        Bars by label; empty ones are left out.
    every : str, optional
        Draw larger bars, in pandas' words: ``"30min"``.
    tz : str
        Zone of the time axis.
    """
    drawn = {label: _larger(frame, every) for label, frame in frames.items() if len(frame)}
    lines = [_relative(label, frame, tz) for label, frame in drawn.items()]
    return look.figure(
        *lines,
        title="Performance",
        about=f"Close against each instrument's own first close, in percent; time in {tz}.",
        attrs=look.merged(frames),
        xaxis={"title_text": f"time ({tz})", "rangebreaks": _common_breaks(drawn, tz)},
        yaxis={"title_text": "change since the start (%)", "ticksuffix": " %", "zerolinewidth": 2},
        height=420,
    )


def volatility(daily: pd.DataFrame, *, attrs: Mapping[str, object] | None = None) -> go.Figure:
    """Draw realised volatility, one row a session, one column an instrument, as annual percent."""
    lines = [
        go.Scatter(x=daily.index, y=daily[label] * 100, name=str(label), mode="lines+markers")
        for label in daily
    ]
    return look.figure(
        *lines,
        title="Realised volatility",
        about="Of the bars inside each session, annualised with 252 sessions, in percent.",
        attrs=attrs or daily.attrs,
        xaxis={"title_text": "session", "rangebreaks": [{"bounds": ["sat", "mon"]}]},
        yaxis={"title_text": "annualised (%)", "ticksuffix": " %", "rangemode": "tozero"},
        height=360,
    )


def correlations(matrix: pd.DataFrame, *, title: str = "Correlations") -> go.Figure:
    """Draw a matrix of correlations, each cell with its number."""
    heat = go.Heatmap(
        x=list(matrix.columns),
        y=list(matrix.index),
        z=matrix.to_numpy(),
        zmin=-1,
        zmax=1,
        colorscale=look.DIVERGING,
        texttemplate="%{z:.2f}",
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
        colorbar={"title": {"text": "corr."}, "thickness": 12},
        xgap=2,
        ygap=2,
    )
    return look.figure(
        heat,
        title=title,
        about="Pearson correlation of returns over the same intervals; 1 moves together.",
        attrs=matrix.attrs,
        xaxis={"ticks": "", "dtick": 1},
        yaxis={"autorange": "reversed", "showgrid": False, "dtick": 1},
        hovermode="closest",
        height=130 + 46 * max(len(matrix), 3),
    )


def _larger(frame: pd.DataFrame, every: str | None) -> pd.DataFrame:
    return sessions.larger(frame, every) if every else frame


def _relative(label: str, frame: pd.DataFrame, tz: str) -> go.Scatter:
    change = (frame["close"] / frame["close"].iloc[0] - 1) * 100
    return go.Scatter(
        x=sessions.local(frame.index, tz),
        y=change,
        name=label,
        mode="lines",
        line={"width": 1.6},
        hovertemplate="%{y:+.2f} %",
    )


def _common_breaks(frames: Mapping[str, pd.DataFrame], tz: str) -> list[sessions.Break]:
    """Return the pauses in which none of the instruments trades."""
    indices = [sessions.local(frame.index, tz) for frame in frames.values()]
    if not indices:
        return []
    union = pd.DatetimeIndex(
        pd.concat([index.to_series() for index in indices]).unique()
    ).sort_values()
    return sessions.breaks(union, min(sessions.step(frame) for frame in frames.values()))
