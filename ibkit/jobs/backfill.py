"""Fetch what the store lacks: plan, show the price, fetch, report.

Every answer is in the store before the next batch goes out, so Ctrl-C loses nothing and a second
run asks only for what is missing. Not here: what is missing and how to ask (`ibkit.history`).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Unpack

import pandas as pd
from ib_async import Contract
from tqdm.auto import tqdm as auto_tqdm
from tqdm.std import tqdm as text_tqdm

from ibkit import naming
from ibkit.errors import (
    AmbiguousContractError,
    BackfillIncompleteError,
    RequestRefusedError,
    RequestTimeoutError,
    ShorthandError,
)
from ibkit.history.service import History, Query, Series, plan_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.plan import Request
    from ibkit.history.spans import When

# requests that are under way at once; IB allows 50 for all programs of a login
AT_ONCE: Final = 4
# what concerns one series only, so that the others go on
OF_ONE_SERIES: Final = (
    RequestRefusedError,
    RequestTimeoutError,
    AmbiguousContractError,
    ShorthandError,
)
COLUMNS: Final = {
    "instrument": "object",
    "what_to_show": "object",
    "requests": "int64",
    "fetched": "int64",
    "rows_new": "int64",
    "empty": "int64",
    "failed": "int64",
    "reason": "object",
}


@dataclass
class Progress:
    """How far one series has come."""

    name: str
    series: Series | None = None
    fetched: int = 0
    rows_new: int = 0
    empty: int = 0
    reasons: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return the report's row."""
        return {
            "instrument": self.name,
            "what_to_show": self.series.what_to_show if self.series else "",
            "requests": len(self.series.requests) if self.series else 0,
            "fetched": self.fetched,
            "rows_new": self.rows_new,
            "empty": self.empty,
            "failed": len(self.reasons),
            "reason": self.reasons[0] if self.reasons else "",
        }


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill did.

    Attributes
    ----------
    frame : DataFrame
        One row a series: ``instrument what_to_show requests fetched rows_new empty failed
        reason``; `empty` are answers that IB has nothing there.
    bar_size : str
        Of the bars.
    """

    frame: pd.DataFrame
    bar_size: str

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return int(self.frame["fetched"].sum())

    @property
    def rows_new(self) -> int:
        """How many bars are new in the store."""
        return int(self.frame["rows_new"].sum())

    @property
    def complete(self) -> bool:
        """Whether nothing failed."""
        return not self.frame["failed"].any()

    def __str__(self) -> str:
        count = len(self.frame)
        if self.complete and not self.requests:
            return f"Nothing missing: all {self.bar_size} bars of {count} series are stored."
        words = f"{self.rows_new:,} new {self.bar_size} bars of {count} series in {self.requests}"
        failed = int((self.frame["failed"] > 0).sum())
        return f"{words} requests" + (f"; {failed} series incomplete." if failed else ".")

    def _repr_html_(self) -> str:
        return f"<p>{self}</p>{self.frame.to_html(index=False)}"


def backfill(
    history: History,
    symbols: ContractLike | Sequence[ContractLike],
    bar_size: str = "1 min",
    start: When = None,
    end: When = None,
    *,
    progress: bool = True,
    **query: Unpack[Query],
) -> BackfillReport:
    """Fetch what the store lacks of several instruments.

    Parameters
    ----------
    history : History
        Who knows what is missing, and fetches it.
    symbols : str, Contract or sequence of them
        The instruments.
    bar_size, start, end
        As in `History.bars`.
    progress : bool
        Show the plan and a progress bar; plain text in an unattended run.
    **query
        ``days``, ``what_to_show``, ``use_rth``, as in `History.bars`.

    Returns
    -------
    BackfillReport
        Its text says "Nothing missing" when there was nothing to do.

    Raises
    ------
    BackfillIncompleteError
        Some series failed; the others are stored, and the report is in the error.
    NotConnectedError, StoreError
        Nothing more can be done; what came until then is stored.

    Notes
    -----
    Newest sessions first, one request of each series in turn. Ctrl-C ends it after the requests
    under way are cancelled; run it again to go on.
    """
    several = [symbols] if isinstance(symbols, str | Contract) else list(dict.fromkeys(symbols))
    jobs = [
        _prepare(each, partial(history.prepare, each, bar_size, start, end, **query))
        for each in several
    ]
    if progress:
        _show_plan([job.series for job in jobs if job.series is not None])
    _fetch(history, jobs, progress=progress)
    frame = pd.DataFrame([job.row() for job in jobs], columns=list(COLUMNS)).astype(COLUMNS)
    report = BackfillReport(frame, bar_size)
    if not report.complete:
        raise BackfillIncompleteError(
            [(job.name, len(job.reasons), job.reasons[0]) for job in jobs if job.reasons], report
        )
    return report


def _prepare(wanted: ContractLike, prepare: Callable[[], Series]) -> Progress:
    """Plan one series; one that cannot be planned is a failure of its own."""
    job = Progress(wanted if isinstance(wanted, str) else naming.shorthand(wanted))
    try:
        job.series = prepare()
    except OF_ONE_SERIES as error:
        job.reasons.append(str(error))
    return job


def _show_plan(all_series: Sequence[Series]) -> None:
    frame = plan_frame(all_series)
    frame = frame[frame["requests"] > 0]
    if len(frame):
        shown = frame.assign(start=frame["start"].dt.date, end=frame["end"].dt.date)
        text_tqdm.write(shown.to_string(index=False))
        total, seconds = int(frame["requests"].sum()), float(frame["seconds"].sum())
        text_tqdm.write(f"{total} requests, about {seconds:.0f} s at IB's pace")


def _fetch(history: History, jobs: Sequence[Progress], *, progress: bool) -> None:
    """Fetch batch by batch, each series in turn; the bar moves in the caller's thread."""
    work = _round_robin(jobs)
    total = sum(len(job.series.requests) for job in jobs if job.series)
    with _bar(total, shown=progress and total > 0) as bar:
        while batch := list(islice(work, AT_ONCE)):
            outcomes = history.fill_many([(_series(job), request) for job, request in batch])
            for (job, _), outcome in zip(batch, outcomes, strict=True):
                _count(job, outcome)
            bar.set_postfix_str(batch[-1][0].name, refresh=False)
            bar.update(len(batch))


def _round_robin(jobs: Iterable[Progress]) -> Iterator[tuple[Progress, Request]]:
    """Yield one request of each series in turn; a series that IB refuses gives no more."""
    queues = [(job, iter(job.series.requests)) for job in jobs if job.series]
    while queues:
        for job, requests in tuple(queues):
            request = None if job.reasons else next(requests, None)
            if request is None:
                queues = [entry for entry in queues if entry[0] is not job]
            else:
                yield job, request


def _count(job: Progress, outcome: int | Exception) -> None:
    if isinstance(outcome, OF_ONE_SERIES):
        job.reasons.append(str(outcome))
        return
    if isinstance(outcome, Exception):
        raise outcome
    job.fetched += 1
    job.rows_new += outcome
    job.empty += outcome == 0


def _series(job: Progress) -> Series:
    assert job.series is not None
    return job.series


def _bar(total: int, *, shown: bool) -> Any:
    """Return a progress bar: of plain text where nobody looks on (papermill sets IBKIT_RUN)."""
    kind = text_tqdm if os.environ.get("IBKIT_RUN") else auto_tqdm
    return kind(
        total=total, unit="request", disable=not shown, file=sys.stderr, desc="backfill", leave=True
    )
