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
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from ibkit import clock
from ibkit.errors import IbkitError, PortInUseError
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
    """

    root: Path | None = None
    host: str = HOST
    port: int = 0
    seed: int = 1
    replay: Path | None = None
    idle_exit_s: float = IDLE_EXIT_S


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
    """Return the gateway that the options describe."""
    if options.replay is None:
        return Gateway(seed=options.seed)
    from ibkit.sim.replay import ReplayMarket

    market = ReplayMarket(options.replay)
    return Gateway(universe=market.universe, market=market, seed=options.seed)


async def _serve(options: Options, places: Places | None) -> None:
    """Serve until told to stop."""
    gateway = make_gateway(options)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    port = await gateway.start(options.host, options.port)
    try:
        if places is not None:
            write_address(places, GatewayAddress(options.host, port, os.getpid()))
        sys.stderr.write(f"SIMULATED gateway listens on {options.host}:{port}\n")
        await _until(ended, gateway, options, places)
    finally:
        await gateway.stop()


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
