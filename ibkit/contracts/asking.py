"""Ask IB about many instruments at once, in as few requests as possible.

A mixin of `Contracts`. Not here: one question and its answer (`ibkit.contracts.answering`).
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import pandas as pd
from ib_async import Contract, ContractDetails
from tqdm.auto import tqdm

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.contracts.answering import BATCH, Answering, Answers
from ibkit.contracts.book import group_of, question_of
from ibkit.contracts.completing import complete
from ibkit.contracts.covering import least_cover
from ibkit.contracts.picking import contract_in, fits
from ibkit.contracts.whynot import NO_MATCH, OPTIONS
from ibkit.errors import IbkitError, UnknownContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ibkit.connection.loop import LoopThread
    from ibkit.contracts.overrides import Overrides

ContractLike = str | Contract
# requests for details in flight at once; the connection's gate counts messages anyway
AT_ONCE: Final = 12


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


class Asking(Answering):
    """Questions to IB about many instruments. A part of `Contracts`."""

    _loop: LoopThread
    _overrides: Overrides

    if TYPE_CHECKING:

        async def _resolve(self, wanted: ContractLike) -> ContractDetails: ...  # see `Contracts`
        def _described(self, wanted: ContractLike) -> Contract: ...

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
        if isinstance(wanted, str | Contract):
            raise TypeError(f"resolve takes a list of names; one is kit.contract({wanted!r})")
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

            await self._share(names, found, failures, bar.update)
            if failures and on_error == "raise":
                raise next(iter(failures.values()))
            rest = names.keys() - found.keys() - failures.keys()
            batch: Answers = defaultdict(dict)
            token = BATCH.set(batch)
            tasks = [
                asyncio.ensure_future(one(name, each))
                for name, each in names.items()
                if name in rest
            ]
            try:
                await asyncio.gather(*tasks)
            finally:  # what was answered is kept, also of a batch that is stopped in the middle
                BATCH.reset(token)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._write(batch)
        ordered = {name: found[name] for name in names if name in found}
        count, seconds = self.requests - before, clock.monotonic() - start
        return Resolved(ordered, failures, count, seconds)

    async def _share(
        self,
        names: Mapping[str, ContractLike],
        found: dict[str, Contract],
        failures: dict[str, IbkitError],
        tell: Callable[[int], object],
    ) -> None:
        """Settle the options of a batch that requests for whole rows or columns answer."""
        groups: defaultdict[tuple[str, ...], dict[str, Contract]] = defaultdict(dict)
        for name, each in names.items():
            with suppress(IbkitError):
                description = self._described(each)
                description = complete(description, clock.now().date())
                whole = description.strike and description.right and not description.localSymbol
                if description.secType in OPTIONS and whole and not description.conId:
                    key = (description.secType, description.symbol, description.exchange)
                    groups[*key, description.currency, description.tradingClass][name] = description
        for group in groups.values():
            if len(group) > 1:
                try:
                    rows = await self._qualify(list(group.values()), tell)
                except IbkitError as error:
                    failures.update(dict.fromkeys(group, error))
                    tell(len(group))
                    continue
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
    async def known(self) -> pd.DataFrame:
        """Return what is kept of instruments, and serves without a connection.

        Returns
        -------
        DataFrame
            A row a question, which is the index ``entry``: ``as_of con_id sec_type symbol …``;
            null where several instruments fit (the months of a future, a whole expiry).
        """
        from ibkit.contracts.book import EMPTY, known_in

        book = await self._book()
        return await asyncio.to_thread(book.known) if book else known_in(EMPTY)

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

    A request names an expiry or a strike, and leaves the other and the right open.

    Examples
    --------
    >>> month = [naming.parse(f"OPT:SPY:20261218:{strike}C") for strike in (600, 610, 620)]
    >>> [(request.strike, len(options)) for request, options in plan_requests(month)]
    [(0.0, 3)]
    """
    days, _ = least_cover((each.lastTradeDateOrContractMonth, each.strike) for each in wanted)
    rows: defaultdict[str | float, list[Contract]] = defaultdict(list)
    for each in wanted:
        day = each.lastTradeDateOrContractMonth
        rows[day if day in days else each.strike].append(each)
    return [(_request(some, by_day=isinstance(key, str)), some) for key, some in rows.items()]


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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _name(wanted: ContractLike) -> str:
    if isinstance(wanted, str):
        return wanted
    return question_of(wanted) if isinstance(wanted, Contract) else repr(wanted)
