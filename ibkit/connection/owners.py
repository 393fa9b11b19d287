"""Who is alive: each owner holds a lock on a file, which the kernel drops with the process.

``kill -9`` and a power cut drop it too, so nobody waits for the dead. Not here: what is owned.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from pathlib import Path


class Owner:
    """Ourselves, among all who share one folder of locks.

    Parameters
    ----------
    folder : Path or None
        Where the locks are; made if need be. None: nobody else shares what is owned.
    """

    def __init__(self, folder: Path | None) -> None:
        self.name = secrets.token_hex(8)
        self._folder = folder
        self._descriptor = -1
        if folder is None:
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        self._descriptor = os.open(folder / self.name, flags, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        OWNERS.add(self)

    def alive(self, name: str) -> bool:
        """Whether the process of the owner `name` still runs."""
        if self._folder is None:
            return name == self.name
        if name == self.name:
            return self._descriptor >= 0
        try:
            descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def bury(self, name: str) -> None:
        """Remove the file of a dead owner."""
        if self._folder is not None:
            (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Be dead. Again is allowed."""
        if self._descriptor >= 0:
            self.bury(self.name)
            self.let_go()

    def let_go(self) -> None:
        """Close the lock's file; in a forked child the lock stays the parent's."""
        OWNERS.discard(self)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


OWNERS: Final[WeakSet[Owner]] = WeakSet()


def _after_fork() -> None:
    for each in tuple(OWNERS):
        each.let_go()


os.register_at_fork(after_in_child=_after_fork)
