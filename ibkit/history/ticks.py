"""Ticks of the past, page by page: what a page answers for, and its ticks as rows.

Pure. IB tells ticks by the second and gives a thousand at a time, or as many more as the last
second has; so seconds are what is asked for, answered for and replaced, always whole. Within one,
ticks are numbered as they came (``seq``): two equal trades are two rows, and a second that comes
again in the next page replaces itself. Not here: asking, storing (`ticking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from ibkit.history.decode import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from ibkit.contracts.hours import Session
    from ibkit.history.plan import Span

    Ints = np.ndarray[Any, np.dtype[np.int64]]

RECORDER: Final = "history"
SERIES: Final = {"recorder": RECORDER}
#: where ticks are kept, by IB's word for them; a midpoint is neither a trade nor a quote
DATASETS: Final = {"TRADES": "trades", "BID_ASK": "quotes", "MIDPOINT": "midpoints"}
PAGE: Final = 1_000
_MICROS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page answers for.

    Attributes
    ----------
    rows : array of int
        Which of its ticks to keep, in the order of time.
    until : int
        The second up to which, from where it was asked, everything is known.
    cut : bool
        The page ends in a second that it fills alone: IB may have cut that one short.
    short : bool
        It had fewer ticks than it might: IB's session, or all it has, ends here.
    """

    rows: Ints
    until: int
    cut: bool = False
    short: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """All ticks of ``[start, end)``, in epoch seconds; `cut` as of `Answer`."""

    start: int
    end: int
    ticks: list[Any]
    cut: bool = False


class BackwardsError(Exception):
    """All of so many ticks are from before where they were asked for."""


def read_page(
    seconds: Ints, start: int, end: int, asked: int = PAGE, *, fresh: bool = False
) -> Answer:
    """Return what the answer to "`asked` ticks from `start` on" says about ``[start, end)``.

    Parameters
    ----------
    seconds : array of int
        When its ticks happened, in epoch seconds.
    start, end : int
        The span that is being filled, in epoch seconds.
    asked : int
        For how many ticks.
    fresh : bool
        The span is so young that more ticks may come, in the last second too.

    Returns
    -------
    Answer
        ``until`` is `start` if the page says nothing of the span.

    Notes
    -----
    IB completes the last second of a page, which shows when more ticks come than were asked for,
    or fewer. When exactly as many come, that second may be cut: it is left for the next page,
    unless it is all there is.

    Examples
    --------
    >>> read_page(np.array([5, 5, 6, 7]), 5, 60, asked=4).until
    7
    >>> read_page(np.array([5, 5, 6, 7, 7]), 5, 60, asked=4).until
    8
    """
    order = np.argsort(seconds, kind="stable")
    times = seconds[order]
    if not len(times):
        return Answer(order, start, short=True)
    last, full = int(times[-1]), len(times) >= asked
    begins = int(np.searchsorted(times, start))
    unsure = full and len(times) - begins <= asked
    if last >= end:
        until, cut = end, False
    elif unsure and begins < len(times) and times[begins] < last:
        until, cut = last, False
    else:
        until, cut = last + 1, unsure
    if fresh and not full:
        until = min(until, last)
    until = max(until, start)
    kept = order[(times >= start) & (times < until)]
    return Answer(kept, until, cut=cut, short=not full and last < end)


async def pages(
    ask: Callable[[int], Awaitable[Sequence[Any]]],
    start: int,
    end: int,
    *,
    asked: int = PAGE,
    fresh: bool = False,
) -> AsyncGenerator[Page, None]:
    """Yield what is known of ``[start, end)``, page by page, until all of it is.

    Parameters
    ----------
    ask : callable
        Gets a second, and returns ib_async's ticks from there on.
    start, end : int
        In epoch seconds, within one session of the exchange.
    asked, fresh
        As of `read_page`.

    Yields
    ------
    Page
        One after the other, without a gap and without an overlap. The last one ends with `end`,
        unless `fresh`.

    Raises
    ------
    BackwardsError
        IB does not get on: its ticks are all from before where it was asked.

    Notes
    -----
    A page with fewer ticks than asked for may mean that IB's own session ends there. So the rest
    is asked for once more, and is empty only if nothing comes.
    """
    while start < end:
        ticks = await ask(start)
        answer = read_page(seconds_of(ticks), start, end, asked, fresh=fresh)
        until = answer.until
        if not len(ticks) and not fresh:
            until = end
        elif until <= start and not answer.short:
            raise BackwardsError(len(ticks), moment(start))
        if until > start:
            yield Page(start, until, [ticks[n] for n in answer.rows], cut=answer.cut)
        start = until
        if fresh and answer.short:
            return


