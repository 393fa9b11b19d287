"""The gateway's front door: sockets, the handshake, the greeting, and one bad client at a time.

Not here: what requests mean (`handlers`) and what streams by itself (`stream`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ibkit import clock as machine
from ibkit.errors import PortInUseError
from ibkit.log import get_logger
from ibkit.sim import handlers
from ibkit.sim.clients import NOTICE, Client
from ibkit.sim.clock import Clock, RealClock
from ibkit.sim.entitlements import Entitlements
from ibkit.sim.exchange import Exchange
from ibkit.sim.faults import Faults
from ibkit.sim.household import household
from ibkit.sim.limits import Limits
from ibkit.sim.market import Market
from ibkit.sim.newsroom import Newsroom
from ibkit.sim.stream import Stream
from ibkit.sim.universe import Universe
from ibkit.sim.wire import REQUESTS, SERVER_VERSION, Deframer, Record, WireError, pack, unpack
from ibkit.sim.wire import replies as r
from ibkit.sim.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from ibkit.sim.account import Account
    from ibkit.sim.entitlements import Level
    from ibkit.sim.household import Household
    from ibkit.sim.replay import ReplayMarket
    from ibkit.sim.worker import Deliver, Later

MAGIC: Final = b"API\0"
VERSIONS: Final = re.compile(rb"v(\d+)(?:\.\.(\d+))?(?: .*)?\0?", re.DOTALL)
HANDSHAKE_S: Final = 30.0
CHUNK: Final = 65_536
TURNS_TO_ACCEPT: Final = 8  # of the loop, until a socket that was just opened is in our hands
FARMS: Final = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2104, "Market data farm connection is OK:usfuture"),
    (2104, "Market data farm connection is OK:cashfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
log = get_logger(__name__)


class Gateway:
    """A TWS that nobody has to log in to.

    Parameters
    ----------
    universe, market, exchange, account : optional
        The world behind the door; by default the synthetic one, made from `seed`.
    seed : int
        The same seed gives the same prices, whenever they are asked for.
    clock : Clock, optional
        Real time by default.
    account_id : str
        Starts with ``DUSIM`` so that nobody takes it for a real one. Of several the first is a
        financial advisor's own, and the others trade.
    always_open : bool
        Whether quotes move and orders fill outside trading hours; history keeps the calendar.
    limits : Limits, optional
        How much a client may ask for; IB's numbers by default.
    entitlements : mapping of str to Level, optional
        What may not be seen, by symbol (`Entitlements.rules`); everything else may.
    master_client_id : int, optional
        The client that hears of every client's orders and executions.
    """

    def __init__(  # noqa: PLR0913  a gateway is put together by name
        self,
        *,
        universe: Universe | None = None,
        market: Market | ReplayMarket | None = None,
        exchange: Exchange | None = None,
        account: Account | Household | None = None,
        seed: int = 1,
        clock: Clock | None = None,
        account_id: str | Sequence[str] = "DUSIM0001",
        always_open: bool = True,
        limits: Limits | None = None,
        entitlements: Mapping[str, Level] | None = None,
        master_client_id: int | None = None,
    ) -> None:
        self.seed = seed
        self.limits = limits or Limits()
        self.entitlements = Entitlements(dict(entitlements or {}))
        self.master_client_id = master_client_id
        self.auto_bind = False
        self.bound: set[int] = set()
        self.hand_orders = 0
        self.newsroom = Newsroom(seed)
        self.wsh_licence = True
        self.display_groups: dict[int, str] = {}
        self.fa_data: dict[int, str] = {}
        self.clock = clock or RealClock()
        self.universe = universe or Universe.load()
        self.market: Market | ReplayMarket = market or Market(
            self.universe, seed=seed, always_open=always_open
        )
        ids = (account_id,) if isinstance(account_id, str) else account_id
        self.exchange = exchange or Exchange(
            self.universe,
            self.market,
            account or household(ids),
            seed=seed,
            always_open=always_open,
        )
        self.account = self.exchange.account
        self.faults = Faults(seed)
        self.faults.bind(self)
        self.clients: dict[int, Client] = {}
        self.last_activity = machine.monotonic()
        self._next_order_id: dict[int, int] = {}
        self.stream = Stream(self)
        self.worker = Worker(inline=not isinstance(self.clock, RealClock))
        self._server: asyncio.Server | None = None
        self._opening = False
        self._address = ("127.0.0.1", 0)
        self._sockets: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.WriteTransport] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port; 0 lets the system choose one.

        Raises
        ------
        PortInUseError
            Somebody else listens there.
        """
        self._address = host, port
        await self.open_port()
        self.stream.start()
        return self._address[1]

    async def open_port(self) -> None:
        """Listen, for the first time or again on the same port."""
        if self._server is not None or self._opening:
            return
        host, port = self._address
        self._opening = True
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            raise PortInUseError(host, port) from error
        finally:
            self._opening = False
        self._address = host, int(self._server.sockets[0].getsockname()[1])

    @property
    def is_away(self) -> bool:
        """Whether it listened before and does not now."""
        return self._server is None and self._address[1] != 0

    def close_port(self) -> None:
        """Refuse new sockets; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _let_in(self) -> None:
        """Accept nobody any more but those at the door: shut on them, asyncio would complain."""
        loop = asyncio.get_running_loop()
        for one in self._server.sockets if self._server is not None else ():
            with contextlib.suppress(NotImplementedError, AttributeError):  # other kinds of loops
                loop.remove_reader(one.fileno())
        for _ in range(TURNS_TO_ACCEPT):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Hang up on everybody and leave."""
        await self._let_in()
        self.close_port()
        self.faults.stop()
        self.worker.stop()
        await self.stream.stop()
        for task in tuple(self._sockets):
            task.cancel()
        await asyncio.gather(*self._sockets, return_exceptions=True)
        for transport in tuple(self._transports):  # of a client that does not read what is left
            transport.abort()
        await asyncio.sleep(0)

    def drop_clients(self) -> None:
        """Hang up on every client without a word, as a gateway that restarts does."""
        for task in tuple(self._sockets):
            task.cancel()

    # --- one socket -----------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one socket until either side ends it; its errors stay its own."""
        task = asyncio.current_task()
        assert task is not None
        self._sockets.add(task)
        self._transports.add(writer.transport)
        hung_up = False
        client = Client(self, writer.transport)
        self.last_activity = machine.monotonic()
        try:
            await self._serve(client, reader)
        except WireError as error:
            log.info("client_dropped", client_id=client.client_id, reason=str(error))
        except (OSError, EOFError, asyncio.CancelledError) as error:
            hung_up = isinstance(error, asyncio.CancelledError)
            log.debug("socket_ended", client_id=client.client_id, reason=repr(error))
        finally:
            self._sockets.discard(task)
            self.forget(client)
            client.flush()
            writer.close()
            if hung_up and writer.transport.get_write_buffer_size():
                writer.transport.abort()  # nobody waits for a client that does not read
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self._transports.discard(writer.transport)

    async def _serve(self, client: Client, reader: asyncio.StreamReader) -> None:
        """Handshake, then one request after the other."""
        if self.faults.greeting == "drop":
            return
        frames = Deframer()
        async with asyncio.timeout(HANDSHAKE_S):
            await self._shake_hands(client, reader, frames)
        if self.faults.greeting == "silent":
            await reader.read(-1)
            return
        while not client.is_closing():
            for payload in frames.payloads():
                await self._pace(client)
                if not client.is_closing():
                    self.answer(client, unpack(payload))
                if client.is_closing():
                    return
            data = await reader.read(CHUNK)
            if not data:
                return
            frames.feed(data)

    async def _pace(self, client: Client) -> None:
        """Count a message: error 100 above the rate, and the end at the third offence; or wait."""
        now = asyncio.get_running_loop().time()
        if client.paced:
            if (pause := client.rate.wait(now)) > 0:
                await asyncio.sleep(pause)
            return
        if not (count := client.rate.excess(now)):
            return
        limit, strikes = self.limits.messages_per_second, client.rate.strikes
        client.error(
            NOTICE,
            100,
            "Max rate of messages per second has been exceeded:"
            f"max={limit} rec={count} ({strikes})",
        )
        if strikes >= self.limits.strikes:
            client.close()

    async def _shake_hands(
        self, client: Client, reader: asyncio.StreamReader, frames: Deframer
    ) -> None:
        """Agree on a version. Nothing else may be sent before START_API: ibapi would lose it."""
        magic = await reader.readexactly(len(MAGIC))
        if magic != MAGIC:
            raise WireError(f"{magic!r} is not how an API client begins")
        while (payload := frames.next()) is None:
            data = await reader.read(CHUNK)
            if not data:
                raise ConnectionResetError
            frames.feed(data)
        version = negotiate(payload)
        client.paced = self.limits.queue_messages or b"+PACEAPI" in payload
        if self.faults.greeting == "serve":
            client.write(pack([str(version), connection_time(self.clock.now())]))

    # --- one request ----------------------------------------------------------------------------

    def answer(self, client: Client, fields: list[str]) -> None:
        """Answer one frame; one that cannot be read gets error 320 and hurts nobody else."""
        request = REQUESTS.get(int(fields[0])) if fields and fields[0].isdecimal() else None
        if request is None:
            client.error(NOTICE, 320, f"Error reading request.-Unknown message id {fields[:1]}")
            client.close()
            return
        try:
            values = request.decode(fields)
        except WireError as error:
            client.error(NOTICE, 320, f"Error reading request.-{request.name}: {error}")
            return
        if request.name == "start_api":
            self.start_api(client, values["client_id"])
        elif client.client_id < 0:
            raise WireError(f"{request.name} before START_API")
        elif self.faults.passes(client, request.name, values):
            self.handle(client, request.name, values)

    def handle(self, client: Client, name: str, values: Record) -> None:
        """Call the handler of a request; what goes wrong there stays with this request."""
        about = int(values.get("req_id", values.get("order_id", NOTICE)) or 0)
        handler = handlers.HANDLERS.get(name, handlers.not_simulated)
        with self._answering(client, name, about):
            later = handler(client, values)
            if later is not None:
                self._answer_later(client, name, about, later)

    def _answer_later(self, client: Client, name: str, about: int, later: Later) -> None:
        """Have an answer computed beside the loop; meanwhile its request is open."""
        slot = None if later.open_as is None else (client, later.open_as)
        if slot:
            self.faults.open.add(slot)

        def wanted() -> bool:
            return not client.is_closing() and (slot is None or slot in self.faults.open)

        def finish(outcome: Future[Deliver]) -> None:
            if wanted():
                self.faults.open.discard(slot)
                with self._answering(client, name, about):
                    outcome.result()()

        self.worker.do(asyncio.get_running_loop(), later.compute, finish, wanted)

    @contextlib.contextmanager
    def _answering(self, client: Client, name: str, about: int) -> Iterator[None]:
        """Say what is answered; what goes wrong there stays with this request."""
        self.faults.answering = name
        try:
            yield
        except handlers.RefusedError as refused:
            client.error(about, refused.code, refused.text)
        except Exception:  # a bug in one handler must not end anybody's connection
            log.exception("handler_failed", request=name, client_id=client.client_id)
            client.error(about, 322, "Error processing request.-'sim' : cause - internal error")
        finally:
            self.faults.answering = ""

    # --- who is here ----------------------------------------------------------------------------

    def start_api(self, client: Client, client_id: int) -> None:
        """Greet a client, or refuse an id that is taken."""
        if client.client_id >= 0:
            return
        if client_id < 0:
            raise WireError(f"{client_id} is no client id")
        most = self.limits.clients
        taken = client_id in self.clients or self.faults.holds_id(client_id)
        if taken or (most and len(self.clients) >= most):
            client.error(
                NOTICE,
                326,
                "Unable to connect as the client id is already in use. "
                "Retry with a unique client id.",
            )
            client.close()
            return
        client.client_id = client_id
        self.clients[client_id] = client
        log.info("client_connected", client_id=client_id)
        client.send(r.MANAGED_ACCOUNTS, accounts=self.managed_accounts())
        client.send(r.NEXT_VALID_ID, order_id=client.next_valid_id)
        for code, text in FARMS:
            client.error(NOTICE, code, text)

    def managed_accounts(self) -> str:
        """Return the accounts of the login, joined by commas: an advisor's own comes first."""
        return ",".join(self.exchange.household.ids)

    def forget(self, client: Client) -> None:
        """Free the client's id; its orders stay."""
        if self.clients.get(client.client_id) is client:
            del self.clients[client.client_id]
            log.info("client_left", client_id=client.client_id)
        self.faults.left(client)
        self.last_activity = machine.monotonic()

    def next_valid_id(self, client_id: int) -> int:
        """Return the first order id that this client has not used."""
        return self._next_order_id.get(client_id, 1)

    def note_order_id(self, client_id: int, order_id: int) -> None:
        """Remember that an order id is used."""
        self._next_order_id[client_id] = max(self.next_valid_id(client_id), order_id + 1)

    def reset_order_ids(self, first: int, client_id: int | None = None) -> None:
        """Count order ids anew from `first`, of one client or of all."""
        known = tuple(self._next_order_id) if client_id is None else (client_id,)
        self._next_order_id.update(dict.fromkeys(known, first))


def negotiate(payload: bytes) -> int:
    """Return the version to speak with a client that offers `payload`: never more than 178.

    >>> negotiate(b"v100..226"), negotiate(b"v157..178 +PACEAPI")
    (178, 178)
    """
    match = VERSIONS.fullmatch(payload)
    if match is None:
        raise WireError(f"{payload[:40]!r} offers no versions")
    low, high = int(match[1]), int(match[2] or match[1])
    if not low <= SERVER_VERSION <= high:
        raise WireError(f"no common version: the client speaks {low} to {high}")
    return SERVER_VERSION


def connection_time(now: float) -> str:
    """Return the time of the greeting, in words that no client parses.

    >>> connection_time(0)
    '19700101 00:00:00 Coordinated Universal Time'
    """
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d %H:%M:%S} Coordinated Universal Time"
