"""The one owner of an ib_async.IB: opens it, asks it, closes it.

Everything here runs on one event loop. Not here: what happens when the socket ends (`supervisor`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ib_async import IB, Contract

from ibkit import clock
from ibkit.connection.away import Away, Facts, facts_of
from ibkit.connection.calls import Calls, name_ib_async_records
from ibkit.connection.events import Events, Notice, StateChanged
from ibkit.connection.feeds import publish_feeds
from ibkit.connection.greeting import (
    check_accounts,
    id_in_use,
    too_old,
    unfriendly,
    unreachable,
)
from ibkit.connection.health import FARMS, LOST, RESTORED, FarmState, Health, State
from ibkit.connection.meter import LINKS, Meter
from ibkit.connection.pacing import MessageGate
from ibkit.connection.permits import Permits
from ibkit.connection.requests import Requests
from ibkit.connection.retries import retrying
from ibkit.connection.roles import speaks
from ibkit.connection.startup import fetch_account
from ibkit.connection.subscriptions import Subscriptions
from ibkit.connection.supervisor import Moment, Supervisor, run_alert
from ibkit.connection.tunnel import Road
from ibkit.errors import (
    BudgetSpentError,
    ClientIdInUseError,
    GatewayError,
    GatewaySilentError,
    GatewayUnreachableError,
    IbkitError,
    LoopThreadError,
    NotConnectedError,
    PacingError,
    RequestTimeoutError,
)
from ibkit.log import get_logger
from ibkit.metrics import CONNECTIONS, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from datetime import datetime

    from eventkit import Event

    from ibkit.connection.budget import Ask
    from ibkit.connection.ledger import Grant, Ledger
    from ibkit.connection.loop import LoopThread
    from ibkit.settings import Endpoint, Profile, Role

T = TypeVar("T")
log = get_logger(__name__)
# what ib_async logs as errors we raise; without a handler Python would print it a second time
logging.getLogger("ib_async").addHandler(logging.NullHandler())
name_ib_async_records()

# an end marker that never comes must not hold the connection up for long
SYNC_S: Final = 4.0
# how long a closing socket may flush
FLUSH_S: Final = 0.5
# IB's servers are back, and our subscriptions are not
DATA_LOST: Final = 1101
CONNECTION_CODES: Final = FARMS.keys() | LOST | RESTORED
# how often to look whether IB has freed our client id
TAKEN_S: Final = 0.5
# IB's own windows are 2 s, 15 s and 10 min; after a violation a quarter of a minute is what helps
PACING_S: Final = 15.0
# set while a recovery step runs: it may ask although the connection is not ready yet
RECOVERING: ContextVar[bool] = ContextVar("ibkit_recovering", default=False)


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
    ledger : Ledger, optional
        The books of IB's limits, closed with the link; without them nothing is counted.
    client_ids : sequence of int, optional
        Ids to choose from, instead of the profile's one: the first that nobody holds, and another
        one when IB says 326.

    Attributes
    ----------
    ib : IB
        For use on the loop only.
    state : str
        ``closed``, ``connecting``, ``syncing``, ``ready``, ``degraded``, ``reconnecting`` or
        ``failed``; `reason` says why.
    accounts : tuple of str
        The accounts behind the login.
    endpoint : Endpoint
        Where it is, or was last, connected.
    away : Away
        What happened in its absences.
    role : str
        ``data``, ``trading``, or empty: both. One for data knows nothing of orders and accounts.
    peers : sequence of Link
        The links of the same kit.
    locate : callable or None
        Finds the endpoints anew before each attempt; the simulated gateway's port changes.
    """

    def __init__(
        self,
        profile: Profile,
        loop: LoopThread | None = None,
        *,
        events: Events | None = None,
        away: Away | None = None,
        ledger: Ledger | None = None,
        client_ids: Sequence[int] = (),
        role: Role = "",
    ) -> None:
        self.profile = profile
        self.endpoint: Endpoint = profile.endpoints[0]
        self.events = events or Events()
        self.away = away or Away()
        self.role: Role = role
        self.peers: Sequence[Link] = ()
        self.locate: Callable[[], Awaitable[Sequence[Endpoint]]] | None = None
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
        self.calls = Calls(self.ib)
        self.meter = Meter(self.ib)
        self.road = Road(self._client.conn, profile, self.calls, self.health.count)
        self.gate = MessageGate(self._client.sendMsg)
        self.permits = Permits(ledger, client_ids)
        self.subscriptions = Subscriptions(self.ib, self._remember)
        self.before: Facts = {}
        self.supervisor = Supervisor(self, alert=self._alert)
        self._requests = Requests(self.ib, self.gate, self.subscriptions.note, lambda: self.state)
        self._thread = loop
        self._lost: asyncio.Future[str] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._wanted = self._opening = self._taken = self._too_old = False
        self._recoveries: dict[str, tuple[bool, Callable[[], Coroutine[Any, Any, None]]]] = {}
        self._cause = ""
        self._broken: dict[str, Moment] = {}
        self._offline: Moment | None = None
        self._changed = asyncio.Event()
        self._bookings: set[asyncio.Task[None]] = set()
        self._listen()
        LINKS.add(self)

    def __repr__(self) -> str:
        profile = self.profile
        where = f"{self.endpoint.host}:{self.endpoint.port} client {profile.client_id}"
        return f"<Link {profile.name} {where} {self.state}>"

    @property
    def label(self) -> str:
        """What a person calls it: the profile's name, and its role if it has one."""
        return f"{self.profile.name} {self.role}".rstrip()

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done when the socket of this connection has ended."""
        assert self._gone is not None
        return self._gone

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
        """Connect, check the accounts, fetch the state of orders and positions; then keep it so.

        Raises
        ------
        GatewayUnreachableError, GatewaySilentError, ClientIdInUseError, AccountMismatchError
            Each says what to do. Nothing but the greeting was exchanged in any of these cases.
        GatewayError
            The socket broke, or `close` was called, before everything was fetched.
        NotConnectedError
            The link is open already.
        """
        if self.state not in {"closed", "failed"}:
            raise NotConnectedError(self.state, "opening twice")
        self._wanted = True
        try:
            await self._open_somewhere()
            await self.recover(ready=False)
            self._check_unbroken()
        except BaseException as error:
            await self._drop(str(error).partition("\n")[0] or type(error).__name__)
            raise
        self.get_ready()
        self.subscriptions.keep = True
        self._keeper = asyncio.create_task(self.supervisor.run(), name="ibkit-supervisor")
        if self._thread is not None:
            self.meter.watch()

    async def _open_somewhere(self) -> None:
        """Try each endpoint; a refusal that another one cannot mend is raised at once.

        But an id that a crash left behind is waited for: no program of this machine holds it.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.profile.timeout_s
        while True:
            try:
                return await self._open_once()
            except ClientIdInUseError:
                if not self._taken or self.permits.may_move or loop.time() >= end:
                    raise
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(TAKEN_S, end - loop.time()))
            if not self._wanted:
                raise GatewayError(*self.endpoint, "close() was called before the greeting")

    async def _open_once(self) -> None:
        """Try each endpoint once."""
        *others, last = await self.endpoints()
        for endpoint in others:
            with contextlib.suppress(GatewayUnreachableError, GatewaySilentError):
                await self.establish(endpoint)
                return
        await self.establish(last)

    async def close(self) -> None:
        """Disconnect for good; pending requests raise NotConnectedError. Closing twice is allowed.

        Whatever the supervisor is doing, it ends: nothing opens this link again but `open`.
        """
        keeper, self._keeper = self._keeper, None
        self.meter.stop()
        self.subscriptions.keep = False
        if keeper is not None:
            keeper.cancel()
        await self._drop("closed by us")
        if keeper is not None:
            await asyncio.wait({keeper})
        self.subscriptions.clear()
        self.permits.close()

    async def ready(self, timeout_s: float | None = None) -> None:
        """Wait until everything may be asked.

        Raises
        ------
        NotConnectedError
            It is closed, has failed, or was not ready within `timeout_s` seconds.
        """
        loop = asyncio.get_running_loop()
        end = None if timeout_s is None else loop.time() + timeout_s
        while self.state != "ready":
            left = None if end is None else end - loop.time()
            if self.state in {"closed", "failed"} or (left is not None and left <= 0):
                raise NotConnectedError(self.state, "this call")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    # --- what the supervisor does with it --------------------------------------------------------

    async def endpoints(self) -> Sequence[Endpoint]:
        """Return where a gateway may be, in order of preference."""
        if self.locate is None:
            return self.profile.endpoints
        return await self.locate()

    async def knock(self, endpoint: Endpoint) -> None:
        """Raise GatewayUnreachableError unless somebody listens there; nothing is said."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.profile.timeout_s):
                transport, _ = await loop.create_connection(asyncio.Protocol, *endpoint)
        except OSError as error:  # a TimeoutError is one
            raise unreachable(endpoint) from error
        transport.abort()

    async def establish(self, endpoint: Endpoint) -> None:
        """Open one connection, up to the eve of ready; under another client id if it may."""
        if self.state != "reconnecting":
            self._become("connecting")
        try:
            while not await self._establish_as(endpoint):
                log.info("the client id is in use, another one is tried", id=self.profile.client_id)
        finally:
            self.permits.settle_id()

    async def _establish_as(self, endpoint: Endpoint) -> bool:
        """Open one connection; False if only the client id stood in the way of it."""
        found = await self.permits.take_id(self.profile.client_id, endpoint)
        if not self._wanted:
            raise GatewayError(*endpoint, "close() was called before the greeting")
        if found != self.profile.client_id:
            self.profile = self.profile.model_copy(update={"client_id": found})
        try:
            await self._establish(endpoint)
        except ClientIdInUseError:
            if not self.permits.refuse_id(found):
                raise
            return False
        return True

    async def _establish(self, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self._lost, self._gone, self._taken = loop.create_future(), loop.create_future(), False
        self._too_old, self._opening = False, True
        self._broken.clear()
        self._offline = None
        self.health.online = True
        try:
            await self._greet()
            check_accounts(self.endpoint, self.profile, self.role, self.accounts)
            self._become("syncing")
            await self._sync()
            self._check_unbroken()
        except BaseException as error:
            CONNECTIONS.labels(type(error).__name__).inc()
            await self._hang_up()
            if self.state == "syncing":
                self._become("reconnecting", str(error).partition("\n")[0])
            raise
        finally:
            self._opening = False
        CONNECTIONS.labels("ready").inc()
        self.since = clock.now()

    def get_ready(self) -> None:
        """Say that everything may be asked."""
        self._check_unbroken()
        self._become("ready" if self.health.online else "degraded")
        self.ib.connectedEvent.emit()

    def fail(self, why: str) -> None:
        """Say that no retry will help."""
        self._become("failed", why)
        self._give_up("failed")
        self.subscriptions.give_back()
        self.permits.give_back_id()

    def cut(self, why: str) -> None:
        """Give up the socket at once: nobody answers on it."""
        log.warning("the socket is given up", reason=why)
        self._cause = why
        if (transport := self._client.conn.transport) is not None:
            transport.abort()

    async def probe(self, timeout_s: float) -> None:
        """Ask for a sign of life."""
        assert self._lost is not None
        _: datetime = await self._requests.ask(
            "heartbeat", lambda ib: ib.reqCurrentTimeAsync(), lost=self._lost, timeout_s=timeout_s
        )

    async def recover(self, *, ready: bool) -> None:
        """Run the steps that the rooms above registered for before, or after, ready."""
        token = RECOVERING.set(True)
        try:
            for name, (after, step) in tuple(self._recoveries.items()):
                if after is ready:
                    await self._recover_one(name, step)
        finally:
            RECOVERING.reset(token)

    async def _recover_one(self, name: str, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one step: if it fails on a good socket, that is said, and the others go on."""
        try:
            await step()
        except (IbkitError, ConnectionError) as error:
            self._check_unbroken()
            text = str(error).partition("\n")[0]
            log.error("a recovery step failed", step=name, error=text)  # noqa: TRY400 - its trace says nothing
            self.away.note("recovery", name, "", text, "failed")

    def _remember(self) -> None:
        """Note what is known, a moment before ib_async forgets it with the socket."""
        if self.state in {"ready", "degraded"}:
            self.before = facts_of(self.ib)

    async def _alert(self, text: str) -> None:
        if self.profile.alert:
            await run_alert(self.profile.alert, text)

    async def request(
        self,
        name: str,
        call: Callable[[IB], Awaitable[T] | T],
        *,
        contract: Contract | None = None,
        timeout_s: float | None = None,
        degraded: bool = False,
        again: bool = True,
        ask: Ask | None = None,
        wait_s: float | None = None,
    ) -> T:
        """Ask the gateway; return its answer or raise a typed error.

        A question that a lost connection or the pacing rules left without an answer is asked again
        when that is over, as long as `timeout_s` allows.

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
        again : bool
            Whether it may be asked twice; no order comes this way, so everything may.
        ask : Ask, optional
            What it costs under IB's limits, see `ibkit.connection.asks.ask_for`. A subscription
            holds that until it is cancelled.
        wait_s : float, optional
            How long to wait until the limits let it go; `timeout_s` counts after that. The
            default is `timeout_s`; infinity is for ever.

        Raises
        ------
        NotConnectedError
            The connection is not ready, or broke.
        BudgetSpentError
            IB's limits do not let it go within `wait_s`.
        RequestTimeoutError
            No answer in time; the request was cancelled at the gateway.
        RequestRefusedError
            IB's own error, as the class that `ibkit.codes` names.
        """
        patience = self.profile.timeout_s if timeout_s is None else timeout_s
        grants: list[Grant | None] = []

        async def once() -> T:
            self._check_usable(name, degraded=degraded)
            grant = grants.pop() if grants else await self.permits.admit(ask, patience)
            try:
                lost = self._check_usable(name, degraded=degraded)
                return await self._requests.ask(
                    name, call, lost=lost, timeout_s=patience, contract=contract, grant=grant
                )
            finally:
                self.permits.settle(grant, held=self.subscriptions.holds(grant))

        outcome = "answer"
        try:
            if ask is not None and ask.charges and self.state not in {"closed", "failed"}:
                wait = patience if wait_s is None else wait_s
                grants.append(await self.permits.admit(ask, None if wait == math.inf else wait))
            if not again or RECOVERING.get():
                return await once()
            return await retrying(once, self._mended, within_s=patience)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            for grant in grants:
                self.permits.settle(grant, held=False)
            REQUESTS.labels(name, outcome).inc()

    def subscribe_now(self, call: Callable[[IB], T], ask: Ask) -> T:
        """Open a stream from a handler on the loop, which cannot wait: it is booked afterwards.

        Raises
        ------
        NotConnectedError
            There is no socket.
        """
        before = set(self.subscriptions.numbers)
        try:
            value = call(self.ib)
        except ConnectionError as error:
            raise NotConnectedError(self.state, ask.what) from error
        opened = set(self.subscriptions.numbers) - before
        task = asyncio.ensure_future(self._book_late(ask, opened))
        self._bookings.add(task)
        task.add_done_callback(self._bookings.discard)
        return value

    async def _book_late(self, ask: Ask, opened: set[int]) -> None:
        """Book what is open already; if there is no room for it, that is said and not undone."""
        try:
            grant = await self.permits.admit(ask, 0)
        except (BudgetSpentError, NotConnectedError) as error:
            log.warning("opened from a handler, beyond IB's limits", error=str(error))
            return
        if grant is not None:
            grant.sent()
            self.subscriptions.hold(opened, grant)
            self.permits.settle(grant, held=self.subscriptions.holds(grant))

    def _check_usable(self, name: str, *, degraded: bool = False) -> asyncio.Future[str]:
        """Return the future of this socket's end, or raise if nothing may be asked now."""
        recovering = RECOVERING.get() and self.state == "syncing"
        usable = self.state == "ready" or recovering or (degraded and self.state == "degraded")
        if not usable or self._lost is None:
            raise NotConnectedError(self.state, name)
        return self._lost

    async def _mended(self, error: BaseException, left_s: float) -> bool:
        """Wait until what stood in the way is over; False if that is not for us to wait for."""
        if isinstance(error, PacingError):
            await asyncio.sleep(min(PACING_S, left_s))
            return left_s > PACING_S
        if self._keeper is None or self._keeper.done():
            return False
        with contextlib.suppress(NotConnectedError):
            await self.ready(left_s)
        return self.state == "ready"

    def add_recovery(
        self, name: str, step: Callable[[], Coroutine[Any, Any, None]], *, ready: bool = False
    ) -> None:
        """Register a step to run after a reconnect, and after IB's servers came back.

        Steps run in the order of their registration, before the state is ready, or, with `ready`,
        after it. They may ask; a step that fails is logged and noted in `away`.
        """
        self._recoveries[name] = (ready, step)

    async def _greet(self) -> None:
        """Open the socket and exchange greetings, or say in our words why not."""
        profile, client, (host, port) = self.profile, self._client, self.endpoint
        assert self._lost is not None
        self.ib.wrapper.clientId = profile.client_id
        greeting = asyncio.ensure_future(
            client.connectAsync(host, port, profile.client_id, profile.timeout_s)
        )
        try:
            await asyncio.wait({greeting, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if greeting.done():
                greeting.result()
            else:
                raise ConnectionResetError(self._lost.result())
        except GatewayError:  # of the road: it says why already
            raise
        except (OSError, TimeoutError) as error:
            raise self._unfriendly(error) from error
        finally:
            greeting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await greeting
        self._check_unbroken()
        self.accounts = tuple(client.getAccounts())
        self.server_version = client.serverVersion()

    def _unfriendly(self, error: OSError) -> GatewayError:
        """Return our error for a greeting that failed."""
        if not self._wanted:
            return GatewayError(*self.endpoint, "close() was called before the greeting")
        if self._too_old:
            return too_old(self.endpoint, error)
        if self._taken:
            return id_in_use(self.endpoint, self.profile.client_id)
        ended = self._gone is not None and self._gone.done()
        reached = ended or bool(self._client.conn.numMsgSent)
        return unfriendly(self.endpoint, error, self.profile.timeout_s, reached=reached)

    async def _sync(self) -> None:
        """Fetch the state of the account, unless we are for data alone, and compare the clocks."""
        if self.role != "data":
            if self.profile.client_id == 0:
                self.ib.reqAutoOpenOrders(True)  # noqa: FBT003 - ib_async's signature
            await fetch_account(self._sync_one, self.account, self.accounts)
        if (theirs := await self._sync_one("current time", IB.reqCurrentTimeAsync)) is not None:
            self.clock_offset_s = (theirs - clock.now()).total_seconds()

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
            raise GatewayError(*self.endpoint, reason)

    def _listen(self) -> None:
        """Connect to ib_async's events; eventkit holds bound methods weakly."""
        self.ib.errorEvent += self._on_error
        self._client.conn.disconnected += self._on_socket_end
        self._client.apiError += self._on_api_error
        if self.role != "data":
            publish_feeds(self.ib, self.events)
        for event in (*(getattr(self.ib, name) for name in IB.events), self._client.conn.hasData):
            event.error_event += _log_failure  # without a listener eventkit swallows the error

    def _on_error(self, request_id: int, code: int, text: str, contract: Contract | None) -> None:
        if code == 326:
            self._taken = True
            self._give_up("client id in use")
        self.subscriptions.refused(request_id, code)
        self.health.count(code, text)
        if code in CONNECTION_CODES:
            farms = dict(self.health.farms)
            self.health.note(code, text)
            self._follow_farms(farms)
            self._follow_health(code, text)
        if request_id >= 0 or speaks(self, self.peers):
            self.events.publish("notice", Notice(clock.now(), code, text, request_id, contract))

    def _follow_farms(self, before: dict[str, FarmState]) -> None:
        """Look after the streams of a farm that broke and came back; no other is touched."""
        for farm, state in self.health.farms.items():
            if state == "broken" and before.get(farm) != "broken":
                self._broken[farm] = _now()
            elif state in {"ok", "idle"} and farm in self._broken:
                since = self._broken.pop(farm)
                if self._keeper is not None:
                    self.supervisor.later(partial(self.supervisor.after_farm, farm, since))

    def _follow_health(self, code: int, text: str) -> None:
        if not self.health.online and self._offline is None:
            self._offline = _now()
        if self.state == "ready" and not self.health.online:
            self._become("degraded", text)
        elif self.health.online and self._offline is not None:
            since, self._offline = self._offline, None
            if self.state == "degraded":
                self._become("ready", text)
            if self._keeper is not None:
                again = partial(
                    self.supervisor.after_outage_of_ib, data_lost=code == DATA_LOST, since=since
                )
                self.supervisor.later(again)

    def _on_api_error(self, message: str) -> None:
        self._too_old = self._too_old or "version must be" in message
        if self._opening and self._client.connState != self._client.CONNECTING:
            self._give_up(message)

    def _on_socket_end(self, message: str) -> None:
        reason, self._cause = self._cause or message or "the gateway closed the socket", ""
        if self._opening:
            self._give_up(message or "the other side closed the socket")
        elif self.state in {"ready", "degraded", "syncing"}:
            self._become("reconnecting" if self._wanted else "closed", reason)
            self._give_up(reason)
            self.gate.clear()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _give_up(self, why: str) -> None:
        """Tell whoever waits for an answer that none will come."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    async def _drop(self, why: str) -> None:
        """End this connection for good."""
        was, self._wanted = self.state, False
        if was == "closed" and self._client.conn.transport is None:
            return
        self._become("closed", why)
        self._give_up("closed")
        await self._hang_up()
        self.road.close()
        self.permits.give_back_id()
        if was in {"ready", "degraded"}:
            self.ib.disconnectedEvent.emit()

    async def _hang_up(self) -> None:
        """Close the socket and wait until it is gone; a socket that cannot flush is aborted."""
        client = self._client
        self._give_up("closed")
        self.gate.clear()
        transport = client.conn.transport
        client.disconnect()
        if transport is not None and self._gone is not None:
            await asyncio.wait({self._gone}, timeout=FLUSH_S)
            if not self._gone.done():
                transport.abort()
        cast("Any", self.ib.wrapper).reset()

    def _become(self, after: State, reason: str = "") -> None:
        if not self._wanted and after not in {"closed", "failed"}:
            return  # close() was faster than what is still on its way
        before, self.state, self.reason = self.state, after, reason
        self._changed.set()
        self._changed.clear()
        if before != after:
            log.info("connection", before=before, after=after, reason=reason, role=self.role)
            changed = StateChanged(clock.now(), before, after, reason, self.role)
            self.events.publish("state", changed)


def _now() -> Moment:
    return Moment(clock.now(), asyncio.get_running_loop().time())


def _log_failure(event: Event, error: Exception) -> None:
    log.error("a handler failed", source=event.name(), exc_info=error)
