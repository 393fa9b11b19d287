"""What a person sees of our things: status marks, status cards, tables; HTML and its text twin.

Pure: values in, text out. Not here: pictures (`ibkit.plots`), live widgets (`ibkit.widgets`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

if TYPE_CHECKING:
    import pandas as pd

# readable on white and on near-black alike
UP: Final = "#0e8f7b"
DOWN: Final = "#d9482b"
AMBER: Final = "#b7791f"
GREY: Final = "#7b818a"

# attrs key -> the word people see; in the order of how much they should worry
MARKS: Final = {
    "simulated": "SIMULATED",
    "stale": "STALE",
    "delayed": "DELAYED",
    "partial": "PARTIAL",
    "unverified": "UNVERIFIED",
}
PROFILE_COLOURS: Final = {"sim": AMBER, "paper": "#2f6fb3", "live": DOWN}
STATE_COLOURS: Final = {"ready": UP, "degraded": AMBER, "reconnecting": AMBER, "failed": DOWN}


def marks(attrs: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the words that a frame's `attrs` oblige us to show.

    >>> marks({"simulated": True, "stale": False})
    ('SIMULATED',)
    """
    return tuple(word for key, word in MARKS.items() if attrs.get(key))


def badge(word: str, colour: str = AMBER) -> str:
    """Return a small coloured word as HTML."""
    style = (
        f"background:{colour};color:#fff;border-radius:4px;padding:1px 7px;"
        "font-size:.78em;font-weight:600;letter-spacing:.04em"
    )
    return f'<span class="ibkit-badge" style="{style}">{escape(word)}</span>'


def status_card(
    title: str,
    *,
    profile: str,
    state: str,
    rows: Mapping[str, object],
    marks: Sequence[str] = (),
) -> str:
    """Return a status card as HTML; it needs no CSS or script from outside.

    Parameters
    ----------
    title : str
        Who this is, in one line.
    profile, state : str
        Of the connection; both get their colour.
    rows : mapping of str to object
        What else to say, a label each.
    marks : sequence of str
        Words of warning, see `marks`.
    """
    words = "".join(
        f" {badge(word, colour)}"
        for word, colour in (
            (profile, PROFILE_COLOURS.get(profile, GREY)),
            (state, STATE_COLOURS.get(state, GREY)),
            *((mark, AMBER) for mark in marks),
        )
    )
    edge = PROFILE_COLOURS.get(profile, GREY)
    body = "".join(
        f'<dt style="color:{GREY}">{escape(label)}</dt>'
        f'<dd style="margin:0">{escape(str(value))}</dd>'
        for label, value in rows.items()
    )
    return (
        f'<section class="ibkit-card" role="status" style="border:1px solid {edge};'
        f"border-left:5px solid {edge};border-radius:6px;padding:.6em 1em;max-width:46em;"
        f'font-variant-numeric:tabular-nums"><div><strong>{escape(title)}</strong>{words}</div>'
        '<dl style="display:grid;grid-template-columns:max-content 1fr;gap:.15em 1.2em;'
        f'margin:.5em 0 0">{body}</dl></section>'
    )


def status_text(
    title: str,
    *,
    profile: str,
    state: str,
    rows: Mapping[str, object],
    marks: Sequence[str] = (),
) -> str:
    """Return what `status_card` says, as lines of text."""
    head = " ".join([title, f"[{profile}]", f"[{state}]", *(f"[{mark}]" for mark in marks)])
    width = max(map(len, rows), default=0)
    return "\n".join([head, *(f"  {label:<{width}}  {value}" for label, value in rows.items())])


