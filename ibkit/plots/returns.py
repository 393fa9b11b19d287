"""How returns are distributed, against the bell curve that they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import plotly.graph_objects as go

from ibkit.display import DOWN
from ibkit.plots import look, sessions

if TYPE_CHECKING:
    import pandas as pd


BINS: Final = 60


def returns(frame: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Draw the distribution of bar-to-bar returns inside sessions, in basis points.

    Parameters
    ----------
    frame : DataFrame
        Bars with ``close``; the jump from one session to the next is left out.

    Raises
    ------
    ValueError
        Fewer than 30 returns: a histogram would say nothing.
    """
    moves = inside(frame).dropna() * 10_000
    if len(moves) < 30:
        raise ValueError(f"{len(moves)} returns are too few for a distribution; 30 are needed")
    edges = _edges(frame["close"], moves)
    density, _ = np.histogram(moves, edges, density=True)
    middles = (edges[:-1] + edges[1:]) / 2
    spread, mean = float(moves.std()), float(moves.mean())
    skew, kurtosis = (float(np.mean(((moves - mean) / spread) ** power)) for power in (3, 4))
    normal = np.exp(-(((middles - mean) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
    return look.figure(
        go.Bar(x=middles, y=density, name="returns", marker={"color": look.BLUE, "opacity": 0.6}),
        go.Scatter(x=middles, y=normal, name="normal", line={"color": DOWN, "width": 1.6}),
        title=title or f"{look.name(frame.attrs)} returns, bar to bar",
        about=f"{len(moves):,} returns inside sessions; standard deviation {spread:.1f} bp, skew "
        f"{skew:.2f}, excess kurtosis {kurtosis - 3:.1f}; the outermost 0.2 % not drawn.",
        attrs=frame.attrs,
        xaxis_title_text="return (basis points)",
        yaxis={"title_text": "density", "showticklabels": False},
        bargap=0,
        height=360,
    )


def _edges(closes: pd.Series, moves: pd.Series) -> np.ndarray:
    """Return bins a whole number of ticks wide around zero; others would comb a coarse grid."""
    steps = closes.diff().abs()
    tick = float(steps[steps > 0].min() / closes.median() * 10_000)
    far = float(moves.abs().quantile(0.999))
    width = tick * np.ceil(2 * far / BINS / tick)
    count = int(np.ceil(far / width))
    edges: np.ndarray = (np.arange(-count, count + 2) - 0.5) * width
    return edges


def inside(frame: pd.DataFrame) -> pd.Series:
    """Return log returns from bar to bar; NaN on the first bar of each session."""
    logs = np.log(frame["close"])
    moves: pd.Series = logs.groupby(sessions.dates(frame)).diff()
    return moves
