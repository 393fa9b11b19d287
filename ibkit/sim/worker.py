"""Answers that take long, computed beside the loop, so that nobody's stream waits for them.

One thread, first come, first served: the answers come in the order of the requests. What is
computed must not depend on the moment: the request is read on the loop, and its answer is sent
from there. On a clock that stands still answers are computed at once, so that the same steps give
the same frames. Not here: what is computed (`handlers`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

Deliver = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Later:
    """What a handler returns when its answer takes long.

    Attributes
    ----------
    compute : callable
        Runs on the worker's thread, and returns what then sends the answer from the loop.
    open_as : int or None
        The id under which the request is open until its answer is sent, and may be cancelled.
    """

    compute: Callable[[], Deliver]
    open_as: int | None = None


class GivenUpError(Exception):
    """Nobody waits for this answer any more."""


def _always() -> bool:
    return True


_wanted: Final[ContextVar[Callable[[], bool]]] = ContextVar("wanted", default=_always)


def check_wanted() -> None:
    """Give up what is computed just now if nobody waits for it; long work asks now and then."""
    if not _wanted.get()():
        raise GivenUpError


class Worker:
    """The thread.

    Parameters
    ----------
    inline : bool
        Compute at once, on the loop itself.
    """

    def __init__(self, *, inline: bool) -> None:
        self._inline, self._stopped = inline, False
        self._open = 0  # answers on their way
        self._idle: list[Callable[[], object]] = []
        self._pool: ThreadPoolExecutor | None = None

    def do(
        self,
        loop: AbstractEventLoop,
        compute: Callable[[], Deliver],
        finish: Callable[[Future[Deliver]], object],
        wanted: Callable[[], bool],
    ) -> None:
        """Compute, then call `finish` on the loop with the outcome; not when it is given up.

        `wanted` is asked from the thread, before and while it computes.
        """
        if self._inline:
            outcome: Future[Deliver] = Future()
            try:
                outcome.set_result(compute())
            except Exception as error:  # noqa: BLE001  `finish` raises it again
                outcome.set_exception(error)
            finish(outcome)
            return

        def still() -> bool:
            return not self._stopped and wanted()

        def done(outcome: Future[Deliver]) -> None:
            if not self._stopped:
                loop.call_soon_threadsafe(self._finish, outcome, finish)

        self._open += 1
        self._pool = self._pool or ThreadPoolExecutor(1, "sim-worker")
        self._pool.submit(_run, compute, still).add_done_callback(done)

    def when_idle(self, act: Callable[[], object]) -> None:
        """Act when no answer is on its way: now, or after the last one was sent."""
        self._idle.append(act)
        self._rest()

    def _finish(
        self, outcome: Future[Deliver], finish: Callable[[Future[Deliver]], object]
    ) -> None:
        """Hand over an outcome, on the loop."""
        self._open -= 1
        if not isinstance(outcome.exception(), GivenUpError):
            finish(outcome)
        self._rest()

    def _rest(self) -> None:
        while self._idle and not self._open:
            self._idle.pop(0)()

    def stop(self) -> None:
        """Give up what is left, and end the thread."""
        self._stopped = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _run(compute: Callable[[], Deliver], wanted: Callable[[], bool]) -> Deliver:
    """Compute on the thread, as long as somebody waits for it."""
    token = _wanted.set(wanted)
    try:
        check_wanted()
        return compute()
    finally:
        _wanted.reset(token)
