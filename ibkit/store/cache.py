"""The read cache: a series' whole history as one memory-mapped Arrow file, thrown away at will.

Decoding two years of Parquet costs ten times what copying them does. A read of a whole history
therefore leaves it in ``meta/cache``, with the identity (inode, size, time of change) of every
file that it came from; a later read believes those periods whose file is still that very one, and
reads the others from Parquet. Nothing is lost if the folder is removed, at any moment.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa

from ibkit.errors import StoreError
from ibkit.store import disk
from ibkit.store.locks import renewed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ibkit.schema import Dataset

LIMIT: Final = 2 << 30  # bytes of all cached series of a store
FEWEST: Final = 4  # files, below which Parquet is as fast
# a file that changed this short a time before the cache was made may change again within one
# tick of the file system's clock, into the same inode: so young ones are not believed
YOUNG_NS: Final = 2_000_000_000
HELD: Final = 64  # maps kept open by a process
VERSION: Final = 1

Identity = tuple[int, int, int]  # inode, bytes, mtime_ns


@dataclass(frozen=True, slots=True)
class Shelf:
    """One cached series: its rows, and which of them came from which file."""

    rows: pa.Table
    places: Mapping[str, tuple[Identity, int, int]]

    def place(self, label: str, identity: Identity | None) -> tuple[int, int] | None:
        """Return the first row of a period and the one after its last; None if not believed."""
        known = self.places.get(label)
        if known is None or known[0] != identity:
            return None
        return known[1], known[2]


def identity(path: Path) -> Identity | None:
    """Return which file is at `path` now; None if none is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@cache
def columns(dataset: Dataset) -> tuple[str, ...]:
    """Return the columns that are kept: those that say something, and the rest of the key."""
    return tuple(
        column.name
        for column in dataset.columns
        if column.role != "origin" and column.name not in (*dataset.series, dataset.outranked)
    )


class Loan:
    """One read's dealings with the cache: what it took from there, and what it leaves."""

    def __init__(
        self,
        cache: Cache,
        dataset: Dataset,
        slug: str,
        series: tuple[Any, ...],
        names: Sequence[str],
    ) -> None:
        self._cache, self._where = cache, (dataset, slug, series)
        self._names = names
        self._shelf = cache.open(*self._where)
        self._parts: list[tuple[str, Path, Identity, pa.Table]] = []
        self._edges: list[tuple[int, int]] = []
        self._missed = 0

    def part(self, label: str, path: Path, load: Callable[[], pa.Table | None]) -> pa.Table | None:
        """Return the rows of one file: the cached ones, if it is still the file they came from."""
        known = identity(path)
        place = self._shelf.place(label, known) if self._shelf else None
        if place and self._shelf:
            self._edges.append(place)
            part = self._shelf.rows.select(self._names).slice(place[0], place[1] - place[0])
        else:
            self._missed += 1
            part = load()
        if part is not None and known is not None:
            self._parts.append((label, path, known, part))
        return part

    def skip(self) -> None:
        """Note that a part cannot be kept: it has rows that are in no file yet."""
        self._missed = -(1 << 30)

    def whole(self) -> pa.Table | None:
        """Return all parts in one piece, if all were cached and lie together."""
        if self._missed or not self._edges or self._shelf is None:
            return None
        if any(one[1] != other[0] for one, other in pairwise(self._edges)):
            return None
        first, after = self._edges[0][0], self._edges[-1][1]
        return self._shelf.rows.select(self._names).slice(first, after - first)

    def leave(self) -> None:
        """Keep what a read of everything found, if some of it was not kept yet."""
        names = columns(self._where[0])
        if self._missed > 0 and len(self._parts) >= FEWEST and {*names} <= {*self._names}:
            parts = [(*head, part.select(names)) for *head, part in self._parts]
            self._cache.put(*self._where, parts)


