"""Widgets without a browser: what they show, what they send, what they let go of."""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pandas as pd
import pytest
from ib_async import Contract, ContractDetails
from ib_async.util import UNSET_DOUBLE

from ibkit.connection.events import Events, OrderChanged, QuoteSeen, StateChanged
from ibkit.connection.health import Status
from ibkit.contracts.ticks import TickRule
from ibkit.errors import (
    InvalidOrderError,
    NoPermissionError,
    OrderPendingError,
    OrderRefusedError,
)
from ibkit.orders.views import WhatIf
from ibkit.widgets import OrderTicket, StatusCard
from ibkit.widgets.parts import Hand, Pace, Places, reach
from ibkit.widgets.status_card import card
from ibkit.widgets.ticket_view import (
    CENT,
    Draft,
    Line,
    Quote,
    Ticket,
    checks,
    number,
    render,
    static,
)

NOON = datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
AAPL = Contract(secType="STK", symbol="AAPL", exchange="SMART", currency="USD", conId=265598)
LIMIT = Draft("SELL", Decimal(5), "LMT", Decimal("189.5"))
FORESEEN = WhatIf(
    text="BUY 100 MKT DAY STK AAPL",
    init_margin_change=5000.0,
    maint_margin_change=math.nan,
    equity_change=-1.0,
    init_margin_after=6200.5,
    maint_margin_after=math.nan,
    equity_after=999_999.0,
    commission=1.0,
    min_commission=1.0,
    max_commission=2.5,
    commission_currency="USD",
    warning="Pattern day trader",
)


# --- what a ticket shows --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "word"), [("sim", "SIMULATED"), ("paper", "PAPER"), ("live", "LIVE")]
)
def test_the_head_says_in_words_whose_money_it_is(kind, word):
    head = render(Ticket("AAPL", kind=kind)).head

    assert f">{word}<" in head


def test_only_an_armed_ticket_can_send():
    ticket = Ticket("AAPL")

    sendable = {
        phase: render(replace(ticket, phase=phase)).send_enabled
        for phase in ("draft", "checking", "armed", "sending")
    }

    assert sendable == {"draft": False, "checking": False, "armed": True, "sending": False}


def test_an_armed_ticket_cannot_send_without_connection_or_permission():
    armed = Ticket("AAPL", phase="armed")

    assert not render(replace(armed, connection="reconnecting")).send_enabled
    assert not render(replace(armed, blocked="Read-only")).send_enabled


def test_the_send_button_names_the_order():
    view = render(Ticket("AAPL", draft=LIMIT, phase="armed"))

    assert view.send_label == "Sell 5 AAPL"
    assert "Sell 5 AAPL at 189.5 or better, DAY" in view.message


def test_a_price_is_asked_for_by_limit_orders_only():
    assert not render(Ticket("AAPL")).price_enabled
    assert render(Ticket("AAPL", draft=LIMIT)).price_enabled


def test_changing_an_armed_order_disarms_it():
    armed = Ticket("AAPL", phase="armed", checks={"Commission": "1.00 USD"})

    edited = armed.edited(LIMIT)

    assert (edited.phase, edited.checks) == ("draft", {})


def test_an_order_on_its_way_is_not_taken_back_by_typing():
    assert Ticket("AAPL", phase="sending").edited(LIMIT).phase == "sending"


def test_a_connection_that_came_back_finds_nothing_armed():
    lost = Ticket("AAPL", phase="armed").connected("reconnecting")

    assert lost.connected("ready").phase == "draft"
    assert Ticket("AAPL", phase="sending").connected("reconnecting").phase == "sending"


def test_words_from_outside_stay_words():
    ticket = Ticket("<b>", name="A&B <i>", quote=Quote(marks=("<u>",))).failed("<script>")

    html = static(ticket.with_line(Line("ref", "<em>", note="<s>")))

    assert not re.search(r"<(b|i|u|script|em|s)>", html)


def test_an_order_keeps_one_line_and_only_the_last_five_stay():
    ticket = Ticket("AAPL")
    for number_ in range(7):
        ticket = ticket.with_line(Line(f"ref{number_}", "Buy"))

    ticket = ticket.with_line(Line("ref5", "Buy", "Filled", Decimal(5), 189.5))

    assert [line.order_ref for line in ticket.lines] == ["ref6", "ref5", "ref4", "ref3", "ref2"]
    assert "Filled 5 at 189.5" in render(ticket).lines


