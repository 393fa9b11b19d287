"""Every kind of order, on a market whose prices the test writes down second by second."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ibkit.sim.account import Account
from ibkit.sim.conditions import CHANGE, EXECUTION, MARGIN, PRICE, TIME, VOLUME, Condition
from ibkit.sim.exchange import Commission, Exchange, Execution, OrderRequest, OrderState, Refused
from ibkit.sim.market import Market
from ibkit.sim.orders import Adjustment
from ibkit.sim.screen import Quote
from ibkit.sim.universe import Universe

NOW = datetime(2026, 11, 18, 16, tzinfo=UTC).timestamp()
CLOSE = datetime(2026, 11, 18, 21, tzinfo=UTC).timestamp()
OPENING = datetime(2026, 11, 19, 14, 30, tzinfo=UTC).timestamp()
UNIVERSE = Universe.load()
APPLE = UNIVERSE.by_con_id(265598)
MSFT = UNIVERSE.by_con_id(272093)


class Scripted:
    """A market of one price: `moves` maps a second (from NOW) to the last price from then on."""

    def __init__(self, moves, *, size=1000.0, spread=0.02, close=100.0):
        self.universe, self.calendar = UNIVERSE, Market(UNIVERSE)
        self.moves, self.size, self.half, self.close = moves, size, spread / 2, close

    def quote(self, instrument, at):
        last = next(p for s, p in sorted(self.moves.items(), reverse=True) if at - NOW >= s)
        bid, ask = round(last - self.half, 2), round(last + self.half, 2)
        volume = 1000.0 * (int(at - NOW) + 1)
        return Quote(
            bid,
            ask,
            last,
            self.size,
            self.size,
            100.0,
            volume,
            99.0,
            last,
            last,
            self.close,
            at - 99,
        )

    def bars(self, *_):
        raise LookupError

    def is_open(self, instrument, at, *, use_rth=False):
        return self.calendar.is_open(instrument, at, use_rth=use_rth)

    def sessions(self, instrument, first, last, use_rth=True):  # noqa: FBT002  IB's field
        return self.calendar.sessions(instrument, first, last, use_rth)


def venue(moves, *, always_open=True, **options):
    market = Scripted({-(10**9): 100.0, **moves}, **options)
    return Exchange(UNIVERSE, market, Account(), always_open=always_open)


def order(order_id=1, action="BUY", quantity=100, kind="LMT", price=None, aux=None, **fields):
    return OrderRequest(
        fields.pop("client_id", 1),
        order_id,
        fields.pop("instrument", APPLE),
        action,
        Decimal(quantity),
        kind,
        None if price is None else Decimal(str(price)),
        None if aux is None else Decimal(str(aux)),
        **fields,
    )


def told(events):
    names = {OrderState: "state", Execution: "execution", Commission: "commission"}
    return [
        f"{one.order_id} {one.code}"
        if isinstance(one, Refused)
        else f"{one.order.request.order_id} {names[type(one)]} {one.order.status}"
        for one in events
    ]


def run(exchange, seconds, start=1):
    return [(n, one) for n in range(start, seconds + 1) for one in exchange.tick(NOW + n)]


def trades(events):
    return [
        (n, float(one.fill.price), int(one.fill.shares))
        for n, one in events
        if isinstance(one, Execution)
    ]


@pytest.mark.parametrize(
    ("fields", "moves", "expected"),
    [
        ({"kind": "STP", "aux": 101}, {3: 101.0}, (3, 101.01)),
        ({"kind": "STP", "aux": 99, "action": "SELL"}, {3: 98.5}, (3, 98.49)),
        ({"kind": "STP LMT", "aux": 101, "price": 101.5}, {3: 101.0}, (3, 101.01)),
        ({"kind": "STP LMT", "aux": 101, "price": 100.5}, {3: 101.0, 9: 100.0}, (9, 100.5)),
        ({"kind": "MIT", "aux": 99}, {3: 99.0}, (3, 99.01)),
        ({"kind": "MIT", "aux": 101, "action": "SELL"}, {3: 101.0}, (3, 100.99)),
        ({"kind": "LIT", "aux": 99, "price": 98.5}, {3: 99.0, 7: 98.0}, (7, 98.5)),
        ({"kind": "TRAIL", "aux": 1}, {2: 98.0, 5: 99.0}, (5, 99.01)),
        ({"kind": "TRAIL", "aux": 1, "action": "SELL"}, {2: 103.0, 5: 102.0}, (5, 101.99)),
        (
            {"kind": "TRAIL", "trailing_percent": Decimal(2), "action": "SELL"},
            {2: 110.0, 5: 107.8},
            (5, 107.79),
        ),
        (
            {
                "kind": "TRAIL LIMIT",
                "aux": 1,
                "action": "SELL",
                "trail_stop_price": Decimal(99),
                "price": 98.9,
            },
            {2: 103.0, 5: 102.0},
            (5, 101.99),
        ),
        ({"kind": "STP", "aux": 101, "trigger_method": 8}, {3: 101.0}, (3, 101.01)),
        ({"kind": "STP", "aux": 101, "trigger_method": 3}, {3: 101.0}, (4, 101.01)),
        ({"kind": "STP", "aux": 101, "trigger_method": 4}, {3: 101.0, 6: 101.02}, (6, 101.03)),
    ],
)
def test_orders_that_wait_for_a_price_wake_when_it_comes(fields, moves, expected):
    exchange = venue(moves)

    placed = exchange.place(order(**fields), NOW)
    (waiting,) = exchange.working()
    found = trades(run(exchange, 12))

    assert told(placed) == ["1 state PreSubmitted"]
    assert waiting.why_held == "trigger"
    assert [(when, price) for when, price, _ in found] == [expected]


def test_a_triggered_stop_is_submitted_before_it_trades():
    exchange = venue({3: 101.0})
    exchange.place(order(kind="STP", aux=101), NOW)

    events = exchange.tick(NOW + 3)

    assert told(events)[:2] == ["1 state Submitted", "1 execution Filled"]
    assert events[0].order.why_held == ""


def test_each_move_of_a_trailing_stop_is_told_with_its_new_price():
    exchange = venue({2: 103.0, 4: 102.5, 6: 104.0})
    exchange.place(order(action="SELL", kind="TRAIL", aux=1), NOW)

    moves = [(n, one.order.stop) for n, one in run(exchange, 7)]

    assert moves == [(2, Decimal("102.00")), (6, Decimal("103.00"))]


def test_an_adjustable_stop_becomes_a_trailing_one():
    exchange = venue({2: 105.0, 4: 108.0, 6: 106.5})
    change = Adjustment("TRAIL", Decimal(105), Decimal(103), None, Decimal(1), percent=False)
    exchange.place(order(action="SELL", kind="STP", aux=95, adjustment=change), NOW)

    events = run(exchange, 8)

    assert {one.order.request.order_type for n, one in events if n >= 2} == {"TRAIL"}
    assert [one[:2] for one in trades(events)] == [(6, 106.49)]


@pytest.mark.parametrize(
    ("kind", "fields", "limit"),
    [
        ("REL", {"aux": "0.01"}, "100.00"),
        ("REL", {"aux": "0.5", "price": 99.5}, "99.50"),
        ("PEG MKT", {"aux": "0.05"}, "99.96"),
        ("PEG MID", {}, "100"),
        ("PEGMID", {"price": 99.9}, "99.9"),
        ("MIDPRICE", {"price": 101}, "100"),
        ("PEG BEST", {"compete_offset": Decimal("0.01")}, "100.00"),
        ("SNAP MID", {}, "100"),
    ],
)
def test_a_pegged_order_stands_where_the_quote_says(kind, fields, limit):
    exchange = venue({5: 98.0}, spread=0.02)
    exchange.place(order(kind=kind, **fields), NOW)
    (resting,) = exchange.working()

    assert resting.limit == Decimal(limit)
    assert resting.status == "Submitted"


def test_a_pegged_order_follows_the_quote_and_a_snapped_one_does_not():
    exchange = venue({5: 103.0}, close=1.0)
    exchange.place(order(1, kind="REL", aux="0"), NOW)
    exchange.place(order(2, kind="SNAP PRIM", aux="0"), NOW)

    run(exchange, 5)

    assert [str(one.limit) for one in exchange.working() if one.request.order_id == 2] == ["99.99"]
    assert [str(one.limit) for one in exchange.working() if one.request.order_id == 1] == ["102.99"]


def test_market_and_limit_on_close_trade_at_the_close_and_only_then():
    exchange = venue({3600: 104.0})
    exchange.place(order(1, kind="MOC"), NOW)
    exchange.place(order(2, kind="LOC", price=103), NOW)
    exchange.place(order(3, kind="LOC", price=105), NOW)

    before = exchange.tick(CLOSE - 1)
    events = exchange.tick(CLOSE)

    assert before == []
    assert [f.order_id for f in exchange.executions()] == [1, 3]
    assert {f.price for f in exchange.executions()} == {Decimal("104.0")}
    assert "2 202" in told(events)


def test_on_open_orders_wait_for_the_next_opening():
    exchange = venue({})
    exchange.place(order(1, kind="MKT", tif="OPG"), NOW)
    exchange.place(order(2, price=98, tif="OPG"), NOW)

    exchange.tick(OPENING - 1)
    assert exchange.executions() == []
    events = exchange.tick(OPENING)

    assert [(f.order_id, f.price) for f in exchange.executions()] == [(1, Decimal("99.0"))]
    assert "2 202" in told(events)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "MOC", "tif": "GTC"}, 113),
        ({"kind": "STP", "aux": 101, "tif": "OPG"}, 111),
        ({"kind": "STP", "aux": 101, "tif": "IOC"}, 111),
        ({"price": 100, "tif": "GTD"}, 334),
        ({"price": 100, "tif": "GTD", "good_till_date": "tomorrow"}, 334),
        ({"price": 100, "tif": "GTD", "good_till_date": "20200101 10:00:00 UTC"}, 337),
        ({"kind": "TRAIL"}, 321),
        ({"kind": "STP", "aux": "101.001"}, 110),
        ({"kind": "MKT", "display_size": 10}, 10255),
        ({"price": 100, "e_trade_only": True}, 10268),
        ({"price": 100, "firm_quote_only": True}, 10269),
        ({"price": 100, "algo_strategy": "Nonsense"}, 439),
        ({"price": 100, "algo_strategy": "Twap", "algo_params": (("strategyType", "M"),)}, 443),
        ({"price": 100, "parent_id": 77}, 10006),
        ({"price": 100, "cash_qty": Decimal(500)}, 10244),
        ({"price": 100, "account": "DU1"}, 321),
        ({"price": 100, "conditions": (Condition(PRICE, value=Decimal(1)),)}, 147),
    ],
)
def test_what_contradicts_itself_is_never_an_order(fields, code):
    exchange = venue({})

    (refused,) = exchange.place(order(**fields), NOW)

    assert refused.code == code
    assert exchange.working() == exchange.completed() == []


@pytest.mark.parametrize(
    ("tif", "echoed"), [("GTX", "GTC"), ("NMIN", "GTC"), ("DTC", "DTC"), ("", "DAY")]
)
def test_times_in_force_are_echoed_as_a_gateway_does(tif, echoed):
    exchange = venue({})
    exchange.place(order(price=90, tif=tif), NOW)

    assert exchange.working()[0].request.tif == echoed


def test_an_auction_time_in_force_is_refused_like_a_rejection():
    assert told(venue({}).place(order(price=90, tif="AUC"), NOW)) == [
        "1 state Inactive",
        "1 201",
        "1 state Inactive",
    ]


def test_a_good_till_date_order_ends_by_the_gateways_clock():
    exchange = venue({})
    exchange.place(order(price=90, tif="GTD", good_till_date="20261118-16:00:07"), NOW)

    events = run(exchange, 8)

    assert {n for n, _ in events} == {7}
    assert told([one for _, one in events])[-1] == "1 202"


def test_a_good_after_time_order_sleeps_until_then():
    exchange = venue({})
    exchange.place(order(kind="MKT", good_after_time="20261118-16:00:05"), NOW)

    assert [n for n, _, _ in trades(run(exchange, 6))] == [5]


# --- families and groups ------------------------------------------------------------------------


def bracket(exchange, entry=99.0, now=NOW, **fields):
    silent = [
        *exchange.place(order(1, price=entry, transmit=False), now),
        *exchange.place(order(2, "SELL", price=105, parent_id=1, transmit=False), now),
    ]
    stop = order(3, "SELL", kind="STP", aux=95, parent_id=1, **fields)
    return silent, exchange.place(stop, now)


def test_a_bracket_is_silent_until_its_last_order_and_then_told_in_order():
    exchange = venue({})

    silent, events = bracket(exchange)

    assert silent == []
    assert told(events) == [
        "1 state PreSubmitted",
        "2 state PreSubmitted",
        "3 state PreSubmitted",
        "1 state Submitted",
    ]
    assert [one.order.why_held for one in events[:3]] == ["", "child", "child,trigger"]
    group = str(exchange.working()[0].perm_id)
    assert [one.oca_group for one in exchange.working()] == ["", group, group]
    assert {one.oca_type for one in exchange.working()[1:]} == {3}


def test_the_entry_wakes_the_exits_and_one_exit_cancels_the_other():
    exchange = venue({3: 98.9, 6: 105.5})
    bracket(exchange)

    entered = [one for n, one in run(exchange, 3)]
    alive = {one.request.order_id: (one.status, one.why_held) for one in exchange.working()}
    left = [one for n, one in run(exchange, 6, start=4)]

    assert told(entered)[-2:] == ["2 state Submitted", "3 state PreSubmitted"]
    assert alive == {2: ("Submitted", ""), 3: ("PreSubmitted", "trigger")}
    assert told(left)[-2:] == ["3 state Cancelled", "3 202"]
    assert exchange.account.position(APPLE).quantity == 0


def test_cancelling_the_parent_cancels_the_children_after_it():
    exchange = venue({})
    bracket(exchange)

    assert told(exchange.cancel(1, 1, NOW + 1)) == [
        "1 state PendingCancel",
        "1 state Cancelled",
        "1 202",
        "2 state Cancelled",
        "2 202",
        "3 state Cancelled",
        "3 202",
    ]


def test_transmitting_the_parent_again_releases_its_family():
    exchange = venue({})
    for one in (order(1, price=99), order(2, "SELL", price=105, parent_id=1)):
        assert exchange.place(OrderRequest(**{**fields_of(one), "transmit": False}), NOW) == []

    assert told(exchange.place(order(1, price=99), NOW)) == [
        "1 state PreSubmitted",
        "2 state PreSubmitted",
        "1 state Submitted",
    ]


def fields_of(request):
    return {name: getattr(request, name) for name in OrderRequest.__dataclass_fields__}


def test_a_global_cancel_meets_orders_that_their_family_took_along():
    exchange = venue({})
    bracket(exchange)

    events = told(exchange.cancel_all(NOW + 1))

    assert events[:3] == ["3 state PendingCancel", "3 state Cancelled", "3 202"]
    assert "2 161" in events


@pytest.mark.parametrize(
    ("oca_type", "left"),
    [(1, []), (2, [60]), (3, [60])],
)
def test_a_partial_fill_cancels_or_shrinks_the_rest_of_its_group(oca_type, left):
    exchange = venue({3: 98.99}, size=40.0)
    fields = {"oca_group": "g", "oca_type": oca_type}
    exchange.place(order(1, price=99, **fields), NOW)
    exchange.place(order(2, price=90, **fields), NOW)

    exchange.tick(NOW + 3)

    others = [one for one in exchange.working() if one.request.order_id == 2]
    assert [int(one.remaining) for one in others] == left


def test_the_cancelled_member_takes_its_group_along_and_cannot_be_cancelled_again():
    exchange = venue({})
    for number in (1, 2):
        exchange.place(order(number, price=90, oca_group="g", oca_type=1), NOW)

    exchange.cancel(1, 1, NOW)

    assert exchange.working() == []
    assert exchange.cancel(1, 2, NOW + 1)[0].code == 10148
    assert exchange.cancel(1, 2, NOW + 3600)[0].code == 10147


# --- conditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "second"),
    [
        ((Condition(PRICE, value=Decimal(101), instrument=MSFT),), 3),
        ((Condition(PRICE, is_more=False, value=Decimal(99), instrument=MSFT),), 6),
        ((Condition(TIME, value=Decimal(int(NOW) + 4)),), 4),
        ((Condition(VOLUME, value=Decimal(6000), instrument=MSFT),), 5),
        ((Condition(CHANGE, value=Decimal(1), instrument=MSFT),), 3),
        ((Condition(MARGIN, is_more=False, value=Decimal(100)),), 1),
        (
            (
                Condition(PRICE, value=Decimal(101), instrument=MSFT),
                Condition(TIME, value=Decimal(int(NOW) + 5)),
            ),
            5,
        ),
        (
            (
                Condition(TIME, either=True, value=Decimal(int(NOW) + 5)),
                Condition(PRICE, value=Decimal(101), instrument=MSFT),
            ),
            3,
        ),
    ],
)
def test_a_conditional_order_waits_until_its_conditions_hold(conditions, second):
    exchange = venue({3: 101.5, 6: 98.5})
    if conditions[0].kind == MARGIN:
        second = None

    exchange.place(order(kind="MKT", conditions=conditions), NOW)

    found = [n for n, _, _ in trades(run(exchange, 8))]
    assert found == ([second] if second else [])


def test_an_execution_condition_hears_of_other_orders():
    exchange = venue({})
    heard = Condition(EXECUTION, symbol="MSFT", sec_type="STK", exchange="SMART")
    exchange.place(order(1, kind="MKT", conditions=(heard,)), NOW)

    exchange.tick(NOW + 2)
    assert exchange.executions() == []
    exchange.place(order(2, kind="MKT", instrument=MSFT), NOW + 2)
    exchange.tick(NOW + 3)

    assert [fill.order_id for fill in exchange.executions()] == [2, 1]


def test_a_condition_may_cancel_instead():
    exchange = venue({3: 101.5})
    over = (Condition(PRICE, value=Decimal(101), instrument=MSFT),)
    exchange.place(order(price=90, conditions=over, conditions_cancel_order=True), NOW)

    events = run(exchange, 4)

    assert {n for n, _ in events} == {3}
    assert told([one for _, one in events])[-1] == "1 202"


# --- size ---------------------------------------------------------------------------------------


def test_all_or_none_waits_for_its_whole_size():
    exchange = venue({}, size=40.0)
    exchange.place(order(price=100.01, all_or_none=True), NOW)
    exchange.place(order(2, price="100.02", quantity=100, all_or_none=True), NOW + 1)

    assert [(f.order_id, int(f.shares)) for f in exchange.executions()] == [(2, 40), (2, 60)]


def test_a_minimum_quantity_is_for_the_first_fill():
    exchange = venue({}, size=40.0)
    exchange.place(order(1, price=100.01, min_qty=50), NOW)
    exchange.place(order(2, price=100.01, min_qty=30), NOW + 1)

    assert [(f.order_id, int(f.shares)) for f in exchange.executions()] == [(2, 40)]


def test_an_iceberg_trades_a_tip_at_a_time():
    exchange = venue({3: 98.5})
    exchange.place(order(price=99, display_size=30), NOW)

    assert [(n, size) for n, _, size in trades(run(exchange, 8))] == [
        (3, 30),
        (4, 30),
        (5, 30),
        (6, 10),
    ]


def test_an_algorithm_works_its_order_in_slices_and_an_adaptive_one_at_once():
    exchange = venue({})
    exchange.place(order(1, kind="MKT", quantity=300, algo_strategy="Vwap"), NOW)
    exchange.place(order(2, kind="MKT", quantity=300, algo_strategy="Adaptive"), NOW)

    run(exchange, 40)

    sizes = [int(f.shares) for f in exchange.executions() if f.order_id == 1]
    assert sizes == [10] * 30
    assert [int(f.shares) for f in exchange.executions() if f.order_id == 2] == [300]


def test_market_to_limit_rests_at_the_price_of_its_first_trade():
    exchange = venue({}, size=10.0)
    exchange.place(order(kind="MTL", quantity=5000), NOW)

    (resting,) = exchange.working()
    assert resting.limit == resting.last_fill_price


# --- between clients ----------------------------------------------------------------------------


def test_two_clients_trade_with_each_other_inside_the_spread():
    exchange = venue({}, spread=0.2)
    exchange.place(order(1, "SELL", price=100.05, client_id=1, tif="GTC"), NOW)
    exchange.place(order(1, "SELL", price=100.03, client_id=2), NOW + 1)

    exchange.place(order(1, "BUY", quantity=150, price=100.05, client_id=3), NOW + 2)

    found = [
        (f.client_id, float(f.price), int(f.shares), f.liquidity) for f in exchange.executions()
    ]
    assert found == [
        (3, 100.03, 100, 2),
        (2, 100.03, 100, 1),
        (3, 100.05, 50, 2),
        (1, 100.05, 50, 1),
    ]


def test_at_one_price_the_older_order_is_first_and_a_hidden_one_last():
    exchange = venue({}, spread=0.2)
    exchange.place(order(1, "SELL", price=100.03, hidden=True), NOW)
    exchange.place(order(2, "SELL", price=100.03), NOW + 1)
    exchange.place(order(3, "SELL", price=100.03), NOW + 2)

    exchange.place(order(4, "BUY", quantity=300, price=100.03), NOW + 3)

    assert [f.order_id for f in exchange.executions() if f.side == "SLD"] == [2, 3, 1]


# --- changing -----------------------------------------------------------------------------------


def test_a_limit_may_become_a_market_order_and_a_stop_may_move():
    exchange = venue({5: 101.0})
    exchange.place(order(1, price=90), NOW)
    exchange.place(order(2, kind="STP", aux=103), NOW)

    exchange.place(order(1, kind="MKT"), NOW + 1)
    exchange.place(order(2, kind="STP", aux=101), NOW + 1)
    run(exchange, 6, start=2)

    assert [f.order_id for f in exchange.executions()] == [1, 2]


def test_a_change_may_leave_time_in_force_and_account_out():
    exchange = venue({})
    exchange.place(order(price=90, tif="GTC"), NOW)

    (changed,) = exchange.place(order(price=91, tif=""), NOW + 1)

    assert changed.order.request.tif == "GTC"
    assert changed.order.request.account == "DUSIM0001"


# --- hours --------------------------------------------------------------------------------------


def test_outside_hours_each_order_of_a_family_is_held_with_a_399():
    exchange = venue({}, always_open=False)

    _, events = bracket(exchange, now=CLOSE + 7200)

    assert told(events) == [
        "1 399",
        "1 state PreSubmitted",
        "2 399",
        "2 state PreSubmitted",
        "3 399",
        "3 state PreSubmitted",
    ]


def test_a_stop_ignores_the_wish_to_trade_outside_hours_and_says_so():
    exchange = venue({}, always_open=False)

    events = exchange.place(order(kind="STP", aux=101, outside_rth=True), NOW)

    assert told(events) == ["1 2109", "1 state PreSubmitted"]


def test_outside_regular_hours_trade_those_who_asked_for_it():
    exchange = venue({}, always_open=False)
    exchange.place(order(1, price=101), CLOSE + 60)
    exchange.place(order(2, price=101, outside_rth=True), CLOSE + 60)

    assert [f.order_id for f in exchange.executions()] == [2]


def test_no_touch_is_missed_in_a_pause_of_days():
    market = Market(UNIVERSE)
    slow = Exchange(UNIVERSE, market, Account())
    quick = Exchange(UNIVERSE, market, Account())
    last = market.quote(APPLE, NOW).last
    aux = Decimal(str(round(last + 1.5, 2)))
    for exchange in (slow, quick):
        exchange.place(order(1, kind="STP", aux=aux, tif="GTC"), NOW)
        exchange.place(order(2, price=aux - 3, tif="GTC"), NOW)

    for n in range(600, 18_001, 600):
        slow.tick(NOW + n)
    quick.tick(NOW + 18_000)

    assert [(f.time, f.price) for f in quick.executions()] == [
        (f.time, f.price) for f in slow.executions()
    ]
    assert slow.executions()
