"""When a position moves from one futures contract to the next, as dates and as a frame.

Two families of rules: so many days before the last safe day (or expiry, or first notice), and the
day on which more is traded, or held, in the next contract; volumes come as a frame from the caller.
Whatever the volumes say, no contract is kept past its last safe day. Pure. Not here: the front
month of today (`ibkit.contracts.futures`), and orders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import pandas as pd

from ibkit.contracts.expiry import Days, expiry, first_notice
from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ibkit.contracts.specs import FutureSpec

ROLL_DAYS: Final = 8
FIRST_YEAR, LAST_YEAR = 2000, 2058  # the packed holidays reach a little further
RULES: Final = ("days", "volume", "open interest")
COUNTED_FROM: Final = ("safe day", "expiry", "first notice")
EVENING: Final = pd.Timedelta(hours=7)
CALENDAR: Final = {
    "contract": "string",
    "next": "string",
    "roll": "datetime64[us]",
    "reason": "string",
    "last_safe_day": "datetime64[us]",
    "first_notice": "datetime64[us]",
    "expiry": "datetime64[us]",
    "source": "string",
}


class RollRuleError(IbkitError, ValueError):
    """A roll rule that cannot be applied: `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class RollRule:
    """When a contract stops being the front month.

    Attributes
    ----------
    rule : {"days", "volume", "open interest"}
        By the calendar, or when more is traded, or held, in the next month.
    days : int
        How many days before `before`; also the last resort of the two other rules: 0, then.
    before : {"safe day", "expiry", "first notice"}
        What the days count from; the safe day is the expiry or, where that comes earlier, the
        business day before first notice. Without a first notice, the expiry. A delivered contract
        leaves on its last safe day, even if the days before its expiry end later.
    business_days : bool
        Whether `days` are the exchange's business days; calendar days otherwise.
    months : tuple of int
        The months that are rolled through; empty: the product's liquid ones.
    note : str
        Where the rule comes from, when not from here.
    """

    rule: Literal["days", "volume", "open interest"] = "days"
    days: int = ROLL_DAYS
    before: Literal["safe day", "expiry", "first notice"] = "safe day"
    business_days: bool = False
    months: tuple[int, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        for name, known in (("rule", RULES), ("before", COUNTED_FROM)):
            if getattr(self, name) not in known:
                words = ", ".join(repr(each) for each in known)
                raise RollRuleError(f"{name} is one of {words}, not {getattr(self, name)!r}")
        if self.days < 0:
            raise RollRuleError(f"days counts backwards and starts at 0, got {self.days}")
        if wrong := [month for month in self.months if not 1 <= month <= 12]:
            raise RollRuleError(f"months are 1 to 12, got {wrong[0]}")


def make_rule(said: Mapping[str, Any], note: str = "", *, days: int = ROLL_DAYS) -> RollRule:
    """Return the usual rule with what a user said about it."""
    return replace(RollRule(days=days), **said, note=note)


@dataclass(frozen=True, slots=True)
class Life:
    """The dates of one contract.

    Attributes
    ----------
    month : str
        Its name: ``"202612"``.
    expiry : date
        The last trading day.
    first_notice : date or None
        When a long may first be assigned, if that is before the expiry.
    source : {"IB", "table"}
        Who said when it expires.
    """

    month: str
    expiry: date
    first_notice: date | None
    source: str = "table"

    def last_safe_day(self, calendar: str) -> date:
        """Return the last day on which a holder risks no delivery."""
        if self.first_notice is None:
            return self.expiry
        return min(self.expiry, Days(calendar).add(self.first_notice, -1))


def lives(spec: FutureSpec, start: date, end: date, months: Sequence[int] = ()) -> list[Life]:
    """Return the contracts of the table that expire between `start` and `end`, and one more.

    Raises
    ------
    RollRuleError
        The holidays of those years are not known.
    """
    if not FIRST_YEAR <= start.year <= end.year <= LAST_YEAR:
        raise RollRuleError(f"expiries are known from {FIRST_YEAR} to {LAST_YEAR}")
    found: list[Life] = []
    first = start - timedelta(days=130)  # interest futures outlive their name by three months
    year, month = first.year, first.month
    wanted = months or spec.months
    while not (found and found[-1].expiry > end):
        if month in wanted:
            life = Life(
                f"{year}{month:02}", expiry(spec, year, month), first_notice(spec, year, month)
            )
            found += [life] if life.expiry >= start else []
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return found


def roll_day(life: Life, rule: RollRule, calendar: str) -> date:
    """Return the first day on which a contract is not the front month any more.

    Whatever the rule counts from, that is never after the last safe day.

    >>> from ibkit.contracts.specs import load_specs
    >>> gold, *_ = lives(load_specs()["GC"], date(2026, 12, 1), date(2026, 12, 31))
    >>> roll_day(gold, RollRule(days=3, business_days=True), "US")
    datetime.date(2026, 11, 23)
    """
    safe = life.last_safe_day(calendar)
    from_ = {
        "safe day": safe,
        "expiry": life.expiry,
        "first notice": life.first_notice or life.expiry,
    }[rule.before]
    return min(safe, _days_before(from_, rule, calendar))


def _days_before(day: date, rule: RollRule, calendar: str) -> date:
    if rule.business_days:
        return Days(calendar).add(day, -rule.days)
    return day - timedelta(days=rule.days)


def roll_calendar(
    contracts: Iterable[Life],
    calendar: str,
    rule: RollRule | None = None,
    volumes: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return when each contract gives way to the next.

    Parameters
    ----------
    contracts : iterable of Life
        In any order; the last of them has no next one and no row.
    calendar : str
        Whose business days count, see `FutureSpec.calendar`.
    rule : RollRule, optional
        The usual one: eight calendar days before the last safe day.
    volumes : DataFrame, optional
        For the rules "volume" and "open interest": what was traded, or held, each session. Index:
        dates, or the opens of daily bars, with zone; columns: contract months (``"202612"``). What
        is missing is not known, and decides nothing.

    Returns
    -------
    DataFrame
        One row a contract, by `roll`, the first day in the next one: ``contract next roll reason
        last_safe_day first_notice expiry source``. Reasons: "days", "volume", "open interest", and
        "last safe day" where the volumes had not crossed by then, or are not known.

    Raises
    ------
    RollRuleError
        The rule needs volumes and there are none.
    """
    rule = rule or RollRule()
    if rule.rule != "days" and volumes is None:
        raise RollRuleError(
            f"the roll rule {rule.rule!r} needs volumes=, a frame of dates by contract months"
        )
    alive = sorted(contracts, key=lambda life: life.expiry)
    rows, since = [], date.min
    for life, following in pairwise(alive):
        day, reason = _when(life, following, rule, calendar, volumes, since)
        since = day
        rows.append(
            {
                "contract": life.month,
                "next": following.month,
                "roll": day,
                "reason": reason,
                "last_safe_day": life.last_safe_day(calendar),
                "first_notice": life.first_notice,
                "expiry": life.expiry,
                "source": life.source,
            }
        )
    frame = pd.DataFrame(rows, columns=list(CALENDAR)).astype(CALENDAR)
    frame.attrs["rule"] = repr(rule)
    return frame


def _when(
    life: Life,
    following: Life,
    rule: RollRule,
    calendar: str,
    volumes: pd.DataFrame | None,
    since: date,
) -> tuple[date, str]:
    last = life.last_safe_day(calendar)
    if rule.rule == "days":
        day = roll_day(life, rule, calendar)
        return day, "days" if day < last or not rule.days else "last safe day"
    crossed = (
        None if volumes is None else crossover(volumes, life.month, following.month, since=since)
    )
    if crossed is not None and crossed <= last:
        return crossed, rule.rule
    return last, "last safe day"


def front(
    contracts: Iterable[Life],
    as_of: date,
    calendar: str,
    rule: RollRule | None = None,
    volumes: pd.DataFrame | None = None,
) -> Life | None:
    """Return the contract to trade on `as_of`; None when none is left. Arguments as above."""
    rule = rule or RollRule()
    alive = sorted(contracts, key=lambda life: life.expiry)
    since = date.min
    for life, following in pairwise(alive):
        since, _ = _when(life, following, rule, calendar, volumes, since)
        if as_of < since:
            return life
    if not alive:
        return None
    days = replace(rule, rule="days")
    return alive[-1] if as_of < roll_day(alive[-1], days, calendar) else None


def crossover(
    volumes: pd.DataFrame, month: str, following: str, *, since: date = date.min
) -> date | None:
    """Return the session after the first one with more in `following`; None if there is none.

    The day itself is known when it is over, so one trades on it only the session after; of the last
    session of the frame, the next weekday.

    >>> days = pd.to_datetime(["2026-12-09", "2026-12-10", "2026-12-11"])
    >>> frame = pd.DataFrame({"202612": [9, 5, 2], "202703": [3, 6, 8]}, index=days)
    >>> crossover(frame, "202612", "202703")
    datetime.date(2026, 12, 11)
    """
    if month not in volumes or following not in volumes:
        return None
    index = pd.DatetimeIndex(volumes.index)
    if index.tz is not None:  # bars are stamped with their open, which may be the evening before
        index = index.tz_convert("UTC") + EVENING
    # a number that is missing is less than none and more than none: it decides nothing
    more = volumes[following].to_numpy(float) > volumes[month].to_numpy(float)
    days = [each.date() for each in index]
    for position, day in enumerate(days):
        if more[position] and day >= since:
            after = days[position + 1 :]
            return after[0] if after else Days("US").add(day, 1)
    return None
