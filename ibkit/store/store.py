"""`Store`: one folder of Parquet, written safely and read as frames.

Knows nothing of IB; the parts are beside this file. A store is cheap to make and holds no handle:
make one per root and use it from any thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ibkit.errors import ProfileMixError
from ibkit.schema import BAR_SIZES, CONTRACTS, DATASETS, GAPS
from ibkit.schema import bar_size as size_of
from ibkit.store import (
    coverage,
    frames,
    importer,
    instruments,
    marker,
    quarantine,
    sql,
    unknown,
)
from ibkit.store.answers import Answers
from ibkit.store.bulk import Importing
from ibkit.store.cache import LIMIT, Cache
from ibkit.store.export import Exporting
from ibkit.store.guard import Guard
from ibkit.store.journal import Commit, Journals, micros
from ibkit.store.place import open_place
from ibkit.store.read import Reading, slugs_of
from ibkit.store.repositories import Doors
from ibkit.store.table import Table, Write
from ibkit.store.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb
    import pandas as pd

    from ibkit.schema import WhatToShow
    from ibkit.store.access import Role
    from ibkit.store.audit import Extent
    from ibkit.store.crypto import Keys

    OnError = Literal["raise", "quarantine"]
    Instrument = Any  # a shorthand, a slug, or an ib_async Contract


class Store(Guard, Upkeep, Reading, Exporting, Importing, Doors, Answers):
    """Market data of one profile, in one folder of plain Parquet.

    Parameters
    ----------
    root : Path or str
        The folder, or a bucket: ``"s3://bucket/prefix"``. Nothing is made before the first write.
    kind : {"sim", "real"}, optional
        What the rows are. A store remembers it from its first write; simulated and real rows
        never share a root.
    role : {"reader", "writer", "owner"}, optional
        A reader writes nothing and needs no permission to; the owner alone shares, encrypts,
        prunes, compacts and repairs. None: the owner, if the root is this account's (or new),
        else a writer.
    audit : {"off", "writes", "all"}
        What is told in ``meta/audit``: who wrote what, or also who read what.
    keys : Keys, optional
        Where the keys of encrypted datasets are looked for; the environment and the keyring if
        not said.
    encrypted : iterable of str
        Datasets that are never written plain: without `encrypt` and its key a write is refused.
    options : mapping, optional
        Of a bucket: ``endpoint``, ``region``, ``access_key_id``, ``secret_access_key``, …
    writers : {"many", "one"}
        ``"one"`` is your word that nobody else writes to the bucket, for an endpoint that does
        not hold conditional writes.
    cache_bytes : int
        What the read cache of whole histories (``meta/cache``) may take; 0: there is none.

    Raises
    ------
    ProfileMixError
        The folder holds rows of the other kind.
    StoreAccessError
        `root` is no folder, or cannot be read.
    RoleError
        The role of an owner, and another account's root.
    ConditionsIgnoredError
        The bucket's endpoint does not hold conditional writes.

    Notes
    -----
    Rows are sorted and unique by their key; a write that has returned is on the disk; writers of
    one instrument wait for each other, in threads and processes; readers wait for nobody and
    never see half a write. ``data/`` below the root may be read by anything that reads Parquet
    (except fastparquet, which misreads the timestamps).

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import pandas as pd
    >>> bars = pd.DataFrame(
    ...     {"open": [1.0], "high": [2.0], "low": [1.0], "close": [2.0]},
    ...     index=pd.DatetimeIndex(["2026-11-20 14:30"], tz="UTC"),
    ... )
    >>> with TemporaryDirectory() as root:
    ...     store = Store(root)
    ...     commit = store.write_bars("AAPL", "1 min", bars)
    ...     back = store.bars("AAPL", "1 min")
    ...     count = store.sql("select count(*) from bars_1min").fetchall()
    >>> commit.rows_added, back["close"].item(), count
    (1, 2.0, [(1,)])
    """

    def __init__(
        self,
        root: Path | str,
        *,
        kind: Literal["sim", "real"] | None = None,
        cache_bytes: int = LIMIT,
        role: Role | None = None,
        audit: Extent = "off",
        keys: Keys | None = None,
        encrypted: Iterable[str] = (),
        options: Mapping[str, Any] | None = None,
        writers: Literal["one", "many"] = "many",
    ) -> None:
        terms = {"role": role, "encrypted": tuple(encrypted), "keys": keys, "audit": audit}
        self._terms: dict[str, Any] = {**terms, "options": options, "writers": writers}
        self._at: int | None = None  # see `as_of`
        self._place = open_place(root, **self._terms)
        self.root: Any = self._place.root if self._place.medium.local else self._place.name
        self._paths = self._place.paths
        found = marker.read(self._paths.marker, self._place.medium)
        marker.check(self.root, found, kind)
        self._kind = kind or found
        self._journals = Journals(self._place.medium)
        self._tables: dict[str, Table] = {}
        self._cache = Cache(self._paths.root / "meta" / "cache", cache_bytes)
        self._cache.frozen = self._place.role == "reader"

    def __repr__(self) -> str:
        return f"<Store {self.root} {self.kind or 'new'}>"

    @property
    def kind(self) -> Literal["sim", "real"] | None:
        """What the rows are; None as long as nobody has said or written anything."""
        if self._kind is None:
            self._kind = marker.read(self._paths.marker, self._place.medium)
        return self._kind

    # --- writing ---------------------------------------------------------------------------------

    def upsert(
        self,
        dataset: str,
        instrument: Instrument,
        data: Any,
        *,
        source: str,
        span: tuple[datetime, datetime] | None = None,
        series: Mapping[str, Any] | None = None,
        request: str = "",
        on_error: OnError = "raise",
    ) -> Commit:
        """Write rows; a row whose key is stored already is replaced if it says something else.

        Parameters
        ----------
        dataset : str
            One of `ibkit.schema.DATASETS`.
        instrument : str or Contract
            Named in full: a shorthand such as ``"AAPL"``, a slug, or a Contract.
        data : DataFrame, pyarrow.Table, polars.DataFrame
            Any order, any overlap with what is stored.
        source : str
            Where the rows come from; simulated sources begin with ``"SIM"``.
        span : (datetime, datetime), optional
            ``[start, end)`` that `data` is the whole answer for, so nobody asks again.
        series : mapping, optional
            Key columns with one value for all rows, such as ``{"what_to_show": "BID", …}``;
            needed with `span`.
        request : str
            What was asked for, in words; goes to the journal.
        on_error : {"raise", "quarantine"}
            What becomes of rows that cannot be true: all of `data` is refused, or they alone are
            set aside, see `quarantined`.

        Returns
        -------
        Commit
            What changed. ``operation`` is ``"none"`` if all of it was known already.

        Raises
        ------
        InvalidRowsError
            A row cannot be true; nothing was written.
        ProfileMixError
            Simulated rows for a store of real ones, or the reverse.
        StoreAccessError, StoreBusyError, CorruptFileError
            The disk refused; another writer did not finish; the old file is damaged.
        """
        write = Write("upsert", source, request, dict(series or {}), _span(span))
        return self._write(dataset, instrument, data, write, on_error)

    def replace_range(
        self,
        dataset: str,
        instrument: Instrument,
        data: Any,
        start: datetime,
        end: datetime,
        *,
        source: str,
        series: Mapping[str, Any] | None = None,
        request: str = "",
    ) -> Commit:
        """Make `data` all there is in ``[start, end)`` of a series: what it lacks is removed.

        Parameters, result and errors are those of `upsert`.

        Raises
        ------
        ValueError
            A row of `data` lies outside of ``[start, end)``.
        """
        write = Write("replace_range", source, request, dict(series or {}), _span((start, end)))
        return self._write(dataset, instrument, data, write)

    def _write(
        self,
        dataset: str,
        instrument: Instrument,
        data: Any,
        write: Write,
        on_error: OnError = "raise",
    ) -> Commit:
        table = self._table(dataset)
        slug = instruments.slug(instrument)
        write = replace(write, con_id=write.con_id or getattr(instrument, "conId", 0) or None)
        if on_error == "quarantine":
            rows, bad = quarantine.prepare(table, data, write)
            write = replace(write, set_aside=bad.num_rows)
        else:
            rows, bad = table.prepare(data, write), None
        if "source" in [*getattr(data, "column_names", getattr(data, "columns", ()))]:
            marker.check_rows(rows["source"], marker.kind_of(write.source))
        self._settle(write.source)
        if bad is not None and bad.num_rows:
            quarantine.keep(table, slug, bad, write)
        return table.write(slug, rows, write)

    def _settle(self, source: str) -> None:
        """Mark a new store by its first rows, and refuse rows of the other kind."""
        kind = marker.kind_of(source)
        if self.kind and self.kind != kind:
            raise ProfileMixError(
                f"{self.root} holds {self.kind} data; rows of source {source!r} are {kind}.\n"
                "Hint: simulated rows have a source that begins with SIM, and a root of their own."
            )
        self._need("writer", "write")
        self._place.settle()
        marker.settle(self._paths.marker, kind, self._place.medium)
        self._kind = kind

    def write_bars(
        self,
        instrument: Instrument,
        bar_size: str,
        data: Any,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
        span: tuple[datetime, datetime] | None = None,
        source: str | None = None,
        request: str = "",
        on_error: OnError = "raise",
    ) -> Commit:
        """Write bars of one series; see `upsert`.

        Parameters
        ----------
        instrument : str or Contract
            Named in full.
        bar_size : str
            IB's words: ``"1 min"``.
        data : DataFrame, pyarrow.Table, polars.DataFrame
            Index or column ``ts`` (start of the bar, with a zone), and ``open high low close``;
            ``volume wap count`` as far as known.
        what_to_show, use_rth
            Which series; they are part of the key.
        span : (datetime, datetime), optional
            ``[start, end)`` that `data` is the whole answer for.
        source : str, optional
            ``"SIM"`` for a store of simulated rows, else ``"IB"``.
        request : str
            What was asked for, in words; goes to the journal.
        on_error : {"raise", "quarantine"}
            What becomes of rows that cannot be true.
        """
        home = self._home(instrument, bar_size, what_to_show, use_rth=use_rth, writes=True)
        write = Write(
            "upsert",
            source or self._usual_source(),
            request,
            home.series,
            _span(span),
            getattr(instrument, "conId", 0) or None,
        )
        return self._write(home.dataset, home.slug, data, write, on_error)

    def _usual_source(self) -> str:
        return "SIM" if self.kind == "sim" else "IB"

    def confirm_empty(
        self,
        dataset: str,
        instrument: Instrument,
        span: tuple[datetime, datetime],
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
        series: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> Commit:
        """Remember that there is no data in ``[start, end)``, so that nobody asks for it again.

        A row of the dataset ``gaps`` says so to people, a line of the journal to `missing`. Of a
        dataset other than bars, `series` is the head of its key.
        """
        asked = {"what_to_show": what_to_show, "use_rth": use_rth}
        place, known = instrument, dict(asked if series is None else series)
        size = next((one for one in BAR_SIZES.values() if one.dataset == dataset), None)
        if size is not None:  # of an option, the bars are elsewhere
            home = self._home(instrument, size.ib, what_to_show, use_rth=use_rth, writes=True)
            dataset, place, known = home
        row = {"ts": [span[0]], "end": [span[1]], "reason": [reason], "dataset": [dataset]}
        write = Write("confirm_empty", self._usual_source(), reason, asked, _span(span))
        note = replace(write, operation="upsert", span=None)
        self._write(GAPS.name, instrument, frames.rows(row), note)
        own = replace(write, series=known)
        return self._write(dataset, place, self._table(dataset).nothing(), own)

    def import_bars(  # noqa: PLR0913 - each is one way in which their bars differ from ours
        self,
        instrument: Instrument,
        bar_size: str,
        data: pd.DataFrame | Path | str,
        *,
        columns: Mapping[str, str] | None = None,
        zone: str | None = None,
        label: Literal["start", "end"] = "start",
        volume_unit: float = 1.0,
        source: str | None = None,
        on_error: OnError = "raise",
        progress: bool = False,
        **series: Any,
    ) -> Commit:
        """Write bars that come from elsewhere: a CSV or Parquet file, or a DataFrame.

        Parameters
        ----------
        instrument : str or Contract
            Named in full.
        bar_size : str
            IB's words: ``"1 day"``.
        data : DataFrame, Path or str
            The bars, or the file they are in (``.csv``, ``.csv.gz``, ``.parquet``, ``.arrow``).
            A file of any size: a million rows are in memory at a time.
        columns : mapping, optional
            Their name of a column to ours: ``{"Date": "ts", "Close": "close"}``. Columns that it
            does not name are left out; without it, names that differ from ours only by case are
            understood.
        zone : str, optional
            The time zone of times without one: ``"America/New_York"``, ``"UTC"``. Times without a
            zone are refused if this is not said.
        label : {"start", "end"}
            What their time of a bar means; bars labelled by their end are moved back by a bar.
        volume_unit : float
            Units of ours in one of theirs: 100 for volumes in lots of a hundred shares.
        source : str, optional
            Where the rows come from; the file's name if not given.
        on_error : {"raise", "quarantine"}
            What becomes of rows that cannot be true: all is refused, or they are set aside.
        progress : bool
            Show a bar of chunks.
        what_to_show, use_rth
            Which series the bars become: ``"TRADES"`` and True if not said.

        Returns
        -------
        Commit
            Of the last chunk, with the rows of all of them.

        Raises
        ------
        InvalidRowsError
            Rows that cannot be bars, by number and value; nothing was written.
        StoreAccessError
            The file cannot be read.
        """
        self._need("writer", "import")
        size = size_of(bar_size)
        options: dict[str, Any] = {"columns": columns, "zone": zone, "label": label}
        found = importer.source(data, size.seconds, **options, volume_unit=volume_unit)
        prefix = "SIM:" if self.kind == "sim" else ""
        told = source or prefix + found.origin
        write = Write("upsert", told, series={"what_to_show": "TRADES", "use_rth": True, **series})

        def check(frame: pd.DataFrame) -> None:
            if on_error == "raise":
                self._table(size.dataset).prepare(frame, write)

        def put(frame: pd.DataFrame) -> Commit:
            request = f"import of {found.origin}"
            facts: dict[str, Any] = {"source": told, "request": request, "on_error": on_error}
            return self.write_bars(instrument, bar_size, frame, **series, **facts)

        return importer.run(found, check, put, progress=progress)

    # --- reading ---------------------------------------------------------------------------------

    def coverage(self, dataset: str | None = None) -> pd.DataFrame:
        """Return what is stored: one row a series, with its first and last row and its size.

        Returns
        -------
        DataFrame
            ``dataset instrument what_to_show use_rth first last rows files bytes spans``;
            ``spans`` is a list of the answered ``(start, end)``.
        """
        # what is known about instruments is no series of theirs
        listed = [name for name in self.datasets() if name != CONTRACTS.name]
        names = listed if dataset is None else [dataset]
        return coverage.frame([self._table(name) for name in names if name != GAPS.name])

    def instruments(self, dataset: str) -> list[str]:
        """Return the slugs of the instruments that a dataset knows, in order."""
        return self._table(dataset).slugs()

    def datasets(self) -> list[str]:
        """Return the names of the datasets that hold something, in the order of the schema."""
        return [name for name in DATASETS if self._table(name).slugs()]

    def sql(
        self,
        query: str,
        *,
        instruments: Sequence[Instrument] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Return the answer of DuckDB to `query`, with a view of every dataset in it.

        Parameters
        ----------
        query : str
            DuckDB's SQL.
        instruments : sequence, optional
            What the query is about; saves looking for the files of all others.
        start, end : datetime, optional
            The span of ``ts`` that it is about, with a zone; `end` is excluded.

        Notes
        -----
        Ask for ``.df()``, ``.pl()`` or ``.to_arrow_table()``. Only the datasets that `query` names
        are looked for on the disk; columns are those of the files and of the folders' names:
        ``select instrument, max(high) from bars_1min where month >= '2026-01' group by 1``.
        """
        return sql.relation(
            query,
            {name: self._table(name) for name in DATASETS},
            slugs=lambda table: slugs_of(table, instruments),
            start=None if start is None else micros(start),
            end=None if end is None else micros(end),
        )

    def _table(self, name: str) -> Table:
        if name not in DATASETS:
            raise unknown.dataset(name)
        if name not in self._tables:
            table = Table(
                DATASETS[name], self._paths, self._journals, self._place.door(DATASETS[name])
            )
            table.cache = self._cache
            table.wal.wrap, table.wal.unwrap = table.door.seal.wrap, table.door.seal.unwrap
            self._tables.setdefault(name, table)
        return self._tables[name]

    def recipe(self) -> dict[str, Any]:
        """Return the arguments that make this store again, in another process; see `remade`."""
        facts = {"root": self.root, "kind": self._kind, "cache_bytes": self._cache.limit}
        return {**facts, **self._terms, "as_of": self._at}

    @classmethod
    def remade(cls, recipe: Mapping[str, Any]) -> Store:
        """Return the store of a `recipe`, as of the same time."""
        facts = dict(recipe)
        at = facts.pop("as_of")
        return cls(**facts) if at is None else cls(**facts).as_of(at)


def _span(span: tuple[datetime, datetime] | None) -> tuple[int, int] | None:
    if span is None:
        return None
    start, end = micros(span[0]), micros(span[1])
    if start >= end:
        raise ValueError(f"the span ends at {span[1]}, not after its start {span[0]}")
    return start, end
