"""Why nothing fits a description, and what there is instead.

A mixin of `Contracts`: a refusal is worth a request or two more, if it then names the right thing.
Every candidate is one that IB has just told of, as shorthand that picks it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from ib_async import Contract

from ibkit import clock, naming
from ibkit.contracts.book import is_over
from ibkit.contracts.picking import contract_in, pick
from ibkit.contracts.specs import load_specs
from ibkit.errors import (
    DelistedContractError,
    ExpiredContractError,
    IbkitError,
    NotListedError,
    UnknownContractError,
    WrongCurrencyError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ib_async import ContractDetails

    from ibkit.connection import Link
    from ibkit.contracts.book import Answer

NO_MATCH: Final = 200
OPTIONS: Final = frozenset({"OPT", "FOP"})
SHOWN: Final = 8


class WhyNot:
    """Explains IB's refusals. A part of `Contracts`."""

    _link: Link
    requests: int

    if TYPE_CHECKING:

        async def _ask(self, description: Contract) -> list[ContractDetails]: ...

    async def _explain(
        self, error: UnknownContractError, description: Contract, known: Answer | None
    ) -> UnknownContractError:
        """Return what is wrong with a description that nothing fits; costs up to three requests."""
        code, reason = error.code, error.reason
        today = clock.now().date()
        dated = description.lastTradeDateOrContractMonth
        if (dated and dated[:8] < f"{today:%Y%m%d}"[: len(dated)]) or (
            known and all(is_over(each, today) for each in known.matches)
        ):
            return ExpiredContractError(code, reason, description)
        if known is not None:
            seen = f"{reason}; last seen on {known.at:%Y-%m-%d}"
            return DelistedContractError(code, seen, description)
        if others := await self._listed_as(_without_listing(description)):
            names = sorted({pick(each, others) for each in others})[:SHOWN]
            if description.secType == "CASH":
                names = [*await self._similar(description), *names][:SHOWN]
            if _is_foreign(description, others):
                return WrongCurrencyError(code, reason, description, names)
            return UnknownContractError(code, reason, description, names)
        for wider in _without_terms(description):
            if others := await self._listed_as(wider):
                near = _nearest(description, others)
                return NotListedError(code, reason, description, near)
        return UnknownContractError(code, reason, description, await self._similar(description))

    async def _listed_as(self, description: Contract) -> list[Contract]:
        """Return what fits another description; nothing, if nothing does."""
        with suppress(IbkitError):
            return [contract_in(each) for each in await self._ask(description)]
        return []

    async def _similar(self, description: Contract) -> list[str]:
        """Return what there is of a similar name, or number."""
        kind, symbol = description.secType, description.symbol
        if description.secId:  # the number of something else than a bond
            found = await self._listed_as(replace(description, secType="STK", currency=""))
            return [pick(each, found) for each in found]
        if kind == "CASH":
            other = replace(description, symbol=description.currency, currency=symbol)
            return [naming.shorthand(each) for each in await self._listed_as(other)]
        if kind in {"FUT", "CONTFUT"}:
            return await self._roots(kind, symbol)
        if not symbol or kind not in {"STK", "IND", "CFD"}:
            return []
        self.requests += 1
        with suppress(IbkitError):
            matches: Any = await self._link.request(
                "matching symbols", lambda ib: ib.reqMatchingSymbolsAsync(symbol)
            )
            return [naming.shorthand(_bare(each.contract)) for each in (matches or [])[:5]]
        return []

    async def _roots(self, kind: str, symbol: str) -> list[str]:
        """Return a root of the futures table that is written much like `symbol`, if IB has it."""
        for root in get_close_matches(symbol.upper(), load_specs(), 1, 0.6):
            spec = load_specs()[root]
            product = Contract(secType=kind, symbol=spec.ib_symbol, exchange=spec.exchange)
            if await self._listed_as(product):
                return [f"{'CONT' if kind == 'CONTFUT' else kind}:{root}"]
        return []


def _is_foreign(description: Contract, others: Iterable[Contract]) -> bool:
    """Whether the currency is what is wrong."""
    return bool(description.currency) and description.currency not in {e.currency for e in others}


def _without_listing(description: Contract) -> Contract:
    return replace(description, exchange="", primaryExchange="", currency="")


def _without_terms(description: Contract) -> list[Contract]:
    """Return wider descriptions of a derivative: of any class, of any strike, of any day."""
    kind = description.secType
    dated = bool(description.lastTradeDateOrContractMonth)
    wider = []
    if description.tradingClass and kind in OPTIONS:
        wider.append(replace(description, tradingClass=""))
    if kind in OPTIONS and description.strike and dated:
        wider.append(replace(description, strike=0.0))
        wider.append(replace(description, lastTradeDateOrContractMonth=""))
    if kind == "FUT" and dated:
        wider.append(replace(description, lastTradeDateOrContractMonth="", includeExpired=False))
    return wider


def _nearest(description: Contract, others: list[Contract]) -> list[str]:
    """Return the shorthand of the listed ones that are nearest, in order of day and strike."""
    day = _days(description.lastTradeDateOrContractMonth)

    def distance(each: Contract) -> tuple[int, float]:
        days = abs(_days(each.lastTradeDateOrContractMonth) - day)
        return days, abs(each.strike - description.strike)

    near = sorted(others, key=distance)[: SHOWN // 2]
    near.sort(key=lambda each: (each.lastTradeDateOrContractMonth, each.strike))
    return [pick(each, others) for each in near]


def _days(text: str) -> int:
    """Count the days to a date or, without one, the middle of its month; only differences tell."""
    year, month, day = int(text[:4] or 1), int(text[4:6] or 1), int(text[6:8] or 15)
    return date(year, month, day).toordinal()


def _bare(contract: Contract) -> Contract:
    """Return a match of a symbol search as a description."""
    kind, symbol = contract.secType, contract.symbol
    usual = "SMART" if kind == "STK" else contract.primaryExchange
    return Contract(secType=kind, symbol=symbol, exchange=usual, currency=contract.currency)
