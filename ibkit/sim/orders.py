"""What an order is and what happens to it: the values that pass between client and exchange.

Not here: when it happens (`ibkit.sim.exchange`) and what it looks like on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ibkit.sim.universe import Instrument

ZERO: Final = Decimal(0)
BUY: Final = "BUY"
DONE: Final = frozenset({"Filled", "Cancelled", "Inactive"})


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
    wire: Any = field(default=None, compare=False, repr=False)

    @property
    def sign(self) -> int:
        """1 to buy, -1 to sell."""
        return 1 if self.action == BUY else -1

    @property
    def key(self) -> tuple[int, int]:
        """What makes it one order: the client and its number there."""
        return self.client_id, self.order_id


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order and its state at one moment.

    Attributes
    ----------
    placed_at : float
        When it was accepted; decides who is first at a price.
    expires_at : float or None
        When the exchange takes a DAY order back.
    fills : int
        How many executions it had, for the next execution's id.
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
