"""The account: cash by currency, positions, what they are worth, and IB's tables of values.

Money is Decimal and is conserved: cash plus the cost of positions is what was paid in, plus what
was realised. Futures and CFDs pay no principal; what they win is cash when they close. As at IB the
cost of a position holds the fees of opening it. Not here: who trades (`ibkit.sim.exchange`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from ibkit.sim.margin import needs
from ibkit.sim.orders import ZERO
from ibkit.sim.values import account_summary, account_values
from ibkit.sim.worth import Prices, exchange_rate, mark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.sim.orders import Fill, OrderRequest
    from ibkit.sim.universe import Instrument

HOME: Final = ZoneInfo("America/New_York")
NO_PRINCIPAL: Final = frozenset({"FUT", "CFD"})
KINDS: Final = {"OPT": "options", "FOP": "options", "CRYPTO": "crypto", "BOND": "bonds"}
NO_VALUE: Final = NO_PRINCIPAL | {"CASH"}


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of one instrument.

    Attributes
    ----------
    cost, fees : Decimal
        The money paid for it, and the fees paid on top.
    realized : Decimal
        What it won, after fees.
    """

    instrument: Instrument
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    fees: Decimal = ZERO
    realized: Decimal = ZERO

    @property
    def basis(self) -> Decimal:
        """Cost and fees."""
        return self.cost + self.fees

    @property
    def avg_cost(self) -> Decimal:
        """The money paid a unit, fees included; of futures and options with the multiplier."""
        return self.basis / self.quantity if self.quantity else ZERO


@dataclass(frozen=True, slots=True)
class PortfolioRow:
    """A position at a moment's price, in the instrument's currency."""

    position: Position
    market_price: Decimal
    market_value: Decimal
    avg_cost: Decimal
    unrealized: Decimal
    realized: Decimal


@dataclass(frozen=True, slots=True)
class Sums:
    """The account at a moment, in the base currency."""

    cash: Decimal
    stocks: Decimal
    bonds: Decimal
    options: Decimal
    options_sold: Decimal
    crypto: Decimal
    futures_pnl: Decimal
    unrealized: Decimal
    realized: Decimal
    gross: Decimal
    init_margin: Decimal
    maint_margin: Decimal

    @property
    def equity(self) -> Decimal:
        """What would be left if everything were sold."""
        return self.loan_value + self.options - self.options_sold

    @property
    def loan_value(self) -> Decimal:
        """The equity that may carry a loan: without the value of bought options."""
        return (
            self.cash + self.stocks + self.bonds + self.crypto + self.futures_pnl
        ) + self.options_sold


@dataclass(frozen=True, slots=True)
class Day:
    """A position when the day began: its worth, and what it had won."""

    value: Decimal = ZERO
    realized: Decimal = ZERO


