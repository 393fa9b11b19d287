"""Find the one instrument behind a description, and what IB knows about it.

Exactly one, or an error that lists what it could be. Answers are kept in memory for the life of
the connection. Not here: parsing of shorthand (`ibkit.naming`), arithmetic on ticks and hours.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from ib_async import Contract, ContractDetails

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.contracts.futures import ROLL_DAYS, front_month, to_listed
from ibkit.contracts.hours import Session, by_date
from ibkit.contracts.schedules import Schedules
from ibkit.contracts.specs import find_spec
from ibkit.contracts.ticks import TickRule, flat_rule, make_rule, rule_id
from ibkit.errors import AmbiguousContractError, UnknownContractError

if TYPE_CHECKING:
    from datetime import date

    from ib_async import PriceIncrement

    from ibkit.connection import Link

ContractLike = str | Contract
SHOWN = 20


class Contracts:
    """Instruments by name: one match, its details, its tick rule, its sessions.

    Parameters
    ----------
    link : Link
        The connection that is asked.
    roll_days : int
        How many calendar days before its last safe day a future stops being the front month.
    """

    def __init__(self, link: Link, *, roll_days: int = ROLL_DAYS) -> None:
        self._loop = link.loop
        self._link = link
        self._roll_days = roll_days
        self._found: dict[object, ContractDetails] = {}
        self._rules: dict[int, TickRule] = {}
        self._rule_lock = asyncio.Lock()
        self._schedules = Schedules(link)

    @on_loop
    async def contract(self, wanted: ContractLike) -> Contract:
        """Return the one instrument that `wanted` describes, qualified.

        Parameters
        ----------
        wanted : str or Contract
            Shorthand (``"AAPL"``, ``"FUT:ES"``: the front month, see `ibkit.naming`), or an
            ib_async contract.

        Returns
        -------
        Contract
            With ``conId``, and a copy: changing it changes nothing here.

        Raises
        ------
        AmbiguousContractError
            Several instruments fit; the message is a table of the shorthand of each.
        UnknownContractError
            None fits; with IB's code and words.
        ShorthandError
            The text is no shorthand.

        Notes
        -----
        Costs one `reqContractDetails` the first time, nothing afterwards.
        """
        return copy.copy(_contract(await self._resolve(wanted)))

    @on_loop
    async def details(self, wanted: ContractLike) -> ContractDetails:
        """Return everything IB says about the one instrument that `wanted` describes.

        Raises
        ------
        AmbiguousContractError, UnknownContractError, ShorthandError
            As `contract`.
        """
        return copy.deepcopy(await self._resolve(wanted))

    @on_loop
    async def tick_rule(self, wanted: ContractLike) -> TickRule:
        """Return the price grid of an instrument at the exchange it is routed to.

        From IB's market rule; where IB names none, its minimum tick everywhere.
        """
        details = await self._resolve(wanted)
        number = rule_id(details, _contract(details).exchange)
        if number is None:
            return flat_rule(details.minTick)
        # ib_async keys these requests by rule number: two at once would share one answer
        async with self._rule_lock:
            if number not in self._rules:
                increments: list[PriceIncrement] | None = await self._link.request(
                    f"market rule {number}", lambda ib: ib.reqMarketRuleAsync(number)
                )
                self._rules[number] = make_rule(increments or [])
        rule = self._rules[number]
        return rule if rule.steps else flat_rule(details.minTick)

    @on_loop
    async def sessions(
        self, wanted: ContractLike, start: date, end: date, *, use_rth: bool = True
    ) -> list[Session]:
        """Return the trading sessions with trade dates from `start` to `end`, both included.

        Parameters
        ----------
        wanted : str or Contract
            The instrument.
        start, end : date
            Trade dates; days without trading are left out.
        use_rth : bool
            Regular hours only.

        Returns
        -------
        list of Session
            One for each trade date, in UTC, ascending; a lunch break is inside. Of days to come
            only those that IB has published.

        Notes
        -----
        Costs a `reqHistoricalSchedule` for each year that was not asked for before.
        """
        contract = _contract(await self._resolve(wanted))
        found = await self._schedules.between(contract, start, end, use_rth=use_rth)
        return list(by_date(found).values())

    async def _resolve(self, wanted: ContractLike) -> ContractDetails:
        description = naming.parse(wanted) if isinstance(wanted, str) else copy.copy(wanted)
        key = self._key(description)
        if key not in self._found:
            details = await self._look_up(_complete(description), str(_name(wanted)))
            found = _contract(details)
            for alias in (key, (found.conId, found.exchange), (found.conId, "")):
                self._found.setdefault(alias, details)
        return self._found[key]

    def _key(self, description: Contract) -> object:
        """Return what an answer is remembered by; a front month only until the day is over."""
        if description.conId:
            return description.conId, description.exchange
        front = description.secType == "FUT" and not description.lastTradeDateOrContractMonth
        front = front and not description.localSymbol
        return repr(description), clock.now().date() if front else None

    async def _look_up(self, description: Contract, name: str) -> ContractDetails:
        found: list[ContractDetails] = await self._link.request(
            "contract details",
            lambda ib: ib.reqContractDetailsAsync(description),
            contract=description,
        )
        matches = list({_contract(each).conId: each for each in found or []}.values())
        if description.secType == "FUT" and not description.localSymbol and not description.conId:
            matches = self._front(description, matches)
        if not matches:
            raise UnknownContractError(200, "no listed instrument fits", description)
        if len(matches) > 1:
            raise AmbiguousContractError(name, _candidates(matches))
        return matches[0]

    def _front(
        self, description: Contract, matches: list[ContractDetails]
    ) -> list[ContractDetails]:
        """Keep the front month, where the description names no month and one product is meant."""
        products = {(c.exchange, c.tradingClass, c.multiplier) for c in map(_contract, matches)}
        if description.lastTradeDateOrContractMonth or len(products) > 1:
            return matches
        today = clock.now().date()
        front = front_month(map(to_listed, matches), today, roll_days=self._roll_days)
        return [front.details] if front else []


def _contract(details: ContractDetails) -> Contract:
    assert details.contract is not None
    return details.contract


def _name(wanted: ContractLike) -> str:
    return wanted if isinstance(wanted, str) else naming.shorthand(wanted)


def _complete(description: Contract) -> Contract:
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
    description.includeExpired = bool(month) and month <= f"{clock.now():%Y%m}"
    if spec is None:
        return description
    description.symbol = spec.ib_symbol
    description.exchange = description.exchange or spec.exchange
    description.currency = description.currency or spec.currency
    if description.secType == "FUT":
        description.tradingClass = spec.trading_class
    return description


def _candidates(matches: list[ContractDetails]) -> list[tuple[str, str]]:
    """Return (shorthand, words) of each; the number, where two share a shorthand."""
    names = [naming.shorthand(_contract(each)) for each in matches]
    rows = [
        (name if names.count(name) == 1 else f"CONID:{_contract(each).conId}", _words(each))
        for name, each in zip(names, matches, strict=True)
    ]
    rows = sorted(rows)[:SHOWN]
    return rows if len(matches) <= SHOWN else [*rows, ("…", f"and {len(matches) - SHOWN} more")]


def _words(details: ContractDetails) -> str:
    contract = _contract(details)
    parts: list[Any] = [
        contract.localSymbol,
        details.longName,
        contract.primaryExchange or contract.exchange,
        contract.currency,
        contract.tradingClass if contract.secType != "STK" else "",
        f"x{contract.multiplier}" if contract.multiplier else "",
    ]
    return ", ".join(str(part) for part in parts if part)
