"""Rows of any dataset from a file or a frame, many instruments at once: the way back of `export`.

A column names the instrument of each row. Chunk by chunk, so the size of the file does not matter;
all of it is checked before any of it is written. Bars under other people's names are `importer`'s.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ibkit.errors import InvalidRowsError, ProfileMixError, StoreAccessError
from ibkit.store import disk, files, importer, instruments
from ibkit.store.table import Write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from ibkit.schema import Dataset
    from ibkit.store.access import Role
    from ibkit.store.journal import Commit
    from ibkit.store.table import Table

    OnError = Literal["raise", "quarantine"]

BLOCK: Final = 64 << 20  # bytes of a CSV file in memory at a time
COUNTS: Final = ("rows_in", "rows_added", "rows_changed", "rows_set_aside")
COLUMNS: Final = {"dataset": "str", "instrument": "str", **dict.fromkeys(COUNTS, "int64")}


class Importing:
    """What `Store` does to take in rows of any dataset; needs its `_table` and `upsert`."""

    if TYPE_CHECKING:

        @property
        def kind(self) -> Literal["sim", "real"] | None:
            """What the rows are."""

        def _table(self, name: str) -> Table: ...
        def _need(self, role: Role, what: str) -> None: ...
        def upsert(
            self,
            dataset: str,
            instrument: Any,
            data: Any,
            *,
            source: str,
            span: tuple[datetime, datetime] | None = None,
            series: Mapping[str, Any] | None = None,
            request: str = "",
            on_error: OnError = "raise",
        ) -> Commit:
            """Write rows, see `Store.upsert`."""
            ...

    def import_rows(
        self,
        dataset: str,
        data: pd.DataFrame | pa.Table | Path | str,
        instrument: Any = None,
        *,
        columns: Mapping[str, str] | None = None,
        zone: str | None = None,
        source: str | None = None,
        series: Mapping[str, Any] | None = None,
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> pd.DataFrame:
        """Write rows of any dataset that come from elsewhere, also those that `export` wrote.

        Parameters
        ----------
        dataset : str
            One of `ibkit.schema.DATASETS`.
        data : DataFrame, pyarrow.Table, Path or str
            The rows, or the file they are in (``.csv``, ``.csv.gz``, ``.parquet``, ``.arrow``).
        instrument : str or Contract, optional
            Whose rows they are. None: a column says it, in shorthand or as a slug; it is called
            ``instrument``, for options ``underlying``, for ``account_values`` ``account``.
        columns : mapping, optional
            Their name of a column to ours. Columns that it does not name are left out; without it,
            names that differ from ours only by case are understood.
        zone : str, optional
            The time zone of times without one; they are refused if this is not said.
        source : str, optional
            Where the rows come from; a column ``source`` goes first.
        series : mapping, optional
            Key columns that the data lack: ``{"what_to_show": "TRADES", "use_rth": True}``.
        on_error : {"raise", "quarantine"}
            What becomes of rows that cannot be true: all is refused, or they are set aside.
        progress : bool
            Show a bar of rows.

        Returns
        -------
        DataFrame
            One row an instrument: ``dataset instrument rows_in rows_added rows_changed
            rows_set_aside``.

        Raises
        ------
        InvalidRowsError
            A column is missing or strange, or rows cannot be true; nothing was written.
        ProfileMixError
            Simulated and real rows in one; or for a store of the others.
        StoreAccessError
            The file cannot be read.
        """
        self._need("writer", "import")
        table = self._table(dataset)
        path = None if isinstance(data, pd.DataFrame | pa.Table) else Path(data)
        origin = "import" if path is None else f"import:{path.name}"
        order = Write("upsert", source or origin, series=dict(series or {}))
        counts: dict[str, list[int]] = {}

        def check(slug: str, rows: pa.Table) -> None:
            self._import_source(rows, source, origin)
            instruments.slug(slug)
            if on_error == "raise":
                table.prepare(rows, order)

        def put(slug: str, rows: pa.Table) -> None:
            commit = self.upsert(
                dataset,
                slug,
                rows,
                source=self._import_source(rows, source, origin),
                series=series,
                request=f"import of {origin}",
                on_error=on_error,
            )
            found = counts.setdefault(commit.instrument, [0] * len(COUNTS))
            for at, name in enumerate(COUNTS):
                found[at] += getattr(commit, name)

        for work, words in ((check, "checked"), (put, "written")):
            raw = _chunks(data, path, table.dataset, columns)
            with closing(importer.shown(raw, words, on=progress)) as chunks:
                for first, chunk in chunks:
                    with importer.counted_from(first):
                        rows = _timed(chunk, table.dataset, zone)
                        for slug, part in _each(rows, table.dataset, instrument):
                            work(slug, part)
        if not counts:
            raise InvalidRowsError(dataset, [("there are no rows", 0, "nothing but a head")])
        done = [(dataset, slug, *found) for slug, found in sorted(counts.items())]
        return pd.DataFrame(done, columns=list(COLUMNS)).astype(COLUMNS)

    def _import_source(self, rows: pa.Table, source: str | None, origin: str) -> str:
        """Return where rows come from, with the word that tells simulated ones from real ones."""
        if source is not None or "source" not in rows.column_names:
            return source or ("SIM:" if self.kind == "sim" else "") + origin
        told = {
            str(one or "").upper().startswith("SIM") for one in rows["source"].unique().to_pylist()
        }
        if len(told) > 1:
            raise ProfileMixError(
                "some of these rows are simulated, by their column 'source', and some are not.\n"
                "Hint: import them one after the other, each into a store of its own."
            )
        return ("SIM:" if told == {True} else "") + origin


def _chunks(
    data: Any, path: Path | None, dataset: Dataset, columns: Mapping[str, str] | None
) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows under our names, with the number of the first one of each chunk."""
    first = 0
    for raw in _raw(data, path, dataset, columns):
        names = _names(raw.column_names, dataset, columns)
        yield first, raw.select(list(names)).rename_columns(list(names.values()))
        first += raw.num_rows


