"""Plays the gateway's part of a transcript to a client that asks the same things again.

In step: what the gateway said after a request is said again once a request of that kind has come.
Ids are not translated, so the client must number as the recorded one did (the same program does).
Not here: recording (`record`), nor a market of recorded prices (`replay`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ibkit.errors import PortInUseError, StoreAccessError
from ibkit.sim.control import check_loopback
from ibkit.sim.record import CHUNK, read_hello
from ibkit.sim.wire import Deframer, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KNOWN: Final = frozenset({"client", "gateway"})


@dataclass(frozen=True, slots=True)
class Line:
    """One frame of a transcript."""

    at: float
    connection: int
    who: str
    name: str
    fields: tuple[str, ...]


def read_transcript(path: Path) -> list[Line]:
    """Return the frames of a transcript; events are left out.

    Raises
    ------
    StoreAccessError
        The file cannot be read, or is no transcript.
    """
    try:
        return list(_lines(path))
    except OSError as error:
        raise StoreAccessError(path, error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreAccessError(path, f"it is no transcript: {error}") from error


def _lines(path: Path) -> Iterator[Line]:
    with path.open(encoding="utf-8") as file:
        for text in file:
            line: dict[str, Any] = json.loads(text)
            if line.get("from") in KNOWN:
                yield Line(
                    float(line["at"]),
                    int(line["connection"]),
                    line["from"],
                    line["name"],
                    tuple(map(str, line["fields"])),
                )


class Playback:
    """A gateway that knows one conversation by heart.

    Parameters
    ----------
    path : Path
        The transcript.
    connection : int
        Which of its connections.
    """

    def __init__(self, path: Path, connection: int = 1) -> None:
        self.lines = [one for one in read_transcript(path) if one.connection == connection]
        if not any(one.who == "gateway" for one in self.lines):
            raise StoreAccessError(path, f"it has nothing that connection {connection} was told")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port; loopback only."""
        check_loopback(host)
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            raise PortInUseError(host, port) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Hang up."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await read_hello(reader)
            await self._play(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say the gateway's lines, and wait for the client's; then stay until it leaves."""
        frames, heard = Deframer(), Counter[str]()
        for line in self.lines:
            if line.who == "gateway":
                writer.write(pack(line.fields))
                continue
            if line.name == "version":
                continue
            while not heard[line.fields[0]]:
                data = await reader.read(CHUNK)
                if not data:
                    return
                frames.feed(data)
                heard.update(unpack(payload)[0] for payload in frames.payloads())
            heard[line.fields[0]] -= 1
        await writer.drain()
        while await reader.read(CHUNK):
            pass
