"""What was: reads as of an instant, the feed of changes, and how much of the past is kept.

Rests on three facts: a row carries the id of the commit that brought it, a file that loses rows
is kept under a second name, and a footer says when its file last lost some. Not here: the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ibkit.errors import PrunedError
from ibkit.store import files, frames, layout, merge
from ibkit.store.journal import micros, moment
from ibkit.store.table import cut, sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from ibkit.store.journal import Commit
    from ibkit.store.table import Table

Cursor = dict[str, int]  # the last commit that was seen of each journal


def instant(as_of: datetime | int) -> int:
    """Return an instant, or a commit's id, as microseconds since 1970.

    Raises
    ------
    ValueError
        It has no zone.
    """
    number: Any = as_of
    # one out of a frame is numpy's own
    return int(number) if isinstance(number, Integral) else micros(number)


# --- reading the past ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """One file of a period, current or kept."""

    path: Path
    commit_id: int
    altered: int


def read(
    table: Table,
    slug: str,
    at: int,
    span: tuple[int | None, int | None],
    *,
    columns: Sequence[str],
    series: tuple[Any, ...] | None,
) -> pa.Table:
    """Return the rows of `span` as every reader saw them at instant `at`.

    Of a stream, rows that were replaced before they were compacted are found as long as its
    segments are kept.

    Raises
    ------
    PrunedError
        A file of that time is not kept any more.
    """
    start, end = span
    segments = table.wal.segments(slug)  # before the journal: what is sealed meanwhile it knows
    log = table.log(slug)
    streamed = any(commit.sealed and commit.commit_id > at for commit in log)
    marks = sealed([commit for commit in log if commit.commit_id <= at])
    tail = table.wal.tail(slug, segments, marks, until=at)
    parts = []
    for code, new in table.parts(slug, start, end, tail, series):
        rows = _part(table, slug, code, at, series=series, streamed=streamed)
        if new is not None:
            rows = _laid(rows, new, table)
        if rows is not None:
            parts.append(cut(rows.select(columns), start, end, ordered=series is not None))
    return pa.concat_tables(parts) if parts else files.empty(table.dataset, columns)


def _part(
    table: Table, slug: str, code: int, at: int, *, series: tuple[Any, ...] | None, streamed: bool
) -> pa.Table | None:
    """Return one period's rows of then, all columns; None: there were none.

    A path is another file as soon as a writer was there, so what was read by paths is believed
    if they led to the same files all the time.
    """
    kept = versions(table, slug, code)
    while True:
        found, pruned = None, None
        try:
            found = _made_of(kept, table, slug, code, at, series=series, streamed=streamed)
        except PrunedError as error:
            pruned = error
        before, kept = kept, versions(table, slug, code)
        if kept == before:
            if pruned is not None:
                raise pruned
            return found


def _made_of(
    kept: Sequence[Version],
    table: Table,
    slug: str,
    code: int,
    at: int,
    *,
    series: tuple[Any, ...] | None,
    streamed: bool,
) -> pa.Table | None:
    """Return one period's rows of then, out of its versions."""
    base = _base(table, slug, code, at, kept)
    found = None if base is None else _rows(table, base, at, series)
    if streamed:  # rows that were in a segment then came into the files later
        for later in (one for one in kept if base is None or one.commit_id > base.commit_id):
            found = _laid(found, _rows(table, later, at, series), table)
    return found


def _rows(
    table: Table, version: Version, at: int, series: tuple[Any, ...] | None
) -> pa.Table | None:
    rows = files.read(version.path, table.dataset, None, series, door=table.door)
    return None if rows is None else _until(rows, at)


def _until(rows: pa.Table, at: int) -> pa.Table:
    late = pc.greater(rows["commit_id"], at)
    return rows.filter(pc.invert(pc.fill_null(late, fill_value=False)))


def _laid(old: pa.Table | None, new: pa.Table | None, table: Table) -> pa.Table | None:
    if old is None or new is None:
        return new if old is None else old
    merged = merge.upsert(old, new, table.dataset).table
    return old if merged is None else merged


def versions(table: Table, slug: str, code: int) -> list[Version]:
    """Return the readable files of a period, oldest first; the last one is current."""
    current = table.part(slug, code)
    folder = table.kept(slug, code)
    names = table.door.medium.names(folder, "the kept files of a period")
    paths = [folder / name for name in names if name.endswith(".parquet")]
    found = []
    for path in [*paths, current]:
        footer = files.read_footer(path, table.dataset, door=table.door)
        if footer is not None:
            found.append(Version(path, footer.commit_id, footer.altered))
    unique = {version.commit_id: version for version in found}
    return [unique[commit_id] for commit_id in sorted(unique)]


