"""The grid of an instrument's prices and sizes, and what they are worth, as the user asks for them.

A mixin of `Contracts`. Not here: the arithmetic (`ibkit.contracts.ticks`, `ibkit.contracts.money`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from ib_async import PriceIncrement

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.contracts import money
from ibkit.contracts.book import group_name
from ibkit.contracts.ticks import (
    Number,
    TickRule,
    flat_rule,
    make_rule,
    quoted_rule,
    round_to_tick,
    rule_id,
    to_amount,
)

if TYPE_CHECKING:
    from decimal import Decimal

    from ib_async import Contract, ContractDetails

    from ibkit.connection import Link
    from ibkit.connection.loop import LoopThread
    from ibkit.contracts.book import Book

RULES: Final = group_name("RULE")


class Pricing:
    """Ticks, sizes and money of an instrument. A part of `Contracts`."""

    _loop: LoopThread
    _link: Link
    _rules: dict[int, TickRule]
    _rule_lock: asyncio.Lock

    if TYPE_CHECKING:

        async def _resolve(self, wanted: str | Contract) -> ContractDetails: ...
        async def _book(self) -> Book | None: ...

    @on_loop
    async def tick_rule(self, wanted: str | Contract) -> TickRule:
        """Return the price grid of an instrument at the exchange it is routed to, as quoted.

        From IB's market rule; where IB names none, its minimum tick everywhere. Quoted prices are
        IB's times the magnifier: corn moves by 0.25 cents.
        """
        return await self._tick_rule(await self._resolve(wanted))

    @on_loop
    async def size_rule(self, wanted: str | Contract) -> money.SizeRule:
        """Return which quantities of an instrument are taken."""
        return money.size_rule(await self._resolve(wanted))

    @on_loop
    async def round_price(
        self, wanted: str | Contract, price: Number, *, towards: Literal["BUY", "SELL"]
    ) -> Decimal:
        """Return the nearest valid price that is no worse for the order's owner."""
        rule = await self._tick_rule(await self._resolve(wanted))
        return round_to_tick(to_amount(price), rule, towards=towards)

    @on_loop
    async def point_value(self, wanted: str | Contract) -> Decimal:
        """Return money for one whole point of the quoted price of one unit, in its currency.

        50 for ES and for corn (5,000 bushels in cents), 100 for an option, 0.01 for a share that is
        quoted in pence.
        """
        return money.point_value(await self._priced(wanted))

    @on_loop
    async def tick_value(self, wanted: str | Contract, price: Number) -> Decimal:
        """Return money for one tick of one unit at `price`, in the instrument's currency."""
        details = await self._priced(wanted)
        rule = await self._tick_rule(details)
        return rule.step(to_amount(price)) * money.point_value(details)

    @on_loop
    async def notional(self, wanted: str | Contract, quantity: Number, price: Number) -> Decimal:
        """Return what `quantity` units are worth at the quoted `price`, in its currency."""
        return money.notional(await self._priced(wanted), quantity, price)

    @on_loop
    async def units_for(self, wanted: str | Contract, amount: Number, price: Number) -> Decimal:
        """Return how many units `amount` of its currency buys at `price`, as a size that is taken.

        Raises
        ------
        ValueError
            The price is not positive.
        """
        return money.units_for(await self._priced(wanted), amount, price)

    async def _priced(self, wanted: str | Contract) -> ContractDetails:
        """Return details with a multiplier; a combo has that of its legs, if they have one.

        Raises
        ------
        UnevenComboError
            The legs of a combo have several: its price is no price of any one thing.
        """
        details = await self._resolve(wanted)
        combo = details.contract
        if combo is None or combo.secType != "BAG":
            return details
        legs = [await self._resolve(each) for _, each in naming.legs_of(combo)]
        points = {money.point_value(each) for each in legs}
        if len(points) > 1:
            raise money.UnevenComboError(naming.shorthand(combo), tuple(sorted(points)))
        return replace(
            details, contract=replace(combo, multiplier=f"{points.pop():f}"), priceMagnifier=1
        )

    async def _tick_rule(self, details: ContractDetails) -> TickRule:
        assert details.contract is not None
        flat = flat_rule(details.minTick)
        magnifier = details.priceMagnifier or 1
        number = rule_id(details, details.contract.exchange)
        if number is None:
            return quoted_rule(flat, details.minTick, magnifier)
        # ib_async keys these requests by rule number: two at once would share one answer
        async with self._rule_lock:
            if number not in self._rules:
                self._rules[number] = await self._rule(number)
        rule = self._rules[number]
        return quoted_rule(rule if rule.steps else flat, details.minTick, magnifier)

    async def _rule(self, number: int) -> TickRule:
        """Return a market rule: the book's while it holds, or for want of a connection."""
        book, question = await self._book(), f"RULE {number}"
        known = await asyncio.to_thread(book.find, question, RULES) if book else None
        away = self._link.state != "ready"
        if known and book and (away or book.holds(known, "RULE", clock.now())):
            return make_rule(PriceIncrement(*row) for row in known.value)
        increments: list[PriceIncrement] | None = await self._link.request(
            f"market rule {number}", lambda ib: ib.reqMarketRuleAsync(number)
        )
        rows = [(each.lowEdge, each.increment) for each in increments or ()]
        if book and rows:
            await asyncio.to_thread(book.keep_value, question, rows, RULES, clock.now())
        return make_rule(increments or [])
