"""Where trades are made: an order against the book, against other clients, against the tape.

The better price goes first; at one price the market, then displayed orders, then older ones. Not
here: what holds orders back, and what a fill means for their family (`exchange`).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim import combos
from ibkit.sim.book import Book
from ibkit.sim.fees import order_fee
from ibkit.sim.fills import Booking, Trade, executed, leg_fill, make_fill, tradable
from ibkit.sim.orders import ZERO, Commission, Event, Execution, OrderState, WorkingOrder
from ibkit.sim.rules import TYPES, good_enough, limit_of, priority, sliced
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibkit.sim.household import Household
    from ibkit.sim.orders import Fill
    from ibkit.sim.registry import Registry
    from ibkit.sim.watch import Glance, Watch

    Offer = tuple[Decimal, Decimal, WorkingOrder | None]
    After = Callable[[WorkingOrder, Decimal, float], list[Event]]

SLICES: Final = 30  # an algorithm works an order in about so many seconds
TOOK, ADDED = 2, 1
CLOSE: Final = 1e-9  # floats nearer than this are the same price


class Floor:
    """Trades orders.

    Parameters
    ----------
    registry, watch, household
        The orders, the market, and whose money it is.
    seed : int
        Goes into the ids of executions.
    after : callable
        What a fill of (order, shares, time) brings about besides.
    """

    def __init__(
        self, registry: Registry, watch: Watch, household: Household, *, seed: int, after: After
    ) -> None:
        self._registry, self._watch, self._household = registry, watch, household
        self._seed, self._after = seed, after
        self._book = Book(watch)

    # --- how much ---------------------------------------------------------------------------------

    def available(self, order: WorkingOrder, now: float) -> Decimal:
        """Return how much there is at prices that an order accepts."""
        return sum((size for _, size, _ in self._offers(order, now)), ZERO)

    def could_trade(self, order: WorkingOrder, glance: Glance) -> bool:
        """Whether a resting order may trade in this second: cheap, asked of each of them."""
        limit, sign = limit_of(order), order.request.sign
        if limit is None:
            return True
        quote, level = glance.quote, float(limit)
        near = (quote.ask, glance.low) if sign > 0 else (quote.bid, glance.high)
        if any(price is not None and (price - level) * sign <= CLOSE for price in near):
            return True
        others = self._registry.opposite(order)
        return any((limit_of(one) or limit) * sign <= limit * sign for one in others)

    def _budget(self, order: WorkingOrder, now: float, *, resting: bool) -> Decimal:
        """Return how much an order may trade in this second, as far as it decides that itself."""
        request, piece = order.request, ZERO
        if sliced(request):
            piece = max(tradable(request.quantity / SLICES, request.instrument), _unit(order))
        elif request.display_size and resting:
            piece = Decimal(request.display_size)
        if not piece:
            return order.remaining
        same_second = order.fills > 0 and int(order.traded_at) == int(now)
        return ZERO if same_second else min(piece, order.remaining)

    def _needs(self, order: WorkingOrder) -> Decimal:
        """Return the least that an order takes at once."""
        request = order.request
        if request.all_or_none or request.tif == "FOK":
            return order.remaining
        return min(Decimal(request.min_qty), order.remaining) if not order.filled else ZERO

    # --- trading ----------------------------------------------------------------------------------

    def trade(self, order: WorkingOrder, now: float, *, resting: bool) -> list[Event]:
        """Fill what there is for an order."""
        needs = self._needs(order)
        if needs and self.available(order, now) < needs:
            return []
        budget, events = self._budget(order, now, resting=resting), list[Event]()
        for price, size, peer in self._offers(order, now):
            left = self._registry.working.get(order.request.key)
            if left is None or budget <= 0:
                return events
            shares = tradable(min(size, left.remaining, budget), left.request.instrument)
            if shares > 0:
                budget -= shares
                events += self._meet(left, peer, Trade(shares, price, now, TOOK), resting=resting)
        left = self._registry.working.get(order.request.key)
        if left is not None and resting and budget > 0 and not needs:
            events += self._printed(left, budget, now)
        return events

    def at_auction(self, order: WorkingOrder, price: Decimal, now: float) -> list[Event]:
        """Fill the whole of an order in an auction, if it accepts the price."""
        if not good_enough(order, price):
            return []
        return self.fill(order, Trade(order.remaining, price, now, TOOK))

    def _meet(
        self, order: WorkingOrder, peer: WorkingOrder | None, trade: Trade, *, resting: bool
    ) -> list[Event]:
        """Trade with the market's book, or with another client's order."""
        if peer is not None:
            made, events = self._book_fill(order, trade)
            other, more = self._book_fill(peer, replace(trade, liquidity=ADDED))
            events += more
            events += self._after(made, trade.shares, trade.time)
            return events + self._after(other, trade.shares, trade.time)
        self._book.take(order.request, trade.price, trade.shares)
        limit = limit_of(order)
        if resting and limit is not None and not TYPES[order.request.kind].peg:
            trade = replace(trade, price=limit, liquidity=ADDED)
        elif resting:
            trade = replace(trade, liquidity=ADDED)
        return self.fill(order, trade)

    def _printed(self, order: WorkingOrder, budget: Decimal, now: float) -> list[Event]:
        """Fill a resting order from trades that went through its price."""
        limit = limit_of(order)
        glance = self._watch.glance(order.request.instrument, now)
        if limit is None or not _passed(order, limit, glance):
            return []
        most = min(budget, order.remaining, self._book.printed(order.request, now))
        shares = tradable(most, order.request.instrument)
        if shares <= 0:
            return []
        self._book.take(order.request, None, shares)
        return self.fill(order, Trade(shares, limit, now, ADDED))

    def _offers(self, order: WorkingOrder, now: float) -> Iterator[Offer]:
        """Yield what an order can trade with, the best price first; at one price the market.

        Each as it is when it is asked for: a trade with the one before may have let out a child
        that has traded with this one already.
        """
        request, sign = order.request, order.request.sign
        levels = iter(tuple(self._book.levels(request, now)))
        peers = iter(sorted(self._peers(order), key=priority))
        level, peer = next(levels, None), next(peers, None)
        while level is not None or peer is not None:
            price = limit_of(peer) if peer is not None else None
            if level is None or (price is not None and (price - level[0]) * sign < 0):
                assert peer is not None
                assert price is not None
                there = self._registry.working.get(peer.request.key)
                offer: Offer = (price, there.remaining if there is not None else ZERO, there)
                peer = next(peers, None)
            else:
                offer = (level[0], level[1] - self._book.taken(request, level[0]), None)
                level = next(levels, None)
            if not good_enough(order, offer[0]):
                return
            if offer[1] > 0:
                yield offer

    def _peers(self, order: WorkingOrder) -> Iterator[WorkingOrder]:
        """Yield the resting orders of clients that an order may trade with."""
        for other in self._registry.opposite(order):
            same_group = order.oca_group and other.oca_group == order.oca_group
            choosy = other.request.all_or_none or other.request.min_qty or sliced(other.request)
            if limit_of(other) is not None and not same_group and not choosy:
                yield other

    # --- booking ----------------------------------------------------------------------------------

    def fill(self, order: WorkingOrder, trade: Trade) -> list[Event]:
        """Book one trade, and tell it and what follows from it."""
        made, events = self._book_fill(order, trade)
        return events + self._after(made, trade.shares, trade.time)

    def _book_fill(self, order: WorkingOrder, trade: Trade) -> tuple[WorkingOrder, list[Event]]:
        """Book one trade: execution, state, and the price of it last."""
        request = order.request
        if request.legs:
            return self._book_combo(order, trade)
        value = (order.paid + trade.shares * trade.price) * request.instrument.point_value
        fees = order_fee(request.instrument, order.filled + trade.shares, abs(value))
        after = executed(order, trade, fees)
        due = fees - (order.commission or ZERO)
        fills = []
        for number, (account, shares) in enumerate(self._household.shared(request, trade.shares)):
            fee = due * shares / trade.shares if shares != trade.shares else due
            realized = account.preview(request.instrument, shares * request.sign, trade.price, fee)
            booking = Booking(account.account_id, shares, fee, realized)
            part = f".{number:02x}" if number else ""
            fills.append(make_fill(after, trade, booking, seed=self._seed, part=part))
        return self._told(after, fills, fees)

    def _book_combo(self, order: WorkingOrder, trade: Trade) -> tuple[WorkingOrder, list[Event]]:
        """Book a combination: one execution of the whole, then one of each leg."""
        request = order.request
        ((account, _),) = self._household.shared(request, trade.shares)[:1]
        trade = replace(trade, liquidity=ADDED)
        after = executed(order, trade, ZERO)
        nothing = Booking(account.account_id, trade.shares, ZERO, None)
        whole = make_fill(after, trade, nothing, seed=self._seed)
        prices = combos.leg_prices(request, trade.price, self._watch, trade.time)
        fees, fills = order.commission or ZERO, []
        for number, (leg, price) in enumerate(zip(request.legs, prices, strict=True), 1):
            shares, sign = trade.shares * leg.ratio, leg.sign * request.sign
            fee = order_fee(leg.instrument, shares, price * shares * leg.instrument.point_value)
            realized = account.preview(leg.instrument, shares * sign, price, fee)
            booking = Booking(account.account_id, shares, fee, realized)
            part = Trade(shares, price, trade.time, ADDED)
            fills.append(leg_fill(whole, number, leg.instrument, part, booking, bought=sign > 0))
            self._settle(fills[-1])
            fees += fee
        after = after if after.done else replace(after, commission=fees)
        self._registry.add_fill(whole)
        final = self._store(after, fees)
        events: list[Event] = [Execution(after, whole), OrderState(after), OrderState(after)]
        for fill in fills:
            events += [Execution(after, fill), OrderState(final)]
        return final, events + [Commission(final, fill) for fill in fills]

    def _told(
        self, after: WorkingOrder, fills: list[Fill], fees: Decimal
    ) -> tuple[WorkingOrder, list[Event]]:
        """Return the events of one trade, in the order that was recorded."""
        for fill in fills:
            self._settle(fill)
        final = self._store(after, fees)
        events: list[Event] = [Execution(after, fill) for fill in fills]
        events.append(OrderState(after))
        if after.done:
            events.append(OrderState(final))
        return final, events + [Commission(final, fill) for fill in fills]

    def _settle(self, fill: Fill) -> None:
        """Book an execution on its account."""
        account = self._household.of(fill.account)
        account.begin_day(self._watch, fill.time)
        account.apply(fill)
        self._registry.add_fill(fill)

    def _store(self, after: WorkingOrder, fees: Decimal) -> WorkingOrder:
        if not after.done:
            return self._registry.keep(after)
        final = replace(after, commission=fees)
        self._registry.finish(final)
        return final


def _unit(order: WorkingOrder) -> Decimal:
    instrument = order.request.instrument
    return max(
        Decimal(1) if instrument.sec_type == "STK" else instrument.size_increment,
        instrument.min_size,
    )


def _passed(order: WorkingOrder, limit: Decimal, glance: Glance) -> bool:
    """Whether a trade of this second would have been with this order.

    One beyond its price for sure; one at its price when no better order was quoted.
    """
    sign, quote = order.request.sign, glance.quote
    extreme, near = (glance.low, quote.bid) if sign > 0 else (glance.high, quote.ask)
    if extreme is None:
        return False
    beyond = (to_decimal(extreme) - limit) * sign
    if beyond < 0:
        return True
    inside = near is not None and (limit - to_decimal(near)) * sign > 0
    return beyond == 0 and (inside or bool(TYPES[order.request.kind].peg))
