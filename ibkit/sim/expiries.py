"""The end of contracts: options exercised or lapsed, futures settled, when their last day is over.

What is in the money is exercised by itself. Options on an index and all futures settle in cash;
other options deliver their underlying at the strike. An option that trades until the day before its
settlement (SPX's monthlies) is settled by that day's opening. Not here: orders (`exchange`).
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim.fills import venue
from ibkit.sim.orders import ZERO, Commission, Event, Execution, Fill, OrderRequest, WorkingOrder
from ibkit.sim.worth import mark, to_decimal

if TYPE_CHECKING:
    from ibkit.sim.account import Account
    from ibkit.sim.household import Household
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.registry import Registry
    from ibkit.sim.watch import Watch

OPTIONS: Final = frozenset({"OPT", "FOP"})
CASH_SETTLED: Final = frozenset({"IND"})
IN_THE_MONEY: Final = Decimal("0.01")  # from here on an option is exercised by itself
NOBODY: Final = 0  # the client and the order of what no order did


class Expiries:
    """Contracts that end.

    Parameters
    ----------
    watch, household, registry
        The market, the accounts, and where executions are kept.
    seed : int
        Goes into the ids of executions.
    """

    def __init__(
        self, watch: Watch, household: Household, registry: Registry, *, seed: int
    ) -> None:
        self._watch, self._household, self._registry = watch, household, registry
        self._seed = seed
        self._lapsing: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
        self._ends: dict[int, float] = {}

    # --- what a client asks -----------------------------------------------------------------------

    def exercise(
        self, instrument: Instrument, quantity: int, name: str, now: float, *, override: bool
    ) -> list[Event] | str:
        """Exercise options that are held; a text is the reason why not."""
        account = self._household.of(name)
        problem = self._problem(account, instrument, quantity)
        if problem:
            return problem
        wins = self._inner_value(instrument, now)
        if wins < IN_THE_MONEY and not override:
            return "Exercise ignored because option is not in-the-money."
        return self._delivered(account, instrument, Decimal(quantity), now, wins)

    def lapse(self, instrument: Instrument, quantity: int, name: str) -> list[Event] | str:
        """Let options that are held expire, even in the money; a text is the reason why not."""
        account = self._household.of(name)
        problem = self._problem(account, instrument, quantity)
        if problem:
            return problem
        self._lapsing[account.account_id, instrument.con_id] += quantity
        return []

    def _problem(self, account: Account, instrument: Instrument, quantity: int) -> str:
        held = account.position(instrument).quantity
        free = held - self._lapsing[account.account_id, instrument.con_id]
        if instrument.sec_type not in OPTIONS or quantity <= 0 or free < quantity:
            return f"No unlapsed position exists in this option in account {account.account_id}."
        return ""

    # --- what time brings -------------------------------------------------------------------------

    def due(self, now: float) -> list[Event]:
        """Settle every position whose contract has ended by `now`."""
        events: list[Event] = []
        for account in self._household.accounts.values():
            for position in account.positions():
                one = position.instrument
                if position.quantity and one.last_trade_date and now >= self._end(one):
                    events += self._ended(account, one, position.quantity, self._end(one))
        return events

    def _end(self, instrument: Instrument) -> float:
        """Return when a contract is settled: at its last close, or at the opening that follows."""
        known = self._ends.get(instrument.con_id)
        if known is None:
            assert instrument.expiry is not None
            day = instrument.settlement or instrument.expiry
            found = self._watch.market.sessions(
                instrument, day, day, use_rth=instrument.sec_type == "OPT"
            )
            if found:
                known = float(found[0].start if _at_opening(instrument) else found[-1].end)
            else:
                known = (day.toordinal() - 719_163) * 86_400.0 + 72_000
            self._ends[instrument.con_id] = known
        return known

    def _ended(
        self, account: Account, instrument: Instrument, quantity: Decimal, now: float
    ) -> list[Event]:
        if instrument.sec_type not in OPTIONS:
            price = mark(self._watch, instrument, now - 1)
            return self._booked(account, instrument, -quantity, price, now)
        lapsing = self._lapsing.pop((account.account_id, instrument.con_id), ZERO)
        left = max(ZERO, quantity - lapsing) if quantity > 0 else quantity
        events: list[Event] = []
        wins = self._settlement(instrument, now)
        if wins >= IN_THE_MONEY and left:
            events += self._delivered(account, instrument, left, now, wins)
        rest = account.position(instrument).quantity
        return events + (self._booked(account, instrument, -rest, ZERO, now) if rest else [])

    def _delivered(
        self, account: Account, option: Instrument, quantity: Decimal, now: float, wins: Decimal
    ) -> list[Event]:
        """Exercise bought options, or have sold ones (negative) assigned; a unit `wins` so much."""
        under = self._watch.universe.by_con_id(option.under_con_id)
        if under is None or under.sec_type in CASH_SETTLED:
            return self._booked(account, option, -quantity, wins, now)
        strike = to_decimal(option.strike) * under.price_magnifier
        signed = quantity * (1 if option.right == "C" else -1)
        if under.sec_type != "FUT":
            signed *= Decimal(option.multiplier or 1)
        return [
            *self._booked(account, option, -quantity, ZERO, now),
            *self._booked(account, under, signed, strike, now),
        ]

    def _inner_value(self, option: Instrument, now: float) -> Decimal:
        """Return what exercising one unit wins."""
        under = self._watch.universe.by_con_id(option.under_con_id)
        if under is None:
            return ZERO
        return _wins(option, mark(self._watch, under, now))

    def _settlement(self, option: Instrument, end: float) -> Decimal:
        """Return what one unit is worth at its end: by the last price, or by the opening one."""
        under = self._watch.universe.by_con_id(option.under_con_id)
        if under is None or not _at_opening(option):
            return self._inner_value(option, end - 1)
        opening = self._watch.quote(under, end).open
        return _wins(option, to_decimal(opening) if opening else mark(self._watch, under, end))

    def _booked(
        self, account: Account, instrument: Instrument, signed: Decimal, price: Decimal, now: float
    ) -> list[Event]:
        """Book a trade that no order made, and tell it."""
        perm_id = self._registry.next_perm_id()
        action, shares = ("BUY" if signed > 0 else "SELL"), abs(signed)
        fill = Fill(
            exec_id=f"{self._seed & 0xFFFFFFFF:08x}.{perm_id:08x}.01.01",
            time=now,
            exchange=venue(instrument),
            side="BOT" if signed > 0 else "SLD",
            shares=shares,
            price=price,
            cum_qty=shares,
            avg_price=price,
            liquidity=0,
            commission=ZERO,
            currency=instrument.currency,
            realized_pnl=account.preview(instrument, signed, price),
            order_ref="",
            client_id=NOBODY,
            order_id=NOBODY,
            perm_id=perm_id,
            account=account.account_id,
            instrument=instrument,
        )
        account.begin_day(self._watch, now)
        account.apply(fill)
        self._registry.add_fill(fill)
        request = OrderRequest(NOBODY, NOBODY, instrument, action, shares, "MKT")
        order = WorkingOrder(request, perm_id, now, status="Filled", filled=shares)
        return [Execution(order, fill), Commission(order, fill)]


def _at_opening(instrument: Instrument) -> bool:
    """Whether a contract is settled by the opening of the day after its last."""
    return instrument.sec_type == "OPT" and instrument.settlement != instrument.expiry


def _wins(option: Instrument, spot: Decimal) -> Decimal:
    """Return what exercising one unit wins when the underlying is at `spot`."""
    strike = to_decimal(option.strike)
    return max(ZERO, spot - strike if option.right == "C" else strike - spot)
