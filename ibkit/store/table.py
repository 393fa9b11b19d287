"""The engine under every dataset: read, merge, write, journal, under one lock per instrument.

The order of a write is the promise: lock; read the old file; merge; write and sync a new one
outside the tree; link the old one into the history; replace; sync the folder; append and sync one
journal line; answer. A kill at any point leaves whole files, and what was answered stays.
"""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibkit import __version__, clock
from ibkit.errors import StoreError
from ibkit.store import adjusted, files, intake, layout, merge, spans
from ibkit.store.author import range_of, who
from ibkit.store.check import check_rows
from ibkit.store.disk import Put
from ibkit.store.journal import Commit, FileChange, Journals, micros, moment
from ibkit.store.medium import PLAIN, replace_all
from ibkit.store.merge import Merged
from ibkit.store.wal import Marks, Tail, Wal
from ibkit.timing import STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ibkit.schema import Dataset
    from ibkit.store.cache import Cache, Loan
    from ibkit.store.digest import Digest
    from ibkit.store.medium import Door
    from ibkit.store.spans import Span

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Operation = Literal["upsert", "replace_range", "confirm_empty", "seal"]

T = TypeVar("T")

LOCK_TIMEOUT_S: Final = 30.0
PATIENCE: Final = 5  # reads, where a stream is being sealed meanwhile
FEW: Final = 64  # periods that are rather tried than listed
VERSIONS: Final = {"ibkit": __version__, "pyarrow": pa.__version__}


@dataclass(frozen=True, slots=True)
class Write:
    """One write as it was asked for: what, where from, and what it answers for."""

    operation: Operation
    source: str
    request: str = ""
    series: Mapping[str, Any] = field(default_factory=dict)
    span: Span | None = None
    con_id: int | None = None
    sealed: Marks = field(default_factory=dict)
    set_aside: int = 0  # rows that went to quarantine


