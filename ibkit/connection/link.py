"""The one owner of an ib_async.IB: opens it, watches over it, asks it, closes it.

Everything here runs on one event loop. Not here yet: reconnecting (the door is `add_recovery`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ib_async import IB, Contract

from ibkit import clock
from ibkit.connection.events import Events, Notice, StateChanged
from ibkit.connection.feeds import publish_feeds
from ibkit.connection.health import FARMS, LOST, RESTORED, Health, State
from ibkit.connection.pacing import MessageGate
from ibkit.connection.requests import Requests
from ibkit.errors import (
    AccountMismatchError,
    ClientIdInUseError,
    GatewayError,
    GatewaySilentError,
    GatewayUnreachableError,
    LoopThreadError,
    NotConnectedError,
    RequestTimeoutError,
)
from ibkit.log import get_logger
from ibkit.metrics import CONNECTIONS, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import datetime

    from eventkit import Event

    from ibkit.connection.loop import LoopThread
    from ibkit.settings import Profile

T = TypeVar("T")
log = get_logger(__name__)
# what ib_async logs as errors we raise; without a handler Python would print it a second time
logging.getLogger("ib_async").addHandler(logging.NullHandler())

# an end marker that never comes must not hold the connection up for long
SYNC_S: Final = 4.0
# how long a closing socket may flush
FLUSH_S: Final = 0.5
CONNECTION_CODES: Final = FARMS.keys() | LOST | RESTORED
LISTENS: Final = (
    "TWS listens on 7496 (live) and 7497 (paper), IB Gateway on 4001 (live) and 4002 (paper); "
    "is it running, with the API enabled and this port in its API settings?"
)
LOGIN: Final = (
    "log in to the gateway's own window, enable the API there, and let it trust this address; or "
    "another program listens on this port."
)
TAKEN: Final = (
    "another program or kernel holds this client id; close it, or connect with another client_id=. "
    "After a crash IB frees an id only when it notices, which may take a minute."
)


class QuietIB(IB):
    """An IB that leaves its socket alone when it is collected: in a forked child it is not ours."""

    def __del__(self) -> None:
        """Do nothing; the link closes."""


class Link:
    """One connection to one gateway.

    Parameters
    ----------
    profile : Profile
        Where, as whom, and how patiently.
    loop : LoopThread, optional
        Where services find the thread that they share with the link; tests that bring their own
        event loop leave it out.
    events : Events, optional
        Gets what happens; by default its own.

    Attributes
    ----------
    ib : IB
        For use on the loop only.
    state : str
        ``closed``, ``connecting``, ``syncing``, ``ready``, ``degraded``, ``reconnecting`` or
        ``failed``; `reason` says why.
    accounts : tuple of str
        The accounts behind the login.
    """

    def __init__(
        self, profile: Profile, loop: LoopThread | None = None, *, events: Events | None = None
    ) -> None:
        self.profile = profile
        self.events = events or Events()
        self.health = Health()
        self.state: State = "closed"
        self.reason = ""
        self.accounts: tuple[str, ...] = ()
        self.since: datetime | None = None
        self.server_version = 0
        self.clock_offset_s: float | None = None
        self.ib = QuietIB()
        self.ib.RaiseRequestErrors = True
        self._client = cast("Any", self.ib.client)  # ib_async is typed in part only
        self._client.MaxRequests = 0
        self.gate = MessageGate(self._client.sendMsg)
        self._requests = Requests(self.ib, self.gate)
        self._thread = loop
        self._lost: asyncio.Future[str] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._taken = False
        self._recoveries: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        self._listen()

    def __repr__(self) -> str:
        profile = self.profile
        where = f"{profile.host}:{profile.port} client {profile.client_id}"
        return f"<Link {profile.name} {where} {self.state}>"

    @property
    def loop(self) -> LoopThread:
        """The loop thread that services share with this link."""
        if self._thread is None:
            raise LoopThreadError("This link was opened on a loop of the caller's own.")
        return self._thread

    @property
    def simulated(self) -> bool:
        """Whether the market behind this connection is invented."""
        return self.profile.kind == "sim"

    @property
    def account(self) -> str:
        """The account to trade: the profile's, or the only one; empty if that is not clear."""
        if self.profile.account:
            return self.profile.account
        return self.accounts[0] if len(self.accounts) == 1 else ""

    async def open(self) -> None:
        """Connect, check the accounts, fetch the state of orders and positions.

        Raises
        ------
        GatewayUnreachableError, GatewaySilentError, ClientIdInUseError, AccountMismatchError
            Each says what to do. Nothing but the greeting was exchanged in any of these cases.
        GatewayError
            The socket broke, or `close` was called, before everything was fetched.
        NotConnectedError
            The link is open already.
        """
        if self.state != "closed":
            raise NotConnectedError(self.state, "opening twice")
        loop = asyncio.get_running_loop()
        self._lost, self._gone, self._taken = loop.create_future(), loop.create_future(), False
        self._become("connecting")
        try:
            await self._greet()
            self._check_accounts()
            self._become("syncing")
            await self._sync()
            self._check_unbroken()
        except BaseException as error:
            CONNECTIONS.labels(type(error).__name__).inc()
            await self._drop(str(error).partition("\n")[0] or type(error).__name__)
            raise
        CONNECTIONS.labels("ready").inc()
        self.since = clock.now()
        self._become("ready")
        self.ib.connectedEvent.emit()

    async def close(self) -> None:
        """Disconnect; pending requests raise NotConnectedError. Closing twice is allowed."""
        await self._drop("closed by us")

    async def request(
        self,
        name: str,
        call: Callable[[IB], Awaitable[T] | T],
        *,
        contract: Contract | None = None,
        timeout_s: float | None = None,
        degraded: bool = False,
    ) -> T:
        """Ask the gateway; return its answer or raise a typed error.

        Parameters
        ----------
        name : str
            What error texts call the request: ``"historical data"``.
        call : callable
            Gets the `IB` and returns a value or something to await; runs on the loop. Switch
            ib_async's own time limits off in it (``timeout=0``): the limit is `timeout_s`.
        contract : Contract, optional
            What it is about, for error texts.
        timeout_s : float, optional
            The default is the profile's.
        degraded : bool
            Also ask while the gateway has lost IB's servers.

        Raises
        ------
        NotConnectedError
            The connection is not ready, or broke.
        RequestTimeoutError
            No answer in time; the request was cancelled at the gateway.
        RequestRefusedError
            IB's own error, as the class that `ibkit.errors.RULES` names.
        """
        usable = self.state == "ready" or (degraded and self.state == "degraded")
        if not usable or self._lost is None:
            raise NotConnectedError(self.state, name)
        patience = self.profile.timeout_s if timeout_s is None else timeout_s
        outcome = "answer"
        try:
            return await self._requests.ask(
                name, call, lost=self._lost, timeout_s=patience, contract=contract
            )
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            REQUESTS.labels(name, outcome).inc()

    def add_recovery(self, name: str, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Register a step to run, in order of registration, after a reconnect and before ready."""
        self._recoveries[name] = step

    async def _greet(self) -> None:
        """Open the socket and exchange greetings, or say in our words why not."""
        profile, client = self.profile, self._client
        assert self._lost is not None
        self.ib.wrapper.clientId = profile.client_id
        greeting = asyncio.ensure_future(
            client.connectAsync(profile.host, profile.port, profile.client_id, profile.timeout_s)
        )
        try:
            await asyncio.wait({greeting, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if greeting.done():
                greeting.result()
            else:
                raise ConnectionResetError(self._lost.result())
        except (OSError, TimeoutError) as error:
            raise self._unfriendly(error) from error
        finally:
            greeting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await greeting
        self._check_unbroken()
        self.accounts = tuple(client.getAccounts())
        self.server_version = client.serverVersion()

    def _unfriendly(self, error: OSError) -> Exception:
        """Return our error for a greeting that failed."""
        host, port = self.profile.host, self.profile.port
        if self.state == "closed":
            return GatewayError(host, port, "close() was called before the greeting")
        if self._taken:
            reason = f"client id {self.profile.client_id} is in use (IB 326)"
            return ClientIdInUseError(host, port, reason, TAKEN)
        ended = self._gone is not None and self._gone.done()
        if not ended and not self._client.conn.numMsgSent:
            if isinstance(error, ConnectionRefusedError):
                return GatewayUnreachableError(host, port, "nothing listens there", LISTENS)
            reason = str(error) or f"no connection within {self.profile.timeout_s:g} s"
            return GatewayUnreachableError(host, port, reason, LISTENS)
        if isinstance(error, TimeoutError):
            reason = f"accepted the connection and stayed silent for {self.profile.timeout_s:g} s"
        else:
            reason = f"accepted the connection and ended it before the greeting ({error})"
        return GatewaySilentError(host, port, reason, LOGIN)

    def _check_accounts(self) -> None:
        """Refuse a login that is not of the profile's kind, before anything else is asked."""
        profile = self.profile
        if strange := [a for a in self.accounts if kind_of(a) != profile.kind]:
            reason = f"profile {profile.name!r} is {profile.kind}, and account {strange[0]} is "
            reason += f"{kind_of(strange[0])}"
            hint = "check host and port: the login behind this port is another one."
            raise AccountMismatchError(profile.host, profile.port, reason, hint)
        if profile.account and profile.account not in self.accounts:
            reason = f"the login has no account {profile.account}"
            hint = f"it has {', '.join(self.accounts)}; name one of them with account=."
            raise AccountMismatchError(profile.host, profile.port, reason, hint)

    async def _sync(self) -> None:
        """Fetch positions, orders and account values; executions last, as they need the orders."""
        if self.profile.client_id == 0:
            self.ib.reqAutoOpenOrders(True)  # noqa: FBT003 - ib_async's signature
        await asyncio.gather(*(self._sync_one(*item) for item in self._sync_requests()))
        await self._sync_one("executions", IB.reqExecutionsAsync)
        if (theirs := await self._sync_one("current time", IB.reqCurrentTimeAsync)) is not None:
            self.clock_offset_s = (theirs - clock.now()).total_seconds()

    def _sync_requests(self) -> list[tuple[str, Callable[[IB], Awaitable[Any]]]]:
        requests: list[tuple[str, Callable[[IB], Awaitable[Any]]]] = [
            ("positions", IB.reqPositionsAsync),
            ("open orders", IB.reqOpenOrdersAsync),
            ("completed orders", lambda ib: ib.reqCompletedOrdersAsync(False)),  # noqa: FBT003 - as above
        ]
        if account := self.account:
            requests.append(("account values", lambda ib: ib.reqAccountUpdatesAsync(account)))
        else:
            requests.extend((f"values of {one}", _values_of(one)) for one in self.accounts)
        return requests

    async def _sync_one(self, name: str, call: Callable[[IB], Awaitable[T]]) -> T | None:
        assert self._lost is not None
        patience = min(SYNC_S, self.profile.timeout_s)
        try:
            return await self._requests.ask(name, call, lost=self._lost, timeout_s=patience)
        except RequestTimeoutError:
            log.warning("no end of the start-up data", what=name)
            return None
        except NotConnectedError:
            self._check_unbroken()
            raise

    def _check_unbroken(self) -> None:
        """Raise if the socket went, or close() was called, while we were busy opening."""
        if self._lost is not None and self._lost.done():
            reason = f"the connection ended while it was being opened ({self._lost.result()})"
            raise GatewayError(self.profile.host, self.profile.port, reason)

    def _listen(self) -> None:
        """Connect to ib_async's events; eventkit holds bound methods weakly."""
        self.ib.errorEvent += self._on_error
        self._client.conn.disconnected += self._on_socket_end
        self._client.apiError += self._on_api_error
        publish_feeds(self.ib, self.events)
        for event in (*(getattr(self.ib, name) for name in IB.events), self._client.conn.hasData):
            event.error_event += _log_failure  # without a listener eventkit swallows the error

    def _on_error(self, request_id: int, code: int, text: str, contract: Contract | None) -> None:
        if code == 326:
            self._taken = True
            self._give_up("client id in use")
        if code in CONNECTION_CODES:
            self.health.note(code, text)
            self._follow_health(text)
        self.events.publish("notice", Notice(clock.now(), code, text, request_id, contract))

    def _follow_health(self, text: str) -> None:
        if self.state == "ready" and not self.health.online:
            self._become("degraded", text)
        elif self.state == "degraded" and self.health.online:
            self._become("ready", text)

    def _on_api_error(self, message: str) -> None:
        if self.state == "connecting" and self._client.connState != self._client.CONNECTING:
            self._give_up(message)

    def _on_socket_end(self, message: str) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self.state in {"connecting", "syncing"}:
            self._give_up(message or "the other side closed the socket")
        elif self.state != "closed":
            self._become("closed", message or "the gateway closed the socket")
            self._give_up("closed")
            self.gate.clear()

    def _give_up(self, why: str) -> None:
        """Tell whoever waits for an answer that none will come."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    async def _drop(self, why: str) -> None:
        """Close the socket and wait until it is gone; a socket that cannot flush is aborted."""
        was, client = self.state, self._client
        if was == "closed" and client.conn.transport is None:
            return
        self._become("closed", why)
        self._give_up("closed")
        self.gate.clear()
        transport = client.conn.transport
        client.disconnect()
        if transport is not None and self._gone is not None:
            await asyncio.wait({self._gone}, timeout=FLUSH_S)
            if not self._gone.done():
                transport.abort()
        cast("Any", self.ib.wrapper).reset()
        if was in {"ready", "degraded"}:
            self.ib.disconnectedEvent.emit()

    def _become(self, after: State, reason: str = "") -> None:
        before, self.state, self.reason = self.state, after, reason
        if before != after:
            log.info("connection", before=before, after=after, reason=reason)
            self.events.publish("state", StateChanged(clock.now(), before, after, reason))


def _log_failure(event: Event, error: Exception) -> None:
    log.error("a handler failed", source=event.name(), exc_info=error)


def _values_of(account: str) -> Callable[[IB], Awaitable[Any]]:
    return lambda ib: ib.reqAccountUpdatesMultiAsync(account)


def kind_of(account: str) -> str:
    """Return which kind of profile an account belongs to.

    >>> [kind_of(account) for account in ("DUSIM0001", "DU1234567", "U1234567")]
    ['sim', 'paper', 'live']
    """
    if account.startswith("DUSIM"):
        return "sim"
    return "paper" if account.startswith("D") else "live"
