"""Jobs of kind ``bars``: one span of one series that the store lacks.

A job says which span, not which request: whoever does it looks first what of the span is still
missing, so that done twice is done once. Pure, but for `BarsHandler`, which asks.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ibkit import naming
from ibkit.errors import (
    ContractNotAllowedError,
    DelistedContractError,
    ExpiredContractError,
    IbkitError,
    LoopThreadError,
    NeverAvailableError,
    NoDataError,
    NotConnectedError,
    RequestRefusedError,
    RequestTimeoutError,
    StoreError,
    UnknownContractError,
    WrongCurrencyError,
    WrongSeriesError,
)
from ibkit.history.outcomes import judge
from ibkit.jobs.values import Job, Merge, NewJob
from ibkit.jobs.worker import AgainError, RefusedError
from ibkit.store.journal import micros, moment
from ibkit.store.spans import minus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeVar

    from ibkit.connection import Link
    from ibkit.history.outcomes import Outcome
    from ibkit.history.plan import Request, Span
    from ibkit.history.series import Series
    from ibkit.history.service import History
    from ibkit.store import Store

    T = TypeVar("T")

KIND: Final = "bars"
# what ends everything; all else concerns one series
ENDS_ALL: Final = (NotConnectedError, StoreError, LoopThreadError)
# what every other request of the same series would meet, too; their subclasses say other things
OF_ALL: Final = frozenset(
    (
        ContractNotAllowedError,
        DelistedContractError,
        ExpiredContractError,
        NeverAvailableError,
        RequestRefusedError,
        UnknownContractError,
        WrongCurrencyError,
        WrongSeriesError,
    )
)
# how often the same question may find the connection broken before it is left for later
MOST_BREAKS: Final = 5
BREAK_S: Final = 0.5
PACING_S: Final = 15.0


def group_of(series: Series) -> str:
    """Return the name of a series among the jobs."""
    hours = "rth" if series.use_rth else "all"
    return f"{series.slug} {series.bar_size.ib} {series.what_to_show} {hours}"


def span_of(job: Job) -> Span:
    """Return [start, end) of a job."""
    start, end = job.payload["start"], job.payload["end"]
    return datetime.fromisoformat(start), datetime.fromisoformat(end)


def merge(series: Series, found: Sequence[Job], *, priority: int = 0) -> Merge:
    """Return the jobs that close the holes of `series`, but for what others are at already.

    Parameters
    ----------
    series : Series
        With the requests that are to be made, newest first.
    found : sequence of Job
        Those of its group that are not done; the live ones do not overlap.
    priority : int
        Of the new ones.

    Notes
    -----
    The first job goes alone; the rest follows when it has succeeded, so that a series which IB
    refuses costs one request.
    """
    live = sorted((_micros(job), job) for job in found if job.state != "dead")
    dead = [(_micros(job), job) for job in found if job.state == "dead"]
    starts = [span[0] for span, _ in live]
    shared: dict[int, Job] = {}
    superseded: dict[int, Job] = {}
    fresh: list[NewJob] = []
    first = ""
    for turn, request in enumerate(series.requests):
        low, high = micros(request.start), micros(request.end)
        others = _overlapping(live, starts, low, high)
        shared.update((job.id, job) for _, job in others)
        superseded.update((job.id, job) for (a, b), job in dead if a < high and b > low)
        for span in minus([(low, high)], [span for span, _ in others]):
            fresh.append(_new(series, span, turn, priority, after=first))
            first = first or fresh[0].key
    idle = (job for span, job in live if job.state != "working" and _answered(series, span))
    superseded.update((job.id, job) for job in idle)
    return Merge(fresh, list(shared.values()), list(superseded.values()))


def _answered(series: Series, span: tuple[int, int]) -> bool:
    """Whether the store has all of a span: whoever fetched it died before he said so."""
    low, high = span
    inside = micros(series.span[0]) <= low and high <= micros(series.span[1])
    return inside and not any(micros(a) < high and micros(b) > low for a, b in series.holes)


def _new(series: Series, span: tuple[int, int], turn: int, priority: int, *, after: str) -> NewJob:
    start, end = (moment(each).isoformat() for each in span)
    group = group_of(series)
    payload = {
        "instrument": naming.shorthand(series.contract),
        "bar_size": series.bar_size.ib,
        "what_to_show": series.what_to_show,
        "use_rth": series.use_rth,
        "start": start,
        "end": end,
    }
    key = f"{group} {start} {end}"
    return NewJob(KIND, key, payload, priority, turn, group, after=after)


def _micros(job: Job) -> tuple[int, int]:
    start, end = span_of(job)
    return micros(start), micros(end)


def _overlapping(
    live: Sequence[tuple[tuple[int, int], Job]], starts: Sequence[int], low: int, high: int
) -> list[tuple[tuple[int, int], Job]]:
    first = max(0, bisect_left(starts, low) - 1)
    last = bisect_left(starts, high)
    return [one for one in live[first:last] if one[0][1] > low]


class BarsHandler:
    """Asks IB for the span of a job, as far as the store still lacks it.

    Parameters
    ----------
    history, link, store
        Of one kit.
    known : mapping
        Series that are planned already, by `group_of`; others are looked up.
    waiting : callable
        Told, with the state, when the connection has to be waited for, and with "" when it is back.
    """

    def __init__(
        self,
        history: History,
        link: Link,
        store: Store,
        known: Mapping[str, Series] | None = None,
        waiting: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._history, self._link, self._store = history, link, store
        self._known = known or {}
        self._requests = {
            group: {request.start: request for request in series.requests}
            for group, series in self._known.items()
        }
        self._waiting = waiting

    async def __call__(self, job: Job) -> dict[str, Any]:
        """Do one job.

        Returns
        -------
        dict
            ``fetched``: answers; ``empty``: those without a row; ``rows``, ``rows_new``.

        Raises
        ------
        AgainError, RefusedError
            As the outcome is: worth another try, or not.
        NotConnectedError, StoreError
            Nothing more can be done at all.
        """
        try:
            series, requests = await self.connected(lambda: self._planned(job))
        except ENDS_ALL:
            raise
        except NoDataError:  # no session in it, or no complete bar yet: nothing to ask
            return {"fetched": 0, "empty": 0, "rows": 0, "rows_new": 0}
        except IbkitError as error:
            refused = judge(error)
            raise RefusedError(str(error), group=True, result={"kind": refused}) from error
        found = {"fetched": 0, "empty": 0, "rows": 0, "rows_new": 0}
        for request in requests:
            outcome = await self.connected(lambda: self._history.ask.aio(series, request))  # noqa: B023 - used in this turn
            _check(outcome)
            found["fetched"] += 1
            found["empty"] += outcome.kind == "empty"
            found["rows"] += outcome.rows
            found["rows_new"] += outcome.rows_new
        return found

    async def connected(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what `ask` returns; when the connection breaks, wait for it and ask again.

        Raises
        ------
        NotConnectedError
            It was closed, has failed for good, or breaks each time at this very question.
        """
        breaks = 0
        while True:
            try:
                return await ask()
            except NotConnectedError:
                if self._link.state in {"closed", "failed"}:
                    raise
                stood = self._link.state == "ready"
                breaks += stood
                if breaks >= MOST_BREAKS:
                    raise
            if stood:
                await asyncio.sleep(BREAK_S * breaks)
            else:
                self._waiting(self._link.state)
                await self._link.ready()
                self._waiting("")

    async def _planned(self, job: Job) -> tuple[Series, Sequence[Request]]:
        """Return the series, and the requests for what of the span is still missing."""
        start, end = span_of(job)
        series = self._known.get(job.group)
        request = self._requests[job.group].get(start) if series is not None else None
        if series is not None and request is not None and request.end == end:
            missing = await asyncio.to_thread(
                self._store.missing, series.slug, series.bar_size.ib, start, end, **series.key
            )
            if not missing:
                return series, ()
            if missing == [(start, end)]:
                return series, (request,)
        wanted = job.payload
        series = await self._history.prepare.aio(
            wanted["instrument"],
            wanted["bar_size"],
            start,
            end,
            what_to_show=wanted["what_to_show"],
            use_rth=wanted["use_rth"],
        )
        return series, series.requests


def _check(outcome: Outcome) -> None:
    """Raise unless nobody needs to ask again."""
    if outcome.final:
        return
    words, result = str(outcome.error or outcome.reason), {"kind": outcome.kind}
    if outcome.kind == "pacing":
        raise AgainError(words, PACING_S, result=result)
    if isinstance(outcome.error, RequestTimeoutError):
        raise AgainError(words, result=result)
    whole = outcome.kind == "no_permission" or type(outcome.error) in OF_ALL
    raise RefusedError(words, group=whole, result=result)
