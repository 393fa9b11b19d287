"""A simulated gateway inside a test: in a thread, on a free port, gone at the end of the block.

Not here: the gateway as a process of its own (`launch`).
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ibkit.sim.clock import ManualClock
from ibkit.sim.server import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from ibkit.sim.control import Control, ControlAddress
    from ibkit.sim.faults import Fault

T = TypeVar("T")
STOP_S = 10.0
ADVANCE_S = 300.0


class RunningGateway:
    """A gateway on a loop in a thread of its own.

    Attributes
    ----------
    host, port : str, int
        Where it listens.
    gateway : Gateway
        The gateway itself; touch it through `call`, on its own thread.
    """

    host = "127.0.0.1"

    def __init__(self, *, port: int = 0, **options: Any) -> None:
        self._control: Control | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="sim-gateway", daemon=True
        )
        self._thread.start()
        try:
            self.gateway = self.call(Gateway, **options)
            self.port = self._await(self.gateway.start(self.host, port), STOP_S)
        except BaseException:
            self._end_loop()
            raise

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return `function(*args, **kwargs)`, called on the gateway's thread."""

        async def run() -> T:
            return function(*args, **kwargs)

        return self._await(run(), STOP_S)

    def _await(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Return what a coroutine gives, run on the gateway's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def advance(self, seconds: float, *, step: float | None = None) -> None:
        """Move a `ManualClock`, in one jump or in steps; what was due by then is sent."""
        clock = self.gateway.clock
        assert isinstance(clock, ManualClock)
        self._await(clock.advance(seconds, step=step), ADVANCE_S)

    def fault(self, kind: str, **options: Any) -> Fault:
        """Arm a fault, as `Faults.arm` does; an event happens before this returns."""
        return self.call(self.gateway.faults.arm, kind, **options)

    def mend(self, fault: Fault | None = None) -> None:
        """End one fault, or all."""
        faults = self.gateway.faults
        if fault is None:
            self.call(faults.clear)
        else:
            self.call(faults.disarm, fault)

    def start_control(self) -> ControlAddress:
        """Open the control port, and return where it is."""
        from ibkit.sim.control import Control

        if self._control is None:
            self._control = self.call(Control, self.gateway)
        return self._await(self._control.start(), STOP_S)

    def drop_clients(self) -> None:
        """Hang up on every client."""
        self.call(self.gateway.drop_clients)

    def stop(self) -> None:
        """Hang up on everybody and free the port; a second call does nothing."""
        if self._thread.is_alive():
            if self._control is not None:
                self._await(self._control.stop(), STOP_S)
            self._await(self.gateway.stop(), STOP_S)
            self._end_loop()

    def _end_loop(self) -> None:
        """End loop and thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        self._loop.close()


@contextmanager
def gateway(*, port: int = 0, **options: Any) -> Iterator[RunningGateway]:
    """Run a simulated gateway for the length of the block.

    Parameters
    ----------
    port : int
        0 lets the system choose.
    **options
        Of `ibkit.sim.server.Gateway`: ``seed``, ``clock``, ``always_open``, ...

    Examples
    --------
    >>> with gateway(seed=7) as running:
    ...     running.port > 0
    True
    """
    running = RunningGateway(port=port, **options)
    try:
        yield running
    finally:
        running.stop()
