"""An order ticket: fill in, arm (what-if and checks), send once, watch it fill.

No trading logic: the checks, the memory of keys and the road to IB are `ibkit.orders`; what is
shown is `ticket_view`. Here is only the wiring between controls, services and events.
"""

from __future__ import annotations

import math
import secrets
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ibkit import clock, display
from ibkit.contracts.ticks import to_decimal
from ibkit.errors import IbkitError, LoopThreadError, RequestRefusedError
from ibkit.widgets import ticket_view
from ibkit.widgets.parts import PLACES, Hand, bundle
from ibkit.widgets.ticket_controls import Controls
from ibkit.widgets.ticket_facts import blank, make_order, make_quote, sizes, tell, updated
from ibkit.widgets.ticket_view import Draft, Line, Quote, checks, render

if TYPE_CHECKING:
    from decimal import Decimal

    from ib_async import Contract

    from ibkit.connection.events import OrderChanged, QuoteSeen, StateChanged
    from ibkit.kit import Kit
    from ibkit.live import Quotes

# what a what-if said an hour ago is not what the order would do now
ARMED_S: Final = 120.0
TOO_OLD: Final = "It was armed more than two minutes ago; arm it again."
CLOSED: Final = "This ticket is closed; run its cell again for a new one."


class OrderTicket:
    """A ticket for one instrument. Nothing is sent before it is armed, and then once.

    Arming asks IB what the order would do (margin, commission) and checks it against the
    instrument's own rules; changing anything disarms. Each arming makes one intent key, so two
    clicks are one order. A new ticket for the same instrument closes the old one.

    Parameters
    ----------
    kit : Kit
        The connection to use.
    contract : Contract or str
        The instrument, or its shorthand.

    Examples
    --------
    >>> OrderTicket(kit, "AAPL")
    <OrderTicket AAPL SIMULATED draft>
    """

    def __init__(self, kit: Kit, contract: Contract | str) -> None:
        self._kit = kit
        details = kit.contracts.details(contract)
        assert details.contract is not None
        self._contract = details.contract
        self._rule = kit.contracts.tick_rule(self._contract)
        self._ticket = blank(kit, self._contract, details.longName)
        self._lock = threading.RLock()
        self._key, self._armed_at, self._open = "", -math.inf, True
        self._controls = Controls(self._ticket.kind, **sizes(details))
        self._quotes = self._watch()
        self._hand = Hand(self._draw_quote, self._complain)
        pressed = {"arm": self._arm, "send": self._send, "cancel": self._cancel}
        self._controls.connect(edited=self._edited, **pressed)
        self._listen(on=True)
        self._edited()
        self._draw_quote()
        PLACES.take(kit, self._place, self)

    def __repr__(self) -> str:
        return ticket_view.text(self._ticket)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self._controls.box, ticket_view.static(self._ticket), repr(self))

    @property
    def box(self) -> Any:
        """The ipywidgets box of the ticket, to lay out beside others."""
        return self._controls.box

    def close(self) -> None:
        """Take the ticket out of use and end its subscriptions; closing twice is allowed."""
        with self._lock:
            was_open, self._open = self._open, False
        if not was_open:
            return
        PLACES.leave(self._kit, self._place, self)
        self._listen(on=False)
        self._hand.close()
        if self._quotes is not None:
            with suppress(LoopThreadError):  # the connection is closed, and its lines with it
                self._quotes.close()
        self._change(phase="draft", checks={}, blocked=CLOSED)
        self._controls.close()

    # --- what a person does ---------------------------------------------------------------

    def _edited(self) -> None:
        with self._lock:
            draft = self._controls.read()
            if draft.limit_price == 0 and (near := self._near(draft)):
                self._controls.price.value = near  # comes back here, filled in
                return
            tick = self._step(draft)
            self._controls.price.step = float(tick)
            self._ticket = replace(self._ticket.edited(draft), tick=tick)
            self._show()

    def _arm(self) -> None:
        with self._lock:
            if self._ticket.phase == "armed":
                self._change(phase="draft", checks={})
            elif render(self._ticket).arm_enabled:
                self._change(phase="checking", checks={}, problem="")
                self._hand.do(partial(self._check, self._ticket.draft), self._not_sent)

    def _send(self) -> None:
        with self._lock:
            if not render(self._ticket).send_enabled:
                return
            if clock.monotonic() - self._armed_at > ARMED_S:
                self._not_sent(IbkitError(TOO_OLD))
                return
            self._change(phase="sending")
            self._hand.do(partial(self._place_order, self._ticket.draft, self._key), self._unsure)

    def _cancel(self) -> None:
        for line in self._ticket.lines:
            if line.open:
                self._hand.do(partial(self._kit.orders.cancel, line.order_ref))

    # --- errands of the hand --------------------------------------------------------------

    def _check(self, draft: Draft) -> None:
        foreseen = self._kit.orders.what_if(self._contract, make_order(draft))
        with self._lock:
            if self._ticket.phase == "checking" and self._ticket.draft == draft:
                self._key = f"ticket-{secrets.token_hex(6)}"
                self._armed_at = clock.monotonic()
                self._change(phase="armed", checks=checks(foreseen, self._ticket.tick))

    def _place_order(self, draft: Draft, key: str) -> None:
        placed = self._kit.orders.place(self._contract, make_order(draft), key=key)
        with self._lock:
            said = draft.words(self._ticket.symbol)
            line = Line(placed.order_ref, said, placed.status, ts=clock.now())
            self._ticket = replace(self._ticket.with_line(line), phase="draft", checks={})
            self._show()

    def _draw_quote(self) -> None:
        if self._quotes is None:
            return
        frame = self._quotes.frame()
        row = frame.iloc[0].to_dict() if len(frame) else {}
        with self._lock:
            self._change(quote=make_quote(row, display.marks(frame.attrs)))
            self._change(tick=self._step(self._ticket.draft))

    def _follow(self, event: OrderChanged) -> None:
        with self._lock:
            known = {line.order_ref: line for line in self._ticket.lines}
            if line := known.get(event.order_ref):
                self._ticket = self._ticket.with_line(updated(line, event))
                self._show()

    def _not_sent(self, error: Exception) -> None:
        with self._lock:
            self._ticket = self._ticket.failed(f"Nothing was sent. {tell(error)}")
            self._show()

    def _unsure(self, error: Exception) -> None:
        """Show the error of a sending; whether something went out is for it to say."""
        with self._lock:
            self._ticket = self._ticket.failed(tell(error))
            self._show()

    def _complain(self, error: Exception) -> None:
        self._change(problem=tell(error))

    # --- events, on the dispatch thread: only notes for the hand --------------------------

    def _listen(self, *, on: bool) -> None:
        events = self._kit.events
        for event, handler in (
            (events.quote, self._on_quote),
            (events.order, self._on_order),
            (events.state, self._on_state),
        ):
            event.connect(handler) if on else event.disconnect(handler)

    def _on_quote(self, _: QuoteSeen) -> None:
        self._hand.changed()

    def _on_order(self, event: OrderChanged) -> None:
        self._hand.do(partial(self._follow, event))

    def _on_state(self, event: StateChanged) -> None:
        self._hand.do(partial(self._connected, event.after))
        self._hand.changed()
        if event.after == "closed":
            self._hand.do(self.close)

    def _connected(self, state: str) -> None:
        with self._lock:
            self._ticket = self._ticket.connected(state)
            self._show()

    # --- small things ---------------------------------------------------------------------

    @property
    def _place(self) -> tuple[str, int]:
        return "order ticket", self._contract.conId

    def _change(self, **fields: Any) -> None:
        with self._lock:
            self._ticket = replace(self._ticket, **fields)
            self._show()

    def _show(self) -> None:
        self._controls.show(render(self._ticket))

    def _step(self, draft: Draft) -> Decimal:
        quote = self._ticket.quote
        known = (draft.limit_price, quote.last, quote.bid, quote.ask)
        near = next((price for price in known if price and math.isfinite(price)), 0)
        return self._rule.step(to_decimal(near))

    def _near(self, draft: Draft) -> float | None:
        """Return the price of one's own side of the book, to start from."""
        quote = self._ticket.quote
        near = quote.bid if draft.action == "BUY" else quote.ask
        return near if near is not None and math.isfinite(near) else None

    def _watch(self) -> Quotes | None:
        """Subscribe to prices; a ticket without market data permission still works."""
        try:
            return self._kit.live.watch(self._contract)
        except RequestRefusedError as error:
            self._ticket = replace(self._ticket, quote=Quote(note=f"no prices: {tell(error)}"))
            return None
