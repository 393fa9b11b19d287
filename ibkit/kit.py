"""`connect()` and `Kit`: one connection, one store, and the services between them.

Assembly only: what the services do is in their rooms. Services are made when first used, so a
script that wants quotes does not load the store.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from ibkit import clock, display
from ibkit.connection import Link, LoopThread
from ibkit.connection.away import Away
from ibkit.connection.books import ledger_of
from ibkit.connection.events import Events, SettingsChanged
from ibkit.connection.gauge import message_row, pacing_frame, pacing_words
from ibkit.connection.health import Status, notices_frame
from ibkit.connection.kernel import KernelLoop, warn_of_lost_cells
from ibkit.connection.meter import timings
from ibkit.connection.pacing import limits_for
from ibkit.connection.permits import open_ledger
from ibkit.connection.proxy import IBProxy
from ibkit.connection.roles import Pair
from ibkit.connection.tunnel import exposed_endpoints
from ibkit.errors import ClientIdInUseError, SettingsError
from ibkit.log import get_logger, redact
from ibkit.reload import PATIENCE, Reload, reload_settings, stamps, watch
from ibkit.settings import Endpoint, Profile, Role, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    import pandas as pd
    from ib_async import IB, Contract

    from ibkit.account import Account
    from ibkit.connection.loop import Face
    from ibkit.contracts import Contracts
    from ibkit.history import History
    from ibkit.jobs.backfill import Backfill
    from ibkit.live import Live
    from ibkit.orders.desk import Desk
    from ibkit.serving import MetricsServer
    from ibkit.store import Store
    from ibkit.store.quality import Breach

T = TypeVar("T")
log = get_logger(__name__)
# set by the report runner: nobody looks on
RUN_VARIABLE: Final = "IBKIT_RUN"
Address = tuple[str, int, int]
# the kits of this process, so that a second connect() with the same id can say where the first is
_OPEN: dict[Address, Kit] = {}


def connect(
    profile: str = "sim",
    *,
    host: str | None = None,
    port: int | None = None,
    client_id: int | Literal["auto"] | None = None,
    account: str | None = None,
    trading: bool | None = None,
    timeout_s: float | None = None,
    root: Path | str | None = None,
    loop: Literal["thread", "kernel"] = "thread",
) -> Kit:
    """Connect to a gateway: the simulated one, or TWS or IB Gateway with a paper or live login.

    Parameters
    ----------
    profile : {"sim", "paper", "live"}
        ``sim`` starts the simulated gateway of this data root, or joins it.
    host, port, client_id, account, trading, timeout_s : optional
        Instead of what `ibkit.toml`, ``IBKIT_*`` and the built-in profile say. With `port`, sim
        joins what listens there and starts nothing. `client_id` ``"auto"`` takes any free id of
        the profile's `client_ids`: for data, side by side with others, and without orders.
    root : Path or str, optional
        Folder of the store, instead of ``<data>/<profile>``.
    loop : {"thread", "kernel"}
        Where the connection lives: in a thread of its own, or on the notebook kernel's loop, where
        nothing arrives while a cell is busy; see `docs/connection.md`.

    Returns
    -------
    Kit
        Connected. ``close()`` it, or use it as a context manager.

    Raises
    ------
    UnknownProfileError, SettingsError
        A name or a value is wrong; the message lists what is right.
    GatewayUnreachableError, GatewaySilentError, ClientIdInUseError, AccountMismatchError
        The gateway is not there, does not speak, knows us already, or is another one than the
        profile promises; each says what to do.
    ProfileMixError, StoreAccessError
        The store's folder holds data of another kind, or cannot be used.

    Examples
    --------
    >>> kit = ibkit.connect()  # doctest: +SKIP
    """
    settings = load_settings()
    own_id = None if client_id == "auto" else client_id
    given: dict[str, Any] = {"host": host, "port": port, "client_id": own_id, "account": account}
    given |= {"trading": trading, "timeout_s": timeout_s}
    chosen = settings.profile(profile, **given)
    _check(chosen, account=account, loop=loop)
    ids = _free_ids(chosen, wanted=client_id == "auto", trading=trading)
    if ids:
        chosen = chosen.model_copy(update={"client_id": ids[0], "trading": False})
    warn_of_lost_cells()
    folder = Path(root).expanduser().absolute() if root else settings.root(profile)
    chosen = _located(chosen, folder, given=bool(port))
    if not ids:
        _check_free(chosen)
    thread = KernelLoop() if loop == "kernel" else LoopThread()
    pair = _links(chosen, folder, settings, thread, ids=ids, moves=not port)
    try:
        thread.run(pair.open)
    except BaseException:
        pair.trading.events.close(0)
        thread.close()
        for link in pair.links:
            link.permits.close()
        raise
    return Kit(pair.trading, folder, settings, given, data=pair.data)


class Kit:
    """One connection to a gateway, one store, and everything that works between them.

    Made by `connect`.

    Attributes
    ----------
    link : Link
        The connection itself; where the profile has roles, the one that trades.
    data : Link
        The connection for quotes, history and contracts: the same, unless the profile has roles.
    root : Path
        The folder of the store.
    """

    def __init__(
        self,
        link: Link,
        root: Path,
        settings: Settings,
        given: Mapping[str, Any] | None = None,
        *,
        data: Link | None = None,
    ) -> None:
        self.link, self.root, self.settings = link, root, settings
        self.data = data or link
        self._pair = Pair(self.link, self.data)
        self._given = dict(given or {})
        self._addresses = [_address(one.profile) for one in self._pair.links]
        self._loop = link.loop
        self._closed = False
        self._watching: asyncio.Task[None] | None = None
        self._lock = threading.RLock()
        self._services: dict[str, Any] = {}
        self._servers: list[MetricsServer] = []
        _OPEN.update(dict.fromkeys(self._addresses, self))
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        told = ", ".join(f"{link.role} {_where(link)}".lstrip() for link in self._pair.links)
        return f"<Kit {self.profile.name} {told}>"

    def _repr_html_(self) -> str:
        status = self.status()
        return display.status_card(
            f"ibkit at {status.host}:{status.port}, client {status.client_id}",
            profile=status.kind,
            state=status.state,
            rows=card_rows(status),
            marks=("SIMULATED",) if status.simulated else (),
        )

    @property
    def profile(self) -> Profile:
        """How this kit is connected."""
        return self.link.profile

    @property
    def events(self) -> Events:
        """What happens, one eventkit Event a topic: ``kit.events.fill += handler``."""
        return self.link.events

    @property
    def ib(self) -> IB:
        """The whole ib_async API, callable from any thread; orders go through `orders`."""
        return cast("IB", self._once("ib", lambda: IBProxy(self.link, self.data)))

    @property
    def store(self) -> Store:
        """What is kept on the disk: bars, coverage, SQL."""
        from ibkit.contracts.almanac import Almanac, Underlyings
        from ibkit.store import open_store

        kind: Literal["sim", "real"] = "sim" if self.link.simulated else "real"
        name = self.profile.name
        root = None if self.root == self.settings.root(name) else self.root

        def opened() -> Store:
            store = open_store(self.settings, name, root=root, kind=kind)
            store.calendar = Almanac(self._loop, lambda: self.contracts)
            store.underlying = Underlyings(self._loop, lambda: self.contracts)
            return store

        return self._once("store", opened)

    @property
    def contracts(self) -> Contracts:
        """Instruments: their details, sessions, ticks."""
        from ibkit.contracts import Contracts
        from ibkit.contracts.book import Book
        from ibkit.contracts.overrides import load_overrides

        return self._once(
            "contracts",
            lambda: Contracts(
                self.data,
                cache=self.root / "cache",
                overrides=load_overrides(self.settings.workspace),
                book=lambda: Book(self.store, simulated=self.link.simulated),
                trading=self.link,
            ),
        )

    @property
    def contract(self) -> Face[[str | Contract], Contract]:
        """Look one instrument up: ``kit.contract("AAPL")``, see `Contracts.contract`."""
        return self.contracts.contract

    @property
    def history(self) -> History:
        """Bars of the past, from the store first."""
        from ibkit.history import History

        return self._once(
            "history",
            lambda: History(self.data, self.contracts, self.store, cache=self.root / "cache"),
        )

    @property
    def live(self) -> Live:
        """Quotes of the present."""
        from ibkit.live import Live

        return self._once("live", lambda: Live(self.data, self.contracts))

    @property
    def account(self) -> Account:
        """Positions, values and portfolio."""
        from ibkit.account import Account

        return self._once("account", lambda: Account(self.link))

    @property
    def orders(self) -> Desk:
        """Orders: validated, journaled, sent, followed. An unattended run must name each by key."""
        from ibkit.orders.desk import Desk

        unattended = bool(os.environ.get(RUN_VARIABLE))
        return self._once(
            "orders",
            lambda: Desk(self.link, self.contracts, self.root, keys_required=unattended),
        )

    @property
    def backfill(self) -> Backfill:
        """Fetch what the store lacks of several instruments, resumably: call it, or await `aio`.

        ``kit.backfill(["AAPL", "FUT:ES"], "1 min", start="2026-01-01")``; see
        `ibkit.jobs.backfill.Backfill`.
        """
        from ibkit.jobs.backfill import Backfill

        return self._once(
            "backfill",
            lambda: Backfill(
                self.history, self.data, self.store, self.root / "jobs" / "queue.sqlite"
            ),
        )

    @property
    def notices(self) -> pd.DataFrame:
        """What IB told this connection: each problem once, with a count, the newest first.

        Columns: ``code kind count first last text cause fix``; see `ibkit.codes`.
        """
        return notices_frame(self._loop.call(self._pair.told))

    @property
    def pacing(self) -> pd.DataFrame:
        """What is left of IB's limits now, and when the next request may go.

        One row a rule, index ``rule``. ``most``, ``window_s`` (0: open at once), ``used``,
        ``left``, ``next_s`` (0: now; NaN: when somebody gives back), ``each``, ``source``. Messages
        are counted by each connection, all else by all processes of the gateway together.

        Raises
        ------
        LoopThreadError
            The kit is closed.
        """
        gate, ledger = self.data.gate, self.data.permits.ledger
        if ledger is None:
            return pacing_frame(self._loop.call(message_row, gate), None)
        rules = ledger.gauge() if self._loop.here else self._loop.run(ledger.measure)
        return pacing_frame(self._loop.call(message_row, gate), rules)

    def reload_settings(self) -> Reload:
        """Read `ibkit.toml` and the other places of settings again; limits hold at once.

        Returns
        -------
        Reload
            ``changed`` holds from now on (``[pacing]``, ``[quality]``, patience and alerts of the
            profile); ``waiting`` needs a new `connect`. ``kit.events.settings`` says both. What
            `connect` was given stands.

        Raises
        ------
        SettingsError, UnknownProfileError
            They are not valid; nothing has changed.
        """
        return self._loop.call(self._use, reload_settings(self.settings))

    def watch_settings(self, every_s: float = 2.0) -> None:
        """Do `reload_settings` whenever `ibkit.toml` or ``.env`` changes, until the kit is closed.

        Settings that are not valid are told in the log, and change nothing.

        Parameters
        ----------
        every_s : float
            How often to look at the files.
        """
        look = partial(watch, lambda: self.settings, self._use, stamps(self.settings), every_s)
        self._loop.call(self._keep_watching, look)

    def _keep_watching(self, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._watching = asyncio.ensure_future(look())

    async def _end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await self._pair.close()

    def _use(self, found: Reload) -> Reload:
        """Let new limits and patience hold, and say so. On the loop."""
        fresh = found.settings.profile(self.profile.name, **self._given)
        self.settings = found.settings
        patience = {name: getattr(fresh, name) for name in PATIENCE}
        for link in self._pair.links:
            link.permits.set_limits(limits_for(found.settings.pacing))
            link.profile = link.profile.model_copy(update=patience)
        if found.changed or found.waiting:
            words = [str(change) for change in found.changed]
            log.info("settings were read again", changed=words, waiting=len(found.waiting))
            told = SettingsChanged(clock.now(), found.changed, found.waiting)
            self.events.publish("settings", told)
        return found

    def while_away(self, since: datetime | None = None) -> pd.DataFrame:
        """Return what happened while the connection was not ready, and what was done about it.

        Parameters
        ----------
        since : datetime, optional
            With a zone. None: all that is kept, of earlier sessions too.

        Returns
        -------
        DataFrame
            Oldest first. ``ts`` (when it was noticed, UTC), ``topic`` (connection, order, fill,
            position, stream, recovery), ``key``, ``before``, ``after``, ``action``.
        """
        return self.link.away.frame(since)

    def timings(self) -> pd.DataFrame:
        """Return where time goes, since the connection was made.

        Returns
        -------
        DataFrame
            Index ``where``, ``what``: socket (a read, with all that follows from it), decode (of
            ib_async, without handlers), handler (on the loop; and of users, in their own thread),
            disk (store commits and journal syncs of this process), loop (how late it is). Columns
            ``count``, and ``total_s mean_s p50_s p99_s max_s``, NaN where nothing happened; the
            quantiles are right to about a tenth. ``attrs`` has ``bytes_in`` and ``ticks``. Where
            the profile has roles, ``what`` says whose reads they are.
        """
        if self._closed or self._loop.closed:
            return timings(self._pair.links)
        return self._loop.call(timings, self._pair.links)

    def serve_metrics(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        token: str | None = None,
        certificate: Path | str | None = None,
        key: Path | str | None = None,
    ) -> MetricsServer:
        """Serve this process's metrics to Prometheus until the kit closes, or the server is.

        On this machine's loopback, to those who know the token. See `ibkit.serving.serve`.

        Examples
        --------
        >>> server = kit.serve_metrics(port=9464)  # doctest: +SKIP
        >>> server.url, server.token  # doctest: +SKIP

        Raises
        ------
        EndpointRefusedError
            Another `host` and no TLS `certificate` and `key`, or the port is taken.
        """
        from ibkit.serving import serve

        server = serve(port, host=host, token=token, certificate=certificate, key=key)
        self._servers.append(server)
        return server

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until the connection is ready.

        Raises
        ------
        NotConnectedError
            It was closed, has failed, or was not ready within `timeout_s` seconds.
        """
        self._loop.run(self._pair.ready, timeout_s)

    def check_store(self) -> list[Breach]:
        """Return where stored series are worse than the settings' ``[quality.<dataset>]`` allow.

        Each breach is also published as ``kit.events.quality``. See `Store.check`.
        """
        return self.store.check(self.settings.limits(), on_breach=self._publish_breach)

    def _publish_breach(self, breach: Breach) -> None:
        from ibkit.connection.events import QualityBreached

        self.events.publish("quality", QualityBreached(**asdict(breach)))

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """Return the one service of this name: widgets ask from threads of their own."""
        with self._lock:
            if name not in self._services:
                self._services[name] = make()
            return cast("T", self._services[name])

    def status(self) -> Status:
        """Return the facts of the status card, as they are now."""
        live: Live | None = self._services.get("live")
        lines = live.lines if live is not None else 0
        if self._closed:
            return _status(self._pair, self.root, lines, left=0)
        pacing = pacing_words(self.pacing, shared=self.data.permits.shared)
        return self._loop.call(
            lambda: _status(self._pair, self.root, lines, left=self.data.gate.left(), pacing=pacing)
        )

    def close(self) -> None:
        """Disconnect and end the connection's thread. Closing twice is allowed.

        What the gateway works on for us ends, except orders: they stay at the exchange.
        """
        if self._closed or self._loop.closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        for address in self._addresses:
            _OPEN.pop(address, None)
        orders: Desk | None = self._services.get("orders")
        try:
            for server in self._servers:
                server.close()
            if orders is not None:
                orders.close()
            self._loop.run(self._end)
        finally:
            self.events.close(0.5)
            self._loop.close()
            for link in self._pair.links:  # if an interrupt came in between
                link.permits.close()


