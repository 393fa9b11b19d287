"""Who read or wrote what: one JSON line before it is done, in a file of the account's own.

A write is told, and synced, before its first byte; what became of it is in the journal. Nothing of
the rows is ever in here. Not here: who may do it (`access`).
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ibkit import clock
from ibkit.store.access import LOG_MODE

if TYPE_CHECKING:
    from ibkit.store.medium import Medium

Extent = Literal["off", "writes", "all"]


class Audit:
    """The log of one store.

    Parameters
    ----------
    folder : Path
        Where the files lie, in ``meta``.
    medium : Medium
        What they lie on.
    extent : {"off", "writes", "all"}
        What is told.
    role : str
        In which role the store was opened.
    """

    def __init__(self, folder: Path, medium: Medium, extent: Extent, role: str) -> None:
        if extent not in ("off", "writes", "all"):
            raise ValueError(f"audit is 'off', 'writes' or 'all', not {extent!r}")
        self._folder, self._medium, self.extent, self._role = folder, medium, extent, role
        self._order = 0

    def writes(self, operation: str, dataset: str, instrument: str, **facts: Any) -> None:
        """Tell that rows are about to be written, or the store be changed."""
        if self.extent != "off":
            self._tell("write", operation, dataset, instrument, facts)

    def reads(self, operation: str, dataset: str, instrument: str, **facts: Any) -> None:
        """Tell that rows are about to be read."""
        if self.extent == "all":
            self._tell("read", operation, dataset, instrument, facts)

    def _tell(
        self, what: str, operation: str, dataset: str, instrument: str, facts: dict[str, Any]
    ) -> None:
        now = clock.now()
        line = {
            "v": 1,
            "at": now.isoformat(timespec="microseconds"),
            "user": user(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "program": Path(sys.argv[0] or "python").name,
            "role": self._role,
            "what": what,
            "operation": operation,
            "dataset": dataset,
            "instrument": instrument,
            **facts,
        }
        self._order += 1
        name = f"{now:%Y%m%dT%H%M%S%f}-{os.getpid()}-{self._order}"
        path = self._folder / f"{user()}.jsonl"
        content = json.dumps(line, separators=(",", ":"), default=str).encode()
        self._medium.append(path, content, name, most=LOG_MODE)


def user() -> str:
    """Return the name of the account, or its number where it has none; no variable is asked."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
