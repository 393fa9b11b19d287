"""The exchange: takes orders, lives their lives, keeps the rules.

Pure: the caller says what time it is, and gets back what happened, as events in the order in which
a real gateway tells them. Not here: what may be placed (`rules`, `intake`), what time does to an
order (`life`), how trades are made (`floor`), money (`account`), prices (`market`), messages.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ibkit.sim.expiries import Expiries
from ibkit.sim.groups import family_of
from ibkit.sim.household import Household
from ibkit.sim.intake import Intake
from ibkit.sim.life import BY_SYSTEM, CANCELLED_202, Life
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
from ibkit.sim.registry import Registry
from ibkit.sim.rules import (
    TIFS,
    TYPES,
    InvalidOrder,
    can_become,
    check,
)
from ibkit.sim.tifs import Times, ignores_outside
from ibkit.sim.triggers import begin
from ibkit.sim.watch import Watch

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
FORGOTTEN_S: Final = 300.0  # so long after its end an order is still known to a cancel
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
        self._intake = Intake(self._orders, self.watch, self.household, universe)
        self._life = Life(
            registry=self._orders,
            watch=self.watch,
            household=self.household,
            universe=universe,
            times=self._times,
            world=self,
            seed=seed,
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
            request = self._intake.completed_request(request, known, now)
            if known is None:
                self._intake.check_id(request)
            check(request, self.universe, now)
            name = self.household.check(request)
            if name != request.account:
                request = replace(request, account=name)
            if known is None:
                self._intake.check_parent(request)
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
        return self._intake.what_if(request, now)

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
            return self._life.cancelled(order, now, BY_TRADER)
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
                events += self._life.cancelled(left, now, BY_TRADER)
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
                events += self._life.match_all(at)
        return events + self._expiries.due(now)

    def end_day(self, now: float) -> list[Event]:
        """End the orders that are good for the day, as the restart of a gateway finds them."""
        events: list[Event] = []
        for order in self.working():
            left = self._orders.working.get(order.request.key)  # its family may have taken it along
            if left is not None and (left.request.tif or "DAY") == "DAY":
                events += self._life.cancelled(left, now, BY_SYSTEM)
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
                events += self._life.advance(left, now)
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
        why = "Parent order was rejected." if orphan else veto
        reason = why or self._intake.objection(request, now)
        if reason:
            return None, self._reject(order, now, reason)
        glance = self.watch.glance(request.instrument, now)
        order = begin(order, glance, self.universe.increment)
        order = self._orders.keep(self._life.with_why(order))
        events: list[Event] = []
        if ignores_outside(request):
            events.append(Refused(*request.key, 2109, OUTSIDE_IGNORED))
        if not self._times.trades_now(request, now):
            events.append(self._times.warning(request, now))
        return order, [*events, OrderState(order)]

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
        changed = self._orders.keep(self._life.with_why(changed))
        if changed.waits:
            return [OrderState(changed)]
        return [OrderState(changed), *self._life.advance(changed, now, always=True)]


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
