from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from ibkit.sim.account import Account
from ibkit.sim.exchange import (
    Commission,
    Exchange,
    Execution,
    OrderRequest,
    OrderState,
    Refused,
    WhatIf,
)
from ibkit.sim.market import Market
from ibkit.sim.universe import Universe

NOW = datetime(2026, 11, 18, 16, tzinfo=UTC).timestamp()
SUNDAY = datetime(2026, 11, 22, 16, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def universe():
    return Universe.load()


@pytest.fixture(scope="module")
def market(universe):
    return Market(universe)


@pytest.fixture
def account():
    return Account()


@pytest.fixture
def exchange(universe, market, account):
    return Exchange(universe, market, account)


@pytest.fixture(scope="module")
def apple(universe):
    return universe.by_con_id(265598)


@pytest.fixture(scope="module")
def es(universe):
    return universe.chain("ES", date(2026, 12, 1), date(2026, 12, 31))[0]


def order(instrument, order_id=1, action="BUY", quantity=100, price=None, **fields):
    return OrderRequest(
        fields.pop("client_id", 1),
        order_id,
        instrument,
        action,
        Decimal(quantity),
        fields.pop("order_type", "LMT" if price else "MKT"),
        Decimal(price) if price else None,
        **fields,
    )


def told(events):
    """Return the events as a reader would list them."""
    names = {OrderState: "state", Execution: "execution", Commission: "commission"}
    return [
        f"{event.code}"
        if isinstance(event, Refused)
        else f"{names[type(event)]} {event.order.status}"
        for event in events
    ]


def touch(market, instrument, now=NOW):
    quote = market.quote(instrument, now)
    return Decimal(repr(quote.bid)), Decimal(repr(quote.ask)), quote


def test_a_market_order_fills_in_the_recorded_order_of_messages(exchange, apple):
    events = exchange.place(order(apple), NOW)

    assert told(events) == [
        "state PreSubmitted",
        "execution Filled",
        "state Filled",
        "state Filled",
        "commission Filled",
    ]
    assert [event.order.commission for event in events[2:4]] == [None, Decimal("1.000000")]
    assert exchange.working() == []


def test_a_market_order_pays_the_ask_and_gets_the_bid(exchange, market, apple):
    bid, ask, _ = touch(market, apple)

    exchange.place(order(apple, 1), NOW)
    exchange.place(order(apple, 2, "SELL"), NOW)

    assert [fill.price for fill in exchange.executions()] == [ask, bid]


def test_an_order_larger_than_the_book_sweeps_and_then_waits_for_the_next_second(
    exchange, market, es
):
    _, ask, quote = touch(market, es)
    size = 40 * int(quote.ask_size)
    account = exchange.account
    account.cash["USD"] += 10**9

    events = exchange.place(order(es, quantity=size), NOW)
    (left,) = exchange.working()
    later = [event for n in range(1, 40) for event in exchange.tick(NOW + n)]

    prices = [event.fill.price for event in events if isinstance(event, Execution)]
    assert prices[0] == ask
    assert prices == sorted(prices)
    assert left.remaining > 0
    assert left.status == "Submitted"
    assert later[-2].order.status == "Filled"
    assert sum(fill.shares for fill in exchange.executions()) == size
    assert account.position(es).quantity == size


def test_two_orders_in_one_second_cannot_take_the_same_size_twice(exchange, market, es):
    _, ask, quote = touch(market, es)
    whole = int(quote.ask_size)

    exchange.place(order(es, 1, quantity=whole), NOW)
    exchange.place(order(es, 2, quantity=1), NOW)

    first, second = exchange.executions()
    assert first.price == ask
    assert second.price > ask


def test_a_limit_away_from_the_market_rests(exchange, market, apple):
    bid, _, _ = touch(market, apple)

    events = exchange.place(order(apple, price=bid - 5), NOW)

    assert told(events) == ["state PreSubmitted", "state Submitted"]
    assert [one.remaining for one in exchange.working()] == [100]


def test_a_resting_limit_fills_at_its_price_once_the_market_comes_to_it(exchange, market, apple):
    asks = [(NOW + n, touch(market, apple, NOW + n)[1]) for n in range(1, 600)]
    when, lowest = min(asks, key=lambda pair: (pair[1], pair[0]))
    assert lowest < touch(market, apple)[1]
    exchange.place(order(apple, quantity=10, price=lowest), NOW)

    events = exchange.tick(when)

    first = next(event.fill for event in events if isinstance(event, Execution))
    assert (first.price, first.liquidity) == (lowest, 1)
    glance = exchange.watch.glance(apple, first.time)
    assert min(glance.low, glance.quote.ask) <= lowest
    for second in range(int(NOW) + 1, int(first.time)):
        seen = exchange.watch.glance(apple, second)
        assert seen.quote.ask > lowest
        assert seen.low is None or seen.low >= lowest


def test_how_often_time_is_told_changes_no_fill(universe, market, apple):
    low = min(touch(market, apple, NOW + n)[1] for n in range(1, 300))
    found = []
    for step in (0.05, 1, 7, 300):
        exchange = Exchange(universe, market, Account())
        exchange.place(order(apple, quantity=10, price=low), NOW)
        at = NOW
        while at < NOW + 300:
            at = min(at + step, NOW + 300)
            exchange.tick(at)
        found.append([(fill.time, fill.price) for fill in exchange.executions()])

    assert len(found[0]) == 1
    assert all(one == found[0] for one in found)


def test_an_order_never_trades_before_it_was_placed(exchange, market, apple):
    asks = [touch(market, apple, NOW + n)[1] for n in range(120)]
    exchange.tick(NOW)
    exchange.place(order(apple, price=min(asks[60:])), NOW + 60)

    exchange.tick(NOW + 119)

    assert all(fill.time >= NOW + 60 for fill in exchange.executions())


def test_the_better_price_then_the_older_order_goes_first(exchange, market, apple):
    low = min(touch(market, apple, NOW + n)[1] for n in range(60, 3 * 3600, 60))
    high = low + Decimal("0.02")
    assert high < touch(market, apple)[1]
    for number, price in ((1, low), (2, high), (3, high)):
        exchange.place(order(apple, number, price=price, quantity=1), NOW + number / 10)
    exchange.tick(NOW + 3 * 3600)

    assert [fill.order_id for fill in exchange.executions()] == [2, 3, 1]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"quantity": 0}, 434),
        ({"price": "208.001"}, 110),
        ({"order_type": "LMT"}, 321),
        ({"order_type": "NONSENSE"}, 321),
        ({"order_type": "STP"}, 321),
        ({"order_type": "VOL"}, 387),
        ({"action": "HOLD"}, 321),
        ({"quantity": "1.5"}, 10243),
        ({"price": "-1"}, 321),
    ],
)
def test_what_is_invalid_gets_ibs_code_and_makes_no_order(exchange, apple, fields, code):
    (refused,) = exchange.place(order(apple, **fields), NOW)

    assert (refused.code, refused.order_id) == (code, 1)
    assert exchange.working() == exchange.completed() == []


