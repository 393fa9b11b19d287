"""`store.json`: what kind of store this is, so that simulated and real rows never meet.

Written once, with the first row; read whenever a store is opened.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from ibkit import __version__, clock
from ibkit.errors import CorruptFileError, ProfileMixError
from ibkit.store import layout
from ibkit.store.medium import LOCAL

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from ibkit.store.medium import Medium

Kind = Literal["sim", "real"]


def read(path: Path, medium: Medium = LOCAL) -> Kind | None:
    """Return the kind of the store; None where there is no store yet.

    Raises
    ------
    CorruptFileError
        The file is damaged, or of a later format.
    """
    content = medium.read(path, "the store's marker")
    if content is None:
        return None
    try:
        facts = json.loads(content)
    except ValueError as error:
        raise CorruptFileError(path, f"it is no JSON: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != layout.FORMAT:
        raise CorruptFileError(path, f"it is not of format {layout.FORMAT}; update ibkit")
    return "sim" if facts.get("kind") == "sim" else "real"


def settle(path: Path, kind: Kind, medium: Medium = LOCAL) -> None:
    """Make sure that the store is of this kind, marking it if it is new.

    Raises
    ------
    ProfileMixError
        It is of the other kind.
    """
    found = read(path, medium)
    if found is None:
        _create(path, kind, medium)
        found = read(path, medium)
    check(path.parent, found, kind)


def check(root: object, found: Kind | None, wanted: Kind | None) -> None:
    """Raise if the store is of another kind than wanted."""
    if found and wanted and found != wanted:
        words = {"sim": "simulated", "real": "real"}
        raise ProfileMixError(
            f"{root} holds {words[found]} data; {words[wanted]} data cannot join it.\n"
            "Hint: each profile has a folder of its own; name another root."
        )


def kind_of(source: str | None) -> Kind:
    """Return of which kind the rows of a source are."""
    return "sim" if (source or "").upper().startswith("SIM") else "real"


def check_rows(sources: pa.ChunkedArray, kind: Kind) -> None:
    """Raise if rows are of another kind, by their own column ``source``, than their writer says.

    Raises
    ------
    ProfileMixError
        Names the source.
    """
    for source in sources.unique().to_pylist():
        if source is not None and kind_of(source) != kind:
            raise ProfileMixError(
                f"rows of source {source!r} cannot be written as {kind} ones.\n"
                "Hint: simulated rows have a source that begins with SIM, and a root of their own."
            )


def _create(path: Path, kind: Kind, medium: Medium) -> None:
    """Write the marker unless somebody else just did."""
    facts = {
        "format": layout.FORMAT,
        "kind": kind,
        "created": clock.now().isoformat(timespec="seconds"),
        "ibkit": __version__,
    }
    content = (json.dumps(facts, indent=2) + "\n").encode()
    medium.create(path, content, tmp=path.parent / "meta" / "tmp")
