"""One writer at a time per instrument, across threads and processes; and what a fork must renew.

`flock` and nothing else: the kernel drops it when its holder dies (a lock file with a pid in it
would stay), and, unlike `lockf`, it is not lost when any other descriptor of the file is closed.
Readers never come here.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from ibkit import clock
from ibkit.errors import StoreBusyError
from ibkit.store.disk import access, inherited, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST_WAIT_S: Final = 0.0005
LONGEST_WAIT_S: Final = 0.002  # asking costs microseconds, an idle disk milliseconds
_RENEWED: Final[WeakSet[Renewable]] = WeakSet()


class Renewable(Protocol):
    """What holds a lock of threads, which a fork would copy as it is, held by nobody."""

    def renew(self) -> None:
        """Take a free lock, and forget what another thread may have left half done."""
        ...


def renewed(holder: Renewable) -> None:
    """Renew `holder` in every child that this process forks, for as long as it lives."""
    _RENEWED.add(holder)


def _renew() -> None:
    for holder in list(_RENEWED):
        holder.renew()


os.register_at_fork(after_in_child=_renew)


@contextmanager
def exclusive(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock `path` for the length of the block.

    Every call opens the file anew, so two threads of a process exclude each other too.

    Raises
    ------
    StoreBusyError
        Another writer held it all the time.
    StoreAccessError
        The lock's folder cannot be used.
    """
    make_folder(path.parent)
    with access(path, "the lock of an instrument"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        share_mode(descriptor, path.parent)
        _wait(descriptor, path, timeout_s)
        yield
    finally:
        os.close(descriptor)


def share_mode(descriptor: int, folder: Path) -> None:
    """Let whoever may write in `folder` take the lock, too; the one who made it says so."""
    found, mode = os.fstat(descriptor), inherited(folder)
    if mode is not None and found.st_uid == os.geteuid() and found.st_mode & 0o777 != mode & 0o666:
        os.fchmod(descriptor, mode & 0o666)


def _wait(descriptor: int, path: Path, timeout_s: float) -> None:
    deadline, pause = clock.monotonic() + timeout_s, FIRST_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= deadline:
                raise StoreBusyError(path, timeout_s) from None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_WAIT_S)
        else:
            return