def test_half_a_future_a_broken_lot_and_an_index_are_refused(exchange, universe, es):
    (tencent,) = [one for one in universe.instruments if one.symbol == "700"]
    spx = universe.by_con_id(416904)

    codes = [
        exchange.place(order(one, quantity=size), NOW)[0].code
        for one, size in ((es, "1.5"), (tencent, 150), (tencent, 50), (spx, 1))
    ]

    assert codes == [355, 355, 388, 201]


def test_an_expired_future_cannot_be_traded(exchange, es):
    (refused,) = exchange.place(order(es, quantity=1), NOW + 40 * 86_400)

    assert refused.code == 392


def test_a_rejection_tells_the_state_twice_with_the_reason_between(exchange, apple):
    events = exchange.place(order(apple, quantity=1_000_000), NOW)

    assert told(events) == ["state Inactive", "201", "state Inactive"]
    assert "INITIAL MARGIN" in events[1].text
    assert exchange.working() == []


def test_an_order_that_only_reduces_needs_no_margin(exchange, account, apple):
    exchange.place(order(apple, 1), NOW)
    account.cash["USD"] -= 10**7

    events = exchange.place(order(apple, 2, "SELL"), NOW)

    assert told(events)[-1] == "commission Filled"


def test_coins_cannot_be_sold_short(exchange, universe):
    (coin,) = [one for one in universe.instruments if one.symbol == "ETH"]

    assert told(exchange.place(order(coin, action="SELL", quantity=1), NOW))[1] == "201"


def test_a_fill_or_kill_of_a_stock_is_refused_as_smart_refuses_it(exchange, apple):
    events = exchange.place(order(apple, tif="FOK"), NOW)

    assert told(events) == ["state Inactive", "201", "state Inactive"]
    assert "FOK is invalid" in events[1].text


def test_a_fill_or_kill_of_a_future_is_all_or_nothing(exchange, market, es):
    _, ask, quote = touch(market, es)
    size = int(quote.ask_size)

    none = exchange.place(order(es, 1, quantity=size + 1, price=ask, tif="FOK"), NOW)
    whole = exchange.place(order(es, 2, quantity=size, price=ask, tif="FOK"), NOW)

    assert told(none) == ["state PreSubmitted", "state PendingCancel", "state Cancelled"]
    assert told(whole)[-1] == "commission Filled"


def test_what_an_immediate_order_leaves_is_cancelled_without_202(exchange, market, es):
    _, ask, quote = touch(market, es)
    size = int(quote.ask_size)

    events = exchange.place(order(es, quantity=size + 5, price=ask, tif="IOC"), NOW)

    assert told(events)[-2:] == ["state PendingCancel", "state Cancelled"]
    assert events[-1].order.filled == size
    assert not events[-1].with_open_order


