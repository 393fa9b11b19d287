"""What an order is and what happens to it: the values that pass between client and exchange.

Not here: when it happens (`ibkit.sim.exchange`) and what it looks like on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ibkit.sim.conditions import Condition
    from ibkit.sim.instrument import Instrument

ZERO: Final = Decimal(0)
BUY: Final = "BUY"
DONE: Final = frozenset({"Filled", "Cancelled", "Inactive"})
# other spellings that clients use, without regard to blanks
SPELLINGS: Final = {
    "STPLMT": "STP LMT",
    "TRAILLIMIT": "TRAIL LIMIT",
    "TRAILLMT": "TRAIL LIMIT",
    "MKTPRT": "MKT PRT",
    "STPPRT": "STP PRT",
    "RELATIVE": "REL",
    "PEGPRIM": "REL",
    "PEGPRI": "REL",
    "PASSVREL": "PASSV REL",
    "PEGMKT": "PEG MKT",
    "PEGMID": "PEG MID",
    "PEGBEST": "PEG BEST",
    "PEGBENCH": "PEG BENCH",
    "PEGSTK": "PEG STK",
    "SNAPMKT": "SNAP MKT",
    "SNAPMID": "SNAP MID",
    "SNAPPRIM": "SNAP PRIM",
    "MKTCLOSE": "MOC",
    "LMTCLOSE": "LOC",
}


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a combination: `ratio` units of it a unit of the whole."""

    instrument: Instrument
    ratio: int
    action: str

    @property
    def sign(self) -> int:
        """1 when buying the combination buys this leg."""
        return 1 if self.action == BUY else -1


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a stop order turns into once `trigger` trades."""

    order_type: str
    trigger: Decimal
    stop: Decimal | None
    limit: Decimal | None
    trailing: Decimal | None
    percent: bool


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order as a client placed it, in IB's names.

    `wire` is the client's own full message, handed back untouched for the echo.
    """

    client_id: int
    order_id: int
    instrument: Instrument
    action: str
    quantity: Decimal
    order_type: str
    lmt_price: Decimal | None = None
    aux_price: Decimal | None = None
    tif: str = "DAY"
    account: str = ""
    outside_rth: bool = False
    transmit: bool = True
    what_if: bool = False
    order_ref: str = ""
    parent_id: int = 0
    oca_group: str = ""
    oca_type: int = 0
    good_till_date: str = ""
    good_after_time: str = ""
    trail_stop_price: Decimal | None = None
    trailing_percent: Decimal | None = None
    lmt_price_offset: Decimal | None = None
    percent_offset: Decimal | None = None
    compete_offset: Decimal | None = None
    cash_qty: Decimal | None = None
    trigger_method: int = 0
    hidden: bool = False
    all_or_none: bool = False
    min_qty: int = 0
    display_size: int = 0
    hedge_type: str = ""
    hedge_param: str = ""
    algo_strategy: str = ""
    algo_params: tuple[tuple[str, str], ...] = ()
    conditions: tuple[Condition, ...] = ()
    conditions_ignore_rth: bool = False
    conditions_cancel_order: bool = False
    adjustment: Adjustment | None = None
    legs: tuple[Leg, ...] = ()
    fa_group: str = ""
    e_trade_only: bool = False
    firm_quote_only: bool = False
    wire: Any = field(default=None, compare=False, repr=False)

    @property
    def sign(self) -> int:
        """1 to buy, -1 to sell."""
        return 1 if self.action == BUY else -1

    @property
    def key(self) -> tuple[int, int]:
        """What makes it one order: the client and its number there."""
        return self.client_id, self.order_id

    @property
    def kind(self) -> str:
        """The order type in one spelling, however the client wrote it."""
        return SPELLINGS.get(self.order_type.replace(" ", ""), self.order_type)


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order and its state at one moment.

    Attributes
    ----------
    placed_at : float
        When it was accepted; decides who is first at a price.
    expires_at : float or None
        When the exchange takes it back.
    fills : int
        How many executions it had, for the next execution's id.
    live : bool
        Whether the book has it: no parent, condition, hour or trigger holds it back any more.
    waits : bool
        Whether its parent has to fill first.
    triggered, touches : bool, int
        Whether its stop was reached, and how often in a row on the way there.
    stop, limit : Decimal or None
        Where its stop and its limit stand now, when they move.
    traded_at : float
        When it last traded, for icebergs and slices.
    auction_at : float
        When the auction is that it waits for; 0 for none.
    locating, located : float, bool
        Until when shares to sell short are looked for; whether that is over.
    """

    request: OrderRequest
    perm_id: int
    placed_at: float
    expires_at: float | None = None
    status: str = "PreSubmitted"
    filled: Decimal = ZERO
    paid: Decimal = ZERO
    last_fill_price: Decimal = ZERO
    why_held: str = ""
    commission: Decimal | None = None
    fills: int = 0
    completed_time: float | None = None
    completed_status: str = ""
    live: bool = False
    waits: bool = False
    conditions_met: bool = False
    triggered: bool = False
    touches: int = 0
    stop: Decimal | None = None
    limit: Decimal | None = None
    oca_group: str = ""
    oca_type: int = 0
    parent_perm_id: int = 0
    traded_at: float = 0.0
    auction_at: float = 0.0
    locating: float = 0.0
    located: bool = False

    @property
    def remaining(self) -> Decimal:
        """What is still to be filled."""
        return self.request.quantity - self.filled

    @property
    def avg_fill_price(self) -> Decimal:
        """The mean price so far; 0 before the first fill."""
        return self.paid / self.filled if self.filled else ZERO

    @property
    def done(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in DONE


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution; `realized_pnl` is None when it opened a position."""

    exec_id: str
    time: float
    exchange: str
    side: str
    shares: Decimal
    price: Decimal
    cum_qty: Decimal
    avg_price: Decimal
    liquidity: int
    commission: Decimal
    currency: str
    realized_pnl: Decimal | None
    order_ref: str
    client_id: int
    order_id: int
    perm_id: int
    account: str
    instrument: Instrument

    @property
    def sign(self) -> int:
        """1 when bought, -1 when sold."""
        return 1 if self.side == "BOT" else -1


@dataclass(frozen=True, slots=True)
class OrderState:
    """An order's state was reached; with `with_open_order` the order itself is told again."""

    order: WorkingOrder
    with_open_order: bool = True


@dataclass(frozen=True, slots=True)
class Execution:
    """An order was filled in part or in full."""

    order: WorkingOrder
    fill: Fill


@dataclass(frozen=True, slots=True)
class Commission:
    """The price of an execution is known."""

    order: WorkingOrder
    fill: Fill


@dataclass(frozen=True, slots=True)
class Refused:
    """IB says something about an order under a code: a refusal, a warning, or a cancel's 202."""

    client_id: int
    order_id: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What an order would change; amounts in the base currency."""

    order: WorkingOrder
    init_before: Decimal
    maint_before: Decimal
    equity_before: Decimal
    init_after: Decimal
    maint_after: Decimal
    equity_after: Decimal
    commission: Decimal
    currency: str


Event = OrderState | Execution | Commission | Refused
