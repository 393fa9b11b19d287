"""A store in a bucket: the same files under the same names, committed by conditional put.

No lock and no rename: a writer remembers the ETag of every object that it read, and puts the new
one only if that is still there (`If-Match`), or if nothing is (`If-None-Match: *`). Whoever comes
second starts over. A journal is one object a commit. Requests go through obstore; pyarrow cannot
put conditionally.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast
from uuid import uuid4

import pyarrow as pa

from ibkit import clock
from ibkit.errors import ConditionsIgnoredError, StoreAccessError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

FIRST_WAIT_S: Final = 0.02
LONGEST_WAIT_S: Final = 1.0
ROOT: Final = cast("Path", PurePosixPath("."))  # a name only: touching it as a file fails
# of single requests that failed on the way; obstore's own patience is three minutes
RETRY: Final = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
INSTALL: Final = "a store in a bucket needs obstore: pip install 'ibkit[s3]'"


class Version(NamedTuple):
    """An object as it was read: its bytes and its ETag."""

    content: bytes
    etag: str


class _ConflictError(Exception):
    """Another writer was first."""


# what the running `exclusively` of this thread has read; the put of a name is held against it
_SEEN: ContextVar[dict[str, Version | None] | None] = ContextVar("_SEEN", default=None)


def is_url(root: object) -> bool:
    """Whether a root names a bucket.

    >>> is_url("s3://bars/paper"), is_url("data/paper")
    (True, False)
    """
    return isinstance(root, str) and "://" in root


def connect(url: str, options: Mapping[str, Any] | None) -> Objects:
    """Return the bucket at `url`; nothing is asked of it yet.

    Parameters
    ----------
    url : str
        ``"s3://bucket/prefix"``.
    options : mapping, optional
        Keywords of `obstore.store.from_url`: ``endpoint``, ``region``, ``access_key_id``,
        ``secret_access_key``, ``client_options``, …; the rest comes from ``AWS_*`` variables.

    Raises
    ------
    StoreAccessError
        obstore is not installed, or does not understand the URL or an option.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise StoreAccessError(url, INSTALL) from error
    given = {"retry_config": RETRY, **(options or {})}
    if str(given.get("endpoint", "")).startswith("http://"):  # a server of one's own, no TLS
        given["client_options"] = {"allow_http": True, **given.get("client_options", {})}
    try:
        return Objects(url.rstrip("/"), from_url(url, **given))
    except (BaseError, ValueError, TypeError) as error:
        raise StoreAccessError(url, f"{error}") from error


