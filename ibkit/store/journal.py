"""The commit log of one instrument: one JSON line a commit, appended and synced before the answer.

It says who wrote which range from which request, where the file before it is kept, and which
spans are answered for. A torn last line was never acknowledged and is passed over.
"""

from __future__ import annotations

import json
import operator
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from ibkit.errors import CorruptFileError
from ibkit.store.digest import Digest
from ibkit.store.locks import renewed
from ibkit.store.medium import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ibkit.store.medium import Medium
    from ibkit.store.spans import Span

T = TypeVar("T")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Operation = Literal[
    "upsert", "replace_range", "confirm_empty", "seal", "repair", "encrypt", "rotate_key", "none"
]
# held in memory, of all journals together: commits at 2 KB, and entries of digests at 100 bytes
COMMITS: Final = 8_192
ENTRIES: Final = 200_000


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that a commit put in place.

    Attributes
    ----------
    period : str
        The folder's name, ``"month=2026-10"``; empty for a dataset with one file.
    rows, bytes : int
        Of the whole new file.
    sha256 : str
        Of the whole new file.
    kept : int or None
        The commit whose file was replaced and is kept in the history. None if the commit only
        added rows: then the old file is the new one without the rows of this commit.
    """

    period: str
    rows: int
    bytes: int
    sha256: str
    kept: int | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """What one write did.

    Attributes
    ----------
    commit_id : int
        Microseconds since 1970, rising within an instrument; also in the rows it brought. 0 if
        there was nothing to do.
    dataset, instrument : str
        Where.
    operation : str
        What: upsert, replace_range, confirm_empty; seal (rows of a stream came from its segments
        into the files); repair (a file was taken in, sorted, or struck off); or none.
    series : dict
        The head of the key that `span` speaks of: ``{"what_to_show": "TRADES", "use_rth": True}``.
    span : tuple of datetime or None
        ``[start, end)`` that is answered for from now on.
    rows_in, rows_added, rows_changed, rows_removed : int
        Rows handed in, and what became of the stored ones.
    source, request : str
        Where the rows came from.
    files : tuple of FileChange
        One for each period that changed.
    versions : dict
        Of ibkit and pyarrow.
    rows_set_aside : int
        Rows handed in that went to quarantine instead.
    range : tuple of datetime or None
        The first and the last ``ts`` of the rows handed in.
    who : str
        The user, machine and process that wrote.
    sealed : dict
        How far each write-ahead segment is in the files from now on, in bytes.
    """

    commit_id: int
    dataset: str
    instrument: str
    operation: Operation
    series: dict[str, Any] = field(default_factory=dict)
    span: tuple[datetime, datetime] | None = None
    rows_in: int = 0
    rows_added: int = 0
    rows_changed: int = 0
    rows_removed: int = 0
    source: str = ""
    request: str = ""
    files: tuple[FileChange, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    rows_set_aside: int = 0
    range: tuple[datetime, datetime] | None = None
    who: str = ""
    sealed: dict[str, int] = field(default_factory=dict)

    @property
    def at(self) -> datetime:
        """When, in UTC."""
        return moment(self.commit_id)

    @property
    def changed(self) -> bool:
        """Whether any row is other than before."""
        return bool(self.files)

    def covers(self) -> Span | None:
        """Return the span as microseconds since 1970."""
        return None if self.span is None else (micros(self.span[0]), micros(self.span[1]))


def moment(us: int) -> datetime:
    """Return microseconds since 1970 as a datetime in UTC."""
    return EPOCH + timedelta(microseconds=us)


def micros(when: datetime) -> int:
    """Return a datetime with a zone as microseconds since 1970.

    Raises
    ------
    ValueError
        It has no zone.
    """
    if when.tzinfo is None or when.utcoffset() is None:
        raise ValueError(f"{when!r} has no time zone; give one, such as datetime.UTC")
    return (when - EPOCH) // timedelta(microseconds=1)


class Journals:
    """Appends to journals, and reads them; what was read of late is not read again.

    Safe in threads. Between processes the caller's lock orders the appends. What is held in memory
    is bounded, whatever the number of commits: they themselves are for those who ask for history,
    a write and a read ask for the digest.
    """

    def __init__(
        self, medium: Medium = LOCAL, *, commits: int = COMMITS, entries: int = ENTRIES
    ) -> None:
        self._medium, self._most = medium, (commits, entries)
        self.renew()
        renewed(self)

    def renew(self) -> None:
        """Begin anew in a forked child: another thread may have been reading just then."""
        commits, entries = self._most
        self._commits: _Held[tuple[Commit, ...]] = _Held(commits, (), operator.add, len)
        self._digests: _Held[Digest] = _Held(entries, Digest(), Digest.after, _size)
        self._lock = Lock()

    @property
    def held(self) -> tuple[int, int]:
        """How many commits, and how many entries of digests, are in memory now."""
        with self._lock:
            return self._commits.weight, self._digests.weight

    def append(self, path: Path, commit: Commit) -> None:
        """Write `commit` as the journal's next line; it is on the disk when this returns."""
        self._medium.append(path, to_line(commit), f"{commit.commit_id:020d}")

    def read(self, path: Path) -> tuple[Commit, ...]:
        """Return all commits, oldest first; none where there is no journal."""
        with self._lock:
            return self._commits.read(path, self._medium)

    def digest(self, path: Path) -> Digest:
        """Return what all commits come to; the empty one where there is no journal."""
        with self._lock:
            return self._digests.read(path, self._medium)


