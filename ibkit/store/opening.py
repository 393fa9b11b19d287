"""Open the store of a profile as the settings say: where, audited or not, with which keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ibkit.store.crypto import Keys
from ibkit.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from ibkit.settings import Settings
    from ibkit.store.access import Role


def open_store(
    settings: Settings,
    profile: str,
    *,
    root: Path | None = None,
    kind: Literal["sim", "real"] | None = None,
    role: Role | None = None,
) -> Store:
    """Return the store of a profile.

    Parameters
    ----------
    settings : Settings
        Their table ``[store]``.
    profile : str
        Its name; each has a root of its own.
    root : Path, optional
        That folder instead of the profile's.
    kind
        As for `Store`.
    role
        As for `Store`; the one of the settings if not said.
    """
    table = settings.store
    url = f"{table.url.rstrip('/')}/{profile}" if table.url and root is None else None
    folder = table.secrets and settings.workspace / table.secrets.expanduser()
    return Store(
        url or root or settings.root(profile),
        kind=kind,
        role=role or table.role,
        audit=table.audit,
        encrypted=table.encrypted,
        keys=Keys(folder),
        options=table.options if url else None,
    )
