"""The classical way: the connection on the notebook kernel's own loop, blocking calls nested in it.

For notebooks that live on ib_async's idioms. `LoopThread` is the better way: here nothing arrives
while a cell is busy. Not here: the two faces of a method (`loop`).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import signal
import threading
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from ibkit.connection.loop import LoopThread
from ibkit.errors import LoopThreadError, SettingsError
from ibkit.log import correlated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

P = ParamSpec("P")
T = TypeVar("T")

NO_LOOP: Final = (
    "loop: 'kernel' needs an event loop that runs already, as a notebook's does; here none runs, "
    "so leave loop= out"
)
NO_NEST: Final = "loop: 'kernel' needs nest-asyncio2; pip install 'ibkit[lab]'"
OTHER_LOOP: Final = "loop: 'kernel' works on asyncio's own loops only; leave loop= out"
LOSES_CELLS: Final = (
    "nest_asyncio was applied to this kernel, as util.startLoop() does it. With ipykernel 7 a cell "
    'that arrives while another one waits is then lost without a word: "Run All" skips cells.\n'
    "Hint: restart the kernel and leave util.startLoop() out; ibkit needs it nowhere. Notebooks "
    'that cannot do without it call ibkit.connect(loop="kernel") first.'
)
IN_ITS_OWN_HANDLER: Final = (
    "{name}() would wait for the connection inside a handler that the connection itself called, "
    "for ever.\n"
    "Hint: write `await ….{name}.aio(…)` in a coroutine, or listen on kit.events, whose handlers "
    "may block."
)


class KernelLoop(LoopThread):
    """The kernel's running loop, with the face of a `LoopThread`.

    Make it on the kernel's main thread. In a cell a blocking call runs the loop nested until its
    answer is there; in another thread it waits for the kernel's loop to come round.

    Raises
    ------
    SettingsError
        No loop runs here, nest-asyncio2 is not installed, or the loop is not one of asyncio's own.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise SettingsError([NO_LOOP], "connect()") from error
        _make_nestable(self._loop)
        self._calls = set()
        self._thread = threading.current_thread()
        self._ended = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called, the kernel's loop has ended, or this is another process."""
        return os.getpid() != self._pid or self._ended or self._loop.is_closed()

    def run(
        self,
        function: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a coroutine function on the loop; block until its result is there.

        Raises
        ------
        LoopThreadError
            Called in a handler of the socket itself, in a forked child, or after `close`.
        """
        if not self.here:
            return super().run(function, *args, **kwargs)
        self._check_open()
        if _inside_a_socket(self._loop):
            name = getattr(function, "__name__", "this call")
            raise LoopThreadError(IN_ITS_OWN_HANDLER.format(name=name))
        with correlated():
            return self._nest(functools.partial(function, *args, **kwargs))

    def close(self, timeout_s: float = 1.0) -> bool:  # noqa: ARG002 - the base class's signature
        """End the waiting calls of other threads; the loop is the kernel's, and runs on."""
        self._ended = True
        for call in tuple(self._calls):
            call.cancel()
        return True

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            self._refuse_fork()
        if self.closed:
            raise LoopThreadError("This connection is closed; connect() again.")

    def _post(self, call: Any) -> None:
        self._check_open()
        super()._post(call)

    def _nest(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        # a context of its own: the cell's is entered already, and what runs in it must wait
        task = self._loop.create_task(make(), context=contextvars.copy_context())
        with _stoppable(self._loop, task) as stops:
            try:
                result = self._loop.run_until_complete(task)
            except asyncio.CancelledError as error:
                if stops:
                    raise KeyboardInterrupt from None
                raise LoopThreadError("This call was cancelled while it was waiting.") from error
            finally:
                task.cancel()
        if stops:  # it came too late for the request, and still means the cell
            raise KeyboardInterrupt
        return result


def warn_of_lost_cells() -> None:
    """Warn loudly if nest_asyncio has patched the loop that runs here: cells get lost then."""
    patched = hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2")
    with suppress(RuntimeError):  # no loop runs here: there are no cells to lose
        asyncio.get_running_loop()
        if patched:
            warnings.warn(LOSES_CELLS, RuntimeWarning, stacklevel=3)


def _make_nestable(loop: asyncio.AbstractEventLoop) -> None:
    """Apply nest_asyncio2; nest_asyncio finds its work done then, and leaves it alone."""
    try:
        import nest_asyncio2  # type: ignore[import-untyped] # it ships no types
    except ImportError as error:
        raise SettingsError([NO_NEST], "connect()") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of nest_asyncio: ours says more
            nest_asyncio2.apply(loop)
    except ValueError as error:
        raise SettingsError([OTHER_LOOP], "connect()") from error


def _inside_a_socket(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a socket's own reader is what runs now: nested, it would never be read again."""
    selector = getattr(loop, "_selector", None)
    readers = [key.data[0] for key in selector.get_map().values()] if selector else []
    return any(_is_entered(reader) for reader in readers if _is_of_a_socket(reader))


def _is_of_a_socket(reader: Any) -> bool:
    callback = getattr(reader, "_callback", None)
    return isinstance(getattr(callback, "__self__", None), asyncio.Transport)


def _is_entered(handle: Any) -> bool:
    try:
        handle._context.run(int)  # noqa: SLF001 - a context has no other way to say that it is entered
    except RuntimeError:
        return True
    return False


@contextmanager
def _stoppable(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> Iterator[list[int]]:
    """Let the stop button cancel `task`, not whatever else the loop is doing at that moment."""
    stops: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stops.append(number)
        if len(stops) > 1:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(task.cancel)

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield stops
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield stops
    finally:
        signal.signal(signal.SIGINT, before)
