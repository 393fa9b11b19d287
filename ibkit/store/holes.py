"""What nobody has answered for yet, as a table: one row a hole. Pure.

A hole is time, not bars: ``[start, end)`` of a series that no write with a span, and no confirmed
emptiness, speaks of. Not here: which bars should be there (`ibkit.history.gaps`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ibkit import naming
from ibkit.schema import USUAL
from ibkit.store import spans
from ibkit.store.journal import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ibkit.schema import WhatToShow
    from ibkit.store.spans import Span

TYPES: Final = {
    "instrument": "object",
    "bar_size": "object",
    "what_to_show": "object",
    "use_rth": "bool",
    "start": "datetime64[us, UTC]",
    "end": "datetime64[us, UTC]",
}


def usual(slug: str) -> WhatToShow:
    """Return the series of an instrument that is meant where none is named.

    >>> usual("STK-AAPL-SMART-USD"), usual("CASH-EUR-IDEALPRO-USD")
    ('TRADES', 'MIDPOINT')
    """
    return USUAL.get(naming.from_slug(slug).secType, "TRADES")


def frame(
    found: Iterable[tuple[str, Iterable[Span]]], bar_size: str, series: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the holes of (slug, spans) as rows; instruments are named by their shorthand.

    >>> one = frame([("STK-AAPL-SMART-USD", [(0, 60_000_000)])], "1 min", {"use_rth": True})
    >>> one[["instrument", "start"]].to_numpy().tolist()
    [['AAPL', Timestamp('1970-01-01 00:00:00+0000', tz='UTC')]]
    """
    rows = [
        {
            "instrument": naming.shorthand(naming.from_slug(slug)),
            "bar_size": bar_size,
            "what_to_show": series.get("what_to_show") or usual(slug),
            "use_rth": series.get("use_rth", True),
            "start": moment(low),
            "end": moment(high),
        }
        for slug, holes in found
        for low, high in holes
    ]
    return pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)


def inside(holes: Sequence[Span], sessions: Sequence[Span] | None) -> list[Span]:
    """Return the holes in which some session is open, cut to its first opening and last close.

    >>> inside([(0, 50), (60, 70)], [(10, 20), (30, 40)])
    [(10, 40)]
    """
    if sessions is None:
        return list(holes)
    open_ = spans.union(sessions)
    found = []
    for low, high in holes:
        touched = [(max(low, a), min(high, b)) for a, b in open_ if a < high and b > low]
        if touched:
            found.append((touched[0][0], touched[-1][1]))
    return found