def test_cancel_tells_pending_cancelled_and_202(exchange, market, apple):
    bid, _, _ = touch(market, apple)
    exchange.place(order(apple, price=bid - 5), NOW)

    events = exchange.cancel(1, 1, NOW + 1)

    assert told(events) == ["state PendingCancel", "state Cancelled", "202"]
    assert not events[1].with_open_order
    assert events[2].text == "Order Canceled - reason:"
    assert exchange.completed()[0].completed_status == "Cancelled by Trader"


def test_cancel_knows_unknown_from_finished(exchange, market, apple):
    exchange.place(order(apple), NOW)

    (unknown,), (filled,) = exchange.cancel(1, 99, NOW), exchange.cancel(1, 1, NOW)

    assert (unknown.code, unknown.text) == (
        10147,
        "OrderId 99 that needs to be cancelled is not found.",
    )
    assert (filled.code, filled.text) == (
        10148,
        "OrderId 1 that needs to be cancelled cannot be cancelled, state: Filled.",
    )


def test_another_client_may_cancel_a_number_that_it_has_not_itself(exchange, market, apple):
    bid, _, _ = touch(market, apple)
    exchange.place(order(apple, 7, price=bid - 5), NOW)

    assert told(exchange.cancel(2, 7, NOW))[-1] == "202"


def test_cancel_all_takes_the_newest_first(exchange, market, apple):
    bid, _, _ = touch(market, apple)
    for number in (1, 2, 3):
        exchange.place(order(apple, number, price=bid - 5, client_id=number), NOW)

    events = exchange.cancel_all(NOW)

    assert [event.order_id for event in events if isinstance(event, Refused)] == [3, 2, 1]
    assert exchange.working() == []


def test_the_same_number_again_changes_the_order_and_keeps_its_perm_id(exchange, market, apple):
    bid, ask, _ = touch(market, apple)
    first = exchange.place(order(apple, price=bid - 5), NOW)

    moved = exchange.place(order(apple, quantity=50, price=bid - 4), NOW + 1)
    filled = exchange.place(order(apple, quantity=50, price=ask + 1), NOW + 2)

    assert told(moved) == ["state Submitted"]
    assert moved[0].order.perm_id == first[0].order.perm_id
    assert told(filled)[-1] == "commission Filled"
    assert exchange.executions()[0].shares == 50


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"order_type": "MOC"}, 329),
        ({"action": "SELL"}, 105),
        ({"price": "200.005"}, 110),
        ({"quantity": 0}, 434),
    ],
)
def test_a_change_that_makes_another_order_is_refused(exchange, market, apple, change, code):
    bid, _, _ = touch(market, apple)
    plain = order(apple, price=bid - 5)
    exchange.place(plain, NOW)
    names = {"price": "lmt_price"}
    values = {
        names.get(k, k): Decimal(v) if k in {"price", "quantity"} else v for k, v in change.items()
    }

    (refused,) = exchange.place(replace(plain, **values), NOW)

    assert refused.code == code
    assert exchange.working()[0].request == replace(plain, account="DUSIM0001")


def test_numbers_of_the_past_are_not_orders(exchange, market, apple):
    bid, _, _ = touch(market, apple)
    exchange.place(order(apple, 5), NOW)
    exchange.place(order(apple, 6, price=bid - 5), NOW)
    exchange.cancel(1, 6, NOW)

    filled, lower = (exchange.place(order(apple, number), NOW) for number in (5, 3))

    assert [filled[0].code, lower[0].code] == [104, 103]
    assert exchange.place(order(apple, 6), NOW) == []


def test_an_order_held_back_is_silent_until_it_is_transmitted(exchange, apple):
    held = exchange.place(order(apple, transmit=False), NOW)
    released = exchange.place(order(apple), NOW + 1)

    assert held == []
    assert told(released)[-1] == "commission Filled"


def test_with_hours_an_order_on_sunday_waits_with_a_warning(universe, market, apple):
    exchange = Exchange(universe, Market(universe, always_open=False), Account(), always_open=False)

    events = exchange.place(order(apple), SUNDAY)
    opening = datetime(2026, 11, 23, 14, 30, tzinfo=UTC).timestamp()
    silent, later = exchange.tick(opening - 60), exchange.tick(opening)

    assert told(events) == ["399", "state PreSubmitted"]
    assert "until 2026-11-23 09:30:00 US/Eastern" in events[0].text
    assert silent == []
    assert told(later)[-1] == "commission Filled"


def test_on_a_sunday_of_an_always_open_market_orders_fill(exchange, apple):
    assert told(exchange.place(order(apple), SUNDAY))[-1] == "commission Filled"


