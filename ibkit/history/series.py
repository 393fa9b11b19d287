"""What is asked about: one series of bars over one span, and what of it is missing. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

from ibkit import schema

if TYPE_CHECKING:
    from ib_async import Contract

    from ibkit.contracts.hours import Session
    from ibkit.history.plan import Request, Span
    from ibkit.schema import BarSize, WhatToShow

# what bars are made of when nobody says; TRADES otherwise
USUAL: Final = schema.USUAL


@dataclass(frozen=True, slots=True)
class Series:
    """What one series of bars is of, over which span, and what of it is missing.

    Attributes
    ----------
    contract : Contract
        Qualified.
    slug : str
        The instrument's name in the store.
    bar_size : BarSize
        Of the bars.
    what_to_show, use_rth
        As in `History.bars`.
    span : tuple of datetime
        [start, end), UTC: complete bars only.
    sessions : tuple of Session
        The trading sessions in it.
    holes : tuple of tuple of datetime
        What the store lacks of it.
    requests : tuple of Request
        What closes the holes.
    """

    contract: Contract
    slug: str
    bar_size: BarSize
    what_to_show: WhatToShow
    use_rth: bool
    span: Span
    sessions: tuple[Session, ...]
    holes: tuple[Span, ...] = ()
    requests: tuple[Request, ...] = ()

    @property
    def key(self) -> dict[str, Any]:
        """The columns that tell this series from others of the instrument."""
        return {"what_to_show": self.what_to_show, "use_rth": self.use_rth}

    @property
    def head_text(self) -> str:
        """A name for all bars of this series, whatever their size."""
        return series_text(self.slug, self.what_to_show, use_rth=self.use_rth)

    @property
    def text(self) -> str:
        """A name for these bars."""
        return f"{self.head_text} {self.bar_size.ib}"


def series_text(slug: str, what: str, *, use_rth: bool) -> str:
    """Return a name for a series, whatever the size of its bars.

    >>> series_text("STK-AAPL-SMART-USD", "TRADES", use_rth=True)
    'STK-AAPL-SMART-USD TRADES regular'
    """
    return f"{slug} {what} {'regular' if use_rth else 'full'}"


class Query(TypedDict, total=False):
    """Which bars, besides instrument, size, start and end; see `History.bars`."""

    days: int | None
    what_to_show: WhatToShow | None
    use_rth: bool
