"""The road to a gateway: plain on this machine, through TLS or an SSH tunnel to another one.

A `Road` stands in for the two methods with which ib_async opens and closes its socket. Not here:
when to connect (`supervisor`), what is said on the socket (`link`).
"""

from __future__ import annotations

import asyncio
import atexit
import ipaddress
import os
import shlex
import socket
import ssl
import subprocess
import tempfile
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from ibkit.connection.calls import Calls, read_for
from ibkit.errors import GatewayUnreachableError
from ibkit.log import get_logger, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ibkit.settings import Profile

log = get_logger(__name__)
HERE: Final = "127.0.0.1"
# between two looks whether ssh has opened our end of the tunnel
LOOK_S: Final = 0.05
# how long ssh may take to end before it is killed
END_S: Final = 2.0
TLS_HINT: Final = (
    "the port must be that of a TLS proxy (stunnel, say) in front of the gateway; tls_ca= names "
    "the file with the authority that signed its certificate, tls_name= the name in it."
)
SSH_HINT: Final = (
    "try that command in a terminal: it must log in without asking (a key in an agent, a known "
    "host). Nobody can type a password here."
)
# ends ssh when this process ends, however: its end of the pipe is closed then. An interrupt of the
# notebook goes to the whole process group and must not reach it
KEEPER: Final = """
trap '' INT
exec 3<&0 </dev/null
"$@" & child=$!
(cat <&3 >/dev/null; kill $child 2>/dev/null) & watch=$!
exec 3<&-
wait $child; code=$?
kill $watch 2>/dev/null
exit $code
"""


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine, and only from inside.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "10.0.0.5", "gateway")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def exposure(profile: Profile, host: str) -> str:
    """Return what others on the way to a gateway can see or do; empty: nothing.

    >>> from ibkit.settings import Settings
    >>> exposure(Settings().profile("paper", host="gateway.lan"), "gateway.lan").partition(":")[0]
    'not encrypted to gateway.lan'
    """
    if profile.tunnel or is_loopback(host):
        return ""
    if profile.tls and profile.tls_verify:
        return ""
    if profile.tls:
        return f"not verified: who sits between us and {host} can pose as it; set tls_ca="
    return (
        f"not encrypted to {host}: others on the way can read account ids, positions and orders, "
        'and send orders of their own; set tunnel = "ssh user@host" or tls = true'
    )


class Road:
    """How the socket of one link is opened and closed.

    Parameters
    ----------
    conn : ib_async.connection.Connection
        Its `connectAsync` and `disconnect` are replaced on this very object.
    profile : Profile
        Says whether there is a tunnel, or TLS.
    calls : Calls
        Whose requests will be answered on it.
    tell : callable
        Gets what the user should know of it, with code 0, as IB's own notices have one.
    """

    def __init__(
        self, conn: Any, profile: Profile, calls: Calls, tell: Callable[[int, str], None]
    ) -> None:
        self._conn, self._profile, self._calls, self._tell = conn, profile, calls, tell
        self._tunnel: Tunnel | None = None
        self._warned: set[str] = set()
        conn.connectAsync = self.open
        conn.disconnect = self.hang_up

    async def open(self, host: str, port: int) -> None:
        """Open the socket, by the road that the profile names.

        Raises
        ------
        GatewayUnreachableError
            The tunnel, or the proxy's certificate, is no good.
        OSError
            Nobody listens.
        """
        conn = self._conn
        if conn.transport:  # wait until an earlier socket has gone
            conn.disconnect()
            await conn.disconnected
        conn.reset()
        self._warn(host)
        context = copy_context()
        context.run(read_for, self._calls)
        dialling = self._through_tunnel if self._profile.tunnel else self._dial
        await asyncio.get_running_loop().create_task(dialling(host, port), context=context)

    def hang_up(self) -> None:
        """End the socket, after what is still to be sent."""
        transport = self._conn.transport
        if transport:
            with suppress(RuntimeError):  # its loop is closed
                if transport.can_write_eof():  # TLS cannot
                    transport.write_eof()
                transport.close()

    def close(self) -> None:
        """End the tunnel, if there is one; again is allowed."""
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.close()

    def _warn(self, host: str) -> None:
        danger = exposure(self._profile, host)
        if danger and danger not in self._warned:
            self._warned.add(danger)
            log.warning("the connection is exposed", why=danger)
            self._tell(0, f"the connection is {danger}")

    async def _dial(self, host: str, port: int, name: str = "") -> None:
        """Open the socket; `name` is whom the certificate must name."""
        loop, conn, profile = asyncio.get_running_loop(), self._conn, self._profile
        if not profile.tls:
            conn.transport, _ = await loop.create_connection(lambda: conn, host, port)
            return
        try:
            conn.transport, _ = await loop.create_connection(
                lambda: conn,
                host,
                port,
                ssl=tls_context(profile, name or host, port),
                server_hostname=profile.tls_name or name or host,
                ssl_shutdown_timeout=END_S,
            )
        except ssl.SSLError as error:
            reason = f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or error}"
            raise GatewayUnreachableError(name or host, port, reason, TLS_HINT) from error

    async def _through_tunnel(self, host: str, port: int) -> None:
        """Open the socket at our end of the tunnel, as soon as ssh listens there."""
        tunnel = self._tunnel
        if tunnel is None or tunnel.ended or tunnel.target != (host, port):
            self.close()
            self._tunnel = tunnel = Tunnel(self._profile.tunnel, host, port)
        while True:
            try:
                await self._dial(HERE, tunnel.port, host)
            except ConnectionRefusedError:
                if tunnel.ended:
                    raise tunnel.error() from None
                await asyncio.sleep(LOOK_S)
            else:
                return


