"""The reading half of `Store`: one series or many, whole or piece by piece, in anybody's frame.

Rows come together in `Table.read` and nowhere else: Parquet, the read cache, and what streams
appended since. Here they are asked for, joined over instruments, resampled, and handed out.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from ibkit import naming
from ibkit.errors import UnknownSeriesError
from ibkit.schema import BAR_SIZES, DATASETS, FACTORS, BarSize
from ibkit.schema import bar_size as size_of
from ibkit.store import (
    coverage,
    files,
    frames,
    instruments,
    lazy,
    options,
    parallel,
    resample,
    unknown,
)
from ibkit.store.adjusted import (
    adjust,
    check_adjustable,
    how,
    needs_commits,
    read_factors,
    told,
    told_of_many,
)
from ibkit.store.journal import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import Self

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from ibkit.schema import WhatToShow
    from ibkit.store.adjusted import Adjusted, Factors
    from ibkit.store.cache import Cache
    from ibkit.store.parallel import Mapped
    from ibkit.store.table import Table

    Instrument = Any  # a shorthand, a slug, or an ib_async Contract

Frames = Literal["pandas", "arrow", "polars", "duckdb"]
THREADS: Final = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Ask:
    """Which bars are wanted; `start` and `end` in microseconds."""

    size: BarSize
    start: int | None
    end: int | None
    what_to_show: str
    use_rth: bool
    columns: tuple[str, ...]  # ts is the first
    source: BarSize | None = None  # the smaller bars to make them of
    sessions: tuple[Any, ...] | None = None
    calendar: Callable[..., Any] | None = None  # asked for them otherwise
    adjusted: str = ""
    factors: Factors | None = None

    @property
    def series(self) -> dict[str, Any]:
        """The head of the key."""
        return {"what_to_show": self.what_to_show, "use_rth": self.use_rth}


class Reading:
    """What a store can be asked for. `Store` is the class to use; it brings tables and kind."""

    kind: Any
    _cache: Cache

    if TYPE_CHECKING:

        def _table(self, name: str) -> Table: ...
        def as_of(self, when: datetime | int) -> Self: ...  # noqa: D102 - see Upkeep
        def known_sessions(self, slug: str, start: int, end: int, *, use_rth: bool) -> Any: ...  # noqa: D102 - see Timed

    @overload
    def bars(
        self,
        instrument: Instrument | Sequence[Instrument],
        bar_size: str = "1 min",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
        columns: Sequence[str] | None = None,
        resample: bool | str = False,
        sessions: Iterable[Any] | None = None,
        adjusted: Adjusted = False,
        as_of: datetime | int | None = None,
        as_: Literal["pandas"] = "pandas",
    ) -> pd.DataFrame: ...

    @overload
    def bars(
        self,
        instrument: Instrument | Sequence[Instrument],
        bar_size: str = "1 min",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
        columns: Sequence[str] | None = None,
        resample: bool | str = False,
        sessions: Iterable[Any] | None = None,
        adjusted: Adjusted = False,
        as_of: datetime | int | None = None,
        as_: Frames,
    ) -> Any: ...

    def bars(  # noqa: PLR0913 - each narrows the question, all but four by name
        self,
        instrument: Instrument | Sequence[Instrument],
        bar_size: str = "1 min",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
        columns: Sequence[str] | None = None,
        resample: bool | str = False,
        sessions: Iterable[Any] | None = None,
        adjusted: Adjusted = False,
        as_of: datetime | int | None = None,
        as_: Frames = "pandas",
    ) -> Any:
        """Return stored bars of ``[start, end)``.

        Parameters
        ----------
        instrument : str, Contract, or a sequence of them
            A shorthand that leaves something open means the one stored instrument that fits.
            Several are read in parallel.
        bar_size : str
            IB's words: ``"1 min"``.
        start, end : datetime, optional
            With a zone; `end` is excluded. None: from the first, to the last.
        what_to_show, use_rth
            Which series.
        columns : sequence of str, optional
            Read no others: ``["close"]``.
        resample : bool or str
            Make the bars of smaller stored ones: of those of the named size (``"1 min"``), or,
            if True and there are none of `bar_size` itself, of the largest size that divides it.
        sessions : iterable, optional
            Of what `resample` cuts the day by: objects with ``start``, ``end``, ``ref_date``.
            Without, the store of a kit asks the kit; another one infers them from the bars and
            the exchange's clock.
        adjusted : bool or {"splits", "dividends"}
            False: as stored, each row in the shares of the day on which it was. ``"splits"``: all
            in the shares of the last day that is known of. True or ``"dividends"``: that, and
            without dividends. By the dataset ``factors``; with `as_of`, by those of then.
        as_of : datetime or int, optional
            Read what was stored at that instant, or after that commit; see `Store.as_of`.
        as_ : {"pandas", "arrow", "polars", "duckdb"}
            The frame to return.

        Returns
        -------
        DataFrame
            Index ``ts``: start of the bar, UTC, ascending, unique. Columns, all float64:
            ``open high low close volume wap``, and ``count`` (Int32). NaN where IB has none. May
            be empty, if the series exists. ``attrs``: instrument, bar_size, what_to_show,
            use_rth, simulated, source. Of several instruments: in their order, with a first
            column ``instrument`` (their slugs). Other frames have ``ts`` as a column.

        Raises
        ------
        UnknownSeriesError
            Nothing is known of this series, or more than one instrument fits.
        UnknownFactorsError, NotAdjustableError
            `adjusted` rows are wanted, and their dividends or splits are not known; or such bars
            have none.
        ValueError
            `start` or `end` has no time zone.
        CorruptFileError
            A file is damaged; `verify` lists all such.
        """
        if as_of is not None:
            return self.as_of(as_of).bars(
                instrument,
                bar_size,
                start,
                end,
                what_to_show=what_to_show,
                use_rth=use_rth,
                columns=columns,
                resample=resample,
                sessions=sessions,
                adjusted=adjusted,
                as_=as_,
            )
        ask = Ask(
            size_of(bar_size),
            _micros(start),
            _micros(end),
            what_to_show,
            use_rth,
            tuple(frames.bar_columns(columns)),
            sessions=None if sessions is None else tuple(sessions),
            calendar=self.known_sessions,
            adjusted=how(adjusted),
        )
        if _is_many(instrument):
            found = (self._asked(each, ask, smaller=resample) for each in instrument)
            rows, attrs = self._many(list({slug: (slug, own) for slug, own in found}.values()))
        else:
            slug, ask = self._asked(instrument, ask, smaller=resample)
            rows, attrs = self._one(slug, ask)
        return frames.give(rows, attrs, as_)

    def _asked(self, instrument: Instrument, ask: Ask, *, smaller: bool | str) -> tuple[str, Ask]:
        """Return the instrument's slug, and what to make its bars of."""
        if isinstance(smaller, str):
            ask = replace(ask, source=_divides(size_of(smaller), ask.size, say=True))
        elif smaller:
            ask = replace(ask, source=self._largest(instrument, ask))
        if (option := options.named(instrument)) is not None:
            return naming.slug(option), ask
        table = self._table((ask.source or ask.size).dataset)
        return instruments.find(instrument, table), ask

    def _bars_of(self, slug: str, size: BarSize) -> Table | options.View:
        """Return what has the bars of an instrument: of an option, a part of its underlying's."""
        option = options.named(slug)
        if option is None:
            return self._table(size.dataset)
        return options.View(self._table(options.dataset_of(size)), option)

    def _largest(self, instrument: Instrument, ask: Ask) -> BarSize | None:
        """Return the largest stored size that bars can be made of; None: they are stored."""
        for size in sorted(BAR_SIZES.values(), key=lambda each: -each.seconds):
            if size is not ask.size and not _divides(size, ask.size):
                continue
            try:
                slug, _ = self._asked(instrument, replace(ask, source=size), smaller=False)
            except UnknownSeriesError:
                continue
            if self._bars_of(slug, size).sources(slug, ask.series):
                return None if size is ask.size else size
        return None

    def _one(self, slug: str, ask: Ask) -> tuple[pa.Table, dict[str, Any]]:
        table = self._bars_of(slug, ask.source or ask.size)
        # asked before the rows: a first write between the two must not look like an empty series
        sources = table.sources(slug, ask.series)
        if ask.adjusted:
            ask = replace(ask, factors=self._factors(slug, ask))
        rows = _rows(table, slug, ask)
        if rows.num_rows and not sources:
            sources = table.sources(slug, ask.series)
        if not rows.num_rows and not sources:
            raise UnknownSeriesError(_absent(table, slug, ask))
        attrs = self._attrs(slug, ask, sources)
        if ask.factors is not None:
            last = files.microseconds(rows["ts"])[-1] if rows.num_rows else None
            attrs |= told(ask.factors, ask.adjusted, last)
        return rows, attrs

    def _factors(self, slug: str, ask: Ask) -> Factors:
        """Return what the bars of an instrument are adjusted by."""
        check_adjustable(slug, ask.size, ask.source, ask.what_to_show)
        rows = self._table(FACTORS.name).read(slug, None, None, columns=FACTORS.names)
        return read_factors(slug, rows)

    def _attrs(self, slug: str, ask: Ask, sources: Iterable[str]) -> dict[str, Any]:
        attrs = {
            "instrument": slug,
            "bar_size": ask.size.ib,
            **ask.series,
            "simulated": self.kind == "sim",
            "source": ", ".join(sources),
        }
        if ask.source is not None:
            attrs["resampled_from"] = ask.source.ib
        return attrs

    def _many(self, found: Sequence[tuple[str, Ask]]) -> tuple[pa.Table, dict[str, Any]]:
        if not found:
            raise ValueError("no instrument is named")
        with ThreadPoolExecutor(THREADS) as pool:
            parts = list(pool.map(lambda each: self._one(*each), found))
        sources = sorted({source for _, attrs in parts for source in [attrs["source"]] if source})
        first = found[0][1]
        attrs = self._attrs("", first, sources)
        attrs["instrument"] = [slug for slug, _ in found]
        if first.adjusted:
            attrs |= told_of_many([own for _, own in parts])
        return frames.long(
            [(slug, rows) for (slug, _), (rows, _) in zip(found, parts, strict=True)]
        ), attrs

    def read(
        self,
        dataset: str,
        instrument: Instrument | Sequence[Instrument] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        series: Mapping[str, Any] | None = None,
        as_of: datetime | int | None = None,
        as_: Frames = "pandas",
    ) -> Any:
        """Return stored rows of any dataset, as they are; `bars` is the same for bars, and more.

        Parameters
        ----------
        dataset : str
            One of `ibkit.schema.DATASETS`.
        instrument : str, Contract, or a sequence of them, optional
            None: all that the dataset has. ``"ACCOUNT-DU…"`` for ``account_values``, the
            underlying for options.
        start, end : datetime, optional
            With a zone; of ``ts``; `end` is excluded.
        columns : sequence of str, optional
            Read no others.
        series : mapping, optional
            Values of key columns: ``{"recorder": "history"}``.
        as_of : datetime or int, optional
            Read what was stored at that instant, or after that commit.
        as_ : {"pandas", "arrow", "polars", "duckdb"}
            The frame to return.

        Returns
        -------
        DataFrame
            One row a stored row, by instrument and in the order of the dataset's key; first
            column ``instrument``; ``ts`` is a column.

        Raises
        ------
        UnknownSeriesError, ValueError, CorruptFileError
            As `bars`; an instrument that the dataset does not have is an error, no empty frame.
        """
        if as_of is not None:
            then = self.as_of(as_of)
            return then.read(
                dataset, instrument, start, end, columns=columns, series=series, as_=as_
            )
        table = self._table(dataset)
        low, high = _micros(start), _micros(end)
        names = frames.columns_of(DATASETS[dataset], columns)
        slugs = slugs_of(table, instrument)
        where = dict(series or {})

        def one(slug: str) -> tuple[str, pa.Table]:
            rows = _some(table, slug, low, high, [*dict.fromkeys([*names, "ts", *where])], where)
            if not rows.num_rows and not table.digest(slug).latest and table.fresh(slug) is None:
                raise unknown.instrument(table, slug)
            return slug, rows.select(names)

        with ThreadPoolExecutor(THREADS) as pool:
            parts = list(pool.map(one, slugs))
        attrs = {"dataset": dataset, "simulated": self.kind == "sim", **where}
        head = table.dataset.partition
        nothing = files.empty(table.dataset, names)
        return frames.give_plain(frames.long(parts, head, nothing), attrs, as_)

    def scan(
        self,
        dataset: str,
        instrument: Instrument | Sequence[Instrument] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        series: Mapping[str, Any] | None = None,
    ) -> pl.LazyFrame:
        """Return a polars LazyFrame over a dataset: nothing is read before ``collect()``.

        Parameters are those of `read`. Columns that the query does not need are not decoded,
        files outside of the span are not opened, and one file at a time is in memory.
        """
        table = self._table(dataset)
        span = (_micros(start), _micros(end))
        return lazy.scan(table, slugs_of(table, instrument), span, dict(series or {}))

    def batches(
        self,
        dataset: str,
        instrument: Instrument | Sequence[Instrument] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        series: Mapping[str, Any] | None = None,
        rows: int = 65_536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield record batches of at most `rows` rows, one file in memory at a time.

        Parameters are those of `read`; the order is by instrument, period and key, and each
        batch begins with a column ``instrument``.
        """
        table = self._table(dataset)
        span = (_micros(start), _micros(end))
        names = frames.columns_of(DATASETS[dataset], columns)
        slugs = slugs_of(table, instrument)
        return lazy.batches(table, slugs, span, names, dict(series or {}), rows)

    def clear_cache(self) -> None:
        """Remove the read cache of whole histories; reads make it again."""
        self._cache.clear()

    def map(
        self,
        func: Callable[[pd.DataFrame], Any],
        instruments_: Sequence[Instrument],
        bar_size: str = "1 min",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        processes: int | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Mapped:
        """Return ``func(bars)`` of every instrument, worked out in several processes.

        Parameters
        ----------
        func : callable
            Gets the DataFrame that `bars` gives; its result travels back, so it is small. It
            lives in a module, or, with cloudpickle installed, in a notebook's cell.
        instruments_ : sequence of str or Contract
            One task each.
        bar_size, start, end, **options
            As for `bars`.
        processes : int, optional
            As many as there are processors, if not given.
        progress : bool
            Show a bar.

        Returns
        -------
        Mapped
            A mapping of instrument to result, in the order asked for; ``errors`` has those that
            failed. Looking up a failed one raises its error; ``frame()`` is one row each.
        """
        kwargs = {"bar_size": bar_size, "start": start, "end": end, **options}
        names = [each if isinstance(each, str) else instruments.slug(each) for each in instruments_]
        return parallel.run(self, func, names, kwargs, processes, progress=progress)


def _micros(when: datetime | None) -> int | None:
    return None if when is None else micros(when)


def _is_many(instrument: Any) -> bool:
    return isinstance(instrument, (list, tuple, set, frozenset)) or (
        hasattr(instrument, "__iter__") and not isinstance(instrument, str)
    )


def _divides(smaller: BarSize, size: BarSize, *, say: bool = False) -> BarSize | None:
    """Return `smaller` if whole bars of it make bars of `size`."""
    fits = smaller.seconds < size.seconds and (
        smaller.slug != "1week" and (not size.intraday or size.seconds % smaller.seconds == 0)
    )
    if say and not fits:
        raise ValueError(f"bars of {size.ib} cannot be made of bars of {smaller.ib}")
    return smaller if fits else None


def _rows(table: Table | options.View, slug: str, ask: Ask) -> pa.Table:
    """Return the bars of one instrument, adjusted, or made of smaller ones, if so asked."""
    if ask.source is None:
        return _plain(table, slug, (ask.start, ask.end), ask.columns, ask)
    needed = [*ask.columns, *(["volume"] if "wap" in ask.columns else [])]
    strange = set(needed) - {"ts", *frames.BAR_FIELDS}
    if strange:
        raise ValueError(f"bars made of smaller ones have no {', '.join(sorted(strange))}")
    around = resample.reach(ask.size)
    low = None if ask.start is None else ask.start - around
    high = None if ask.end is None else ask.end + around
    rows = _plain(table, slug, (low, high), [*dict.fromkeys(needed)], ask)
    made = resample.resample(
        rows,
        ask.size,
        resample.clock_of(instruments.contract_of(slug)),
        sessions=_held(rows, slug, ask),
        mean=ask.what_to_show == "BID_ASK",
    )
    return lazy.cut(made.select(ask.columns), ask.start, ask.end)


def _absent(table: Table | options.View, slug: str, ask: Ask) -> str:
    if isinstance(table, options.View):
        return table.absent(ask.series)
    return coverage.absent(table, slug, ask.series)


def _held(rows: pa.Table, slug: str, ask: Ask) -> Any:
    """Return the sessions of rows: as they were handed in, or as the store knows them."""
    if ask.sessions is not None or ask.calendar is None or not rows.num_rows:
        return ask.sessions
    ts = files.microseconds(rows["ts"])
    return ask.calendar(slug, int(ts[0]), int(ts[-1]) + 1, use_rth=ask.use_rth)


def _plain(
    table: Table | options.View,
    slug: str,
    span: tuple[int | None, int | None],
    columns: Sequence[str],
    ask: Ask,
) -> pa.Table:
    """Return bars of the size that they were stored in, adjusted if so asked."""
    series = tuple(ask.series.values())
    if ask.factors is None or isinstance(table, options.View):
        return table.read(slug, *span, columns=columns, series=series)
    commits = needs_commits(ask.factors, _oldest(table, slug))
    # one that is not needed would keep the read cache from being used
    names = [*dict.fromkeys([*columns, *(["commit_id"] if commits else [])])]
    rows = table.read(slug, *span, columns=names, series=series)
    return adjust(rows, ask.factors, ask.adjusted).select(columns)


def _oldest(table: Table, slug: str) -> int | None:
    """Return the first commit that rows can be of; None: not known, rows of streams are older."""
    digest = table.digest(slug)
    if not digest.first or digest.sealed or table.wal.segments(slug):
        return None
    return digest.first


def slugs_of(table: Table, instrument: Any) -> list[str]:
    """Return the slugs of the instruments that are meant; None means all.

    Raises
    ------
    UnknownSeriesError
        The table has nothing of one of them.
    """
    if instrument is None:
        return table.slugs()
    wanted = instrument if _is_many(instrument) else [instrument]
    found = list(dict.fromkeys(instruments.find(each, table) for each in wanted))
    for slug in found:
        if not table.has(slug):
            raise unknown.instrument(table, slug)
    return found


def _some(
    table: Table,
    slug: str,
    start: int | None,
    end: int | None,
    names: Sequence[str],
    where: Mapping[str, Any],
) -> pa.Table:
    """Return rows where key columns have these values."""
    strange = [name for name in where if name not in table.dataset.names]
    if strange:
        raise ValueError(f"{table.dataset.name} has no column {strange[0]!r}")
    head = table.dataset.series
    series = tuple(where[name] for name in head) if head and set(head) <= set(where) else None
    rows = table.read(slug, start, end, columns=names, series=series)
    return lazy.equal(rows, where)
