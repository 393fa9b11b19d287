"""The gateway as a process: listens, says where, and leaves when it is told or forgotten.

Not here: how it is started and found (`launch`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, TYPE_CHECKING, Final

from ibkit import clock
from ibkit.errors import IbkitError, PortInUseError, SimulationError, StoreAccessError
from ibkit.sim.clock import Clock, ManualClock, RealClock
from ibkit.sim.control import Control, ControlAddress
from ibkit.sim.control import write_address as write_control
from ibkit.sim.faults.plan import Plan
from ibkit.sim.launch import (
    EXIT_PORT_IN_USE,
    HOST,
    IDLE_EXIT_S,
    MAX_LOG,
    GatewayAddress,
    Places,
    write_address,
)
from ibkit.sim.server import Gateway

if TYPE_CHECKING:
    from pathlib import Path

    from ibkit.sim.replay import ReplayMarket

CHECK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve.

    Attributes
    ----------
    root : Path or None
        Where the process leaves its address and log; None for a gateway of its own.
    host, port : str, int
        Where to listen; port 0 lets the system choose.
    seed : int
        Of the synthetic market.
    replay : Path or None
        A store or folder of recorded prices to serve instead.
    idle_exit_s : float
        Leave when no client was there for so long; 0 means never.
    always_open : bool
        Whether quotes move and orders fill outside trading hours.
    start : str
        The clock's first instant, ISO with a zone; ``recording`` is where a replay begins; empty is
        now, or the recording when the clock of a replay is not a plain one.
    speed : float
        Seconds of the clock in a real second.
    manual : bool
        The clock stands until the control port moves it.
    faults : Path or None
        A schedule of faults (`ibkit.sim.faults.plan`).
    control : Path or None
        The folder where the control port's address and token are left; None for no control port.
    """

    root: Path | None = None
    host: str = HOST
    port: int = 0
    seed: int = 1
    replay: Path | None = None
    idle_exit_s: float = IDLE_EXIT_S
    always_open: bool = True
    start: str = ""
    speed: float = 1.0
    manual: bool = False
    faults: Path | None = None
    control: Path | None = None


def serve(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or idleness; return the exit code."""
    with contextlib.ExitStack() as stack:
        places = None
        if options.root is not None:
            places = Places(options.root)
            places.make()
            held = stack.enter_context(places.alive_lock.open("ab"))
            if not _hold(held):
                sys.stderr.write("Another simulated gateway serves this root.\n")
                return 1
            stack.callback(places.address.unlink, missing_ok=True)
            options = replace(options, control=options.control or places.folder)
        try:
            asyncio.run(_serve(options, places))
        except IbkitError as error:
            sys.stderr.write(f"{error}\n")
            return EXIT_PORT_IN_USE if isinstance(error, PortInUseError) else 1
    return 0


def _hold(file: IO[bytes]) -> bool:
    """Take the lock of the living, for as long as this process lives."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_gateway(options: Options) -> Gateway:
    """Return the gateway that the options describe.

    Raises
    ------
    SimulationError
        The clock cannot begin or run like that.
    """
    if options.replay is None:
        return Gateway(
            seed=options.seed,
            clock=make_clock(options, None),
            always_open=options.always_open,
        )
    from ibkit.sim.replay import ReplayMarket

    market = ReplayMarket(options.replay)
    return Gateway(
        universe=market.universe,
        market=market,
        seed=options.seed,
        clock=make_clock(options, market),
        always_open=options.always_open,
    )


def make_clock(options: Options, market: ReplayMarket | None) -> Clock:
    """Return the clock that the options describe."""
    if not 0 < options.speed < float("inf"):
        raise SimulationError(f"the clock's speed is above 0, not {options.speed}")
    plain = options.speed == 1 and not options.manual
    text = options.start or ("recording" if market is not None and not plain else "")
    start = _instant(text, market)
    if options.manual:
        return ManualClock(clock.now().timestamp() if start is None else start)
    return RealClock(options.speed, start)


def _instant(text: str, market: ReplayMarket | None) -> float | None:
    """Return the instant that a clock begins at, or None for now."""
    if not text:
        return None
    if text == "recording":
        if market is None:
            raise SimulationError("there is no recording to begin at; it needs --replay")
        return market.begins
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SimulationError(f"{text!r} is no instant; write 2026-11-20T09:30-05:00") from None
    if at.tzinfo is None:
        raise SimulationError(f"{text} has no zone; write it like 2026-11-20T09:30-05:00")
    return at.timestamp()


async def _serve(options: Options, places: Places | None) -> None:
    """Serve until told to stop."""
    gateway = make_gateway(options)
    plan = Plan.load(options.faults) if options.faults is not None else None
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    port = await gateway.start(options.host, options.port)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(gateway.stop)
        if plan is not None:
            gateway.faults.follow(plan)
        if options.control is not None:
            await _open_control(stack, gateway, options.control, port)
        if places is not None:
            write_address(places, GatewayAddress(options.host, port, os.getpid()))
        sys.stderr.write(f"SIMULATED gateway listens on {options.host}:{port}\n")
        await _until(ended, gateway, options, places)


async def _open_control(
    stack: contextlib.AsyncExitStack, gateway: Gateway, folder: Path, port: int
) -> None:
    """Open the control port, and leave its address where `ibkit sim faults` looks."""
    control = Control(gateway)
    stack.push_async_callback(control.stop)
    address = await control.start()
    path = _leave(address, folder, port)
    stack.callback(path.unlink, missing_ok=True)
    sys.stderr.write(f"Control port {address.host}:{address.port}; its token is in {path}\n")


def _leave(address: ControlAddress, folder: Path, port: int) -> Path:
    """Write where the control port is, and return the file."""
    path = folder / f"control-{port}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_control(path, address)
    except OSError as error:
        raise StoreAccessError(path, error.strerror or str(error)) from error
    return path


async def _until(
    ended: asyncio.Event, gateway: Gateway, options: Options, places: Places | None
) -> None:
    """Wait for the end; meanwhile keep the log bounded and notice idleness."""
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), CHECK_EVERY_S)
        if places is not None and places.log.exists() and places.log.stat().st_size > MAX_LOG:
            os.truncate(places.log, 0)
        if gateway.clients:
            continue
        if options.idle_exit_s and clock.monotonic() - gateway.last_activity > options.idle_exit_s:
            ended.set()
