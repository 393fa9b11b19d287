"""Frames on the socket: four bytes of length, then fields that end in NUL.

Not here: what the fields mean (`requests`, `replies`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ibkit.sim.wire.fields import WireError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_FRAME = 0xFFFFFF  # what IB's own client accepts
LENGTH = struct.Struct(">I")


def pack(fields: Sequence[str]) -> bytes:
    """Return one frame.

    >>> len(pack(["9", "1", "7"])), list(pack(["9", "1", "7"])[:4])
    (10, [0, 0, 0, 6])
    """
    payload = ("\0".join(fields) + "\0").encode()
    return LENGTH.pack(len(payload)) + payload


def unpack(payload: bytes) -> list[str]:
    """Return the fields of a payload; a missing last NUL is forgiven."""
    fields = payload.decode(errors="replace").split("\0")
    if fields[-1] == "":
        fields.pop()
    return fields


class Deframer:
    """Cuts a byte stream into payloads, however it was split on its way."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what the socket gave."""
        self._buffer += data

    def payloads(self) -> Iterator[bytes]:
        """Yield every payload that is complete.

        Raises
        ------
        WireError
            A length is beyond the limit: the stream is no longer in step.
        """
        while (payload := self.next()) is not None:
            yield payload

    def next(self) -> bytes | None:
        """Return the next payload, or None while it is incomplete."""
        if len(self._buffer) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._buffer)
        if length > self._limit:
            raise WireError(f"a frame of {length} bytes is too long")
        end = LENGTH.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[LENGTH.size : end])
        del self._buffer[:end]
        return payload
