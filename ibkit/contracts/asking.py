"""Ask IB about instruments, as seldom as possible: the book first, then one request for many.

A mixin of `Contracts`. Not here: which of several matches is meant (`ibkit.contracts.picking`),
what is kept (`ibkit.contracts.book`).
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from ib_async import Contract, ContractDetails
from tqdm.auto import tqdm

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.contracts.book import Answer, differences, group_of, is_over, kind_of, question_of
from ibkit.contracts.picking import contract_in, fits, pick
from ibkit.errors import (
    DelistedContractError,
    ExpiredContractError,
    IbkitError,
    NotConnectedError,
    UnknownContractError,
    WrongCurrencyError,
)
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ibkit.connection import Link
    from ibkit.connection.loop import LoopThread
    from ibkit.contracts.book import Book

log = get_logger(__name__)
ContractLike = str | Contract
# requests for details in flight at once; the connection's gate counts messages anyway
AT_ONCE: Final = 12
# a whole expiry of an index has a thousand rows
LONG_S: Final = 120.0
NO_MATCH: Final = 200
OPTIONS: Final = frozenset({"OPT", "FOP"})
# answers by group and question
Answers = dict[str, dict[str, list[ContractDetails]]]
# where a batch collects what it will write at its end
BATCH: ContextVar[Answers | None] = ContextVar("ibkit_contracts_batch", default=None)


@dataclass(frozen=True)
class Resolved:
    """What a batch of names has become.

    Attributes
    ----------
    contracts : dict of str to Contract
        Qualified, by the name that was given, in that order; those without failures.
    failures : dict of str to IbkitError
        Why a name is no instrument.
    requests : int
        How many requests it took.
    seconds : float
        How long that was.
    """

    contracts: Mapping[str, Contract]
    failures: Mapping[str, IbkitError] = field(default_factory=dict)
    requests: int = 0
    seconds: float = 0.0

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return (
            f"<Resolved {len(self.contracts)} contracts{failed}, {self.requests} requests, "
            f"{self.seconds:.1f} s>"
        )

    def frame(self) -> pd.DataFrame:
        """Return a row a name: ``con_id shorthand symbol … problem``; null where it failed."""
        rows = [
            {
                "name": name,
                "con_id": each.conId,
                "shorthand": naming.shorthand(each),
                "sec_type": each.secType,
                "symbol": each.symbol,
                "exchange": each.exchange,
                "currency": each.currency,
                "expiry": each.lastTradeDateOrContractMonth,
                "strike": each.strike or None,
                "right": each.right,
                "trading_class": each.tradingClass,
            }
            for name, each in self.contracts.items()
        ]
        rows += [
            {"name": name, "problem": f"{type(error).__name__}: {_first_line(error)}"}
            for name, error in self.failures.items()
        ]
        columns = ["name", "con_id", "shorthand", "sec_type", "symbol", "exchange", "currency"]
        columns += ["expiry", "strike", "right", "trading_class", "problem"]
        frame = pd.DataFrame(rows, columns=columns).astype({"con_id": "Int64"})
        return frame.set_index("name")


class Asking:
    """Questions to IB about instruments. A part of `Contracts`."""

    _loop: LoopThread
    _link: Link
    _open_book: Callable[[], Book] | None
    _book_made: Book | None
    requests: int

    if TYPE_CHECKING:

        async def _resolve(self, wanted: ContractLike) -> ContractDetails: ...  # see `Contracts`

    async def _book(self) -> Book | None:
        """Return the book; opening it loads the store, so it is done when first needed."""
        if self._book_made is None and self._open_book is not None:
            self._book_made = await asyncio.to_thread(self._open_book)
        return self._book_made

    async def _answers(
        self, description: Contract, *, max_age_days: float | None = None
    ) -> list[ContractDetails]:
        """Return all instruments that fit: from the book while it holds, else from IB.

        Without a connection, what the book says counts however old it is.
        """
        known, holds = await self._known(description, max_age_days)
        if known and (holds or self._link.state != "ready"):
            if not holds:
                log.warning("no connection: an old answer", instrument=question_of(description))
            return known.matches
        try:
            found = await self._ask(description)
        except NotConnectedError:
            if known is None:
                raise
            return known.matches
        except UnknownContractError as error:
            raise await self._explain(error, description, known) from error
        await self._keep(description, found, known)
        return found

    async def _known(
        self, description: Contract, max_age_days: float | None
    ) -> tuple[Answer | None, bool]:
        """Return what the book says, and whether that still holds."""
        book = await self._book()
        if book is None:
            return None, False
        question, group = question_of(description), group_of(description)
        known = await asyncio.to_thread(book.find, question, group)
        if known is None:
            return None, False
        now = clock.now()
        young = max_age_days is None or (now - known.at).total_seconds() <= max_age_days * 86_400
        return known, young and book.holds(known, kind_of(description), now)

    async def _ask(self, description: Contract) -> list[ContractDetails]:
        """Ask for details; one entry for each conId."""
        self.requests += 1
        wide = description.secType in OPTIONS and not description.strike
        found: list[ContractDetails] = await self._link.request(
            "contract details",
            lambda ib: ib.reqContractDetailsAsync(description),
            contract=description,
            timeout_s=LONG_S if wide else None,
        )
        matches = list({contract_in(each).conId: each for each in found or []}.values())
        if not matches:
            raise UnknownContractError(NO_MATCH, "no listed instrument fits", description)
        for each in matches:
            _name_bond(each, description)
        return matches

    async def _keep(
        self, description: Contract, found: list[ContractDetails], known: Answer | None
    ) -> None:
        """Put an answer into the book; say so when it is another one than the last time."""
        question = question_of(description)
        changed = differences(known.matches, found) if known else {}
        if changed and known:
            log.warning("an instrument has changed", instrument=question, since=known.at, **changed)
        group, batch = group_of(description), BATCH.get()
        if batch is not None:
            batch[group][question] = found
        else:
            await self._write({group: {question: found}})

    async def _write(self, answers: Answers) -> None:
        """Put answers into the book, each group of them in one write."""
        book = await self._book()
        if book is not None:
            for group, some in answers.items():
                await asyncio.to_thread(book.keep, some, group, clock.now())

    async def _explain(
        self, error: UnknownContractError, description: Contract, known: Answer | None
    ) -> UnknownContractError:
        """Return what is wrong with a description that nothing fits; costs up to two requests."""
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
        with suppress(IbkitError):
            others = await self._ask(_without_listing(description))
            contracts = [contract_in(each) for each in others]
            names = sorted({pick(each, contracts) for each in contracts})[:8]
            money = {each.currency for each in contracts}
            if description.currency and description.currency not in money:
                return WrongCurrencyError(code, reason, description, names)
            return UnknownContractError(code, reason, description, names)
        return UnknownContractError(code, reason, description, await self._similar(description))

    async def _similar(self, description: Contract) -> list[str]:
        """Return what IB's search finds under a symbol."""
        if not description.symbol or description.secType not in {"STK", "IND", "CFD"}:
            return []
        self.requests += 1
        with suppress(IbkitError):
            found: Any = await self._link.request(
                "matching symbols", lambda ib: ib.reqMatchingSymbolsAsync(description.symbol)
            )
            return [naming.shorthand(_bare(each.contract)) for each in (found or [])[:5]]
        return []

    @on_loop
    async def resolve(
        self, wanted: Iterable[ContractLike], *, progress: bool = False, on_error: str = "list"
    ) -> Resolved:
        """Look many instruments up at once, in as few requests as possible.

        Parameters
        ----------
        wanted : iterable of str or Contract
            Shorthand or contracts.
        progress : bool
            Show a bar.
        on_error : {"list", "raise"}
            Whether the first name that is no instrument ends it.

        Returns
        -------
        Resolved
            Contracts and failures by name; how many requests it took.

        Notes
        -----
        What the book knows costs nothing. Options of one class and expiry, or of one strike, share
        a request; so do the months of a future.
        """
        if on_error not in {"list", "raise"}:
            raise ValueError(f"on_error is 'list' or 'raise', not {on_error!r}")
        names = {_name(each): each for each in wanted}
        start, before = clock.monotonic(), self.requests
        found: dict[str, Contract] = {}
        failures: dict[str, IbkitError] = {}
        with tqdm(total=len(names), disable=not progress, desc="contracts") as bar:
            gate = asyncio.Semaphore(AT_ONCE)

            async def one(name: str, each: ContractLike) -> None:
                async with gate:
                    try:
                        found[name] = copy.copy(contract_in(await self._resolve(each)))
                    except IbkitError as error:
                        if on_error == "raise":
                            raise
                        failures[name] = error
                bar.update()

            await self._share(names, found, failures)
            bar.update(len(found) + len(failures))
            if failures and on_error == "raise":
                raise next(iter(failures.values()))
            rest = names.keys() - found.keys() - failures.keys()
            tasks = [one(name, each) for name, each in names.items() if name in rest]
            batch: Answers = defaultdict(dict)
            token = BATCH.set(batch)
            try:
                await asyncio.gather(*tasks)
            finally:
                BATCH.reset(token)
                await self._write(batch)
        ordered = {name: found[name] for name in names if name in found}
        count, seconds = self.requests - before, clock.monotonic() - start
        return Resolved(ordered, failures, count, seconds)

    async def _share(
        self,
        names: Mapping[str, ContractLike],
        found: dict[str, Contract],
        failures: dict[str, IbkitError],
    ) -> None:
        """Settle the options of a batch that requests for whole rows or columns answer."""
        groups: defaultdict[tuple[str, ...], dict[str, Contract]] = defaultdict(dict)
        for name, each in names.items():
            with suppress(IbkitError):
                description = naming.parse(each) if isinstance(each, str) else each
                whole = description.strike and description.right and not description.localSymbol
                if description.secType in OPTIONS and whole and not description.conId:
                    key = (description.secType, description.symbol, description.exchange)
                    groups[*key, description.currency, description.tradingClass][name] = description
        for group in groups.values():
            if len(group) > 1:
                rows = await self._qualify(list(group.values()))
                for (name, each), row in zip(group.items(), rows, strict=True):
                    if len(row) == 1:
                        found[name] = row[0]
                    elif not row:
                        words = "no listed option has this expiry and strike"
                        failures[name] = UnknownContractError(NO_MATCH, words, each)

    async def _qualify(
        self, wanted: Sequence[Contract], tell: Callable[[int], object] = lambda _: None
    ) -> list[list[Contract]]:
        """Return what is listed of each option: one contract, or none, or one of each class.

        Parameters
        ----------
        wanted : sequence of Contract
            Of one symbol, exchange, currency and class, named in full.
        tell : callable
            Gets the number of options that an answer has settled.
        """
        book, now, group = await self._book(), clock.now(), group_of(wanted[0])
        found: dict[int, list[Contract]] = {}
        fresh: dict[str, Sequence[ContractDetails]] = {}
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(request: Contract, members: list[Contract]) -> None:
            question = question_of(request)
            known = await asyncio.to_thread(book.find, question, group) if book else None
            if known and book and book.holds(known, request.secType, now):
                answer = await asyncio.to_thread(lambda: known.matches)
            else:
                async with gate:
                    answer = await self._whole(request)
                if answer:
                    fresh[question] = [lean(each) for each in answer]
            for each, matches in match_all(members, answer):
                found[id(each)] = [contract_in(match) for match in matches]
            tell(len(members))

        await asyncio.gather(*(one(*each) for each in plan_requests(wanted)))
        if book is not None and fresh:
            await asyncio.to_thread(book.keep, fresh, group, now)
        return [[copy.copy(match) for match in found[id(each)]] for each in wanted]

    async def _whole(self, request: Contract) -> list[ContractDetails]:
        """Return a row or a column of a chain; nothing, if there is none."""
        try:
            return await self._ask(request)
        except UnknownContractError:
            return []

    @on_loop
    async def changes(self) -> pd.DataFrame:
        """Return what IB answered otherwise than before: new conIds, renamed instruments.

        Returns
        -------
        DataFrame
            Oldest first: ``ts entry field before after``, of all that this store has ever kept.
        """
        book = await self._book()
        if book is None:
            from ibkit.contracts.book import EMPTY, changes_in

            return changes_in(EMPTY)
        return await asyncio.to_thread(book.changes)