class Objects:
    """A bucket, or the part of one below a prefix."""

    local = False

    def __init__(self, url: str, store: Any) -> None:
        self.url, self._store = url, store
        self._journals: dict[str, _Lines] = {}
        self._lock = Lock()

    def check_conditions(self) -> None:
        """Try that conditional puts are held here; once a process and bucket.

        Raises
        ------
        ConditionsIgnoredError
            They are not: two writers would lose each other's rows.
        """
        if self.url in _PROBED:
            return
        probe = f"meta/probe/{uuid4().hex}"
        try:
            ignored = self._ignored(probe)
        finally:
            self.remove(cast("Path", PurePosixPath(probe)))
        if ignored:
            raise ConditionsIgnoredError(self.url, ignored)
        _PROBED.add(self.url)

    def _ignored(self, probe: str) -> list[str]:
        """Return which conditions the endpoint does not hold."""
        first = self._put(probe, b"1", "create")
        ignored = []
        if first is None or self._put(probe, b"2", "create") is not None:
            ignored.append("If-None-Match: *")
        stale = self._put(probe, b"3", {"e_tag": '"0123456789abcdef0123456789abcdef"'})
        if stale is not None:
            ignored.append("If-Match")
        return ignored

    # --- writing ---------------------------------------------------------------------------------

    def exclusively(self, path: Path, timeout_s: float, action: Callable[[], T]) -> T:
        """Run `action` until no other writer came in between."""
        deadline, pause = clock.monotonic() + timeout_s, FIRST_WAIT_S
        while True:
            token = _SEEN.set({})
            try:
                return action()
            except _ConflictError:
                if clock.monotonic() >= deadline:
                    raise StoreBusyError(self.show(path), timeout_s) from None
            finally:
                _SEEN.reset(token)
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret
            pause = min(2 * pause, LONGEST_WAIT_S)

    def replace(self, path: Path, content: bytes, *, tmp: Path, keep: Path | None = None) -> None:  # noqa: ARG002 - nothing is unfinished here
        """Put `content` at `path` if it is still what this writer read."""
        seen = _SEEN.get()
        if seen is None:
            raise RuntimeError("an object is replaced inside of exclusively() only")
        old = self._version(str(path))
        if keep is not None and old is not None:
            self._put(str(keep), old.content, "create")
        etag = self._put(str(path), content, "create" if old is None else {"e_tag": old.etag})
        if etag is None:
            raise _ConflictError
        seen[str(path)] = Version(content, etag)

    def create(self, path: Path, content: bytes, *, tmp: Path) -> bool:  # noqa: ARG002 - as above
        """Put `content` at `path` unless something is there."""
        return self._put(str(path), content, "create") is not None

    def append(self, path: Path, line: bytes, name: str, *, most: int = 0) -> None:  # noqa: ARG002 - a bucket has policies
        """Put a line as an object of its own; one of the same name is never overwritten."""
        for again in count():
            suffix = f"-{again}" if again else ""
            if self._put(f"{path}/{name}{suffix}", line, "create") is not None:
                return

    def remove(self, path: Path) -> None:
        """Remove an object."""
        import obstore

        with self._access(str(path)), suppress(FileNotFoundError):
            obstore.delete(self._store, str(path))

    def sweep(self, tmp: Path) -> int:  # noqa: ARG002 - a put is whole or not at all
        """Return 0: nothing is left behind here."""
        return 0

    def _put(self, name: str, content: bytes, mode: Any) -> str | None:
        """Return the new ETag; None if the condition did not hold."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._access(name):
            try:
                # one request: the parts of a large upload would carry no condition
                done = obstore.put(self._store, name, content, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return None
        if not done["e_tag"]:
            raise StoreAccessError(self._named(name), "the endpoint gives no ETag")
        return str(done["e_tag"])

    # --- reading ---------------------------------------------------------------------------------

    def _version(self, name: str) -> Version | None:
        """Return an object; inside of `exclusively` the same one each time."""
        seen = _SEEN.get()
        if seen is not None and name in seen:
            return seen[name]
        found = self._get(name)
        if seen is not None:
            seen[name] = found
        return found

    def _get(self, name: str) -> Version | None:
        import obstore

        with self._access(name):
            try:
                found = obstore.get(self._store, name)
                etag = str(found.meta["e_tag"])  # before the bytes, which are given once
                return Version(bytes(found.bytes()), etag)
            except FileNotFoundError:
                return None

    def source(self, path: Path) -> pa.Buffer:
        """Return the bytes of an object for a Parquet reader."""
        found = self._version(str(path))
        if found is None:
            raise FileNotFoundError(self.show(path))
        return pa.BufferReader(found.content)

    def read(self, path: Path, role: str) -> bytes | None:  # noqa: ARG002 - the error names the path
        """Return the content of an object; None where there is none."""
        found = self._version(str(path))
        return None if found is None else found.content

    def read_on(self, path: Path, role: str, inode: int, offset: int) -> tuple[int, int, bytes]:  # noqa: ARG002 - as above
        """Return the lines of a journal that were not handed out yet; all, if one came between."""
        with self._lock:
            lines = self._journals.setdefault(str(path), _Lines())
            names = sorted(one for one in self._listed(f"{path}/") if one not in lines.known)
            # a commit that took its number early may be journaled late: then from the start
            if names and lines.last > names[0]:
                lines.generation += 1
            for name in names:
                found = self._get(name)
                lines.known[name] = b"" if found is None else found.content.rstrip(b"\n") + b"\n"
            lines.last = max(lines.known, default="")
            content = b"".join(lines.known[name] for name in sorted(lines.known))
            if inode != lines.generation:
                offset = 0
            return lines.generation, offset, content[offset:]

    def names(self, folder: Path, role: str) -> list[str]:  # noqa: ARG002 - as above
        """Return the names inside `folder`, in order."""
        import obstore

        with self._access(str(folder)):
            found = obstore.list_with_delimiter(self._store, str(folder))
        paths = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
        return sorted(path.rpartition("/")[2] for path in paths)

    def below(self, folder: Path) -> list[Path]:
        """Return every object below `folder`, in order."""
        return [cast("Path", PurePosixPath(name)) for name in sorted(self._listed(f"{folder}/"))]

    def _listed(self, prefix: str) -> list[str]:
        import obstore

        with self._access(prefix):
            return [one["path"] for page in obstore.list(self._store, prefix) for one in page]

    def exists(self, path: Path) -> bool:
        """Whether there is an object, or anything below it."""
        return bool(self.names(path, "")) or self.size(path) > 0

    def size(self, path: Path) -> int:
        """Return the bytes of an object; 0 where there is none."""
        import obstore

        with self._access(str(path)):
            try:
                return int(obstore.head(self._store, str(path))["size"])
            except FileNotFoundError:
                return 0

    def show(self, path: Path) -> str:
        """Return the URL of an object."""
        return self._named(str(path))

    def _named(self, name: str) -> str:
        return f"{self.url}/{name}"

    @contextmanager
    def _access(self, name: str) -> Iterator[None]:
        """Turn what obstore raises into an error that names the object."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise StoreAccessError(self._named(name), reason) from error


@dataclass(slots=True)
class _Lines:
    """What is known of one journal: its objects by name."""

    known: dict[str, bytes]
    last: str = ""
    generation: int = 1

    def __init__(self) -> None:
        self.known = {}
        self.last, self.generation = "", 1


_PROBED: Final[set[str]] = set()
os.register_at_fork(after_in_child=_PROBED.clear)
