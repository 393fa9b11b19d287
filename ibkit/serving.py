"""Serve metrics over HTTP: on loopback with a token, wider only through TLS.

Not here: the metrics (`ibkit.metrics`, `ibkit.connection.meter`).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import ssl
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import parse_qs, urlsplit

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ibkit.errors import EndpointRefusedError
from ibkit.metrics import REGISTRY

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import CollectorRegistry

LOOPBACK: Final = "127.0.0.1"
# how long a caller may take over one request
PATIENCE_S: Final = 10.0
# callers at once; a scraper is one
MOST: Final = 16
SHORTEST_TOKEN: Final = 16


class MetricsServer:
    """An endpoint that Prometheus scrapes: ``GET /metrics`` with the token. Made by `serve`.

    Attributes
    ----------
    url : str
        Where it listens; the token is not in it.
    token : str
        What a caller must know, as ``Authorization: Bearer …`` or ``?token=…``.
    """

    def __init__(self, server: _Server, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread
        self.token = server.token
        host, port = server.server_address[0], server.server_address[1]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        self.url = f"{'https' if server.context else 'http'}://{shown}:{port}/metrics"

    def __repr__(self) -> str:
        return (
            f"<MetricsServer {self.url}?token=••••{'' if self._thread.is_alive() else ' closed'}>"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end the thread; closing twice is allowed."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.hang_up()


def serve(
    port: int = 0,
    *,
    host: str = LOOPBACK,
    token: str | None = None,
    certificate: Path | str | None = None,
    key: Path | str | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> MetricsServer:
    """Serve metrics until `MetricsServer.close`.

    Parameters
    ----------
    port : int
        0 lets the system choose.
    host : str
        An address of this machine; other than loopback only with `certificate` and `key`.
    token : str, optional
        At least 16 characters; a fresh secret by default.
    certificate, key : Path or str, optional
        PEM files; both, for TLS.
    registry : CollectorRegistry
        Which metrics.

    Raises
    ------
    EndpointRefusedError
        The address is wider than loopback and has no TLS, is taken, or a file cannot be used.
    """
    context = _context(host, port, certificate, key)
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise EndpointRefusedError(host, port, f"a token has {SHORTEST_TOKEN} characters or more")
    try:
        server = _Server(host, port, token or secrets.token_urlsafe(24), context, registry)
    except (OSError, OverflowError) as error:
        raise EndpointRefusedError(host, port, f"cannot listen there: {error}") from error
    thread = threading.Thread(
        target=server.serve_forever, args=(0.1,), name="ibkit-metrics", daemon=True
    )
    thread.start()
    return MetricsServer(server, thread)


def _context(
    host: str, port: int, certificate: Path | str | None, key: Path | str | None
) -> ssl.SSLContext | None:
    """Return the TLS to use, if any, or say why this address is not for us to open."""
    if certificate is None and key is None:
        if not _is_loopback(host):
            raise EndpointRefusedError(host, port, "it is wider than this machine, and has no TLS")
        return None
    if certificate is None or key is None:
        raise EndpointRefusedError(host, port, "TLS takes both certificate= and key=")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        reason = f"certificate= and key= cannot be used: {error.strerror or error}"
        raise EndpointRefusedError(host, port, reason) from error
    return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False
    request_queue_size = MOST

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        context: ssl.SSLContext | None,
        registry: CollectorRegistry,
    ) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.token, self.context, self.registry = token, context, registry
        self._room = threading.BoundedSemaphore(MOST)
        self._callers: dict[threading.Thread, Any] = {}
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, unless there are too many of them."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self._callers[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one caller; the TLS greeting is his time, not that of the others."""
        this = threading.current_thread()
        try:
            request.settimeout(PATIENCE_S)
            self._callers[this] = request
            if self.context is not None:
                request = self.context.wrap_socket(
                    request, server_side=True, do_handshake_on_connect=False
                )
                self._callers[this] = request
                request.do_handshake()
            super().process_request_thread(request, client_address)
        except OSError:  # he does not speak TLS, or went
            self.shutdown_request(request)
        finally:
            self._callers.pop(this, None)
            self._room.release()

    def hang_up(self) -> None:
        """End whatever is still being answered, and its thread."""
        for thread, request in tuple(self._callers.items()):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers that hang up: they are not ours to mend."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "ibkit"
    sys_version = ""
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        """Answer with the metrics, if the caller knows the token."""
        asked, server = urlsplit(self.path), cast("_Server", self.server)
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = parse_qs(asked.query).get("token", [""])[0]
        if not hmac.compare_digest(given.strip().encode(), server.token.encode()):
            self._answer(HTTPStatus.UNAUTHORIZED, b"send 'Authorization: Bearer TOKEN'\n")
        elif asked.path != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, b"there is /metrics only\n")
        else:
            self._answer(HTTPStatus.OK, generate_latest(server.registry), CONTENT_TYPE_LATEST)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a line would have the token in it."""
