"""Fetch what the store lacks: plan, show the price, fetch, report.

What is to be asked stands in a queue on the disk, and every answer is in the store before its job
is done; so a run can end anywhere, by Ctrl-C or ``kill -9``, and the next one asks only for what is
missing. Several processes share the work. Not here: what is missing and how to ask
(`ibkit.history`), the queue (`queue`), one job (`bars`).
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack

import pandas as pd
from ib_async import Contract
from tqdm.std import tqdm as text_tqdm

from ibkit import naming
from ibkit.errors import BackfillIncompleteError, IbkitError, JobQueueError
from ibkit.history.outcomes import judge
from ibkit.history.price import time_words
from ibkit.jobs.bars import ENDS_ALL, KIND, BarsHandler, group_of, merge
from ibkit.jobs.board import REFRESH_S, Board, Display, Failure, Progress
from ibkit.jobs.queue import Queue
from ibkit.jobs.report import BackfillReport, make_report
from ibkit.jobs.worker import Worker
from ibkit.schema import bar_size as find_bar_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ibkit.connection import Link
    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.plan import Span
    from ibkit.history.series import Query, Series
    from ibkit.history.service import History
    from ibkit.history.spans import When
    from ibkit.jobs.values import Job
    from ibkit.schema import WhatToShow
    from ibkit.store import Store

# requests under way at once, of all backfills of a gateway together: IB allows 50, people need some
AT_ONCE: Final = 32
# bars of 30 secs or less: more would only stand in line, in front of people
AT_ONCE_SMALL: Final = 8
SMALL_S: Final = 30
PLAN_AT_ONCE: Final = 8
# how often to look what other processes have done
LOOK_S: Final = 1.0
# of a longer plan only the head is shown
SHOWN: Final = 40
PRICED: Final = (
    "instrument", "bar_size", "what_to_show", "start", "end", "holes", "requests", "rows",
)  # fmt: skip
HOLE: Final = ("instrument", "bar_size", "start", "end")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One series as it was asked for: its name, how to plan it, and which spans of it."""

    name: str
    prepare: Callable[[], Any]
    spans: tuple[Span, ...] = ()


@dataclass
class Plan:
    """What is to be done: the series by group, how far they are, and their price as a frame."""

    board: Board = field(default_factory=Board)
    series: dict[str, Series] = field(default_factory=dict)
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)


