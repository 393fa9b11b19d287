"""What an order ticket shows, as a pure function of what it knows.

Values in, words and switches out: no controls, no services, no thread (`order_ticket` has them).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Final, Literal

from ibkit.display import AMBER, GREY, PROFILE_COLOURS, badge
from ibkit.widgets.parts import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ibkit.orders.recipes import Action, Tif
    from ibkit.orders.views import WhatIf

OrderType = Literal["MKT", "LMT"]
Phase = Literal["draft", "checking", "armed", "sending"]

# orders of this ticket that stay in view
LINES_SHOWN: Final = 5
CENT: Final = Decimal("0.01")
SEND_STYLES: Final = {"BUY": "success", "SELL": "danger"}
ENDED: Final = {"Filled": "good", "Cancelled": "bad", "ApiCancelled": "bad"}


@dataclass(frozen=True, slots=True)
class Draft:
    """The order as it is filled in."""

    action: Action = "BUY"
    quantity: Decimal = Decimal(100)
    order_type: OrderType = "MKT"
    limit_price: Decimal | None = None
    tif: Tif = "DAY"

    def words(self, symbol: str) -> str:
        """Say the order in one line.

        >>> Draft("SELL", Decimal(5), "LMT", Decimal("189.5")).words("AAPL")
        'Sell 5 AAPL at 189.5 or better, DAY'
        """
        limit = "" if self.limit_price is None else f"{self.limit_price:f}"
        price = "at the market" if self.order_type == "MKT" else f"at {limit} or better"
        return f"{self.action.capitalize()} {self.quantity:f} {symbol} {price}, {self.tif}"


@dataclass(frozen=True, slots=True)
class Quote:
    """The best prices as they were at `ts`, NaN or None where there is none; `note` says why."""

    bid: float | None = None
    ask: float | None = None
    last: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    ts: datetime | None = None
    marks: tuple[str, ...] = ()
    note: str = "waiting for prices"


@dataclass(frozen=True, slots=True)
class Line:
    """An order of this ticket and what IB last said about it."""

    order_ref: str
    words: str
    status: str = "sent"
    filled: Decimal = Decimal(0)
    average_price: float = 0.0
    note: str = ""
    ts: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether more may happen to it."""
        return self.status not in ENDED


@dataclass(frozen=True, slots=True)
class Ticket:
    """Everything that an order ticket knows.

    Attributes
    ----------
    symbol, name : str
        The instrument, short and in words.
    kind : str
        Of the profile: sim, paper or live.
    account : str
        Redacted.
    connection : str
        State of the connection.
    blocked : str
        Why nothing can be sent here at all (a read-only profile); empty: it can.
    tick : Decimal
        Price step at the order's price.
    checks : mapping of str to str
        What the what-if and the checks said, a label each; empty before the order is armed.
    problem : str
        The last thing that went wrong, in words.
    """

    symbol: str
    name: str = ""
    kind: str = "sim"
    account: str = ""
    connection: str = "ready"
    blocked: str = ""
    tick: Decimal = Decimal("0.01")
    phase: Phase = "draft"
    draft: Draft = Draft()
    quote: Quote = Quote()
    checks: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    lines: tuple[Line, ...] = ()

    def edited(self, draft: Draft) -> Ticket:
        """Return the ticket with another draft; whatever was armed no longer is."""
        if draft == self.draft:
            return self
        if self.phase == "sending":  # too late to change what is on its way
            return replace(self, draft=draft)
        return replace(self, draft=draft, phase="draft", checks={}, problem="")

    def failed(self, problem: str) -> Ticket:
        """Return the ticket with `problem` in view and nothing armed."""
        return replace(self, phase="draft", checks={}, problem=problem)

    def connected(self, state: str) -> Ticket:
        """Return the ticket on a connection in another state: what was armed no longer is."""
        armed = self.phase == "armed"
        disarmed = replace(self, phase="draft", checks={}) if armed else self
        return replace(disarmed, connection=state)

    def with_line(self, line: Line) -> Ticket:
        """Return the ticket with `line` added, or in the place of the order's older one."""
        kept = tuple(line if old.order_ref == line.order_ref else old for old in self.lines)
        lines = kept if line in kept else (line, *kept)
        return replace(self, lines=lines[:LINES_SHOWN])


@dataclass(frozen=True, slots=True)
class View:
    """What the controls show: HTML pieces, labels, and what can be pressed."""

    head: str
    quote: str
    message: str
    lines: str
    arm_label: str
    arm_enabled: bool
    arm_style: str
    send_label: str
    send_enabled: bool
    send_style: str
    cancel_enabled: bool
    inputs_enabled: bool
    price_enabled: bool


def render(ticket: Ticket) -> View:
    """Return what a ticket shows."""
    draft, connected = ticket.draft, ticket.connection == "ready"
    idle = ticket.phase in {"draft", "armed"}
    return View(
        head=_head(ticket),
        quote=_quote(ticket.quote, ticket.tick),
        message=_message(ticket),
        lines="".join(_line(line) for line in ticket.lines),
        arm_label="Disarm" if ticket.phase == "armed" else "Arm",
        arm_enabled=idle and connected and not ticket.blocked,
        arm_style="primary" if ticket.phase == "draft" else "",
        send_label=f"{draft.action.capitalize()} {draft.quantity:f} {ticket.symbol}",
        send_enabled=ticket.phase == "armed" and connected and not ticket.blocked,
        send_style=SEND_STYLES[draft.action] if ticket.phase == "armed" else "",
        cancel_enabled=connected and any(line.open for line in ticket.lines),
        inputs_enabled=idle,
        price_enabled=idle and draft.order_type == "LMT",
    )