def plan_requests(wanted: Sequence[Contract]) -> list[tuple[Contract, list[Contract]]]:
    """Return the fewest requests whose answers hold all of some options of one class.

    A request leaves open the right, and either the strike or the expiry: whichever there are
    fewer of is named.

    Examples
    --------
    >>> month = [naming.parse(f"OPT:SPY:20261218:{strike}C") for strike in (600, 610, 620)]
    >>> [(request.strike, len(options)) for request, options in plan_requests(month)]
    [(0.0, 3)]
    """
    days = {each.lastTradeDateOrContractMonth for each in wanted}
    strikes = {each.strike for each in wanted}
    by_day = len(days) <= len(strikes)
    rows: defaultdict[str | float, list[Contract]] = defaultdict(list)
    for each in wanted:
        rows[each.lastTradeDateOrContractMonth if by_day else each.strike].append(each)
    return [(_request(members, by_day=by_day), members) for members in rows.values()]


def _request(members: list[Contract], *, by_day: bool) -> Contract:
    """Return the description that all of `members` fit."""
    first = members[0]
    if by_day:
        return replace(first, strike=0.0, right="")
    return replace(first, lastTradeDateOrContractMonth="", right="")


def match_all(
    wanted: Sequence[Contract], answer: Sequence[ContractDetails]
) -> list[tuple[Contract, list[ContractDetails]]]:
    """Return what fits each of some options, of one answer."""
    index: defaultdict[tuple[str, float, str], list[ContractDetails]] = defaultdict(list)
    for each in answer:
        one = contract_in(each)
        index[one.lastTradeDateOrContractMonth[:8], one.strike, one.right[:1]].append(each)
    keys = ((e.lastTradeDateOrContractMonth[:8], e.strike, e.right[:1]) for e in wanted)
    return [
        (each, [one for one in index[key] if fits(contract_in(one), each)])
        for each, key in zip(wanted, keys, strict=True)
    ]


def lean(details: ContractDetails) -> ContractDetails:
    """Return the details of one of thousands: without hours and lists that all of them share."""
    return replace(details, tradingHours="", liquidHours="", orderTypes="", validExchanges="")


def _name_bond(details: ContractDetails, description: Contract) -> None:
    """Let a bond keep the number that it was asked for by: IB's answer names no symbol."""
    contract = contract_in(details)
    if contract.secType == "BOND" and not contract.secId:
        ids = {each.tag: each.value for each in details.secIdList or []}
        kind = description.secIdType or ("ISIN" if "ISIN" in ids else "CUSIP")
        contract.secIdType = kind
        contract.secId = description.secId or ids.get(kind, "") or details.cusip


def _without_listing(description: Contract) -> Contract:
    return replace(description, exchange="", primaryExchange="", currency="")


def _bare(contract: Contract) -> Contract:
    """Return a match of a symbol search as a description."""
    kind, symbol = contract.secType, contract.symbol
    usual = "SMART" if kind == "STK" else contract.primaryExchange
    return Contract(secType=kind, symbol=symbol, exchange=usual, currency=contract.currency)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _name(wanted: ContractLike) -> str:
    if isinstance(wanted, str):
        return wanted
    return question_of(wanted)