class Table:
    """All instruments of one dataset, in one store."""

    def __init__(
        self, dataset: Dataset, paths: layout.Layout, journals: Journals, door: Door = PLAIN
    ) -> None:
        self.dataset, self._paths, self._journals = dataset, paths, journals
        self.door = door
        self.cache: Cache | None = None
        self.wal = Wal(paths.wal(dataset), dataset, local=door.medium.local)
        self.at: int | None = None  # an instant of the past: then nothing is written
        self._swept = False

    def as_of(self, at: int) -> Table:
        """Return the same table as it was at an instant, for reading only."""
        then = copy(self)
        then.at = at
        return then

    # --- writing ---------------------------------------------------------------------------------

    def prepare(self, data: Any, order: Write) -> pa.Table:
        """Return `data` in this schema, checked, sorted and unique; nothing is written.

        Raises
        ------
        InvalidRowsError
            Some rows cannot be true.
        ValueError
            Rows of a `replace_range` lie outside of its span.
        """
        return self.arranged(self.checked(data, order), order)

    def arranged(self, table: pa.Table, order: Write) -> pa.Table:
        """Return checked rows sorted and unique."""
        if (
            order.operation == "replace_range"
            and not _inside(table, order.series, order.span).all()
        ):
            raise ValueError("rows lie outside of the range, or the series, that they replace")
        return merge.in_order(table, self.dataset)

    def checked(self, data: Any, order: Write) -> pa.Table:
        """Return `data` in this schema, checked, in the order in which it came."""
        table = self.taken(data, order)
        check_rows(table, self.dataset)
        return table

    def taken(self, data: Any, order: Write) -> pa.Table:
        """Return `data` in this schema."""
        constants = {
            **order.series,
            "source": order.source,
            "con_id": order.con_id,
            "delayed": False,
        }
        self._check_series(order)
        rows = intake.to_table(data, self.dataset, constants)
        adjusted.refuse_rows(rows, order.series)
        return rows

    def _check_series(self, order: Write) -> None:
        names = self.dataset.series
        if order.span is not None and not set(names) <= set(order.series):
            words = ", ".join(f"{name!r}: …" for name in names)
            raise ValueError(
                f"a span of {self.dataset.name} speaks of one series; say series={{{words}}}"
            )

    def nothing(self) -> pa.Table:
        """Return no rows."""
        return files.schema(self.dataset).empty_table()

    def write(self, slug: str, rows: pa.Table, order: Write) -> Commit:
        """Bring prepared rows into the store as `order` says; see `Store.upsert`."""
        if self.at is not None:
            raise StoreError("this is the store as of the past; write to the store itself")
        edges = [moment(edge).isoformat() for edge in order.span] if order.span else None
        facts = {"rows": rows.num_rows, "span": edges, "source": order.source}
        self.door.tell_write(order.operation, self.dataset.name, slug, **facts)
        self._sweep_once()
        return self.exclusively(slug, lambda: self._write(slug, rows, order))

    def exclusively(self, slug: str, action: Callable[[], T]) -> T:
        """Run `action` as the only writer of an instrument; on a bucket perhaps more than once."""
        lock = self._paths.lock(self.dataset, slug)
        return self.door.medium.exclusively(lock, LOCK_TIMEOUT_S, action)

    def _write(self, slug: str, rows: pa.Table, order: Write) -> Commit:
        # else what a stream brought there before would come back: over rows that are removed, and
        # over rows that say what a file said already, for which nothing is written
        if order.operation == "replace_range" or _cross(rows, self.fresh(slug)):
            self._seal(slug)
        return self._commit(slug, rows, order)

    def seal(self, slug: str) -> Commit | None:
        """Bring what streams appended into the files; None if there is nothing."""
        self._sweep_once()
        return self.exclusively(slug, lambda: self._seal(slug))

    def _seal(self, slug: str) -> Commit | None:
        tail = self.fresh(slug)
        if tail is None:
            return None
        return self._commit(
            slug, tail.rows, Write("seal", tail.source, tail.request, sealed=tail.marks)
        )

    def fresh(self, slug: str) -> Tail | None:
        """Return the rows that streams appended and no file has yet; None: there are none."""
        segments = self.wal.segments(slug)
        return self.wal.tail(slug, segments, self.sealed(slug)) if segments else None

    @STORE.timing()
    def _commit(self, slug: str, table: pa.Table, order: Write) -> Commit:
        parts = self._by_period(slug, table, order)
        before = {
            code: files.read_footer(self.part(slug, code), self.dataset, door=self.door)
            for code, _ in parts
        }
        latest = max(
            [self.digest(slug).latest]
            + [footer.commit_id for footer in before.values() if footer]
            + [self.wal.latest(slug)]
        )
        commit = Commit(
            commit_id=max(micros(clock.now()), latest + 1),
            dataset=self.dataset.name,
            instrument=slug,
            operation=order.operation,
            series=dict(order.series),
            span=order.span and (moment(order.span[0]), moment(order.span[1])),
            rows_in=table.num_rows,
            source=order.source,
            request=order.request,
            versions=VERSIONS,
            sealed=dict(order.sealed),
            rows_set_aside=order.set_aside,
            range=range_of(table),
            who=who(),
        )
        puts: list[Put] = []
        for code, part in parts:
            rows = part if order.sealed else stamped(part, commit.commit_id)
            commit = self._merge_period(code, rows, commit, before[code], puts)
        replace_all(self.door.medium, puts, tmp=self.tmp)
        if not commit.files and not self._says_more(slug, order):
            return replace(commit, commit_id=0, operation="none")
        self._journals.append(self._paths.journal(self.dataset, slug), commit)
        return commit

    def _says_more(self, slug: str, order: Write) -> bool:
        """Whether there is news without rows: a span not answered for yet, a segment's end."""
        if order.span is None:
            return bool(order.sealed or order.set_aside)
        return bool(spans.minus([order.span], self.answered(slug, order.series, *order.span)))

    def _by_period(self, slug: str, table: pa.Table, order: Write) -> list[tuple[int, pa.Table]]:
        """Return each period that the write touches, with its rows, in the order of time."""
        codes = layout.codes(files.microseconds(table["ts"]), self.dataset.grain)
        touched = set(np.unique(codes).tolist())
        if order.operation == "replace_range" and order.span:
            touched |= set(self.periods(slug, *order.span))
        if len(touched) == 1:
            return [(code, table) for code in touched]
        return [(code, _where(table, codes, code)) for code in sorted(touched)]

    def _merge_period(
        self,
        code: int,
        part: pa.Table,
        commit: Commit,
        before: files.Footer | None,
        puts: list[Put],
    ) -> Commit:
        """Return `commit` with what becomes of one period by `puts`; its file said `before`."""
        merged = self._merged(
            files.read(self.part(commit.instrument, code), self.dataset, door=self.door),
            part,
            commit,
        )
        if merged.table is not None:
            additive = merged.additive
            put, change = self._put(code, merged.table, commit, before, additive=additive)
            puts.append(put)
        elif before is not None and not self._journaled(commit.instrument, code, before.commit_id):
            change = self._adopted(code, commit, before)
        else:
            return commit
        return replace(
            commit,
            rows_added=commit.rows_added + merged.added,
            rows_changed=commit.rows_changed + merged.changed,
            rows_removed=commit.rows_removed + merged.removed,
            files=(*commit.files, change),
        )

    def replace_file(
        self,
        code: int,
        table: pa.Table,
        commit: Commit,
        before: files.Footer | None,
        *,
        additive: bool,
    ) -> FileChange:
        """Put rows in place as the file of a period; see `_put`."""
        put, change = self._put(code, table, commit, before, additive=additive)
        replace_all(self.door.medium, [put], tmp=self.tmp)
        return change

    def _put(
        self,
        code: int,
        table: pa.Table,
        commit: Commit,
        before: files.Footer | None,
        *,
        additive: bool,
    ) -> tuple[Put, FileChange]:
        """Return merged rows as a file; the old one is kept if rows of it would be lost."""
        label = layout.label(code, self.dataset.grain)
        starts = merge.run_starts(table, self.dataset.series)
        altered = (before.altered if before else 0) if additive else commit.commit_id
        content = files.encode(
            table,
            self.dataset,
            starts,
            commit.commit_id,
            altered,
            keys=self.door.writing(),
            place=f"{commit.instrument}/{label}",
        )
        kept = None if before is None or additive else before.commit_id
        keep = kept and self._paths.history(self.dataset, commit.instrument, label, kept)
        put = Put(self.part(commit.instrument, code), content, keep or None)
        digest = hashlib.sha256(content).hexdigest()
        return put, FileChange(label, table.num_rows, len(content), digest, kept)

    def _journaled(self, slug: str, code: int, commit_id: int) -> bool:
        """Whether the commit that wrote the file of a period is in the journal."""
        label = layout.label(code, self.dataset.grain)
        if self.digest(slug).periods.get(label) == commit_id:
            return True
        return any(commit.commit_id == commit_id for commit in reversed(self.log(slug)))

    def _adopted(self, code: int, commit: Commit, found: files.Footer) -> FileChange:
        """Return the entry of a file whose writer was killed before its journal line."""
        content = self.door.medium.read(self.part(commit.instrument, code), "a data file") or b""
        digest = hashlib.sha256(content).hexdigest()
        label = layout.label(code, self.dataset.grain)
        return FileChange(label, found.rows, len(content), digest)

    def _merged(self, old: pa.Table | None, new: pa.Table, commit: Commit) -> Merged:
        if old is None:
            return Merged(new if new.num_rows else None, added=new.num_rows)
        if commit.operation == "replace_range":
            drop = _inside(old, commit.series, commit.covers())
            return merge.replace_range(old, new, self.dataset, drop)
        return merge.upsert(old, new, self.dataset)

    def _sweep_once(self) -> None:
        if not self._swept:
            self.door.medium.sweep(self._paths.tmp(self.dataset))
            self._swept = True

    # --- reading ---------------------------------------------------------------------------------

    def read(
        self,
        slug: str,
        start: int | None,
        end: int | None,
        *,
        columns: Sequence[str],
        series: tuple[Any, ...] | None = None,
    ) -> pa.Table:
        """Return the rows of ``[start, end)``, in microseconds; `columns` include ``ts``.

        The one place where rows come together: of files, of the cache of files, of streams.
        """
        facts = {"start": start, "end": end, "columns": [*columns], "series": series}
        self.door.tell_read("read", self.dataset.name, slug, **facts)
        if self.at is not None:
            from ibkit.store import lineage

            span = (start, end)
            return lineage.read(self, slug, self.at, span, columns=columns, series=series)
        for _ in range(PATIENCE):
            tail = self.fresh(slug)  # before the files: what is sealed meanwhile is in both
            loan = self._loan(slug, series, columns)
            parts = []
            for code, new in self.parts(slug, start, end, tail, series):
                part = self._read_part(slug, code, new, columns, series, loan)
                if part is not None:
                    parts.append(cut(part, start, end, ordered=series is not None))
            if tail is None or tail.since == self.sealed(slug):
                break
        if loan is not None and (whole := loan.whole()) is not None:
            return cut(whole, start, end, ordered=True)
        if loan is not None and start is None and end is None:
            loan.leave()
        return pa.concat_tables(parts) if parts else files.empty(self.dataset, columns)

    def _loan(
        self, slug: str, series: tuple[Any, ...] | None, columns: Sequence[str]
    ) -> Loan | None:
        """Return this read's dealings with the cache, which must not hold what is encrypted."""
        if self.cache is None or not self.door.medium.local or self.door.encrypted:
            return None
        return self.cache.loan(self.dataset, slug, series, columns)

    def parts(
        self,
        slug: str,
        start: int | None,
        end: int | None,
        tail: Tail | None,
        series: tuple[Any, ...] | None,
    ) -> list[tuple[int, pa.Table | None]]:
        """Return the periods to read, in order, each with the rows that are in no file yet."""
        periods = self.periods(slug, start, end)
        if tail is None:
            return [(code, None) for code in periods]
        rows = of_series(tail.rows, self.dataset, series)
        codes = layout.codes(files.microseconds(rows["ts"]), self.dataset.grain)
        new = {code: _where(rows, codes, code) for code in np.unique(codes).tolist()}
        touched = {
            code for code in new if _touches(layout.bounds(code, self.dataset.grain), start, end)
        }
        return [(code, new.get(code)) for code in sorted(touched.union(periods))]

    def note(self, commit: Commit) -> None:
        """Append to the journal of an instrument; for who holds its lock."""
        self._journals.append(self._paths.journal(self.dataset, commit.instrument), commit)

    @property
    def quarantine(self) -> Path:
        """Return the folder of rows and files that were set aside."""
        return self._paths.quarantine(self.dataset)

    @property
    def tmp(self) -> Path:
        """Return the folder of files that are being written."""
        return self._paths.tmp(self.dataset)

    def kept(self, slug: str, code: int) -> Path:
        """Return the folder of the files of a period that were replaced."""
        label = layout.label(code, self.dataset.grain)
        return self._paths.history(self.dataset, slug, label, 0).parent

    def _read_part(
        self,
        slug: str,
        code: int,
        new: pa.Table | None,
        columns: Sequence[str],
        series: tuple[Any, ...] | None,
        loan: Loan | None,
    ) -> pa.Table | None:
        """Return one file's rows, with those of streams laid over them."""
        path = self.part(slug, code)
        if new is None:

            def load() -> pa.Table | None:
                return files.read(path, self.dataset, columns, series, door=self.door)

            label = layout.label(code, self.dataset.grain)
            return load() if loan is None else loan.part(label, path, load)
        if loan is not None:
            loan.skip()
        old = files.read(path, self.dataset, None, series, door=self.door)
        if old is None:
            return new.select(columns)
        merged = merge.upsert(old, new, self.dataset).table
        return (old if merged is None else merged).select(columns)

    @property
    def folder(self) -> Path:
        """The dataset's own folder, which any Parquet reader may be pointed at."""
        return self._paths.data(self.dataset)

    def part(self, slug: str, code: int) -> Path:
        """Return the file of an instrument and period."""
        return self._paths.part(self.dataset, slug, layout.label(code, self.dataset.grain))

    def periods(self, slug: str, start: int | None, end: int | None) -> list[int]:
        """Return the numbers of the periods that may hold rows of ``[start, end)``, in order."""
        grain = self.dataset.grain
        if start is not None and end is not None and grain != "all":
            first, last = layout.codes(np.array([start, max(start, end - 1)]), grain).tolist()
            if last - first < FEW:
                return list(range(first, last + 1))
        return [
            code for code in self.stored(slug) if _touches(layout.bounds(code, grain), start, end)
        ]

    def stored(self, slug: str) -> list[int]:
        """Return the numbers of all periods of an instrument, in order."""
        if self.dataset.grain == "all":
            return [0]
        folder = self._paths.folder(self.dataset, slug)
        names = self.door.medium.names(folder, "the folder of an instrument")
        found = [layout.code(name, self.dataset.grain) for name in names]
        return sorted(code for code in found if code is not None)

    def slugs(self) -> list[str]:
        """Return the instruments that have rows or answers, in order."""
        head = f"{self.dataset.partition}="
        rows = self.door.medium.names(self.folder, "the folder of a dataset")
        logs = self.door.medium.names(self._paths.journals(self.dataset), "the folder of journals")
        names = {name.removeprefix(head) for name in rows if name.startswith(head)}
        names |= {name.removesuffix(".jsonl") for name in logs if name.endswith(".jsonl")}
        return sorted(filter(layout.is_slug, names | self.wal.slugs()))

    def has(self, slug: str) -> bool:
        """Whether there are rows or answers of an instrument."""
        return (
            self.door.medium.exists(self._paths.folder(self.dataset, slug))
            or self.door.medium.exists(self._paths.journal(self.dataset, slug))
            or slug in self.wal.slugs()
        )

    def log(self, slug: str) -> tuple[Commit, ...]:
        """Return the commits of an instrument, oldest first."""
        return self._journals.read(self._paths.journal(self.dataset, slug))

    def digest(self, slug: str) -> Digest:
        """Return what the journal of an instrument comes to; it costs less than `log`."""
        return self._journals.digest(self._paths.journal(self.dataset, slug))

    def sealed(self, slug: str) -> Marks:
        """Return how far each segment is sealed, by the word of the journal."""
        return dict(self.digest(slug).sealed)

    def answered(self, slug: str, series: Mapping[str, Any], start: int, end: int) -> list[Span]:
        """Return the spans of one series that need not be asked for, as far as they are wanted.

        What the journal claims for a period whose file somebody removed does not count.
        """
        claimed = self.digest(slug).spans(series)
        lost = [
            layout.bounds(code, self.dataset.grain)
            for code in self.written(slug)
            if _touches(layout.bounds(code, self.dataset.grain), start, end)
            and not self.door.medium.exists(self.part(slug, code))
        ]
        return spans.minus(claimed, lost)

    def sources(self, slug: str, series: Mapping[str, Any]) -> list[str]:
        """Return where the rows and answers of a series came from; none: it is unknown."""
        digest = self.digest(slug)
        return sorted(digest.sources(series) | digest.sources({}))

    def written(self, slug: str) -> set[int]:
        """Return the numbers of the periods that the journal knows a file of."""
        labels = self.digest(slug).periods
        if self.dataset.grain == "all":
            return {0} if labels else set()
        found = [layout.code(label, self.dataset.grain) for label in labels]
        return {code for code in found if code is not None}


