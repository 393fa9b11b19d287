"""Ask IB for one planned request of bars, store the answer, say what came of it.

Every answer is in the store, with the span that it answers for, before the next request goes out;
so an interrupted call loses nothing. Not here: what to ask for (`plan`), what an answer means
(`outcomes`), what is learned from it (`steps`).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ibkit import clock
from ibkit.connection import taps
from ibkit.connection.asks import ask_for
from ibkit.connection.loop import on_loop
from ibkit.contracts.hours import Session
from ibkit.errors import (
    IbkitError,
    LoopThreadError,
    NotConnectedError,
    RequestCancelledError,
    RequestTimeoutError,
    StoreError,
)
from ibkit.history import outcomes, wire
from ibkit.history.decode import UnknownSessionError
from ibkit.history.heads import SLACK, Heads
from ibkit.history.outcomes import Outcome, Verdict
from ibkit.history.plan import plan, size_of, step_of
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ib_async import IB

    from ibkit.history.plan import Request, Span
    from ibkit.history.series import Series

log = get_logger(__name__)
TIMEOUT_S: Final = 60.0
# a data farm that sleeps is woken by the first request, which may never be answered
WAKE_S: Final = 15.0
# an answer that took longer is no reason to ask for more the next time
QUICK_S: Final = 10.0
# what concerns more than the series that was asked about
ENDS_ALL: Final = (NotConnectedError, StoreError, LoopThreadError)


class Asking(Heads):
    """One request at a time: `ask`."""

    @on_loop
    async def ask(self, series: Series, request: Request) -> Outcome:
        """Ask IB for one planned request, store the answer, and return what came of it.

        Parameters
        ----------
        series : Series
            From `prepare`.
        request : Request
            One of its requests.

        Returns
        -------
        Outcome
            Whatever concerns this series alone: data, confirmed emptiness, a refusal, a time-out.

        Raises
        ------
        NotConnectedError, StoreError
            Nothing more can be done; what came until then is stored.

        Notes
        -----
        One request to IB as a rule. A request that times out is asked again in halves, and the
        instrument's step is remembered (`steps`); one whose answer does not reach back to its
        start is asked again for the rest; the first one without data asks where the data begin
        (`head`), and what lies before that is confirmed without being asked.
        """
        todo, done = [request], list[Outcome]()
        while todo:
            part = todo.pop(0)
            outcome, more = await self._ask_one(series, part)
            if outcome is not None:
                done.append(outcome)
                if not outcome.final:
                    break
            todo = more + todo
        return outcomes.together(request, done)

    async def _ask_one(
        self, series: Series, request: Request
    ) -> tuple[Outcome | None, list[Request]]:
        """Return what came of one request, and what is to be asked after it, newest first."""
        if reason := request.known or await self._known_empty(series, request):
            return await self._confirm(series, request, reason), []
        now, size = clock.now, series.bar_size
        try:
            found, received = await self._ask_bars(series, request)
        except ENDS_ALL:
            raise
        except RequestTimeoutError as error:
            return await self._halved(series, request, error)
        except IbkitError as error:
            outcome = outcomes.refusal(error, request, size, now(), series.contract)
            if outcome.kind == "empty":
                outcome = self._disconnected(series, request, "no data") or await self._confirm(
                    series, request, await self._why_empty(series, request) or outcome.reason
                )
            return outcome, []
        ts = found["ts"]
        stamps = (ts[0].as_py(), ts[-1].as_py()) if len(found) else None
        verdict = outcomes.read(stamps, received, request, series.sessions, size, now())
        if verdict.kind == "data":
            return await self._keep_bars(series, request, found, verdict)
        return await self._without_bars(series, request, verdict), []

    async def _keep_bars(
        self, series: Series, request: Request, found: pa.Table, verdict: Verdict
    ) -> tuple[Outcome, list[Request]]:
        """Store an answer for as much of the span as it answers for."""
        work = partial(self._write_bars, series, request, found, verdict.answered)
        new, reason = await asyncio.to_thread(work)
        outcome = Outcome("data", request, len(found), new, reason)
        if verdict.rest is None:
            return outcome, []
        step = size_of(request, series.bar_size, series.sessions)
        parts = plan([verdict.rest], series.bar_size, series.sessions, step)
        for part in parts[:1]:  # where data begin, if that pays
            reason = await self._why_empty(series, part)
            head, first = await self._known_head(series), found["ts"][0].as_py()
            if reason and head is not None and head <= first + SLACK:  # as the answer says
                parts = [replace(each, known=reason) for each in parts]
        return outcome, parts

    async def _without_bars(self, series: Series, request: Request, verdict: Verdict) -> Outcome:
        """Return the outcome of an answer that has no bar in the span."""
        if verdict.kind == "not_yet":
            error = outcomes.not_yet(request, series.bar_size, series.contract, verdict.reason)
            return Outcome("not_yet", request, reason=verdict.reason, error=error)
        if told := self._disconnected(series, request, "no bars"):
            return told
        reason = await self._why_empty(series, request)
        if verdict.kind == "empty":
            return await self._confirm(series, request, reason or verdict.reason)
        if not reason:
            note = partial(self._steps.silent, series.text, request, clock.now())
            first = await asyncio.to_thread(note)
            if first is None:
                return outcomes.unanswered(request, series.contract, verdict.reason)
            reason = f"{verdict.reason}, as on {first:%Y-%m-%d}"
        return await self._confirm(series, request, reason)

    async def _halved(
        self, series: Series, request: Request, error: RequestTimeoutError
    ) -> tuple[Outcome | None, list[Request]]:
        """Return the parts to ask for instead of what was too much; or that nothing can be done."""
        size = series.bar_size
        if told := self._disconnected(series, request, "no answer"):
            return told, []
        asked = size_of(request, size, series.sessions)
        learn = partial(self._steps.timed_out, series.slug, size, asked)
        step = await asyncio.to_thread(learn)
        if step is None:
            return Outcome("unknown", request, reason=outcomes.words_of(error), error=error), []
        log.info("a request was too much", series=series.text, asked=str(asked), now=str(step))
        return None, plan([(request.start, request.end)], size, series.sessions, step)

    # --- one question, one answer ----------------------------------------------------------------

    async def _ask_bars(self, series: Series, request: Request) -> tuple[pa.Table, int]:
        """Return the answer; what woke a sleeping farm, or was cancelled by others, asks twice."""
        asleep = [farm for farm in self._farms("idle") if farm not in self._woken]
        self._woken.update(asleep)
        try:
            return await self._fetch_bars(series, request, WAKE_S if asleep else None)
        except RequestCancelledError:
            pass
        except RequestTimeoutError:
            if not asleep:
                raise
        return await self._fetch_bars(series, request)

    async def _fetch_bars(
        self,
        series: Series,
        request: Request,
        timeout_s: float | None = None,
        *,
        up_to_now: bool = False,
    ) -> tuple[pa.Table, int]:
        """Return the bars within the span of one request, and how many the answer had at all."""
        size, began = series.bar_size, [0.0]
        wanted = (
            series.contract,
            "" if up_to_now else request.until,
            request.duration,
            size.ib,
            series.what_to_show,
            series.use_rth,
        )

        def call(ib: IB) -> Awaitable[taps.Answer]:
            began[0] = clock.monotonic()
            return taps.bars(ib, *wanted)

        answer: taps.Answer = await self._link.request(
            wire.WHAT,
            call,
            contract=series.contract,
            timeout_s=timeout_s or max(TIMEOUT_S, self._link.profile.timeout_s),
            ask=ask_for("reqHistoricalData", *wanted, formatDate=2),
            wait_s=math.inf,  # IB's pace is what it is; whoever asked may interrupt
        )
        await self._learn(series, request, clock.monotonic() - began[0])
        span = (request.start, request.end)
        return await asyncio.to_thread(_read, answer, series, span)

    async def _learn(self, series: Series, request: Request, seconds: float) -> None:
        """Note how long an answer took, and that so much may be asked for."""
        asked = step_of(request, series.bar_size, series.sessions)
        quick = seconds <= QUICK_S
        learn = partial(self._steps.answered, series.slug, series.bar_size, asked)
        await asyncio.to_thread(learn, seconds, quick=quick)

    # --- the store -------------------------------------------------------------------------------

    def _write_bars(
        self, series: Series, request: Request, table: Any, span: Span | None
    ) -> tuple[int, str]:
        """Store bars; return how many are new, and what is to be said about the others."""
        commit = self._store.write_bars(
            series.contract,
            series.bar_size.ib,
            table,
            span=span,
            source=self._source,
            request=f"{request.duration} to {request.until.isoformat()}",
            on_error="quarantine",
            **series.key,
        )
        # else each thread that writes keeps what it once needed; 1 ms, and a request takes seconds
        pa.default_memory_pool().release_unused()
        bad = commit.rows_set_aside
        reason = f"{bad} rows cannot be true: store.quarantined() has them" if bad else ""
        return int(commit.rows_added), reason

    async def _confirm(self, series: Series, request: Request, reason: str) -> Outcome:
        """Remember that there is nothing in the span of a request."""
        confirm = partial(
            self._store.confirm_empty,
            series.bar_size.dataset,
            series.slug,
            (request.start, request.end),
            reason=reason,
            **series.key,
        )
        await asyncio.to_thread(confirm)
        return Outcome("empty", request, reason=reason)


def _read(answer: taps.Answer, series: Series, span: Span) -> tuple[pa.Table, int]:
    """Return the bars of an answer; a day that IB's schedule does not know has usual hours."""
    sessions = list(series.sessions)
    while True:
        try:
            return wire.read(answer, series.bar_size, sessions, span)
        except UnknownSessionError as error:
            log.warning("a bar of a day without a session", series=series.text, day=str(error.day))
            usual = max(one for one in sessions if one.ref_date < error.day)
            shift = error.day - usual.ref_date
            session = Session(usual.start + shift, usual.end + shift, error.day, "guess")
            sessions = sorted([*sessions, session])