def card_rows(status: Status) -> dict[str, object]:
    """Return what a status card says, label by label; account ids and home are masked."""
    offset = status.clock_offset_s
    farms = (f"{name} {state}" for name, state in status.farms.items() if state != "ok")
    rows: dict[str, object] = {
        "account": redact(", ".join(status.accounts)) or "–",
        "orders": "allowed" if status.trading else "read-only",
        "farms": ", ".join(farms) or f"{len(status.farms)} ok",
        "quotes": f"{status.lines} market data lines",
        "pacing": status.pacing or f"{status.messages_left} messages may go now",
        **status.roles,
        "clock": "–" if offset is None else f"gateway {offset:+.0f} s",
        "connected": f"{status.connected_since:%F %T} UTC" if status.connected_since else "–",
        "store": redact(str(status.root)),
    }
    warnings = {"warning": status.road, "reason": redact(status.reason)}
    return rows | {label: words for label, words in warnings.items() if words}


def _status(pair: Pair, root: Path, lines: int, *, left: int, pacing: str = "") -> Status:
    link, profile = pair.trading, pair.trading.profile
    return Status(
        profile=profile.name,
        kind=profile.kind,
        state=link.state,
        reason=link.reason,
        host=profile.host,
        port=profile.port,
        client_id=profile.client_id,
        server_version=link.server_version,
        simulated=link.simulated,
        trading=profile.trading,
        accounts=link.accounts,
        farms=link.health.farms | pair.data.health.farms,
        lines=lines,
        messages_left=left,
        clock_offset_s=link.clock_offset_s,
        connected_since=link.since,
        root=root,
        road="; ".join(exposed_endpoints(one.profile for one in pair.links)),
        pacing=pacing,
        roles={one.role: _where(one, reason=True) for one in pair.links if one.role},
    )


