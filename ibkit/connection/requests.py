"""Ask an ib_async.IB one thing: a result, or a typed error, never a silent empty.

ib_async keeps a table of futures by request id; what is cancelled or times out here is cancelled
at the gateway too and leaves no orphan in that table. Runs on the loop thread only.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ib_async.wrapper import RequestError

from ibkit.errors import NotConnectedError, RequestTimeoutError, refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ib_async import IB, Contract

    from ibkit.connection.ledger import Grant
    from ibkit.connection.pacing import MessageGate

T = TypeVar("T")

# request message → the method of ib_async's client that ends it at the gateway
CANCELS: Final = {
    "1": "cancelMktData",
    "20": "cancelHistoricalData",
    "22": "cancelScannerSubscription",
    "52": "cancelFundamentalData",
    "87": "cancelHeadTimeStamp",
    "88": "cancelHistogramData",
}
# codes that ib_async takes for warnings although they end a request without an answer
REFUSALS: Final = frozenset({321, 329, 434, 492})


@dataclass(slots=True)
class Scope:
    """What one request did: its futures by ib_async's key, the kinds of its messages."""

    grant: Grant | None = None
    futures: dict[int | str, asyncio.Future[Any]] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    tickets: int = 0

    def spend(self) -> bool:
        """Use the turn that was booked at the gate, if it is still there."""
        self.tickets, had = 0, self.tickets
        return bool(had)


SCOPE: ContextVar[Scope | None] = ContextVar("ibkit_request", default=None)


class RunningError(Exception):
    """ib_async has one slot for this kind of request, and it is taken until `answer`."""

    def __init__(self, answer: asyncio.Future[Any]) -> None:
        super().__init__(answer)
        self.answer = answer


