"""How good the stored rows are: gaps, stale tails, spikes, dead volume, sizes that contradict.

Measures, never changes. Pure but for the reading of tables. What a session is comes from the
caller; without it, a session ends where bars pause for long, and that one is missing as a whole is
seen where the calendar of the exchange is known (`calendars`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ibkit.schema import BAR_SIZES
from ibkit.store import calendars, coverage, files, spans
from ibkit.store.journal import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from ibkit.schema import BarSize
    from ibkit.store.spans import Span
    from ibkit.store.table import Table

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    #: gives the sessions of an instrument as (start, end), or None where they are not known
    Sessions = Callable[[str], Sequence[tuple[datetime, datetime]] | None]
    #: the same of a span of time, as objects with ``start`` and ``end``; see `ibkit.store.timed`
    KnownSessions = Callable[..., Any]

DAY_US: Final = 86_400_000_000
PAUSE_US: Final = 7_200_000_000  # bars that pause for two hours have ended a session
SPIKE: Final = 15.0  # a jump of so many usual moves, taken back by the next bar
USUAL: Final = 1.4826  # from the median deviation to a standard deviation
MONEY: Final = 1e-6  # by how much, relatively, two sizes may differ
METRICS: Final = (
    "gap_share",
    "longest_gap",
    "stale_days",
    "outliers",
    "zero_volume_run",
    "wap_outside",
    "disagreements",
)
TYPES: Final = {
    "dataset": "str",
    "instrument": "str",
    "what_to_show": "str",
    "use_rth": "object",
    "rows": "int64",
    "first": "datetime64[us, UTC]",
    "last": "datetime64[us, UTC]",
    "gaps": "int64",
    "missing": "int64",
    "gap_share": "float64",
    "longest_gap": "int64",
    "stale_days": "float64",
    "outliers": "int64",
    "zero_volume_run": "int64",
    "wap_outside": "int64",
    "disagreements": "int64",
}


@dataclass(frozen=True, slots=True)
class Breach:
    """A series is worse than its dataset's limit allows."""

    ts: datetime
    dataset: str
    instrument: str
    what_to_show: str
    use_rth: bool | None
    metric: str
    value: float
    limit: float

    def __str__(self) -> str:
        series = f"{self.what_to_show}{'' if self.use_rth in (True, None) else ', all hours'}"
        return (
            f"{self.dataset} {self.instrument} {series}: {self.metric} is {self.value:g}, "
            f"the limit is {self.limit:g}"
        )


def frame(
    tables: Mapping[str, Table],
    names: Sequence[str],
    *,
    now: datetime,
    sessions: Sessions | None = None,
    calendar: KnownSessions | None = None,
) -> pd.DataFrame:
    """Return one row a series of the datasets called `names`, with its metrics.

    `sessions` is the word of the caller; without it, `calendar` is asked.
    """
    rows = [
        _measured(tables, row, now, sessions, calendar)
        for row in coverage.frame([tables[name] for name in names]).to_dict("records")
        if row["rows"]
    ]
    return pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)


def breaches(
    measured: pd.DataFrame, limits: Mapping[str, Mapping[str, float]], *, now: datetime
) -> list[Breach]:
    """Return where a metric is above the limit of its dataset."""
    return [
        Breach(
            now,
            row["dataset"],
            row["instrument"],
            row["what_to_show"],
            row["use_rth"],
            metric,
            float(row[metric]),
            float(limit),
        )
        for row in measured.to_dict("records")
        for metric, limit in limits.get(row["dataset"], {}).items()
        if row[metric] > limit
    ]


def _measured(
    tables: Mapping[str, Table],
    row: Mapping[Any, Any],
    now: datetime,
    sessions: Sessions | None,
    calendar: KnownSessions | None,
) -> dict[str, Any]:
    table, slug = tables[row["dataset"]], row["instrument"]
    found = {name: row.get(name) for name in list(TYPES)[:7]}
    found["stale_days"] = (now - row["last"]).total_seconds() / 86_400
    size = next((one for one in BAR_SIZES.values() if one.dataset == table.dataset.name), None)
    empty = dict.fromkeys(("gaps", "missing", "longest_gap", "outliers"), 0)
    empty |= {"gap_share": 0, "zero_volume_run": 0, "wap_outside": 0, "disagreements": 0}
    if size is None:
        return {**empty, **found}
    series = tuple(row[name] for name in table.dataset.series)
    bars = _Bars.of(table, slug, series)
    known = sessions(slug) if sessions else None
    if known is None and calendar is not None:
        known = _held(calendar, slug, row, size)
    return {
        **empty,
        **found,
        **_gaps(bars.ts, size, _confirmed(table, slug, series), known, slug),
        "outliers": spikes(bars.close, bars.ts, size),
        "zero_volume_run": longest_run(bars.volume == 0) if series[0] == "TRADES" else 0,
        "wap_outside": int(((bars.wap < bars.low) | (bars.wap > bars.high)).sum()),
        "disagreements": _disagreements(tables, slug, series, size, bars),
    }


def _held(
    calendar: KnownSessions, slug: str, row: Mapping[Any, Any], size: BarSize
) -> list[tuple[datetime, datetime]] | None:
    """Return the sessions from the first bar to the last; how old that is, `stale_days` says."""
    end = row["last"] + timedelta(seconds=size.seconds)
    found = calendar(slug, micros(row["first"]), micros(end), use_rth=bool(row["use_rth"]))
    if found is None:
        return None
    return [(each.start, min(each.end, end)) for each in found if each.start < end]


