"""Say how far a notebook is, in a terminal, a log or a cell, and pass on what its cells print."""

from __future__ import annotations

import sys
from typing import Final, TextIO

WIDTH: Final = 20


class Progress:
    """One line a step, rewritten in place on a terminal; text of the cells goes in between.

    Parameters
    ----------
    name : str
        Of the notebook.
    total : int
        How many cells there are to run.
    out : TextIO or None
        Where to write; None: nowhere.
    """

    def __init__(self, name: str, total: int, out: TextIO | None) -> None:
        self._name, self._total, self._out = name, total, out
        self._in_place = bool(out and out.isatty())
        self._open = False  # a line of ours waits to be rewritten
        self._clean = True  # the cursor is at the start of a line

    def step(self, number: int, words: str) -> None:
        """Say that cell `number` starts."""
        done = round(WIDTH * (number - 1) / max(self._total, 1))
        bar = "█" * done + "░" * (WIDTH - done)
        self._line(f"{self._name} {bar} {number}/{self._total} {words}")

    def end(self, words: str) -> None:
        """Say how it ended."""
        self._line(f"{self._name} {words}")
        self._close()

    def write(self, text: str) -> int:
        """Pass on what a cell printed; its own progress bars rewrite their own line."""
        if text and self._out:
            self._close()
            self._out.write(text)
            self._clean = text.endswith("\n")
        return len(text)

    def flush(self) -> None:
        """Show what was written."""
        if self._out:
            self._out.flush()

    def _line(self, text: str) -> None:
        if not self._out:
            return
        start = "\r\x1b[K" if self._open else ("" if self._clean else "\n")
        self._out.write(start + text + ("" if self._in_place else "\n"))
        self._open, self._clean = self._in_place, not self._in_place
        self.flush()

    def _close(self) -> None:
        if self._open and self._out:
            self._out.write("\n")
            self._open, self._clean = False, True


def terminal() -> TextIO:
    """Return where progress belongs: stderr; in a notebook stdout, which is quieter there."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return sys.stdout if hasattr(shell, "kernel") else sys.stderr
