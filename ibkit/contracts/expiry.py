"""When a future trades last, and when its holder may be given the goods.

The rules are those of the exchanges, named in the futures table ("last_business_day 3") and
counted on business days, weekdays less the regular holidays of `holidays.txt` (1999 to 2060). On a
connection IB's own date wins. Not here: which month is the front (`ibkit.contracts.futures`).
"""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibkit.contracts.specs import FutureSpec

THURSDAY: Final = 3
FRIDAY: Final = 4
CALENDARS: Final = {
    "US": ("XNYS",),
    "LONDON": ("XLON",),
    "EUREX": ("XEUR",),
    "US+LONDON": ("XNYS", "XLON"),
}


class UnknownExpiryRuleError(IbkitError, LookupError):
    """The table has no last-trade rule for this product: `symbol`, `text`."""

    def __init__(self, symbol: str, text: str) -> None:
        super().__init__(symbol, text)
        self.symbol, self.text = symbol, text

    def __str__(self) -> str:
        return (
            f"The futures table knows no last-trade rule for {self.symbol} ({self.text}).\n"
            f"Hint: kit.contracts.details('FUT:{self.symbol}:YYYYMM') asks IB."
        )


def expiry(spec: FutureSpec, year: int, month: int) -> date:
    """Return the last trading day of the contract named `year`-`month`.

    >>> from ibkit.contracts.specs import load_specs
    >>> expiry(load_specs()["ES"], 2026, 12)
    datetime.date(2026, 12, 18)

    Raises
    ------
    UnknownExpiryRuleError
        The table has no rule for the product.
    """
    if not spec.last_trade:
        raise UnknownExpiryRuleError(spec.symbol, spec.last_trade_text)
    return _apply(spec.last_trade, spec.calendar, year, month)


def first_notice(spec: FutureSpec, year: int, month: int) -> date | None:
    """Return the first day on which a long may be assigned, when that is before the expiry."""
    if not spec.first_notice:
        return None
    return _apply(spec.first_notice, spec.calendar, year, month)


def listed(spec: FutureSpec, start: date, months: int) -> Iterator[tuple[int, int, date]]:
    """Yield (year, month, expiry) of the liquid contracts not expired at `start`, nearest first.

    `months` is how far ahead of `start` contract months go.
    """
    for year, month in (_month_add(start.year, start.month, n) for n in range(months + 1)):
        if month in spec.months and (last := expiry(spec, year, month)) >= start:
            yield year, month, last


def previous_business_day(day: date, calendar_name: str = "US") -> date:
    """Return the last business day before `day`."""
    return Days(calendar_name).add(day, -1)


class Days:
    """Business days of a named calendar."""

    def __init__(self, name: str) -> None:
        self._calendar = _busdays(name)

    def on_or_before(self, day: date) -> date:
        """Return `day`, or the last business day before it."""
        return self._offset(day, 0)

    def is_business(self, day: date) -> bool:
        """Whether `day` is one."""
        return bool(np.is_busday(np.datetime64(day, "D"), busdaycal=self._calendar))

    def add(self, day: date, count: int) -> date:
        """Return the `count`-th business day after `day` (before, when negative)."""
        start = self.on_or_before(day)
        if count < 0 and start != day:
            count += 1
        return self._offset(start, count)

    def nth_last(self, year: int, month: int, nth: int) -> date:
        """Return the `nth` last business day of a month; 1 is the last."""
        last = self.on_or_before(date(year, month, calendar.monthrange(year, month)[1]))
        return self.add(last, 1 - nth)

    def nth(self, year: int, month: int, nth: int) -> date:
        """Return the `nth` business day of a month."""
        return self.add(date(year, month, 1) - timedelta(days=1), nth)

    def _offset(self, day: date, count: int) -> date:
        found = np.busday_offset(
            np.datetime64(day, "D"), count, roll="backward", busdaycal=self._calendar
        )
        return cast("date", found.astype(object))


@cache
def _busdays(name: str) -> np.busdaycalendar:
    """Return weekdays less the regular holidays of every market in `name`."""
    known = packed_holidays()
    holidays = {day for market in CALENDARS[name] for day in known[market]}
    return np.busdaycalendar(holidays=sorted(holidays))