class Tunnel:
    """An `ssh -N -L` child that forwards a port of this machine's loopback to a gateway.

    Parameters
    ----------
    command : str
        ``"ssh user@host"``, with further options of ssh if needed.
    host, port : str, int
        Where the gateway listens, as seen from the machine that ssh logs in to.

    Attributes
    ----------
    port : int
        Our end of it.
    target : tuple of str and int
        `host` and `port`.
    """

    def __init__(self, command: str, host: str, port: int) -> None:
        self.command, self.target, self.port = command, (host, port), _free_port()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as ssh
        words = tunnel_words(command, self.port, host, port)
        if os.name == "posix":
            words = ["/bin/sh", "-c", KEEPER, "ibkit-tunnel", *words]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own profile names it
                words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said
            )
        except OSError as error:
            self._said.close()
            raise GatewayUnreachableError(host, port, f"no tunnel: {error}", SSH_HINT) from error
        atexit.register(self.close)
        log.info("tunnel", through=command, port=self.port)

    @property
    def ended(self) -> bool:
        """Whether ssh has ended."""
        return self._process.poll() is not None

    def error(self) -> GatewayUnreachableError:
        """Return why ssh has ended, in its own words."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        why = redact(lines[-1]) if lines else f"it ended with code {self._process.returncode}"
        reason = f"no tunnel through {self.command!r}: {why}"
        return GatewayUnreachableError(*self.target, reason, SSH_HINT)

    def close(self) -> None:
        """End ssh, and wait until it has; again is allowed."""
        atexit.unregister(self.close)
        if self._process.stdin is not None:
            self._process.stdin.close()  # the keeper ends ssh
        if os.name != "posix":
            self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


def tunnel_words(command: str, local: int, host: str, port: int) -> Sequence[str]:
    """Return the command that opens a tunnel.

    >>> " ".join(tunnel_words("ssh me@bastion", 5000, "127.0.0.1", 4002)[-4:])
    '-N -L 127.0.0.1:5000:127.0.0.1:4002 me@bastion'
    """
    program, *rest = shlex.split(command)
    options = ("BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=15")
    flags = [word for option in options for word in ("-o", option)]
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return [program, *flags, "-T", "-N", "-L", f"{HERE}:{local}:{target}", *rest]


def tls_context(profile: Profile, host: str, port: int) -> ssl.SSLContext:
    """Return how a certificate is looked at.

    Raises
    ------
    GatewayUnreachableError
        The file of `tls_ca` cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=profile.tls_ca or None)
    except OSError as error:
        reason = f"tls_ca = {redact(profile.tls_ca)!r} cannot be used: {error.strerror or error}"
        raise GatewayUnreachableError(host, port, reason, TLS_HINT) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not profile.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def exposed_endpoints(profiles: Iterable[Profile]) -> list[str]:
    """Return what is wrong with the roads to all endpoints of these profiles, each thing once."""
    texts = [exposure(one, endpoint.host) for one in profiles for endpoint in one.endpoints]
    return [text for text in dict.fromkeys(texts) if text]


def _free_port() -> int:
    """Return a port that is free now; should it be taken in a moment, ssh ends and says so."""
    with socket.socket() as one:
        one.bind((HERE, 0))
        return int(one.getsockname()[1])