class Cache:
    """The cached series of one store. Safe in threads and among processes.

    Parameters
    ----------
    folder : Path
        Theirs; made with the first of them.
    limit : int
        The bytes they may take together; the oldest go first. 0: there is no cache.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit
        self.frozen = False  # a reader's: used, and left as it is
        self._held: OrderedDict[Path, tuple[Identity, Shelf]] = OrderedDict()
        self._lock = Lock()
        renewed(self)

    def renew(self) -> None:
        """Begin anew in a forked child: another thread may have been reading just then."""
        self._held, self._lock = OrderedDict(), Lock()

    def path(self, dataset: Dataset, slug: str, series: tuple[Any, ...]) -> Path:
        """Return the file of a series."""
        name = "-".join(quote(str(value), safe="") for value in series) or "all"
        return self.folder / dataset.name / slug / f"{name}.arrow"

    def open(self, dataset: Dataset, slug: str, series: tuple[Any, ...]) -> Shelf | None:
        """Return what is kept of a series; None if nothing is, or nothing that can be read."""
        if not self.limit:
            return None
        path = self.path(dataset, slug, series)
        now = identity(path)
        if now is None:
            return None
        with self._lock:
            held = self._held.get(path)
        if held is not None and held[0] == now:
            return held[1]
        shelf = _load(path, dataset)
        if shelf is not None:
            self._hold(path, now, shelf)
        return shelf

    def _hold(self, path: Path, now: Identity, shelf: Shelf) -> None:
        with self._lock:
            self._held[path] = (now, shelf)
            self._held.move_to_end(path)
            while len(self._held) > HELD:
                self._held.popitem(last=False)

    def loan(
        self,
        dataset: Dataset,
        slug: str,
        series: tuple[Any, ...] | None,
        names: Sequence[str],
    ) -> Loan | None:
        """Return the dealings of a read; None if what it wants is not what is kept."""
        wanted = self.limit and series and {*names} <= {*columns(dataset)}
        return Loan(self, dataset, slug, series, names) if wanted and series else None

    def put(
        self,
        dataset: Dataset,
        slug: str,
        series: tuple[Any, ...],
        parts: Iterable[tuple[str, Path, Identity, pa.Table]],
    ) -> bool:
        """Keep a series, if its files are at rest; whether it was kept.

        Parameters
        ----------
        dataset, slug, series
            Which.
        parts : iterable of (label, path, identity, rows)
            Its periods in order: each file as it was before `rows` were read from it.
        """
        if self.frozen:
            return False
        path = self.path(dataset, slug, series)
        # a disk that is full or may not be written to is no reason not to read
        with suppress(OSError, StoreError):
            return self._put(path, dataset, list(parts))
        return False

    def _put(
        self, path: Path, dataset: Dataset, parts: list[tuple[str, Path, Identity, pa.Table]]
    ) -> bool:
        size = sum(part.nbytes for *_, part in parts)
        if size > self.limit:
            return False
        disk.make_folder(path.parent)
        unfinished = path.with_name(f"{os.getpid()}-{uuid4().hex}.tmp")
        try:
            with unfinished.open("xb") as file:
                made_ns = os.fstat(file.fileno()).st_mtime_ns
                if not _at_rest(parts, made_ns):
                    return False
                os.fchmod(file.fileno(), parts[0][1].stat().st_mode & 0o777)
                _write(file, dataset, parts)
                file.flush()
                os.fsync(file.fileno())
            self._make_room(size)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return True

    def _make_room(self, wanted: int) -> None:
        """Remove the oldest files until `wanted` more bytes fit."""
        found = []
        for path in self.folder.rglob("*.arrow"):
            with suppress(OSError):
                facts = path.stat()
                found.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(size for _, size, _ in found) + wanted
        for _, size, path in sorted(found):
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size

    def clear(self, dataset: Dataset | None = None) -> None:
        """Forget everything, or all of one dataset, because it is encrypted now."""
        folder = self.folder if dataset is None else self.folder / dataset.name
        for path in [*folder.rglob("*.arrow"), *folder.rglob("*.tmp")]:
            path.unlink(missing_ok=True)
        with self._lock:
            self._held.clear()


def _at_rest(parts: list[tuple[str, Path, Identity, pa.Table]], made_ns: int) -> bool:
    """Whether every file is still the one that was read, and none is young."""
    return all(
        known[2] <= made_ns - YOUNG_NS and identity(path) == known for _, path, known, _ in parts
    )


def _write(file: Any, dataset: Dataset, parts: list[tuple[str, Path, Identity, pa.Table]]) -> None:
    places, row = {}, 0
    for label, _, known, part in parts:
        places[label] = [known, row, row + part.num_rows]
        row += part.num_rows
    whole = pa.concat_tables([part for *_, part in parts]).combine_chunks()
    facts = {"v": VERSION, "dataset": [dataset.name, dataset.version], "places": places}
    table = whole.replace_schema_metadata({"ibkit": json.dumps(facts)})
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _load(path: Path, dataset: Dataset) -> Shelf | None:
    try:
        with pa.memory_map(str(path)) as source:
            rows = pa.ipc.open_file(source).read_all()
        facts = json.loads(rows.schema.metadata[b"ibkit"])
        if (facts["v"], facts["dataset"]) != (VERSION, [dataset.name, dataset.version]):
            return None
        places = {
            label: ((known[0], known[1], known[2]), start, end)
            for label, (known, start, end) in facts["places"].items()
        }
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return None
    if tuple(rows.column_names) != columns(dataset) or any(
        end > rows.num_rows for *_, end in places.values()
    ):
        return None
    return Shelf(rows.replace_schema_metadata(None), places)
