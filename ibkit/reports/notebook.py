"""Read, write and rebuild notebooks: nbformat behind three typed functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat

from ibkit.errors import UnknownNotebookError

if TYPE_CHECKING:
    from pathlib import Path

    from nbformat import NotebookNode


def read_notebook(path: Path) -> NotebookNode:
    """Return the notebook in `path`, in today's format.

    Raises
    ------
    UnknownNotebookError
        The file is none.
    """
    try:
        found: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (ValueError, nbformat.ValidationError) as error:  # no JSON, no text, no notebook
        raise UnknownNotebookError(f"{path} is not a notebook: {error}") from error
    return found


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write `notebook` to `path`."""
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]  # nbformat has no types here


def make_notebook(plain: dict[str, Any]) -> NotebookNode:
    """Return the notebook that plain dicts and lists describe."""
    made: NotebookNode = nbformat.from_dict(plain)  # type: ignore[no-untyped-call]  # as above
    return made
