"""What prices are adjusted by: found in IB's answers, made of events, and the two compared. Pure.

ADJUSTED_LAST over TRADES is constant between ex-days and steps on them, so the steps are the
factors; it is asked for together with TRADES, because both are of the moment of the answer. TRADES
as they were stored over TRADES of now is the product of the splits in between. Not here: asking
(`ibkit.history.adjusting`), and what is done with the factors (`ibkit.store.adjusted`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from ibkit.history.actions import InvalidActionsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ibkit.history.actions import Action

    Floats = np.ndarray[Any, np.dtype[np.float64]]

# of which a whole ratio of shares is told from a correction of a price
SPLIT_AT_LEAST: Final = 0.04
NEAR: Final = 0.01
MOST_SHARES: Final = 100
FEW: Final = 0.2  # of the rows that were stored on a day
# ex-days of two sources that mean the same event, apart
DAYS_APART: Final = 5
# factors that differ by less agree, where rounding does not say more
AGREE: Final = 5e-4


@dataclass(frozen=True, slots=True)
class Found:
    """One step of the prices.

    Attributes
    ----------
    day : date
        The first trade date after it.
    since : date
        The first day that it may have been on, where that is not sure.
    factor, ratio : float
        What prices, and volumes, before it are multiplied by.
    slack : float
        How far off `factor` may be, by the rounding of the prices it was made of.
    amount, close : float
        Of a dividend: money a share of today, and the last close before, in shares of today.
    """

    day: date
    since: date
    kind: Literal["dividend", "split", "other"]
    factor: float
    ratio: float = 1.0
    slack: float = 0.0
    amount: float = float("nan")
    close: float = float("nan")


# --- from IB's two answers ---------------------------------------------------------------------


def from_ratio(
    days: Sequence[date], trades: Floats, adjusted: Floats, following: date
) -> list[Found]:
    """Return the steps of ADJUSTED_LAST over TRADES.

    Parameters
    ----------
    days : sequence of date
        Trade dates of finished sessions, ascending.
    trades, adjusted : ndarray
        Their closes, or all four prices of each day, the close last; of two answers of the same
        moment.
    following : date
        The trade date after the last of `days`; from it on nothing is adjusted yet.

    Returns
    -------
    list of Found
        Ascending, `factor` is the ratio before over the ratio after. A factor above 1, which no
        dividend makes, is of kind "other".

    Notes
    -----
    IB rounds ADJUSTED_LAST, so each day tells only an interval in which its ratio lies. A stretch
    of days between two ex-days is the longest one whose intervals have something in common; its
    ratio is the middle of that. Steps smaller than the rounding are not seen, nor do they matter:
    adjusted prices then equal IB's to within its rounding.
    """
    if not len(days):
        return []
    unit = 0.5 * 10.0 ** -_places(adjusted) * (1 + 1e-6)
    trades, adjusted = (np.reshape(each, (len(days), -1)) for each in (trades, adjusted))
    low = ((adjusted - unit) / trades).max(axis=1)
    high = ((adjusted + unit) / trades).min(axis=1)
    runs = _runs(np.append(low, 1 - 1e-9), np.append(high, 1 + 1e-9))
    every = [*days, following]
    found = []
    for (_, start, *before), (_, _, *after) in pairwise(runs):
        ratio, next_ratio = (sum(edges) / 2 for edges in (before, after))
        factor, close = ratio / next_ratio, float(trades[start - 1, -1])
        slack = max((edges[1] - edges[0]) / 2 / (sum(edges) / 2) for edges in (before, after))
        step = Found(every[start], every[start], "dividend", factor, slack=slack)
        if factor > 1:
            step = replace(step, kind="other")
        found.append(replace(step, amount=(1 - factor) * close, close=close))
    return found


def _runs(low: Floats, high: Floats) -> list[tuple[int, int, float, float]]:
    """Return (first, after last, low, high) of stretches whose intervals have a common part.

    From the newest to the oldest, so that a stretch that could begin on several days begins on
    the earliest; returned in the order of time.
    """
    runs, stop = [], len(low)
    bottom, top = low[-1], high[-1]
    for at in range(len(low) - 2, -1, -1):
        if max(bottom, low[at]) > min(top, high[at]):
            runs.append((at + 1, stop, float(bottom), float(top)))
            stop, bottom, top = at + 1, low[at], high[at]
        bottom, top = max(bottom, low[at]), min(top, high[at])
    runs.append((0, stop, float(bottom), float(top)))
    return runs[::-1]


def _places(prices: Floats) -> int:
    """Return how many decimals prices are rounded to.

    >>> _places(np.array([189.5, 190.25])), _places(np.array([3.0]))
    (2, 2)
    """
    for places in range(2, 9):
        scaled = prices * 10.0**places
        if np.allclose(scaled, np.round(scaled), rtol=0, atol=1e-4):
            return places
    return 9


# --- from what was stored ----------------------------------------------------------------------


def from_stored(
    days: Sequence[date],
    stored: Floats,
    committed: Sequence[date],
    fresh: Mapping[date, float],
    today: date,
) -> list[Found]:
    """Return the splits between the days on which closes were stored and now.

    Parameters
    ----------
    days : sequence of date
        The trade dates of `stored` closes; of intraday bars, the last one of each day.
    committed : sequence of date
        When each was stored, on the exchange's clock.
    fresh : mapping of date to float
        IB's closes of now.
    today : date
        The day of that answer.

    Returns
    -------
    list of Found
        Ascending by `day`; it lies between the last day on which an old price was stored
        (`since` is the day after) and the first on which a new one was.
    """
    told: defaultdict[date, Counter[Fraction]] = defaultdict(Counter)
    for day, close, when in zip(days, stored, committed, strict=True):
        level = _shares(close / fresh[day]) if fresh.get(day) else None
        if level is not None:
            told[when][level] += 1
    levels = _levels(told)
    if levels and levels[-1][2] != 1:
        levels.append((today, today, Fraction(1)))
    found = []
    for (_, last, old), (first, _, new) in pairwise(levels):
        ratio, day = float(old / new), max(first, _after(last))
        # both on one day: nobody knows which rows of that day are in which shares
        since = last if first <= last else _after(last)
        found.append(Found(day, since, "split", 1 / ratio, ratio))
    return found


def _levels(
    told: Mapping[date, Counter[Fraction]],
) -> list[tuple[date, date, Fraction]]:
    """Return (first, last day of commits, shares of then for one of now), by time.

    What few rows of a day say, or rows between others that agree, is an error of theirs.
    """
    plain = [
        (when, ratio)
        for when in sorted(told)
        for ratio, rows in sorted(told[when].items(), key=lambda one: -abs(np.log(float(one[0]))))
        if rows >= FEW * told[when].total()
    ]
    kept = [
        (when, ratio)
        for at, (when, ratio) in enumerate(plain)
        if not 0 < at < len(plain) - 1
        or ratio in {plain[at - 1][1], plain[at + 1][1]}
        or plain[at - 1][1] != plain[at + 1][1]
    ]
    levels = [(list(group), ratio) for ratio, group in groupby(kept, key=lambda one: one[1])]
    return [(group[0][0], group[-1][0], ratio) for group, ratio in levels]


def _shares(quotient: float) -> Fraction | None:
    """Return the whole ratio of shares that a quotient of prices is near; None: near to none.

    >>> _shares(3.98), _shares(0.1001), _shares(1.001), _shares(1.4142)
    (Fraction(4, 1), Fraction(1, 10), Fraction(1, 1), None)
    """
    if abs(np.log(quotient)) < SPLIT_AT_LEAST:
        return Fraction(1)
    tries = (
        Fraction(quotient).limit_denominator(most)
        if quotient > 1
        else 1 / Fraction(1 / quotient).limit_denominator(most)
        for most in (1, 2, 3, 4, 5)
    )
    near = (one for one in tries if one and abs(float(one) / quotient - 1) < NEAR)
    found = next(near, None)
    return found if found and max(found.numerator, found.denominator) <= MOST_SHARES else None


def _after(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)


# --- from events -------------------------------------------------------------------------------


def from_actions(
    actions: Iterable[Action], days: Sequence[date], closes: Floats, until: date
) -> list[Found]:
    """Return the steps that dividends and splits make.

    Parameters
    ----------
    actions : iterable of Action
        With ex-days; amounts in shares of their day.
    days, closes
        Trade dates and closes, in the shares of now.
    until : date
        Actions after it are still to come.

    Notes
    -----
    A split of `ratio` new shares for an old one has ``factor = 1 / ratio``. A dividend has
    ``factor = 1 - amount / close`` with the last close before the ex-day: whoever held over it and
    bought more shares with it at that close, less the dividend, has the same wealth before and
    after. So CRSP's data definitions ("factor to adjust price") and
    https://help.yahoo.com/kb/SLN28256.html . Dividends without a close before are left out.
    """
    past = [action for action in actions if action.day <= until]
    splits = [action for action in past if action.kind == "split"]
    found = [Found(one.day, one.day, "split", 1 / one.ratio, one.ratio) for one in splits]
    paid: dict[date, float] = {}
    for one in past:
        if one.kind == "dividend":
            paid[one.day] = paid.get(one.day, 0.0) + one.amount
    numbers = np.array([day.toordinal() for day in days])
    for day, amount in paid.items():
        at = int(np.searchsorted(numbers, day.toordinal())) - 1
        if at < 0:
            continue
        later = float(np.prod([one.ratio for one in splits if one.day > day]))
        close, today = float(closes[at]), amount / later
        if today >= close:
            raise InvalidActionsError(f"a dividend of {amount:g} on {day}, the price was {close:g}")
        step = Found(day, day, "dividend", 1 - today / close, amount=today, close=close)
        found.append(step)
    return sorted(found, key=lambda step: (step.day, step.kind))


# --- the two together --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Merged:
    """Steps of one instrument, and what each source says of them."""

    steps: tuple[tuple[Found, Found | None, Found | None, str], ...]
    doubts: tuple[str, ...]


def merge(
    ibs: Sequence[Found] | None, events: Sequence[Found] | None, compared: date | None = None
) -> Merged:
    """Return the steps to use, and where the two sources disagree.

    IB's win where both speak; an event alone counts if IB was not asked, or is a split, which IB
    shows only to who has stored prices from before. A split's day is the event's, which knows it.

    Parameters
    ----------
    ibs, events : sequence of Found, optional
        By each source; None: it was not asked.
    compared : date, optional
        When the oldest of the prices was stored that were compared with IB's of now.

    Examples
    --------
    >>> day = date(2026, 2, 9)
    >>> one = Found(day, day, "dividend", 0.99)
    >>> merge([one], [replace(one, factor=0.98)]).doubts
    ('dividend of 2026-02-09: 0.990000 by ADJUSTED_LAST, 0.980000 by events',)
    """
    rest = list(events or [])
    rows: list[tuple[Found, Found | None, Found | None, str]] = []
    doubts = []
    for one in ibs or []:
        other = _same(one, rest)
        if other is not None:
            rest.remove(other)
        elif events is not None and _within(one, events):
            doubts.append(f"{_words(one)}: {one.factor:.6f} by ADJUSTED_LAST, none by events")
        if other is not None and not agrees(one, other):
            words = f"{one.factor:.6f} by ADJUSTED_LAST, {other.factor:.6f} by events"
            moved = f" of {other.day}" if other.day != one.day else ""
            doubts.append(f"{_words(one)}: {words}{moved}")
        used = one
        if other is not None and one.kind == "split":
            used = other
        rows.append((used, one, other, "stored prices" if one.kind == "split" else "ADJUSTED_LAST"))
    for other in rest:
        if ibs is not None and other.kind == "dividend":
            doubts.append(f"{_words(other)}: none by ADJUSTED_LAST, {other.factor:.6f} by events")
            continue
        if ibs is not None and compared is not None and compared < other.day:
            words = f"prices stored on {compared} are IB's of now, {other.factor:.6f} by events"
            doubts.append(f"{_words(other)}: {words}")
            continue
        rows.append((other, None, other, "events"))
    rows.sort(key=lambda row: (row[0].day, row[0].kind))
    return Merged(tuple(rows), tuple(doubts))


def agrees(one: Found, other: Found) -> bool:
    """Whether two sources tell the same step, within what rounding allows."""
    near = abs(one.factor / other.factor - 1) <= max(AGREE, 2 * one.slack)
    # a step that is hardly larger than the rounding may seem to be on an earlier day
    blurred = one.slack > abs(1 - one.factor) / 10
    return near and (blurred or one.since <= other.day <= one.day)


def _same(one: Found, others: Iterable[Found]) -> Found | None:
    """Return the event that a step is of: the same kind, about the same day."""
    split = one.kind == "split"
    fitting = [
        other
        for other in others
        if (other.kind == "split") == split
        and one.since.toordinal() - DAYS_APART
        <= other.day.toordinal()
        <= min(one.day.toordinal() + DAYS_APART, date.max.toordinal())
    ]
    return min(fitting, key=lambda other: abs(other.day - one.day), default=None)


def _within(one: Found, events: Sequence[Found]) -> bool:
    """Whether events know of other ones of this kind about that time, so that silence tells."""
    kinds = {"split"} if one.kind == "split" else {"dividend"}
    days = [other.day for other in events if other.kind in kinds]
    return bool(days) and min(days) <= one.day


def _words(step: Found) -> str:
    return f"{step.kind} of {step.day}"
