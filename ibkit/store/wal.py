"""Write-ahead segments: micro-batches of a live stream, durable after one write and one sync.

A segment is a file of frames; a frame is a small head with a checksum, and an Arrow IPC message.
A process appends to segments that it made itself and to no other, so the torn tail that a kill
leaves is the last thing in its file. Not here: how segments become Parquet (`compaction`).
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from dataclasses import dataclass, field
from itertools import starmap
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pyarrow as pa

from ibkit import __version__, clock
from ibkit.errors import CorruptFileError
from ibkit.store import disk, files, merge
from ibkit.store.locks import renewed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ibkit.schema import Dataset

MAGIC: Final = b"IBKW"
HEAD: Final = struct.Struct("<4sIIqH")  # magic, checksum, bytes of payload, commit id, of the slug
CHECKED: Final = 8  # where in the head the checksum begins to count
VERSION: Final = 1
SUFFIX: Final = ".wal"
SHARED: Final = "+"  # the folder of segments that hold several instruments
BIG: Final = 256  # rows from which compression pays
PACKED: Final = pa.ipc.IpcWriteOptions(compression="lz4")

Marks = dict[str, int]  # how far each segment is sealed, in bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One acknowledged micro-batch, or the head of a segment (its `slug` is empty)."""

    slug: str
    commit_id: int
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Tail:
    """The rows of one instrument that no file has yet.

    Attributes
    ----------
    rows : pyarrow.Table
        In the dataset's schema, sorted and unique by key, the newest of twins; each row has the
        commit id of its append.
    latest : int
        The highest of these ids.
    marks : dict
        How far each segment would be sealed with them.
    since : dict
        How far they are sealed already.
    source, request : str
        Where they came from.
    """

    rows: pa.Table
    latest: int
    marks: Marks
    since: Marks
    source: str
    request: str