def test_the_checks_leave_out_what_ib_left_out():
    assert checks(FORESEEN, CENT) == {
        "Initial margin": "+5,000.00, to 6,200.50",
        "Equity with loan": "-1.00, to 999,999.00",
        "Commission": "1.00 USD",
        "Price step": "0.01",
        "IB warns": "Pattern day trader",
    }


def test_a_commission_range_is_shown_as_one():
    unsure = replace(FORESEEN, commission=math.nan)

    assert checks(unsure, CENT)["Commission"] == "1.00 to 2.50 USD"


def test_prices_show_the_decimals_of_their_grid():
    assert number(1.1, Decimal("0.00005")) == "1.10000"
    assert number(4500, Decimal("0.25")) == "4,500.00"
    assert number(None) == number(float("nan")) == "–"


def test_a_report_gets_the_words_without_controls():
    html = static(Ticket("AAPL", quote=Quote(189.5, 189.52, ts=NOON)))

    assert "189.50" in html
    assert "189.52" in html
    assert "12:00:05 UTC" in html
    assert "<button" not in html


# --- pace and hand ----------------------------------------------------------------------------


def test_many_changes_become_one_drawing_per_period():
    pace = Pace(0.2)
    pace.changed()
    first = pace.wait_s(now=10.0)
    pace.drew(now=10.0)
    pace.changed()
    pace.changed()

    assert first == 0.0
    assert pace.wait_s(now=10.05) == pytest.approx(0.15)
    pace.drew(now=10.2)
    assert pace.wait_s(now=10.3) is None


def test_a_clock_is_drawn_without_any_change():
    pace = Pace(0.2, every_s=1.0)
    assert pace.wait_s(now=10.0) == 0.0

    pace.drew(now=10.0)

    assert pace.wait_s(now=10.4) == pytest.approx(0.6)


def test_errands_run_in_order_and_one_that_fails_stops_none():
    seen = []
    hand = Hand(draw=lambda: None, fail=seen.append)
    error = InvalidOrderError("no")

    hand.do(lambda: seen.append(1))
    hand.do(lambda: raise_(error))
    hand.do(lambda: seen.append(2))

    assert hand.close()
    assert seen == [1, error, 2]


def test_a_hand_may_close_itself():
    closed = threading.Event()
    hand = Hand(draw=lambda: None, fail=lambda _: None)

    hand.do(lambda: (hand.close(), closed.set()))

    assert closed.wait(10)
    assert hand.close()


def raise_(error):
    raise error


# --- clicks while a cell is busy, places --------------------------------------------------------


def test_messages_of_a_control_follow_their_own_subshell():
    comm = SimpleNamespace(_reply_subshell_for=lambda _data, _default: "the busy one")

    reach(SimpleNamespace(comm=comm))

    assert comm._reply_subshell_for({}, "subshell-1") == "subshell-1"


def test_another_kernels_comm_is_left_alone():
    comm = SimpleNamespace()

    reach(SimpleNamespace(comm=comm), SimpleNamespace(comm=None), SimpleNamespace())

    assert vars(comm) == {}


class Closing:
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


def test_a_new_widget_closes_the_one_in_its_place_and_no_other():
    places, owner = Places(), Closing()
    old, other, new = Closing(), Closing(), Closing()
    places.take(owner, "AAPL", old)
    places.take(owner, "MSFT", other)

    places.take(owner, "AAPL", new)
    places.leave(owner, "AAPL", old)
    places.take(owner, "AAPL", Closing())

    assert (old.closed, other.closed, new.closed) == (1, 0, 1)


# --- a ticket with its hands tied to doubles -----------------------------------------------------


@dataclass
class FakeQuotes:
    closed: bool = False

    def frame(self):
        row = {"bid": 189.5, "ask": 189.52, "last": 189.51, "bid_size": 3.0, "ask_size": 4.0}
        frame = pd.DataFrame([row | {"ts": pd.Timestamp(NOON)}])
        frame.attrs = {"simulated": True, "delayed": True}
        return frame

    def close(self):
        self.closed = True


