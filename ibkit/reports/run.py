"""Run a notebook with parameters, keep what came out, and make the report of it.

Papermill injects and keeps; here are the checks before (names, types), an engine that runs the
kernel of this very Python, and the judgement after, by outputs and not by metadata. Not here:
the page (`html`), what is hidden on it (`redaction`), the command line (`ibkit.cli`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ibkit
from ibkit import clock
from ibkit.errors import NotebookError, NotebookFailedError
from ibkit.reports import html, redaction
from ibkit.reports.curated import find_notebook
from ibkit.reports.notebook import read_notebook, write_notebook
from ibkit.reports.parameters import check_parameters, is_step, read_parameters
from ibkit.reports.progress import Progress, terminal
from ibkit.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from nbformat import NotebookNode

FOLDER: Final = "reports"


@dataclass(frozen=True, slots=True)
class Run:
    """A notebook that ran to its end.

    Attributes
    ----------
    notebook : str
        Its name.
    output : Path
        The notebook with its outputs, as kept in the workspace's ``reports`` folder.
    html : Path or None
        The report: one file that opens offline.
    parameters : dict
        All of them, with the values they had.
    seconds : float
        From start to end, the kernel's start included.
    """

    notebook: str
    output: Path
    html: Path | None
    parameters: dict[str, Any]
    seconds: float

    def __repr__(self) -> str:
        kept = self.html or self.output
        return f"<Run {self.notebook} in {self.seconds:.1f} s: {kept}>"

    def _repr_html_(self) -> str:
        kept = self.html or self.output
        size = f"{kept.stat().st_size / 1e6:.1f} MB" if kept.is_file() else "gone"
        return (
            f"<p><b>{self.notebook}</b> ran in {self.seconds:.1f} s: "
            f'<a href="{kept.as_uri()}" target="_blank">{kept.name}</a> ({size})</p>'
        )


def run(
    name: str | Path,
    /,
    *,
    out: Path | str | None = None,
    report: bool = True,
    progress: bool = True,
    **parameters: Any,
) -> Run:
    """Run a curated notebook, or any other, and write its report.

    Parameters
    ----------
    name : str or Path
        ``"daily_report"`` (`ibkit run --list` shows which there are), or a path to an ``.ipynb``.
    out : Path or str, optional
        The HTML file; the default is a new one in the workspace's ``reports`` folder.
    report : bool
        Whether to write the HTML file.
    progress : bool
        Whether to show cells as they go, and what they print.
    parameters : object
        For the notebook's own parameters cell; those that are left out keep their defaults.

    Returns
    -------
    Run
        With the paths of what was kept.

    Raises
    ------
    UnknownNotebookError
        There is no such notebook; the message lists those there are.
    ParameterError
        A name or a value does not fit; nothing was run.
    NotebookFailedError
        A cell raised. What ran until then is kept, and the error says where.

    Notes
    -----
    The kernel is this Python's, started in the workspace; it knows from ``IBKIT_RUN=1`` that
    nobody watches. Account ids and folders are masked in everything that is kept.

    Examples
    --------
    >>> ibkit.run("daily_report", symbols=["AAPL"])  # doctest: +SKIP
    <Run daily_report in 6.1 s: .../reports/daily_report-20261121-170312.html>
    """
    workspace = load_settings().workspace
    source = find_notebook(name, workspace)
    notebook = read_notebook(source)
    declared = read_parameters(notebook, source.stem)
    given = check_parameters(source.stem, declared, parameters)
    started, start = clock.now(), clock.monotonic()
    output = _reserve(workspace / FOLDER, source.stem, started)
    _execute(source, output, given, progress=_progress(notebook, source.stem, shown=progress))
    seconds = clock.monotonic() - start
    values = {key: given.get(key, knob.default) for key, knob in declared.items()}
    page = Path(out) if out else output.with_suffix(".html")
    if report:
        facts = _facts(source.stem, started, seconds)
        html.export(read_notebook(output), page, _provenance(facts, values))
    return Run(source.stem, output, page if report else None, values, seconds)


def _execute(
    source: Path, output: Path, parameters: Mapping[str, Any], *, progress: Progress
) -> None:
    """Run `source`; leave `output` masked whatever happens; raise what a cell raised."""
    from papermill import PapermillExecutionError  # half a second: only when needed

    from ibkit.reports import engine

    workspace = output.parent.parent
    try:
        engine.execute(source, output, parameters, folder=workspace, progress=progress)
    except PapermillExecutionError as error:
        progress.end(f"stopped in cell {error.exec_count}")
        words = redaction.mask(f"{error.ename}: {error.evalue}", redaction.places(workspace))
        raise NotebookFailedError(source.stem, error.exec_count, words, output) from None
    except engine.KernelError as error:
        progress.end("stopped")
        words = redaction.mask(str(error), redaction.places(workspace))
        raise NotebookFailedError(source.stem, 0, words, output) from error
    finally:
        _mask_kept(output, workspace)
    progress.end("done")


def _mask_kept(output: Path, workspace: Path) -> None:
    """Mask the kept notebook in place; papermill leaves nothing there if it never started."""
    if output.stat().st_size:
        kept = read_notebook(output)
        write_notebook(redaction.mask_notebook(kept, redaction.places(workspace)), output)


def _reserve(folder: Path, name: str, now: datetime) -> Path:
    """Create an empty file that nobody else has, for its owner's eyes; two runs may be at once."""
    stamp = f"{name}-{now:%Y%m%d-%H%M%S}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = folder / f"{stamp}{f'-{number}' if number > 1 else ''}.ipynb"
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                return path
    except OSError as error:
        raise NotebookError(f"Cannot keep the output of {name} in {folder}: {error}") from error
    raise AssertionError  # pragma: no cover - itertools.count has no end


def _progress(notebook: NotebookNode, name: str, *, shown: bool) -> Progress:
    total = sum(map(is_step, notebook.cells))
    return Progress(name, total, terminal() if shown else None)


def _facts(name: str, started: datetime, seconds: float) -> dict[str, object]:
    return {
        "notebook": name,
        "made": f"{started:%Y-%m-%d %H:%M} UTC",
        "run time": f"{seconds:.1f} s",
        "ibkit": ibkit.__version__,
    }


def _provenance(facts: Mapping[str, object], values: Mapping[str, Any]) -> html.Provenance:
    """Return what the page says of itself; parameters may name folders and accounts too."""
    hidden = redaction.places(load_settings().workspace)
    shown = {key: redaction.mask(repr(value), hidden) for key, value in values.items()}
    simulated = values.get("profile") == "sim"
    return html.Provenance(facts, shown, simulated=simulated)