@dataclass(frozen=True, slots=True)
class _Bars:
    ts: Ints
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    wap: Floats

    @staticmethod
    def of(table: Table, slug: str, series: tuple[Any, ...]) -> _Bars:
        names = ["ts", "high", "low", "close", "volume", "wap"]
        rows = table.read(slug, None, None, columns=names, series=series)
        return _Bars(files.microseconds(rows["ts"]), *(rows[name].to_numpy() for name in names[1:]))


def _confirmed(table: Table, slug: str, series: tuple[Any, ...]) -> list[Span]:
    """Return when there is known to be nothing."""
    wanted = dict(zip(table.dataset.series, series, strict=True))
    return [
        span
        for commit in table.log(slug)
        if commit.operation == "confirm_empty" and commit.series == wanted
        if (span := commit.covers())
    ]


def _gaps(
    ts: Ints,
    size: BarSize,
    confirmed: Sequence[Span],
    sessions: Sequence[tuple[datetime, datetime]] | None,
    slug: str,
) -> dict[str, float]:
    """Return how many gaps there are, how many bars they miss, and the longest, in bars."""
    step = size.seconds * 1_000_000
    if sessions is None:
        holes = [*_holes(ts, size), *_skipped(ts, size, slug)]
    else:
        holes = [*_missed(ts, step, sessions)]
    left = [end - start for start, end in spans.minus(holes, confirmed)]
    lengths = [max(1, round(length / step)) for length in left]
    missing = sum(lengths)
    return {
        "gaps": len(lengths),
        "missing": missing,
        "gap_share": missing / (missing + len(ts)),
        "longest_gap": max(lengths, default=0),
    }


def _holes(ts: Ints, size: BarSize) -> list[Span]:
    """Return the spans without a bar between bars of one session, or between weekdays."""
    step = size.seconds * 1_000_000
    lengths = np.diff(ts)
    if size.intraday:
        at = np.flatnonzero((lengths > step) & (lengths < max(PAUSE_US, 2 * step)))
    else:  # a weekend with a holiday on either side is five days
        at = np.flatnonzero(lengths > step + 4 * DAY_US)
    return [(int(ts[i]) + step, int(ts[i + 1])) for i in at.tolist()]


def _skipped(ts: Ints, size: BarSize, slug: str) -> list[Span]:
    """Return the sessions that the exchange held, between two bars, and that have none."""
    if not size.intraday:
        return []
    held = calendars.sessions(slug, int(ts[0]), int(ts[-1]))
    return [one for one in held if np.searchsorted(ts, one[0]) == np.searchsorted(ts, one[1])]


def _missed(ts: Ints, step: int, sessions: Sequence[tuple[datetime, datetime]]) -> Iterator[Span]:
    """Yield the spans of sessions, from the first bar to the last, that have no bar."""
    for start, end in sessions:
        opening, closing = micros(start), micros(end)
        if closing <= ts[0] or opening > ts[-1]:
            continue
        first, after = np.searchsorted(ts, [opening, closing]).tolist()
        bars = [(int(one), int(one) + step) for one in ts[first:after]]
        yield from spans.minus([(max(opening, int(ts[0])), closing)], bars)


def spikes(close: Floats, ts: Ints, size: BarSize) -> int:
    """Return how often a price jumped and the next bar of the session took it back."""
    if len(close) < 4 or (close <= 0).any():
        return 0
    moves = np.diff(np.log(close))
    usual = USUAL * float(np.median(np.abs(moves - np.median(moves))))
    usual = max(usual, 1e-5)
    big = np.abs(moves) > SPIKE * usual
    back = np.abs(moves[:-1] + moves[1:]) < 0.5 * np.abs(moves[:-1])
    together = np.ones(len(moves), bool)
    if size.intraday:
        together = np.diff(ts) < PAUSE_US
    return int((big[:-1] & big[1:] & back & together[:-1] & together[1:]).sum())


def longest_run(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    """Return the length of the longest run of true values.

    >>> longest_run(np.array([True, False, True, True]))
    2
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _disagreements(
    tables: Mapping[str, Table], slug: str, series: tuple[Any, ...], size: BarSize, bars: _Bars
) -> int:
    """Return how many bars do not hold the smaller bars that are stored of their time."""
    smaller = [one for one in BAR_SIZES.values() if one.seconds < size.seconds]
    for other in reversed(smaller):  # the next smaller one that is stored
        table = tables[other.dataset]
        if not table.has(slug):
            continue
        small = _Bars.of(table, slug, series)
        if len(small.ts):
            return contradictions(bars, small, size)
    return 0


def contradictions(large: _Bars, small: _Bars, size: BarSize) -> int:
    """Return how many large bars are left by a small bar of their time, upwards or downwards."""
    ends = np.append(large.ts[1:], np.iinfo(np.int64).max)
    ends = np.minimum(ends, large.ts + size.seconds * 1_000_000)
    at = np.searchsorted(large.ts, small.ts, "right") - 1
    inside = (at >= 0) & (small.ts < ends[at])
    at = at[inside]
    slack = MONEY * np.abs(large.high[at])
    above = small.high[inside] > large.high[at] + slack
    below = small.low[inside] < large.low[at] - slack
    return len(np.unique(at[above | below]))
