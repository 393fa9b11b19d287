"""Answers about instruments: the book's while they hold, else IB's, one request at a time.

A mixin of `Contracts`. Not here: many at once (`ibkit.contracts.asking`), which of several matches
is meant (`ibkit.contracts.picking`), what is kept (`ibkit.contracts.book`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from ibkit import clock, naming
from ibkit.contracts.book import Answer, differences, group_of, kind_of, question_of
from ibkit.contracts.picking import contract_in
from ibkit.contracts.whynot import NO_MATCH, OPTIONS, WhyNot
from ibkit.errors import NotConnectedError, UnknownContractError
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ib_async import Contract, ContractDetails

    from ibkit.connection import Link
    from ibkit.contracts.book import Book

log = get_logger(__name__)
# a whole expiry of an index has a thousand rows
LONG_S: Final = 120.0
# answers by group and question
Answers = dict[str, dict[str, list["ContractDetails"]]]
# where a batch collects what it will write at its end
BATCH: ContextVar[Answers | None] = ContextVar("ibkit_contracts_batch", default=None)


class Answering(WhyNot):
    """One question to IB about instruments, or to the book. A part of `Contracts`."""

    _link: Link
    _open_book: Callable[[], Book] | None
    _book_made: Book | None

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
            if found := known.matches if known else await self._kept(description):
                return found
            raise
        except UnknownContractError as error:
            raise await self._explain(error, description, known) from error
        await self._keep(description, found, known)
        return found

    async def _kept(self, description: Contract) -> list[ContractDetails]:
        """Return what fits among the answers to other questions, when nobody can be asked."""
        book = await self._book()
        found = await asyncio.to_thread(book.search, description) if book else []
        if found:
            log.warning("no connection: chosen among known", instrument=question_of(description))
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
        matches = one_each(found or [])
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


def one_each(found: Iterable[ContractDetails]) -> list[ContractDetails]:
    """Keep one row for each number: where it is routed to as usual, or listed, goes before others.

    Asked without an exchange, IB answers with a row for each one.
    """
    rows: defaultdict[int, list[ContractDetails]] = defaultdict(list)
    for each in found:
        rows[contract_in(each).conId].append(each)
    return [min(some, key=_distance) for some in rows.values()]


def _distance(details: ContractDetails) -> int:
    contract = contract_in(details)
    homes = [naming.EXCHANGES.get(contract.secType, ""), contract.primaryExchange]
    return homes.index(contract.exchange) if contract.exchange in homes else len(homes)


def _name_bond(details: ContractDetails, description: Contract) -> None:
    """Let a bond keep the number that it was asked for by: IB's answer names no symbol."""
    contract = contract_in(details)
    if contract.secType == "BOND" and not contract.secId:
        ids = {each.tag: each.value for each in details.secIdList or []}
        kind = description.secIdType or ("ISIN" if "ISIN" in ids else "CUSIP")
        contract.secIdType = kind
        contract.secId = description.secId or ids.get(kind, "") or details.cusip
