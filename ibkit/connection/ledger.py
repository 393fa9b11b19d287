"""The ledger of IB's limits: what was asked lately and what is held, by all processes of a gateway.

One SQLite file (WAL) a gateway. What was sent is remembered for as long as it counts, whoever
sent it and whatever became of him; what is held (lines, open requests, client ids) belongs to an
owner, who holds a lock on a file of his own: the kernel drops that with the process, ``kill -9``
too, and then anybody may free his leases. Not here: who may go (`budget`, pure), and what a
request costs (`asks`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ibkit.connection.asks import CLIENT_ID
from ibkit.connection.books import Bookkeeper, Holder
from ibkit.connection.budget import NEVER, Ask, Charge, Hold
from ibkit.connection.gauge import gauge_frame
from ibkit.connection.pacing import LIMITS, Limit
from ibkit.errors import BudgetSpentError, NotConnectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Self

    import pandas as pd

    from ibkit.connection.budget import Books

# how often to look whether another process gave something back; it cannot call us
LOOK_S: Final = 0.1
# a float may round to just before the instant
LEAST_S: Final = 0.001
# later than this after its grant, a message is booked anew, for when it was sent
LATE_S: Final = 0.05


@dataclass(slots=True, eq=False)
class Grant:
    """Leave to send one request, and whatever it holds until `release`; a context manager.

    Attributes
    ----------
    ask : Ask
        What was asked for.
    at : float
        When it was granted, on the ledger's clock.
    waited_s : float
        How long it had to wait for that.
    """

    ask: Ask
    at: float
    waited_s: float
    key: str
    _ledger: Ledger = field(repr=False)
    released: bool = False
    was_sent: bool = False

    @property
    def client_id(self) -> int:
        """The client id that is held.

        Raises
        ------
        ValueError
            It is another kind of grant.
        """
        ids = [charge.key for charge in self.ask.charges if charge.rule == CLIENT_ID]
        if not ids:
            raise ValueError(f"{self.ask.what} is no grant of a client id")
        return int(ids[0])

    def sent(self) -> None:
        """Say that the request goes out now: if it had to queue since, it counts from now on.

        Its further messages belong to the same request.
        """
        if not self.was_sent:
            self.was_sent = True
            self._ledger._sent(self)  # noqa: SLF001 - the two are one

    def sent_again(self) -> None:
        """Say that the same subscription went out once more: IB's windows count it again."""
        self._ledger._sent_again(self)  # noqa: SLF001 - as above

    def release(self) -> None:
        """Give back what is held; what was sent stays booked. Again is allowed."""
        if not self.released:
            self.released = True
            self._ledger._release(self, unsent=False)  # noqa: SLF001 - as above

    def withdraw(self) -> None:
        """Give back everything: the request was never sent."""
        if not self.released:
            self.released = True
            self._ledger._release(self, unsent=True)  # noqa: SLF001 - as above

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(slots=True, eq=False)
class _Waiter:
    ask: Ask
    future: asyncio.Future[Grant]
    since: float
    deadline: float
    lease_by: float
    key: str


