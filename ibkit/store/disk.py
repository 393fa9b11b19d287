"""Bytes that stay: files replaced in one step, lines appended whole, both synced before we say so.

Not here: what the bytes mean. Every refusal of the file system leaves as `StoreAccessError`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from ibkit import clock
from ibkit.errors import StoreAccessError

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    make_folder(tmp)
    make_folder(path.parent)
    unfinished = tmp / f"{os.getpid()}-{uuid4().hex}"
    try:
        write_synced(unfinished, content)
        if keep is not None:
            link(path, keep)
        with access(path, "a data file"):
            unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file, and return when it is on the disk."""
    with access(path, "an unfinished file"), path.open("xb", buffering=0) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())


def link(path: Path, keep: Path) -> None:
    """Keep the file at `path` under a second name; a link left by a killed writer is the same."""
    make_folder(keep.parent)
    with access(keep, "a second name of a file"), suppress(FileExistsError):
        keep.hardlink_to(path)
    sync_folder(keep.parent)


def append_line(path: Path, line: bytes) -> None:
    """Append `line` to `path` in one write, synced; a torn line before it is closed off."""
    make_folder(path.parent)
    with access(path, "a journal"):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            content = (b"\n" if torn else b"") + line + b"\n"
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
    if path.is_dir():
        return
    make_folder(path.parent)
    with access(path, "a folder of the store"):
        path.mkdir(exist_ok=True)
    sync_folder(path.parent)


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
            if old and not _alive(int(leftover.name.partition("-")[0])):
                leftover.unlink()
                removed += 1
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