@dataclass
class FakeDesk:
    placed: list = field(default_factory=list)
    cancelled: list = field(default_factory=list)
    refusal: Exception | None = None

    def what_if(self, contract, order):
        if order.lmtPrice == Decimal("189.503"):
            raise InvalidOrderError("189.503 is not on the grid of 0.01")
        return FORESEEN

    def place(self, contract, order, *, key):
        if self.refusal:
            raise self.refusal
        self.placed.append((key, order))
        return SimpleNamespace(order_ref=f"ibkit:{key}:1", status="PendingSubmit")

    def cancel(self, order_ref):
        self.cancelled.append(order_ref)


class FakeKit:
    def __init__(self, **profile):
        usual = {"name": "sim", "kind": "sim", "trading": True}
        self.profile = SimpleNamespace(**usual | profile)
        self.link = SimpleNamespace(state="ready", account="DUSIM0001")
        self.events = Events()
        details = ContractDetails(contract=AAPL, longName="APPLE INC", minSize=1, sizeIncrement=1)
        rule = TickRule((Decimal(0), Decimal(1)), (Decimal("0.0001"), Decimal("0.01")))
        self.contracts = SimpleNamespace(details=lambda _: details, tick_rule=lambda _: rule)
        self.quotes, self.orders = FakeQuotes(), FakeDesk()
        self.live = SimpleNamespace(watch=lambda *_, **__: self.quotes)

    def status(self):
        return STATUS


@pytest.fixture
def kit():
    kit = FakeKit()
    yield kit
    kit.events.close()


@pytest.fixture
def ticket(kit):
    ticket = OrderTicket(kit, "AAPL")
    yield ticket
    ticket.close()


def settled(ticket):
    """Wait until the ticket's hand has done what it was given."""
    done = threading.Event()
    ticket._hand.do(done.set)
    assert done.wait(10)
    return render(ticket._ticket)


def heard(kit, ticket, topic, payload):
    """Publish an event and wait until the ticket has taken it in."""
    passed = threading.Event()
    listener = getattr(kit.events, topic)
    listener.connect(done := lambda _: passed.set())
    kit.events.publish(topic, payload)
    assert passed.wait(10)
    listener.disconnect(done)
    return settled(ticket)


def order_changed(order_ref, status, filled):
    return OrderChanged(NOON, 7, 70, order_ref, AAPL, status, filled, 100 - filled, 189.52)


def armed(ticket):
    ticket._controls.arm.click()
    return settled(ticket)


def test_arming_asks_ib_and_sends_nothing(kit, ticket):
    view = armed(ticket)

    assert view.send_enabled
    assert "1.00 USD" in view.message
    assert kit.orders.placed == []


def test_a_double_click_sends_once(kit, ticket):
    armed(ticket)

    ticket._controls.send.click()
    ticket._controls.send.click()

    settled(ticket)
    assert len(kit.orders.placed) == 1


def test_each_arming_has_a_key_of_its_own(kit, ticket):
    for _ in range(2):
        armed(ticket)
        ticket._controls.send.click()
        settled(ticket)

    first, second = (key for key, _ in kit.orders.placed)
    assert first != second


def test_a_click_on_a_ticket_that_is_not_armed_sends_nothing(kit, ticket):
    ticket._controls.send.click()

    settled(ticket)
    assert kit.orders.placed == []


def test_what_was_armed_long_ago_is_not_sent(kit, ticket):
    armed(ticket)
    ticket._armed_at -= 3600

    ticket._controls.send.click()

    assert "arm it again" in settled(ticket).message
    assert kit.orders.placed == []


def test_editing_while_ib_is_asked_leaves_the_ticket_unarmed(kit, ticket):
    asked, answer = threading.Event(), threading.Event()
    kit.orders.what_if = lambda *_: (asked.set(), answer.wait(10), FORESEEN)[-1]
    ticket._controls.arm.click()
    assert asked.wait(10)

    ticket._controls.quantity.value = 7
    answer.set()

    assert not settled(ticket).send_enabled


