"""Bytes that stay: files replaced in one step, lines appended whole, both synced before we say so.

Not here: what the bytes mean. Every refusal of the file system leaves as `StoreAccessError`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from ibkit import clock
from ibkit.errors import StoreAccessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

STALE_S: Final = 3600


@contextmanager
def access(path: Path, role: str) -> Iterator[None]:
    """Turn an `OSError` of the block into an error that names the path and what it is for."""
    try:
        yield
    except OSError as error:
        raise StoreAccessError(path, f"{role}: {error.strerror or error}") from error


def replace(path: Path, content: bytes, *, tmp: Path, keep: Path | None = None) -> None:
    """Put `content` at `path`, durably and in one step.

    Parameters
    ----------
    path : Path
        A reader sees the old file or the new one, never half of one.
    content : bytes
        The whole new file.
    tmp : Path
        A folder on the same file system for the unfinished file.
    keep : Path, optional
        Where the old file stays readable; a hard link, so no byte is copied.
    """
    replace_all([Put(path, content, keep)], tmp=tmp)


class Put(NamedTuple):
    """A file that is to be: see `replace`."""

    path: Path
    content: bytes
    keep: Path | None = None


def replace_all(puts: Sequence[Put], *, tmp: Path) -> None:
    """Put several files in place, each in one step; none if the disk has no room for all.

    All bytes are on the disk before the first name changes.
    """
    make_folder(tmp)
    unfinished: list[Path] = []
    parents = []
    try:
        for path, content, _ in puts:
            if not _is_made(path.parent):  # its name is synced with all others
                make_folder(path.parent.parent)
                _make(path.parent)
                parents.append(path.parent.parent)
            unfinished.append(tmp / f"{os.getpid()}-{uuid4().hex}")
            write_synced(unfinished[-1], content, like=path.parent)
        _publish(puts, unfinished)
    except BaseException:
        for written in unfinished:
            with suppress(OSError):
                written.unlink()
        raise
    # all names are synced before anybody is told; one after the other, since what the first sync
    # brings to the disk the second finds there
    changed = [folder.parent for put in puts for folder in (put.path, put.keep) if folder]
    for folder in dict.fromkeys([*changed, *parents]):
        sync_folder(folder)


def _publish(puts: Sequence[Put], unfinished: Sequence[Path]) -> None:
    """Give written files their names; old ones that are kept have a second one before."""
    for put in puts:
        if put.keep is not None:
            link(put.path, put.keep)
    for put, written in zip(puts, unfinished, strict=True):
        with access(put.path, "a data file"):
            written.replace(put.path)


def write_synced(path: Path, content: bytes, *, like: Path | None = None) -> None:
    """Write a new file, and return when it is on the disk; it takes its mode from a folder."""
    with access(path, "an unfinished file"), path.open("xb", buffering=0) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
        take_mode(file.fileno(), like or path.parent)
        os.fsync(file.fileno())


def take_mode(descriptor: int, folder: Path, most: int = 0o666) -> None:
    """Let a new file be read and written by those who may do so in `folder`, within `most`."""
    mode = inherited(folder)
    if mode is not None:
        with suppress(PermissionError):  # somebody else made it first
            os.fchmod(descriptor, mode & most)


def inherited(folder: Path) -> int | None:
    """Return the mode that folders made in `folder` take; None where anybody may write."""
    mode = folder.stat().st_mode & 0o3777
    return None if mode & 0o002 else mode


def create(path: Path, content: bytes, *, tmp: Path) -> bool:
    """Put `content` at `path` unless a file is there, durably and in one step; say if it was."""
    make_folder(tmp)
    make_folder(path.parent)
    unfinished = tmp / f"{os.getpid()}-{uuid4().hex}"
    try:
        write_synced(unfinished, content, like=path.parent)
        with access(path, "a new file"):
            path.hardlink_to(unfinished)  # a link never overwrites
    except StoreAccessError as error:
        if isinstance(error.__cause__, FileExistsError):
            return False
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def link(path: Path, keep: Path) -> None:
    """Keep the file at `path` under a second name, not synced; a killed writer's is as good."""
    make_folder(keep.parent)
    with access(keep, "a second name of a file"), suppress(FileExistsError):
        keep.hardlink_to(path)


def append_line(path: Path, line: bytes, most: int = 0o666) -> None:
    """Append `line` to `path` in one write, synced; a torn line before it is closed off.

    A new file gets the rights of its folder, as far as they are in `most`.
    """
    make_folder(path.parent)
    with access(path, "a journal"):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, most)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            content = (b"\n" if torn else b"") + line + b"\n"
            if size == 0:
                take_mode(descriptor, path.parent, most)
            if os.write(descriptor, content) != len(content):
                raise OSError(None, "the line was written in part; is the disk full?")
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    if size == 0:
        sync_folder(path.parent)


def names(folder: Path, role: str) -> list[str]:
    """Return the names inside `folder`, in order; none where there is no folder."""
    with access(folder, role):
        try:
            return sorted(entry.name for entry in folder.iterdir())
        except FileNotFoundError:
            return []


def read(path: Path, role: str) -> bytes | None:
    """Return the content of a small file; None where there is none."""
    with access(path, role):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def read_on(path: Path, role: str, inode: int, offset: int) -> tuple[int, int, bytes]:
    """Return what follows `offset` in a growing file, with its inode and where that began.

    If it is another file than `inode`, or shorter, everything is returned from the start; a file
    that is not there is empty and has inode 0.
    """
    with access(path, role):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return 0, 0, b""
        with file:
            found = os.fstat(file.fileno())
            if found.st_ino != inode or found.st_size < offset:
                offset = 0
            file.seek(offset)
            return found.st_ino, offset, b"" if found.st_size == offset else file.read()


def make_folder(path: Path) -> None:
    """Make `path` and the folders above it, each synced into its parent."""
    if _is_made(path):
        return
    make_folder(path.parent)
    _make(path, synced=True)


def _is_made(path: Path) -> bool:
    """Whether a folder is there and has its mode; one that is being made does not have it yet."""
    try:
        mode, wanted = path.stat().st_mode, inherited(path.parent)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISDIR(mode) and wanted in {None, mode & 0o3777}


def _make(path: Path, *, synced: bool = False) -> None:
    """Make a folder in one that is there; its name is synced at once if so asked."""
    with access(path, "a folder of the store"), _alone_in(path.parent):
        if path.is_dir():  # another writer's; the mode is, too
            return
        mode = inherited(path.parent)
        path.mkdir(mode=0o777 if mode is None else mode & 0o777)
        if mode is not None:
            path.chmod(mode)  # what the umask took away
        if synced:
            sync_folder(path.parent)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep others from making folders in `folder`, or from taking one for made too early."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names inside `path` survive a power cut."""
    with access(path, "a folder of the store"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(tmp: Path) -> int:
    """Remove what killed writers left in `tmp`: older than an hour, its process gone."""
    removed = 0
    for leftover in tmp.iterdir() if tmp.is_dir() else ():
        with suppress(OSError, ValueError):
            old = clock.now().timestamp() - leftover.stat().st_mtime > STALE_S
            if old and not alive(int(leftover.name.partition("-")[0])):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
                removed += 1
    return removed


def alive(pid: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