@dataclass(frozen=True, slots=True)
class _Known(Generic[T]):
    inode: int
    offset: int
    value: T
    weight: int


class _Held(Generic[T]):
    """What journals come to, by path: the latest used, as long as they weigh `most` together."""

    def __init__(
        self,
        most: int,
        nothing: T,
        after: Callable[[T, tuple[Commit, ...]], T],
        weigh: Callable[[T], int],
    ) -> None:
        self.weight = 0
        self._most, self._nothing, self._after, self._weigh = most, nothing, after, weigh
        self._known: OrderedDict[Path, _Known[T]] = OrderedDict()

    def read(self, path: Path, medium: Medium) -> T:
        """Return the value of a journal; only what was appended since is read."""
        known = self._known.pop(path, None)
        self.weight -= known.weight if known else 0
        inode, offset = (known.inode, known.offset) if known else (0, 0)
        inode, start, content = medium.read_on(path, "a journal", inode, offset)
        whole = content.rfind(b"\n") + 1
        lines = (from_line(line, path) for line in content[:whole].split(b"\n") if line)
        fresh = tuple(commit for commit in lines if commit)
        value = known.value if known and start else self._nothing
        if fresh:
            value = self._after(value, fresh)
        self._keep(path, _Known(inode, start + whole, value, self._weigh(value) + 1))
        return value

    def _keep(self, path: Path, known: _Known[T]) -> None:
        if known.weight > self._most:  # alone too much: nothing else has to go for it
            return
        self._known[path] = known
        self.weight += known.weight
        while self.weight > self._most:
            _, gone = self._known.popitem(last=False)
            self.weight -= gone.weight


def _size(digest: Digest) -> int:
    return digest.size


def to_line(commit: Commit) -> bytes:
    """Return a commit as one line of JSON, without its end."""
    facts: dict[str, Any] = {"v": 1, "at": _iso(commit.at)}
    facts |= {name: getattr(commit, name) for name in commit.__slots__}  # asdict copies deeply
    facts["files"] = [{name: getattr(one, name) for name in one.__slots__} for one in commit.files]
    for name in ("span", "range"):
        if facts[name]:
            facts[name] = [_iso(edge) for edge in facts[name]]
    return json.dumps(facts, separators=(",", ":")).encode()


def from_line(line: bytes, path: Path) -> Commit | None:
    """Return the commit of a line; None if the line was torn by a crash, or damaged since."""
    try:
        facts = json.loads(line)
        if facts.pop("v") != 1:
            raise CorruptFileError(path, "it was written by a newer ibkit; update this one")
        facts.pop("at")
        facts["files"] = tuple(FileChange(**change) for change in facts["files"])
        for name in ("span", "range"):
            if facts.get(name):
                start, end = map(datetime.fromisoformat, facts[name])
                facts[name] = (start, end)
        return Commit(**facts)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds")