class Backfill:
    """`kit.backfill`: call it and wait, or await `aio`, which takes the same arguments.

    Parameters
    ----------
    history, link, store
        Of one kit.
    queue : Path
        The file of the queue of jobs.
    """

    def __init__(self, history: History, link: Link, store: Store, queue: Path) -> None:
        self._history, self._link, self._store, self._queue = history, link, store, queue
        self._loop = link.loop

    def __call__(  # noqa: PLR0913 - which bars, as in `History.bars`, and how
        self,
        symbols: ContractLike | Sequence[ContractLike] | pd.DataFrame,
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        *,
        days: int | None = None,
        what_to_show: WhatToShow | None = None,
        use_rth: bool = True,
        priority: int = 0,
        dry_run: bool = False,
        progress: bool = True,
    ) -> BackfillReport | pd.DataFrame:
        """Fetch what the store lacks of several instruments.

        Parameters
        ----------
        symbols : str, Contract, sequence of them, or DataFrame
            The instruments; or holes, one a row, with the columns ``instrument bar_size start
            end`` and perhaps ``what_to_show use_rth``: as `Store.holes` and `History.gaps` return
            them.
        bar_size, start, end, days, what_to_show, use_rth
            As in `History.bars`; not with a frame, which says all that.
        priority : int
            Higher goes first, in all processes that share the queue.
        dry_run : bool
            Return the plan; ask for no bars.
        progress : bool
            Show the plan and a progress bar; plain text in an unattended run.

        Returns
        -------
        BackfillReport
            Its text says "Nothing missing" when there was nothing to do. With `dry_run` the plan
            as a frame, see `History.plan`.

        Raises
        ------
        BackfillIncompleteError
            Some series failed; the others are stored, and the report is in the error.
        NotConnectedError, StoreError, JobQueueError
            Nothing more can be done; what came until then is stored.

        Notes
        -----
        Newest sessions first, one request of each series in turn. A broken connection is waited
        for. Ctrl-C ends it after the requests under way are cancelled; run it again to go on.
        """
        query: Query = {"days": days, "what_to_show": what_to_show, "use_rth": use_rth}
        if dry_run and not isinstance(symbols, pd.DataFrame):
            return self._history.plan(symbols, bar_size, start, end, **query)
        plan = self._loop.run(self._plan, self._wanted(symbols, bar_size, start, end, query))
        if dry_run:
            return plan.frame
        if progress:
            show_plan(plan)
        with Display(plan.board, shown=progress) as display:
            self._loop.run(self._work, plan, display, priority)
        return report_of(plan)

    async def aio(
        self,
        symbols: ContractLike | Sequence[ContractLike] | pd.DataFrame,
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        *,
        priority: int = 0,
        dry_run: bool = False,
        progress: bool = True,
        **query: Unpack[Query],
    ) -> BackfillReport | pd.DataFrame:
        """Do as the call does; await it from any loop."""
        if dry_run and not isinstance(symbols, pd.DataFrame):
            return await self._history.plan.aio(symbols, bar_size, start, end, **query)
        wanted = self._wanted(symbols, bar_size, start, end, query)
        plan = await self._loop.arun(self._plan, wanted)
        if dry_run:
            return plan.frame
        if progress:
            show_plan(plan)
        with Display(plan.board, shown=progress) as display:
            await self._loop.arun(self._work, plan, display, priority)
        return report_of(plan)

    # --- what is wanted --------------------------------------------------------------------------

    def _wanted(
        self,
        symbols: ContractLike | Sequence[ContractLike] | pd.DataFrame,
        bar_size: str,
        start: When,
        end: When,
        query: Query,
    ) -> list[Wanted]:
        prepare = self._history.prepare.aio
        if isinstance(symbols, pd.DataFrame):
            return [
                Wanted(
                    str(key[0]),
                    partial(prepare, key[0], key[1], spans[0][0], _last(spans), **_query(key)),
                    spans,
                )
                for key, spans in by_series(symbols).items()
            ]
        find_bar_size(bar_size)  # wrong for all of them: said once, before anything is looked up
        several = [symbols] if isinstance(symbols, str | Contract) else list(dict.fromkeys(symbols))
        return [
            Wanted(_name(each), partial(prepare, each, bar_size, start, end, **query))
            for each in several
        ]

    async def _plan(self, wanted: Sequence[Wanted]) -> Plan:
        """Look up every series and its holes; one that cannot be planned is a failure by itself."""
        plan, turns = Plan(), asyncio.Semaphore(PLAN_AT_ONCE)
        handler = BarsHandler(self._history, self._link, self._store)

        async def one(each: Wanted) -> Progress:
            progress = Progress(each.name)
            async with turns:
                try:
                    series: Series = await handler.connected(each.prepare)
                    progress.series = _within(series, each.spans)
                except ENDS_ALL:
                    raise
                except IbkitError as error:
                    progress.failures.append(Failure("", "", judge(error), str(error)))
            return progress

        for progress in await _all(one(each) for each in wanted):
            series = progress.series
            group = group_of(series) if series is not None else ""
            if series is not None and group not in plan.series:
                plan.series[group] = series
                progress.requests = len(series.requests)
            plan.board.add(progress, group)
        plan.frame = await self._history.price.aio(list(plan.series.values()))
        return plan

    # --- the work --------------------------------------------------------------------------------

    async def _work(self, plan: Plan, display: Display, priority: int = 0) -> None:
        """Put the jobs into the queue, and do them together with all who want them."""
        if not plan.board.total:
            return
        queue = await asyncio.to_thread(Queue, self._queue, name="backfill")
        try:
            await self._work_on(queue, plan, display, priority)
        finally:
            await asyncio.shield(asyncio.to_thread(queue.close))

    async def _work_on(self, queue: Queue, plan: Plan, display: Display, priority: int) -> None:
        run, board = secrets.token_hex(8), plan.board
        usual, small = f"{run} usual", f"{run} small"
        lanes = {usual: AT_ONCE, small: AT_ONCE_SMALL}
        await asyncio.to_thread(_begin, queue, lanes)
        for group, series in plan.series.items():
            batch = small if series.bar_size.seconds <= SMALL_S else usual
            make = partial(merge, series, priority=priority)
            added, shared = await asyncio.to_thread(queue.merge, group, make, batch=batch)
            board.groups[group].requests = len(added) + len(shared)

        def waiting(state: str) -> None:
            board.note = f"waiting for the connection ({state})" if state else ""

        handler = BarsHandler(self._history, self._link, self._store, plan.series, waiting)
        share = Share(queue)
        workers = [
            Worker(
                queue,
                {KIND: handler},
                batch=batch,
                slots=partial(share.of, most),
                fatal=ENDS_ALL,
                ended=board.ours,
            )
            for batch, most in lanes.items()
        ]
        watching = [
            asyncio.ensure_future(self._watch(queue, list(lanes), board, share)),
            asyncio.ensure_future(_draw(display)),
        ]
        try:
            await _all(worker.run() for worker in workers)
            await _look(queue, list(lanes), board, {})
        finally:
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)
            with suppress(JobQueueError):  # closing it forgets the batches, too
                for batch in lanes:
                    await asyncio.shield(asyncio.to_thread(queue.finish, batch))

    async def _watch(
        self, queue: Queue, batches: Sequence[str], board: Board, share: Share
    ) -> None:
        """Count what others did, and how many we are."""
        since: dict[str, int] = {}
        while True:
            await asyncio.to_thread(share.count)
            await asyncio.sleep(LOOK_S)
            await _look(queue, batches, board, since)


