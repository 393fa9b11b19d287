"""The engine under every dataset: read, merge, write, journal, under one lock per instrument.

The order of a write is the promise: lock; read the old file; merge; write and sync a new one
outside the tree; link the old one into the history; replace; sync the folder; append and sync one
journal line; answer. A kill at any point leaves whole files, and what was answered stays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibkit import __version__, clock
from ibkit.store import disk, files, intake, layout, merge, spans
from ibkit.store.check import check_rows
from ibkit.store.journal import Commit, FileChange, Journals, micros, moment
from ibkit.store.locks import exclusive
from ibkit.store.merge import Merged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ibkit.schema import Dataset
    from ibkit.store.spans import Span

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Operation = Literal["upsert", "replace_range", "confirm_empty"]

LOCK_TIMEOUT_S: Final = 30.0
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


class Table:
    """All instruments of one dataset, in one store."""

    def __init__(self, dataset: Dataset, paths: layout.Layout, journals: Journals) -> None:
        self.dataset, self._paths, self._journals = dataset, paths, journals
        self._swept = False

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
        constants = {
            **order.series,
            "source": order.source,
            "con_id": order.con_id,
            "delayed": False,
        }
        self._check_series(order)
        table = intake.to_table(data, self.dataset, constants)
        check_rows(table, self.dataset)
        if (
            order.operation == "replace_range"
            and not _inside(table, order.series, order.span).all()
        ):
            raise ValueError("rows lie outside of the range, or the series, that they replace")
        return merge.in_order(table, self.dataset)

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
        self._sweep_once()
        with exclusive(self._paths.lock(self.dataset, slug), LOCK_TIMEOUT_S):
            return self._commit(slug, rows, order)

    def _commit(self, slug: str, table: pa.Table, order: Write) -> Commit:
        log = self.log(slug)
        parts = self._by_period(slug, table, order)
        before = {code: files.read_footer(self.part(slug, code), self.dataset) for code, _ in parts}
        latest = max(
            [0, *(commit.commit_id for commit in log[-1:])]
            + [footer.commit_id for footer in before.values() if footer]
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
        )
        for code, part in parts:
            stamped = _stamped(part, commit.commit_id)
            commit = self._write_period(code, stamped, commit, before[code])
        if not commit.files and not self._says_more(slug, order):
            return replace(commit, commit_id=0, operation="none")
        self._journals.append(self._paths.journal(self.dataset, slug), commit)
        return commit

    def _says_more(self, slug: str, order: Write) -> bool:
        """Whether the span is not answered for already."""
        if order.span is None:
            return False
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

    def _write_period(
        self, code: int, part: pa.Table, commit: Commit, before: files.Footer | None
    ) -> Commit:
        """Return `commit` with what became of one period, whose file said `before`."""
        merged = self._merged(
            files.read(self.part(commit.instrument, code), self.dataset), part, commit
        )
        if merged.table is not None:
            change = self._replace_file(
                code, merged.table, commit, before, additive=merged.additive
            )
        elif before is not None and not self._journaled(commit.instrument, before.commit_id):
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

    def _replace_file(
        self,
        code: int,
        table: pa.Table,
        commit: Commit,
        before: files.Footer | None,
        *,
        additive: bool,
    ) -> FileChange:
        """Put the merged rows in place; the old file is kept if rows of it would be lost."""
        label = layout.label(code, self.dataset.grain)
        starts = merge.run_starts(table, self.dataset.series)
        altered = (before.altered if before else 0) if additive else commit.commit_id
        content = files.encode(table, self.dataset, starts, commit.commit_id, altered)
        kept = None if before is None or additive else before.commit_id
        keep = kept and self._paths.history(self.dataset, commit.instrument, label, kept)
        disk.replace(
            self.part(commit.instrument, code),
            content,
            tmp=self._paths.tmp(self.dataset),
            keep=keep or None,
        )
        digest = hashlib.sha256(content).hexdigest()
        return FileChange(label, table.num_rows, len(content), digest, kept)

    def _journaled(self, slug: str, commit_id: int) -> bool:
        return any(commit.commit_id == commit_id for commit in reversed(self.log(slug)))

    def _adopted(self, code: int, commit: Commit, found: files.Footer) -> FileChange:
        """Return the entry of a file whose writer was killed before its journal line."""
        content = disk.read(self.part(commit.instrument, code), "a data file") or b""
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
            disk.sweep(self._paths.tmp(self.dataset))
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
        """Return the rows of ``[start, end)``, in microseconds; `columns` include ``ts``."""
        parts = []
        for code in self.periods(slug, start, end):
            part = files.read(self.part(slug, code), self.dataset, columns, series)
            if part is not None:
                parts.append(_cut(part, start, end, ordered=series is not None))
        return pa.concat_tables(parts) if parts else files.empty(self.dataset, columns)

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
        names = disk.names(folder, "the folder of an instrument")
        found = [layout.code(name, self.dataset.grain) for name in names]
        return sorted(code for code in found if code is not None)

    def slugs(self) -> list[str]:
        """Return the instruments that have rows or answers, in order."""
        head = f"{self.dataset.partition}="
        rows = disk.names(self.folder, "the folder of a dataset")
        logs = disk.names(self._paths.journals(self.dataset), "the folder of journals")
        names = {name.removeprefix(head) for name in rows if name.startswith(head)}
        names |= {name.removesuffix(".jsonl") for name in logs if name.endswith(".jsonl")}
        return sorted(filter(layout.is_slug, names))

    def has(self, slug: str) -> bool:
        """Whether there are rows or answers of an instrument."""
        return (
            self._paths.folder(self.dataset, slug).is_dir()
            or self._paths.journal(self.dataset, slug).is_file()
        )

    def log(self, slug: str) -> tuple[Commit, ...]:
        """Return the commits of an instrument, oldest first."""
        return self._journals.read(self._paths.journal(self.dataset, slug))

    def answered(self, slug: str, series: Mapping[str, Any], start: int, end: int) -> list[Span]:
        """Return the spans of one series that need not be asked for, as far as they are wanted.

        What the journal claims for a period whose file somebody removed does not count.
        """
        log = self.log(slug)
        claimed = [span for commit in log if commit.series == series and (span := commit.covers())]
        lost = [
            layout.bounds(code, self.dataset.grain)
            for code in self.written(slug)
            if _touches(layout.bounds(code, self.dataset.grain), start, end)
            and not self.part(slug, code).is_file()
        ]
        return spans.minus(claimed, lost)

    def sources(self, slug: str, series: Mapping[str, Any]) -> list[str]:
        """Return where the rows and answers of a series came from; none: it is unknown."""
        log = self.log(slug)
        return sorted({commit.source for commit in log if commit.series in (series, {})})

    def written(self, slug: str) -> set[int]:
        """Return the numbers of the periods that the journal knows a file of."""
        labels = {change.period for commit in self.log(slug) for change in commit.files}
        if self.dataset.grain == "all":
            return {0} if labels else set()
        found = [layout.code(label, self.dataset.grain) for label in labels]
        return {code for code in found if code is not None}


def _where(table: pa.Table, codes: Ints, code: int) -> pa.Table:
    """Return the rows of one period; a slice if, as usual, they lie together."""
    rows = np.flatnonzero(codes == code)
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return table.slice(rows[0], len(rows))
    return table.take(rows)


def _stamped(table: pa.Table, commit_id: int) -> pa.Table:
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


def _cut(part: pa.Table, start: int | None, end: int | None, *, ordered: bool) -> pa.Table:
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
