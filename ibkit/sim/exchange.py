"""The exchange: takes orders, matches them against the market's book, keeps the rules.

Pure: the caller says what time it is, and gets back what happened, as events in the order in which
a real gateway tells them. An order type is one row of `TYPES`. Not here: money (`account`), prices
(`market`), messages.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol

from ibkit.sim.book import Book
from ibkit.sim.calendars import local
from ibkit.sim.fees import order_fee
from ibkit.sim.fills import Trade, executed, tradable
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
from ibkit.sim.rules import TIFS, TYPES, InvalidOrder, check, good_enough, priority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from ibkit.sim.account import Account
    from ibkit.sim.calendars import Session
    from ibkit.sim.screen import Quote
    from ibkit.sim.universe import Instrument, Universe

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

FIRST_PERM_ID: Final = 600_000_001
STEP_BY_SECONDS: Final = 900  # longer pauses are looked at minute by minute
LOOK_AHEAD: Final = timedelta(days=15)
EVENTS_KEPT: Final = 10_000  # completed orders and executions, the oldest go first


class Prices(Protocol):
    """What the exchange needs of a market."""

    universe: Universe

    def quote(self, instrument: Instrument, at: float) -> Quote: ...
    def is_open(self, instrument: Instrument, at: float, *, use_rth: bool = False) -> bool: ...
    def sessions(
        self,
        instrument: Instrument,
        first: date,
        last: date,
        use_rth: bool = True,  # noqa: FBT001, FBT002
    ) -> list[Session]: ...


class Exchange:
    """All venues in one: orders of all clients, matched against the simulated book.

    Parameters
    ----------
    universe, market, account
        What can be traded, at which prices, for whom.
    seed : int
        Goes into the ids of executions.
    always_open : bool
        Whether orders trade outside hours too.
    """

    def __init__(
        self,
        universe: Universe,
        market: Prices,
        account: Account,
        *,
        seed: int = 1,
        always_open: bool = True,
    ) -> None:
        self.universe, self.market, self.account = universe, market, account
        self.seed, self.always_open = seed, always_open
        self._working: dict[tuple[int, int], WorkingOrder] = {}
        self._held: dict[tuple[int, int], OrderRequest] = {}
        self._completed: dict[tuple[int, int], WorkingOrder] = {}
        self._fills: list[Fill] = []
        self._highest: dict[int, int] = {}
        self._perm_id = FIRST_PERM_ID
        self._last_tick: float | None = None
        self._book = Book(universe, market)

    # --- what clients do ------------------------------------------------------------------------

    def place(self, request: OrderRequest, now: float) -> list[Event]:
        """Take a new order, or change the working one of the same client and number."""
        if not self._working:
            self._last_tick = now
        known = self._working.get(request.key)
        try:
            if known is None:
                self._check_id(request)
            check(request, self.universe, now)
        except InvalidOrder as invalid:
            return [Refused(*request.key, invalid.code, invalid.text)]
        if known is not None:
            return self._modify(known, request, now)
        if request.key in self._completed:
            return []  # a real gateway says nothing about the number of a cancelled order
        if not request.transmit:
            self._held[request.key] = request
            return []
        return self._accept(request, now)

    def what_if(self, request: OrderRequest, now: float) -> WhatIf | Refused:
        """Return what an order would change, without placing it."""
        try:
            check(request, self.universe, now)
        except InvalidOrder as invalid:
            return Refused(*request.key, invalid.code, invalid.text)
        price = self._worst_price(request, now)
        before = self.account.sums(self.market, now)
        after = self.account.after(self.market, now, request, price)
        value = price * request.quantity * request.instrument.point_value
        fee = order_fee(request.instrument, request.quantity, value)
        order = WorkingOrder(request, 0, now)
        return WhatIf(
            order,
            before.init_margin,
            before.maint_margin,
            before.equity,
            after.init_margin,
            after.maint_margin,
            after.equity - fee,
            fee,
            request.instrument.currency,
        )

    def cancel(self, client_id: int, order_id: int, now: float) -> list[Event]:
        """Take back a working order; another client's when the caller has none of that number."""
        key = self._find(client_id, order_id)
        if self._held.pop((client_id, order_id), None) is not None:
            return [Refused(client_id, order_id, 202, "Order Canceled - reason:")]
        if key in self._working:
            return self._cancelled(self._working[key], now, "Cancelled by Trader")
        if key in self._completed:
            state = self._completed[key].status
            needs = f"OrderId {order_id} that needs to be cancelled"
            text = f"{needs} cannot be cancelled, state: {state}."
            return [Refused(client_id, order_id, 10148, text)]
        text = f"OrderId {order_id} that needs to be cancelled is not found."
        return [Refused(client_id, order_id, 10147, text)]

    def cancel_all(self, now: float) -> list[Event]:
        """Take back every order of every client, the newest first."""
        newest = sorted(self._working.values(), key=lambda order: -order.perm_id)
        self._held.clear()
        return [
            event
            for order in newest
            for event in self._cancelled(order, now, "Cancelled by Trader")
        ]

    def tick(self, now: float) -> list[Event]:
        """Let time pass up to `now`: match what rests, end what expires."""
        since = now if self._last_tick is None else self._last_tick
        self._last_tick = max(now, since)
        if not self._working:
            return []
        return [event for at in _moments(since, now) for event in self._match_all(at)]

    # --- what can be seen -----------------------------------------------------------------------

    def working(self) -> list[WorkingOrder]:
        """Return the orders that may still trade, oldest first."""
        return list(self._working.values())

    def completed(self) -> list[WorkingOrder]:
        """Return the orders that are filled, cancelled or refused, oldest first."""
        return list(self._completed.values())

    def executions(self) -> list[Fill]:
        """Return the executions, oldest first."""
        return list(self._fills)

    # --- taking orders --------------------------------------------------------------------------

    def _check_id(self, request: OrderRequest) -> None:
        """Refuse a number that was used before."""
        done = self._completed.get(request.key)
        if done is not None and done.status == "Filled":
            raise InvalidOrder(104, "Cannot modify a filled order.")
        if done is not None or request.key in self._held:
            return
        if request.order_id <= self._highest.get(request.client_id, -1):
            raise InvalidOrder(103, "Duplicate order id")

    def _accept(self, request: OrderRequest, now: float) -> list[Event]:
        """Take a valid order: tell its state, then let it trade."""
        self._highest[request.client_id] = max(
            request.order_id, self._highest.get(request.client_id, -1)
        )
        self._held.pop(request.key, None)
        order = WorkingOrder(request, self._perm_id, now, self._expiry(request, now))
        self._perm_id += 1
        reason = self._objection(request, now)
        if reason:
            return self._reject(order, now, reason)
        events: list[Event] = []
        if not self._trades_now(order, now):
            events.append(self._warning(request, now))
        self._working[request.key] = order
        return [*events, OrderState(order), *self._activate(order, now)]

    def _activate(self, order: WorkingOrder, now: float) -> list[Event]:
        """Send an order to the book when its market is open, and let it trade."""
        if not self._trades_now(order, now):
            return []
        key = order.request.key
        events: list[Event] = []
        if order.request.tif == "FOK" and self._available(order, now) < order.remaining:
            return self._killed(order, now)
        events += self._trade(order, now, resting=False)
        left = self._working.get(key)
        if left is None:
            return events
        if left.request.tif in {"IOC", "FOK"}:
            return events + self._killed(left, now)
        if left.status == "PreSubmitted":
            left = self._keep(replace(left, status="Submitted"))
            events.append(OrderState(left))
        return events

    def _modify(self, order: WorkingOrder, request: OrderRequest, now: float) -> list[Event]:
        """Change quantity, price or time in force of a working order."""
        before = order.request
        if request.order_type != before.order_type:
            text = "Order modify failed. Cannot change to the new order type."
            return [Refused(*request.key, 329, text)]
        same = (request.instrument.con_id, request.action) == (
            before.instrument.con_id,
            before.action,
        )
        if not same:
            text = "Order being modified does not match original order."
            return [Refused(*request.key, 105, text)]
        request = replace(
            request, tif=request.tif or before.tif, account=request.account or before.account
        )
        if request.quantity <= order.filled:
            text = "Order rejected - reason:The new quantity is not above what is already filled."
            return [Refused(*request.key, 201, text)]
        dearer = request.quantity > before.quantity or request.lmt_price != before.lmt_price
        changed = self._keep(
            replace(
                order,
                request=request,
                placed_at=now if dearer else order.placed_at,
                expires_at=self._expiry(request, now),
            )
        )
        return [OrderState(changed), *self._activate(changed, now)]

    def _objection(self, request: OrderRequest, now: float) -> str:
        """Return why the broker refuses an order, or nothing."""
        tif = request.tif or "DAY"
        bad = tif not in TIFS
        if bad or (tif == "FOK" and request.instrument.sec_type == "STK"):
            return (
                f"The time-in-force {tif} is invalid for this combination of exchange and "
                "security type"
            )
        held = self.account.position(request.instrument).quantity
        after = held + request.quantity * request.sign
        if request.instrument.sec_type == "CRYPTO" and after < 0:
            return "Short sales of cryptocurrencies are not allowed."
        if abs(after) <= abs(held):
            return ""
        sums = self.account.after(self.market, now, request, self._worst_price(request, now))
        if sums.equity >= sums.init_margin:
            return ""
        return (
            "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH "
            f"LOAN VALUE [{sums.equity:.2f} {self.account.base}] MUST EXCEED THE INITIAL MARGIN "
            f"[{sums.init_margin:.2f} {self.account.base}]"
        )

    def _reject(self, order: WorkingOrder, now: float, reason: str) -> list[Event]:
        """Tell a refusal as a real gateway does: the state, the reason, the state again."""
        refused = replace(
            order, status="Inactive", completed_time=now, completed_status=f"Rejected: {reason}"
        )
        self._finish(refused)
        text = f"Order rejected - reason:{reason}"
        return [OrderState(refused), Refused(*order.request.key, 201, text), OrderState(refused)]

    def _warning(self, request: OrderRequest, now: float) -> Refused:
        """Return the notice that an order waits for the opening."""
        instrument = request.instrument
        opens = next((one.start for one in self._coming(request, now) if one.start > now), int(now))
        when = local(opens, instrument.model.calendar)
        where = f"{instrument.primary_exchange or instrument.exchange}.{instrument.trading_class}"
        text = (
            f"Order Message:\n{request.action} {request.quantity:f} {instrument.symbol} {where}\n"
            f"Warning: Your order will not be placed at the exchange until "
            f"{when:%Y-%m-%d %H:%M:%S} {instrument.time_zone_id}."
        )
        return Refused(*request.key, 399, text)

    # --- time -----------------------------------------------------------------------------------

    def _trades_now(self, order: WorkingOrder, now: float) -> bool:
        """Whether the order's market is open for it."""
        request = order.request
        regular = request.instrument.sec_type == "STK" and not request.outside_rth
        return self.always_open or self.market.is_open(request.instrument, now, use_rth=regular)

    def _coming(self, request: OrderRequest, now: float) -> list[Session]:
        """Return the session of now and those that follow."""
        regular = request.instrument.sec_type == "STK" and not request.outside_rth
        today = local(int(now), request.instrument.model.calendar).date()
        found = self.market.sessions(request.instrument, today, today + LOOK_AHEAD, regular)
        return [one for one in found if one.end > now]

    def _expiry(self, request: OrderRequest, now: float) -> float | None:
        """Return when a DAY order ends: with the session of now, or else the next one."""
        if (request.tif or "DAY") != "DAY":
            return None
        coming = self._coming(request, now)
        return float(coming[0].end) if coming else None

    def _match_all(self, now: float) -> list[Event]:
        """Let every working order trade at one moment: better prices first, then older ones."""
        events: list[Event] = []
        for order in sorted(self._working.values(), key=priority):
            if now < order.placed_at:
                continue
            if order.expires_at is not None and now >= order.expires_at:
                events += self._cancelled(order, now, "Cancelled by System:\n")
            elif order.status == "PreSubmitted":
                events += self._activate(order, now)
            elif self._trades_now(order, now):
                events += self._trade(order, now, resting=True)
        return events

    # --- trading --------------------------------------------------------------------------------

    def _trade(self, order: WorkingOrder, now: float, *, resting: bool) -> list[Event]:
        """Fill what the book has for an order."""
        events: list[Event] = []
        for price, size in self._book.levels(order.request, now):
            left = self._working.get(order.request.key)
            if left is None or not good_enough(left.request, price):
                break
            shares = tradable(min(size, left.remaining), left.request.instrument)
            if shares > 0:
                self._book.take(left.request, price, shares)
                paid = left.request.lmt_price if resting and left.request.lmt_price else price
                events += self._fill(left, shares, paid, now, liquidity=1 if resting else 2)
        return events

    def _available(self, order: WorkingOrder, now: float) -> Decimal:
        """Return how much the book has at prices that an order accepts."""
        book = self._book.levels(order.request, now)
        return sum((size for price, size in book if good_enough(order.request, price)), ZERO)

    def _worst_price(self, request: OrderRequest, now: float) -> Decimal:
        """Return the price that margin is reckoned with."""
        if request.lmt_price is not None and TYPES[request.order_type].limited:
            return request.lmt_price
        quote = self.market.quote(request.instrument, now)
        touch = quote.ask if request.sign > 0 else quote.bid
        return Decimal(repr(touch or quote.last or quote.close or 0))

    def _fill(
        self, order: WorkingOrder, shares: Decimal, price: Decimal, now: float, *, liquidity: int
    ) -> list[Event]:
        """Book one execution and tell it: execution, state, and the price of it last."""
        request = order.request
        realized = self.account.preview(request.instrument, shares * request.sign, price)
        trade = Trade(shares, price, now, liquidity, realized)
        after, fill, charged = executed(order, trade, self.account.account_id, self.seed)
        self.account.begin_day(self.market, now)
        self.account.apply(fill)
        self._fills.append(fill)
        del self._fills[:-EVENTS_KEPT]
        return self._told(after, fill, charged)

    def _told(self, order: WorkingOrder, fill: Fill, commission: Decimal) -> list[Event]:
        """Return the events of one execution, in the order that was recorded."""
        if not order.done:
            self._keep(order)
            return [Execution(order, fill), OrderState(order), Commission(order, fill)]
        final = replace(order, commission=commission)
        self._finish(final)
        return [
            Execution(order, fill),
            OrderState(order),
            OrderState(final),
            Commission(final, fill),
        ]

    # --- ends -----------------------------------------------------------------------------------

    def _cancelled(self, order: WorkingOrder, now: float, why: str) -> list[Event]:
        """End an order: pending, cancelled, and IB's 202."""
        pending = replace(order, status="PendingCancel", why_held="")
        ended = replace(pending, status="Cancelled", completed_time=now, completed_status=why)
        self._finish(ended)
        return [
            OrderState(pending),
            OrderState(ended, with_open_order=False),
            Refused(*order.request.key, 202, "Order Canceled - reason:"),
        ]

    def _killed(self, order: WorkingOrder, now: float) -> list[Event]:
        """End what an immediate order left; recorded without a 202."""
        return self._cancelled(order, now, "Cancelled by System:\n")[:2]

    def _keep(self, order: WorkingOrder) -> WorkingOrder:
        self._working[order.request.key] = order
        return order

    def _finish(self, order: WorkingOrder) -> None:
        self._working.pop(order.request.key, None)
        self._completed[order.request.key] = order
        while len(self._completed) > EVENTS_KEPT:
            del self._completed[next(iter(self._completed))]

    def _find(self, client_id: int, order_id: int) -> tuple[int, int]:
        """Return whose order a number means: the caller's own first."""
        own = (client_id, order_id)
        if own in self._working or own in self._completed:
            return own
        return next((key for key in self._working if key[1] == order_id), own)


def _moments(since: float, now: float) -> Iterator[float]:
    """Yield the whole seconds that have begun since; in a long pause only the whole minutes."""
    first, last = int(since) + 1, int(now)
    step = 1 if last - first <= STEP_BY_SECONDS else 60
    yield from (float(at) for at in range(first, last, step))
    if last >= first:
        yield float(last)
