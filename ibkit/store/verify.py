"""Read every file back and say what is wrong: unreadable, unsorted, doubled, not what was written.

Nothing is repaired here.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ibkit.errors import CorruptFileError, InvalidRowsError
from ibkit.store import files, layout, merge
from ibkit.store.check import check_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ibkit.store.journal import FileChange
    from ibkit.store.table import Table

    Last = tuple[int, FileChange] | None  # what the journal says of a file, and in which commit


STRANGE: Final = "it is none of ours; other readers would read it too"


def frame(tables: Sequence[Table]) -> pd.DataFrame:
    """Return one row a problem: ``dataset instrument file problem``."""
    rows = [
        (table.dataset.name, slug, table.door.medium.show(path), problem)
        for table in tables
        for slug in table.slugs()
        for path, problem in _problems(table, slug)
    ]
    rows += [
        (table.dataset.name, "", table.door.medium.show(path), STRANGE)
        for table in tables
        for path in strangers(table)
    ]
    rows += [
        (table.dataset.name, "", str(path), problem)
        for table in tables
        for path, problem in segment_problems(table)
    ]
    return pd.DataFrame(rows, columns=["dataset", "instrument", "file", "problem"], dtype="str")


def strangers(table: Table) -> list[Path]:
    """Return the files inside the dataset's folder that no write put there."""
    found = table.door.medium.below(table.folder)  # first: what a writer adds meanwhile is ours
    ours = {table.part(slug, code) for slug in table.slugs() for code in table.stored(slug)}
    return [path for path in found if path not in ours]


def _problems(table: Table, slug: str) -> Iterator[tuple[Path, str]]:
    written = last_written(table, slug)
    for code in sorted({*table.stored(slug), *table.written(slug)}):
        label = layout.label(code, table.dataset.grain)
        path = table.part(slug, code)
        for problem in _settled(table, slug, code, written.get(label)):
            yield path, problem


def _settled(table: Table, slug: str, code: int, last: Last) -> list[str]:
    """Return what is wrong with a file, seen while no writer was at it."""
    problems, known = list(file_problems(table, slug, code, last)), None
    while problems and (state := _state(table, slug, code)) != known:
        known = state
        problems = list(file_problems(table, slug, code, known[0]))
    return problems


def _state(table: Table, slug: str, code: int) -> tuple[Last, int]:
    """Return what is another one as soon as a writer was at a file."""
    commit_id = 0
    with suppress(CorruptFileError):
        footer = files.read_footer(table.part(slug, code), table.dataset, door=table.door)
        commit_id = footer.commit_id if footer else 0
    return last_written(table, slug).get(layout.label(code, table.dataset.grain)), commit_id


def last_written(table: Table, slug: str) -> dict[str, tuple[int, FileChange]]:
    """Return what the journal says last of each period, and in which commit."""
    return {
        change.period: (commit.commit_id, change)
        for commit in table.log(slug)
        for change in commit.files
    }


def segment_problems(table: Table) -> Iterator[tuple[Path, str]]:
    """Yield the write-ahead segments that have damage before their last frame."""
    for segment in table.wal.all():
        if segment.damaged:
            yield segment.path, f"{len(segment.damaged)} frames of it are damaged"


def file_problems(table: Table, slug: str, code: int, last: Last) -> Iterator[str]:
    """Yield what is wrong with the file of a period, of which the journal said `last`."""
    path = table.part(slug, code)
    try:
        footer = files.read_footer(path, table.dataset, door=table.door)
        rows = files.read(path, table.dataset, door=table.door)
    except CorruptFileError as error:
        yield error.reason
        return
    if footer is None or rows is None:
        if last is not None and last[1].bytes:  # a repair strikes files off with no bytes
            yield f"it is gone; the journal knows {last[1].rows} rows"
        return
    # a file newer than the journal's last word was put there by a writer that was killed since
    if last and footer.commit_id <= last[0] and _digest(table, path) != last[1].sha256:
        yield "its bytes are not those that were written"
    if rows.num_rows != footer.rows:
        yield f"{rows.num_rows} rows, its footer says {footer.rows}"
    yield from row_problems(table, rows, code)


def row_problems(table: Table, rows: Any, code: int) -> Iterator[str]:
    """Yield what is wrong with the rows of a period's file."""
    keys = merge.key_numbers(rows, table.dataset.key)
    order = np.lexsort(keys[::-1])
    if (order != np.arange(len(order))).any():
        yield "its rows are not in the order of the key"
    if merge.same_as_next([key[order] for key in keys]).any():
        yield "a key is in it twice"
    codes = layout.codes(files.microseconds(rows["ts"]), table.dataset.grain)
    if (codes != code).any():
        yield f"{int((codes != code).sum())} rows belong to another period"
    try:
        check_rows(rows, table.dataset)
    except InvalidRowsError as error:
        yield "; ".join(f"{check}: {n} rows" for check, n, _ in error.failures)


def _digest(table: Table, path: Path) -> str:
    return sha256(table.door.medium.read(path, "a data file") or b"")


def sha256(content: bytes) -> str:
    """Return the checksum by which the journal remembers a file."""
    return hashlib.sha256(content).hexdigest()
