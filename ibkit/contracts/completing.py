"""Fill in what a description leaves to others: the futures table, and what is usual.

Pure but for today's date, which the caller gives.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ibkit import naming
from ibkit.contracts.picking import contract_in
from ibkit.contracts.specs import find_spec, share_symbol

if TYPE_CHECKING:
    from datetime import date

    from ib_async import Contract, ContractDetails

EARLY: Final = timedelta(days=70)  # before the month of its name, a future may have expired
_MONEY: Final = re.compile(r"@[^:]*:(?:[A-Z]{3}|\*)")


def complete(description: Contract, today: date) -> Contract:
    """Fill in what the futures table knows: a person says 6E, IB wants EUR, class 6E, at CME."""
    if description.secType not in {"FUT", "CONTFUT", "FOP"} or description.conId:
        return description
    spec = find_spec(
        description.symbol,
        exchange=description.exchange,
        trading_class=description.tradingClass if description.secType != "FOP" else "",
        multiplier=description.multiplier,
    )
    month = description.lastTradeDateOrContractMonth[:6]
    # crude oil expires in the month before its name, and a description may ask for the expired
    soon = f"{today + EARLY:%Y%m}"
    past = description.includeExpired or (bool(month) and month <= soon)
    if spec is None:
        return replace(description, includeExpired=past)
    shared = share_symbol(
        description.symbol,
        exchange=description.exchange,
        trading_class=description.tradingClass,
        multiplier=description.multiplier,
    )
    return replace(
        description,
        includeExpired=past,
        symbol=spec.ib_symbol,
        exchange=description.exchange or spec.exchange,
        currency=description.currency or spec.currency,
        tradingClass=spec.trading_class
        if description.secType == "FUT" and not shared  # DAX is FDAX, FDXM and FDXS: ask which
        else description.tradingClass,
    )


def undated(description: Contract) -> Contract:
    """Describe a continuous future without the month, and the number, that it has for now."""
    named = replace(description, conId=0, lastTradeDateOrContractMonth="", localSymbol="")
    return named if description.symbol else description


def of_root(description: Contract, matches: list[ContractDetails]) -> list[ContractDetails]:
    """Keep the continuous future of the root that is named: FUT:SI is not SIL."""
    spec = find_spec(description.symbol, exchange=description.exchange)
    own = [
        each for each in matches if spec and contract_in(each).tradingClass == spec.trading_class
    ]
    return own or matches


def leaves_currency_open(text: str, description: Contract) -> bool:
    """Whether a name's currency is the usual one only because it says none.

    >>> leaves_currency_open("VOD", naming.parse("VOD"))
    True
    >>> leaves_currency_open("VOD@SMART:USD", naming.parse("VOD@SMART:USD"))
    False
    """
    kinds = {"STK", "CFD", "OPT", "CRYPTO", "BOND"}
    usual = description.currency == "USD"
    return description.secType in kinds and usual and not _MONEY.search(text)


def aliases(found: Contract) -> list[tuple[int, str]]:
    """Return by which numbers an instrument may be remembered, whoever asked for it first.

    A continuous future has the number of a real one, and is not it. A number alone means the usual
    routing: not the exchange that somebody named before.
    """
    if found.secType == "CONTFUT":
        return []
    usual = naming.EXCHANGES.get(found.secType) or found.exchange
    alone = [(found.conId, "")] if found.exchange == usual else []
    return [(found.conId, found.exchange), *alone]
