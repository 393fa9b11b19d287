"""One daemon thread that owns one asyncio loop, and the two faces of a coroutine method.

Logic is written once, as a coroutine; `on_loop` gives it a blocking face for cells, scripts and
threads, and `.aio` for coroutines of any loop. Nothing here knows IB.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
import sys
import threading
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)

from ibkit.errors import LoopThreadError
from ibkit.log import correlated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# ipykernel's SIGINT handler does not wake an idle loop, so awaiting callers look up now and then
POLL_S: Final = 0.2
# on Windows a wait without an end cannot be interrupted
SLICE_S: Final = 0.25 if sys.platform == "win32" else None
# how long an interrupted caller waits for its request to be cancelled at the gateway
CANCEL_S: Final = 1.0
IO_THREADS: Final = 8


class LoopThread:
    """A daemon thread with one asyncio loop, for objects that may be touched by one thread only.

    Parameters
    ----------
    name : str
        Of the thread, as debuggers show it.

    Examples
    --------
    >>> async def double(x: int) -> int:
    ...     return 2 * x
    >>> with LoopThread() as loop:
    ...     loop.run(double, 21)
    42
    """

    def __init__(self, name: str = "ibkit-loop") -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._calls: set[_Call[Any]] = set()
        self._io = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="ibkit-io")
        self._loop.set_default_executor(self._io)
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the thread has ended, or lives in another process."""
        return os.getpid() != self._pid or not self._thread.is_alive()

    @property
    def here(self) -> bool:
        """Whether the caller runs on this very thread."""
        return threading.get_ident() == self._thread.ident and os.getpid() == self._pid

    def run(
        self,
        function: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a coroutine function on the loop; block until its result is there.

        KeyboardInterrupt cancels the coroutine and waits a moment for its clean-up.

        Raises
        ------
        LoopThreadError
            Called on the loop thread itself, in a forked child, or after `close`.
        """
        self._refuse_here(function)
        call = _Call(self._loop, functools.partial(function, *args, **kwargs), self._calls)
        try:  # from here on an interrupt finds a call that it can cancel
            with correlated():
                self._post(call)
            return call.result()
        except (KeyboardInterrupt, SystemExit):
            call.cancel()
            wait([call.outcome], CANCEL_S)
            raise

    async def arun(
        self,
        function: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a coroutine function on the loop; await it from any loop, this one included.

        Raises
        ------
        LoopThreadError
            In a forked child, or after `close`.
        """
        if self.here:
            with correlated():
                return await function(*args, **kwargs)
        call = _Call(self._loop, functools.partial(function, *args, **kwargs), self._calls)
        with correlated():
            self._post(call)
        arrived = _arrival(call.outcome)
        try:
            while not arrived.done():
                await asyncio.wait([arrived], timeout=POLL_S)
        except asyncio.CancelledError:
            call.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([arrived], timeout=CANCEL_S)
            raise
        return call.result()

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function on the loop thread and return its value; there already: at once."""
        if self.here:
            return function(*args, **kwargs)

        async def calling() -> T:
            return function(*args, **kwargs)

        return self.run(calling)

    def close(self, timeout_s: float = 1.0) -> bool:
        """Cancel what runs, end the thread; return whether it ended within `timeout_s`.

        Closing twice is allowed. Called on the loop thread itself it does not wait.
        """
        if os.getpid() != self._pid:
            return False  # the parent's thread is none of our business
        atexit.unregister(self.close)
        with suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        if not self.here:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _refuse_here(self, function: Callable[..., object]) -> None:
        if self.here:
            name = getattr(function, "__name__", "this call")
            raise LoopThreadError(
                f"{name}() would wait for the loop thread on the loop thread itself, for ever.\n"
                f"Hint: in a coroutine or an event handler write `await ….{name}.aio(…)`."
            )

    def _post(self, call: _Call[Any]) -> None:
        if os.getpid() != self._pid:
            self._refuse_fork()
        try:
            call.post()
        except RuntimeError as error:
            raise LoopThreadError("The loop thread is closed; connect() again.") from error

    def _refuse_fork(self) -> NoReturn:
        raise LoopThreadError(
            f"This connection belongs to process {self._pid}; a forked child cannot use it.\n"
            "Hint: connect() again in the child, with a client_id of its own."
        )

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._wind_up()

    def _wind_up(self) -> None:
        if tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_S))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._io.shutdown(wait=True, cancel_futures=True)
        asyncio.set_event_loop(None)
        self._loop.close()
        for call in tuple(self._calls):  # posted after the loop had stopped
            call.abandon()


class _Call(Generic[T]):
    """One coroutine on its way through the loop, and its outcome for another thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], Coroutine[Any, Any, T]],
        calls: set[_Call[Any]],
    ) -> None:
        self.outcome: Future[T] = Future()
        self._loop, self._make, self._calls = loop, make, calls
        self._task: asyncio.Task[T] | None = None
        self._unwanted = False

    def post(self) -> None:
        """Hand the coroutine to the loop; RuntimeError if that is closed."""
        self._calls.add(self)
        try:
            self._loop.call_soon_threadsafe(self._begin, context=contextvars.copy_context())
        except RuntimeError:
            self._calls.discard(self)
            raise

    def result(self) -> T:
        """Wait for the outcome, in slices where a long wait could not be interrupted."""
        while SLICE_S is not None and not self.outcome.done():
            wait([self.outcome], SLICE_S)
        return self.outcome.result()

    def cancel(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and the coroutine with it
            self._loop.call_soon_threadsafe(self._cancel)

    def abandon(self) -> None:
        self._calls.discard(self)
        with suppress(InvalidStateError):
            self.outcome.set_exception(
                LoopThreadError("The loop thread was closed while this call was waiting.")
            )

    def _begin(self) -> None:
        if self._unwanted:
            self.abandon()
            return
        try:
            self._task = self._loop.create_task(self._make())
        except Exception as error:  # noqa: BLE001 - a wrong argument, which its caller waits to hear of
            self._calls.discard(self)
            self.outcome.set_exception(error)
            return
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        self._unwanted = True
        if self._task is not None:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[T]) -> None:
        self._calls.discard(self)
        if task.cancelled():
            self.abandon()
        elif error := task.exception():
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


