"""What closing holes costs: requests, rows, bytes, and minutes under IB's rules. Pure.

The hard rules are simulated forward from what all processes have asked lately, with the ledger's
own arithmetic; for what they do not bind, the time of an answer counts, as it was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ibkit import naming
from ibkit.connection.asks import HISTORY, HOT, OPEN, SAME, ask_for
from ibkit.connection.budget import Ask, Books, free_at
from ibkit.connection.pacing import LIMITS, MESSAGES, RESERVE, Limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ibkit.history.plan import Request
    from ibkit.history.series import Series
    from ibkit.schema import BarSize

SMALL_S: Final = 30
# of an answer, where nobody has measured one; and how many requests a backfill has open at once
ANSWER_S: Final = 1.0
AT_ONCE: Final = 32
# so many asks are simulated one by one; beyond, the rate of the tightest rule goes on
SIMULATED: Final = 240
# of a stored bar, measured: of trades, with their volumes; of prices only; of a day or more, whose
# files are small
BYTES_TRADES: Final = 17.0
BYTES_QUOTES: Final = 7.0
BYTES_LONG: Final = 40.0
KINDS: Final[dict[str, str]] = {
    "instrument": "object",
    "bar_size": "object",
    "what_to_show": "object",
    "use_rth": "bool",
    "start": "datetime64[us, UTC]",
    "end": "datetime64[us, UTC]",
    "sessions": "int64",
    "holes": "int64",
    "requests": "int64",
    "rows": "int64",
    "bytes": "int64",
    "minutes": "float64",
    "done_at": "datetime64[us, UTC]",
    "reason": "object",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What the rules leave, at one instant.

    Attributes
    ----------
    books : Books
        What all processes have sent lately and hold now.
    at : float
        The instant on the books' clock.
    limits : tuple of Limit
        The rules.
    answer_s : mapping of str to float
        How long an answer takes, by bar size.
    """

    books: Books = field(default_factory=Books)
    at: float = 0.0
    limits: tuple[Limit, ...] = LIMITS
    answer_s: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, work: Iterable[tuple[Series, Request]]) -> float:
        """Return how long the requests take, sent in this order by one program alone."""
        small, beyond, slow = list[Ask](), 0, 0.0
        for series, request in work:
            if series.bar_size.seconds > SMALL_S:
                pass
            elif len(small) < SIMULATED:
                small.append(_ask(series, request))
            else:
                beyond += 2 if series.what_to_show == "BID_ASK" else 1
            slow += self._answer_s(series.bar_size)
        return max(self.wait(small, beyond), slow)

    def wait(self, asks: Sequence[Ask], beyond: int = 0) -> float:
        """Return when the last of `asks` may go under the windows, in seconds from now.

        `beyond` is what comes after them, in places of the ten-minute window.
        """
        rules = {limit.what: limit for limit in self.limits if limit.what in {SAME, HOT, HISTORY}}
        books = {key: list(times) for key, times in self.books.sent.items() if key[0] in rules}
        now = self.at
        for ask in asks:
            charges = [charge for charge in ask.charges if charge.rule in rules]
            for rule, key, cost in charges:
                now = max(now, free_at(books.get((rule, key), ()), rules[rule], cost))
            for rule, key, cost in charges:
                page = books.setdefault((rule, key), [])
                page.insert(0, (now, cost))
                del page[rules[rule].most :]
        long = rules.get(HISTORY)
        if long is None or not beyond:
            return now - self.at
        # a full window repeats itself: whoever comes takes the place of the one `most` before
        page = books.get((HISTORY, ""), [])
        places = [when for when, cost in reversed(page) for _ in range(cost)]
        if len(places) < long.most:
            return now - self.at + beyond * long.span_s / long.most
        rounds, place = divmod(beyond - 1, long.most)
        last = places[-long.most :][place] + (rounds + 1) * long.span_s
        return max(now, last) - self.at

    def _answer_s(self, bar_size: BarSize) -> float:
        """Return what one request adds where nothing but the answers takes time."""
        by_name = {limit.what: limit for limit in self.limits}
        most = (
            by_name[OPEN].most - self.books.held.get((OPEN, ""), 0) if OPEN in by_name else AT_ONCE
        )
        answer = self.answer_s.get(bar_size.ib, ANSWER_S) / max(1, min(AT_ONCE, most))
        gate = by_name.get(MESSAGES.what, MESSAGES)
        return max(answer, gate.window_s / max(1, gate.most - RESERVE))


