"""Sessions and underlyings, for a store, which knows no connection.

What IB says where it can be asked, a calendar where it cannot, and None where nobody knows: a
store goes on without. Not here: where sessions come from (`schedules`, `venues`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ib_async import Contract

from ibkit import naming
from ibkit.contracts.hours import UnknownTimeZoneError
from ibkit.contracts.venues import HoursOutOfReachError, UnknownVenueError
from ibkit.errors import (
    AmbiguousContractError,
    BudgetSpentError,
    LoopThreadError,
    NotConnectedError,
    RequestRefusedError,
    RequestTimeoutError,
)
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ibkit.connection.loop import LoopThread
    from ibkit.contracts import Contracts
    from ibkit.contracts.hours import Session

UNTOLD: Final = (
    LoopThreadError,
    NotConnectedError,
    RequestTimeoutError,
    BudgetSpentError,
    RequestRefusedError,
    AmbiguousContractError,
    UnknownVenueError,
    HoursOutOfReachError,
    UnknownTimeZoneError,
)
log = get_logger(__name__)


class Almanac:
    """Gives the sessions that an instrument has in a span of time; see `ibkit.store.timed`.

    Parameters
    ----------
    loop : LoopThread
        Where contracts are asked. On it, nobody may wait for it: then nothing is known.
    contracts : callable
        Gives the contracts, made when they are first needed.
    """

    def __init__(self, loop: LoopThread, contracts: Callable[[], Contracts]) -> None:
        self._loop, self._contracts = loop, contracts

    def __call__(
        self, slug: str, start: datetime, end: datetime, *, use_rth: bool
    ) -> list[Session] | None:
        """Return the sessions that touch [start, end), a day's break between two; None: unknown."""
        if self._loop.closed or self._loop.here:
            return None
        name, day = naming.shorthand(naming.from_slug(slug)), timedelta(days=1)
        try:
            found = self._contracts().sessions(
                name, (start - day).date(), (end + day).date(), use_rth=use_rth, breaks=True
            )
        except UNTOLD as error:
            log.debug("sessions are not known", instrument=slug, error=str(error))
            return None
        return [each for each in found if each.start < end and each.end > start]


class Underlyings:
    """Gives the slug of an option's underlying, as IB names it; None: it is not known."""

    def __init__(self, loop: LoopThread, contracts: Callable[[], Contracts]) -> None:
        self._loop, self._contracts = loop, contracts

    def __call__(self, option: Contract) -> str | None:
        """Look it up; two requests for the first option of an underlying, kept for weeks."""
        if self._loop.closed or self._loop.here:
            return None
        try:
            number = self._contracts().details(option).underConId
            above = self._contracts().contract(Contract(conId=number)) if number else None
        except UNTOLD as error:
            log.debug("an underlying is not known", option=option.localSymbol, error=str(error))
            return None
        return naming.slug(above) if above is not None else None
