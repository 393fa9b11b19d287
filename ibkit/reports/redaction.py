"""Mask a notebook before it is kept or shared: account ids, and where things lie on this machine.

The rules for account ids and the home folder are `ibkit.log.redact`; the folders of the
workspace, of Python and of temporary files come on top.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ibkit
from ibkit.log import redact
from ibkit.reports.notebook import make_notebook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbformat import NotebookNode

# encoded bytes: nothing to read in them, and letters that look like an account id by chance
BINARY: Final = frozenset({"bdata", "image/png", "image/jpeg", "image/gif", "id"})


def places(workspace: Path) -> dict[str, str]:
    """Return the folders to mask, longest first, each with the word that stands for it.

    No angle brackets: the words end up in HTML outputs as well.
    """
    found = {
        workspace: "[workspace]",
        Path(sys.prefix): "[python]",
        Path(sys.base_prefix): "[python]",
        Path(ibkit.__file__).parent.parent: "[ibkit]",
        Path(tempfile.gettempdir()): "[tmp]",
    }
    names = {str(path.absolute()): word for path, word in found.items() if len(path.parts) > 1}
    return dict(sorted(names.items(), key=lambda item: -len(item[0])))


def mask(text: str, hidden: Mapping[str, str]) -> str:
    """Return `text` with folders and account ids masked.

    >>> mask("/srv/desk/data of DU1234567", {"/srv/desk": "[workspace]"})
    '[workspace]/data of DU••••'
    """
    for path, word in hidden.items():
        text = text.replace(path, word)
    return redact(text)


def mask_notebook(notebook: NotebookNode, hidden: Mapping[str, str]) -> NotebookNode:
    """Return a copy of `notebook` with every text in it masked."""
    return make_notebook(_masked(notebook, hidden))


def _masked(value: Any, hidden: Mapping[str, str], key: str = "") -> Any:
    if isinstance(value, str):
        return value if key in BINARY else mask(value, hidden)
    if isinstance(value, dict):
        return {name: _masked(item, hidden, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, hidden, key) for item in value]
    return value
