"""The life of a working order: hours, conditions and triggers pass, it trades, it ends.

Pure: the caller says what time it is, and gets back what happened. Not here: which orders are taken
(`intake`), how trades are made (`floor`), what clients call (`exchange`).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim.borrow import HELD_404, search_s
from ibkit.sim.conditions import TIME, met
from ibkit.sim.floor import Floor
from ibkit.sim.groups import reduced
from ibkit.sim.orders import Event, OrderRequest, OrderState, Refused, WorkingOrder
from ibkit.sim.pegs import pegged
from ibkit.sim.rules import IMMEDIATE, TYPES, priority, time_of
from ibkit.sim.triggers import begin, watch
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from ibkit.sim.conditions import World
    from ibkit.sim.household import Household
    from ibkit.sim.registry import Registry
    from ibkit.sim.tifs import Times
    from ibkit.sim.universe import Universe
    from ibkit.sim.watch import Watch

BY_SYSTEM: Final = "Cancelled by System:\n"
CANCELLED_202: Final = "Order Canceled - reason:"
FAR: Final = Decimal("0.5")  # a limit so far through the other side's price is not worked
TOO_FAR: Final = "The limit price is too far through the market."


class Life:
    """What time does to orders.

    Parameters
    ----------
    registry, watch, household, universe, times
        The orders, the market, whose money it is, what can be traded, and the hours.
    world : World
        What conditions look at.
    seed : int
        Goes into the ids of executions.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        watch: Watch,
        household: Household,
        universe: Universe,
        times: Times,
        world: World,
        seed: int,
    ) -> None:
        self._orders, self._watch, self._universe = registry, watch, universe
        self._times, self._world, self._household = times, world, household
        self._floor = Floor(registry, watch, household, seed=seed, after=self._after_fill)

    def with_why(self, order: WorkingOrder) -> WorkingOrder:
        """Return an order with the words for what holds it."""
        held = [] if order.triggered else ["trigger"]
        if order.locating:
            held.append("locate")
        if order.waits:
            held.insert(0, "child")
        why = ",".join(held)
        return order if why == order.why_held else replace(order, why_held=why)

    def advance(self, order: WorkingOrder, now: float, *, always: bool = False) -> list[Event]:
        """Let one moment pass for an order that no parent holds; trades when it can.

        A live order that rests is left to `match_all`, unless `always`.
        """
        events: list[Event] = []
        if order.live and not always:
            return []
        if not order.live:
            order, ready = self._ready(order, now)
            if not ready:
                return []
            order, woken = self._woken(order, now)
            order, told, free = self._cleared(order, now)
            events += woken + told
            if not free:
                return events
        return events + self._enter(order, now)

    def _ready(self, order: WorkingOrder, now: float) -> tuple[WorkingOrder, bool]:
        """Whether hours, good-after time and conditions let an order go on."""
        request = order.request
        if not self._times.trades_now(request, now) and not at_auction(request):
            return order, False
        if now < (time_of(request, request.good_after_time) or 0.0):
            return order, False
        if request.conditions and not request.conditions_cancel_order and not order.conditions_met:
            if not self._conditions_hold(order, now):
                return order, False
            order = self._orders.keep(replace(order, conditions_met=True))
        return order, True

    def _conditions_hold(self, order: WorkingOrder, now: float) -> bool:
        request = order.request
        if not request.conditions_ignore_rth and any(
            one.kind != TIME for one in request.conditions
        ):
            watched = next((c.instrument for c in request.conditions if c.instrument), None)
            if not self._times.in_regular_hours(watched or request.instrument, now):
                return False
        return met(request.conditions, self._world, now, order.placed_at)

    def _woken(self, order: WorkingOrder, now: float) -> tuple[WorkingOrder, list[Event]]:
        """Look whether an order's trigger was reached; a trailing stop that moved is told."""
        if order.triggered:
            return order, []
        glance = self._watch.glance(order.request.instrument, now)
        after = watch(order, glance, self._universe.increment)
        if after == order:
            return order, []
        after = self._orders.keep(self.with_why(after))
        told = (after.stop, after.limit, after.request) != (order.stop, order.limit, order.request)
        return after, [OrderState(after)] if told and not after.triggered else []

    def _cleared(self, order: WorkingOrder, now: float) -> tuple[WorkingOrder, list[Event], bool]:
        """Whether trigger, auction, lender and price protection let an order into the book."""
        if not order.triggered:
            return order, [], False
        if at_auction(order.request):
            self._wait_for_auction(order, now)
            return order, [], False
        order, told = self._located(order, now)
        if not order.locating and self._protected(order, now):
            return order, [*told, *self._ended(order, now, BY_SYSTEM, TOO_FAR)], False
        return order, told, not order.locating

    def _located(self, order: WorkingOrder, now: float) -> tuple[WorkingOrder, list[Event]]:
        """Hold a short sale while shares are looked for; 404 tells it once."""
        request = order.request
        if order.locating:
            if now >= order.locating:
                order = replace(order, locating=0.0, located=True)
                order = self._orders.keep(self.with_why(order))
            return order, []
        search = search_s(request.instrument)
        if not search or order.located or request.sign > 0 or not self._sells_short(request):
            return order, []
        order = self._orders.keep(self.with_why(replace(order, locating=now + search)))
        return order, [Refused(*request.key, 404, HELD_404), OrderState(order)]

    def _sells_short(self, request: OrderRequest) -> bool:
        """Whether a sale is of more than is held."""
        names = (
            self._household.group(request.fa_group)
            if request.fa_group
            else [self._household.of(request.account)]
        )
        each = request.quantity / len(names)
        return any(one.position(request.instrument).quantity < each for one in names)

    def _protected(self, order: WorkingOrder, now: float) -> bool:
        """Whether the exchange protects an order from a limit far through the market."""
        request, limit = order.request, order.request.lmt_price
        if request.instrument.sec_type != "STK" or request.kind != "LMT" or limit is None:
            return False
        quote = self._watch.glance(request.instrument, now).quote
        far = quote.ask if request.sign > 0 else quote.bid
        return bool(far) and (limit / to_decimal(far or 0) - 1) * request.sign > FAR

    def _enter(self, order: WorkingOrder, now: float) -> list[Event]:
        """Send an order to the book, and let it trade."""
        request, key = order.request, order.request.key
        glance = self._watch.glance(request.instrument, now)
        order = pegged(replace(order, live=True), glance.quote, self._universe.increment)
        order = self._orders.keep(self.with_why(order))
        events: list[Event] = []
        if TYPES[request.kind].trigger and order.status == "PreSubmitted":
            order = self._orders.keep(replace(order, status="Submitted"))
            events.append(OrderState(order))
        events += self._floor.trade(order, now, resting=False)
        left = self._orders.working.get(key)
        if left is None:
            return events
        if request.tif in IMMEDIATE:
            return events + self._killed(left, now)
        if request.kind == "MTL" and left.filled:
            left = self._orders.keep(replace(left, limit=left.last_fill_price))
        if left.status == "PreSubmitted":
            left = self._orders.keep(replace(left, status="Submitted"))
            events.append(OrderState(left))
        return events

    def _wait_for_auction(self, order: WorkingOrder, now: float) -> None:
        """Note the next auction that an order is meant for; it stays the same from then on."""
        at = self._times.auction(order.request, now)
        if at is not None and not order.auction_at:
            self._orders.keep(replace(order, auction_at=at))

    def match_all(self, now: float) -> list[Event]:
        """Let every working order live through one moment, then trade: the first in line first."""
        events: list[Event] = []
        ready: list[WorkingOrder] = []
        for key, order in tuple(self._orders.working.items()):
            if now < order.placed_at or self._orders.working.get(key) is not order:
                continue
            if order.expires_at is not None and now >= order.expires_at:
                events += self.cancelled(order, now, BY_SYSTEM)
            elif not order.waits:
                events += self._live_through(order, now, ready)
        for order in sorted(ready, key=priority):
            left = self._orders.working.get(order.request.key)
            if left is not None:
                events += self._floor.trade(left, now, resting=True)
        return events

    def _live_through(
        self, order: WorkingOrder, now: float, ready: list[WorkingOrder]
    ) -> list[Event]:
        """Let one moment pass for an order; a live one that may trade is added to `ready`."""
        request = order.request
        ending = request.conditions_cancel_order and request.conditions
        if ending and self._conditions_hold(order, now):
            return self.cancelled(order, now, BY_SYSTEM)
        if 0 < order.auction_at <= now:
            return self._auctioned(order, now)
        if not order.live:
            return self.advance(order, now)
        if not self._times.trades_now(request, now):
            return []
        glance = self._watch.glance(request.instrument, now)
        if TYPES[request.kind].peg:
            order = self._orders.keep(pegged(order, glance.quote, self._universe.increment))
        if self._floor.could_trade(order, glance):
            ready.append(order)
        return []

    def _auctioned(self, order: WorkingOrder, now: float) -> list[Event]:
        """Let an order trade in its auction, and end what the auction leaves."""
        request = order.request
        at = order.auction_at
        opening = request.tif == "OPG"
        quote = self._watch.quote(request.instrument, at if opening else at - 1)
        price = (quote.open if opening else None) or quote.last or quote.bid
        events: list[Event] = []
        if price:
            order = self._orders.keep(replace(order, live=True))
            events = self._floor.at_auction(order, to_decimal(price), now)
        left = self._orders.working.get(request.key)
        return events + (self.cancelled(left, now, BY_SYSTEM) if left is not None else [])

    # --- families and groups --------------------------------------------------------------------

    def _after_fill(self, order: WorkingOrder, shares: Decimal, now: float) -> list[Event]:
        """Tell what a fill does to the order's group, and a full one to its children."""
        events: list[Event] = []
        before = order.remaining + shares
        for other in self._orders.group(order):
            if other.request.key not in self._orders.working:  # ended with one before it
                continue
            smaller = reduced(other, order.oca_type, shares, before)
            if smaller is None:
                events += self._ended(other, now, BY_SYSTEM)
            else:
                events.append(OrderState(self._orders.keep(smaller)))
        if order.done:
            for child in self._orders.children(order):
                events += self._born(child, now)
        return events

    def _born(self, child: WorkingOrder, now: float) -> list[Event]:
        """Let a child live whose parent has filled."""
        left = self._orders.working.get(child.request.key)
        if left is None or not left.waits:
            return []
        glance = self._watch.glance(left.request.instrument, now)
        left = begin(replace(left, waits=False), glance, self._universe.increment)
        left = self._orders.keep(self.with_why(left))
        events = self.advance(left, now)
        told = any(isinstance(one, OrderState) for one in events)
        return events if told else [OrderState(left), *events]

    # --- ends -----------------------------------------------------------------------------------

    def cancelled(self, order: WorkingOrder, now: float, why: str) -> list[Event]:
        """End an order, then its children and its group: pending, cancelled, and IB's 202."""
        pending = OrderState(replace(order, status="PendingCancel", why_held=""))
        return [pending, *self._ended(order, now, why)]

    def _ended(self, order: WorkingOrder, now: float, why: str, reason: str = "") -> list[Event]:
        """End an order as cancelled, then those that go with it; `reason` is told with the 202."""
        group, children = self._orders.group(order), self._orders.children(order)
        ended = replace(
            order, status="Cancelled", why_held="", completed_time=now, completed_status=why
        )
        self._orders.finish(ended)
        events: list[Event] = [
            OrderState(ended, with_open_order=False),
            Refused(*order.request.key, 202, CANCELLED_202 + reason),
        ]
        for other in (*children, *group):
            left = self._orders.working.get(other.request.key)
            if left is not None:
                events += self._ended(left, now, why)
        return events

    def _killed(self, order: WorkingOrder, now: float) -> list[Event]:
        """End what an immediate order left; recorded without a 202."""
        pending, state, _, *rest = self.cancelled(order, now, BY_SYSTEM)
        return [pending, state, *rest]


def at_auction(request: OrderRequest) -> bool:
    """Whether an order trades in an auction alone."""
    return TYPES[request.kind].at_close or request.tif == "OPG"