def numbered(seconds: Ints) -> Ints:
    """Return the number of each tick within its second, from 0; `seconds` ascend.

    >>> numbered(np.array([5, 5, 7, 8, 8])).tolist()
    [0, 1, 0, 0, 1]
    """
    if not len(seconds):
        return np.zeros(0, np.int64)
    first = np.flatnonzero(np.concatenate(([True], seconds[1:] != seconds[:-1])))
    begin = np.repeat(first, np.diff(np.append(first, len(seconds))))
    return np.asarray(np.arange(len(seconds)) - begin, dtype=np.int64)


def seconds_of(ticks: Sequence[Any]) -> Ints:
    """Return when ib_async's ticks happened, in epoch seconds."""
    return np.fromiter((int(tick.time.timestamp()) for tick in ticks), np.int64, len(ticks))


def to_table(ticks: Sequence[Any], what_to_show: str) -> pa.Table:
    """Return ib_async's ticks of whole seconds, in the order of time, as rows of their dataset.

    Parameters
    ----------
    ticks : sequence of HistoricalTickLast, HistoricalTickBidAsk or HistoricalTick
        As `reqHistoricalTicks` gives them.
    what_to_show : {"TRADES", "BID_ASK", "MIDPOINT"}
        What was asked for.

    Returns
    -------
    Table
        ``ts recorder seq`` and the values of `ibkit.schema`'s dataset; attributes as ib_async
        has read them, for the bits of quotes are the other way round than in a stream's.
    """
    seconds = seconds_of(ticks)
    columns: dict[str, Any] = {
        "ts": pa.array(seconds * _MICROS, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    }
    for name, (kind, value) in _VALUES[what_to_show].items():
        found = [value(tick) for tick in ticks]
        columns[name] = pa.array(found, kind)
        if name.endswith("size"):
            columns[name] = _known(found)
    columns["recorder"] = pa.repeat(pa.scalar(RECORDER), len(ticks))
    columns["seq"] = pa.array(numbered(seconds))
    return pa.table(columns)


def _known(sizes: list[float]) -> pa.Array:
    numbers = np.asarray(sizes, dtype=float)
    unknown = (numbers == UNKNOWN) | np.isnan(numbers)
    return pa.array(np.where(unknown, 0, numbers), pa.float64(), mask=unknown)


_NUMBER, _FLAG, _TEXT = pa.float64(), pa.bool_(), pa.string()
_VALUES: Final[dict[str, dict[str, tuple[pa.DataType, Callable[[Any], Any]]]]] = {
    "TRADES": {
        "price": (_NUMBER, lambda tick: tick.price),
        "size": (_NUMBER, lambda tick: tick.size),
        "exchange": (_TEXT, lambda tick: tick.exchange),
        "conditions": (_TEXT, lambda tick: tick.specialConditions),
        "past_limit": (_FLAG, lambda tick: tick.tickAttribLast.pastLimit),
        "unreported": (_FLAG, lambda tick: tick.tickAttribLast.unreported),
    },
    "BID_ASK": {
        "bid": (_NUMBER, lambda tick: tick.priceBid),
        "ask": (_NUMBER, lambda tick: tick.priceAsk),
        "bid_size": (_NUMBER, lambda tick: tick.sizeBid),
        "ask_size": (_NUMBER, lambda tick: tick.sizeAsk),
        "bid_past_low": (_FLAG, lambda tick: tick.tickAttribBidAsk.bidPastLow),
        "ask_past_high": (_FLAG, lambda tick: tick.tickAttribBidAsk.askPastHigh),
    },
    "MIDPOINT": {"price": (_NUMBER, lambda tick: tick.price)},
}


def parts(holes: Iterable[Span], sessions: Sequence[Session]) -> list[tuple[int, int]]:
    """Return the seconds to ask for: what of `holes` lies in a session, newest session first.

    No part crosses from one session into another, for no page of IB's does.
    """
    found = [
        (int(max(low, each.start).timestamp()), int(-(-min(high, each.end).timestamp() // 1)))
        for each in sessions
        for low, high in holes
        if low < each.end and high > each.start
    ]
    return sorted((part for part in found if part[0] < part[1]), reverse=True)


def moment(second: int) -> datetime:
    """Return an epoch second as a time in UTC."""
    return datetime.fromtimestamp(second, UTC)