def test_a_refused_check_is_said_in_words(ticket):
    ticket._controls.order_type.value = "LMT"
    ticket._controls.price.value = 189.503

    view = armed(ticket)

    assert "Nothing was sent. 189.503 is not on the grid of 0.01" in view.message
    assert not view.send_enabled


def test_a_refused_order_is_said_in_words(kit, ticket):
    kit.orders.refusal = OrderRefusedError(201, "Order rejected - reason: margin", AAPL)
    armed(ticket)

    ticket._controls.send.click()

    view = settled(ticket)
    assert "Nothing was sent" not in view.message
    assert "IB 201" in view.message
    assert "margin" in view.message


def test_an_error_of_ours_is_shown_too_with_its_type(kit, ticket):
    kit.orders.refusal = KeyError("surprise")
    armed(ticket)

    ticket._controls.send.click()

    assert "KeyError" in settled(ticket).message


def test_a_fill_reaches_the_line_of_its_order(kit, ticket):
    armed(ticket)
    ticket._controls.send.click()
    settled(ticket)
    order_ref = f"ibkit:{kit.orders.placed[0][0]}:1"

    heard(kit, ticket, "order", order_changed("ibkit:somebody-else:1", "Filled", 100.0))
    view = heard(kit, ticket, "order", order_changed(order_ref, "Filled", 100.0))

    assert view.lines.count("<p") == 1
    assert "Filled 100 at 189.52" in view.lines


def test_cancel_is_offered_for_what_is_open_and_cancels_only_that(kit, ticket):
    refs = []
    for _ in range(2):
        armed(ticket)
        ticket._controls.send.click()
        settled(ticket)
        refs.append(f"ibkit:{kit.orders.placed[-1][0]}:1")
    assert heard(kit, ticket, "order", order_changed(refs[0], "Filled", 100.0)).cancel_enabled

    ticket._controls.cancel.click()

    settled(ticket)
    assert kit.orders.cancelled == [refs[1]]
    assert not heard(kit, ticket, "order", order_changed(refs[1], "Cancelled", 0)).cancel_enabled


def test_the_first_limit_price_is_that_of_ones_own_side(ticket):
    ticket._controls.order_type.value = "LMT"

    assert ticket._controls.price.value == 189.5
    assert ticket._controls.price.step == 0.01


@pytest.mark.parametrize(
    ("sec_type", "smallest", "quantity"), [("STK", 1, 100), ("FUT", 1, 1), ("CRYPTO", 5, 5)]
)
def test_a_ticket_begins_with_a_usual_quantity(kit, sec_type, smallest, quantity):
    contract = Contract(secType=sec_type, symbol="X", exchange="SMART", currency="USD", conId=1)
    details = ContractDetails(contract=contract, minSize=smallest, sizeIncrement=UNSET_DOUBLE)
    kit.contracts.details = lambda _: details

    ticket = OrderTicket(kit, contract)

    assert ticket._controls.quantity.value == quantity
    assert ticket._controls.quantity.step == 1
    ticket.close()


def test_delayed_prices_say_so(ticket):
    assert "DELAYED" in render(ticket._ticket).quote


def test_pressing_arm_again_disarms(ticket):
    armed(ticket)

    view = armed(ticket)

    assert (view.arm_label, view.send_enabled) == ("Arm", False)


def test_a_tick_reaches_the_ticket(kit, ticket):
    drawn = threading.Event()
    kit.quotes.frame = lambda: (drawn.set(), FakeQuotes().frame())[-1]

    kit.events.publish("quote", QuoteSeen(NOON, "AAPL", 189.5, 189.52, 189.51))

    assert drawn.wait(10)


def test_a_lost_connection_takes_the_send_button_away(kit, ticket):
    armed(ticket)

    view = heard(kit, ticket, "state", StateChanged(NOON, "ready", "reconnecting"))

    assert not view.send_enabled


def test_a_read_only_profile_cannot_arm():
    kit = FakeKit(name="paper", kind="paper", trading=False)

    ticket = OrderTicket(kit, "AAPL")

    view = render(ticket._ticket)
    assert not view.arm_enabled
    assert "connect('paper', trading=True)" in static(ticket._ticket).replace("&#x27;", "'")
    ticket.close()


