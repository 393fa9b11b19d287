"""What a backfill did, as a frame and in words. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.jobs.board import Progress

COLUMNS: Final = {
    "instrument": "object",
    "bar_size": "object",
    "what_to_show": "object",
    "requests": "int64",
    "fetched": "int64",
    "elsewhere": "int64",
    "rows_new": "int64",
    "empty": "int64",
    "failed": "int64",
    "reason": "object",
}
FAILURES: Final = ("instrument", "bar_size", "what_to_show", "start", "end", "kind", "reason")


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill did.

    Attributes
    ----------
    frame : DataFrame
        One row a series: ``instrument bar_size what_to_show requests fetched elsewhere rows_new
        empty failed reason``; `elsewhere` were answered to another process, `empty` are answers
        that IB has nothing there.
    bar_size : str
        Of the bars.
    failures : DataFrame
        One row a request without a final answer: ``instrument bar_size what_to_show start end kind
        reason``; `kind` as of an `Outcome`. They are asked again on the next run.
    """

    frame: pd.DataFrame
    bar_size: str
    failures: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(FAILURES)))

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
        count, elsewhere = len(self.frame), int(self.frame["elsewhere"].sum())
        if not count:
            return "Nothing to do: no series was named."
        if self.complete and not self.requests and not elsewhere:
            return f"Nothing missing: all {self.bar_size} bars of {count} series are stored."
        words = f"{self.rows_new:,} new {self.bar_size} bars of {count} series in {self.requests}"
        words += " requests"
        if elsewhere:
            words += f", and {elsewhere} that another process asked"
        failed = int((self.frame["failed"] > 0).sum())
        return words + (f"; {failed} series incomplete." if failed else ".")

    def _repr_html_(self) -> str:
        shown = self.frame.to_html(index=False)
        if len(self.failures):
            shown += f"<p>Not answered</p>{self.failures.to_html(index=False)}"
        return f"<p>{self}</p>{shown}"


def make_report(progress: Sequence[Progress]) -> BackfillReport:
    """Return the report of several series."""
    frame = pd.DataFrame([_row(one) for one in progress], columns=list(COLUMNS)).astype(COLUMNS)
    sizes = dict.fromkeys(one.series.bar_size.ib for one in progress if one.series is not None)
    failures = [
        (one.name, *_what(one), each.start, each.end, each.kind, each.reason)
        for one in progress
        for each in one.failures
    ]
    failed = pd.DataFrame(failures, columns=list(FAILURES))
    for name in ("start", "end"):
        failed[name] = pd.to_datetime(failed[name], utc=True).astype("datetime64[us, UTC]")
    return BackfillReport(frame, ", ".join(sizes), failed)


def _row(one: Progress) -> dict[str, Any]:
    size, what = _what(one)
    return {
        "instrument": one.name,
        "bar_size": size,
        "what_to_show": what,
        "requests": one.requests,
        "fetched": one.fetched,
        "elsewhere": one.elsewhere,
        "rows_new": one.rows_new,
        "empty": one.empty,
        "failed": len(one.failures),
        "reason": one.failures[0].reason if one.failures else "",
    }


def _what(one: Progress) -> tuple[str, str]:
    series = one.series
    return (series.bar_size.ib, series.what_to_show) if series is not None else ("", "")