@dataclass(slots=True)
class Segment:
    """What was read of one segment until now."""

    path: Path
    inode: int = 0
    offset: int = 0
    frames: list[Frame] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    schema: pa.Schema | None = None
    damaged: list[int] = field(default_factory=list)
    batches: dict[int, pa.RecordBatch] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name, by which journals remember it."""
        return self.path.name

    def end(self, slug: str) -> int:
        """Return where the last frame of an instrument ends; 0 if it has none."""
        return max((frame.end for frame in self.frames if frame.slug == slug), default=0)

    def slugs(self) -> set[str]:
        """Return the instruments that it holds rows of."""
        return {frame.slug for frame in self.frames}


def same(content: bytes, slug: str) -> bytes:  # noqa: ARG001 - who encrypts signs it too
    """Return the bytes as they are: the usual road of frames to the disk."""
    return content


class Wal:
    """All segments of one dataset. Safe in threads; what was read before is not read again.

    Parameters
    ----------
    folder : Path
        Theirs, in ``meta``.
    dataset : Dataset
        Whose rows they hold.
    local : bool
        Whether `folder` is one of this machine; a bucket has no segments.

    Attributes
    ----------
    wrap, unwrap : callable
        What payloads go through on their way to the disk and back; an encrypted dataset sets them.
    """

    def __init__(self, folder: Path, dataset: Dataset, *, local: bool = True) -> None:
        self.folder, self.dataset, self.local = folder, dataset, local
        self.wrap: Callable[[bytes, str], bytes] = same
        self.unwrap: Callable[[bytes, str], bytes] = same
        self._known: dict[Path, Segment] = {}
        self._lock = Lock()
        renewed(self)

    def slugs(self) -> set[str]:
        """Return the instruments that have segments."""
        if not self.local:
            return set()
        own = set(disk.names(self.folder, "the folder of segments")) - {SHARED}
        shared = (segment.slugs() for segment in self._read_folder(SHARED))
        return {name for name in own if self._names(name)}.union(*shared)

    def latest(self, slug: str) -> int:
        """Return the highest commit id that an append of an instrument got; 0: none."""
        ids = (f.commit_id for one in self.segments(slug) for f in one.frames if f.slug == slug)
        return max(ids, default=0)

    def tail(
        self, slug: str, segments: Sequence[Segment], marks: Marks, until: int | None = None
    ) -> Tail | None:
        """Return the rows of an instrument in `segments` beyond `marks`; None: there are none.

        With `until`, only those of appends up to that id.

        Raises
        ------
        CorruptFileError
            A whole frame does not hold what it should.
        """
        fresh = [
            (segment, frame)
            for segment in segments
            for frame in segment.frames
            if frame.slug == slug
            and frame.end > marks.get(segment.name, 0)
            and (until is None or frame.commit_id <= until)
        ]
        if not fresh:
            return None
        fresh.sort(key=lambda item: item[1].commit_id)
        table = pa.Table.from_batches(starmap(self._batch, fresh))
        held = {segment.name: segment for segment, _ in fresh}
        return Tail(
            merge.latest(table, self.dataset),
            max(frame.commit_id for _, frame in fresh),
            # of these frames, not of the segments: another thread may have read on meanwhile
            {segment.name: frame.end for segment, frame in sorted(fresh, key=_end)},
            marks,
            _words(held, "source"),
            _words(held, "request"),
        )

    def segments(self, slug: str) -> list[Segment]:
        """Return the segments that may hold rows of an instrument, oldest first."""
        if not self.local:
            return []
        return [*self._read_folder(slug), *self._read_folder(SHARED)]

    def all(self) -> list[Segment]:
        """Return every segment, oldest first."""
        if not self.local:
            return []
        groups = disk.names(self.folder, "the folder of segments")
        return [segment for group in groups for segment in self._read_folder(group)]

    def idle(self) -> list[Segment]:
        """Return the segments that nobody can append to any more, each read to its end.

        Only who made a segment appends to it, so what is idle once stays so. It is asked first and
        read after: the other way round a last frame could come in between, and not be seen.
        """
        if not self.local:
            return []
        found = []
        for group in disk.names(self.folder, "the folder of segments"):
            idle = {
                name for name in self._names(group) if not is_active(self.folder / group / name)
            }
            found += [segment for segment in self._read_folder(group) if segment.name in idle]
        return found

    def _names(self, group: str) -> list[str]:
        try:
            found = os.listdir(self.folder / group)  # noqa: PTH208 - a third of the price
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError:
            found = disk.names(self.folder / group, "the folder of segments")
        return sorted(name for name in found if name.endswith(SUFFIX))

    def _read_folder(self, group: str) -> list[Segment]:
        names = self._names(group)
        if not names and not self._known:
            return []
        folder = self.folder / group
        with self._lock:
            paths = [folder / name for name in names]
            gone = [path for path in self._known if path.parent == folder and path not in paths]
            for path in gone:
                del self._known[path]
            return [self._read(path) for path in paths]

    def renew(self) -> None:
        """Begin anew in a forked child: another thread may have been reading just then."""
        self._known, self._lock = {}, Lock()

    def _read(self, path: Path) -> Segment:
        """Return a segment with the frames that were appended since the last look."""
        known = self._known.setdefault(path, Segment(path))
        try:
            known.inode, start, content = disk.read_on(path, "a segment", known.inode, known.offset)
            if start == known.offset:
                known.frames.extend(_frames(content, known))
            if known.frames and not known.facts:
                self._open(known)
        except BaseException:
            del self._known[path]  # an interrupt may have come between a frame and its offset
            raise
        return known

    def _open(self, segment: Segment) -> None:
        """Take what a segment says about itself out of its first frame."""
        first = segment.frames.pop(0)
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(first.payload))
            segment.facts = json.loads(schema.metadata[b"ibkit"])
        except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
            segment.frames.insert(0, first)
            raise CorruptFileError(segment.path, f"its head cannot be read: {error}") from error
        segment.schema = schema.remove_metadata()

    def _batch(self, segment: Segment, frame: Frame) -> pa.RecordBatch:
        if frame.end not in segment.batches:
            try:
                content = pa.py_buffer(self.unwrap(frame.payload, frame.slug))
                batch = pa.ipc.read_record_batch(content, segment.schema)
            except (pa.ArrowException, ValueError) as error:
                raise CorruptFileError(segment.path, f"a frame cannot be read: {error}") from error
            segment.batches[frame.end] = _upgraded(batch, self.dataset, segment.facts["version"])
        return segment.batches[frame.end]


def _upgraded(batch: pa.RecordBatch, dataset: Dataset, version: int) -> pa.RecordBatch:
    """Return a batch of an older schema in today's; see `Dataset.upgrades`."""
    wanted = files.schema(dataset)
    if version == dataset.version and batch.schema.equals(wanted):
        return batch
    changes = dataset.upgrades.get(version, {})

    def column(field: pa.Field) -> pa.Array:
        origin = changes.get(field.name, field.name)
        if not isinstance(origin, str):
            return pa.repeat(pa.scalar(origin[1], field.type), batch.num_rows)
        if origin not in batch.schema.names:
            return pa.nulls(batch.num_rows, field.type)
        return batch.column(batch.schema.get_field_index(origin)).cast(field.type)

    return pa.RecordBatch.from_arrays([column(field) for field in wanted], schema=wanted)


def _end(item: tuple[Segment, Frame]) -> int:
    return item[1].end


def _words(segments: Mapping[str, Segment], fact: str) -> str:
    return ", ".join(sorted({segment.facts.get(fact, "") for segment in segments.values()} - {""}))


# --- frames --------------------------------------------------------------------------------------


def pack(slug: str, commit_id: int, payload: bytes) -> bytes:
    """Return one frame."""
    name = slug.encode()
    head = HEAD.pack(MAGIC, 0, len(payload), commit_id, len(name))
    rest = head[CHECKED:] + name + payload
    return head[:4] + zlib.crc32(rest).to_bytes(4, "little") + rest


