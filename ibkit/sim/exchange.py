"""The exchange: takes orders, lives their lives, keeps the rules.

Pure: the caller says what time it is, and gets back what happened, as events in the order in which
a real gateway tells them. Not here: what may be placed (`rules`), how trades are made (`floor`),
money (`account`), prices (`market`), messages.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ibkit.sim.conditions import TIME, met
from ibkit.sim.expiries import Expiries
from ibkit.sim.fees import order_fee
from ibkit.sim.floor import Floor
from ibkit.sim.groups import family_of, reduced
from ibkit.sim.household import Household
from ibkit.sim.moments import Moments
from ibkit.sim.orders import (
    ZERO,
    Commission,
    Event,
    Execution,
    Fill,
    OrderRequest,
    OrderState,
    Refused,
    WhatIf,
    WorkingOrder,
)
from ibkit.sim.pegs import pegged
from ibkit.sim.registry import Registry
from ibkit.sim.rules import (
    ECHOED_AS_GTC,
    IMMEDIATE,
    TIFS,
    TYPES,
    InvalidOrder,
    can_become,
    check,
    priority,
    time_of,
)
from ibkit.sim.tifs import Times, ignores_outside
from ibkit.sim.triggers import begin, watch
from ibkit.sim.watch import Watch
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from ibkit.sim.account import Account
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.universe import Universe
    from ibkit.sim.watch import Glance
    from ibkit.sim.worth import Market

__all__ = [
    "Commission",
    "Event",
    "Exchange",
    "Execution",
    "Fill",
    "OrderRequest",
    "OrderState",
    "Refused",
    "WhatIf",
    "WorkingOrder",
]

BY_TRADER: Final = "Cancelled by Trader"
BY_SYSTEM: Final = "Cancelled by System:\n"
FORGOTTEN_S: Final = 300.0  # so long after its end an order is still known to a cancel
CANCELLED_202: Final = "Order Canceled - reason:"
OUTSIDE_IGNORED: Final = (
    "Order Event Warning:Attribute 'Outside Regular Trading Hours' is ignored based on the order "
    "type and destination. PlaceOrder is now being processed."
)


class Exchange:
    """All venues in one: orders of all clients, matched against the simulated book.

    Parameters
    ----------
    universe, market : Universe, Market
        What can be traded, at which prices.
    account : Account or Household
        For whom.
    seed : int
        Goes into the ids of executions.
    always_open : bool
        Whether orders trade outside hours too.
    """

    def __init__(
        self,
        universe: Universe,
        market: Market,
        account: Account | Household,
        *,
        seed: int = 1,
        always_open: bool = True,
    ) -> None:
        self.universe, self.market = universe, market
        self.household = account if isinstance(account, Household) else Household([account])
        self.account = self.household.first
        self.always_open = always_open
        self.vetoes: dict[tuple[int, int], str] = {}  # why the broker will refuse, on demand
        self.watch = Watch(market)
        self._orders = Registry()
        self._times = Times(self.watch, always_open=always_open)
        self._floor = Floor(
            self._orders, self.watch, self.household, seed=seed, after=self._after_fill
        )
        self._expiries = Expiries(self.watch, self.household, self._orders, seed=seed)
        self._moments = Moments(self.watch, always_open=always_open)
        self._last_tick: float | None = None

    # --- what clients do ------------------------------------------------------------------------

    def place(self, request: OrderRequest, now: float) -> list[Event]:
        """Take a new order, or change the working one of the same client and number."""
        if not self._orders.working:
            self._last_tick = now if self._last_tick is None else max(now, self._last_tick)
        known = self._orders.working.get(request.key)
        try:
            request = self._completed_request(request, known, now)
            if known is None:
                self._check_id(request)
            check(request, self.universe, now)
            name = self.household.check(request)
            if name != request.account:
                request = replace(request, account=name)
            if known is None:
                self._check_parent(request)
        except InvalidOrder as invalid:
            return [Refused(*request.key, invalid.code, invalid.text)]
        if known is not None:
            return self._modify(known, request, now)
        if request.key in self._orders.completed:
            return []  # a real gateway says nothing about the number of a cancelled order
        if not request.transmit:
            self._orders.held[request.key] = request
            return []
        return self._release(request, now)

    def what_if(self, request: OrderRequest, now: float) -> WhatIf | Refused:
        """Return what an order would change, without placing it."""
        try:
            request = self._completed_request(request, None, now)
            check(request, self.universe, now)
            request = replace(request, account=self.household.check(request))
        except InvalidOrder as invalid:
            return Refused(*request.key, invalid.code, invalid.text)
        price = self._worst_price(request, now)
        account = self.household.of(request.account)
        before = account.sums(self.watch, now)
        after = account.after(self.watch, now, request, price)
        fee = self._fee(request, price, now)
        return WhatIf(
            WorkingOrder(request, 0, now),
            before.init_margin,
            before.maint_margin,
            before.loan_value,
            after.init_margin,
            after.maint_margin,
            after.loan_value - fee,
            fee,
            request.instrument.currency,
        )

    def cancel(self, client_id: int, order_id: int, now: float) -> list[Event]:
        """Take back a working order; another client's when the caller has none of that number."""
        held = self._orders.held.pop((client_id, order_id), None)
        if held is not None:
            for one in self._orders.family(held):
                self._orders.held.pop(one.key, None)
            return [Refused(client_id, order_id, 202, CANCELLED_202)]
        key = self._orders.find(client_id, order_id)
        order = self._orders.working.get(key)
        if order is not None:
            return self._cancelled(order, now, BY_TRADER)
        done = self._orders.completed.get(key)
        needs = f"OrderId {order_id} that needs to be cancelled"
        if done is not None and now - (done.completed_time or now) <= FORGOTTEN_S:
            text = f"{needs} cannot be cancelled, state: {done.status}."
            return [Refused(client_id, order_id, 10148, text)]
        return [Refused(client_id, order_id, 10147, f"{needs} is not found.")]

    def cancel_all(self, now: float) -> list[Event]:
        """Take back every order of every client, the newest first."""
        newest = sorted(self._orders.working.values(), key=lambda order: -order.perm_id)
        self._orders.held.clear()
        events: list[Event] = []
        for order in newest:
            left = self._orders.working.get(order.request.key)
            if left is not None:
                events += self._cancelled(left, now, BY_TRADER)
                continue
            text = (  # its family or group took it along a moment ago
                "Cancel attempted when order is not in a cancellable state.  "
                f"Order permId ={order.perm_id}"
            )
            events.append(Refused(*order.request.key, 161, text))
        return events

    def exercise(
        self,
        client_id: int,
        order_id: int,
        instrument: Instrument,
        quantity: int,
        now: float,
        *,
        account: str = "",
        lapse: bool = False,
        override: bool = False,
    ) -> list[Event]:
        """Exercise options that are held, or let them lapse, even in the money."""
        name = account or self.account.account_id
        if lapse:
            found = self._expiries.lapse(instrument, quantity, name)
        else:
            found = self._expiries.exercise(instrument, quantity, name, now, override=override)
        if isinstance(found, str):
            text = f"Error processing request.-'bF' : cause - {found}"
            return [Refused(client_id, order_id, 322, text)]
        return found

    def refuse(self, request: OrderRequest, now: float, reason: str) -> list[Event]:
        """Reject a new order for a reason of the broker's own."""
        if not request.account:
            request = replace(request, account=self.account.account_id)
        self._orders.spend(request.key)
        order = WorkingOrder(
            replace(request, tif=request.tif or "DAY"), self._orders.next_perm_id(), now
        )
        return self._reject(order, now, reason)

    def tick(self, now: float) -> list[Event]:
        """Let time pass up to `now`: match what rests, end what expires."""
        since = now if self._last_tick is None else self._last_tick
        self._last_tick = max(now, since)
        events: list[Event] = []
        if self._orders.working:
            for at in self._moments.between(since, now, self._orders.working):
                events += self._expiries.due(at)
                events += self._match_all(at)
        return events + self._expiries.due(now)

    def end_day(self, now: float) -> list[Event]:
        """End the orders that are good for the day, as the restart of a gateway finds them."""
        events: list[Event] = []
        for order in self.working():
            left = self._orders.working.get(order.request.key)  # its family may have taken it along
            if left is not None and (left.request.tif or "DAY") == "DAY":
                events += self._cancelled(left, now, BY_SYSTEM)
        return events

    # --- what can be seen -----------------------------------------------------------------------

    def working(self) -> list[WorkingOrder]:
        """Return the orders that may still trade, oldest first."""
        return list(self._orders.working.values())

    def completed(self) -> list[WorkingOrder]:
        """Return the orders that are filled, cancelled or refused, oldest first."""
        return list(self._orders.completed.values())

    def executions(self) -> list[Fill]:
        """Return the executions, oldest first."""
        return list(self._orders.fills)

    def is_working(self, request: OrderRequest) -> bool:
        """Whether an order of this client and number may still trade."""
        return request.key in self._orders.working

    @property
    def is_idle(self) -> bool:
        """Whether no order works."""
        return not self._orders.working

    # --- the world, as conditions see it ----------------------------------------------------------

    def glance(self, instrument: Instrument, now: float) -> Glance:
        """Return the market of one instrument."""
        return self.watch.glance(instrument, now)

    def cushion(self, now: float) -> Decimal:
        """Return the excess liquidity as a share of what the account is worth."""
        sums = self.account.sums(self.watch, now)
        return (sums.equity - sums.maint_margin) / sums.equity if sums.equity else ZERO

    def fills_since(self, since: float) -> Sequence[Fill]:
        """Return the executions from `since` on."""
        return [fill for fill in self._orders.fills if fill.time >= since]

    # --- taking orders --------------------------------------------------------------------------

    def _completed_request(
        self, request: OrderRequest, known: WorkingOrder | None, now: float
    ) -> OrderRequest:
        """Return a request with what it leaves open filled in."""
        if request.legs:
            self.watch.learn(request.instrument, request.legs)
        before = known.request if known is not None else None
        if before is not None:
            request = replace(
                request, tif=request.tif or before.tif, account=request.account or before.account
            )
        tif = "GTC" if request.tif in ECHOED_AS_GTC else request.tif or "DAY"
        if tif != request.tif:
            request = replace(request, tif=tif)
        if request.cash_qty and not request.quantity:
            request = replace(request, quantity=self._for_money(request, now))
        return request

    def _for_money(self, request: OrderRequest, now: float) -> Decimal:
        """Return how much an amount of money buys."""
        price = self._worst_price(request, now) * request.instrument.point_value
        step = request.instrument.size_increment
        return (request.cash_qty or ZERO) / price // step * step if price > 0 else ZERO

    def _check_id(self, request: OrderRequest) -> None:
        """Refuse a number that was used before."""
        done = self._orders.completed.get(request.key)
        if done is not None and done.status == "Filled":
            raise InvalidOrder(104, "Cannot modify a filled order.")
        if done is not None or request.key in self._orders.held:
            return
        if self._orders.is_spent(request.key):
            raise InvalidOrder(103, "Duplicate order id")

    def _check_parent(self, request: OrderRequest) -> None:
        """Refuse the child of an order that is not there."""
        parent = (request.client_id, request.parent_id)
        if request.parent_id and not (
            parent in self._orders.working or parent in self._orders.held
        ):
            raise InvalidOrder(10006, "Missing parent order.")

    def _release(self, request: OrderRequest, now: float) -> list[Event]:
        """Let an order and the family that was held back with it go out, as they were placed."""
        family = self._orders.family(request)
        events: list[Event] = []
        taken: list[WorkingOrder] = []
        for one in family:
            self._orders.held.pop(one.key, None)
        for one in family:
            order, told = self._take(one, now)
            events += told
            if order is not None:
                taken.append(order)
        for order in taken:
            left = self._orders.working.get(order.request.key)
            if left is not None and not left.waits:
                events += self._advance(left, now)
        return events

    def _take(self, request: OrderRequest, now: float) -> tuple[WorkingOrder | None, list[Event]]:
        """Take a valid order, or reject it; it does not trade yet."""
        self._orders.spend(request.key)
        order = WorkingOrder(
            request,
            self._orders.next_perm_id(),
            now,
            self._times.expiry(request, now),
            triggered=not TYPES[request.kind].trigger,
        )
        order = family_of(order, self._orders.working.get((request.client_id, request.parent_id)))
        orphan = bool(request.parent_id) and not order.waits
        veto = self.vetoes.pop(request.key, "")
        reason = "Parent order was rejected." if orphan else veto or self._objection(request, now)
        if reason:
            return None, self._reject(order, now, reason)
        glance = self.watch.glance(request.instrument, now)
        order = begin(order, glance, self.universe.increment)
        order = self._orders.keep(self._with_why(order))
        events: list[Event] = []
        if ignores_outside(request):
            events.append(Refused(*request.key, 2109, OUTSIDE_IGNORED))
        if not self._times.trades_now(request, now):
            events.append(self._times.warning(request, now))
        return order, [*events, OrderState(order)]

    def _objection(self, request: OrderRequest, now: float) -> str:
        """Return why the broker refuses an order, or nothing."""
        tif = request.tif
        if tif not in TIFS or (tif == "FOK" and request.instrument.sec_type == "STK"):
            return (
                f"The time-in-force {tif} is invalid for this combination of exchange and "
                "security type"
            )
        if request.parent_id:
            return ""  # it closes what its parent opens
        members = (
            self.household.group(request.fa_group)
            if request.fa_group
            else [self.household.of(request.account)]
        )
        part = request
        if len(members) > 1:
            part = replace(request, quantity=request.quantity / len(members))
        return next(filter(None, (self._too_poor(one, part, now) for one in members)), "")

    def _too_poor(self, account: Account, request: OrderRequest, now: float) -> str:
        """Return why one account cannot have an order, or nothing."""
        if not request.legs:
            held = account.position(request.instrument).quantity
            after = held + request.quantity * request.sign
            if request.instrument.sec_type == "CRYPTO" and after < 0:
                return "Short sales of cryptocurrencies are not allowed."
            if abs(after) <= abs(held):
                return ""
        sums = account.after(self.watch, now, request, self._worst_price(request, now))
        if sums.loan_value >= sums.init_margin:
            return ""
        return (
            "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH "
            f"LOAN VALUE [{sums.loan_value:.2f} {account.base}] MUST EXCEED THE INITIAL MARGIN "
            f"[{sums.init_margin:.2f} {account.base}]"
        )

    def _worst_price(self, request: OrderRequest, now: float) -> Decimal:
        """Return the price that margin is reckoned with."""
        kind = TYPES[request.kind]
        if request.lmt_price and kind.limited:
            return request.lmt_price
        if request.aux_price and kind.trigger in {"stop", "touch"}:
            return request.aux_price
        quote = self.watch.quote(request.instrument, now)
        touch = quote.ask if request.sign > 0 else quote.bid
        return to_decimal(touch or quote.last or quote.close or 0)

    def _fee(self, request: OrderRequest, price: Decimal, now: float) -> Decimal:
        """Return what an order would cost, all legs together."""
        if not request.legs:
            value = abs(price * request.quantity * request.instrument.point_value)
            return order_fee(request.instrument, request.quantity, value)
        fees = ZERO
        for leg in request.legs:
            shares, quote = request.quantity * leg.ratio, self.watch.quote(leg.instrument, now)
            value = shares * to_decimal(quote.last or quote.bid or 0) * leg.instrument.point_value
            fees += order_fee(leg.instrument, shares, value)
        return fees

    def _reject(self, order: WorkingOrder, now: float, reason: str) -> list[Event]:
        """Tell a refusal as a real gateway does: the state, the reason, the state again."""
        refused = replace(
            order, status="Inactive", completed_time=now, completed_status=f"Rejected: {reason}"
        )
        self._orders.finish(refused)
        text = f"Order rejected - reason:{reason}"
        return [OrderState(refused), Refused(*order.request.key, 201, text), OrderState(refused)]

    # --- changing orders ------------------------------------------------------------------------

    def _modify(self, order: WorkingOrder, request: OrderRequest, now: float) -> list[Event]:
        """Change quantity, price, type or time in force of a working order."""
        before = order.request
        if not can_become(before, request):
            text = "Order modify failed. Cannot change to the new order type."
            return [Refused(*request.key, 329, text)]
        if _identity(request) != _identity(before):
            text = "Order being modified does not match original order."
            return [Refused(*request.key, 105, text)]
        if request.quantity <= order.filled:
            text = "Order rejected - reason:The new quantity is not above what is already filled."
            return [Refused(*request.key, 201, text)]
        tif = request.tif
        if tif not in TIFS or (tif == "FOK" and request.instrument.sec_type == "STK"):
            return [
                Refused(
                    *request.key, 111, "The TIF (Tif type) and the order type are incompatible."
                )
            ]
        moved = _prices(request) != _prices(before)
        changed = replace(
            order,
            request=request,
            placed_at=now if moved or request.quantity > before.quantity else order.placed_at,
            expires_at=self._times.expiry(request, now),
            conditions_met=order.conditions_met and request.conditions == before.conditions,
        )
        if moved:
            glance = self.watch.glance(request.instrument, now)
            changed = begin(
                replace(changed, limit=None, touches=0), glance, self.universe.increment
            )
            waiting = not changed.triggered
            status = "PreSubmitted" if waiting and not order.filled else order.status
            changed = replace(changed, live=changed.live and not waiting, status=status)
        changed = self._orders.keep(self._with_why(changed))
        if changed.waits:
            return [OrderState(changed)]
        return [OrderState(changed), *self._advance(changed, now, always=True)]

    # --- the life of an order -------------------------------------------------------------------

    def _with_why(self, order: WorkingOrder) -> WorkingOrder:
        """Return an order with the words for what holds it."""
        held = [] if order.triggered else ["trigger"]
        if order.waits:
            held.insert(0, "child")
        why = ",".join(held)
        return order if why == order.why_held else replace(order, why_held=why)

    def _advance(self, order: WorkingOrder, now: float, *, always: bool = False) -> list[Event]:
        """Let one moment pass for an order that no parent holds; trades when it can.

        A live order that rests is left to `_match_all`, unless `always`.
        """
        request, events = order.request, list[Event]()
        if order.live and not always:
            return []
        if not order.live:
            order, ready = self._ready(order, now)
            if not ready:
                return []
            order, woken = self._woken(order, now)
            events += woken
            if not order.triggered:
                return events
            if _at_auction(request):
                self._wait_for_auction(order, now)
                return events
        return events + self._enter(order, now)

    def _ready(self, order: WorkingOrder, now: float) -> tuple[WorkingOrder, bool]:
        """Whether hours, good-after time and conditions let an order go on."""
        request = order.request
        if not self._times.trades_now(request, now) and not _at_auction(request):
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
        return met(request.conditions, self, now, order.placed_at)

    def _woken(self, order: WorkingOrder, now: float) -> tuple[WorkingOrder, list[Event]]:
        """Look whether an order's trigger was reached; a trailing stop that moved is told."""
        if order.triggered:
            return order, []
        glance = self.watch.glance(order.request.instrument, now)
        after = watch(order, glance, self.universe.increment)
        if after == order:
            return order, []
        after = self._orders.keep(self._with_why(after))
        told = (after.stop, after.limit, after.request) != (order.stop, order.limit, order.request)
        return after, [OrderState(after)] if told and not after.triggered else []

    def _enter(self, order: WorkingOrder, now: float) -> list[Event]:
        """Send an order to the book, and let it trade."""
        request, key = order.request, order.request.key
        glance = self.watch.glance(request.instrument, now)
        order = pegged(replace(order, live=True), glance.quote, self.universe.increment)
        order = self._orders.keep(self._with_why(order))
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

    def _match_all(self, now: float) -> list[Event]:
        """Let every working order live through one moment, then trade: the first in line first."""
        events: list[Event] = []
        ready: list[WorkingOrder] = []
        for key, order in tuple(self._orders.working.items()):
            if now < order.placed_at or self._orders.working.get(key) is not order:
                continue
            if order.expires_at is not None and now >= order.expires_at:
                events += self._cancelled(order, now, BY_SYSTEM)
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
            return self._cancelled(order, now, BY_SYSTEM)
        if 0 < order.auction_at <= now:
            return self._auctioned(order, now)
        if not order.live:
            return self._advance(order, now)
        if not self._times.trades_now(request, now):
            return []
        glance = self.watch.glance(request.instrument, now)
        if TYPES[request.kind].peg:
            order = self._orders.keep(pegged(order, glance.quote, self.universe.increment))
        if self._floor.could_trade(order, glance):
            ready.append(order)
        return []

    def _auctioned(self, order: WorkingOrder, now: float) -> list[Event]:
        """Let an order trade in its auction, and end what the auction leaves."""
        request = order.request
        at = order.auction_at
        opening = request.tif == "OPG"
        quote = self.watch.quote(request.instrument, at if opening else at - 1)
        price = (quote.open if opening else None) or quote.last or quote.bid
        events: list[Event] = []
        if price:
            order = self._orders.keep(replace(order, live=True))
            events = self._floor.at_auction(order, to_decimal(price), now)
        left = self._orders.working.get(request.key)
        return events + (self._cancelled(left, now, BY_SYSTEM) if left is not None else [])

    # --- families and groups --------------------------------------------------------------------

    def _after_fill(self, order: WorkingOrder, shares: Decimal, now: float) -> list[Event]:
        """Tell what a fill does to the order's group, and a full one to its children."""
        events: list[Event] = []
        before = order.remaining + shares
        for other in self._orders.group(order):
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
        glance = self.watch.glance(left.request.instrument, now)
        left = begin(replace(left, waits=False), glance, self.universe.increment)
        left = self._orders.keep(self._with_why(left))
        events = self._advance(left, now)
        told = any(isinstance(one, OrderState) for one in events)
        return events if told else [OrderState(left), *events]

    # --- ends -----------------------------------------------------------------------------------

    def _cancelled(self, order: WorkingOrder, now: float, why: str) -> list[Event]:
        """End an order, then its children and its group: pending, cancelled, and IB's 202."""
        pending = OrderState(replace(order, status="PendingCancel", why_held=""))
        return [pending, *self._ended(order, now, why)]

    def _ended(self, order: WorkingOrder, now: float, why: str) -> list[Event]:
        """End an order as cancelled, then those that go with it."""
        group, children = self._orders.group(order), self._orders.children(order)
        ended = replace(
            order, status="Cancelled", why_held="", completed_time=now, completed_status=why
        )
        self._orders.finish(ended)
        events: list[Event] = [
            OrderState(ended, with_open_order=False),
            Refused(*order.request.key, 202, CANCELLED_202),
        ]
        for other in (*children, *group):
            left = self._orders.working.get(other.request.key)
            if left is not None:
                events += self._ended(left, now, why)
        return events

    def _killed(self, order: WorkingOrder, now: float) -> list[Event]:
        """End what an immediate order left; recorded without a 202."""
        pending, state, _, *rest = self._cancelled(order, now, BY_SYSTEM)
        return [pending, state, *rest]


def _at_auction(request: OrderRequest) -> bool:
    """Whether an order trades in an auction alone."""
    return TYPES[request.kind].at_close or request.tif == "OPG"


def _identity(request: OrderRequest) -> tuple[object, ...]:
    """Return what a modification must leave as it is."""
    return (
        request.instrument.con_id,
        request.action,
        request.account,
        request.parent_id,
        request.oca_group,
        request.algo_strategy,
    )


def _prices(request: OrderRequest) -> tuple[object, ...]:
    """Return what decides when and where an order trades."""
    return (
        request.kind,
        request.lmt_price,
        request.aux_price,
        request.trail_stop_price,
        request.trailing_percent,
        request.lmt_price_offset,
        request.trigger_method,
        request.adjustment,
    )