class Ledger:
    """The books of one gateway; one for each connection.

    Parameters
    ----------
    path : Path or None
        The file, see `ledger_path`; None keeps the books in memory, for this process alone.
    limits : iterable of Limit
        The rules; a rule that is not in it does not bind.
    now : callable, optional
        Seconds on a clock that all processes share; the default is one that no change of the
        system's time can move.
    name : str
        Who holds, for people: ``"recorder"``.

    Raises
    ------
    LedgerError
        The file cannot be made or read.

    Notes
    -----
    `admit` and `lease_client_id` are called on one event loop; SQLite works in a thread of the
    ledger's own, which `close` ends. A grant costs about 0.2 ms.

    Examples
    --------
    >>> async def one(ledger):
    ...     ask = Ask("head timestamp", (Charge("historical requests"),))
    ...     with await ledger.admit(ask, timeout_s=5) as grant:
    ...         grant.sent()
    ...     return int(ledger.gauge().left["historical requests"])
    >>> with Ledger(None) as ledger:
    ...     asyncio.run(one(ledger))
    59
    """

    def __init__(
        self,
        path: Path | None,
        *,
        limits: Iterable[Limit] = LIMITS,
        now: Callable[[], float] | None = None,
        name: str = "",
    ) -> None:
        self._books = Bookkeeper(path, now=now, name=name)
        self._limits = {limit.what: limit for limit in limits}
        self._queue: deque[_Waiter] = deque()
        self._pump_task: asyncio.Task[None] | None = None
        self._news: asyncio.Event | None = None
        self._jobs: set[asyncio.Future[Any]] = set()
        self._thread = ThreadPoolExecutor(1, "ibkit-ledger")
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shared(self) -> bool:
        """Whether the books are on the disk, for all processes."""
        return self._books.path is not None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The rules that hold now."""
        return tuple(self._limits.values())

    def set_limits(self, limits: Iterable[Limit]) -> None:
        """Exchange the rules; who waits is looked at again. Call it on the loop."""
        self._limits = {limit.what: limit for limit in limits}
        self._tell()

    @property
    def waiting(self) -> int:
        """How many requests of this ledger wait."""
        return len(self._queue)

    async def admit(
        self, ask: Ask, *, timeout_s: float | None = None, lease_s: float | None = None
    ) -> Grant:
        """Wait until `ask` may be sent, and book it.

        Parameters
        ----------
        ask : Ask
            From `ibkit.connection.asks.ask_for`.
        timeout_s : float, optional
            How long to wait at most; 0 is now or never, the default is for ever.
        lease_s : float, optional
            How long to wait at most for what others hold; the default is `timeout_s`.

        Returns
        -------
        Grant
            Release it when the answer is in, or the subscription over.

        Raises
        ------
        BudgetSpentError
            It will not be granted within `timeout_s`; raised as soon as that is certain.
        NotConnectedError
            The ledger was closed.
        LedgerError
            The file cannot be used.

        Notes
        -----
        In order of asking, but who waits for one rule lets those pass whom it does not bind. A
        cancelled caller costs nothing.
        """
        self._check_open(ask.what)
        now, loop = self._books.now(), asyncio.get_running_loop()
        deadline = NEVER if timeout_s is None else now + timeout_s
        lease_by = deadline if lease_s is None else min(deadline, now + lease_s)
        key = secrets.token_hex(8)
        waiter = _Waiter(ask, loop.create_future(), now, deadline, lease_by, key)
        self._queue.append(waiter)
        self._pump()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            done = waiter.future
            if done.done() and not done.cancelled() and done.exception() is None:
                done.result().withdraw()  # it was granted in this very moment
            raise

    async def lease_client_id(self, ids: Iterable[int], *, what: str = "a connection") -> Grant:
        """Return a lease of the first id of `ids` that no living process of ours holds.

        Raises
        ------
        BudgetSpentError
            All of them are held; the text says by whom.

        Notes
        -----
        Programs that are not ours may use it all the same: IB says 326 then; ask for the rest of
        the range and release this one after that, so that nobody tries it again meanwhile.
        """
        self._check_open(what)
        wanted = tuple(ids)
        key = secrets.token_hex(8)
        job = self._run(self._books.take_id, wanted, key)
        try:
            found, at = await asyncio.shield(job)
        except asyncio.CancelledError:
            job.add_done_callback(lambda _: self._post(self._books.give_back, key, unsent=True))
            raise
        if found is None:
            holders = [
                f"{holder} ({holder.key})"
                for holder in await self._run(self._books.holders, CLIENT_ID)
                if int(holder.key) in wanted
            ]
            raise BudgetSpentError(what, CLIENT_ID, len(wanted), None, holders)
        return Grant(Ask(what, (Charge(CLIENT_ID, str(found)),)), at, 0.0, key, self)

    def holders(self, rule: str) -> list[Holder]:
        """Return who holds leases of `rule` now, the dead left out. Blocking, a millisecond."""
        return self._books.holders(rule)

    def gauge(self) -> pd.DataFrame:
        """Return what is left of each limit, and when the next request may go.

        Returns
        -------
        DataFrame
            One row a rule, index ``rule``: ``most``, ``window_s`` (0: open at once), ``used`` and
            ``left`` now, by all processes; where a rule counts each contract or request by
            itself, of the busiest one. ``next_s``: seconds until one more may go, 0 now, NaN when
            somebody has to give back first. ``each`` and ``source`` of the rule. Messages are
            counted by each connection: `MessageGate.left`.
        """
        return gauge_frame(self._limits.values(), self._books.read(), self._books.now())

    async def measure(self) -> pd.DataFrame:
        """Return the gauge as it is after all that was released until now."""
        self._check_open("the gauge")
        books = await self._run(self._books.read)
        return gauge_frame(self._limits.values(), books, self._books.now())

    async def look(self) -> tuple[Books, float]:
        """Return what all processes have sent lately and hold now, and the instant; for a plan."""
        self._check_open("a plan")
        return await self._run(self._books.read), self._books.now()

    def close(self) -> None:
        """Give everything back; who waits gets NotConnectedError. Again is allowed.

        Call it on the loop that waits, or when that has ended.
        """
        if self.closed:
            return
        self.closed = True
        if self._pump_task is not None:
            self._pump_task.cancel()
        for waiter in self._queue:
            _fail(waiter, NotConnectedError("closed", waiter.ask.what))
        self._queue.clear()
        self._thread.shutdown()
        self._books.close()

    def _check_open(self, what: str) -> None:
        self._books.check_process()
        if self.closed:
            raise NotConnectedError("closed", what)

    # --- the queue -------------------------------------------------------------------------------

    def _pump(self) -> None:
        if self._pump_task is None or self._pump_task.done():
            self._news = asyncio.Event()
            self._pump_task = asyncio.get_running_loop().create_task(self._serve())
        else:
            self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    async def _serve(self) -> None:
        """Let the queue go, as the rules allow; ends when nobody waits."""
        assert self._news is not None
        try:
            while self._queue:
                self._news.clear()
                pause = await self._look()
                if self._queue and pause > 0:
                    await _either(self._news, pause)
        except Exception as error:  # noqa: BLE001 - everybody who waits gets it
            for waiter in self._queue:
                _fail(waiter, error)
            self._queue.clear()

    async def _look(self) -> float:
        """Grant what may go now; return how long to wait before the next look."""
        queue = [waiter for waiter in self._queue if not waiter.future.done()]
        self._queue = deque(queue)
        if not queue:
            return 0.0
        asked = [(waiter.ask, waiter.key) for waiter in queue]
        now, plan = await self._run(self._books.grant, asked, self._limits)
        for place in plan.granted:
            self._grant(queue[place], now)
        held = [(queue[place], hold) for place, hold in plan.held.items()]
        pauses = [await self._wait_or_fail(waiter, hold, now) for waiter, hold in held]
        over = {id(waiter) for waiter in queue if waiter.future.done()}
        self._queue = deque(waiter for waiter in self._queue if id(waiter) not in over)
        return min(pauses, default=0.0)

    def _grant(self, waiter: _Waiter, now: float) -> None:
        grant = Grant(waiter.ask, now, now - waiter.since, waiter.key, self)
        if waiter.future.done():  # its caller gave up while we looked
            grant.withdraw()
        else:
            waiter.future.set_result(grant)

    async def _wait_or_fail(self, waiter: _Waiter, hold: Hold, now: float) -> float:
        """Return when to look for this one again; end what cannot be granted in time."""
        at = now if hold.at is None else hold.at
        if at > waiter.deadline or at == NEVER or (hold.at is None and now >= waiter.lease_by):
            holders = []
            if not hold.rule.window_s:
                holders = _summed(await self._run(self._books.holders, hold.rule.what))
            next_s = None if hold.at is None else hold.at - now
            limit = hold.rule
            _fail(
                waiter, BudgetSpentError(waiter.ask.what, limit.what, limit.most, next_s, holders)
            )
            return NEVER
        if hold.at is None:
            return min(LOOK_S, max(LEAST_S, waiter.lease_by - now))
        return max(LEAST_S, at - now)

    # --- what grants call ------------------------------------------------------------------------

    def _sent(self, grant: Grant) -> None:
        late = self._books.now() - grant.at
        if late > LATE_S and not self.closed:
            self._post(self._books.move, grant.key, late)

    def _sent_again(self, grant: Grant) -> None:
        if not self.closed and not grant.released:
            self._post(self._books.book, grant.ask, grant.key, self._limits)

    def _release(self, grant: Grant, *, unsent: bool) -> None:
        if not self.closed and (unsent or _holds(grant.ask, self._limits)):
            self._post(self._books.give_back, grant.key, unsent=unsent)

    def _run(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _post(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run it in the thread, in order, without waiting; off the loop, run it here."""
        try:
            job = self._run(lambda: function(*args, **kwargs))
        except RuntimeError:  # no loop runs here, or the ledger closes
            if not self.closed:
                function(*args, **kwargs)
            return
        self._jobs.add(job)
        job.add_done_callback(self._posted)

    def _posted(self, job: asyncio.Future[Any]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the ledger could not be written", "exception": error}
            )
        self._tell()


def _holds(ask: Ask, limits: dict[str, Limit]) -> bool:
    """Whether there is anything to give back: a rule may have come or gone since."""
    rules = (limits.get(charge.rule) for charge in ask.charges)
    return any(rule is None or not rule.window_s for rule in rules)


def _fail(waiter: _Waiter, error: Exception) -> None:
    if not waiter.future.done():
        waiter.future.set_exception(error)


def _summed(holders: Iterable[Holder]) -> list[str]:
    """Return one text a process, with how much it holds."""
    counts: dict[str, int] = {}
    for holder in holders:
        counts[str(holder)] = counts.get(str(holder), 0) + holder.cost
    return [f"{name}: {count}" for name, count in counts.items()]


async def _either(news: asyncio.Event, pause: float) -> None:
    """Wait for news, or so long."""
    try:
        async with asyncio.timeout(None if pause == NEVER else pause):
            await news.wait()
    except TimeoutError:
        return
