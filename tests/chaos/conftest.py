"""Virtual time: an event loop whose clock jumps to the next timer, with sockets in memory.

A day passes in milliseconds, and a seed replays exactly: nothing here reads the clock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LATENCY_S = 0.001


class StuckError(RuntimeError):
    """Everybody waits and nobody will ever wake them."""


class JumpingSelector(selectors.DefaultSelector):
    """Never waits: moves the loop's clock instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            raise StuckError
        self.loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop near time zero (large floats would stall the jump), with connections in memory."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self.listeners: dict[int, Callable[[], asyncio.Protocol]] = {}
        self.open: set[Pipe] = set()
        self.problems: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.problems.append(context))

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Run at once: a thread's work would cost virtual hours."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            done.set_exception(error)
        return asyncio.wrap_future(done, loop=self)

    async def create_server(self, factory: Any, host: Any = None, port: int = 0, **_: Any) -> Any:
        port = port or 10_000 + len(self.listeners)
        self.listeners[port] = factory
        return Listener(self, port)

    async def create_connection(self, factory: Any, host: Any, port: int, **_: Any) -> Any:
        await asyncio.sleep(LATENCY_S)
        if port not in self.listeners:
            raise ConnectionRefusedError(111, "nothing listens")
        ours, theirs = factory(), self.listeners[port]()
        here, there = Pipe(self, ours), Pipe(self, theirs)
        here.peer, there.peer = there, here
        theirs.connection_made(there)
        ours.connection_made(here)
        return here, ours


class Listener:
    """What `create_server` returns."""

    def __init__(self, loop: VirtualLoop, port: int) -> None:
        self._loop, self._port = loop, port
        self.sockets = [self]

    def getsockname(self) -> tuple[str, int]:
        return "memory", self._port

    def close(self) -> None:
        self._loop.listeners.pop(self._port, None)

    async def wait_closed(self) -> None:
        return


class Pipe(asyncio.Transport):
    """One end of a connection in memory; bytes take a little time and keep their order."""

    peer: Pipe

    def __init__(self, loop: VirtualLoop, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"peername": ("memory", 1), "sockname": ("memory", 2)})
        self._loop, self._protocol, self._closing = loop, protocol, False
        loop.open.add(self)

    def write(self, data: Any) -> None:
        if not self._closing:
            self._loop.call_later(LATENCY_S, self.peer.arrive, bytes(data))

    def arrive(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def write_eof(self) -> None:
        self._loop.call_later(LATENCY_S, self.peer.see_the_end)

    def can_write_eof(self) -> bool:
        return True

    def see_the_end(self) -> None:
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.write_eof()
            self._loop.call_soon(self._lose, None)

    def cut(self) -> None:
        """Break the connection, as a pulled cable would."""
        for end in (self, self.peer):
            if not end._closing:
                end._closing = True
                self._loop.call_soon(end._lose, ConnectionResetError("cut"))

    abort = close

    def _lose(self, error: Exception | None) -> None:
        self._loop.open.discard(self)
        self._protocol.connection_lost(error)

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def pause_reading(self) -> None:
        """Never needed: a reader in memory is fast enough."""

    def resume_reading(self) -> None:
        """As above."""

    def get_write_buffer_size(self) -> int:
        return 0


class LoopClock:
    """The simulated gateway's clock, on the loop's time."""

    START = 1_795_186_800.0  # a Friday evening in November 2026

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self.START + self._loop.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def virtual():
    """Run a coroutine function on a fresh virtual loop; give the loop to it."""

    def run(main: Callable[[VirtualLoop], Any]) -> Any:
        loop = VirtualLoop()
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(main(loop))
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.call_later(0, lambda: None)
            loop.run_until_complete(asyncio.sleep(0.01))
            asyncio.set_event_loop(None)
            loop.close()

    return run


@pytest.fixture
def loop_clock():
    return LoopClock
