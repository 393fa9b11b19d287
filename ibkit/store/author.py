"""Who writes, and what range of time the rows span: facts for the commit log."""

from __future__ import annotations

import getpass
import os
import socket
from functools import cache
from typing import TYPE_CHECKING

from ibkit.store.files import microseconds
from ibkit.store.journal import moment

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa


def who() -> str:
    """Return who writes: the user, the machine, the process."""
    return f"{_place()} process {os.getpid()}"


@cache
def _place() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def range_of(table: pa.Table) -> tuple[datetime, datetime] | None:
    """Return the first and the last ``ts`` of some rows."""
    if not table.num_rows:
        return None
    ts = microseconds(table["ts"])
    return moment(int(ts.min())), moment(int(ts.max()))
