"""Write every file of a dataset anew, with the rows it has, under the present key.

Each file takes its place in one step; a kill leaves some done and some not, and all readable; what
is done is passed over when it goes on. Not here: segments of streams, which are sealed first.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ibkit import clock
from ibkit.errors import MissingKeyError, StoreError, TamperedFileError
from ibkit.store import author, disk, files, layout, merge, quarantine, verify
from ibkit.store.crypto import ENCRYPTED
from ibkit.store.journal import Commit, FileChange, micros
from ibkit.store.table import VERSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from ibkit.store.journal import Operation
    from ibkit.store.table import Table


def rewrite(table: Table, slug: str, operation: Operation, key: str) -> Commit | None:
    """Rewrite the files of one instrument, the kept ones too; None if none was left to do."""
    table.seal(slug)
    return table.exclusively(slug, partial(_rewrite, table, slug, operation, key))


def _rewrite(table: Table, slug: str, operation: Operation, key: str) -> Commit | None:
    newest, changes = 0, []
    written = verify.last_written(table, slug)
    for code in sorted({*table.stored(slug), *table.written(slug)}):
        label = layout.label(code, table.dataset.grain)
        for path in table.door.medium.below(table.kept(slug, code)):
            _one(table, slug, path, label, key)
        done = _one(table, slug, table.part(slug, code), label, key)
        # one that a killed run had rewritten is in no journal yet
        if done is not None and not (
            label in written and written[label][1].sha256 == done[1].sha256
        ):
            newest = max(newest, done[0])
            changes.append(done[1])
    if not changes:
        return None
    known = [commit.commit_id for commit in table.log(slug)[-1:]]
    commit = Commit(
        commit_id=max(micros(clock.now()), *(one + 1 for one in [*known, newest])),
        dataset=table.dataset.name,
        instrument=slug,
        operation=operation,
        source="ibkit",
        request=key,
        files=tuple(changes),
        versions=VERSIONS,
        who=author.who(),
    )
    table.note(commit)
    return commit


def _one(
    table: Table, slug: str, path: Path, label: str, key: str
) -> tuple[int, FileChange] | None:
    """Rewrite one file unless the key is its own; return its commit's id, and what it is now."""
    medium = table.door.medium
    content = medium.read(path, "a data file")
    footer = files.read_footer(path, table.dataset, door=table.door)
    if footer is None or content is None:
        return None
    if not _is_under(content, key):
        rows = files.read(path, table.dataset, door=table.door)
        assert rows is not None  # nobody removes it while we hold the lock
        content = files.encode(
            rows,
            table.dataset,
            merge.run_starts(rows, table.dataset.series),
            footer.commit_id,
            footer.altered,
            keys=table.door.writing(),
            place=f"{slug}/{label}",
        )
        medium.replace(path, content, tmp=table.tmp)
    change = FileChange(label, footer.rows, len(content), verify.sha256(content))
    return footer.commit_id, change


def _is_under(content: bytes, key: str) -> bool:
    """Whether a Parquet file says that this is its master key; it says so in the plain."""
    return content.startswith(ENCRYPTED) and f'"{key}"'.encode() in content


# --- what was set aside --------------------------------------------------------------------------


def rewrite_aside(table: Table, key: str) -> None:
    """Encrypt the rows and files in quarantine."""
    medium = table.door.medium
    for path in medium.below(table.quarantine):
        work = _rows_aside if path.parent.parent.name == quarantine.ROWS else _file_aside
        lock = table.tmp.parent / "lock" / "quarantine"
        medium.exclusively(lock, 30.0, partial(work, table, path, key))


def _rows_aside(table: Table, path: Path, key: str) -> None:
    content = table.door.medium.read(path, "rows set aside")
    if content is None or _is_under(content, key):
        return
    with files.opened(path, table.door) as file:
        rows = file.read().replace_schema_metadata(file.schema_arrow.metadata)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, encryption_properties=table.door.writing()) as writer:
        writer.write_table(rows)
    table.door.medium.replace(path, sink.getvalue().to_pybytes(), tmp=table.tmp)


def _file_aside(table: Table, path: Path, key: str) -> None:  # noqa: ARG001 - as _rows_aside
    """Wrap a file that nobody reads any more; `Seal.unwrap` gives its bytes back."""
    medium, seal = table.door.medium, table.door.seal
    content = medium.read(path, "a file set aside") or b""
    if content.startswith(ENCRYPTED):
        try:
            content = seal.unwrap(content)
        except (TamperedFileError, MissingKeyError):
            return  # a damaged file of the dataset, encrypted as it was written
    medium.replace(path, seal.wrap(content), tmp=table.tmp)


# --- what was left behind ------------------------------------------------------------------------


def forget_unfinished(table: Table) -> None:
    """Remove what dead processes left half written or linked, whatever its age.

    Raises
    ------
    StoreError
        A living one still has a query open on the files as they were.
    """
    for left in sorted(table.tmp.iterdir()) if table.tmp.is_dir() else ():
        process = left.name.partition("-")[0]
        if disk.alive(int(process)) if process.isdigit() else True:
            if left.is_dir():
                raise StoreError(
                    f"process {process} has a query open on {table.dataset.name} that reads the "
                    "files as they were.\nHint: del the relation of store.sql, or end that "
                    "process, and call the same again; nothing is lost meanwhile."
                )
            continue
        with suppress(FileNotFoundError):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
