"""Append micro-batches of a live stream: durable and visible at once, without rewriting a month.

An appender writes to a segment of its own (`wal`); `compaction` brings segments into the files. Not
here: where the stream comes from.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ibkit import clock
from ibkit.errors import StoreError
from ibkit.store.journal import micros
from ibkit.store.locks import renewed
from ibkit.store.table import stamped
from ibkit.store.wal import SHARED, Writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from ibkit.store.table import Table, Write

ROTATE_S: Final = 300.0


class Appender:
    """The way of one live stream into the store; make one with `Store.appender`.

    Safe in threads. Every `append` that has returned is on the disk, and in the next read of every
    process that reads through `Store`; other readers of the folder see it after `Store.compact`.
    """

    def __init__(
        self,
        table: Table,
        slug: str | None,
        order: Write,
        *,
        rotate_s: float = ROTATE_S,
    ) -> None:
        self._table, self._slug, self._order, self._rotate_s = table, slug, order, rotate_s
        self._writer: Writer | None = None
        self._lock = Lock()
        self._last, self._closed = 0, False
        self._seen: set[str] = {slug} if slug else set()
        self._asked: set[str] = set()
        renewed(self)

    def renew(self) -> None:
        """Take a lock of its own in a forked child; a segment of its own it takes by itself."""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Appender {self._table.dataset.name} {self._slug or 'many instruments'}>"

    def append(self, rows: Any) -> int:
        """Append rows of the appender's instrument, durably.

        Parameters
        ----------
        rows : DataFrame, pyarrow.Table or RecordBatch, polars.DataFrame
            As for `Store.upsert`; any order.

        Returns
        -------
        int
            The commit id that the rows got.

        Raises
        ------
        InvalidRowsError
            A row cannot be true; nothing was written.
        StoreAccessError
            The disk refused: whether the rows are stored is open, and the same rows may be
            appended again.
        """
        if self._slug is None:
            raise StoreError("this appender holds many instruments; use append_many({name: rows})")
        return self._append({self._slug: rows})

    def append_many(self, rows: Mapping[str, Any]) -> int:
        """Append rows of several instruments, by slug, in one write and one sync; see `append`."""
        if self._slug is not None and set(rows) != {self._slug}:
            raise StoreError(f"this appender is for {self._slug} alone")
        return self._append(rows)

    def _append(self, rows: Mapping[str, Any]) -> int:
        batches = {slug: self._table.checked(part, self._order) for slug, part in rows.items()}
        with self._lock:
            commit_id = self._next(batches)
            writer = self._open()
            try:
                writer.append(
                    [
                        (slug, commit_id, batch)
                        for slug, table in batches.items()
                        for batch in stamped(table, commit_id).to_batches()
                        if batch.num_rows
                    ]
                )
            except BaseException:
                self._leave()  # its tail may be torn; nothing follows it
                raise
            self._last = commit_id
            self._seen.update(batches)
        return commit_id

    def _next(self, slugs: Mapping[str, Any]) -> int:
        """Return an id above all that these instruments know, even if the clock went back."""
        known = [self._table.digest(slug).latest for slug in slugs]
        known += [self._table.wal.latest(slug) for slug in slugs if slug not in self._asked]
        self._asked.update(slugs)
        return int(max(micros(clock.now()), self._last + 1, *(one + 1 for one in known), 1))

    def _open(self) -> Writer:
        """Return the segment to write to: a new one after a fork, and every `rotate_s`."""
        if self._closed:
            raise StoreError(f"{self!r} is closed")
        writer = self._writer
        if writer is not None:
            old = clock.monotonic() - writer.started >= self._rotate_s
            if not old and writer.pid == os.getpid():
                return writer
            self._leave()
        facts = {"source": self._order.source, "request": self._order.request}
        self._writer = Writer(self._table.wal, self._slug or SHARED, facts, self._table.tmp)
        return self._writer

    def _leave(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self, *, seal: bool = True) -> None:
        """End the stream, and bring it into the files unless `seal` is False."""
        with self._lock:
            self._closed = True
            self._leave()
        for slug in sorted(self._seen) if seal else ():
            self._table.seal(slug)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(seal=kind is None)
