"""What IB has bars of, and what it never has: refused or explained before a request is spent.

Pure: tables and dates. Sources: IBKR Campus, TWS API, "Historical Bars" (available data per
product) and https://interactivebrokers.github.io/tws-api/historical_limitations.html (unavailable
historical data).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from ibkit.errors import WrongSeriesError

if TYPE_CHECKING:
    from ib_async import Contract

    from ibkit.schema import BarSize

QUOTES: Final = ("MIDPOINT", "BID", "ASK", "BID_ASK")
TRADED: Final = ("TRADES", *QUOTES)
VOLATILITY: Final = ("HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY")
YIELDS: Final = ("YIELD_BID", "YIELD_ASK", "YIELD_BID_ASK", "YIELD_LAST")
# kind of instrument → the series that IB has; a kind that is not here may have any
LEGAL: Final[dict[str, tuple[str, ...]]] = {
    "STK": (*TRADED, "ADJUSTED_LAST", *VOLATILITY, "FEE_RATE"),
    "IND": ("TRADES", *VOLATILITY),
    "BOND": (*TRADED, *YIELDS),
    "CRYPTO": ("AGGTRADES", *QUOTES),
    **dict.fromkeys(("FUT", "CONTFUT", "OPT", "FOP", "WAR"), TRADED),
    **dict.fromkeys(("CASH", "CFD", "CMDTY", "FUND"), QUOTES),
}
# bars of so many seconds or less are kept for six months; two days more, for how IB counts them
SMALL_S: Final = 30
SMALL_KEPT: Final = timedelta(days=186)
FUTURES_KEPT: Final = timedelta(days=731)
# after its last trading day IB tells nothing of it
GONE: Final = frozenset({"OPT", "FOP", "WAR", "IOPT"})
# a series that is another one tomorrow: asked for up to now, and never stored
FLEETING_KINDS: Final = frozenset({"CONTFUT"})
FLEETING_SERIES: Final = frozenset({"ADJUSTED_LAST"})
END: Final = datetime.max.replace(tzinfo=UTC)


class Before(NamedTuple):
    """Before `until` IB has nothing, and why."""

    until: datetime
    reason: str


def check(contract: Contract, what: str) -> None:
    """Refuse a series that IB has not for this kind of instrument.

    Raises
    ------
    WrongSeriesError
        With those that it has.

    Examples
    --------
    >>> from ib_async import Forex
    >>> check(Forex("EURUSD"), "TRADES")
    Traceback (most recent call last):
        ...
    ibkit.errors.WrongSeriesError: No TRADES bars of CASH EUR IDEALPRO USD: ...
    """
    kind = contract.secType
    if kind == "BAG":
        reason = "IB keeps no history of combos; fetch the legs, and add them up"
        raise WrongSeriesError(what, contract, reason)
    if what == "SCHEDULE":
        raise WrongSeriesError(what, contract, "sessions are no bars: history.schedule() has them")
    legal = LEGAL.get(kind)
    if legal is not None and what not in legal:
        raise WrongSeriesError(what, contract, f"IB has none for {kind}", legal)


def is_fleeting(contract: Contract, what: str) -> bool:
    """Whether a series changes as a whole from day to day, so that stored parts would not fit."""
    return contract.secType in FLEETING_KINDS or what in FLEETING_SERIES


def never_before(contract: Contract, bar_size: BarSize, now: datetime) -> Before | None:
    """Return up to when IB has no bars by its own rules; None: it may have all.

    Examples
    --------
    >>> from ib_async import Stock
    >>> from ibkit.schema import bar_size
    >>> now = datetime(2026, 11, 20, tzinfo=UTC)
    >>> never_before(Stock("AAPL"), bar_size("5 secs"), now).until.date()
    datetime.date(2026, 5, 18)
    >>> never_before(Stock("AAPL"), bar_size("1 min"), now)
    """
    last = last_day(contract)
    if last is not None:
        over = datetime.combine(last + timedelta(days=1), time(12), tzinfo=UTC)
        if contract.secType in GONE and over < now:
            reason = f"IB keeps no history of {_name(contract)} that have expired ({last})"
            return Before(END, reason)
        if contract.secType == "FUT" and over + FUTURES_KEPT < now:
            reason = f"IB keeps futures for two years after their expiry, which was {last}"
            return Before(END, reason)
    if bar_size.seconds <= SMALL_S:
        return Before(now - SMALL_KEPT, "IB keeps bars of 30 secs or less for six months")
    return None


def last_day(contract: Contract) -> date | None:
    """Return the last trading day of a contract that ends, where it is told to the day."""
    text = contract.lastTradeDateOrContractMonth[:8]
    dated = contract.secType in GONE | {"FUT"} and len(text) == len("YYYYMMDD") and text.isdigit()
    return date.fromisoformat(text) if dated else None


def is_over(contract: Contract, now: datetime) -> bool:
    """Whether a contract's last trading day has passed."""
    last = last_day(contract)
    return last is not None and last < now.date()


def _name(contract: Contract) -> str:
    return {"OPT": "options", "FOP": "options on futures"}.get(contract.secType, "warrants")