def _where(link: Link, *, reason: bool = False) -> str:
    """Return where a link is connected, as whom, and its state."""
    profile = link.profile
    why = f": {link.reason}" if reason and link.reason else ""
    return f"{profile.host}:{profile.port} client {profile.client_id} {link.state}{why}"


def _check(profile: Profile, *, account: str | None, loop: str) -> None:
    """Refuse what would be unsafe or is not there."""
    problems = []
    if profile.kind == "live" and profile.trading and not account:
        problems.append("account: orders on a live login need account= typed in full, in the call")
    if loop not in {"thread", "kernel"}:
        problems.append(f"loop: {loop!r} is not there; it is 'thread' or 'kernel'")
    if problems:
        raise SettingsError(problems, "connect()")


def _links(
    profile: Profile,
    folder: Path,
    settings: Settings,
    thread: LoopThread,
    *,
    ids: Sequence[int],
    moves: bool,
) -> Pair:
    """Return the links of a profile, not opened yet: one, or one for each of its roles."""
    away = Away(folder / "journal" / f"away-{'auto' if ids else profile.client_id}.jsonl")
    events = Events()

    def make(one: Profile, role: Role, ids: Sequence[int], *, moves: bool) -> Link:
        ledger = open_ledger(ledger_of(one, folder), limits_for(settings.pacing))
        link = Link(one, thread, events=events, away=away, ledger=ledger, client_ids=ids, role=role)
        if one.kind == "sim" and moves:
            link.locate = partial(_found, one, folder)
        return link

    if not profile.roles:
        only = make(profile, "", ids, moves=moves)
        return Pair(only, only)
    data, trading = (profile.roles.of(role) for role in ("data", "trading"))
    others = ids or [each for each in profile.free_ids if each != profile.client_id]
    pair = Pair(
        make(profile.of_role("trading"), "trading", ids, moves=moves and not trading.port),
        make(
            profile.of_role("data"),
            "data",
            others if data.client_id is None else (),
            moves=moves and not data.port,
        ),
    )
    pair.trading.peers = pair.data.peers = pair.links
    return pair


