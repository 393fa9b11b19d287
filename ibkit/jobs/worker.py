"""Do the jobs of a queue: claim, hand to the handler of the kind, renew, say how it ended.

As many at once as `slots` says, without batches: whoever ends makes room for the next. Runs on one
event loop; the queue works in a thread of its own. Not here: what any kind of job means.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ibkit.errors import IbkitError, StaleJobError
from ibkit.log import get_logger

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable, Mapping

    from ibkit.jobs.queue import Queue
    from ibkit.jobs.values import Job

    Handler = Callable[[Job], Awaitable[Any]]

log = get_logger(__name__)
# how often to look for work that others left or freed; they cannot call us
LOOK_S: Final = 0.5
RETRY_S: Final = 5.0
LONGEST_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Done:
    """What a handler may return: a result, and what belongs into the same transaction with it.

    See `Queue.complete`; any other value that a handler returns is the result alone.
    """

    result: Any = None
    effect: Callable[[sqlite3.Connection], object] | None = None


class AgainError(Exception):
    """A handler's word for: not this time, try once more, `after_s` seconds from now.

    Without `after_s` the pause doubles with each failure. `result` is kept with the job, as JSON.
    """

    def __init__(self, reason: str, after_s: float | None = None, *, result: object = None) -> None:
        super().__init__(reason, after_s)
        self.reason, self.after_s, self.result = reason, after_s, result


class RefusedError(Exception):
    """A handler's word for: never; with `group` neither anything else of the job's group."""

    def __init__(self, reason: str, *, group: bool = False, result: object = None) -> None:
        super().__init__(reason)
        self.reason, self.group, self.result = reason, group, result


class Worker:
    """Works on a queue until nothing is left.

    Parameters
    ----------
    queue : Queue
        Where the jobs are.
    handlers : mapping of str to coroutine function
        Who does which kind; gets the `Job`, returns its result or a `Done`. `AgainError` and
        `RefusedError` say how it failed; any other exception counts as a failure and is retried,
        with growing pauses, until the job has failed `Job.most` times.
    batch : str
        Only the jobs of this batch.
    slots : callable
        How many may be under way at once, asked each time.
    fatal : tuple of exception classes
        What ends the worker, and counts against no job.
    ended : callable, optional
        Told of each job that is over or will be tried again, on the loop: the job, its state,
        the result or the reason.
    """

    def __init__(
        self,
        queue: Queue,
        handlers: Mapping[str, Handler],
        *,
        batch: str = "",
        slots: Callable[[], int] = lambda: 1,
        fatal: tuple[type[BaseException], ...] = (),
        ended: Callable[[Job, str, Any], object] | None = None,
    ) -> None:
        self._queue, self._handlers, self._batch = queue, dict(handlers), batch
        self._slots, self._fatal, self._ended = slots, fatal, ended
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._thread = ThreadPoolExecutor(1, "ibkit-jobs")

    async def run(self) -> None:
        """Work until nothing of our kinds, or of our batch, is left in anybody's hands.

        Cancelled, or ended by a fatal error, it gives back what it had claimed.
        """
        keeper = asyncio.get_running_loop().create_task(self._keep())
        try:
            while await self._turn():
                if keeper.done():
                    keeper.result()  # the claims cannot be renewed any more
        finally:
            keeper.cancel()
            await self._give_back()
            await asyncio.wait([keeper])
            self._thread.shutdown(wait=False)

    @property
    def under_way(self) -> tuple[Job, ...]:
        """What is being worked on now."""
        return tuple(self._tasks.values())

    async def _turn(self) -> bool:
        """Fill the free slots, wait for news; False when nothing is left."""
        room = max(0, self._slots() - len(self._tasks))
        claimed = await self._claim(room) if room > 0 else []
        for job in claimed:
            self._tasks[asyncio.get_running_loop().create_task(self._do(job))] = job
        if not self._tasks:
            left = await self._call(self._queue.left, self._handlers, batch=self._batch)
            if not left.jobs:
                return False
            pause = LOOK_S if left.due_s is None else min(max(left.due_s, 0.01), LOOK_S)
            await asyncio.sleep(pause)
            return True
        pause = None if len(claimed) == room else LOOK_S
        done, _ = await asyncio.wait(
            self._tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            del self._tasks[task]
            if not task.cancelled():  # one that was taken over was
                task.result()
        return True

    async def _claim(self, most: int) -> list[Job]:
        claim = self._queue.claim
        job = self._call(claim, self._handlers, batch=self._batch, most=most)
        try:
            return list(await asyncio.shield(job))
        except asyncio.CancelledError:
            with suppress(IbkitError):
                await self._call(self._queue.release, await job)
            raise

    async def _do(self, job: Job) -> None:
        """Do one job and say how it ended; raises only what ends everything."""
        try:
            found = await self._handlers[job.kind](job)
        except self._fatal:
            await self._call(self._queue.release, [job])
            raise
        except AgainError as error:
            pause = error.after_s if error.after_s is not None else pause_s(job.failures)
            await self._fail(job, error.reason, retry_s=pause, result=error.result)
        except RefusedError as error:
            await self._fail(
                job, error.reason, retry_s=None, group=error.group, result=error.result
            )
        except Exception as error:  # a handler of anybody's: its failure is the job's, not ours
            log.warning("a job failed", kind=job.kind, key=job.key, exc_info=error)
            reason = f"{type(error).__name__}: {error}"
            await self._fail(job, reason, retry_s=pause_s(job.failures))
        else:
            await self._complete(job, found if isinstance(found, Done) else Done(found))

    async def _complete(self, job: Job, found: Done) -> None:
        try:
            await self._call(self._queue.complete, job, found.result, effect=found.effect)
        except StaleJobError as error:
            log.warning("a job was taken over", reason=str(error))
            return
        self._tell(job, "done", found.result)

    async def _fail(self, job: Job, reason: str, **how: Any) -> None:
        try:
            state = await self._call(self._queue.fail, job, reason, **how)
        except StaleJobError as error:
            log.warning("a job was taken over", reason=str(error))
            return
        self._tell(job, state, reason)

    def _tell(self, job: Job, state: str, found: Any) -> None:
        if self._ended is not None:
            self._ended(job, state, found)

    async def _keep(self) -> None:
        """Renew what we have; what is lost by now is stopped."""
        while True:
            await asyncio.sleep(self._queue.lease_s / 3)
            held = [job for task, job in self._tasks.items() if not task.done()]
            if not held:
                continue
            lost = {job.id for job in await self._call(self._queue.renew, held)}
            for task, job in tuple(self._tasks.items()):
                if job.id in lost and not task.done():
                    log.warning("a job was taken over", kind=job.kind, key=job.key)
                    task.cancel()

    async def _give_back(self) -> None:
        """Stop what is under way, and let others have it."""
        tasks = dict(self._tasks)
        self._tasks.clear()
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # the first one is on its way up already
        await self._call(self._queue.release, list(tasks.values()))

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))


def pause_s(failures: int) -> float:
    """Return how long to wait after so many failures before this one.

    >>> [pause_s(n) for n in (0, 1, 2, 20)]
    [5.0, 10.0, 20.0, 600.0]
    """
    return float(min(LONGEST_S, RETRY_S * 2.0 ** min(failures, 10)))