def sparkline(values: Sequence[float], *, width: int = 110, height: int = 24) -> Markup:
    """Return a small line of `values` as inline SVG, coloured by which way it went.

    >>> sparkline([1.0, 2.0], width=10, height=4).count("<svg")
    1
    """
    known = [float(value) for value in values if value == value]  # noqa: PLR0124 - drops NaN
    if len(known) < 2:
        return Markup()
    low, high = min(known), max(known)
    across, up = (width - 2) / (len(known) - 1), (height - 4) / ((high - low) or 1)
    points = " ".join(
        f"{1 + i * across:.1f},{height - 2 - (value - low) * up:.1f}"
        for i, value in enumerate(known)
    )
    colour = UP if known[-1] >= known[0] else DOWN
    return Markup(
        '<svg width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="from {a:.6g} '
        'to {b:.6g}"><polyline points="{points}" fill="none" stroke="{colour}" '
        'stroke-width="1.5" stroke-linejoin="round"/></svg>'
    ).format(w=width, h=height, a=known[0], b=known[-1], points=points, colour=colour)


Format = str | Callable[[Any], str]


@dataclass(frozen=True)
class Table:
    """A frame to look at: `frame` with a caption, formats by column, signs in colour.

    Parameters
    ----------
    frame : DataFrame
        What to show; the index becomes the first columns.
    caption : str
        One line above it; the frame's own marks (SIMULATED…) are added to it.
    formats : mapping of str to format
        A format spec (``",.2f"``, ``"+.2%"``) or a function, by column.
    signed : sequence of str
        Columns whose numbers are coloured by their sign.
    """

    frame: pd.DataFrame
    caption: str = ""
    formats: Mapping[str, Format] = field(default_factory=dict)
    signed: Sequence[str] = ()

    def __repr__(self) -> str:
        words = " ".join([self.caption, *(f"[{mark}]" for mark in marks(self.frame.attrs))]).strip()
        return "\n".join(part for part in (words, self._shown().to_string()) if part)

    def _repr_html_(self) -> str:
        words = "".join(f" {badge(mark)}" for mark in marks(self.frame.attrs))
        head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in self._names())
        body = "".join(self._row(key, row.to_dict()) for key, row in self.frame.iterrows())
        return (
            f'<table class="ibkit-table" style="font-variant-numeric:tabular-nums">'
            f'<caption style="text-align:left">{escape(self.caption)}{words}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _names(self) -> list[object]:
        return [*(name or "" for name in self.frame.index.names), *self.frame.columns]

    def _row(self, key: Any, row: Mapping[Any, Any]) -> str:
        keys = key if isinstance(key, tuple) else (key,)
        heads = "".join(f'<th scope="row">{escape(str(part))}</th>' for part in keys)
        cells = "".join(self._cell(name, value) for name, value in row.items())
        return f"<tr>{heads}{cells}</tr>"

    def _cell(self, name: str, value: Any) -> str:
        text = value if isinstance(value, Markup) else escape(self._format(name, value))
        number = _is_number(value)
        colour = (UP if value > 0 else DOWN) if name in self.signed and number and value else ""
        style = ("text-align:right" if number or name in self.formats else "text-align:left") + (
            f";color:{colour}" if colour else ""
        )
        return f'<td style="{style}">{text}</td>'

    def _format(self, name: str, value: Any) -> str:
        if value is None or value != value:  # noqa: PLR0124 - NaN and NaT only differ from themselves
            return "–"
        how = self.formats.get(name)
        if how is None:
            return _plain(value)
        return how(value) if callable(how) else format(value, how)

    def _shown(self) -> pd.DataFrame:
        shown = self.frame.copy()
        for name in shown.columns:
            shown[name] = [self._format(str(name), value) for value in self.frame[name]]
        drawn = [name for name in shown if any(isinstance(v, Markup) for v in self.frame[name])]
        return shown.drop(columns=drawn)


def _plain(value: Any) -> str:
    """Return a value as text: thousands apart, times to the minute with their zone."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M %Z}".strip()
    if not isinstance(value, bool) and isinstance(value, Integral):
        return f"{value:,}"
    return str(value)


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and value == value  # noqa: PLR0124 - as above
