"""`Store`: one folder of Parquet, written safely and read as frames.

Knows nothing of IB; the parts are beside this file. A store is cheap to make and holds no handle:
make one per root and use it from any thread.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ibkit.errors import ProfileMixError, StoreAccessError, UnknownSeriesError
from ibkit.schema import DATASETS, GAPS
from ibkit.schema import bar_size as size_of
from ibkit.store import coverage, frames, importer, instruments, marker, spans, sql, verify
from ibkit.store.journal import Commit, Journals, micros, moment
from ibkit.store.layout import Layout
from ibkit.store.table import Table, Write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import duckdb
    import pandas as pd

    from ibkit.schema import WhatToShow

    Instrument = Any  # a shorthand, a slug, or an ib_async Contract


class Store:
    """Market data of one profile, in one folder of plain Parquet.

    Parameters
    ----------
    root : Path or str
        The folder. Nothing is made before the first write.
    kind : {"sim", "real"}, optional
        What the rows are. A store remembers it from its first write; simulated and real rows
        never share a root.

    Raises
    ------
    ProfileMixError
        The folder holds rows of the other kind.
    StoreAccessError
        `root` is no folder, or cannot be read.

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

    def __init__(self, root: Path | str, *, kind: Literal["sim", "real"] | None = None) -> None:
        self.root = Path(root).expanduser().absolute()
        if self.root.is_file():
            raise StoreAccessError(self.root, "the root of a store is a folder; this is a file")
        self._paths = Layout(self.root)
        found = marker.read(self._paths.marker)
        marker.check(self._paths.marker, found, kind)
        self._kind = kind or found
        self._journals = Journals()
        self._tables: dict[str, Table] = {}

    def __repr__(self) -> str:
        return f"<Store {self.root} {self.kind or 'new'}>"

    @property
    def kind(self) -> Literal["sim", "real"] | None:
        """What the rows are; None as long as nobody has said or written anything."""
        if self._kind is None:
            self._kind = marker.read(self._paths.marker)
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
        return self._write(dataset, instrument, data, write)

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

    def _write(self, dataset: str, instrument: Instrument, data: Any, write: Write) -> Commit:
        table = self._table(dataset)
        slug = instruments.slug(instrument)
        write = replace(write, con_id=getattr(instrument, "conId", 0) or None)
        rows = table.prepare(data, write)
        self._settle(write.source)
        return table.write(slug, rows, write)

    def _settle(self, source: str) -> None:
        """Mark a new store by its first rows, and refuse rows of the other kind."""
        kind: marker.Kind = "sim" if source.upper().startswith("SIM") else "real"
        if self.kind and self.kind != kind:
            raise ProfileMixError(
                f"{self.root} holds {self.kind} data; rows of source {source!r} are {kind}.\n"
                "Hint: simulated rows have a source that begins with SIM, and a root of their own."
            )
        marker.settle(self._paths.marker, kind)
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
        """
        return self.upsert(
            size_of(bar_size).dataset,
            instrument,
            data,
            source=source or self._usual_source(),
            span=span,
            series={"what_to_show": what_to_show, "use_rth": use_rth},
            request=request,
        )

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
        reason: str = "",
    ) -> Commit:
        """Remember that there is no data in ``[start, end)``, so that nobody asks for it again.

        A row of the dataset ``gaps`` says so to people, a line of the journal to `holes`.
        """
        series = {"what_to_show": what_to_show, "use_rth": use_rth}
        row = {"ts": [span[0]], "end": [span[1]], "reason": [reason], "dataset": [dataset]}
        write = Write("confirm_empty", self._usual_source(), reason, series, _span(span))
        nothing = self._table(dataset).nothing()
        note = replace(write, operation="upsert", span=None)
        self._write(GAPS.name, instrument, frames.rows(row), note)
        return self._write(dataset, instrument, nothing, write)

    def import_bars(
        self,
        instrument: Instrument,
        bar_size: str,
        data: pd.DataFrame | Path | str,
        *,
        columns: Mapping[str, str] | None = None,
        zone: str | None = None,
        source: str | None = None,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
    ) -> Commit:
        """Write bars that come from elsewhere: a CSV or Parquet file, or a DataFrame.

        Parameters
        ----------
        instrument : str or Contract
            Named in full.
        bar_size : str
            IB's words: ``"1 day"``.
        data : DataFrame, Path or str
            The bars, or the file they are in (``.csv``, ``.csv.gz``, ``.parquet``).
        columns : mapping, optional
            Their name of a column to ours: ``{"Date": "ts", "Close": "close"}``. Columns that it
            does not name are left out; without it, names that differ from ours only by case are
            understood.
        zone : str, optional
            The time zone of times without one: ``"America/New_York"``, ``"UTC"``. Times without a
            zone are refused if this is not said.
        source : str, optional
            Where the rows come from; the file's name if not given.
        what_to_show, use_rth
            Which series the bars become.

        Raises
        ------
        InvalidRowsError
            Rows that cannot be bars, by number and value; nothing was written.
        StoreAccessError
            The file cannot be read.
        """
        frame, origin = importer.load(data, columns=columns, zone=zone)
        prefix = "SIM:" if self.kind == "sim" else ""
        return self.write_bars(
            instrument,
            bar_size,
            frame,
            what_to_show=what_to_show,
            use_rth=use_rth,
            source=source or prefix + origin,
            request=f"import of {origin}",
        )

    # --- reading ---------------------------------------------------------------------------------

    def bars(
        self,
        instrument: Instrument,
        bar_size: str = "1 min",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return stored bars of ``[start, end)``.

        Parameters
        ----------
        instrument : str or Contract
            A shorthand that leaves something open means the one stored instrument that fits.
        bar_size : str
            IB's words: ``"1 min"``.
        start, end : datetime, optional
            With a zone; `end` is excluded. None: from the first, to the last.
        what_to_show, use_rth
            Which series.
        columns : sequence of str, optional
            Read no others: ``["close"]``.

        Returns
        -------
        DataFrame
            Index ``ts``: start of the bar, UTC, ascending, unique. Columns, all float64:
            ``open high low close volume wap``, and ``count`` (Int32). NaN where IB has none. May
            be empty, if the series exists. ``attrs``: instrument, bar_size, what_to_show,
            use_rth, simulated, source.

        Raises
        ------
        UnknownSeriesError
            Nothing is known of this series, or more than one instrument fits.
        ValueError
            `start` or `end` has no time zone.
        CorruptFileError
            A file is damaged; `verify` lists all such.
        """
        size = size_of(bar_size)
        table = self._table(size.dataset)
        low, high = (None if when is None else micros(when) for when in (start, end))
        names = frames.bar_columns(columns)
        slug = instruments.find(instrument, table)
        series = {"what_to_show": what_to_show, "use_rth": use_rth}
        rows = table.read(slug, low, high, columns=names, series=tuple(series.values()))
        sources = table.sources(slug, series)
        if not rows.num_rows and not sources:
            raise UnknownSeriesError(coverage.absent(table, slug, series))
        attrs = {
            "instrument": slug,
            "bar_size": size.ib,
            **series,
            "simulated": self.kind == "sim",
            "source": ", ".join(sources),
        }
        return frames.bar_frame(rows, attrs)

    def holes(
        self,
        instrument: Instrument,
        bar_size: str,
        start: datetime,
        end: datetime,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
    ) -> list[tuple[datetime, datetime]]:
        """Return the parts of ``[start, end)`` that no write and no `confirm_empty` answered for.

        Returns
        -------
        list of (datetime, datetime)
            Half-open, UTC, in order; empty if everything is known. A period whose file was
            removed by hand is a hole again.
        """
        table = self._table(size_of(bar_size).dataset)
        wanted = (micros(start), micros(end))
        series = {"what_to_show": what_to_show, "use_rth": use_rth}
        slug = instruments.slug(instrument)
        known = table.answered(slug, series, *wanted)
        return [(moment(low), moment(high)) for low, high in spans.minus([wanted], known)]

    def coverage(self, dataset: str | None = None) -> pd.DataFrame:
        """Return what is stored: one row a series, with its first and last row and its size.

        Returns
        -------
        DataFrame
            ``dataset instrument what_to_show use_rth first last rows files bytes spans``;
            ``spans`` is a list of the answered ``(start, end)``.
        """
        names = self.datasets() if dataset is None else [dataset]
        return coverage.frame([self._table(name) for name in names if name != GAPS.name])

    def history(self, dataset: str, instrument: Instrument) -> pd.DataFrame:
        """Return the commit log of an instrument: one row a commit, oldest first."""
        table = self._table(dataset)
        return frames.log_frame(table.log(instruments.find(instrument, table)))

    def instruments(self, dataset: str) -> list[str]:
        """Return the slugs of the instruments that a dataset knows, in order."""
        return self._table(dataset).slugs()

    def datasets(self) -> list[str]:
        """Return the names of the datasets that hold something, in the order of the schema."""
        return [name for name in DATASETS if self._table(name).slugs()]

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Return the answer of DuckDB to `query`, with a view of every dataset in it.

        Notes
        -----
        Ask for ``.df()``, ``.pl()`` or ``.to_arrow_table()``. Only the datasets that `query` names
        are looked for on the disk; columns are those of the files and of the folders' names:
        ``select instrument, max(high) from bars_1min where month >= '2026-01' group by 1``.
        """
        return sql.relation(query, {name: self._table(name) for name in DATASETS})

    def verify(self, dataset: str | None = None) -> pd.DataFrame:
        """Read every file back, and return what is wrong with which: no row, no problem.

        Returns
        -------
        DataFrame
            ``dataset instrument file problem``.
        """
        names = self.datasets() if dataset is None else [dataset]
        return verify.frame([self._table(name) for name in names])

    def _table(self, name: str) -> Table:
        if name not in DATASETS:
            raise UnknownSeriesError(
                f"There is no dataset {name!r}; there are {', '.join(DATASETS)}."
            )
        return self._tables.setdefault(name, Table(DATASETS[name], self._paths, self._journals))


def _span(span: tuple[datetime, datetime] | None) -> tuple[int, int] | None:
    if span is None:
        return None
    start, end = micros(span[0]), micros(span[1])
    if start >= end:
        raise ValueError(f"the span ends at {span[1]}, not after its start {span[0]}")
    return start, end
