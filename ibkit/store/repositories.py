"""One repository a dataset, all on the same engine: ``store.trades("AAPL", start, end)``.

A repository is a name and a store; what it promises is what `Store.read`, `Store.upsert` and
`Store.replace_range` promise. Bars have doors of their own (`Store.bars`, `Store.write_bars`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibkit.schema import DATASETS, Dataset, bar_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from ibkit.store.journal import Commit


class Repository:
    """The rows of one dataset of a store. Calling it reads.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import pandas as pd
    >>> from ibkit.store import Store
    >>> ts = pd.DatetimeIndex(["2026-11-20 14:30"], tz="UTC")
    >>> rows = pd.DataFrame({"ts": ts, "price": 189.5, "recorder": "history", "seq": 0})
    >>> with TemporaryDirectory() as root:
    ...     store = Store(root)
    ...     commit = store.trades.write("AAPL", rows, source="IB")
    ...     store.trades("AAPL")["price"].tolist()
    [189.5]
    """

    def __init__(self, store: Any, name: str) -> None:
        self._store, self.name = store, name

    def __repr__(self) -> str:
        return f"<Repository {self.name} of {self._store!r}>"

    @property
    def dataset(self) -> Dataset:
        """What its rows are: columns, key, grain."""
        return DATASETS[self.name]

    def __call__(
        self,
        instrument: Any = None,
        start: datetime | None = None,
        end: datetime | None = None,
        **options: Any,
    ) -> Any:
        """Return rows; see `Store.read`."""
        return self._store.read(self.name, instrument, start, end, **options)

    def write(self, instrument: Any, data: Any, *, source: str, **options: Any) -> Commit:
        """Write rows by their key; see `Store.upsert`."""
        found: Commit = self._store.upsert(self.name, instrument, data, source=source, **options)
        return found

    def replace_range(
        self, instrument: Any, data: Any, start: datetime, end: datetime, **options: Any
    ) -> Commit:
        """Make `data` all there is in a span; see `Store.replace_range`."""
        found: Commit = self._store.replace_range(
            self.name, instrument, data, start, end, **options
        )
        return found

    def scan(self, instrument: Any = None, *span: datetime | None, **options: Any) -> pl.LazyFrame:
        """Return a polars LazyFrame; see `Store.scan`."""
        found: pl.LazyFrame = self._store.scan(self.name, instrument, *span, **options)
        return found

    def batches(
        self, instrument: Any = None, *span: datetime | None, **options: Any
    ) -> Iterator[pa.RecordBatch]:
        """Yield record batches; see `Store.batches`."""
        found: Iterator[pa.RecordBatch] = self._store.batches(
            self.name, instrument, *span, **options
        )
        return found

    def instruments(self) -> Sequence[str]:
        """Return the slugs that it knows, in order."""
        found: list[str] = self._store.instruments(self.name)
        return found

    def history(self, instrument: Any) -> pd.DataFrame:
        """Return the commit log of an instrument; see `Store.history`."""
        found: pd.DataFrame = self._store.history(self.name, instrument)
        return found


class Door:
    """An attribute of a store that is the repository of the dataset of the same name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, store: Any, owner: type | None = None) -> Repository:
        """Return the repository; on the class itself one without a store, for tooltips."""
        return Repository(store, self._name)


class Doors:
    """The repositories that a store has as attributes."""

    trades = Door()
    quotes = Door()
    midpoints = Door()
    option_chain = Door()
    fills = Door()
    orders = Door()
    account_values = Door()
    events = Door()
    factors = Door()
    contracts = Door()
    gaps = Door()

    def option_bars(self, size: str = "1 min") -> Repository:
        """Return the repository of option bars of one size, by underlying."""
        return Repository(self, f"option_{bar_size(size).dataset}")

    def repository(self, dataset: str) -> Repository:
        """Return the repository of a dataset by its name: ``"bars_1min"``."""
        self._table(dataset)  # type: ignore[attr-defined]  # says which there are, if it is none
        return Repository(self, dataset)
