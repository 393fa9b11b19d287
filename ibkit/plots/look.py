"""The one look of all figures: colours, template, labels, and the marks of doubtful data.

Backgrounds are transparent and lines mid-tone, so a figure sits in a light notebook, a dark one
and a report alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import plotly.graph_objects as go

from ibkit import naming
from ibkit.display import AMBER, DOWN, GREY, MARKS, UP, marks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

BLUE: Final = "#3b7fc4"
COLOURS: Final = (BLUE, "#d9822b", UP, "#a8559c", "#b59a1e", "#4aa3c7", DOWN, "#7d8590")
GRID: Final = "rgba(128,136,148,0.22)"
AXIS: Final = "rgba(128,136,148,0.55)"
FILL: Final = "rgba(59,127,196,0.20)"
# low, middle, high: readable without telling red from green
DIVERGING: Final = ((0.0, DOWN), (0.5, "rgba(128,136,148,0.10)"), (1.0, BLUE))

_AXIS: Final = {
    "gridcolor": GRID,
    "linecolor": AXIS,
    "zerolinecolor": AXIS,
    "automargin": True,
    "title": {"standoff": 8, "font": {"size": 12}},
}
TEMPLATE: Final = go.layout.Template(
    layout={
        "colorway": COLOURS,
        "font": {
            "family": "system-ui, -apple-system, Segoe UI, sans-serif",
            "size": 13,
            "color": GREY,
        },
        "title": {
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "pad": {"l": 12},
            "font": {"size": 16},
        },
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 28, "t": 64, "b": 48},
        "hovermode": "x unified",
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "title": {"text": ""},
        },
        "xaxis": {
            **_AXIS,
            "showgrid": False,
            "ticks": "outside",
            "tickcolor": AXIS,
            "tickangle": 0,
            "nticks": 7,
        },
        "yaxis": _AXIS,
    }
)
UNITS: Final = {"STK": "shares", "FUT": "contracts", "OPT": "contracts", "FOP": "contracts"}


def figure(
    *traces: Any, title: str, about: str, attrs: Mapping[Any, Any], **layout: Any
) -> go.Figure:
    """Return a figure in the one look, with the marks of `attrs` on it.

    Parameters
    ----------
    traces : plotly traces
        What to draw.
    title, about : str
        The headline, and one sentence for the caption and for people who cannot see it.
    attrs : mapping
        Of the frame behind it; see `merged` for several.
    layout : object
        More of plotly's layout.
    """
    drawn = go.Figure(traces)
    drawn.update_layout(template=TEMPLATE, title_text=title, meta=_meta(about, attrs))
    drawn.update_layout(**layout)
    return mark(drawn, attrs)


def mark(drawn: go.Figure, attrs: Mapping[Any, Any]) -> go.Figure:
    """Write the words of warning on a figure: large and faint behind it, small in its corner."""
    words = marks(attrs)
    if not words:
        return drawn
    drawn.add_annotation(
        text=" · ".join(words),
        x=0.5,
        y=0.5,
        textangle=-18,
        font={"size": 54, "color": GREY},
        opacity=0.13,
        **_PAPER,
    )
    drawn.add_annotation(
        text=f"<b>{' · '.join(words)}</b>",
        x=1,
        y=1,
        xanchor="right",
        yanchor="bottom",
        yshift=8,
        font={"size": 12, "color": AMBER},
        **_PAPER,
    )
    return drawn


_PAPER: Final = {"xref": "paper", "yref": "paper", "showarrow": False}


def _meta(about: str, attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {"description": about, **{key: True for key in MARKS if attrs.get(key)}}


def merged(frames: Mapping[str, pd.DataFrame]) -> dict[str, bool]:
    """Return the marks of several frames: what is doubtful in one is doubtful in their figure."""
    return {key: any(frame.attrs.get(key) for frame in frames.values()) for key in MARKS}


def name(attrs: Mapping[Any, Any], default: str = "") -> str:
    """Return the shorthand of a frame's instrument, without what a future's expiry makes plain.

    >>> name({"instrument": "CASH-EUR-IDEALPRO-USD"}), name({"instrument": "FUT-ES-CME-USD-202612"})
    ('CASH:EURUSD', 'FUT:ES:202612')
    """
    contract = _contract(attrs)
    if contract and contract.lastTradeDateOrContractMonth:
        contract.exchange = naming.EXCHANGES.get(contract.secType, "")
        contract.currency = contract.currency if contract.exchange else ""
    return str(naming.shorthand(contract) if contract else attrs.get("instrument", default))


def currency(attrs: Mapping[Any, Any]) -> str:
    """Return what a frame's prices are in: ``"USD"``; of a pair, ``"USD per EUR"``."""
    contract = _contract(attrs)
    if contract is None:
        return "price"
    if contract.secType == "CASH":
        return f"{contract.currency} per {contract.symbol}"
    return str(contract.currency)


def volume_unit(attrs: Mapping[Any, Any]) -> str:
    """Return what a frame's volume counts: shares, contracts or units."""
    contract = _contract(attrs)
    return UNITS.get(contract.secType, "units") if contract else "units"


def _contract(attrs: Mapping[Any, Any]) -> Any:
    text = str(attrs.get("instrument", ""))
    try:
        return naming.from_slug(text)
    except ValueError:  # not a slug: a user's own frame
        return None