def static(ticket: Ticket) -> str:
    """Return what a report shows of a ticket: the same words, nothing to press."""
    view = render(ticket)
    note = "<p><small>An order ticket; open the notebook to use it.</small></p>"
    parts = (view.head, view.quote, view.message, view.lines, note)
    return f'<div class="ibkit-widget ibkit-static ibkit-{ticket.kind}">{"".join(parts)}</div>'


def text(ticket: Ticket) -> str:
    """Return one line that says whose ticket this is."""
    return f"<OrderTicket {ticket.symbol} {KINDS[ticket.kind][0]} {ticket.phase}>"


def checks(foreseen: WhatIf, tick: Decimal) -> dict[str, str]:
    """Return what IB foresees for an order, a label each; what IB left out is left out."""
    margin = (foreseen.init_margin_change, foreseen.init_margin_after)
    maintenance = (foreseen.maint_margin_change, foreseen.maint_margin_after)
    rows = {
        "Initial margin": _change(*margin),
        "Maintenance margin": _change(*maintenance),
        "Equity with loan": _change(foreseen.equity_change, foreseen.equity_after),
        "Commission": _commission(foreseen),
        "Price step": f"{tick:f}",
        "IB warns": foreseen.warning,
    }
    return {label: words for label, words in rows.items() if words}


def tidy(value: float) -> Decimal:
    """Return the number as a person wrote it: 189.1, not its binary tail; 100, not 100.0."""
    exact = float(value)  # an int has no is_integer before Python 3.12
    return Decimal(int(exact)) if exact.is_integer() else Decimal(str(exact))


def number(value: float | Decimal | None, tick: Decimal | None = None) -> str:
    """Return a number for a person: the decimals of `tick`, a dash for nothing.

    >>> number(189.5, Decimal("0.01")), number(float("nan")), number(12_300.0)
    ('189.50', '–', '12,300')
    """
    if value is None or not isfinite(value):
        return "–"
    decimals = max(0, -int(tick.normalize().as_tuple().exponent)) if tick else None
    return f"{value:,.{decimals}f}" if decimals is not None else f"{value:,.10g}"


# --- the pieces -------------------------------------------------------------------------------


def _head(ticket: Ticket) -> str:
    word, meaning = KINDS[ticket.kind]
    account = f" · account {escape(ticket.account)}" if ticket.account else ""
    return (
        f'<p style="font-size:15px">{badge(word, PROFILE_COLOURS[ticket.kind])} '
        f"<strong>{escape(ticket.symbol)}</strong> <small>{escape(ticket.name)}</small></p>"
        f"<p><small>{escape(meaning)}{account}</small></p>"
    )


def _quote(quote: Quote, tick: Decimal) -> str:
    cells = (
        ("Bid", quote.bid, quote.bid_size),
        ("Ask", quote.ask, quote.ask_size),
        ("Last", quote.last, None),
    )
    at = f"{quote.ts:%H:%M:%S} UTC" if quote.ts else escape(quote.note)
    marks = "".join(f" {badge(mark, AMBER)}" for mark in quote.marks)
    columns = "".join(_price(label, value, size, tick) for label, value, size in cells)
    return f'<div class="ibkit-prices">{columns}<div><small>{at}</small>{marks}</div></div>'


def _price(label: str, value: float | None, size: float | None, tick: Decimal) -> str:
    behind = f" <small>× {number(size)}</small>" if size is not None and isfinite(size) else ""
    return f"<div><small>{label}</small><br><strong>{number(value, tick)}</strong>{behind}</div>"


def _message(ticket: Ticket) -> str:
    if ticket.problem:
        words = escape(ticket.problem).replace("\n", "<br>")
        return f'<p role="alert" class="ibkit-problem">{words}</p>'
    rows = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(words)}</dd>"
        for label, words in ticket.checks.items()
    )
    checks = f"<dl>{rows}</dl>" if rows else ""
    return f'<div role="status"><p>{_prompt(ticket)}</p>{checks}</div>'


def _prompt(ticket: Ticket) -> str:
    order = f"<strong>{escape(ticket.draft.words(ticket.symbol))}</strong>"
    if ticket.blocked:
        return escape(ticket.blocked)
    if ticket.connection != "ready":
        return f"The connection is {escape(ticket.connection)}; nothing can be sent."
    if ticket.phase == "checking":
        return f"{order}: asking IB what it would do…"
    if ticket.phase == "sending":
        return f"{order}: sending…"
    if ticket.phase == "armed":
        return f"Armed: {order}. Pressing the coloured button sends exactly this, once."
    return f"{order}. Arm it first: that asks IB for margin and commission, and sends nothing."


def _line(line: Line) -> str:
    kind = ENDED.get(line.status, "")
    mark = f'<span class="ibkit-{kind}">' if kind else f'<span style="color:{GREY}">'
    filled = f" {line.filled:f} at {number(line.average_price)}" if line.filled else ""
    note = f'<br><span class="ibkit-bad">{escape(line.note)}</span>' if line.note else ""
    at = f" <small>{line.ts:%H:%M:%S} UTC</small>" if line.ts else ""
    return (
        f'<p role="status" class="ibkit-order">{mark}{escape(line.status)}{filled}</span> '
        f"{escape(line.words)}{at}{note}</p>"
    )


def _change(change: float, after: float) -> str:
    if not isfinite(change) or not isfinite(after):
        return ""
    return f"{change:+,.2f}, to {after:,.2f}"


def _commission(foreseen: WhatIf) -> str:
    bounds = (foreseen.min_commission, foreseen.max_commission)
    known = (foreseen.commission,) if isfinite(foreseen.commission) else bounds
    if not all(map(isfinite, known)):
        return ""
    return f"{' to '.join(number(each, CENT) for each in known)} {foreseen.commission_currency}"
