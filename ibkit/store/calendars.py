"""Which sessions an exchange held, without asking anybody: to see a day that is missing as a whole.

From `exchange_calendars`, for the shares of exchanges whose calendar is beyond doubt. What IB says
itself (`ibkit.contracts.schedules`) is better where somebody has it, and is passed by hand.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ibkit.store import instruments, layout
from ibkit.store.journal import moment

if TYPE_CHECKING:
    from ibkit.store.spans import Span

EXCHANGES: Final = {
    "AEB": "XAMS",
    "BM": "XMAD",
    "BVME": "XMIL",
    "IBIS": "XETR",
    "SBF": "XPAR",
}
CURRENCIES: Final = {
    "AUD": "XASX",
    "CAD": "XTSE",
    "CHF": "XSWX",
    "GBP": "XLON",
    "HKD": "XHKG",
    "JPY": "XTKS",
    "SEK": "XSTO",
    "USD": "XNYS",
}


def sessions(slug: str, start: int, end: int) -> tuple[Span, ...]:
    """Return the regular sessions of a share within ``[start, end]``, in microseconds since 1970.

    There are none where the calendar of its exchange is not known to us.

    >>> thanksgiving, saturday = 1_795_651_200_000_000, 1_795_824_000_000_000  # of 2026
    >>> [(opened, closed)] = sessions("STK-AAPL-SMART-USD", thanksgiving, saturday)
    >>> (closed - opened) // 60_000_000  # minutes of the Friday between
    210
    """
    if not slug.startswith("STK-") or not layout.is_slug(slug):
        return ()
    contract = instruments.contract_of(slug)
    name = EXCHANGES.get(contract.exchange) or CURRENCIES.get(contract.currency)
    if name is None:
        return ()
    years = [moment(edge).year for edge in (start, end)]
    return tuple(one for one in _held(name, *years) if start <= one[0] and one[1] <= end)


@lru_cache(maxsize=16)
def _held(name: str, first: int, last: int) -> tuple[Span, ...]:
    """Return the sessions of some years."""
    import exchange_calendars

    with warnings.catch_warnings():  # it asks pandas in a way that pandas will change
        warnings.filterwarnings("ignore", message="Series.values")
        held = exchange_calendars.get_calendar(name, start=f"{first}-01-01", end=f"{last}-12-31")
    opens, closes = (
        held.schedule[edge].dt.as_unit("us").astype("int64").tolist() for edge in ("open", "close")
    )
    return tuple(zip(opens, closes, strict=True))