def _base(table: Table, slug: str, code: int, at: int, kept: Sequence[Version]) -> Version | None:
    """Return the file that holds what was there at `at`, among later rows; None: nothing was."""
    label = layout.label(code, table.dataset.grain)
    touching = [
        (commit.commit_id, change.kept)
        for commit in table.log(slug)
        for change in commit.files
        if change.period == label
    ]
    alterations = {version.altered for version in kept}
    alterations |= {commit_id for commit_id, replaced in touching if replaced is not None}
    last = max((one for one in alterations if one <= at), default=0)
    fitting = [version for version in kept if last <= version.altered <= at]
    if fitting:
        return fitting[-1]
    if any(commit_id <= at for commit_id, _ in touching):
        raise PrunedError(slug, moment(at), _since(kept))
    return None


def _since(kept: Sequence[Version]) -> datetime | None:
    """Return from when on the past of a period can be read."""
    return moment(kept[0].altered or kept[0].commit_id) if kept else None


# --- the feed ------------------------------------------------------------------------------------


def changes(
    tables: Iterable[Table],
    since: datetime | int | Mapping[str, int] | None,
    slug: str | None = None,
) -> pd.DataFrame:
    """Return the commits after `since`, oldest first, and in ``attrs`` a cursor for the next time.

    A cursor counts by journal: it misses no commit that got its id early and its line late.
    """
    cursor: Cursor = {}
    found: list[Commit] = []
    for table in tables:
        for name in [slug] if slug is not None else table.slugs():
            key, log = f"{table.dataset.name}/{name}", table.log(name)
            after = _after(since, key)
            found += [commit for commit in log if commit.commit_id > after]
            cursor[key] = log[-1].commit_id if log else after
    found.sort(key=lambda commit: commit.commit_id)
    frame = frames.log_frame(tuple(found))
    for at, name in enumerate(("dataset", "instrument")):
        frame.insert(min(at, frame.shape[1]), name, [getattr(commit, name) for commit in found])
    frame["periods"] = [[change.period for change in commit.files] for commit in found]
    frame.attrs["cursor"] = cursor
    return frame


def _after(since: Any, key: str) -> int:
    if since is None:
        return 0
    if hasattr(since, "keys"):
        return int(since.get(key, 0))
    return instant(since)


# --- how much is kept ----------------------------------------------------------------------------

PRUNED: Final = {
    "dataset": "str",
    "instrument": "str",
    "period": "str",
    "commit_id": "int64",
    "bytes": "int64",
}


def prune(
    tables: Iterable[Table], *, now: datetime, older_than: timedelta, keep: int
) -> pd.DataFrame:
    """Remove kept files that were replaced before `now` - `older_than`, but the last `keep`.

    Returns
    -------
    DataFrame
        One row a removed file: ``dataset instrument period commit_id bytes``. A hard link that
        is the last name of its bytes frees them.
    """
    limit = micros(now - older_than)
    rows = [
        (table.dataset.name, slug, layout.label(code, table.dataset.grain), commit_id, size)
        for table in tables
        for slug in table.slugs()
        for code in sorted({*table.stored(slug), *table.written(slug)})
        for commit_id, size in _prune_period(table, slug, code, limit, keep)
    ]
    return pd.DataFrame(rows, columns=list(PRUNED)).astype(PRUNED)


def _prune_period(
    table: Table, slug: str, code: int, limit: int, keep: int
) -> Iterable[tuple[int, int]]:
    medium, folder = table.door.medium, table.kept(slug, code)
    names = medium.names(folder, "the kept files of a period")
    ids = sorted(int(name.removesuffix(".parquet")) for name in names)
    replaced = {
        change.kept: commit.commit_id
        for commit in table.log(slug)
        for change in commit.files
        if change.kept is not None
    }
    for commit_id in ids[: max(0, len(ids) - keep)]:
        if replaced.get(commit_id, commit_id) >= limit:
            break  # oldest first: the past is cut off at one instant, it gets no holes
        path = folder / f"{commit_id}.parquet"
        yield commit_id, medium.size(path)
        medium.remove(path)
