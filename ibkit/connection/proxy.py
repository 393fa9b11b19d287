"""`kit.ib`: the whole public API of an ib_async.IB, callable from any thread.

Requests go through the link: blocking ones block the caller, `…Async` ones can be awaited on any
loop, both raise typed errors. State reads are copies. Orders do not pass: see `ibkit.orders`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from eventkit import Event
from ib_async import IB, Contract

from ibkit import clock
from ibkit.connection.asks import PRICES, ask_for
from ibkit.connection.roles import Pair
from ibkit.connection.values import snapshot
from ibkit.errors import NotConnectedError, OrderRoadError, OwnedByKitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibkit.connection.link import Link

ORDER_ROAD: Final = frozenset({"placeOrder", "exerciseOptions"})
OURS: Final = frozenset({"connect", "connectAsync", "disconnect", "client", "wrapper"})
# what reads ib_async's state; it goes on changing on the loop thread, so copies go out
STATE: Final = frozenset(
    {
        "accountValues",
        "executions",
        "fills",
        "managedAccounts",
        "newsBulletins",
        "newsTicks",
        "openOrders",
        "openTrades",
        "orders",
        "pendingTickers",
        "pnl",
        "pnlSingle",
        "portfolio",
        "positions",
        "ticker",
        "tickers",
        "trades",
    }
)
# what opens a stream: it returns at once, and holds something of IB's limits until it is cancelled
STREAMS: Final = frozenset(name for name in PRICES if not hasattr(IB, f"{name}Async"))
CONNECTED: Final = frozenset({"ready", "degraded"})
PATIENCE_S: Final = 60.0


class IBProxy:
    """Looks like an `ib_async.IB`, and may be used from any thread.

    Attributes
    ----------
    RequestTimeout : float
        Seconds until a request raises `RequestTimeoutError`.

    Notes
    -----
    What a subscription returns (`reqMktData`, `reqRealTimeBars`, `reqPnL`…) is the live object: it
    changes on the loop thread under your eyes. ``ib.ticker(contract)`` gives a consistent copy.
    Handlers of its events run on the loop thread: they must be quick and may not block. Those of
    `kit.events` may.
    """

    _link: Link
    _pair: Pair
    RequestTimeout: float

    def __init__(self, link: Link, data: Link | None = None) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_pair", Pair(link, data or link))
        object.__setattr__(self, "RequestTimeout", PATIENCE_S)

    def __repr__(self) -> str:
        return f"<IB of {self._link!r}>"

    def __dir__(self) -> list[str]:
        return [name for name in dir(IB) if not name.startswith("_")] + [*IB.events]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "RequestTimeout":
            object.__setattr__(self, name, float(value))
        elif not (isinstance(value, Event) and name in IB.events):  # ib.errorEvent += handler
            raise OwnedByKitError(name, "the kit sets it up; connect() takes what may be chosen")

    def __getattr__(self, name: str) -> Any:
        if name in ORDER_ROAD:
            return _wrapped(getattr(IB, name), functools.partial(_refuse_order, name))
        if name in OURS:
            raise OwnedByKitError(
                name, "use ibkit.connect(), kit.close() and the methods of kit.ib"
            )
        if name.startswith("_") or (not hasattr(IB, name) and name not in IB.events):
            raise AttributeError(f"ib_async.IB has no public attribute {name!r}")
        if name in IB.events:
            return self._pair.event(name)
        value = getattr(self._pair.serving(name).ib, name)
        return self._face(name, value) if callable(value) else value

    def _face(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands for `method` in the caller's thread."""
        if name.endswith("Async"):
            return _wrapped(method, functools.partial(self._ask, name))
        if hasattr(IB, f"{name}Async"):
            ask = functools.partial(self._ask, f"{name}Async")
            return _wrapped(method, functools.partial(self._link.loop.run, ask))
        if name in STREAMS:
            return _wrapped(method, functools.partial(self._stream, name))
        return _wrapped(method, functools.partial(self._read, name))

    async def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request on the loop thread; ib_async's own time limit becomes ours."""
        link = self._pair.serving(name)
        method = getattr(link.ib, name)
        ask = ask_for(name, *args, **kwargs)
        patience = self.RequestTimeout or PATIENCE_S
        if "timeout" in inspect.signature(method).parameters:
            bound = inspect.signature(method).bind(*args, **kwargs)
            patience = bound.arguments.pop("timeout", 0) or patience
            args, kwargs = bound.args, {**bound.kwargs, "timeout": 0}
        return await link.loop.arun(
            link.request,
            name.removesuffix("Async"),
            lambda ib: getattr(ib, name)(*args, **kwargs),
            timeout_s=patience,
            ask=ask,
        )

    def _stream(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Open a stream when IB's limits let it; on the loop thread nobody can wait for that."""
        ask, link = ask_for(name, *args, **kwargs), self._pair.serving(name)

        def opening(ib: IB) -> Any:
            return getattr(ib, name)(*args, **kwargs)

        if link.loop.here:
            return link.subscribe_now(opening, ask)
        found = (one for one in (*args, *kwargs.values()) if isinstance(one, Contract))
        return link.loop.run(
            link.request,
            name,
            opening,
            contract=next(found, None),
            timeout_s=self.RequestTimeout or PATIENCE_S,
            degraded=True,
            ask=ask,
        )

    def _read(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a plain method on the loop thread; copy what is state.

        ib_async forgets its state with the connection: an error then, not an empty list.
        """
        link = self._pair.serving(name)

        def reading() -> Any:
            if name in STATE and link.state not in CONNECTED:
                raise NotConnectedError(link.state, name)
            try:
                value = getattr(link.ib, name)(*args, **kwargs)
            except ConnectionError as error:
                raise NotConnectedError(link.state, name) from error
            return snapshot(value) if name in STATE else value

        return link.loop.call(reading)

    # --- IB's helpers that wait: here the caller waits, and the loop goes on ---------------------

    def isConnected(self) -> bool:  # noqa: N802 - ib_async's name
        """Is there an API connection to TWS or IB gateway?"""  # noqa: D400 - ib_async's words
        return all(link.state in CONNECTED for link in self._pair.links)

    def sleep(self, secs: float = 0.02) -> bool:
        """Wait `secs` seconds; the connection goes on working."""
        self._link.loop.run(asyncio.sleep, secs)
        return True

    def run(self, *awaitables: Any, timeout: float | None = None) -> Any:
        """Wait for what `…Async` methods returned; the result, or a list of several."""

        async def waiting() -> Any:
            results = await asyncio.wait_for(asyncio.gather(*awaitables), timeout)
            return results[0] if len(results) == 1 else results

        return self._link.loop.run(waiting)

    def waitOnUpdate(self, timeout: float = 0) -> bool:  # noqa: N802 - ib_async's name
        """Wait for the next message; False if `timeout` seconds passed without one."""

        async def waiting() -> bool:
            try:
                await asyncio.wait_for(_next(self._pair.event("updateEvent")), timeout or None)
            except TimeoutError:
                return False
            return True

        return self._link.loop.run(waiting)

    def loopUntil(  # noqa: N802 - ib_async's name
        self, condition: Callable[[], object] | None = None, timeout: float = 0
    ) -> Iterator[object]:
        """Yield on each update until `condition` holds, or False when the time is over."""
        end = clock.monotonic() + timeout if timeout else None
        while not (value := condition and condition()):
            left = end - clock.monotonic() if end is not None else 0
            if end is not None and left <= 0:
                yield False
                return
            yield value
            self.waitOnUpdate(left)
        yield value

    def waitUntil(self, t: datetime | time) -> bool:  # noqa: N802 - ib_async's name
        """Wait until a moment; a bare time is one of today, a naive one of this machine's zone."""
        self.sleep(max(0.0, _seconds_to(t)))
        return True

    def timeRange(  # noqa: N802 - ib_async's name
        self, start: datetime | time, end: datetime | time, step: float
    ) -> Iterator[datetime]:
        """Wait for, and yield, each moment from `start` to `end` in steps of `step` seconds."""
        moment = clock.now() + timedelta(seconds=max(0.0, _seconds_to(start)))
        last = clock.now() + timedelta(seconds=_seconds_to(end))
        while moment <= last:
            self.waitUntil(moment)
            yield moment
            moment += timedelta(seconds=step)


def _wrapped(method: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `call` as a function with the name, the signature and the docstring of `method`."""

    @functools.wraps(method)
    def face(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return face


def _refuse_order(name: str, *_: object, **__: object) -> None:
    raise OrderRoadError(name)


async def _next(event: Event) -> None:
    """Wait for the next emit; eventkit's own await stays connected when it is cancelled."""
    came = asyncio.get_running_loop().create_future()

    def arrive(*_: object) -> None:
        if not came.done():
            came.set_result(None)

    event.connect(arrive)
    try:
        await came
    finally:
        event.disconnect(arrive)


def _seconds_to(t: datetime | time) -> float:
    now = clock.now().astimezone()
    moment = datetime.combine(now.date(), t) if isinstance(t, time) else t
    return (moment.astimezone() - now).total_seconds()