class Account:
    """One simulated account.

    Parameters
    ----------
    account_id : str
        Starts with ``DUSIM``.
    base : str
        The currency of its sums.
    cash : Decimal, int, or mapping
        What it begins with, in `base`, or by currency.
    """

    def __init__(
        self,
        account_id: str = "DUSIM0001",
        base: str = "USD",
        cash: Decimal | int | Mapping[str, Decimal | int] = 1_000_000,
    ) -> None:
        self.account_id, self.base = account_id, base
        paid = cash if isinstance(cash, Mapping) else {base: cash}
        self.paid_in = {currency: Decimal(amount) for currency, amount in paid.items()}
        self.cash: dict[str, Decimal] = defaultdict(Decimal, self.paid_in)
        self.fees: dict[str, Decimal] = defaultdict(Decimal)
        self._positions: dict[int, Position] = {}
        self._day: date | None = None
        self._days: dict[int, Day] = {}
        self._spent: dict[int, Decimal] = defaultdict(Decimal)
        self._equity_at_open: Decimal | None = None
        self._realized_at_open = ZERO

    # --- trading --------------------------------------------------------------------------------

    def preview(
        self, instrument: Instrument, signed: Decimal, price: Decimal, fee: Decimal = ZERO
    ) -> Decimal | None:
        """Return what a trade would realise after fees, or None when it closes nothing."""
        position = self.position(instrument)
        after, _ = _traded(position, signed, price, fee)
        closes = position.quantity * signed < 0
        return after.realized - position.realized if closes else None

    def apply(self, fill: Fill) -> None:
        """Book one execution: position, cash and fee."""
        signed = fill.shares * fill.sign
        instrument = fill.instrument
        before = self.position(instrument)
        after, gross = _traded(before, signed, fill.price, fill.commission)
        self._positions[instrument.con_id] = after
        for currency, amount in _money(instrument, signed, fill.price, gross).items():
            self.cash[currency] += amount
        self.cash[fill.currency] -= fill.commission
        self.fees[fill.currency] += fill.commission
        spent = signed * fill.price * instrument.point_value + fill.commission
        self._spent[instrument.con_id] += spent

    def position(self, instrument: Instrument) -> Position:
        """Return what is held of `instrument`; nothing is a position of 0."""
        return self._positions.get(instrument.con_id) or Position(_home(instrument))

    def positions(self) -> list[Position]:
        """Return every position, those that were closed included."""
        return list(self._positions.values())

    def values(
        self, market: Prices, now: float, kind: str = "updates"
    ) -> list[tuple[str, str, str]]:
        """Return IB's rows of (tag, value, currency); `kind` is "updates", "multi" or "summary"."""
        table = account_summary if kind == "summary" else account_values
        return table(self, market, now)

    def equity_at_open(self, market: Prices, now: float) -> Decimal:
        """Return the equity with which the day began."""
        if self._equity_at_open is None:
            rates = (
                amount * exchange_rate(market, now, name, self.base)
                for name, amount in self.paid_in.items()
            )
            self._equity_at_open = sum(rates, ZERO)
        return self._equity_at_open

    # --- worth ----------------------------------------------------------------------------------

    def portfolio(self, market: Prices, now: float) -> list[PortfolioRow]:
        """Return the open positions at the prices of `now`."""
        return [make_row(market, one, now) for one in self._positions.values() if one.quantity]

    def sums(self, market: Prices, now: float) -> Sums:
        """Return the account's totals at `now`."""
        return self._sums(market, now, self._positions.values(), self.cash)

    def after(self, market: Prices, now: float, request: OrderRequest, price: Decimal) -> Sums:
        """Return the totals as they would be if an order filled at `price`."""
        held = dict(self._positions)
        cash = defaultdict(Decimal, self.cash)
        for instrument, signed, each in _parts(request, price, market, now):
            position, gross = _traded(self.position(instrument), signed, each, ZERO)
            held[instrument.con_id] = position
            for currency, amount in _money(instrument, signed, each, gross).items():
                cash[currency] += amount
        return self._sums(market, now, held.values(), cash)

    def pnl(self, market: Prices, now: float) -> tuple[Decimal, Decimal, Decimal]:
        """Return the PnL of the day, the unrealised one, and the one realised today."""
        self.begin_day(market, now)
        sums = self.sums(market, now)
        daily = sums.equity - self.equity_at_open(market, now)
        return daily, sums.unrealized, sums.realized - self._realized_at_open

    def pnl_single(
        self, con_id: int, market: Prices, now: float
    ) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal] | None:
        """Return position, PnL of the day, unrealised, realised today and value of one row."""
        self.begin_day(market, now)
        position = self._positions.get(con_id)
        if position is None:
            return None
        row, began = make_row(market, position, now), self._days.get(con_id, Day())
        daily = row.market_value - began.value - self._spent.get(con_id, ZERO)
        won = row.realized - began.realized
        return position.quantity, daily, row.unrealized, won, row.market_value

    def begin_day(self, market: Prices, now: float) -> None:
        """Remember the worth with which New York's day began; cheap when it is known.

        Is to be called before anything is booked: it values what is held now at midnight's prices.
        """
        today = datetime.fromtimestamp(now, HOME).date()
        if self._day is not None and today > self._day:
            midnight = datetime(today.year, today.month, today.day, tzinfo=HOME).timestamp()
            sums = self.sums(market, midnight)
            self._equity_at_open, self._realized_at_open = sums.equity, sums.realized
            rows = [make_row(market, one, midnight) for one in self._positions.values()]
            self._days = {
                row.position.instrument.con_id: Day(row.market_value, row.realized) for row in rows
            }
            self._spent.clear()
        self._day = today

    def currencies(self) -> list[str]:
        """Return the currencies it holds or owes, or trades in, the base first."""
        held = {name for name, amount in self.cash.items() if amount}
        held |= {one.instrument.currency for one in self._positions.values() if one.quantity}
        return [self.base, *sorted(held - {self.base})]

    def _sums(
        self,
        market: Prices,
        now: float,
        positions: Iterable[Position],
        cash: Mapping[str, Decimal],
    ) -> Sums:
        total: dict[str, Decimal] = defaultdict(Decimal)
        held = list(positions)
        for position in held:
            self._weigh(market, now, position, total)
        for need in needs(market, now, held):
            rate = exchange_rate(market, now, need.currency, self.base)
            total["init_margin"] += need.initial * rate
            total["maint_margin"] += need.maintenance * rate
        total["cash"] = sum(
            (amount * exchange_rate(market, now, name, self.base) for name, amount in cash.items()),
            ZERO,
        )
        names = Sums.__dataclass_fields__
        return Sums(**{name: total[name] for name in names})

    def _weigh(
        self, market: Prices, now: float, position: Position, total: dict[str, Decimal]
    ) -> None:
        """Add one position to the totals."""
        kind = position.instrument.sec_type
        rate = exchange_rate(market, now, position.instrument.currency, self.base)
        total["realized"] += position.realized * rate
        if not position.quantity:
            return
        row = make_row(market, position, now)
        value = row.market_value * rate
        total["unrealized"] += row.unrealized * rate
        if kind in NO_PRINCIPAL:
            total["futures_pnl"] += (row.market_value - position.cost) * rate
        if kind in NO_VALUE:
            return
        total[KINDS.get(kind, "stocks")] += value
        total["gross"] += abs(value)
        if KINDS.get(kind) == "options" and value < 0:
            total["options_sold"] += value


