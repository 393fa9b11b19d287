"""What a `Store` stands on, settled once when it is opened: medium, role, keys, audit.

Not here: rows. Each part has its module; this one fits them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibkit.errors import StoreAccessError
from ibkit.schema import DATASETS
from ibkit.store import access, objects
from ibkit.store.audit import Audit
from ibkit.store.crypto import Keys, Seal
from ibkit.store.layout import Layout
from ibkit.store.medium import LOCAL, Door

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibkit.schema import Dataset
    from ibkit.store.access import Role
    from ibkit.store.audit import Extent
    from ibkit.store.medium import Medium

ONE, MANY = "one", "many"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store lies, and on what terms it was opened."""

    name: str
    paths: Layout
    role: Role
    medium: Medium
    audit: Audit
    keys: Keys
    required: frozenset[str]

    @property
    def root(self) -> Path:
        """The folder; of a bucket, a name that is no file."""
        return self.paths.root

    def door(self, dataset: Dataset) -> Door:
        """Return how the files of a dataset are opened."""
        seal = Seal(
            dataset.name,
            self.paths.meta(dataset) / "encryption.json",
            self.medium,
            self.keys,
            required=dataset.name in self.required,
        )
        return Door(self.medium, seal, self.audit)

    def settle(self) -> None:
        """Make the folders of a new store."""
        if self.medium.local and self.role != "reader":
            access.settle(self.root)


def open_place(
    root: Path | str,
    *,
    role: Role | None,
    encrypted: Iterable[str],
    keys: Keys | None,
    audit: Extent,
    options: Mapping[str, Any] | None,
    writers: str,
) -> Place:
    """Return the place at `root`; nothing is made yet. Errors as in `Store`."""
    required = frozenset(encrypted)
    strange = sorted(required - set(DATASETS))
    if strange:
        raise ValueError(f"there is no dataset {strange[0]!r} to encrypt")
    if writers not in (ONE, MANY):
        raise ValueError(f"writers is {ONE!r} or {MANY!r}, not {writers!r}")
    medium: Medium
    if objects.is_url(root):
        bucket = objects.connect(str(root), options)
        role = role or "owner"
        access.check_name(role)
        if role != "reader" and writers == MANY:
            bucket.check_conditions()
        medium, paths, name = bucket, Layout(objects.ROOT), bucket.url
    else:
        if options:
            raise ValueError("options are for a root in a bucket; this one is a folder")
        folder = Path(root).expanduser().absolute()
        if folder.is_file():
            raise StoreAccessError(folder, "the root of a store is a folder; this is a file")
        role = access.role_of(folder, role)
        medium, paths, name = LOCAL, Layout(folder), str(folder)
    log = Audit(paths.root / "meta" / "audit", medium, audit, role)
    guarded = access.ReadOnly(medium) if role == "reader" else medium
    return Place(name, paths, role, guarded, log, keys or Keys(), required)
