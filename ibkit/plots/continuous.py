"""A continuous future: the series, which contract each part is of, and where it rolled."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from ibkit.plots import look, sessions

MANY_ROLLS: Final = 9  # more than this and their words run into each other
NEAR_END: Final = 0.88
HOW: Final = {
    "difference": "gaps closed by difference",
    "ratio": "gaps closed by ratio",
}
SHADES: Final = (look.BLUE, look.COLOURS[1])


def continuous(
    frame: pd.DataFrame, rolls: pd.DataFrame, *, tz: str = "UTC", title: str = ""
) -> go.Figure:
    """Draw the closes of a continuous future with a mark at each roll.

    Parameters
    ----------
    frame, rolls : DataFrame
        Of `kit.history.continuous`: its ``.frame`` and ``.rolls``.
    tz : str
        Zone of the time axis, as ``"America/Chicago"``.
    title : str
        Headline; the default is the product and how it was joined.

    Returns
    -------
    Figure
        The contracts in turn in two colours, so that each is told from its neighbours; at each
        roll a line, the two contracts and the gap that was closed.

    Raises
    ------
    ValueError
        `frame` has no rows.
    """
    if frame.empty:
        raise ValueError("there are no bars to draw; kit.history.continuous() stitches them")
    how = HOW.get(str(frame.attrs.get("adjusted")), "raw, gaps left in")
    drawn = look.figure(
        *_lines(frame, tz),
        title=title or f"{frame.attrs.get('instrument', 'Continuous future')}, {how}",
        about=f"Close of each bar, {how}, with {len(rolls)} rolls marked; time in {tz}.",
        attrs=frame.attrs,
        xaxis={
            "title_text": f"time ({tz})",
            "rangebreaks": sessions.breaks(sessions.local(frame.index, tz), sessions.step(frame)),
        },
        yaxis_title_text=str(frame.attrs.get("currency", "price")),
        showlegend=False,
        hovermode="x",
        height=460,
    )
    for at, row in enumerate(rolls.to_dict("records")):
        _mark(drawn, frame, row, tz, words=len(rolls) <= MANY_ROLLS, low=at % 2 == 1)
    return drawn


def _lines(frame: pd.DataFrame, tz: str) -> list[go.Scatter]:
    """Return a line a contract; each reaches to the first bar of the next one."""
    names = frame["contract"].astype(str)
    starts = names.ne(names.shift()).to_numpy().nonzero()[0].tolist()
    ends = [min(start + 1, len(frame)) for start in starts[1:]] + [len(frame)]
    return [
        go.Scatter(
            x=sessions.local(frame.index[start:end], tz),
            y=frame["close"].iloc[start:end],
            name=names.iloc[start],
            mode="lines",
            line={"width": 1.5, "color": SHADES[at % 2]},
            hovertemplate="%{y}<extra>%{fullData.name}</extra>",
        )
        for at, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _mark(
    drawn: go.Figure, frame: pd.DataFrame, row: dict[Any, Any], tz: str, *, words: bool, low: bool
) -> None:
    """Draw a line where one contract gives way to the next."""
    first = int((frame["contract"] == row["new"]).to_numpy(dtype=bool).argmax())
    x = sessions.local(frame.index[first : first + 1], tz)[0]
    # words that would not fit to the right of the last roll stand to its left
    side = "right" if first > NEAR_END * len(frame) else "left"
    drawn.add_shape(
        type="line",
        x0=x,
        x1=x,
        y0=0,
        y1=1,
        yref="paper",
        line={"color": look.AXIS, "width": 1, "dash": "dot"},
    )
    gap = f"gap {row['gap']:+,.6g}" if pd.notna(row["gap"]) else "gap not known"
    drawn.add_annotation(
        x=x,
        y=0.02 if low else 0.98,
        yref="paper",
        yanchor="bottom" if low else "top",
        xanchor=side if words else "center",
        align="left",
        showarrow=False,
        text=f"{row['old']} → {row['new']}<br>{gap}" if words else "▾",
        hovertext=f"{row['day']:%Y-%m-%d}: {row['old']} → {row['new']}, {gap}, {row['reason']}",
        font={"size": 11},
    )
