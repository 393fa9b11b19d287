"""The account: cash by currency, positions, what they are worth, and IB's tables of values.

Money is Decimal and is conserved: cash plus the cost of positions is what was paid in, plus what
was realised, less fees. Futures pay no principal; what they win is cash when they close. Not here:
who trades (`ibkit.sim.exchange`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from ibkit.sim.fees import margins
from ibkit.sim.orders import ZERO
from ibkit.sim.values import account_summary, account_values
from ibkit.sim.worth import Prices, exchange_rate, mark, to_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.sim.orders import Fill, OrderRequest
    from ibkit.sim.universe import Instrument

HOME: Final = ZoneInfo("America/New_York")
NO_PRINCIPAL: Final = frozenset({"FUT"})


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of one instrument; `cost` is the money paid for it, `realized` what it won."""

    instrument: Instrument
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO

    @property
    def avg_cost(self) -> Decimal:
        """The money paid a unit; of futures with the multiplier."""
        return self.cost / self.quantity if self.quantity else ZERO


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
        return self.cash + self.stocks + self.crypto + self.futures_pnl


class Account:
    """One simulated account.

    Parameters
    ----------
    account_id : str
        Starts with ``DUSIM``.
    base : str
        The currency of its sums.
    cash : Decimal or int
        What it begins with, in `base`.
    """

    def __init__(
        self, account_id: str = "DUSIM0001", base: str = "USD", cash: Decimal | int = 1_000_000
    ) -> None:
        self.account_id, self.base = account_id, base
        self.paid_in = Decimal(cash)
        self.cash: dict[str, Decimal] = defaultdict(Decimal, {base: Decimal(cash)})
        self.fees: dict[str, Decimal] = defaultdict(Decimal)
        self._positions: dict[int, Position] = {}
        self._day: date | None = None
        self._equity_at_open = Decimal(cash)

    # --- trading --------------------------------------------------------------------------------

    def preview(self, instrument: Instrument, signed: Decimal, price: Decimal) -> Decimal | None:
        """Return what a trade would realise before fees, or None when it closes nothing."""
        _, realized = _traded(self.position(instrument), signed, price)
        return realized

    def apply(self, fill: Fill) -> None:
        """Book one execution: position, cash and fee."""
        signed = fill.shares * fill.sign
        before = self.position(fill.instrument)
        after, realized = _traded(before, signed, fill.price)
        self._positions[fill.instrument.con_id] = after
        money = signed * fill.price * fill.instrument.point_value
        if fill.instrument.sec_type in NO_PRINCIPAL:
            self.cash[fill.instrument.currency] += realized or ZERO
        else:
            self.cash[fill.instrument.currency] -= money
        if fill.instrument.sec_type == "CASH":
            self.cash[fill.instrument.symbol] += signed
        self.cash[fill.currency] -= fill.commission
        self.fees[fill.currency] += fill.commission

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

    @property
    def equity_at_open(self) -> Decimal:
        """The equity with which the day began."""
        return self._equity_at_open

    # --- worth ----------------------------------------------------------------------------------

    def portfolio(self, market: Prices, now: float) -> list[PortfolioRow]:
        """Return the open positions at the prices of `now`."""
        return [_row(market, one, now) for one in self._positions.values() if one.quantity]

    def sums(self, market: Prices, now: float) -> Sums:
        """Return the account's totals at `now`."""
        return self._sums(market, now, self._positions.values(), self.cash)

    def after(self, market: Prices, now: float, request: OrderRequest, price: Decimal) -> Sums:
        """Return the totals as they would be if an order filled at `price`."""
        held = dict(self._positions)
        signed = request.quantity * request.sign
        position, realized = _traded(self.position(request.instrument), signed, price)
        held[request.instrument.con_id] = position
        cash = defaultdict(Decimal, self.cash)
        instrument = request.instrument
        money = signed * price * instrument.point_value
        futures = instrument.sec_type in NO_PRINCIPAL
        cash[instrument.currency] += (realized or ZERO) if futures else -money
        if instrument.sec_type == "CASH":
            cash[instrument.symbol] += signed
        return self._sums(market, now, held.values(), cash)

    def pnl(self, market: Prices, now: float) -> tuple[Decimal, Decimal, Decimal]:
        """Return the PnL of the day, the unrealised and the realised one."""
        self.begin_day(market, now)
        sums = self.sums(market, now)
        return sums.equity - self._equity_at_open, sums.unrealized, sums.realized

    def pnl_single(
        self, con_id: int, market: Prices, now: float
    ) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal] | None:
        """Return position, PnL of the day, unrealised, realised and value of one instrument."""
        position = self._positions.get(con_id)
        if position is None:
            return None
        row = _row(market, position, now)
        prior = market.quote(position.instrument, now).close
        step = row.market_price - (to_decimal(prior) if prior is not None else row.market_price)
        daily = step * position.quantity * position.instrument.point_value
        return position.quantity, daily, row.unrealized, row.realized, row.market_value

    def begin_day(self, market: Prices, now: float) -> None:
        """Remember the equity with which New York's day began; cheap when it is known.

        Is to be called before anything is booked: it values what is held now at midnight's prices.
        """
        today = datetime.fromtimestamp(now, HOME).date()
        if self._day is not None and today > self._day:
            midnight = datetime(today.year, today.month, today.day, tzinfo=HOME)
            self._equity_at_open = self.sums(market, midnight.timestamp()).equity
        self._day = today

    def currencies(self) -> list[str]:
        """Return the currencies it holds or owes, the base first."""
        others = sorted(name for name, amount in self.cash.items() if amount and name != self.base)
        return [self.base, *others]

    def _sums(
        self,
        market: Prices,
        now: float,
        positions: Iterable[Position],
        cash: dict[str, Decimal],
    ) -> Sums:
        total: dict[str, Decimal] = defaultdict(Decimal)
        for position in positions:
            self._weigh(market, now, position, total)
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
        row = _row(market, position, now)
        value = row.market_value * rate
        total["unrealized"] += row.unrealized * rate
        if kind in NO_PRINCIPAL:
            total["futures_pnl"] += row.unrealized * rate
        elif kind == "CRYPTO":
            total["crypto"] += value
        elif kind != "CASH":
            total["stocks"] += value
        if kind not in NO_PRINCIPAL | {"CASH"}:
            total["gross"] += abs(value)
        initial, maintenance = margins(position.instrument)
        total["init_margin"] += abs(value) * initial
        total["maint_margin"] += abs(value) * maintenance


