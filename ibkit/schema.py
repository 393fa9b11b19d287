"""What the columns are: bar sizes, Arrow schemas and key columns of the datasets.

Not here: how rows get to the disk (`ibkit.store`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ibkit.errors import IbkitError

WhatToShow = Literal["TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST"]


class InvalidBarSizeError(IbkitError, ValueError):
    """IB has no bars of this size."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"{self.text!r} is no bar size; IB's are: {', '.join(BAR_SIZES)}."


@dataclass(frozen=True, slots=True)
class BarSize:
    """One of IB's bar sizes.

    Attributes
    ----------
    ib : str
        IB's words: ``"1 min"``.
    slug : str
        The same inside a dataset's name: ``"1min"``.
    seconds : int
        Length; of a calendar month, the longest (31 days).
    grain : {"date", "month", "year", "all"}
        How much time one Parquet file of this size holds.
    """

    ib: str
    slug: str
    seconds: int
    grain: Literal["date", "month", "year", "all"]

    @property
    def intraday(self) -> bool:
        """Whether a bar is shorter than a session."""
        return self.seconds < 86_400

    @property
    def dataset(self) -> str:
        """Return the name of the dataset that holds these bars."""
        return f"bars_{self.slug}"


BAR_SIZES: Final = {
    size.ib: size
    for size in (
        BarSize("1 secs", "1sec", 1, "date"),
        BarSize("5 secs", "5secs", 5, "date"),
        BarSize("10 secs", "10secs", 10, "date"),
        BarSize("15 secs", "15secs", 15, "date"),
        BarSize("30 secs", "30secs", 30, "date"),
        BarSize("1 min", "1min", 60, "month"),
        BarSize("2 mins", "2mins", 120, "month"),
        BarSize("3 mins", "3mins", 180, "month"),
        BarSize("5 mins", "5mins", 300, "year"),
        BarSize("10 mins", "10mins", 600, "year"),
        BarSize("15 mins", "15mins", 900, "year"),
        BarSize("20 mins", "20mins", 1_200, "year"),
        BarSize("30 mins", "30mins", 1_800, "year"),
        BarSize("1 hour", "1hour", 3_600, "year"),
        BarSize("2 hours", "2hours", 7_200, "year"),
        BarSize("3 hours", "3hours", 10_800, "year"),
        BarSize("4 hours", "4hours", 14_400, "year"),
        BarSize("8 hours", "8hours", 28_800, "year"),
        BarSize("1 day", "1day", 86_400, "all"),
        BarSize("1 week", "1week", 604_800, "all"),
        BarSize("1 month", "1month", 2_678_400, "all"),
    )
}


def bar_size(text: str) -> BarSize:
    """Return the bar size that IB calls `text`.

    Raises
    ------
    InvalidBarSizeError
        IB has no such size; the message lists those it has.

    Examples
    --------
    >>> bar_size("1 min").dataset
    'bars_1min'
    """
    try:
        return BAR_SIZES[text]
    except KeyError:
        raise InvalidBarSizeError(text) from None
