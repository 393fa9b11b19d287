"""What becomes of an order before it lives: what it leaves open, its number, and who can pay it.

Not here: what is valid at all (`rules`), and its life after that (`life`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ibkit.sim.fees import order_fee
from ibkit.sim.orders import ZERO, OrderRequest, Refused, WhatIf, WorkingOrder
from ibkit.sim.rules import ECHOED_AS_GTC, TIFS, TYPES, InvalidOrder, check
from ibkit.sim.worth import to_decimal

if TYPE_CHECKING:
    from decimal import Decimal

    from ibkit.sim.account import Account
    from ibkit.sim.household import Household
    from ibkit.sim.registry import Registry
    from ibkit.sim.universe import Universe
    from ibkit.sim.watch import Watch


class Intake:
    """Looks at orders as they come in.

    Parameters
    ----------
    registry, watch, household, universe
        The orders that are known, the market, whose money it is, and what can be traded.
    """

    def __init__(
        self, registry: Registry, watch: Watch, household: Household, universe: Universe
    ) -> None:
        self._orders, self._watch = registry, watch
        self._household, self._universe = household, universe

    def what_if(self, request: OrderRequest, now: float) -> WhatIf | Refused:
        """Return what an order would change, without placing it."""
        try:
            request = self.completed_request(request, None, now)
            check(request, self._universe, now)
            request = replace(request, account=self._household.check(request))
        except InvalidOrder as invalid:
            return Refused(*request.key, invalid.code, invalid.text)
        price = self.worst_price(request, now)
        account = self._household.of(request.account)
        before = account.sums(self._watch, now)
        after = account.after(self._watch, now, request, price)
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

    def completed_request(
        self, request: OrderRequest, known: WorkingOrder | None, now: float
    ) -> OrderRequest:
        """Return a request with what it leaves open filled in."""
        if request.legs:
            self._watch.learn(request.instrument, request.legs)
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
        price = self.worst_price(request, now) * request.instrument.point_value
        step = request.instrument.size_increment
        return (request.cash_qty or ZERO) / price // step * step if price > 0 else ZERO

    def check_id(self, request: OrderRequest) -> None:
        """Refuse a number that was used before."""
        done = self._orders.completed.get(request.key)
        if done is not None and done.status == "Filled":
            raise InvalidOrder(104, "Cannot modify a filled order.")
        if done is not None or request.key in self._orders.held:
            return
        if self._orders.is_spent(request.key):
            raise InvalidOrder(103, "Duplicate order id")

    def check_parent(self, request: OrderRequest) -> None:
        """Refuse the child of an order that is not there."""
        parent = (request.client_id, request.parent_id)
        if request.parent_id and not (
            parent in self._orders.working or parent in self._orders.held
        ):
            raise InvalidOrder(10006, "Missing parent order.")

    def objection(self, request: OrderRequest, now: float) -> str:
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
            self._household.group(request.fa_group)
            if request.fa_group
            else [self._household.of(request.account)]
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
        sums = account.after(self._watch, now, request, self.worst_price(request, now))
        if sums.loan_value >= sums.init_margin:
            return ""
        return (
            "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH "
            f"LOAN VALUE [{sums.loan_value:.2f} {account.base}] MUST EXCEED THE INITIAL MARGIN "
            f"[{sums.init_margin:.2f} {account.base}]"
        )

    def worst_price(self, request: OrderRequest, now: float) -> Decimal:
        """Return the price that margin is reckoned with."""
        kind = TYPES[request.kind]
        if request.lmt_price and kind.limited:
            return request.lmt_price
        if request.aux_price and kind.trigger in {"stop", "touch"}:
            return request.aux_price
        quote = self._watch.quote(request.instrument, now)
        touch = quote.ask if request.sign > 0 else quote.bid
        return to_decimal(touch or quote.last or quote.close or 0)

    def _fee(self, request: OrderRequest, price: Decimal, now: float) -> Decimal:
        """Return what an order would cost, all legs together."""
        if not request.legs:
            value = abs(price * request.quantity * request.instrument.point_value)
            return order_fee(request.instrument, request.quantity, value)
        fees = ZERO
        for leg in request.legs:
            shares, quote = request.quantity * leg.ratio, self._watch.quote(leg.instrument, now)
            value = shares * to_decimal(quote.last or quote.bid or 0) * leg.instrument.point_value
            fees += order_fee(leg.instrument, shares, value)
        return fees
