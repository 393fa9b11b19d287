"""Put right what `verify` finds, as far as that loses nothing: adopt, strike off, set aside.

A readable file that the journal does not know is adopted (so a lost journal is rebuilt from the
footers); one that cannot be read goes to quarantine, and its period is a hole again; rows out of
order are sorted. What could only be guessed at is left, and stays in the list.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import pandas as pd

from ibkit import clock
from ibkit.errors import CorruptFileError, InvalidRowsError
from ibkit.store import author, files, layout, merge, verify
from ibkit.store.journal import Commit, FileChange, micros
from ibkit.store.table import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ibkit.store.table import Table

FILES: Final = "files"
STRANGERS: Final = "strangers"
COLUMNS: Final = ("dataset", "instrument", "file", "problem", "repair")


def repair(tables: Iterable[Table]) -> pd.DataFrame:
    """Repair every instrument, and return what was wrong and what was done about it.

    Returns
    -------
    DataFrame
        ``dataset instrument file problem repair``; an empty ``repair`` means: left as it is.
    """
    rows = [row for table in tables for row in _table(table)]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype="str")


def _table(table: Table) -> Iterator[tuple[str, ...]]:
    name = table.dataset.name
    for slug in table.slugs():
        for path, problem, done in table.exclusively(slug, partial(_one, table, slug)):
            yield name, slug, table.door.medium.show(path), problem, done
    for path, problem, done in [*_strangers(table), *_segments(table)]:
        yield name, "", table.door.medium.show(path), problem, done


def _one(table: Table, slug: str) -> list[tuple[Path, str, str]]:
    """Repair the files of one instrument, under its lock; one commit says what was done."""
    done: list[tuple[Path, str, str]] = []
    changes: list[FileChange] = []
    written, commit = verify.last_written(table, slug), _commit(table, slug)
    for code in sorted({*table.stored(slug), *table.written(slug)}):
        path, label = table.part(slug, code), layout.label(code, table.dataset.grain)
        last, footer = written.get(label), _footer(table, path)
        problems = list(verify.file_problems(table, slug, code, last))
        what, change = "", None
        if footer is None and problems:
            what, change = _set_aside(table, slug, path), FileChange(label, 0, 0, "")
        elif footer is not None and (last is None or footer.commit_id > last[0]):
            problems = [*problems, "the journal does not know it"]
            what, change = "adopted", _change(table, path, label, footer)
        elif footer is not None and problems:
            what, change = _rewritten(table, code, commit, footer)
        done += [(path, problem, what) for problem in problems]
        changes += [] if change is None else [change]
    if changes:
        table.note(replace(commit, files=tuple(changes)))
    return done


def _footer(table: Table, path: Path) -> files.Footer | None:
    """Return what a file says about itself; None if it is gone, or cannot be read whole."""
    with suppress(CorruptFileError):
        if files.read(path, table.dataset, door=table.door) is not None:
            return files.read_footer(path, table.dataset, door=table.door)
    return None


def _change(table: Table, path: Path, label: str, footer: files.Footer) -> FileChange:
    content = table.door.medium.read(path, "a data file") or b""
    return FileChange(label, footer.rows, len(content), verify.sha256(content))


def _commit(table: Table, slug: str) -> Commit:
    """Return a commit that comes after all that the journal and the files know."""
    footers = [_footer(table, table.part(slug, code)) for code in table.stored(slug)]
    known = [footer.commit_id for footer in footers if footer]
    known += [commit.commit_id for commit in table.log(slug)[-1:]]
    return Commit(
        commit_id=max(micros(clock.now()), *(one + 1 for one in known), 1),
        dataset=table.dataset.name,
        instrument=slug,
        operation="repair",
        source="repair",
        versions=VERSIONS,
        who=author.who(),
    )


def _set_aside(table: Table, slug: str, path: Path) -> str:
    """Move a file that cannot be read out of the tree."""
    content = table.door.medium.read(path, "a data file")
    if content is None:
        return "struck off; its time is a hole again"
    name = f"{micros(clock.now())}-{path.parent.name}-{path.name}"
    target = table.quarantine / FILES / slug / name
    table.door.medium.create(target, content, tmp=table.tmp)
    table.door.medium.remove(path)
    return f"set aside as {table.door.medium.show(target)}; its time is a hole again"


def _rewritten(
    table: Table, code: int, commit: Commit, footer: files.Footer
) -> tuple[str, FileChange | None]:
    """Sort the rows of a file if that is all that is wrong; twins that disagree are left."""
    path = table.part(commit.instrument, code)
    rows = files.read(path, table.dataset, door=table.door)
    assert rows is not None
    try:
        better = merge.in_order(rows, table.dataset)
    except InvalidRowsError:
        return "", None
    if better.equals(rows) or any(verify.row_problems(table, better, code)):
        return "", None
    return "sorted, twins once", table.replace_file(code, better, commit, footer, additive=False)


def _strangers(table: Table) -> Iterator[tuple[Path, str, str]]:
    for path in verify.strangers(table):
        content = table.door.medium.read(path, "a file that is none of ours") or b""
        name = "-".join(path.relative_to(table.folder).parts)
        target = table.quarantine / STRANGERS / f"{micros(clock.now())}-{name}"
        table.door.medium.create(target, content, tmp=table.tmp)
        table.door.medium.remove(path)
        yield path, verify.STRANGE, f"set aside as {table.door.medium.show(target)}"


def _segments(table: Table) -> Iterator[tuple[Path, str, str]]:
    """Bring what is whole of damaged segments into the files, and set them aside."""
    damaged = dict(verify.segment_problems(table))
    idle = {segment.path: segment for segment in table.wal.idle()}
    for path, problem in damaged.items():
        segment, what = idle.get(path), ""
        if segment is not None:
            for slug in sorted(segment.slugs()):
                table.seal(slug)
            target = table.quarantine / FILES / path.name
            content = table.door.medium.read(path, "a segment") or b""
            table.door.medium.create(target, content, tmp=table.tmp)
            table.door.medium.remove(path)
            what = "its whole frames were sealed, the segment was set aside"
        yield path, problem, what
