"""`store.json`: what kind of store this is, so that simulated and real rows never meet.

Written once, with the first row; read whenever a store is opened.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from ibkit import __version__, clock
from ibkit.errors import CorruptFileError, ProfileMixError
from ibkit.store import disk, layout

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["sim", "real"]


def read(path: Path) -> Kind | None:
    """Return the kind of the store; None where there is no store yet.

    Raises
    ------
    CorruptFileError
        The file is damaged, or of a later format.
    """
    content = disk.read(path, "the store's marker")
    if content is None:
        return None
    try:
        facts = json.loads(content)
    except ValueError as error:
        raise CorruptFileError(path, f"it is no JSON: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != layout.FORMAT:
        raise CorruptFileError(path, f"it is not of format {layout.FORMAT}; update ibkit")
    return "sim" if facts.get("kind") == "sim" else "real"


def settle(path: Path, kind: Kind) -> None:
    """Make sure that the store is of this kind, marking it if it is new.

    Raises
    ------
    ProfileMixError
        It is of the other kind.
    """
    found = read(path)
    if found is None:
        _create(path, kind)
        found = read(path)
    check(path, found, kind)


def check(path: Path, found: Kind | None, wanted: Kind | None) -> None:
    """Raise if the store is of another kind than wanted."""
    if found and wanted and found != wanted:
        words = {"sim": "simulated", "real": "real"}
        raise ProfileMixError(
            f"{path.parent} holds {words[found]} data; {words[wanted]} data cannot join it.\n"
            "Hint: each profile has a folder of its own; name another root."
        )


def _create(path: Path, kind: Kind) -> None:
    """Write the marker unless somebody else just did: a hard link, which never overwrites."""
    facts = {
        "format": layout.FORMAT,
        "kind": kind,
        "created": clock.now().isoformat(timespec="seconds"),
        "ibkit": __version__,
    }
    disk.make_folder(path.parent)
    unfinished = path.with_name(f".store-{os.getpid()}-{uuid4().hex}")
    with disk.access(path, "the store's marker"):
        try:
            disk.write_synced(unfinished, (json.dumps(facts, indent=2) + "\n").encode())
            disk.link(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
