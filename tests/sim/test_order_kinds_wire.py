"""Brackets, groups, stops, conditions, combinations and what-ifs over a real socket."""

from decimal import Decimal

import ib_async
import pytest
from ibapi.contract import Contract
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel

from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.wire import REQUESTS

APPLE = ib_async.Stock("AAPL", "SMART", "USD", conId=265598)
MICROSOFT = ib_async.Stock("MSFT", "SMART", "USD", conId=272093)


@pytest.fixture
def state(wait):
    """Return a function that waits until a trade is in a state, held for a reason."""

    def until(ib, trade, status, why=""):
        def reached():
            return (trade.orderStatus.status, trade.orderStatus.whyHeld) == (status, why)

        wait(ib, reached)

    return until


def test_a_bracket_shows_who_waits_for_whom(ib, state):
    parent, target, stop = ib.bracketOrder("BUY", 10, 1.0, 900.0, 0.5)
    trades = [ib.placeOrder(APPLE, one) for one in (parent, target, stop)]

    state(ib, trades[0], "Submitted")
    state(ib, trades[1], "PreSubmitted", "child")
    state(ib, trades[2], "PreSubmitted", "child,trigger")
    seen = {one.order.orderId: one.order for one in ib.reqAllOpenOrders()}
    assert {one.orderStatus.parentId for one in trades[1:]} == {parent.orderId}
    assert seen.keys() == {one.order.orderId for one in trades}

    ib.cancelOrder(parent)
    for trade in trades:
        state(ib, trade, "Cancelled")


def dear(ib):
    """Return a price that a purchase fills at once, and that the exchange still takes."""
    return round(1.3 * ib.reqTickers(APPLE)[0].ask, 2)


def test_a_filled_entry_wakes_the_exits_and_a_cancelled_exit_takes_the_other_along(ib, state):
    at_once = dear(ib)
    parent, target, stop = ib.bracketOrder("BUY", 10, at_once, at_once + 1, 1.0)
    trades = [ib.placeOrder(APPLE, one) for one in (parent, target, stop)]

    state(ib, trades[0], "Filled")
    state(ib, trades[1], "Submitted")
    state(ib, trades[2], "PreSubmitted", "trigger")
    ib.cancelOrder(target)
    state(ib, trades[2], "Cancelled")
    assert ib.openTrades() == []


def test_one_cancels_all(ib, state):
    far, near = (ib_async.LimitOrder("BUY", 5, price) for price in (1.0, dear(ib)))
    orders = ib.oneCancelsAll([far, near], "either", 1)
    trades = [ib.placeOrder(APPLE, one) for one in orders]

    state(ib, trades[1], "Filled")
    state(ib, trades[0], "Cancelled")


def test_a_trailing_stop_tells_its_stop_price(ib, connect_ib, state):
    order = ib_async.Order(
        action="SELL", totalQuantity=5, orderType="TRAIL", trailingPercent=5, tif="GTC"
    )
    trade = ib.placeOrder(APPLE, order)
    state(ib, trade, "PreSubmitted", "trigger")

    [seen] = connect_ib(2).reqAllOpenOrders()
    last = ib.reqTickers(APPLE)[0].last
    assert seen.order.permId == trade.order.permId
    assert seen.order.trailStopPrice == pytest.approx(last * 0.95, rel=0.01)


def test_a_condition_travels_and_holds_the_order_back(ib, state):
    above = ib_async.PriceCondition(price=1e6, conId=272093, exch="SMART", isMore=True)
    order = ib_async.MarketOrder("BUY", 1, conditions=[above], tif="GTC")
    trade = ib.placeOrder(APPLE, order)
    state(ib, trade, "PreSubmitted")
    ib.waitOnUpdate(0.2)
    assert trade.orderStatus.status == "PreSubmitted"

    met = ib_async.PriceCondition(price=1.0, conId=272093, exch="SMART", isMore=True)
    other = ib.placeOrder(APPLE, ib_async.MarketOrder("BUY", 1, conditions=[met], tif="GTC"))
    state(ib, other, "Filled")


def test_a_combination_fills_whole_and_in_legs_which_alone_are_charged(ib, state, wait):
    bag = ib_async.Contract(
        symbol="AAPL,MSFT",
        secType="BAG",
        currency="USD",
        exchange="SMART",
        comboLegs=[
            ib_async.ComboLeg(conId=265598, ratio=1, action="BUY", exchange="SMART"),
            ib_async.ComboLeg(conId=272093, ratio=2, action="SELL", exchange="SMART"),
        ],
    )
    trade = ib.placeOrder(bag, ib_async.MarketOrder("BUY", 3))
    state(ib, trade, "Filled")
    wait(ib, lambda: len(trade.fills) == 3 and trade.fills[-1].commissionReport.execId)

    whole, *legs = trade.fills
    assert (whole.contract.secType, whole.contract.conId) == ("BAG", 28812380)
    assert [one.execution.shares for one in legs] == [3, 6]
    assert whole.commissionReport.execId == ""
    price = legs[0].execution.price - 2 * legs[1].execution.price
    assert whole.execution.price == pytest.approx(price)
    wait(ib, lambda: len(ib.positions()) == 2)
    assert {one.contract.symbol: one.position for one in ib.positions()} == {"AAPL": 3, "MSFT": -6}


