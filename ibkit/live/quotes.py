"""The handle of a watch: the last quotes as a frame, until it is closed.

Not here: subscribing (`ibkit.live.lines`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Self

import pandas as pd

from ibkit.connection.loop import LoopThread, on_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibkit.connection import Link
    from ibkit.live.lines import Line, Lines

# column: attribute of ib_async's Ticker
PRICES: Final = {
    "bid": "bid",
    "ask": "ask",
    "last": "last",
    "bid_size": "bidSize",
    "ask_size": "askSize",
    "last_size": "lastSize",
    "volume": "volume",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
}
TYPES: Final = dict.fromkeys(PRICES, "float64") | {
    "ts": "datetime64[us, UTC]",
    "delayed": "bool",
}
# marketDataType: 1 live, 2 frozen, 3 delayed, 4 delayed-frozen
DELAYED: Final = frozenset({3, 4})


class Quotes:
    """Quotes of some instruments, kept current until `close` or the end of its block.

    Made by `kit.live.watch`. Memory is one row an instrument, however long it runs.
    """

    def __init__(self, link: Link, lines: Lines, watched: Mapping[str, Line]) -> None:
        self._loop: LoopThread = link.loop
        self._link, self._lines = link, lines
        self._watched = dict(watched)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else self._link.state
        return f"<Quotes {', '.join(self._watched)} {state}>"

    @property
    def closed(self) -> bool:
        """Whether the subscriptions have been given back."""
        return self._closed

    @on_loop
    async def frame(self) -> pd.DataFrame:
        """Return the quotes as they are now.

        Returns
        -------
        DataFrame
            One row an instrument, in the order they were asked for. Index ``instrument``: as it
            was named. Columns: ``bid ask last``, ``bid_size ask_size last_size``, ``volume``,
            ``open high low close`` (of the day; close of the day before), all float64 and NaN
            until IB sends them; ``ts``, when the last tick was received, UTC; ``delayed``.
            ``attrs``: ``simulated``, ``delayed``, ``stale`` (the stream is not running).
        """
        rows = [row(line) for line in self._watched.values()]
        index = pd.Index(list(self._watched), name="instrument", dtype="string")
        frame = pd.DataFrame(rows, index=index, columns=[*TYPES]).astype(TYPES)
        frame.attrs = {
            "simulated": self._link.simulated,
            "delayed": bool(frame["delayed"].any()),
            "stale": self._closed or any(self._is_stale(line) for line in self._watched.values()),
        }
        return frame

    def _is_stale(self, line: Line) -> bool:
        """Whether its last tick is not of the present connection."""
        since, last = self._link.since, line.ticker.time
        before = since is not None and last is not None and last < since
        return self._link.state != "ready" or before

    @on_loop
    async def close(self) -> None:
        """End the subscriptions; the last quotes stay readable. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            for line in self._watched.values():
                self._lines.give_back(line)


def row(line: Line) -> dict[str, Any]:
    """Return one row of the frame; ib_async's -1 for "no price" becomes NaN."""
    ticker = line.ticker
    prices = {column: getattr(ticker, name) for column, name in PRICES.items()}
    if prices["bid"] == -1 and prices["bid_size"] in {0, -1}:
        prices["bid"] = math.nan
    if prices["ask"] == -1 and prices["ask_size"] in {0, -1}:
        prices["ask"] = math.nan
    return prices | {"ts": ticker.time, "delayed": ticker.marketDataType in DELAYED}
