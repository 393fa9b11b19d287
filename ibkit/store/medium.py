"""Where the bytes of a store lie: one small door between the table engine and disks or buckets.

`Local` is a folder; `ibkit.store.objects.Objects` is a bucket. Not here: what the bytes mean, nor
how a folder keeps its promises (`disk`, `locks`); a `Path` is a name, and only `Local` may touch it
as a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow.parquet as pq

from ibkit.errors import StoreError
from ibkit.store import disk
from ibkit.store.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa

    from ibkit.store.audit import Audit
    from ibkit.store.crypto import Seal

T = TypeVar("T")


class Medium(Protocol):
    """What the engine asks of the place where its files lie; every refusal is an error of ours."""

    #: whether foreign code (DuckDB, memory maps, a cache) may open the paths as files
    local: bool

    def exclusively(self, path: Path, timeout_s: float, action: Callable[[], T]) -> T:
        """Run `action`, and make sure that no other writer's change in between is lost.

        `path` names what is held. On a bucket `action` may run more than once.
        """
        ...

    def source(self, path: Path) -> Path | pa.Buffer:
        """Return what a Parquet reader opens; `FileNotFoundError` where there is nothing."""
        ...

    def read(self, path: Path, role: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        ...

    def read_on(self, path: Path, role: str, inode: int, offset: int) -> tuple[int, int, bytes]:
        """Return what was appended after `offset`; see `disk.read_on`."""
        ...

    def names(self, folder: Path, role: str) -> list[str]:
        """Return the names inside `folder`, in order; none where there is no folder."""
        ...

    def below(self, folder: Path) -> list[Path]:
        """Return every file below `folder`, in order."""
        ...

    def exists(self, path: Path) -> bool:
        """Whether there is a file, or a folder with something in it."""
        ...

    def size(self, path: Path) -> int:
        """Return the bytes of a file; 0 where there is none."""
        ...

    def replace(self, path: Path, content: bytes, *, tmp: Path, keep: Path | None = None) -> None:
        """Put `content` at `path` in one step, durably; `keep` is a second name of the old file."""
        ...

    def create(self, path: Path, content: bytes, *, tmp: Path) -> bool:
        """Put `content` at `path` unless something is there; say whether it was done."""
        ...

    def append(self, path: Path, line: bytes, name: str, *, most: int = 0o666) -> None:
        """Append one line, durably; `name` sorts it among the others where lines are objects.

        `most` are the rights that a new file may give to anybody.
        """
        ...

    def remove(self, path: Path) -> None:
        """Remove a file; nothing happens where there is none."""
        ...

    def sweep(self, tmp: Path) -> int:
        """Remove what killed writers left behind."""
        ...

    def show(self, path: Path) -> str:
        """Return the name of a file as a person would look for it."""
        ...


class Local:
    """A folder of this machine."""

    local = True

    def exclusively(self, path: Path, timeout_s: float, action: Callable[[], T]) -> T:
        """Hold the lock `path` around `action`."""
        with exclusive(path, timeout_s):
            return action()

    def source(self, path: Path) -> Path:
        """Return the path itself; opening it says whether it is there."""
        return path

    def read(self, path: Path, role: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        return disk.read(path, role)

    def read_on(self, path: Path, role: str, inode: int, offset: int) -> tuple[int, int, bytes]:
        """Return what was appended after `offset`."""
        return disk.read_on(path, role, inode, offset)

    def names(self, folder: Path, role: str) -> list[str]:
        """Return the names inside `folder`, in order."""
        return disk.names(folder, role)

    def below(self, folder: Path) -> list[Path]:
        """Return every file below `folder`, in order."""
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def exists(self, path: Path) -> bool:
        """Whether there is a file or a folder."""
        return path.exists()

    def size(self, path: Path) -> int:
        """Return the bytes of a file; 0 where there is none."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def replace(self, path: Path, content: bytes, *, tmp: Path, keep: Path | None = None) -> None:
        """Put `content` at `path` in one step, durably."""
        disk.replace(path, content, tmp=tmp, keep=keep)

    def create(self, path: Path, content: bytes, *, tmp: Path) -> bool:
        """Put `content` at `path` unless something is there."""
        return disk.create(path, content, tmp=tmp)

    def append(self, path: Path, line: bytes, name: str, *, most: int = 0o666) -> None:  # noqa: ARG002 - a file has order
        """Append one line, durably."""
        disk.append_line(path, line, most)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        with disk.access(path, "a file to remove"):
            path.unlink(missing_ok=True)

    def sweep(self, tmp: Path) -> int:
        """Remove what killed writers left in `tmp`."""
        return disk.sweep(tmp)

    def show(self, path: Path) -> str:
        """Return the path."""
        return str(path)


LOCAL = Local()


def replace_all(medium: Medium, puts: Sequence[disk.Put], *, tmp: Path) -> None:
    """Put several files in place; a folder takes all or none where its disk is full."""
    if isinstance(medium, Local):
        disk.replace_all(puts, tmp=tmp)
        return
    for put in puts:
        medium.replace(put.path, put.content, tmp=tmp, keep=put.keep)


class Door:
    """How the files of one dataset are opened: where they lie, and with which keys."""

    def __init__(
        self, medium: Medium, seal: Seal | None = None, audit: Audit | None = None
    ) -> None:
        self.medium, self._seal, self._audit = medium, seal, audit

    def tell_write(self, operation: str, dataset: str, instrument: str, **facts: Any) -> None:
        """Tell the audit, if there is one, that rows are about to be written."""
        if self._audit is not None:
            self._audit.writes(operation, dataset, instrument, **facts)

    def tell_read(self, operation: str, dataset: str, instrument: str, **facts: Any) -> None:
        """Tell the audit, if there is one, that rows are about to be read."""
        if self._audit is not None:
            self._audit.reads(operation, dataset, instrument, **facts)

    @property
    def seal(self) -> Seal:
        """The dataset's encryption, on or off."""
        if self._seal is None:
            raise StoreError("this door has no keys")
        return self._seal

    def open(self, path: Path) -> Any:
        """Return a `pyarrow.parquet.ParquetFile`; its errors are pyarrow's."""
        if self._seal is not None:
            return self._seal.open(path)
        source = self.medium.source(path)
        return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)

    @property
    def encrypted(self) -> bool:
        """Whether the dataset is; then nothing of it may lie anywhere in the plain."""
        return self._seal is not None and self._seal.state(fresh=True) is not None

    def writing(self) -> Any:
        """Return what a `ParquetWriter` needs to encrypt; None if files are plain."""
        return None if self._seal is None else self._seal.writing()


PLAIN = Door(LOCAL)
