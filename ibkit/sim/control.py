"""The control port: faults and the clock of a running gateway, from outside, over HTTP and JSON.

Loopback only, and nothing without the token. `ibkit sim faults` talks to it, and so can ``curl`` or
any language. Not here: what the faults do (`ibkit.sim.faults`).

=============================== ====================================================================
``GET /``                       what the gateway is and which time it has
``GET /kinds``                  the table of faults
``GET /faults``                 what is armed
``POST /faults``                arm one: ``{"kind": "slow", "request": "historical", "seconds": 2}``
``DELETE /faults``              end everything
``DELETE /faults/7``            end number 7
``POST /plan``                  follow a schedule; the body is its TOML
``POST /clock``                 move a manual clock: ``{"advance": 60, "step": 1}``
=============================== ====================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import os
import secrets
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ibkit.errors import GatewaySilentError, GatewayUnreachableError, SimulationError
from ibkit.sim.clock import ManualClock
from ibkit.sim.faults.kinds import KINDS
from ibkit.sim.faults.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ibkit.sim.server import Gateway

HOST: Final = "127.0.0.1"
MAX_HEAD: Final = 16_384
MAX_BODY: Final = 262_144
PATIENCE_S: Final = 10.0
LONGEST_ADVANCE_S: Final = 366 * 86_400.0


class ControlAddress(NamedTuple):
    """Where a gateway is controlled, and the token that it wants."""

    host: str
    port: int
    token: str


class Control:
    """The control port of one gateway.

    Parameters
    ----------
    gateway : Gateway
        Whose faults and clock.
    token : str, optional
        What a caller must know; a fresh secret if not given.
    """

    def __init__(self, gateway: Gateway, token: str = "") -> None:
        self._gateway = gateway
        self.token = token or secrets.token_urlsafe(24)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = HOST, port: int = 0) -> ControlAddress:
        """Listen; 0 lets the system choose the port.

        Raises
        ------
        SimulationError
            `host` is not this machine's own loopback, or the port is taken.
        """
        check_loopback(host)
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD)
        except OSError as error:
            raise SimulationError(f"the control port {host}:{port} is taken: {error}") from error
        return ControlAddress(host, int(self._server.sockets[0].getsockname()[1]), self.token)

    async def stop(self) -> None:
        """Stop listening, and end what is being answered."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and hang up."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with asyncio.timeout(PATIENCE_S):
                call = await read_call(reader)
            status, answer = await self._answer(call)
        except _BadCallError as error:
            status, answer = error.status, {"error": str(error)}
        except (TimeoutError, EOFError, OSError, asyncio.CancelledError):
            status, answer = HTTPStatus.REQUEST_TIMEOUT, {"error": "the request never ended"}
        with contextlib.suppress(ConnectionError):
            writer.write(_response(status, answer))
            await writer.drain()
        writer.close()
        self._tasks.discard(task)

    async def _answer(self, call: Call) -> tuple[HTTPStatus, Any]:
        """Do what is asked; what cannot be done is told."""
        if not hmac.compare_digest(call.token.encode(), self.token.encode()):
            return HTTPStatus.UNAUTHORIZED, {"error": "send 'Authorization: Bearer TOKEN'"}
        try:
            return HTTPStatus.OK, await self._do(call)
        except _BadCallError as error:
            return error.status, {"error": str(error)}
        except (ValueError, TypeError) as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}

    async def _do(self, call: Call) -> Any:
        """Find what a call means, and do it."""
        what, _, number = call.path.strip("/").partition("/")
        if (call.method, what) == ("POST", "clock") and not number:
            return await self._advance(**_named(call.json(), "advance"))
        routes: dict[tuple[str, str], Callable[[Call], Any]] = {
            ("GET", ""): lambda _: self._status(),
            ("GET", "kinds"): lambda _: [kind_row(name) for name in KINDS],
            ("GET", "faults"): lambda _: self._armed(),
            ("POST", "faults"): self._arm,
            ("DELETE", "faults"): lambda _: self._disarm(number),
            ("POST", "plan"): self._follow,
        }
        act = routes.get((call.method, what))
        if act is None or (number and call.method != "DELETE"):
            raise _BadCallError(HTTPStatus.NOT_FOUND, f"there is no {call.method} {call.path}")
        return act(call)

    def _armed(self) -> list[dict[str, Any]]:
        return [fault.row() for fault in self._gateway.faults.armed()]

    def _arm(self, call: Call) -> dict[str, Any]:
        return self._gateway.faults.arm(**_named(call.json(), "kind")).row()

    def _disarm(self, number: str) -> list[dict[str, Any]]:
        if not number:
            self._gateway.faults.clear()
        elif number.isdecimal():
            self._gateway.faults.disarm(int(number))
        else:
            raise SimulationError(f"a fault is named by its number, not {number!r}")
        return self._armed()

    def _follow(self, call: Call) -> dict[str, int]:
        plan = Plan.parse(tomllib.loads(call.text()), "the schedule")
        self._gateway.faults.follow(plan)
        return {"entries": len(plan.entries), "random": len(plan.chances)}

    def _status(self) -> dict[str, Any]:
        gateway = self._gateway
        now = gateway.clock.now()
        return {
            "simulated": True,
            "now": now,
            "utc": datetime.fromtimestamp(now, UTC).isoformat(),
            "clock": type(gateway.clock).__name__,
            "clients": sorted(gateway.clients),
            "armed": len(gateway.faults.armed()),
        }

    async def _advance(self, advance: float, step: float | None = None) -> dict[str, Any]:
        clock = self._gateway.clock
        if not isinstance(clock, ManualClock):
            raise SimulationError("this gateway's clock runs by itself; serve it with --manual")
        if not 0 <= float(advance) <= LONGEST_ADVANCE_S:
            raise SimulationError(f"advance is 0 to {LONGEST_ADVANCE_S:.0f} seconds, not {advance}")
        await clock.advance(float(advance), step=None if step is None else float(step))
        return self._status()


