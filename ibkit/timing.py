"""Where time goes: counters cheap enough for every tick, and the table that `kit.timings()` shows.

A `Timer` keeps a count, a sum and a histogram of fixed buckets, four to a doubling, so that p50 and
p99 are right to about a tenth and nothing grows. Not here: what is timed.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ibkit import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

# buckets from 2**-30 s (a nanosecond) to 2**10 s; frexp gives the doubling, the rest the quarter
LOWEST: Final = -30
QUARTERS: Final = 4
BUCKETS: Final = 40 * QUARTERS
# times that are kept as they are until somebody asks, or there are so many
BATCH: Final = 2048
COLUMNS: Final = ("count", "total_s", "mean_s", "p50_s", "p99_s", "max_s")


class Timer:
    """How often something was done, and how long it took; used by one thread."""

    __slots__ = ("_buckets", "_count", "_lock", "_longest_s", "_new", "_total_s")

    def __init__(self) -> None:
        self._count, self._total_s, self._longest_s = 0, 0.0, 0.0
        self._buckets = [0] * BUCKETS
        self._new: list[float] = []
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count one more."""
        self._new.append(seconds)
        if len(self._new) >= BATCH:
            self._sort_in()

    @property
    def count(self) -> int:
        """How many there were."""
        return self._count + len(self._new)

    @property
    def total_s(self) -> float:
        """How long all of them took."""
        self._sort_in()
        return self._total_s

    @property
    def longest_s(self) -> float:
        """How long the longest took."""
        self._sort_in()
        return self._longest_s

    @property
    def buckets(self) -> list[int]:
        """How many there were of each length."""
        self._sort_in()
        return self._buckets

    def _sort_in(self) -> None:
        """Put what is new into its buckets: many at once, as one by one costs ten times that."""
        with self._lock:
            new, self._new = self._new, []
            if not new:
                return
            import numpy as np

            seconds = np.asarray(new)
            mantissas, doublings = np.frexp(seconds)
            places = (doublings - LOWEST) * QUARTERS + (mantissas * 8).astype(int) - QUARTERS
            sorted_in = np.bincount(places.clip(0, BUCKETS - 1), minlength=BUCKETS)
            self._buckets = [a + b for a, b in zip(self._buckets, sorted_in.tolist(), strict=True)]
            self._count += len(new)
            self._total_s += float(seconds.sum())
            self._longest_s = max(self._longest_s, float(seconds.max()))

    def quantile(self, share: float) -> float:
        """Return the time that this share took no longer than, right to about a tenth.

        >>> timer = Timer()
        >>> for ms in range(1, 101):
        ...     timer.add(ms / 1000)
        >>> 0.045 < timer.quantile(0.5) < 0.055
        True
        """
        buckets = self.buckets
        left = share * sum(buckets)
        for place, count in enumerate(buckets):
            left -= count
            if count and left <= 0:
                doubling, quarter = divmod(place, QUARTERS)
                middle = math.ldexp((quarter + QUARTERS + 0.5) / 8, doubling + LOWEST)
                return min(middle, self.longest_s)
        return math.nan

    def row(self) -> tuple[float, ...]:
        """Return what `COLUMNS` names."""
        mean = self.total_s / self.count if self.count else math.nan
        p50, p99 = self.quantile(0.5), self.quantile(0.99)
        return self.count, self.total_s, mean, p50, p99, self.longest_s


class SharedTimer(Timer):
    """A timer for many threads; what it times is slow enough for a lock."""

    __slots__ = ("_one",)

    def __init__(self) -> None:
        super().__init__()
        self._one = threading.RLock()

    def add(self, seconds: float) -> None:
        """Count one more."""
        with self._one:
            super().add(seconds)

    def _sort_in(self) -> None:
        with self._one:
            super()._sort_in()

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Count the block; one that raises took its time, too."""
        began = clock.monotonic()
        try:
            yield
        finally:
            self.add(clock.monotonic() - began)


# the disks of this process, whichever kit uses them
STORE: Final = SharedTimer()
JOURNAL: Final = SharedTimer()


def timings_frame(timers: Mapping[tuple[str, str], Timer]) -> pd.DataFrame:
    """Return the table of timers by place and what was done there."""
    import pandas as pd

    index = pd.MultiIndex.from_tuples(list(timers), names=["where", "what"])
    rows = [timer.row() for timer in timers.values()]
    frame = pd.DataFrame(rows, index=index, columns=list(COLUMNS), dtype="float64")
    return frame.astype({"count": "int64"})
