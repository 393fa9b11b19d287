"""Which contract of a future is the front month.

The rule: the nearest liquid month whose last safe day is more than `ROLL_DAYS` calendar days
away. The last safe day is the expiry for cash-settled products, and the business day before first
notice, where that comes earlier, for delivered ones; so ES rolls on the Thursday eight days before
its third Friday; a `RollRule` says otherwise. Pure: `as_of` and volumes come from the caller,
expiries from IB (the table's rules serve offline). Not here: the rules (`ibkit.contracts.rolls`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from ibkit.contracts.expiry import first_notice
from ibkit.contracts.rolls import ROLL_DAYS, Life, RollRule, front
from ibkit.contracts.specs import spec_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from ib_async import ContractDetails

    from ibkit.contracts.specs import FutureSpec


@dataclass(frozen=True, slots=True)
class Listed:
    """A listed contract and its dates.

    Attributes
    ----------
    month : tuple of (year, month)
        The contract's name, which crude oil outlives by no day: it expires the month before.
    expiry, last_safe_day : date
        The last trading day; the last day on which a holder risks no delivery.
    liquid : bool
        Whether the table counts the month among the product's liquid ones.
    life : Life
        The same dates, as roll rules want them.
    calendar : str
        Whose business days the product counts.
    """

    details: ContractDetails
    month: tuple[int, int]
    expiry: date
    last_safe_day: date
    liquid: bool
    life: Life
    calendar: str


def to_listed(details: ContractDetails, spec: FutureSpec | None = None) -> Listed:
    """Return the dates of one contract: IB's expiry, the table's first notice."""
    contract = details.contract
    assert contract is not None
    text = details.realExpirationDate or contract.lastTradeDateOrContractMonth
    last = _day(text)
    named = details.contractMonth or text
    month = int(named[:4]), int(named[4:6])
    spec = spec or spec_of(contract)
    notice = first_notice(spec, *month) if spec else None
    calendar = spec.calendar if spec else "US"
    life = Life(f"{month[0]}{month[1]:02}", last, notice, "IB")
    liquid = spec is None or month[1] in spec.months
    return Listed(details, month, last, life.last_safe_day(calendar), liquid, life, calendar)


def front_month(
    listed: Iterable[Listed],
    as_of: date,
    *,
    roll_days: int = ROLL_DAYS,
    rule: RollRule | None = None,
    volumes: pd.DataFrame | None = None,
) -> Listed | None:
    """Return the contract to trade on `as_of`, or None when none is left.

    Months that the table calls illiquid, or that the rule leaves out, are passed over unless there
    is nothing else. A rule by volume without `volumes` keeps a contract to its last safe day.
    """
    rule = rule or RollRule(days=roll_days)
    every = list(listed)
    good = [each for each in every if each.month[1] in rule.months or not rule.months]
    good = [each for each in good if each.liquid or rule.months]
    for some in (good, [each for each in every if each not in good]):
        by_life = {each.life: each for each in some}
        calendar = some[0].calendar if some else "US"
        if found := front(by_life, as_of, calendar, rule, volumes):
            return by_life[found]
    return None


def _day(text: str) -> date:
    """Read IB's ``20261218``, with or without a time behind it."""
    return datetime.strptime(text[:8], "%Y%m%d").date()  # noqa: DTZ007 - a date has no zone
