"""Where the curated notebooks are: the workspace's own first, then those that ibkit brings."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import ibkit
from ibkit.errors import UnknownNotebookError

if TYPE_CHECKING:
    from collections.abc import Iterator


def curated() -> Path:
    """Return the folder of the notebooks that ibkit brings: in the wheel, or in a checkout."""
    package = Path(ibkit.__file__).parent
    inside = package / "notebooks"
    return inside if inside.is_dir() else package.parent / "notebooks"


def find_notebook(name: str | Path, workspace: Path) -> Path:
    """Return the file of notebook `name`: a path, or a name without ``.ipynb``.

    Raises
    ------
    UnknownNotebookError
        Lists what there is, the nearest name first.
    """
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path.absolute()
    for folder in folders(workspace):
        candidate = folder / f"{path.name.removesuffix('.ipynb')}.ipynb"
        if candidate.is_file() and len(path.parts) == 1:
            return candidate
    raise UnknownNotebookError(_unknown(str(name), sorted(names(workspace))))


def folders(workspace: Path) -> tuple[Path, ...]:
    """Return where notebooks are looked for, in order."""
    return workspace / "notebooks", curated()


def names(workspace: Path) -> dict[str, Path]:
    """Return every notebook there is, by name."""
    found = {
        path.stem: path for folder in reversed(folders(workspace)) for path in _notebooks(folder)
    }
    return dict(sorted(found.items()))


def _notebooks(folder: Path) -> Iterator[Path]:
    return folder.glob("*.ipynb")


def _unknown(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"
    return f"There is no notebook {name!r}; {hint}\nHint: a path to an .ipynb file works too."