def test_a_what_if_of_a_combination_and_of_a_stop(ib):
    state = ib.whatIfOrder(APPLE, ib_async.StopOrder("BUY", 100, 250.0))

    assert float(state.initMarginChange) == pytest.approx(0.5 * 100 * 200, rel=0.3)
    assert state.minCommission == state.maxCommission == state.commission


def place(wire, order_id, **more):
    values = {
        "order_id": order_id,
        "contract": {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"},
        "action": "BUY",
        "total_quantity": 10,
        "order_type": "LMT",
        "lmt_price": 1,
        "transmit": True,
        **more,
    }
    wire.send(*REQUESTS[3].fields(values))


def test_nothing_is_said_of_a_bracket_until_its_last_order(wire):
    place(wire, 1, transmit=False)
    place(wire, 2, action="SELL", lmt_price=900, parent_id=1, transmit=False)
    wire.send(16, 1)
    assert wire.until(53) == [["53", "1"]]
    place(wire, 3, action="SELL", order_type="STP", lmt_price=None, aux_price=1, parent_id=1)

    frames = wire.until(3, 1, "Submitted")
    pairs = [(f[0], f[1]) for f in frames[:6]]
    assert pairs == [("5", "1"), ("3", "1"), ("5", "2"), ("3", "2"), ("5", "3"), ("3", "3")]
    held = {f[1]: f[10] for f in frames[:6] if f[0] == "3"}
    assert held == {"1": "", "2": "child", "3": "child,trigger"}
    perm_id = frames[1][6]
    assert perm_id in frames[2]  # the children's group is named after their parent


def test_an_unknown_parent_and_an_unknown_attribute_have_their_codes(wire):
    place(wire, 1, parent_id=99)
    assert wire.until(4)[-1][2:4] == ["1", "10006"]
    place(
        wire, 2, algo_strategy="Twap", algo_params=[{"tag": "strategyType", "value": "Marketable"}]
    )
    assert wire.until(4)[-1][2:5] == [
        "2",
        "443",
        "Order processing failed. Unknown algo attribute:strategyType",
    ]


def test_ibs_own_client_places_a_stop_and_cancels_it(official):
    contract = Contract()
    contract.conId, contract.exchange = 265598, "SMART"
    order = Order()
    order.action, order.orderType, order.totalQuantity = "SELL", "STP", Decimal(5)
    order.auxPrice, order.tif, order.eTradeOnly, order.firmQuoteOnly = 1.0, "GTC", False, False
    official.placeOrder(1, contract, order)

    _, _, echoed, state = official.expect("openOrder")
    status = official.expect("orderStatus")
    assert (echoed.auxPrice, state.status) == (1.0, "PreSubmitted")
    assert status[9] == "trigger"
    official.reqGlobalCancel(OrderCancel())
    while official.expect("orderStatus")[1] != "Cancelled":
        pass
    assert 202 in official.expect("error")


def test_an_advisor_sees_all_accounts_and_allocates_a_group_order(connect_to):
    names = ("DUSIM0000", "DUSIM0001", "DUSIM0002")
    with run_gateway(account_id=names) as running:
        ib = ib_async.IB()
        ib.connect(running.host, running.port, 1)
        try:
            assert ib.managedAccounts() == list(names)
            alone = ib_async.MarketOrder("BUY", 7, account="DUSIM0002")
            group = ib_async.MarketOrder("BUY", 11, faGroup="All", faMethod="EqualQuantity")
            trades = [ib.placeOrder(APPLE, one) for one in (alone, group)]
            for _ in range(100):
                if all(one.orderStatus.status == "Filled" for one in trades):
                    break
                ib.waitOnUpdate(0.1)
            held = {one.account: one.position for one in ib.reqPositions()}
            assert held == {"DUSIM0001": 6, "DUSIM0002": 12}
            summary = {one.account for one in ib.accountSummary()}
            assert summary == {"DUSIM0001", "DUSIM0002"}
        finally:
            ib.disconnect()


def test_an_advisors_order_needs_an_account(connect_to):
    with run_gateway(account_id=("DUSIM0000", "DUSIM0001", "DUSIM0002")) as running:
        wire = connect_to(running).start(9)
        place(wire, 1)
        assert wire.until(4, 2, 1)[-1][2:4] == ["1", "435"]
