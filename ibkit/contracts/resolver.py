"""Find the one instrument behind a description, and what IB knows about it.

Exactly one, or an error that lists what it could be. Answers are kept in memory for the life of
the connection. Not here: parsing of shorthand (`ibkit.naming`), arithmetic on ticks and hours.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ib_async import Contract, ContractDetails

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.contracts.book import is_over, question_of
from ibkit.contracts.chaining import Chaining
from ibkit.contracts.completing import aliases, complete, leaves_currency_open, of_root, undated
from ibkit.contracts.explaining import Explaining
from ibkit.contracts.margin import Margins
from ibkit.contracts.opening import Opening
from ibkit.contracts.overrides import Overrides
from ibkit.contracts.picking import MORE, contract_in, prefer, table_of
from ibkit.contracts.pricing import Pricing
from ibkit.contracts.rolling import Rolling
from ibkit.contracts.rolls import ROLL_DAYS
from ibkit.contracts.schedules import Schedules
from ibkit.errors import AmbiguousContractError, UnknownContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ibkit.connection import Link
    from ibkit.contracts.book import Book
    from ibkit.contracts.ticks import TickRule

ContractLike = str | Contract
DAY_S: Final = 86_400
KEPT: Final = 50_000  # answers in memory, by each of their names


class Contracts(Opening, Rolling, Pricing, Margins, Chaining, Explaining):
    """Instruments by name: one match, its details, its tick rule, its sessions.

    Parameters
    ----------
    link : Link
        The connection that is asked.
    roll_days : int
        How many calendar days before its last safe day a future stops being the front month.
    cache : Path, optional
        The folder where answers are kept for other processes and other days.
    overrides : Overrides, optional
        What the user knows better.
    book : callable, optional
        Opens the book of IB's answers that outlives the connection.
    trading : Link, optional
        The connection that knows the accounts, where it is another one.

    Attributes
    ----------
    requests : int
        How many requests about instruments it has sent.
    """

    def __init__(
        self,
        link: Link,
        *,
        roll_days: int = ROLL_DAYS,
        cache: Path | None = None,
        overrides: Overrides | None = None,
        book: Callable[[], Book] | None = None,
        trading: Link | None = None,
    ) -> None:
        self._loop = link.loop
        self._overrides = overrides or Overrides()
        self._link = link
        self._roll_days = roll_days
        self._found: dict[Any, tuple[ContractDetails, float]] = {}
        self._open_book, self._book_made, self.requests = book, None, 0
        self._rules: dict[int, TickRule] = {}
        self._rule_lock = asyncio.Lock()
        self._schedules = Schedules(link, cache / "schedules" if cache else None, self._overrides)
        self._tables, self._margins = {}, {}
        self._told = set()
        self._accounting = trading or link

    def __repr__(self) -> str:
        return f"<Contracts of {self._link!r}, {self.requests} requests, {self._overrides!r}>"

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
        Costs one `reqContractDetails` the first time, and nothing while IB's answer holds: weeks,
        also for other processes, see `ibkit.contracts.book.AGES`. Without a connection, an answer
        that has run out counts too.
        """
        return copy.copy(contract_in(await self._resolve(wanted)))

    @on_loop
    async def details(self, wanted: ContractLike) -> ContractDetails:
        """Return everything IB says about the one instrument that `wanted` describes.

        Raises
        ------
        AmbiguousContractError, UnknownContractError, ShorthandError
            As `contract`.
        """
        return copy.deepcopy(await self._resolve(wanted, max_age_days=1))

    async def _resolve(
        self, wanted: ContractLike, *, max_age_days: float | None = None
    ) -> ContractDetails:
        """Return the details of the one match; not older than some days, if that matters."""
        description = self._described(wanted)
        if description.secType == "BAG":
            return await self._combo(description)
        if description.secType == "CONTFUT":
            description = undated(description)
        key, now = self._key(description), clock.monotonic()
        known = self._found.get(key)
        if known is None or (max_age_days and now - known[1] > max_age_days * DAY_S):
            completed, name = complete(description, clock.now().date()), str(_name(wanted))
            details = await self._look_up(completed, name, max_age_days=max_age_days)
            found, known = contract_in(details), (details, now)
            while len(self._found) >= KEPT:
                self._found.pop(next(iter(self._found)))
            self._found[key] = known
            self._found.update(dict.fromkeys(aliases(found), known))
        _say_if_over(known[0])
        return known[0]

    def _described(self, wanted: ContractLike) -> Contract:
        """Return what is meant, by the user's own listings and preferences, not looked up."""
        if isinstance(wanted, Contract):
            return copy.copy(wanted)
        naming.check_text(wanted)
        text = self._overrides.listed(wanted.strip())
        description = naming.parse(text)
        if self._overrides.prefer.currencies and leaves_currency_open(text, description):
            description.currency = ""
        return description

    async def _combo(self, description: Contract) -> ContractDetails:
        """Return a combo of legs that have their numbers; its rules are the strictest of theirs."""
        legs = [(ratio, await self._resolve(each)) for ratio, each in naming.legs_of(description)]
        combo = naming.make_combo([(ratio, contract_in(each)) for ratio, each in legs])
        if description.comboLegs and all(leg.exchange for leg in description.comboLegs):
            combo = replace(description, symbol=description.symbol or combo.symbol)
        parts = [each for _, each in legs]
        orders = [set(each.orderTypes.split(",")) for each in parts]
        return ContractDetails(
            contract=combo,
            minTick=min(each.minTick for each in parts),
            orderTypes=",".join(sorted(set.intersection(*orders))),
            priceMagnifier=parts[0].priceMagnifier,
            timeZoneId=parts[0].timeZoneId,
            minSize=1.0,
            sizeIncrement=1.0,
            suggestedSizeIncrement=1.0,
        )

    def _key(self, description: Contract) -> tuple[object, object]:
        """Return what an answer is remembered by; a front month only until the day is over."""
        if description.conId:
            return description.conId, description.exchange
        front = description.secType == "FUT" and not description.lastTradeDateOrContractMonth
        front = front and not description.localSymbol
        return repr(description), clock.now().date() if front else None

    async def _look_up(
        self, description: Contract, name: str, *, max_age_days: float | None = None
    ) -> ContractDetails:
        found = await self._answers(description, max_age_days=max_age_days)
        matches = found
        if description.secType == "FUT" and not description.localSymbol and not description.conId:
            matches = await self._front(description, matches)
        if description.secType == "CONTFUT" and not description.tradingClass:
            matches = of_root(description, matches)
        matches = prefer(description, matches, self._overrides.prefer)
        if not matches:
            raise UnknownContractError(200, "no listed instrument fits", description)
        if len(matches) > 1:
            table = table_of(matches)
            rows = [(row["shorthand"], _words(row)) for row in table if row["shorthand"] != MORE]
            raise AmbiguousContractError(name, rows, table)
        return matches[0]

    async def _front(
        self, description: Contract, matches: list[ContractDetails]
    ) -> list[ContractDetails]:
        """Keep the front month, where the description names no month and one product is meant."""
        products = {(c.exchange, c.tradingClass, c.multiplier) for c in map(contract_in, matches)}
        if description.lastTradeDateOrContractMonth or len(products) > 1:
            return matches
        front = await self._front_of(matches, clock.now().date())
        return [front.details] if front else []


def _name(wanted: ContractLike) -> str:
    return wanted if isinstance(wanted, str) else question_of(wanted)


def _say_if_over(details: ContractDetails) -> None:
    """Mark a future that has expired: IB tells its past only if the contract says so."""
    contract = contract_in(details)
    if contract.secType == "FUT" and is_over(details, clock.now().date()):
        contract.includeExpired = True


def _words(row: Mapping[str, str]) -> str:
    """Return what a row of candidates says beside the shorthand."""
    return ", ".join(value for name, value in row.items() if value and name != "shorthand")