def sealed(log: Sequence[Commit]) -> Marks:
    """Return how far each segment is sealed, by the word of the journal."""
    marks: Marks = {}
    for commit in log:
        if commit.sealed:
            marks.update(commit.sealed)
    return marks


def of_series(table: pa.Table, dataset: Dataset, series: tuple[Any, ...] | None) -> pa.Table:
    """Return the rows of one series; all where None is named."""
    if series is None:
        return table
    same = np.ones(table.num_rows, bool)
    for name, value in zip(dataset.series, series, strict=True):
        same &= pc.equal(table[name], value).to_numpy()
    return table if same.all() else table.filter(same)


def _cross(rows: pa.Table, tail: Tail | None) -> bool:
    """Whether rows and a tail of streams may have a key in common."""
    if tail is None or not rows.num_rows:
        return False
    new, old = (files.microseconds(one["ts"]) for one in (rows, tail.rows))
    return bool(new.min() <= old.max() and old.min() <= new.max())


def _where(table: pa.Table, codes: Ints, code: int) -> pa.Table:
    """Return the rows of one period; a slice if, as usual, they lie together."""
    rows = np.flatnonzero(codes == code)
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return table.slice(rows[0], len(rows))
    return table.take(rows)


def stamped(table: pa.Table, commit_id: int) -> pa.Table:
    """Return `table` with the commit that brings it in every row."""
    at = table.schema.get_field_index("commit_id")
    stamp = pa.repeat(pa.scalar(commit_id, pa.int64()), table.num_rows)
    return table.set_column(at, table.schema.field(at), stamp)


def _inside(
    table: pa.Table, series: Mapping[str, Any], span: Span | None
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows lie in a span of a series."""
    ts = files.microseconds(table["ts"])
    start, end = span or (0, 0)
    inside = (ts >= start) & (ts < end)
    for name, value in series.items():
        inside &= pc.equal(table[name], value).to_numpy()
    return np.asarray(inside)


def cut(part: pa.Table, start: int | None, end: int | None, *, ordered: bool) -> pa.Table:
    """Return the rows of ``[start, end)``."""
    if start is None and end is None:
        return part
    ts = files.microseconds(part["ts"])
    low = np.iinfo(np.int64).min if start is None else start
    high = np.iinfo(np.int64).max if end is None else end
    if not ordered:
        return part.filter((ts >= low) & (ts < high))
    first, after = np.searchsorted(ts, [low, high])
    return part.slice(int(first), max(0, int(after - first)))


def _touches(bounds: Span, start: int | None, end: int | None) -> bool:
    return (end is None or bounds[0] < end) and (start is None or bounds[1] > start)
