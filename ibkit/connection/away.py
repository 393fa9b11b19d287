"""`kit.while_away()`: what happened while the connection was not ready, and what was done about it.

Kept in memory and, given a file, on the disk, so that the morning after a night in the recorder's
process can still be read. Not here: deciding what to do.
"""

from __future__ import annotations

import json
import os
from collections import deque
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final

from ibkit import clock
from ibkit.errors import StoreAccessError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    import pandas as pd
    from ib_async import IB

KEPT: Final = 10_000
# bytes of the file; at twice that the older half goes
LARGEST: Final = 4 << 20
COLUMNS: Final = ("ts", "topic", "key", "before", "after", "action")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is other than before.

    Attributes
    ----------
    ts : datetime
        When it was noticed, in UTC.
    topic : str
        ``connection``, ``order``, ``fill``, ``position``, ``stream``, ``recovery``.
    key : str
        What it is about: an order's reference, an instrument, a step.
    before, after : str
        As it was known, and as it is.
    action : str
        What was done: ``subscribed again``, ``filled up``, ``none``.
    """

    ts: datetime
    topic: str
    key: str
    before: str
    after: str
    action: str


class Away:
    """The record of a connection's absences. Lives on the loop thread; `frame` copies.

    Parameters
    ----------
    path : Path, optional
        A file of JSON lines, for the owner's eyes only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        if path is not None:
            self._entries.extend(_load(path))

    def note(self, topic: str, key: str, before: str, after: str, action: str = "none") -> None:
        """Write one thing down."""
        self.note_all([Entry(clock.now(), topic, key, before, after, action)])

    def note_all(self, entries: Iterable[Entry]) -> None:
        """Write several things down, in one go."""
        found = list(entries)
        self._entries.extend(found)
        if self._path is not None and found:
            _append(self._path, found)

    def frame(self, since: datetime | None = None) -> pd.DataFrame:
        """Return the entries as a frame, oldest first: ``ts topic key before after action``."""
        import pandas as pd

        rows = [astuple(one) for one in tuple(self._entries) if since is None or one.ts >= since]
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        types = dict.fromkeys(COLUMNS[1:], "string") | {"ts": "datetime64[us, UTC]"}
        return frame.astype(types)


def _append(path: Path, entries: Iterable[Entry]) -> None:
    lines = "".join(json.dumps([one.ts.isoformat(), *astuple(one)[1:]]) + "\n" for one in entries)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, lines.encode())
            large = os.fstat(descriptor).st_size > 2 * LARGEST
        finally:
            os.close(descriptor)
        if large:
            _halve(path)
    except OSError as error:
        raise StoreAccessError(path, f"the record of absences: {error.strerror}") from error


def _halve(path: Path) -> None:
    content = path.read_bytes()[-LARGEST:]
    newer = path.with_suffix(f".{os.getpid()}.tmp")
    newer.touch(0o600)
    newer.write_bytes(content[content.find(b"\n") + 1 :])
    newer.replace(path)


def _load(path: Path) -> list[Entry]:
    from datetime import datetime

    entries = []
    with suppress(FileNotFoundError):
        for line in path.read_text().splitlines()[-KEPT:]:
            with suppress(ValueError, TypeError):  # a line that a crash tore
                when, *words = json.loads(line)
                entries.append(Entry(datetime.fromisoformat(when), *words))
    return entries


# --- what is compared ----------------------------------------------------------------------------

Facts = dict[tuple[str, str], str]


def facts_of(ib: IB) -> Facts:
    """Return what is known of orders, executions and positions, by topic and key."""
    facts: Facts = {}
    for position in ib.positions():
        contract = position.contract
        name = contract.localSymbol or contract.symbol or str(contract.conId)
        facts["position", f"{name} of {position.account}"] = f"{position.position:g}"
    for trade in ib.trades():
        order, status = trade.order, trade.orderStatus
        key = order.orderRef or f"order {order.permId or order.orderId}"
        facts["order", key] = f"{status.status}, {status.filled:g} filled"
    for fill in ib.fills():
        done = fill.execution
        facts["fill", done.execId] = f"{done.side} {done.shares:g} at {done.price:g}"
    return facts


def differences(before: Facts, after: Facts) -> list[Entry]:
    """Return what is other now. Orders that IB no longer lists are said to be so, not dropped."""
    now, entries = clock.now(), []
    for topic, key in sorted({*before, *after}):
        old, new = before.get((topic, key), ""), after.get((topic, key), "")
        if not new and topic != "fill":
            new = "no longer listed" if topic == "order" else "0"
        if old != new and new:
            entries.append(Entry(now, topic, key, old, new, "read from IB"))
    return entries


def words(value: Any) -> str:
    """Return an instant, or nothing, as text."""
    return "" if value is None else f"{value:%F %T}"