def _frames(content: bytes, segment: Segment) -> Iterator[Frame]:
    """Yield the whole frames of what follows `segment.offset`, and move it on.

    A frame whose checksum is wrong is passed over if a right one follows (a damaged disk);
    otherwise it is a tail that is torn, or still being written, and is looked at again.
    """
    at, base = 0, segment.offset
    while (found := _frame_at(content, at, base)) is not None:
        start, frame = found
        if start > at:
            segment.damaged.append(base + at)
        at = frame.end - base
        segment.offset = frame.end
        yield frame


def _frame_at(content: bytes, at: int, base: int) -> tuple[int, Frame] | None:
    """Return the first right frame from `at` on, and where it begins."""
    start = content.find(MAGIC, at)
    while start >= 0:
        frame = _frame(content, start, base)
        if frame is not None:
            return start, frame
        start = content.find(MAGIC, start + 1)
    return None


def _frame(content: bytes, start: int, base: int) -> Frame | None:
    if start + HEAD.size > len(content):
        return None
    _, checksum, length, commit_id, name = HEAD.unpack_from(content, start)
    body = start + HEAD.size
    end = body + name + length
    if end > len(content) or zlib.crc32(memoryview(content)[start + CHECKED : end]) != checksum:
        return None
    slug = content[body : body + name].decode()
    return Frame(slug, commit_id, base + end, content[body + name : end])


def unframed(path: Path) -> int:
    """Return how many bytes of a segment no right frame claims: torn, or damaged."""
    content = disk.read(path, "a segment") or b""
    segment = Segment(path)
    claimed = sum(HEAD.size + len(f.slug) + len(f.payload) for f in _frames(content, segment))
    return len(content) - claimed


# --- writing -------------------------------------------------------------------------------------


class Writer:
    """One open segment, for the process that made it.

    Parameters
    ----------
    wal : Wal
        Where it belongs.
    group : str
        The slug, or `SHARED`.
    facts : mapping
        Where its rows come from: ``source``, ``request``.
    tmp : Path
        A folder on the same file system, for the segment until it is locked and has its head: who
        looks for segments that nobody writes must never find one that is only being made.
    """

    def __init__(self, wal: Wal, group: str, facts: Mapping[str, str], tmp: Path) -> None:
        self._wal = wal
        self.started, self.pid = clock.monotonic(), os.getpid()
        name = f"{int(clock.now().timestamp() * 1e6):016d}-{self.pid}-{uuid4().hex[:8]}{SUFFIX}"
        self.path = wal.folder / group / name
        disk.make_folder(self.path.parent)
        disk.make_folder(tmp)
        unfinished = tmp / f"{self.pid}-{uuid4().hex}"
        with disk.access(self.path, "a segment"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(unfinished, flags, 0o666)
        try:
            with disk.access(self.path, "a segment"):
                disk.take_mode(self._descriptor, self.path.parent)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._put(pack("", 0, _head(wal.dataset, facts)))
            with disk.access(self.path, "a segment"):
                unfinished.replace(self.path)
            disk.sync_folder(self.path.parent)
        except BaseException:
            self.close()
            unfinished.unlink(missing_ok=True)
            raise

    def append(self, batches: Sequence[tuple[str, int, pa.RecordBatch]]) -> None:
        """Write batches of (slug, commit id, rows); they are on the disk when this returns.

        Raises
        ------
        StoreAccessError
            The disk refused; nothing is promised, and this segment is to be left.
        """
        self._put(b"".join(self._packed(*batch) for batch in batches))

    def _packed(self, slug: str, commit_id: int, batch: pa.RecordBatch) -> bytes:
        return pack(slug, commit_id, self._wal.wrap(_message(batch), slug))

    def _put(self, content: bytes) -> None:
        with disk.access(self.path, "a segment"):
            if os.write(self._descriptor, content) != len(content):
                raise OSError(None, "a batch was written in part; is the disk full?")
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Give the segment up; from now on others may seal and remove it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _head(dataset: Dataset, facts: Mapping[str, str]) -> bytes:
    about = {"v": VERSION, "version": dataset.version, "ibkit": __version__, **facts}
    schema = files.schema(dataset).with_metadata({"ibkit": json.dumps(about)})
    content: bytes = schema.serialize().to_pybytes()
    return content


def _message(batch: pa.RecordBatch) -> bytes:
    """Return a batch as one Arrow IPC message, without the schema."""
    if batch.num_rows < BIG:
        small: bytes = batch.serialize().to_pybytes()
        return small
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=PACKED) as writer:
        writer.write_batch(batch)
        end = sink.tell()
    content: bytes = sink.getvalue()[batch.schema.serialize().size : end].to_pybytes()
    return content


def is_active(path: Path) -> bool:
    """Whether a living process may still append to a segment."""
    with disk.access(path, "a segment"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
