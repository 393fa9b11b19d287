"""What the store holds: one line a series, one bar a covered span; or a cell a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import plotly.graph_objects as go

from ibkit.plots import look
from ibkit.plots.gaps import gaps, is_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Span = tuple[pd.Timestamp, pd.Timestamp]


def coverage(
    table: pd.DataFrame,
    *,
    quality: pd.DataFrame | None = None,
    tz: str = "UTC",
    title: str = "Coverage",
) -> go.Figure:
    """Draw which spans of time the store has an answer for, or what each day lacks, and why.

    Parameters
    ----------
    table : DataFrame
        Of `Store.coverage()`: one row a series, with ``spans``, a list of (start, end). Or of
        `history.gaps()`: one row a day, drawn as a cell that says what it lacks, and why.
    quality : DataFrame, optional
        Of `Store.quality()`: series with gaps or other faults are marked, and say which.
    tz : str
        Zone of the time axis; days are trade dates.

    Raises
    ------
    ValueError
        `table` has no rows: nothing is stored.
    """
    if is_report(table):
        return gaps(table, title=title)
    if table.empty:
        raise ValueError("the store is empty; kit.backfill([...]) fills it")
    labels = [_label(row) for row in table.to_dict("records")]
    faults = _faults(quality)
    bars = [
        (
            label,
            start.tz_convert(tz).tz_localize(None),
            end - start,
            rows,
            faults.get(_key(row), ""),
        )
        for label, row, rows in zip(labels, table.to_dict("records"), table["rows"], strict=True)
        for start, end in _spans(row)
    ]
    return look.figure(
        go.Bar(
            orientation="h",
            y=[label for label, *_ in bars],
            base=[start.isoformat() for _, start, *_ in bars],
            x=[length.total_seconds() * 1000 for _, _, length, *_ in bars],
            customdata=[
                [f"{start:%Y-%m-%d %H:%M}", f"{start + length:%Y-%m-%d %H:%M}", f"{rows:,}", fault]
                for _, start, length, rows, fault in bars
            ],
            hovertemplate="%{customdata[0]} to %{customdata[1]}<br>"
            "%{customdata[2]} rows in the series%{customdata[3]}<extra>%{y}</extra>",
            marker={
                "color": [look.COLOURS[1] if fault else look.BLUE for *_, fault in bars],
                "line": {"width": 0},
            },
        ),
        title=title,
        about=f"Spans that IB has answered for, with rows or a confirmed no-data; time in {tz}.",
        attrs=table.attrs,
        xaxis={"type": "date", "title_text": f"time ({tz})", "showgrid": True},
        yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
        hovermode="closest",
        showlegend=False,
        bargap=0.45,
        height=150 + 38 * len(table),
    )


FAULTS: Final = {
    "gaps": "gap",
    "outliers": "outlier",
    "wap_outside": "average outside of its bar",
    "disagreements": "contradiction to smaller bars",
}


def _faults(quality: pd.DataFrame | None) -> dict[tuple[Any, ...], str]:
    """Return what is wrong with each series, in words that follow a number of rows."""
    found = {}
    for row in [] if quality is None else quality.to_dict("records"):
        words = [
            f"{row[name]:,} {word}{'s' if row[name] > 1 else ''}"
            for name, word in FAULTS.items()
            if row.get(name)
        ]
        found[_key(row)] = f"<br>{', '.join(words)}" if words else ""
    return found


def _key(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    names = ("dataset", "instrument", "what_to_show", "use_rth")
    return tuple(row.get(name) for name in names)


def _label(row: Mapping[Any, Any]) -> str:
    hours = "" if row.get("use_rth", True) else " · all hours"
    return (
        " · ".join(
            [
                look.name(row),
                str(row["dataset"]).removeprefix("bars_"),
                str(row.get("what_to_show", "")),
            ]
        )
        + hours
    )


def _spans(row: Mapping[Any, Any]) -> Iterator[Span]:
    """Yield the covered spans; the first to the last row where the journal says nothing."""
    spans = row.get("spans") or [(row["first"], row["last"])]
    for start, end in spans:
        if not (pd.isna(start) or pd.isna(end)):
            yield pd.Timestamp(start), pd.Timestamp(end)