def _home(instrument: Instrument) -> Instrument:
    """Return the instrument as positions name it: at its own exchange, however it was routed."""
    home = instrument.primary_exchange or instrument.exchange
    return instrument if home == instrument.exchange else replace(instrument, exchange=home)


def _parts(
    request: OrderRequest, price: Decimal, market: Prices, now: float
) -> list[tuple[Instrument, Decimal, Decimal]]:
    """Return what an order trades: (instrument, signed quantity, price), of combinations by leg."""
    signed = request.quantity * request.sign
    if not request.legs:
        return [(request.instrument, signed, price)]
    return [
        (leg.instrument, signed * leg.ratio * leg.sign, mark(market, leg.instrument, now))
        for leg in request.legs
    ]


def _money(
    instrument: Instrument, signed: Decimal, price: Decimal, gross: Decimal
) -> dict[str, Decimal]:
    """Return what a trade moves in cash, fees apart."""
    if instrument.sec_type in NO_PRINCIPAL:
        return {instrument.currency: gross}
    money = {instrument.currency: -signed * price * instrument.point_value}
    if instrument.sec_type == "CASH":
        money[instrument.symbol] = signed
    return money


def _traded(
    before: Position, signed: Decimal, price: Decimal, fee: Decimal
) -> tuple[Position, Decimal]:
    """Return the position after a trade, and what it realised before all fees."""
    point = before.instrument.point_value
    closing = ZERO
    if before.quantity * signed < 0:
        closing = min(abs(signed), abs(before.quantity)).copy_sign(signed)
    part = -closing / before.quantity if before.quantity else ZERO
    released, released_fees = before.cost * part, before.fees * part
    closing_fee = fee * closing / signed if signed else ZERO
    gross = -closing * price * point - released if closing else ZERO
    quantity = before.quantity + signed
    opened = (signed - closing) * price * point
    after = replace(
        before,
        quantity=quantity,
        cost=before.cost - released + opened if quantity else ZERO,
        fees=before.fees - released_fees + fee - closing_fee if quantity else ZERO,
        realized=before.realized + (gross - released_fees - closing_fee if closing else ZERO),
    )
    return after, gross


def make_row(market: Prices, position: Position, now: float) -> PortfolioRow:
    """Return a position at the price of `now`."""
    price = mark(market, position.instrument, now)
    value = position.quantity * price * position.instrument.point_value
    return PortfolioRow(
        position, price, value, position.avg_cost, value - position.basis, position.realized
    )
