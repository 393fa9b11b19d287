"""Who may do what: reader, writer, owner; held by file modes, and by a door that only reads.

The owner is the account that the root folder belongs to. What a role is refused here saves
accidents; what a person is refused, the modes refuse: `share` sets them, and whatever is made later
takes the mode of the folder that it is made in. Keys are the other half (`crypto`).
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeVar

from ibkit.errors import RoleError, StoreAccessError
from ibkit.store import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from ibkit.store.medium import Medium

T = TypeVar("T")

LOG_MODE: Final = 0o640  # of the audit: written by its account, read by the group at most

Role = Literal["reader", "writer", "owner"]
Share = Literal["private", "readers", "writers"]

RANK: Final = {"reader": 0, "writer": 1, "owner": 2}
GROUP: Final = 0o2000  # what is made in such a folder belongs to its group
STICKY: Final = 0o1000  # names in such a folder are removed by their owner alone
#: modes of: the root, data and meta, folders that only the owner takes names out of
MODES: Final[dict[Share, tuple[int, int, int]]] = {
    "private": (0o700, 0o700, 0o700),
    "readers": (0o750 | GROUP, 0o750 | GROUP, 0o750 | GROUP),
    "writers": (0o750 | GROUP, 0o770 | GROUP, 0o770 | GROUP | STICKY),
}


def role_of(root: Path, wanted: Role | None) -> Role:
    """Return the role to work in: the one asked for, if this account may; else the highest.

    Raises
    ------
    RoleError
        Somebody else owns the root.
    StoreAccessError
        `root` cannot be looked at.
    """
    if wanted is not None:
        check_name(wanted)
    if wanted in ("reader", "writer"):
        return wanted
    if is_owner(root):
        return "owner"
    if wanted == "owner":
        raise RoleError("writer", f"open {root} as its owner", "account that owns that folder")
    return "writer"


def check_name(role: str) -> None:
    """Raise if there is no such role."""
    if role not in RANK:
        raise ValueError(f"there is no role {role!r}; there are {', '.join(RANK)}")


def is_owner(root: Path) -> bool:
    """Whether this account owns the root, or would if it made it; the superuser always does."""
    with disk.access(root, "the root of a store"):
        try:
            owner = root.stat().st_uid
        except FileNotFoundError:
            return True
    return os.geteuid() in (0, owner)


def check(role: Role, needs: Role, what: str) -> None:
    """Raise if `role` is below the one that `what` needs."""
    if RANK[role] < RANK[needs]:
        raise RoleError(role, what, needs)


class ReadOnly:
    """A medium through which nothing is written: no lock, no journal, no temporary file."""

    def __init__(self, medium: Medium) -> None:
        self._medium, self.local = medium, medium.local

    def exclusively(self, path: Path, timeout_s: float, action: Callable[[], T]) -> T:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def replace(self, path: Path, content: bytes, *, tmp: Path, keep: Path | None = None) -> None:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def create(self, path: Path, content: bytes, *, tmp: Path) -> bool:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def append(self, path: Path, line: bytes, name: str, *, most: int = 0) -> None:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def remove(self, path: Path) -> None:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def sweep(self, tmp: Path) -> int:  # noqa: ARG002
        """Leave what is left behind."""
        return 0

    def _refuse(self) -> NoReturn:
        raise RoleError("reader", "write", "role of a writer, Store(root, role='writer')")

    def source(self, path: Path) -> Path | pa.Buffer:
        """Return what a Parquet reader opens."""
        return self._medium.source(path)

    def read(self, path: Path, role: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        return self._medium.read(path, role)

    def read_on(self, path: Path, role: str, inode: int, offset: int) -> tuple[int, int, bytes]:
        """Return what was appended after `offset`."""
        return self._medium.read_on(path, role, inode, offset)

    def names(self, folder: Path, role: str) -> list[str]:
        """Return the names inside `folder`, in order."""
        return self._medium.names(folder, role)

    def below(self, folder: Path) -> list[Path]:
        """Return every file below `folder`, in order."""
        return self._medium.below(folder)

    def exists(self, path: Path) -> bool:
        """Whether there is a file, or a folder with something in it."""
        return self._medium.exists(path)

    def size(self, path: Path) -> int:
        """Return the bytes of a file; 0 where there is none."""
        return self._medium.size(path)

    def show(self, path: Path) -> str:
        """Return the name of a file as a person would look for it."""
        return self._medium.show(path)


def settle(root: Path) -> None:
    """Make the folders of a new store: for its owner alone, unless the root is there already."""
    if (root / "meta").is_dir() and (root / "store.json").is_file():
        return  # the marker is made, and its folder synced, after all of this
    if not root.is_dir():
        disk.make_folder(root.parent)
        with disk.access(root, "the root of a store"):
            root.mkdir(mode=0o700, exist_ok=True)
        disk.sync_folder(root.parent)
    with disk.access(root, "the folder meta of a store"):
        (root / "meta").mkdir(mode=0o700, exist_ok=True)
    disk.sync_folder(root)


def share(root: Path, whom: Share, group: str | None, kept: Sequence[Path], audit: Path) -> None:
    """Set the modes of everything in a store; see `Store.share`.

    `kept` are folders that only the owner takes names out of, such as the history's; in `audit`
    everybody who may read writes a log of their own.
    """
    if whom not in MODES:
        raise ValueError(f"a store is shared with one of {', '.join(MODES)}, not {whom!r}")
    top, inside, owners = MODES[whom]
    for folder in (root / "data", root / "meta", *kept, audit):
        disk.make_folder(folder)
    others: list[Path] = []
    try:
        if whom == "private":  # from now on nobody comes in, whatever the modes below
            _set_one(root, top, group, others)
        for folder in (root / "data", root / "meta"):
            _set(folder, inside, group, others)
        for folder in kept:
            folder.chmod(owners)
        audit.chmod(MODES["private" if whom == "private" else "writers"][2])
        _set_one(root / "store.json", top, group, others)
        _set_one(root, top, group, others)
    except (OSError, LookupError) as error:
        raise StoreAccessError(root, f"its modes cannot be set: {error}") from error
    if others and whom != "private":
        raise StoreAccessError(
            others[0],
            f"{len(others)} files and folders belong to other accounts, which keep their rights "
            "to them until the superuser gives them to the owner with chown; the rest is done",
        )


def _set(top: Path, inside: int, group: str | None, others: list[Path]) -> None:
    for folder, _, names in os.walk(top):
        _set_one(Path(folder), inside, group, others)
        for name in names:
            _set_one(Path(folder, name), inside, group, others)


def _set_one(path: Path, folder_mode: int, group: str | None, others: list[Path]) -> None:
    """Give a folder the mode, and a file the part of it that files have.

    What another account made cannot be changed; it goes to `others` if it should be.
    """
    if not path.exists():
        return
    mode = folder_mode if path.is_dir() else folder_mode & _most(path)
    found = path.stat()
    if os.geteuid() not in (0, found.st_uid):
        if stat.S_IMODE(found.st_mode) & 0o777 != mode & 0o777:
            others.append(path)
        return
    if group is not None:
        shutil.chown(path, group=group)
    path.chmod(mode)


def _most(path: Path) -> int:
    """Return the rights that a file may give: the owner's word and the logs are not overwritten."""
    if path.name == "encryption.json":
        return 0o644
    return LOG_MODE if path.parent.name == "audit" else 0o666
