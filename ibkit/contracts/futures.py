"""Which contract of a future is the front month.

The rule: the nearest liquid month whose last safe day is more than `ROLL_DAYS` calendar days
away. The last safe day is the expiry for cash-settled products, and the business day before first
notice, where that comes earlier, for delivered ones; so ES rolls on the Thursday eight days before
its third Friday. Pure: `as_of` comes from the caller, expiries from IB (the table's rules serve
offline). Not here: rolls by volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ibkit.contracts.expiry import first_notice, previous_business_day
from ibkit.contracts.specs import find_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ib_async import ContractDetails

    from ibkit.contracts.specs import FutureSpec

ROLL_DAYS: Final = 8


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
    """

    details: ContractDetails
    month: tuple[int, int]
    expiry: date
    last_safe_day: date
    liquid: bool


def to_listed(details: ContractDetails, spec: FutureSpec | None = None) -> Listed:
    """Return the dates of one contract: IB's expiry, the table's first notice."""
    contract = details.contract
    assert contract is not None
    text = details.realExpirationDate or contract.lastTradeDateOrContractMonth
    last = _day(text)
    named = details.contractMonth or text
    month = int(named[:4]), int(named[4:6])
    spec = spec or find_spec(
        contract.symbol, trading_class=contract.tradingClass, multiplier=contract.multiplier
    )
    notice = first_notice(spec, *month) if spec else None
    safe = min(last, previous_business_day(notice, spec.calendar)) if spec and notice else last
    return Listed(details, month, last, safe, spec is None or month[1] in spec.months)


def front_month(
    listed: Iterable[Listed], as_of: date, *, roll_days: int = ROLL_DAYS
) -> Listed | None:
    """Return the contract to trade on `as_of`, or None when none is left.

    Months that the table calls illiquid are passed over unless there is nothing else.
    """
    alive = sorted(
        (each for each in listed if each.last_safe_day > as_of + timedelta(days=roll_days)),
        key=lambda each: (not each.liquid, each.expiry),
    )
    return alive[0] if alive else None


def _day(text: str) -> date:
    """Read IB's ``20261218``, with or without a time behind it."""
    return datetime.strptime(text[:8], "%Y%m%d").date()  # noqa: DTZ007 - a date has no zone
