"""Files that stay what they are while a foreign engine reads them.

DuckDB opens a file by its name more than once: for its footer, and later for its pages. Where a
writer replaces the file in between, the pages of one are read by the footer of the other. So
engines get names of their own, hard links that no writer touches and that cost no byte.
"""

from __future__ import annotations

import os
import shutil
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ibkit.errors import StoreError
from ibkit.store import disk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def take(paths: Sequence[Path], below: Path, tmp: Path, owner: Any) -> list[Path] | None:
    """Return second names of `paths`, for as long as `owner` lives.

    Parameters
    ----------
    paths : sequence of Path
        Files below the folder `below`; the folders in between keep their names. Those that are
        gone by now are left out.
    below : Path
        See `paths`.
    tmp : Path
        A folder on the same file system; what a kill leaves there is swept by writers.
    owner : object
        Whose end removes the names.

    Returns
    -------
    list of Path or None
        None where links cannot be made: no right to write, or a file system without them.
    """
    folder = tmp / f"{os.getpid()}-{uuid4().hex}"
    try:
        disk.make_folder(folder)
        found = [link for path in paths if (link := _linked(path, below, folder))]
    except (OSError, StoreError):
        with suppress(OSError):
            shutil.rmtree(folder)
        return None
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return found


def _linked(path: Path, below: Path, folder: Path) -> Path | None:
    link = folder / path.relative_to(below)
    try:
        link.parent.mkdir(exist_ok=True)
    except FileNotFoundError:
        link.parent.mkdir(parents=True)
    try:
        os.link(path, link)
    except FileNotFoundError:
        return None
    return link