def test_a_ticket_without_market_data_still_works(kit):
    refusal = NoPermissionError(354, "not subscribed", AAPL)
    kit.live.watch = lambda *_: raise_(refusal)

    ticket = OrderTicket(kit, "AAPL")

    view = armed(ticket)
    assert "no prices: IB 354" in view.quote
    assert view.send_enabled
    ticket.close()


def test_a_failing_cancel_is_said_and_disarms_nothing(kit, ticket):
    armed(ticket)
    ticket._hand.do(lambda: raise_(OrderPendingError("ref", "Submitted", 10.0)))

    view = settled(ticket)

    assert "ref" in view.message
    assert view.send_enabled


def test_closing_releases_the_line_the_handlers_and_the_thread(kit, ticket):
    hand = ticket._hand

    ticket.close()
    ticket.close()

    assert kit.quotes.closed
    assert [len(topic) for topic in (kit.events.quote, kit.events.order, kit.events.state)] == [
        0
    ] * 3
    assert not hand._thread.is_alive()
    assert "closed" in static(ticket._ticket)


def test_running_the_cell_again_closes_the_old_ticket(kit, ticket):
    again = OrderTicket(kit, "AAPL")

    assert "closed" in static(ticket._ticket)
    assert "closed" not in static(again._ticket)
    again.close()


def test_a_closing_connection_closes_the_ticket(kit, ticket):
    kit.events.publish("state", StateChanged(NOON, "ready", "closed"))

    ticket._hand._thread.join(10)
    assert kit.quotes.closed
    assert not render(ticket._ticket).arm_enabled


def test_a_report_shows_a_ticket_without_account_number(ticket):
    shown = ticket._repr_mimebundle_()

    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "SIMULATED" in shown["text/html"]
    assert "DUSIM0001" not in shown["text/html"]
    assert shown["text/plain"] == "<OrderTicket AAPL SIMULATED draft>"


# --- the status card --------------------------------------------------------------------------


STATUS = Status(
    profile="sim",
    kind="sim",
    state="ready",
    reason="",
    host="127.0.0.1",
    port=4012,
    client_id=3,
    server_version=178,
    simulated=True,
    trading=True,
    accounts=("DUSIM0001",),
    farms={"usfarm": "ok", "hkfarm": "broken"},
    lines=2,
    messages_left=44,
    clock_offset_s=0.021,
    connected_since=NOON,
    root="data/sim",
)


def test_a_card_says_where_as_whom_and_how_it_is():
    html = card(STATUS, NOON)

    for words in ("SIMULATED", "ready", "127.0.0.1:4012 client 3", "allowed", "hkfarm broken"):
        assert words in html
    assert "2026-03-02 12:00:05 UTC, gateway +0.02 s" in html
    assert "DUSIM0001" not in html


def test_a_card_says_why_it_is_not_ready():
    html = card(replace(STATUS, state="failed", reason="DU1234567 is <not> of this profile"), NOON)

    assert "DU•••• is &lt;not&gt; of this profile" in html


def test_a_card_that_cannot_be_drawn_says_why(kit):
    status_card = StatusCard(kit)

    status_card._fail(NoPermissionError(354, "DU1234567 <lapsed>", AAPL))

    assert "DU•••• &lt;lapsed&gt;" in status_card._html.value
    status_card.close()


def test_a_closing_connection_closes_its_card(kit):
    status_card = StatusCard(kit)
    kit.status = lambda: replace(STATUS, state="closed")

    kit.events.publish("state", StateChanged(NOON, "ready", "closed"))

    status_card._hand._thread.join(10)
    assert not status_card._hand._thread.is_alive()
    assert "closed" in status_card._html.value


def test_a_card_follows_the_connection_until_it_is_closed(kit):
    status_card = StatusCard(kit)
    kit.status = lambda: replace(STATUS, state="degraded")

    heard(kit, SimpleNamespace(_hand=status_card._hand, _ticket=Ticket("")), "state", CHANGE)
    status_card._draw()
    status_card.close()
    status_card.close()

    assert "degraded" in status_card._repr_mimebundle_()["text/html"]
    assert len(kit.events.state) == 0
    assert repr(status_card) == "<StatusCard SIMULATED 127.0.0.1:4012 client 3 degraded>"


CHANGE = StateChanged(NOON, "ready", "degraded")
