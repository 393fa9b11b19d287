"""Write every file of an instrument anew, with the rows it has, under the present key.

Each file takes its place in one step; a kill leaves some done and some not, and all readable.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ibkit import clock
from ibkit.store import author, files, layout, merge, verify
from ibkit.store.journal import Commit, FileChange, micros
from ibkit.store.table import VERSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from ibkit.store.journal import Operation
    from ibkit.store.table import Table


def rewrite(table: Table, slug: str, operation: Operation, key: str) -> Commit | None:
    """Rewrite the files of one instrument, the kept ones too; None if it has none."""
    table.seal(slug)
    return table.exclusively(slug, partial(_rewrite, table, slug, operation, key))


def _rewrite(table: Table, slug: str, operation: Operation, key: str) -> Commit | None:
    newest, changes = 0, []
    for code in sorted({*table.stored(slug), *table.written(slug)}):
        label = layout.label(code, table.dataset.grain)
        for path in table.door.medium.below(table.kept(slug, code)):
            _one(table, slug, path, label)
        done = _one(table, slug, table.part(slug, code), label)
        if done is not None:
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


def _one(table: Table, slug: str, path: Path, label: str) -> tuple[int, FileChange] | None:
    """Rewrite one file; return its commit's id, and what it is now."""
    footer = files.read_footer(path, table.dataset, door=table.door)
    rows = files.read(path, table.dataset, door=table.door)
    if footer is None or rows is None:
        return None
    content = files.encode(
        rows,
        table.dataset,
        merge.run_starts(rows, table.dataset.series),
        footer.commit_id,
        footer.altered,
        keys=table.door.writing(),
        place=f"{slug}/{label}",
    )
    table.door.medium.replace(path, content, tmp=table.tmp)
    return footer.commit_id, FileChange(label, footer.rows, len(content), verify.sha256(content))