def _arrival(outcome: Future[Any]) -> asyncio.Future[None]:
    """Return a future of the running loop that is done when `outcome` is."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def arrive() -> None:
        if not arrived.done():
            arrived.set_result(None)

    def tell(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the caller's loop was closed in the meantime
            loop.call_soon_threadsafe(arrive)

    outcome.add_done_callback(tell)
    return arrived


class OnLoop(Protocol):
    """An object whose coroutines run on a loop thread."""

    @property
    def _loop(self) -> LoopThread: ...


Owner_contra = TypeVar("Owner_contra", bound=OnLoop, contravariant=True)


class Face(Protocol[P, T_co]):
    """What `on_loop` makes of a coroutine method: call it to block, or await `.aio(…)`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Run on the loop thread, and wait."""
        ...

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T_co]:
        """Run on the loop thread; await it from any loop."""
        ...


class on_loop(Generic[Owner_contra, P, T]):  # noqa: N801 - a decorator, and reads as one
    """Give a coroutine method a blocking face and an awaitable one, `.aio`.

    The object needs an attribute `_loop`, a `LoopThread`. Both faces have the signature and the
    docstring of the coroutine; it stays reachable as ``__wrapped__``.

    Examples
    --------
    >>> class Oracle:
    ...     def __init__(self, loop):
    ...         self._loop = loop
    ...
    ...     @on_loop
    ...     async def answer(self, *, scale: int = 1) -> int:
    ...         "Return the answer."
    ...         return 42 * scale
    >>> with LoopThread() as loop:
    ...     oracle = Oracle(loop)
    ...     oracle.answer(), asyncio.run(oracle.answer.aio(scale=2))
    (42, 84)
    """

    def __init__(
        self, method: Callable[Concatenate[Owner_contra, P], Coroutine[Any, Any, T]]
    ) -> None:
        self._method = method
        functools.update_wrapper(cast("Callable[..., Any]", self), method)

    @overload
    def __get__(self, owner: None, kind: type) -> Face[Concatenate[Owner_contra, P], T]: ...
    @overload
    def __get__(self, owner: Owner_contra, kind: type | None = None) -> Face[P, T]: ...
    def __get__(self, owner: Owner_contra | None, kind: type | None = None) -> Face[..., T]:
        method: Callable[..., Coroutine[Any, Any, T]] = self._method
        if owner is None:
            return _faces(method, lambda args: _loop_of(args[0]))
        return _faces(method.__get__(owner), lambda _: _loop_of(owner))


def _faces(
    method: Callable[..., Coroutine[Any, Any, T]],
    loop_of: Callable[[tuple[Any, ...]], LoopThread],
) -> Face[..., T]:
    """Return a plain function, so that help(), completion and inspect see one."""

    @functools.wraps(method)
    def blocking(*args: Any, **kwargs: Any) -> T:
        return loop_of(args).run(method, *args, **kwargs)

    @functools.wraps(method)
    async def aio(*args: Any, **kwargs: Any) -> T:
        return await loop_of(args).arun(method, *args, **kwargs)

    blocking.aio = aio  # type: ignore[attr-defined] # mypy has no word for a function's attributes
    return cast("Face[..., T]", blocking)


def _loop_of(owner: OnLoop) -> LoopThread:
    return owner._loop  # noqa: SLF001 - `on_loop` and its owners have agreed on the name
