"""What armed faults do with bytes that leave: cut them, glue them, change them, lose them.

An effect returns the bytes that leave now. TCP may cut and glue as well; so a client must not mind.
Not here: whole messages (`replies`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ibkit.sim.wire.frames import LENGTH

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.faults.injector import Fault, Faults

Effect = Callable[["Fault", "Faults", "Client", bytes], bytes]


def half_open(fault: Fault, _faults: Faults, client: Client, data: bytes) -> bytes:
    """Lose everything."""
    fault.hits += bool(data and fault.concerns(client))
    return b""


def split(fault: Fault, faults: Faults, client: Client, data: bytes) -> bytes:
    """Send small pieces, one a turn of the loop or slower; later bytes queue behind them."""
    waiting: deque[bytes] = fault.kept.setdefault(client, deque())
    size = max(1, fault["size"])
    idle = not waiting
    waiting.extend(data[at : at + size] for at in range(0, len(data), size))
    if idle and waiting:
        fault.hits += 1
        faults.spawn(_trickle(client, waiting, fault["pause_s"]))
    return b""


async def _trickle(client: Client, waiting: deque[bytes], pause_s: float) -> None:
    """Write piece after piece; the pauses are real ones, for they are the network's."""
    while waiting and not client.is_closing():
        client.put(waiting[0])
        await asyncio.sleep(pause_s)
        waiting.popleft()


def coalesce(fault: Fault, faults: Faults, client: Client, data: bytes) -> bytes:
    """Keep what leaves for a while, then send all of it in one write."""
    kept: list[bytes] = fault.kept.setdefault(client, [])
    kept.append(data)
    if len(kept) == 1:
        fault.hits += 1

        def act() -> None:
            glued = b"".join(kept)
            kept.clear()
            if not client.is_closing():
                client.put(glued)

        faults.later(fault["seconds"], act)
    return b""


def corrupt_bytes(fault: Fault, _faults: Faults, client: Client, data: bytes) -> bytes:
    """Change bytes, in payloads only or anywhere."""
    spoilt = bytearray(data)
    fixed = set() if fault["lengths"] else lengths(data)
    for at in range(len(spoilt)):
        struck = at not in fixed and fault.dice.random() < fault["share_of_bytes"]
        if struck and fault.strikes(client):
            spoilt[at] ^= 1 << fault.dice.randrange(8)
    return bytes(spoilt)


def lengths(data: bytes) -> set[int]:
    """Return where the lengths of whole frames stand.

    >>> sorted(lengths(bytes([0, 0, 0, 1, 65])))
    [0, 1, 2, 3]
    """
    found: set[int] = set()
    at = 0
    while at + LENGTH.size <= len(data):
        found.update(range(at, at + LENGTH.size))
        at += LENGTH.size + LENGTH.unpack_from(data, at)[0]
    return found


def cut(fault: Fault, _faults: Faults, client: Client, data: bytes) -> bytes:
    """Send the first half of a frame and hang up."""
    if len(data) <= LENGTH.size or not fault.strikes(client):
        return data
    (length,) = LENGTH.unpack_from(data)
    client.put(data[: LENGTH.size + length // 2])
    client.close()
    return b""


EFFECTS: Final[Mapping[str, Effect]] = {
    "half_open": half_open,
    "split": split,
    "coalesce": coalesce,
    "corrupt_bytes": corrupt_bytes,
    "cut": cut,
}