class Requests:
    """The one door to an `IB`: paced, under a deadline, with typed errors.

    Parameters
    ----------
    ib : IB
        Its `startReq` and `sendMsg` are replaced on this very object, so that every request is
        known by its keys and every message passes the gate.
    gate : MessageGate
        Written to by `ib`.
    note : callable
        Sees each message on its way out, with the grant that it goes out under.
    state : callable
        Says in which state the connection is, for error texts.
    """

    def __init__(
        self,
        ib: IB,
        gate: MessageGate,
        note: Callable[[str, Grant | None], None],
        state: Callable[[], str],
    ) -> None:
        self._ib, self._gate, self._note, self._state = ib, gate, note, state
        self._wrapper = cast("Any", ib.wrapper)  # ib_async is typed in part only
        self._client = cast("Any", ib.client)
        self._start = self._wrapper.startReq
        self._wrapper.startReq = self._start_request
        self._client.sendMsg = self._send
        ib.errorEvent += self._on_error

    async def ask(
        self,
        name: str,
        call: Callable[[IB], Awaitable[T] | T],
        *,
        lost: asyncio.Future[str],
        timeout_s: float,
        contract: Contract | None = None,
        grant: Grant | None = None,
    ) -> T:
        """Return the answer to `call`, or raise what stood in its way.

        Parameters
        ----------
        name : str
            What error texts call the request.
        call : callable
            Gets the `IB`; may return a value or something to await. Runs on the loop.
        lost : Future
            Done, with the reason, when the connection is gone.
        timeout_s : float
            Seconds to the answer, counted from the moment the request may be sent.
        contract : Contract, optional
            What the request is about, for the error text.
        grant : Grant, optional
            The ledger's leave to send it; who asked for that gives it back.
        """
        while True:
            try:
                await self._gate.turn()
            except ConnectionError as error:
                raise NotConnectedError(self._state(), name) from error
            try:
                return await self._once(name, call, lost, timeout_s, contract, grant)
            except RunningError as running:
                before = cast("set[asyncio.Future[Any]]", {running.answer, lost})
                await asyncio.wait(before, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                if not running.answer.done() and not lost.done():
                    raise RequestTimeoutError(name, timeout_s) from running

    async def _once(
        self,
        name: str,
        call: Callable[[IB], Awaitable[T] | T],
        lost: asyncio.Future[str],
        timeout_s: float,
        contract: Contract | None,
        grant: Grant | None,
    ) -> T:
        scope = Scope(grant, tickets=1)
        context = copy_context()
        context.run(SCOPE.set, scope)
        task = asyncio.get_running_loop().create_task(_calling(call, self._ib), context=context)
        try:
            either = cast("set[asyncio.Future[Any]]", {task, lost})
            await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return self._outcome(task, scope, name, timeout_s, contract)
            if lost.done():
                raise NotConnectedError(self._state(), name)
            raise RequestTimeoutError(name, timeout_s)
        finally:
            if not task.done():
                task.cancel()
            self._withdraw(scope)

    def _outcome(
        self,
        task: asyncio.Task[T],
        scope: Scope,
        name: str,
        timeout_s: float,
        contract: Contract | None,
    ) -> T:
        """Return the task's result, or its failure in our words."""
        try:
            result = task.result()
        except RequestError as error:
            raise refused(error.code, error.message, contract) from error
        except ConnectionError as error:
            raise NotConnectedError(self._state(), name) from error
        except (TimeoutError, asyncio.CancelledError) as error:
            raise RequestTimeoutError(name, timeout_s) from error
        if self._gave_up(scope):
            raise RequestTimeoutError(name, timeout_s)
        return result

    @property
    def _futures(self) -> dict[int | str, asyncio.Future[Any]]:
        """ib_async's table of what is being waited for; a reset replaces it."""
        return cast("dict[int | str, asyncio.Future[Any]]", self._wrapper._futures)  # noqa: SLF001 - it has no other way in

    def _gave_up(self, scope: Scope) -> bool:
        """Whether ib_async ran into a time limit of its own, which it hides behind a None."""
        return any(
            future.cancelled() and self._futures.get(key) is future
            for key, future in scope.futures.items()
        )

    def _withdraw(self, scope: Scope) -> None:
        """Drop what is left of a request: here, and at the gateway if it still works on it."""
        for key, future in scope.futures.items():
            if self._futures.get(key) is not future:  # answered; the key may be another's by now
                if key not in self._futures:  # ib_async keeps a list that the answer left unused
                    self._wrapper._results.pop(key, None)  # noqa: SLF001 - as above
                continue
            future.cancel()
            for table in ("_futures", "_results", "_reqId2Contract", "reqId2Subscriber"):
                getattr(self._wrapper, table).pop(key, None)
            for kind in scope.sent & CANCELS.keys():
                with suppress(ConnectionError):
                    getattr(self._client, CANCELS[kind])(key)

    def _start_request(
        self, key: int | str, contract: Contract | None = None, container: Any = None
    ) -> asyncio.Future[Any]:
        scope, running = SCOPE.get(), self._futures.get(key)
        if scope is not None and running is not None and not running.done():
            raise RunningError(running)
        future = cast("asyncio.Future[Any]", self._start(key, contract, container))
        if scope is not None:
            scope.futures[key] = future
        return future

    def _send(self, message: str) -> None:
        if not message:  # ib_async's own throttle calls back so; it is off
            return
        scope = SCOPE.get()
        grant = scope.grant if scope is not None else None
        self._note(message, grant)
        if scope is not None:
            scope.sent.add(message.partition("\0")[0])
        if grant is not None:
            grant.sent()
        self._gate.offer(message, booked=scope is not None and scope.spend())

    def _on_error(self, request_id: int, code: int, text: str, _: Contract | None) -> None:
        if code in REFUSALS and request_id in self._futures:
            error = RequestError(request_id, code, text)
            self._wrapper._endReq(request_id, error, success=False)  # noqa: SLF001 - as above


async def _calling(call: Callable[[IB], Awaitable[T] | T], ib: IB) -> T:
    value = call(ib)
    return await value if inspect.isawaitable(value) else value