class Share:
    """Our part of what may be under way at once: the same for each backfill at work."""

    def __init__(self, queue: Queue) -> None:
        self._queue, self._workers = queue, 1

    def count(self) -> None:
        """See how many share. Blocking."""
        self._workers = max(1, self._queue.workers())

    def of(self, most: int) -> int:
        """Return our part of `most`."""
        return max(1, most // self._workers)


def show_plan(plan: Plan) -> None:
    """Print what will be asked, and what it costs."""
    for line in price_lines(plan.frame):
        text_tqdm.write(line)


def price_lines(plan: pd.DataFrame) -> list[str]:
    """Return what a plan asks for and costs, for people; nothing if nothing is missing."""
    frame, price = plan[plan["requests"] > 0], plan.attrs
    if frame.empty:
        return []
    shown = frame[list(PRICED)].assign(
        start=frame["start"].dt.date,
        end=frame["end"].dt.date,
        rows=[f"{each:,}" for each in frame["rows"]],
        time=[time_words(60 * each) for each in frame["minutes"]],
    )
    lines = [shown.head(SHOWN).to_string(index=False)]
    if len(shown) > SHOWN:
        lines.append(f"and {len(shown) - SHOWN} more")
    requests = f"{price['requests']:,} request" + ("s" if price["requests"] != 1 else "")
    size = f"{price['bytes'] / 1e6:,.1f}" if price["bytes"] >= 1e5 else "<0.1"
    lines.append(
        f"{requests} for {len(shown)} series, {price['rows']:,} bars and "
        f"{size} MB at most; about {time_words(60 * price['minutes'])} at "
        f"IB's pace, until {price['done_at']:%F %H:%M} UTC"
    )
    return lines


async def work_off(history: History, link: Link, store: Store, path: Path) -> tuple[int, int]:
    """Do the jobs of kind ``bars`` that wait, whoever put them there; return how many, and failed.

    For a worker process: `ibkit jobs work`.
    """
    queue = await asyncio.to_thread(Queue, path, name="worker")
    share, counts = Share(queue), {"done": 0, "dead": 0, "waiting": 0}
    batch = f"{secrets.token_hex(8)} worker"  # stands for us when shares are counted
    await asyncio.to_thread(queue.begin, batch)
    await asyncio.to_thread(share.count)

    def count(_: Job, state: str, __: object) -> None:
        counts[state] += 1

    worker = Worker(
        queue,
        {KIND: BarsHandler(history, link, store)},
        slots=partial(share.of, AT_ONCE_SMALL),
        fatal=ENDS_ALL,
        ended=count,
    )
    try:
        await worker.run()
    finally:
        await asyncio.shield(asyncio.to_thread(queue.close))
    return counts["done"], counts["dead"]


def report_of(plan: Plan) -> BackfillReport:
    """Return the report; raise if it is not complete."""
    report = make_report(plan.board.all)
    if not report.complete:
        failed = [one for one in plan.board.all if one.failures]
        raise BackfillIncompleteError(
            [(one.name, len(one.failures), one.failures[0].reason) for one in failed], report
        )
    return report


Key = tuple[str, str, str | None, bool]


def by_series(holes: pd.DataFrame) -> dict[Key, tuple[Span, ...]]:
    """Return the holes of a frame by series, each ascending.

    Of a frame of `History.gaps` the days that miss something.

    Raises
    ------
    ValueError
        A column is missing, or an instant has no zone.
    """
    if absent := [name for name in HOLE if name not in holes.columns]:
        raise ValueError(
            f"a frame of holes has the columns {', '.join(HOLE)}; {', '.join(absent)} is missing"
        )
    if "missing" in holes.columns:
        holes = holes[holes["missing"] > 0]
    found: dict[Key, list[Span]] = {}
    for row in holes.to_dict("records"):
        start, end = pd.Timestamp(row["start"]), pd.Timestamp(row["end"])
        if start.tzinfo is None or end.tzinfo is None:
            raise ValueError(f"a hole of {row['instrument']} has a start or end without a zone")
        what = row.get("what_to_show")
        key = row["instrument"], row["bar_size"], what or None, bool(row.get("use_rth", True))
        found.setdefault(key, []).append((start.to_pydatetime(), end.to_pydatetime()))
    return {key: tuple(sorted(spans)) for key, spans in found.items()}


def _query(key: Key) -> dict[str, Any]:
    return {"what_to_show": key[2], "use_rth": key[3]}


def _last(spans: Sequence[Span]) -> Any:
    return max(end for _, end in spans)


def _name(wanted: ContractLike) -> str:
    return wanted if isinstance(wanted, str) else naming.shorthand(wanted)


def _within(series: Series, spans: Sequence[Span]) -> Series:
    """Return `series` with only the requests that touch one of `spans`, if there are any."""
    if not spans:
        return series
    kept = tuple(
        request
        for request in series.requests
        if any(start < request.end and end > request.start for start, end in spans)
    )
    return replace(series, requests=kept)


def _begin(queue: Queue, batches: Iterable[str]) -> None:
    for batch in batches:
        queue.begin(batch)


async def _look(queue: Queue, batches: Sequence[str], board: Board, since: dict[str, int]) -> None:
    for batch in batches:
        jobs, last = await asyncio.to_thread(queue.over, batch, since=since.get(batch, 0))
        since[batch] = last
        board.over(jobs)


async def _draw(display: Display) -> None:
    """Keep the bars moving; drawing may block, so a thread does it."""
    while True:
        await asyncio.sleep(REFRESH_S)
        await asyncio.to_thread(display.refresh)


async def _all(work: Iterable[Any]) -> list[Any]:
    """Return the results of all; the first that fails stops the others, and is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait(tasks)
        raise