def seconds_for(requests: int, bar_size: BarSize) -> float:
    """Return how long so many requests take at the rate that the rules allow for long."""
    if bar_size.seconds <= SMALL_S:
        return requests * 10.0  # 60 in ten minutes
    return requests * ANSWER_S / AT_ONCE


def time_words(seconds: float) -> str:
    """Return how long something takes, for people.

    >>> [time_words(each) for each in (0.0, 0.3, 42.4, 400, 9000)]
    ['no time', '<1 s', '42 s', '7 min', '2 h 30 min']
    """
    if seconds < 1:
        return "<1 s" if seconds > 0 else "no time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def plan_frame(all_series: Sequence[Series], budget: Budget | None = None) -> pd.DataFrame:
    """Return one row a series: what is missing, and what closing it costs; see `History.plan`."""
    return frame_of([row_of(each, budget or Budget()) for each in all_series])


def row_of(series: Series, budget: Budget) -> dict[str, Any]:
    """Return the row of one series, priced as if it were alone."""
    asked = [request for request in series.requests if not request.known]
    rows = rows_of(series, asked)
    return {
        "instrument": naming.shorthand(series.contract),
        "bar_size": series.bar_size.ib,
        "what_to_show": series.what_to_show,
        "use_rth": series.use_rth,
        "start": series.span[0],
        "end": series.span[1],
        "sessions": len(series.sessions),
        "holes": len(series.holes) if series.requests else 0,
        "requests": len(asked),
        "rows": rows,
        "bytes": round(rows * bytes_a_row(series)),
        "minutes": budget.seconds((series, request) for request in asked) / 60,
        "reason": next((each.known for each in series.requests if each.known), ""),
    }


def frame_of(
    rows: Sequence[Mapping[str, Any]], now: datetime | None = None, minutes: float | None = None
) -> pd.DataFrame:
    """Return rows as a frame; ``attrs`` are of all of it together."""
    frame = pd.DataFrame(rows, columns=list(KINDS))
    if now is not None:
        frame["done_at"] = [now + timedelta(minutes=float(each)) for each in frame["minutes"]]
    frame = frame.astype(KINDS)
    total = float(frame["minutes"].sum()) if minutes is None else minutes
    frame.attrs = {
        **{name: int(frame[name].sum()) for name in ("requests", "rows", "bytes")},
        "minutes": total,
        "done_at": None if now is None else now + timedelta(minutes=total),
    }
    return frame


def in_turn(all_series: Iterable[Series]) -> Iterator[tuple[Series, Request]]:
    """Yield the requests that cost something in a backfill's order: one of each series in turn."""
    queues = [[(each, one) for one in each.requests if not one.known] for each in all_series]
    for batch in zip_longest(*queues):
        yield from (entry for entry in batch if entry is not None)


def rows_of(series: Series, asked: Sequence[Request]) -> int:
    """Return how many bars the spans of some requests have room for: so many come at most."""
    if not asked or not series.sessions:
        return 0
    starts, ends = (
        np.array([getattr(each, edge).timestamp() for each in series.sessions])
        for edge in ("start", "end")
    )
    size = series.bar_size
    if not size.intraday:
        held = [(starts < each.end.timestamp()) & (ends > each.start.timestamp()) for each in asked]
        days = float(np.logical_or.reduce(held).sum())
        return int(-(-days * 86_400 // max(size.seconds * 5 / 7, 86_400)))
    spans = _joined([(each.start.timestamp(), each.end.timestamp()) for each in asked])
    open_s = sum(float(np.clip(np.minimum(ends, b) - np.maximum(starts, a), 0, None).sum())
                 for a, b in spans)  # fmt: skip
    return int(-(-open_s // size.seconds))


def bytes_a_row(series: Series) -> float:
    """Return how many bytes a stored bar takes."""
    if not series.bar_size.intraday:
        return BYTES_LONG
    return BYTES_TRADES if "TRADES" in series.what_to_show else BYTES_QUOTES


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the same time as few spans."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _ask(series: Series, request: Request) -> Ask:
    size, what = series.bar_size.ib, series.what_to_show
    wanted = (series.contract, request.until, request.duration, size, what, series.use_rth)
    return ask_for("reqHistoricalData", *wanted, formatDate=2)