@cache
def packed_holidays() -> dict[str, list[np.datetime64]]:
    """Return the regular holidays of each market, 1999 to 2060."""
    found: dict[str, list[np.datetime64]] = {}
    text = files("ibkit.contracts").joinpath("holidays.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        if not line.startswith("#"):
            market, year, days = line.split()
            dates = (np.datetime64(f"{year}-{day[:2]}-{day[2:]}", "D") for day in days.split(","))
            found.setdefault(market, []).extend(dates)
    return found


def _apply(rule: str, calendar_name: str, year: int, month: int) -> date:
    """Return the date that a rule with its numbers gives for a contract month."""
    name, *numbers = rule.split()
    return RULES[name](Days(calendar_name), year, month, *(int(number) for number in numbers))


def _month_add(year: int, month: int, count: int) -> tuple[int, int]:
    years, index = divmod(year * 12 + month - 1 + count, 12)
    return years, index + 1


def nth_weekday(year: int, month: int, weekday: int, nth: int) -> date:
    """Return the `nth` Monday (0) to Sunday (6) of a month.

    >>> nth_weekday(2026, 12, FRIDAY, 3)
    datetime.date(2026, 12, 18)
    """
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _last_weekday(year: int, month: int, weekday: int) -> date:
    last = date(year, month, calendar.monthrange(year, month)[1])
    return last - timedelta(days=(last.weekday() - weekday) % 7)


def _third_friday(days: Days, year: int, month: int) -> date:
    return days.on_or_before(nth_weekday(year, month, FRIDAY, 3))


def _before_second_friday(days: Days, year: int, month: int, count: int) -> date:
    return days.add(nth_weekday(year, month, FRIDAY, 2), -count)


def _before_third_wednesday(days: Days, year: int, month: int, count: int, months: int = 0) -> date:
    return days.add(nth_weekday(*_month_add(year, month, months), 2, 3), -count)


def _last_business_day(days: Days, year: int, month: int, nth: int, months: int = 0) -> date:
    return days.nth_last(*_month_add(year, month, months), nth)


def _last_friday(days: Days, year: int, month: int) -> date:
    return days.on_or_before(_last_weekday(year, month, FRIDAY))


def _before_25th(days: Days, year: int, month: int, count: int) -> date:
    """Crude oil: counted from the 25th of the month before, or the business day before that."""
    before = _month_add(year, month, -1)
    return days.add(days.on_or_before(date(*before, 25)), -count)


def _before_month(days: Days, year: int, month: int, count: int) -> date:
    return days.add(date(year, month, 1), -count)


def _before_first_business_day(days: Days, year: int, month: int, count: int) -> date:
    return days.add(days.nth(year, month, 1), -count)


def _before_15th(days: Days, year: int, month: int, count: int) -> date:
    return days.add(date(year, month, 15), -count)


def _business_day(days: Days, year: int, month: int, nth: int) -> date:
    return days.nth(year, month, nth)


def _brent(days: Days, year: int, month: int) -> date:
    return days.nth_last(*_month_add(year, month, -2), 2 if month == 2 else 1)


def _vix_wednesday(days: Days, year: int, month: int) -> date:
    """Thirty days before the options that it settles on; these expire on a Friday or before."""
    options = nth_weekday(*_month_add(year, month, 1), FRIDAY, 3)
    return days.on_or_before(days.on_or_before(options) - timedelta(days=30))


def _before_delivery_day(days: Days, year: int, month: int, count: int) -> date:
    delivery = date(year, month, 10)
    if not days.is_business(delivery):
        delivery = days.add(delivery, 1)
    return days.add(delivery, -count)


def _feeder_cattle(days: Days, year: int, month: int) -> date:
    """Return the last Thursday that is a business day and has four before it."""
    november = 11
    thursday = (
        nth_weekday(year, month, THURSDAY, 3)
        if month == november
        else _last_weekday(year, month, THURSDAY)
    )
    while not all(days.is_business(thursday - timedelta(days=n)) for n in (0, 1, 2, 3, 6)):
        thursday -= timedelta(days=7)
    return thursday


def _first_monday(days: Days, year: int, month: int) -> date:
    monday = nth_weekday(year, month, 0, 1)
    return monday if days.is_business(monday) else days.add(monday, 1)


RULES: Final[dict[str, Callable[..., date]]] = {
    "third_friday": _third_friday,
    "before_second_friday": _before_second_friday,
    "before_third_wednesday": _before_third_wednesday,
    "last_business_day": _last_business_day,
    "last_friday": _last_friday,
    "before_25th": _before_25th,
    "before_month": _before_month,
    "before_first_business_day": _before_first_business_day,
    "before_15th": _before_15th,
    "business_day": _business_day,
    "brent": _brent,
    "vix_wednesday": _vix_wednesday,
    "before_delivery_day": _before_delivery_day,
    "feeder_cattle": _feeder_cattle,
    "first_monday": _first_monday,
}
