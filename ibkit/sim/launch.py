"""One gateway process per root: start it or join it, and stop it.

Imports little: `connect()` and the command line wait for this. Not here: the gateway (`server`).
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ibkit import clock
from ibkit.errors import (
    GatewayError,
    GatewaySilentError,
    PortInUseError,
    SeedMismatchError,
    StoreAccessError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST: Final = "127.0.0.1"
IDLE_EXIT_S: Final = 600.0
FIRST_SEED: Final = 1
EXIT_PORT_IN_USE: Final = 98
POLL_S: Final = 0.01
PROBE_S: Final = 5.0
MAX_LOG: Final = 1_000_000
LOG_TAIL: Final = 800
HELLO: Final = b"API\0" + struct.pack(">I", 9) + b"v157..178"


class GatewayAddress(NamedTuple):
    """Where a simulated gateway listens, and its process."""

    host: str
    port: int
    pid: int


class Places:
    """The files of a root's gateway."""

    def __init__(self, root: Path) -> None:
        self.folder = Path(root) / "gateway"
        self.start_lock = self.folder / "lock"  # held by whoever starts one
        self.alive_lock = self.folder / "alive"  # held by the process for its life
        self.address = self.folder / "address.json"
        self.log = self.folder / "gateway.log"
        self.seed = self.folder / "seed"  # of the first synthetic market: what is stored is its

    def make(self) -> None:
        """Make the folder, or say why not."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreAccessError(self.folder, error.strerror or str(error)) from error


def start_or_join(
    root: Path,
    *,
    seed: int | None = None,
    replay: Path | None = None,
    port: int = 0,
    idle_exit_s: float = IDLE_EXIT_S,
    timeout_s: float = 20.0,
) -> GatewayAddress:
    """Return the address of the simulated gateway of `root`; start its process if there is none.

    Parameters
    ----------
    root : Path
        The profile's data root; the process keeps its files in ``root/"gateway"``.
    seed : int, optional
        Of the synthetic market; a root keeps the seed of its first one, 1 if nobody said another.
    replay : Path, optional
        Serve these recorded prices instead.
    port : int
        Where to listen; 0 lets the system choose.
    idle_exit_s : float
        The process leaves when no client was there for so long.
    timeout_s : float
        How long to wait until it listens.

    Raises
    ------
    SeedMismatchError
        The root has another seed.
    PortInUseError
        Somebody else listens on `port`.
    GatewaySilentError
        A process is there but does not answer.
    GatewayError
        The process ended before it listened; its last words are in the message.
    StoreAccessError
        The folder cannot be written.
    """
    places = Places(root)
    places.make()
    deadline = clock.monotonic() + timeout_s
    with _locked(places.start_lock, deadline):
        kept = seed_of(root)
        if seed is not None and kept is not None and seed != kept:
            raise SeedMismatchError(places.folder.parent, kept, seed)
        if is_alive(places):
            return _join(places, deadline)
        chosen = kept if kept is not None else FIRST_SEED if seed is None else seed
        command = _command(root, seed=chosen, replay=replay, port=port, idle_exit_s=idle_exit_s)
        address = _start(places, command, port, deadline)
        if kept is None and replay is None:
            places.seed.write_text(f"{chosen}\n")
        return address


def seed_of(root: Path) -> int | None:
    """Return the seed that the synthetic market of `root` began with, or None before it began."""
    try:
        return int(Places(root).seed.read_text())
    except (OSError, ValueError):
        return None


def running(root: Path) -> GatewayAddress | None:
    """Return the address of the gateway of `root`, or None when none runs."""
    places = Places(root)
    return read_address(places) if is_alive(places) else None


def stop(root: Path, *, timeout_s: float = 10.0) -> bool:
    """End the gateway process of `root`; return whether there was one."""
    places = Places(root)
    address = running(root)
    if address is None:
        return False
    deadline = clock.monotonic() + timeout_s
    os.kill(address.pid, signal.SIGTERM)
    while is_alive(places):
        if clock.monotonic() > deadline:
            os.kill(address.pid, signal.SIGKILL)
            deadline = clock.monotonic() + timeout_s
        time.sleep(POLL_S)
    return True


def is_alive(places: Places) -> bool:
    """Whether a process holds the lock of the living."""
    try:
        with places.alive_lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    return False


def read_address(places: Places) -> GatewayAddress | None:
    """Return the address that the process wrote, or None while there is none."""
    try:
        found = json.loads(places.address.read_text())
        return GatewayAddress(found["host"], found["port"], found["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_address(places: Places, address: GatewayAddress) -> None:
    """Write the address, whole or not at all."""
    draft = places.address.with_suffix(".tmp")
    draft.write_text(json.dumps(address._asdict()))
    draft.replace(places.address)


def answers(address: GatewayAddress, timeout_s: float = 5.0) -> bool:
    """Whether a gateway at `address` completes the handshake."""
    try:
        with socket.create_connection(address[:2], timeout_s) as probe:
            probe.sendall(HELLO)
            return len(probe.recv(64)) > 4
    except OSError:
        return False


# --- inside -------------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path, deadline: float) -> Iterator[None]:
    """Hold an exclusive lock on `path`; whoever else starts a gateway waits here."""
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)
        yield


def _join(places: Places, deadline: float) -> GatewayAddress:
    """Return the address of the living process once it answers."""
    address = read_address(places)
    while address is None and is_alive(places) and clock.monotonic() < deadline:
        time.sleep(POLL_S)
        address = read_address(places)
    if address is None or not answers(address, PROBE_S):
        host, port, pid = address or (HOST, 0, 0)
        raise GatewaySilentError(
            host,
            port,
            f"the simulated gateway (process {pid}) does not answer",
            "stop it with `ibkit sim stop` and connect again.",
        )
    return address


def _command(
    root: Path, *, seed: int, replay: Path | None, port: int, idle_exit_s: float
) -> list[str]:
    """Return the command line of the process."""
    command = [sys.executable, "-m", "ibkit.sim", "serve", "--root", str(root), "--port", str(port)]
    command += ["--seed", str(seed), "--idle-exit", str(idle_exit_s)]
    return command + (["--replay", str(replay)] if replay is not None else [])


def _start(places: Places, command: list[str], port: int, deadline: float) -> GatewayAddress:
    """Start the process in a session of its own, and wait until it listens."""
    places.address.unlink(missing_ok=True)
    if places.log.exists() and places.log.stat().st_size > MAX_LOG:
        places.log.unlink()
    with places.log.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while (address := read_address(places)) is None:
        if process.poll() is not None:
            raise _failure(places, process.returncode, port)
        if clock.monotonic() > deadline:
            process.kill()
            process.wait()
            raise GatewaySilentError(
                HOST,
                port,
                "the simulated gateway did not begin to listen",
                f"look into {places.log}.",
            )
        time.sleep(POLL_S)
    # it outlives us on purpose; if it ends first, somebody must collect it
    threading.Thread(target=process.wait, name="sim-gateway-reaper", daemon=True).start()
    return address


def _failure(places: Places, code: int, port: int) -> PortInUseError | GatewayError:
    """Return the error for a process that ended at once."""
    if code == EXIT_PORT_IN_USE:
        return PortInUseError(HOST, port)
    tail = places.log.read_text(errors="replace")[-LOG_TAIL:]
    return GatewayError(HOST, port, f"the simulated gateway ended with code {code}:\n{tail}")