# --- one call -----------------------------------------------------------------------------------


class _BadCallError(Exception):
    """What came is no call that can be answered."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the control port."""

    method: str
    path: str
    token: str
    body: bytes

    def text(self) -> str:
        """Return the body as text."""
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise _BadCallError(HTTPStatus.BAD_REQUEST, str(error)) from error

    def json(self) -> Any:
        """Return the body as JSON."""
        try:
            return json.loads(self.text() or "{}")
        except ValueError as error:
            raise _BadCallError(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from error


async def read_call(reader: asyncio.StreamReader) -> Call:
    """Read one HTTP request, as much of HTTP as a control port needs."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.LimitOverrunError, asyncio.IncompleteReadError) as error:
        raise _BadCallError(HTTPStatus.BAD_REQUEST, "this is no HTTP") from error
    first, *lines = head.split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1"):
        raise _BadCallError(HTTPStatus.BAD_REQUEST, "this is no HTTP")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
    }
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise _BadCallError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has up to {MAX_BODY} bytes"
        )
    scheme, _, token = headers.get("authorization", "").partition(" ")
    body = await reader.readexactly(int(length))
    return Call(words[0], words[1], token if scheme.lower() == "bearer" else "", body)


def _response(status: HTTPStatus, answer: Any) -> bytes:
    body = json.dumps(answer).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def _named(given: Any, needed: str) -> Mapping[str, Any]:
    """Return an object's members, or say which one it must have."""
    if not isinstance(given, dict) or needed not in given:
        raise SimulationError(f"the body is an object with {needed!r}")
    return given


def kind_row(name: str) -> dict[str, Any]:
    """Return what is told about a kind of fault."""
    kind = KINDS[name]
    return {
        "kind": name,
        "works_at": kind.door,
        "parameters": dict(kind.defaults),
        "needs": list(kind.needs),
        "a_real_gateway": kind.does,
        "source": kind.source,
    }


def check_loopback(host: str) -> None:
    """Refuse an address that others could reach.

    Raises
    ------
    SimulationError
        It is none of this machine's loopback addresses.
    """
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    raise SimulationError(f"{host!r} is not loopback; this listens on 127.0.0.1 or ::1 only")


# --- the other side -----------------------------------------------------------------------------


def write_address(path: Path, address: ControlAddress) -> None:
    """Write where the control port is; only the user can read it."""
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(address._asdict(), file)
    draft.replace(path)


def find_address(folder: Path, port: int | None = None) -> ControlAddress:
    """Return the control port of the gateway that listens on `port`, or of the only one.

    Raises
    ------
    SimulationError
        No gateway of this workspace runs, or several do and none is named.
    """
    found = {path: _read(path) for path in sorted(folder.glob("control-*.json"))}
    known = {int(path.stem.partition("-")[2]): one for path, one in found.items() if one}
    if port is not None:
        known = {key: one for key, one in known.items() if key == port}
    if len(known) == 1:
        return next(iter(known.values()))
    if known:
        ports = ", ".join(map(str, known))
        raise SimulationError(f"several simulated gateways run, on ports {ports}; say --port")
    raise SimulationError(
        f"no simulated gateway has left its control port in {folder}; start one with "
        "`ibkit sim serve`, or name another with --control and --token"
    )


def _read(path: Path) -> ControlAddress | None:
    try:
        found = json.loads(path.read_text())
        return ControlAddress(found["host"], int(found["port"]), found["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ask(address: ControlAddress, method: str, path: str, body: Any = None) -> Any:
    """Return what the control port answers.

    Parameters
    ----------
    address : ControlAddress
        Where it is.
    method, path : str
        As in the table above.
    body : Any
        Text is sent as it is, anything else as JSON.

    Raises
    ------
    SimulationError
        The gateway refused, in its words.
    GatewayUnreachableError, GatewaySilentError
        Nobody listens there, or nobody answers.
    """
    from http.client import HTTPConnection, HTTPException  # the gateway itself has no use for it

    text = body if isinstance(body, str) else json.dumps({} if body is None else body)
    connection = HTTPConnection(address.host, address.port, timeout=300)
    try:
        connection.request(
            method, path, text.encode(), {"Authorization": f"Bearer {address.token}"}
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
    except TimeoutError as error:
        raise GatewaySilentError(address.host, address.port, str(error)) from error
    except (OSError, HTTPException, ValueError) as error:
        hint = "is that a control port? `ibkit sim status` says what runs."
        raise GatewayUnreachableError(address.host, address.port, str(error), hint) from error
    finally:
        connection.close()
    if response.status != HTTPStatus.OK:
        raise SimulationError(answer["error"])
    return answer
