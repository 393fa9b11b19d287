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

from ibkit import display
from ibkit.connection import Link, LoopThread
from ibkit.connection.away import Away
from ibkit.connection.health import Status, notices_frame
from ibkit.connection.kernel import KernelLoop, warn_of_lost_cells
from ibkit.connection.proxy import IBProxy
from ibkit.errors import ClientIdInUseError, SettingsError
from ibkit.log import redact
from ibkit.settings import Endpoint, Profile, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    import pandas as pd
    from ib_async import IB, Contract

    from ibkit.account import Account
    from ibkit.connection.events import Events
    from ibkit.connection.loop import Face
    from ibkit.contracts import Contracts
    from ibkit.history import History
    from ibkit.history.spans import When
    from ibkit.jobs.backfill import BackfillReport
    from ibkit.live import Live
    from ibkit.orders.desk import Desk
    from ibkit.store import Store
    from ibkit.store.quality import Breach

T = TypeVar("T")
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
    client_id: int | None = None,
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
        joins what listens there and starts nothing.
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
    overrides = {"host": host, "port": port, "client_id": client_id, "account": account}
    chosen = settings.profile(profile, **overrides, trading=trading, timeout_s=timeout_s)
    _check(chosen, account=account, loop=loop)
    warn_of_lost_cells()
    folder = Path(root).expanduser().absolute() if root else settings.root(profile)
    chosen = _located(chosen, folder, given=bool(port))
    _check_free(chosen)
    thread = KernelLoop() if loop == "kernel" else LoopThread()
    link = Link(chosen, thread, away=Away(folder / "journal" / f"away-{chosen.client_id}.jsonl"))
    if chosen.kind == "sim" and not port:
        link.locate = partial(_found, chosen, folder)
    try:
        thread.run(link.open)
    except BaseException:
        link.events.close(0)
        thread.close()
        raise
    return Kit(link, folder, settings)


class Kit:
    """One connection to a gateway, one store, and everything that works between them.

    Made by `connect`.

    Attributes
    ----------
    link : Link
        The connection itself.
    root : Path
        The folder of the store.
    """

    def __init__(self, link: Link, root: Path, settings: Settings) -> None:
        self.link, self.root, self.settings = link, root, settings
        self._loop = link.loop
        self._closed = False
        self._lock = threading.RLock()
        self._services: dict[str, Any] = {}
        _OPEN[_address(link.profile)] = self
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
        profile = self.profile
        where = f"{profile.host}:{profile.port} client {profile.client_id}"
        return f"<Kit {profile.name} {where} {self.link.state}>"

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
        return cast("IB", self._once("ib", lambda: IBProxy(self.link)))

    @property
    def store(self) -> Store:
        """What is kept on the disk: bars, coverage, SQL."""
        from ibkit.store import open_store

        kind: Literal["sim", "real"] = "sim" if self.link.simulated else "real"
        name = self.profile.name
        root = None if self.root == self.settings.root(name) else self.root
        return self._once("store", lambda: open_store(self.settings, name, root=root, kind=kind))

    @property
    def contracts(self) -> Contracts:
        """Instruments: their details, sessions, ticks."""
        from ibkit.contracts import Contracts

        return self._once("contracts", lambda: Contracts(self.link))

    @property
    def contract(self) -> Face[[str | Contract], Contract]:
        """Look one instrument up: ``kit.contract("AAPL")``, see `Contracts.contract`."""
        return self.contracts.contract

    @property
    def history(self) -> History:
        """Bars of the past, from the store first."""
        from ibkit.history import History

        return self._once("history", lambda: History(self.link, self.contracts, self.store))

    @property
    def live(self) -> Live:
        """Quotes of the present."""
        from ibkit.live import Live

        return self._once("live", lambda: Live(self.link, self.contracts))

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

    def backfill(
        self,
        symbols: str | Contract | Sequence[str | Contract],
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        **options: Any,
    ) -> BackfillReport:
        """Fetch what the store lacks of several instruments, resumably.

        See `ibkit.jobs.backfill.backfill`, which takes the same arguments after the first.
        """
        from ibkit.jobs.backfill import backfill

        return backfill(self.history, symbols, bar_size, start, end, **options)

    @property
    def notices(self) -> pd.DataFrame:
        """What IB told this connection: each problem once, with a count, the newest first.

        Columns: ``code kind count first last text cause fix``; see `ibkit.codes`.
        """
        return notices_frame(self._loop.call(self.link.health.notices.copy))

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

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until the connection is ready.

        Raises
        ------
        NotConnectedError
            It was closed, has failed, or was not ready within `timeout_s` seconds.
        """
        self._loop.run(self.link.ready, timeout_s)

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
            return _status(self.link, self.root, lines, left=0)
        return self._loop.call(
            lambda: _status(self.link, self.root, lines, left=self.link.gate.left())
        )

    def close(self) -> None:
        """Disconnect and end the connection's thread. Closing twice is allowed.

        What the gateway works on for us ends, except orders: they stay at the exchange.
        """
        if self._closed or self._loop.closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        _OPEN.pop(_address(self.profile), None)
        orders: Desk | None = self._services.get("orders")
        try:
            if orders is not None:
                orders.close()
            self._loop.run(self.link.close)
        finally:
            self.events.close(0.5)
            self._loop.close()


def card_rows(status: Status) -> dict[str, object]:
    """Return what a status card says, label by label; account ids and home are masked."""
    offset = status.clock_offset_s
    farms = (f"{name} {state}" for name, state in status.farms.items() if state != "ok")
    rows: dict[str, object] = {
        "account": redact(", ".join(status.accounts)) or "–",
        "orders": "allowed" if status.trading else "read-only",
        "farms": ", ".join(farms) or f"{len(status.farms)} ok",
        "quotes": f"{status.lines} market data lines",
        "pacing": f"{status.messages_left} messages may go now",
        "clock": "–" if offset is None else f"gateway {offset:+.0f} s",
        "connected": f"{status.connected_since:%F %T} UTC" if status.connected_since else "–",
        "store": redact(str(status.root)),
    }
    return rows | ({"reason": status.reason} if status.reason else {})


def _status(link: Link, root: Path, lines: int, *, left: int) -> Status:
    profile = link.profile
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
        farms=dict(link.health.farms),
        lines=lines,
        messages_left=left,
        clock_offset_s=link.clock_offset_s,
        connected_since=link.since,
        root=root,
    )


def _check(profile: Profile, *, account: str | None, loop: str) -> None:
    """Refuse what would be unsafe or is not there."""
    problems = []
    if profile.kind == "live" and profile.trading and not account:
        problems.append("account: orders on a live login need account= typed in full, in the call")
    if loop not in {"thread", "kernel"}:
        problems.append(f"loop: {loop!r} is not there; it is 'thread' or 'kernel'")
    if problems:
        raise SettingsError(problems, "connect()")


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
    return profile.host, profile.port, profile.client_id
