"""The papermill engine that runs our notebooks: this Python's kernel, honest marks, progress.

Papermill's own engine takes whatever kernel is registered under a name, and calls a cell that
Ctrl-C ended "completed". Import this only where a notebook is run: papermill is slow to load.
"""

from __future__ import annotations

import os
import tempfile
from typing import IO, TYPE_CHECKING, Any, Final

import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from ibkit.reports.parameters import is_step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nbformat import NotebookNode

    from ibkit.reports.progress import Progress

NAME: Final = "ibkit"
TAIL: Final = 800  # bytes
# the kernel knows that nobody watches; figures are kept as data, without a copy of plotly.js
ENVIRONMENT: Final = {"IBKIT_RUN": "1", "PLOTLY_RENDERER": "plotly_mimetype"}


class ThisPython(AsyncKernelManager):
    """Starts a kernel of the interpreter we run in, whatever is registered as ``python3``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # traffic to the kernel is encrypted where both sides can (jupyter_client >= 8.10)
        if self.has_trait("transport_encryption"):
            self.transport_encryption = "auto"

    @property
    def kernel_spec(self) -> KernelSpec:
        """Return the kernel's command line."""
        return KernelSpec(**get_kernel_dict())


class Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill ships no types
    """Runs cell after cell; whatever ends one early is marked on it."""

    steps: Progress

    def papermill_execute_cells(self) -> None:
        """Run the cells until one fails."""
        for index, cell in enumerate(self.nb.cells):
            self._announce(index)
            try:
                self.nb_man.cell_start(cell, index)
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                break
            except BaseException as error:  # Ctrl-C, a dead kernel: marked, and passed on
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)

    def _announce(self, index: int) -> None:
        cells = self.nb.cells
        if is_step(cells[index]):
            self.steps.step(sum(map(is_step, cells[: index + 1])), _heading(cells[:index]))


class Engine(NBClientEngine):  # type: ignore[misc]  # as above
    """Papermill's engine with our client, our kernel, and the kernel's own folder."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, steps: Progress, folder: Path, **_: Any
    ) -> None:
        """Run the notebook that `nb_man` holds, in `folder`."""
        client = Client(
            nb_man,
            kernel_name=kernel_name,
            kernel_manager_class=ThisPython,
            timeout=None,
            coalesce_streams=True,
            startup_timeout=120,
            stdout_file=steps,
            stderr_file=steps,
        )
        client.steps = steps
        with tempfile.TemporaryFile() as words:  # the kernel's own, not its cells'
            try:
                client.execute(
                    cwd=str(folder), env={**os.environ, **ENVIRONMENT}, stdout=words, stderr=words
                )
            except RuntimeError as error:
                raise KernelError(f"{error} {_tail(words)}".strip()) from error


class KernelError(RuntimeError):
    """The kernel died, or never came; the text ends with its last words."""


def execute(
    source: Path, output: Path, parameters: Mapping[str, Any], *, folder: Path, progress: Progress
) -> NotebookNode:
    """Run `source` with `parameters` in `folder`, keeping `output` up to date all the while.

    Raises
    ------
    papermill.PapermillExecutionError
        A cell raised.
    KernelError
        The kernel did not live long enough.
    """
    papermill_engines.register(NAME, Engine)
    done: NotebookNode = papermill.execute_notebook(
        str(source),
        str(output),
        parameters=dict(parameters),
        engine_name=NAME,
        kernel_name="python3",
        language="python",
        progress_bar=False,
        steps=progress,
        folder=folder,
    )
    return done


def _tail(words: IO[bytes]) -> str:
    """Return the last of what the kernel itself wrote."""
    words.seek(max(words.seek(0, os.SEEK_END) - TAIL, 0))
    return words.read().decode(errors="replace").strip()


def _heading(cells: list[NotebookNode]) -> str:
    """Return the nearest heading above."""
    lines = [
        line.lstrip("# ")
        for cell in cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("#")
    ]
    return lines[-1] if lines else ""