def _home(instrument: Instrument) -> Instrument:
    """Return the instrument as positions name it: at its own exchange, however it was routed."""
    home = instrument.primary_exchange or instrument.exchange
    return instrument if home == instrument.exchange else replace(instrument, exchange=home)


def _traded(before: Position, signed: Decimal, price: Decimal) -> tuple[Position, Decimal | None]:
    """Return the position after a trade, and what it realised (None when it closed nothing)."""
    point = before.instrument.point_value
    closing = ZERO
    if before.quantity * signed < 0:
        closing = min(abs(signed), abs(before.quantity)).copy_sign(signed)
    released = before.cost * (-closing / before.quantity) if before.quantity else ZERO
    proceeds = -closing * price * point
    opened = (signed - closing) * price * point
    quantity = before.quantity + signed
    after = replace(
        before,
        quantity=quantity,
        cost=before.cost - released + opened if quantity else ZERO,
        realized=before.realized + (proceeds - released if closing else ZERO),
    )
    return after, (proceeds - released if closing else None)


def _row(market: Prices, position: Position, now: float) -> PortfolioRow:
    price = mark(market, position.instrument, now)
    value = position.quantity * price * position.instrument.point_value
    return PortfolioRow(
        position, price, value, position.avg_cost, value - position.cost, position.realized
    )
