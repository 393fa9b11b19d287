"""What a user passes, looked at before anything is asked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ib_async import Contract

if TYPE_CHECKING:
    from ibkit.history.series import Query


def check_wanted(contract: Any) -> None:
    """Refuse what names no instrument.

    >>> check_wanted(None)
    Traceback (most recent call last):
        ...
    ValueError: None names no instrument: write a shorthand such as 'AAPL', or an ib_async Contract
    """
    if not isinstance(contract, str | Contract):
        raise ValueError(  # noqa: TRY004 - as all that is refused at the door
            f"{contract!r} names no instrument: write a shorthand such as 'AAPL', or an ib_async "
            "Contract"
        )


def several_of(wanted: Any) -> list[str | Contract]:
    """Return one instrument or several of them as a list.

    Raises
    ------
    ValueError
        It is neither.
    """
    if isinstance(wanted, str | Contract):
        return [wanted]
    try:
        several = list(wanted)
    except TypeError:
        several = [wanted]
    for each in several:
        check_wanted(each)
    return several


def check_query(query: Query) -> None:
    """Refuse a number of sessions that is none, and what is neither true nor false.

    >>> check_query({"days": 2.5})
    Traceback (most recent call last):
        ...
    ValueError: days counts sessions and starts at 1, got 2.5
    """
    days = query.get("days")
    if days is not None and (
        isinstance(days, bool) or not isinstance(days, int | np.integer) or days < 1
    ):
        raise ValueError(f"days counts sessions and starts at 1, got {days!r}")
    use_rth = query.get("use_rth", True)
    if not isinstance(use_rth, bool):
        raise ValueError(f"use_rth is True or False, not {use_rth!r}")  # noqa: TRY004 - as above