def _free_ids(profile: Profile, *, wanted: bool, trading: bool | None) -> Sequence[int]:
    """Return the client ids to choose from; none: the profile's own is meant."""
    if not wanted:
        return ()
    if trading:
        problem = 'client_id: orders need an id that stays; with "auto" nothing can be traded'
        raise SettingsError([problem], "connect()")
    return [each for each in profile.free_ids if each != profile.client_id]


def _located(profile: Profile, folder: Path, *, given: bool) -> Profile:
    """Return the profile with the address of its gateway; sim starts or joins its process."""
    if profile.kind != "sim" or given:
        return profile
    from ibkit.sim.launch import start_or_join

    address = start_or_join(folder, port=profile.port)
    return profile.model_copy(update={"host": address.host, "port": address.port})


async def _found(profile: Profile, folder: Path) -> Sequence[Endpoint]:
    """Return where the simulated gateway of a data root is now; it is started if it is gone."""
    loop = asyncio.get_running_loop()
    located = await loop.run_in_executor(None, partial(_located, profile, folder, given=False))
    return located.endpoints


def _check_free(profile: Profile) -> None:
    """Refuse a second connection of this process under one id: say which kit holds it."""
    profile = profile.of_role("trading") if profile.roles else profile
    holder = _OPEN.get(_address(profile))
    if holder is not None and holder.link.state in {"closed", "failed"}:
        holder.close()
    elif holder is not None:
        raise ClientIdInUseError(
            profile.host,
            profile.port,
            f"this process is connected with client id {profile.client_id} already: {holder!r}",
            "go on with that kit, close() it, or connect with another client_id=.",
        )


def _address(profile: Profile) -> Address:
    host = f"{profile.host} by {profile.tunnel}" if profile.tunnel else profile.host
    return host, profile.port, profile.client_id