def _raw(
    data: Any, path: Path | None, dataset: Dataset, columns: Mapping[str, str] | None
) -> Iterator[pa.Table]:
    if path is None:
        yield data if isinstance(data, pa.Table) else pa.Table.from_pandas(importer.flat(data))
        return
    try:
        with disk.access(path, "the file to import"):
            yield from _read(path, dataset, columns)
    except pa.ArrowInvalid as error:
        raise StoreAccessError(path, f"its rows cannot be read: {error}") from error


def _read(path: Path, dataset: Dataset, columns: Mapping[str, str] | None) -> Iterator[pa.Table]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(importer.CHUNK):
                yield pa.Table.from_batches([batch])
    elif path.suffix in (".arrow", ".feather"):
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
            for at in range(0, table.num_rows, importer.CHUNK):
                yield table.slice(at, importer.CHUNK)
    else:
        # texts stay texts: an id of 0042 is no number; a quoted nothing is an empty text
        options = pcsv.ConvertOptions(
            column_types=_types(dataset, columns),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        size = pcsv.ReadOptions(block_size=BLOCK)
        with pcsv.open_csv(path, read_options=size, convert_options=options) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])


def _types(dataset: Dataset, columns: Mapping[str, str] | None) -> dict[str, pa.DataType]:
    """Return how to read the columns of a CSV file; times are read as texts, by us."""
    kinds = {dataset.partition: pa.string()}
    for field in files.schema(dataset):
        kinds[field.name] = pa.string() if pa.types.is_timestamp(field.type) else field.type
    if columns is not None:
        return {theirs: kinds[ours] for theirs, ours in columns.items() if ours in kinds}
    return {
        name: kind for ours, kind in kinds.items() for name in {ours, ours.upper(), ours.title()}
    }


def _names(there: list[str], dataset: Dataset, columns: Mapping[str, str] | None) -> dict[str, str]:
    known = [dataset.partition, *(name for name in dataset.names if name != "commit_id")]
    if columns is None:
        lower = {name.lower(): name for name in there}
        found = {lower[name]: name for name in known if name in lower}
    else:
        found = importer.checked_map(columns, there, known, dataset.name)
    if "ts" not in found.values():
        words = f"say with columns= which of {', '.join(there)} it is"
        raise InvalidRowsError(dataset.name, [("no column for 'ts'", 0, words)])
    return found


def _timed(rows: pa.Table, dataset: Dataset, zone: str | None) -> pa.Table:
    """Return the rows with instants where the dataset has them."""
    for field in files.schema(dataset):
        if not pa.types.is_timestamp(field.type) or field.name not in rows.column_names:
            continue
        at, found = rows.schema.get_field_index(field.name), rows[field.name]
        if pa.types.is_timestamp(found.type) and found.type.tz is not None:
            continue
        texts = found.to_pandas()
        times = pd.Series(pd.NaT, index=texts.index, dtype="datetime64[us, UTC]")
        if texts.notna().any():
            times = importer.times(texts[texts.notna()], zone).reindex(texts.index)
        rows = rows.set_column(at, field, pa.Array.from_pandas(times, type=field.type))
    return rows


def _each(rows: pa.Table, dataset: Dataset, instrument: Any) -> Iterable[tuple[Any, pa.Table]]:
    """Yield each instrument with its rows."""
    head = dataset.partition
    if instrument is not None:
        yield instrument, rows.drop_columns([head]) if head in rows.column_names else rows
        return
    if head not in rows.column_names:
        words = f"name the instrument, or say with columns= which column is {head!r}"
        raise InvalidRowsError(dataset.name, [(f"no column {head!r}", rows.num_rows, words)])
    labels, rest = rows[head], rows.drop_columns([head])
    for name in labels.unique().to_pylist():
        if name is None:
            missing = rest.filter(pc.is_null(labels)).num_rows
            raise InvalidRowsError(dataset.name, [(f"column {head}", missing, "says nothing")])
        yield name, rest.filter(pc.equal(labels, name))
