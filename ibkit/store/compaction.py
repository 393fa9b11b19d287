"""Bring what streams appended into the Parquet files, and remove segments that are done with.

Sealing is an ordinary upsert under the instrument's lock, so it may be killed at any point and
may run beside writers, readers and other compactors. Segments stay for a grace period after it.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ibkit import clock
from ibkit.errors import StoreError
from ibkit.log import get_logger
from ibkit.store import disk, wal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from ibkit.store.journal import Commit
    from ibkit.store.table import Table

GRACE_S: Final = 60.0
COLUMNS: Final = {
    "dataset": "str",
    "instrument": "str",
    "commit_id": "int64",
    "rows_in": "int64",
    "rows_added": "int64",
    "files": "int64",
}
log = get_logger(__name__)


def compact(tables: Iterable[Table], *, grace_s: float = GRACE_S) -> pd.DataFrame:
    """Seal every instrument that has unsealed rows, and remove old segments.

    Returns
    -------
    DataFrame
        One row a seal: ``dataset instrument commit_id rows_in rows_added files``.

    Raises
    ------
    StoreError
        The first that went wrong, after all others were sealed.
    """
    commits: list[Commit] = []
    failures: list[StoreError] = []
    for table in tables:
        for slug in sorted(table.wal.slugs()):
            try:
                commit = table.seal(slug)
            except StoreError as error:
                failures.append(error)
            else:
                commits += [] if commit is None else [commit]
        remove(table, grace_s=grace_s)
    if failures:
        raise failures[0]
    return pd.DataFrame([_row(commit) for commit in commits], columns=list(COLUMNS)).astype(COLUMNS)


def _row(commit: Commit) -> dict[str, Any]:
    return {
        **{name: getattr(commit, name) for name in list(COLUMNS)[:-1]},
        "files": len(commit.files),
    }


def remove(table: Table, *, grace_s: float = GRACE_S) -> int:
    """Remove the segments that nobody writes, that are sealed whole, and old enough.

    One with a damaged frame stays: `Store.verify(repair=True)` sets it aside.
    """
    removed = 0
    for segment in table.wal.idle():
        if _is_done(segment, table, grace_s):
            with suppress(FileNotFoundError), disk.access(segment.path, "a segment"):
                segment.path.unlink()
                removed += 1
    return removed


def _is_done(segment: wal.Segment, table: Table, grace_s: float) -> bool:
    try:
        age = clock.now().timestamp() - segment.path.stat().st_mtime
    except FileNotFoundError:
        return False
    if segment.damaged or age < grace_s:
        return False
    return all(
        table.digest(slug).sealed.get(segment.name, 0) >= segment.end(slug)
        for slug in segment.slugs()
    )


class Compactor:
    """Compacts every `every_s` seconds on a thread of its own, until the block ends.

    What goes wrong is logged and tried again the next time; `failures` counts it.
    """

    def __init__(
        self, tables: Sequence[Table], *, every_s: float = 60.0, grace_s: float = GRACE_S
    ) -> None:
        self._tables, self._every_s, self._grace_s = tables, every_s, grace_s
        self.runs = self.failures = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ibkit-compact", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                compact(self._tables, grace_s=self._grace_s)
            except StoreError as error:
                self.failures += 1
                log.warning("compaction failed", error=str(error))
            self.runs += 1

    def wait(self) -> None:
        """Wait until somebody closes this."""
        self._stop.wait()

    def close(self) -> None:
        """End the thread, after the compaction that may be under way."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
