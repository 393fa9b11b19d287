"""What each day of a series has of what it should have: a cell a day, coloured by its state.

Draws the report of `history.gaps`; `ibkit.plots.coverage` calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import plotly.graph_objects as go

from ibkit import naming
from ibkit.display import GREY
from ibkit.plots import look

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

#: colours of the states, from good to bad: blue is there, grey is not to be had, orange is missing
COLOURS: Final = {
    "complete": look.BLUE,
    "thin": "#9dc3ea",
    "empty": "#8b939e",
    "never": "#555d68",
    "not yet": "#c9ced6",
    "partial": "#f2bf86",
    "missing": look.COLOURS[1],
}
WORDS: Final = {
    "complete": "stored",
    "thin": "stored, unusually thin",
    "empty": "confirmed empty",
    "never": "IB has none",
    "not yet": "not yet",
    "partial": "partly missing",
    "missing": "missing",
}
ROOMY: Final = 40  # rows, up to which each is easy to read
FEW: Final = 31  # days, up to which a cell has room for words
COLUMNS: Final = frozenset({"instrument", "day", "state", "expected", "stored", "reason"})


def is_report(table: pd.DataFrame) -> bool:
    """Whether a frame is what `history.gaps` returns."""
    return set(table.columns) >= COLUMNS


def gaps(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Draw one row a series and one cell a day; pointing at a cell says what is missing, and why.

    Raises
    ------
    ValueError
        `table` has no rows.
    """
    if table.empty:
        raise ValueError("the report has no days")
    records = table.to_dict("records")
    several = [name for name in ("bar_size", "what_to_show") if len(set(table[name])) > 1]
    names = [_label(row, several) for row in records]
    rows, days = list(dict.fromkeys(names)), sorted({str(row["day"]) for row in records})
    place = {day: n for n, day in enumerate(days)}
    line = {name: n for n, name in enumerate(rows)}
    codes = np.full((len(rows), len(days)), np.nan)
    told = np.full(codes.shape, "", dtype=object)
    share = np.full(codes.shape, "", dtype=object)
    states = list(COLOURS)
    for name, row in zip(names, records, strict=True):
        at = line[name], place[str(row["day"])]
        codes[at] = states.index(row["state"])
        told[at] = _words(row)
        share[at] = _share(row) if len(days) <= FEW else ""
    high = 30 if len(rows) <= ROOMY else 14
    return look.figure(
        go.Heatmap(
            x=days,
            y=rows,
            z=codes,
            customdata=told,
            text=share,
            texttemplate="%{text}",
            textfont={"size": 11, "color": "#1d232b"},
            hovertemplate="%{x}: %{customdata}<extra>%{y}</extra>",
            hoverongaps=False,
            colorscale=_scale(len(states)),
            zmin=-0.5,
            zmax=len(states) - 0.5,
            showscale=False,
            xgap=1 if len(days) <= 120 else 0,
            ygap=3 if len(rows) <= ROOMY else 1,
        ),
        *_legend(states, codes),
        title=title,
        about="Expected bars by day and series: stored, confirmed to be none, or missing.",
        attrs=table.attrs,
        xaxis={"type": "category", "title_text": "trade date", "nticks": 8, "showgrid": False},
        yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
        hovermode="closest",
        showlegend=True,
        legend={"yref": "container", "y": 0.01, "yanchor": "bottom"},
        margin={"b": 92},
        height=190 + high * len(rows),
    )


def _label(row: Mapping[Any, Any], several: Sequence[str]) -> str:
    """Return the name of a series: no more than tells it from the others."""
    hours = [] if row["use_rth"] else ["all hours"]
    return " · ".join(
        [_name(str(row["instrument"])), *(str(row[name]) for name in several), *hours]
    )


def _name(shorthand: str) -> str:
    """Return a name as figures write it."""
    try:
        return look.name({"instrument": naming.slug(naming.parse(shorthand))})
    except ValueError:  # of a user's own
        return shorthand


def _words(row: Mapping[Any, Any]) -> str:
    first = f"{WORDS[row['state']]}<br>{row['stored']:,} of {row['expected']:,} bars stored"
    return "<br>".join([first, *filter(None, str(row["reason"]).split("; "))])


def _share(row: Mapping[Any, Any]) -> str:
    """Return what is stored of a partial day, in percent; nothing of others."""
    whole = row["expected"] or 1
    return f"{100 * row['stored'] / whole:.0f}%" if row["state"] == "partial" else ""


def _scale(count: int) -> list[tuple[float, str]]:
    """Return plotly's colour scale of steps: one a state."""
    edges = np.linspace(0, 1, count + 1)
    colours: Sequence[str] = list(COLOURS.values())
    return [
        (float(edge), colour)
        for n, colour in enumerate(colours)
        for edge in (edges[n], edges[n + 1])
    ]


def _legend(states: Sequence[str], codes: np.ndarray[Any, Any]) -> list[go.Scatter]:
    """Return an entry for every state that is there."""
    there = set(codes[~np.isnan(codes)].astype(int).tolist())
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=WORDS[state],
            marker={"symbol": "square", "size": 11, "color": COLOURS[state]},
            textfont={"color": GREY},
            hoverinfo="skip",
        )
        for n, state in enumerate(states)
        if n in there
    ]
