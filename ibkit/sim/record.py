"""A transparent proxy that writes down what a client and a gateway say to each other.

Stands between any TWS API client and a real or simulated gateway, on loopback only. The transcript
is JSON lines: one decoded frame each, account ids masked. Bytes pass unchanged but for one thing:
a client that offers newer versions than 178 is kept at 178, or its frames could not be read.
Not here: playing a transcript back (`playback`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import IO, TYPE_CHECKING, Any, Final

from ibkit import clock
from ibkit.errors import PortInUseError
from ibkit.log import get_logger
from ibkit.sim.control import check_loopback
from ibkit.sim.wire import REPLIES, REQUESTS, SERVER_VERSION, Deframer, WireError, unpack
from ibkit.sim.wire.frames import LENGTH

if TYPE_CHECKING:
    from pathlib import Path

CHUNK: Final = 65_536
MAGIC: Final = b"API\0"
RANGE: Final = re.compile(rb"v(\d+)\.\.(\d+)")
ACCOUNT: Final = re.compile(r"\b(?!DUSIM)(D?[FUI])\d{4,}[A-Z]?\b")
ACCOUNTS: Final = "15"  # the message that names them
log = get_logger(__name__)


class Masker:
    """Replaces account ids by others of the same kind: the same one each time."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def learn(self, names: str) -> None:
        """Know the accounts of a login by name, whatever they look like."""
        for name in filter(None, names.split(",")):
            if not name.startswith("DUSIM"):
                self._mask(name)

    def __call__(self, text: str) -> str:
        """Return a field without account ids.

        >>> Masker()("DU7654321 sold")
        'DU0000001 sold'
        """
        for name, mask in self._known.items():
            text = text.replace(name, mask) if name != mask else text
        return ACCOUNT.sub(lambda match: self._mask(match[0]), text)

    def _mask(self, name: str) -> str:
        if name in self._known.values():
            return name
        if name not in self._known:
            kind = re.match(r"[A-Z]{0,2}", name)
            prefix = kind[0] if kind and kind[0] else "U"
            self._known[name] = f"{prefix}{len(self._known) + 1:07d}"
        return self._known[name]


class Transcript:
    """Where the lines go.

    Parameters
    ----------
    path : Path
        Made anew; one line a frame.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._began = clock.monotonic()
        self._mask = Masker()
        self.frames = 0

    def event(self, connection: int, what: str) -> None:
        """Write that a connection began or ended."""
        self._line({"connection": connection, "event": what})

    def handshake(self, connection: int, who: str, fields: list[str]) -> None:
        """Write one of the two frames that have no number."""
        self._line({"connection": connection, "from": who, "name": "version", "fields": fields})

    def frame(self, connection: int, who: str, payload: bytes) -> None:
        """Write one frame: its name, its fields, and what they mean."""
        fields = unpack(payload)
        if who == "gateway" and fields[:1] == [ACCOUNTS] and len(fields) > 2:
            self._mask.learn(fields[2])
        fields = [self._mask(one) for one in fields]
        table = REQUESTS if who == "client" else REPLIES
        known = table.get(int(fields[0])) if fields and fields[0].isdecimal() else None
        line: dict[str, Any] = {"connection": connection, "from": who}
        line["name"] = known.name if known else "unknown"
        line["fields"] = fields
        if known is not None:
            try:
                line["values"] = known.decode(fields)
            except WireError as error:
                line["undecoded"] = str(error)
        self.frames += 1
        self._line(line)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _line(self, line: dict[str, Any]) -> None:
        if not self._file.closed:
            at = round(clock.monotonic() - self._began, 6)
            self._file.write(json.dumps({"at": at, **line}, default=str) + "\n")
            self._file.flush()


class Recorder:
    """The proxy.

    Parameters
    ----------
    host, port : str, int
        The gateway behind it.
    path : Path
        The transcript.
    """

    def __init__(self, host: str, port: int, path: Path) -> None:
        check_loopback(host)
        self._upstream = host, port
        self.transcript = Transcript(path)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port.

        Raises
        ------
        SimulationError
            `host` is not loopback.
        PortInUseError
            Somebody else listens there.
        """
        check_loopback(host)
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            raise PortInUseError(host, port) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Hang up on both sides and finish the transcript."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.transcript.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client to the gateway until either hangs up."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        number = self._connections
        self.transcript.event(number, "opened")
        try:
            await self._join(number, reader, writer)
        except (OSError, EOFError, asyncio.CancelledError) as error:
            log.info("recording_ended", connection=number, reason=repr(error))
        finally:
            self.transcript.event(number, "closed")
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _join(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass bytes in both directions."""
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        try:
            first = await read_hello(reader)
            up_writer.write(MAGIC + LENGTH.pack(len(first)) + first)
            self.transcript.handshake(number, "client", [first.decode("latin-1")])
            ways = (
                self._pass(number, "client", reader, up_writer),
                self._pass(number, "gateway", up_reader, writer),
            )
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            up_writer.close()
            with contextlib.suppress(OSError):
                await up_writer.wait_closed()

    async def _pass(
        self, number: int, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass bytes one way, and write down the frames in them."""
        frames, greeted = Deframer(), who == "client"
        readable = True
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
            if not readable:
                continue
            frames.feed(data)
            try:
                for payload in frames.payloads():
                    if greeted:
                        self.transcript.frame(number, who, payload)
                    else:
                        self.transcript.handshake(number, who, unpack(payload))
                        greeted = True
            except WireError as error:  # out of step for good: the bytes pass all the same
                self.transcript.event(number, f"the {who} cannot be read: {error}")
                readable = False


async def read_hello(reader: asyncio.StreamReader) -> bytes:
    """Return what versions a client offers, 178 at most."""
    magic = await reader.readexactly(len(MAGIC))
    if magic != MAGIC:
        raise ConnectionError(f"{magic!r} is not how an API client begins")
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > CHUNK:
        raise ConnectionError("that is no handshake")
    return clamp(await reader.readexactly(length))


def clamp(offer: bytes) -> bytes:
    """Return an offer of versions that ends at 178, if it reaches that far.

    >>> clamp(b"v100..226"), clamp(b"v157..178 +PACEAPI"), clamp(b"v200..226")
    (b'v100..178', b'v157..178 +PACEAPI', b'v200..226')
    """
    match = RANGE.match(offer)
    if match is None or not int(match[1]) <= SERVER_VERSION < int(match[2]):
        return offer
    return b"v%s..%d" % (match[1], SERVER_VERSION) + offer[match.end() :]