def test_a_day_order_ends_with_its_session_and_a_good_till_cancelled_does_not(
    exchange, market, apple
):
    bid, _, _ = touch(market, apple)
    exchange.place(order(apple, 1, price=bid - 50), NOW)
    exchange.place(order(apple, 2, price=bid - 50, tif="GTC"), NOW)
    close = datetime(2026, 11, 18, 21, tzinfo=UTC).timestamp()

    events = exchange.tick(close)

    assert told(events) == ["state PendingCancel", "state Cancelled", "202"]
    assert events[1].order.completed_status.startswith("Cancelled by System")
    assert [one.request.order_id for one in exchange.working()] == [2]


def test_a_what_if_tells_margin_and_fee_and_places_nothing(exchange, market, apple):
    result = exchange.what_if(order(apple, quantity=1000), NOW)

    assert isinstance(result, WhatIf)
    assert result.init_before == 0
    assert result.init_after == result.equity_before - result.equity_before + Decimal(
        "0.5"
    ) * 1000 * Decimal(repr(market.quote(apple, NOW).last))
    assert result.commission == Decimal("5.000000")
    assert exchange.working() == exchange.completed() == []
    assert exchange.what_if(order(apple, quantity=0), NOW).code == 434


def test_the_minimum_fee_is_taken_once_an_order_not_once_a_fill(exchange, market, apple):
    _, _, quote = touch(market, apple)
    exchange.place(order(apple, quantity=int(quote.ask_size) + 1), NOW)

    fees = [fill.commission for fill in exchange.executions()]

    assert len(fees) > 1
    assert sum(fees) == max(Decimal(1), Decimal("0.005") * (int(quote.ask_size) + 1))


# --- short sales and prices far away --------------------------------------------------------------


def stock(universe, symbol):
    return next(one for one in universe.instruments if one.symbol == symbol)


def test_a_short_sale_is_held_until_shares_are_found(exchange, universe):
    placed = exchange.place(order(stock(universe, "PLTR"), action="SELL"), NOW)
    (held,) = exchange.working()

    assert told(placed) == ["state PreSubmitted", "404", "state PreSubmitted"]
    assert placed[1].text == "Order held while securities are located."
    assert held.why_held == "locate"
    assert exchange.tick(NOW + 29) == []
    assert told(exchange.tick(NOW + 30))[0] == "execution Filled"


def test_what_nobody_lends_stays_held_and_can_be_cancelled(exchange, universe):
    exchange.place(order(stock(universe, "USO"), action="SELL", tif="GTC"), NOW)

    assert exchange.tick(NOW + 3600) == []
    assert [one.why_held for one in exchange.working()] == ["locate"]
    assert told(exchange.cancel(1, 1, NOW + 3600)) == [
        "state PendingCancel",
        "state Cancelled",
        "202",
    ]


def test_a_purchase_of_coins_at_any_price_names_its_money(exchange, universe):
    coin = stock(universe, "BTC")

    refused = exchange.place(order(coin, 1, quantity=1, tif="IOC"), NOW)
    bought = exchange.place(order(coin, 2, quantity=0, cash_qty=Decimal(1000), tif="IOC"), NOW)

    assert told(refused) == ["10289"]
    assert "execution Filled" in told(bought)
    assert "execution Filled" in told(exchange.place(order(coin, 3, "SELL", Decimal("0.001")), NOW))


def test_selling_what_is_held_needs_no_lender(exchange, universe):
    palantir = stock(universe, "PLTR")
    exchange.place(order(palantir, 1), NOW)

    assert "execution Filled" in told(exchange.place(order(palantir, 2, "SELL"), NOW))
    assert "404" in told(exchange.place(order(palantir, 3, "SELL"), NOW))


@pytest.mark.parametrize(("action", "share"), [("BUY", "1.6"), ("SELL", "0.4")])
def test_a_limit_far_through_the_market_is_cancelled_with_a_reason(
    exchange, market, apple, action, share
):
    bid, ask, _ = touch(market, apple)
    price = ((ask if action == "BUY" else bid) * Decimal(share)).quantize(Decimal("0.01"))

    events = exchange.place(order(apple, action=action, price=price), NOW)

    assert told(events) == ["state PreSubmitted", "state Cancelled", "202"]
    assert (
        events[-1].text == "Order Canceled - reason:The limit price is too far through the market."
    )
    assert exchange.executions() == []


def test_a_marketable_limit_and_one_far_from_the_market_are_taken(exchange, market, apple):
    _, ask, _ = touch(market, apple)
    near = (ask * Decimal("1.3")).quantize(Decimal("0.01"))

    assert "execution Filled" in told(exchange.place(order(apple, 1, price=near), NOW))
    assert told(exchange.place(order(apple, 2, price="1.00"), NOW))[-1] == "state Submitted"
