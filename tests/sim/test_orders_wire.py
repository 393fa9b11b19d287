"""Orders over the socket: the sequences of messages, and who sees them."""

from decimal import Decimal

import ib_async
import pytest

from ibkit.sim.wire import REQUESTS

APPLE = ib_async.Stock("AAPL", "SMART", "USD", conId=265598)


@pytest.fixture
def until(wait):
    """Return a function that waits until a trade is in a state."""
    return lambda ib, trade, state: wait(ib, lambda: trade.orderStatus.status == state)


@pytest.fixture
def resting(until):
    """Return a function that places a limit order far from the market."""

    def place(ib):
        trade = ib.placeOrder(APPLE, ib_async.LimitOrder("BUY", 1, 1.0))
        until(ib, trade, "Submitted")
        return trade

    return place


def test_a_market_order_fills_and_changes_position_and_cash(ib, until, wait):
    trade = ib.placeOrder(APPLE, ib_async.MarketOrder("BUY", 100))
    until(ib, trade, "Filled")
    wait(ib, lambda: trade.fills[-1].commissionReport.execId and ib.positions())

    [position] = ib.positions()
    assert trade.filled() == 100
    assert (position.contract.symbol, position.position) == ("AAPL", 100)
    fee = trade.fills[-1].commissionReport.commission
    assert position.avgCost == pytest.approx(trade.orderStatus.avgFillPrice + fee / 100)
    assert trade.fills[-1].commissionReport.commission > 0
    assert trade.fills[-1].execution.side == "BOT"


def test_what_a_filled_market_order_says_on_the_wire(wire):
    place(wire, 1, order_type="MKT", quantity=10)
    frames = wire.until(59)

    names = [frame[0] for frame in frames]
    statuses = [frame[2] for frame in frames if frame[0] == "3"]
    assert names[:2] == ["5", "3"]
    assert names[-1] == "59"
    assert "11" in names
    assert statuses[0] in {"PreSubmitted", "Submitted"}
    assert statuses[-1] == "Filled"


def place(wire, order_id, *, order_type="LMT", quantity=1, price=1, **more):
    contract = {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"}
    values = {
        "order_id": order_id,
        "contract": contract,
        "action": "BUY",
        "total_quantity": quantity,
        "order_type": order_type,
        "lmt_price": price if order_type == "LMT" else None,
        "transmit": True,
        **more,
    }
    wire.send(*REQUESTS[3].fields(values))


def test_a_limit_order_rests_and_is_cancelled(ib, resting, until):
    trade = resting(ib)
    assert [open_.order.orderId for open_ in ib.openTrades()] == [trade.order.orderId]

    ib.cancelOrder(trade.order)
    until(ib, trade, "Cancelled")

    assert ib.openTrades() == []


def test_a_terminal_cancel_is_a_status_without_open_order_and_then_202(wire):
    place(wire, 1)
    wire.until(3, 1, "Submitted")
    wire.send(4, 1, 1, "")
    frames = wire.until(4, 2, 1, 202)

    assert [frame[2] for frame in frames if frame[0] == "3"][-1] == "Cancelled"
    assert frames[-2][:3] == ["3", "1", "Cancelled"]


def test_a_cancelled_order_cannot_be_cancelled_again(wire):
    place(wire, 1)
    wire.until(3, 1, "Submitted")
    wire.send(4, 1, 1, "")
    wire.until(4, 2, 1, 202)
    wire.send(4, 1, 1, "")

    assert wire.until(4, 2, 1, 10148)


def test_a_modified_order_keeps_its_permanent_id(ib, resting, wait):
    trade = resting(ib)
    perm_id = trade.order.permId
    trade.order.lmtPrice = 2.0
    ib.placeOrder(APPLE, trade.order)
    wait(ib, lambda: any(entry.message == "Modify" for entry in trade.log))
    [seen] = ib.reqAllOpenOrders()[-1:]

    assert (seen.order.permId, seen.order.lmtPrice) == (perm_id, 2.0)


def test_an_order_off_the_tick_grid_is_refused(wire):
    place(wire, 1, price=Decimal("1.005"))

    assert wire.until(4)[-1][2:4] == ["1", "110"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quantity": 0}, "434"),
        ({"action": "HOLD"}, "321"),
        ({"order_type": "NONSENSE"}, "321"),
        ({"account": "DU999"}, "321"),
        ({"contract": {"symbol": "NOSUCH", "sec_type": "STK", "exchange": "SMART"}}, "200"),
        ({"what_if": True, "transmit": False}, "413"),
    ],
)
def test_an_order_that_makes_no_sense_is_never_an_order(wire, change, code):
    place(wire, 1, **change)
    assert wire.until(4)[-1][2:4] == ["1", code]
    wire.send(5, 1)

    assert wire.until(53) == [["53", "1"]]


def test_a_what_if_answers_with_margins_and_makes_no_order(ib):
    state = ib.whatIfOrder(APPLE, ib_async.MarketOrder("BUY", 100))

    assert float(state.initMarginChange) > 0
    assert float(state.equityWithLoanAfter) > 0
    assert state.commission > 0
    assert ib.reqAllOpenOrders() == []


def test_orders_survive_a_disconnect_and_are_given_back(connect_ib, resting):
    first = connect_ib(1)
    trade = resting(first)
    first.disconnect()
    again = connect_ib(1)

    [seen] = again.openTrades()
    assert (seen.order.permId, seen.order.orderId) == (trade.order.permId, trade.order.orderId)


def test_open_orders_are_the_clients_own_and_all_open_orders_everybodys(connect_ib, resting):
    one, two = connect_ib(1), connect_ib(2)
    resting(one)
    resting(two)

    assert [trade.order.clientId for trade in two.reqOpenOrders()] == [2]
    assert sorted(trade.order.clientId for trade in two.reqAllOpenOrders()) == [1, 2]


def test_a_global_cancel_ends_the_orders_of_all_clients(connect_ib, resting, until):
    one, two = connect_ib(1), connect_ib(2)
    trades = [resting(one), resting(two)]
    two.reqGlobalCancel()

    until(two, trades[1], "Cancelled")
    until(one, trades[0], "Cancelled")


def test_executions_and_completed_orders_are_there_after_a_reconnect(connect_ib, until):
    first = connect_ib(1)
    trade = first.placeOrder(APPLE, ib_async.MarketOrder("BUY", 5, orderRef="mine"))
    until(first, trade, "Filled")
    first.disconnect()
    again = connect_ib(2)

    assert sum(fill.execution.shares for fill in again.fills()) == 5
    assert {fill.execution.orderRef for fill in again.fills()} == {"mine"}
    [done] = again.reqCompletedOrders(apiOnly=False)
    assert (done.order.permId, done.orderStatus.status) == (trade.order.permId, "Filled")


@pytest.mark.parametrize(
    ("wish", "count"),
    [({"symbol": "AAPL"}, 1), ({"symbol": "MSFT"}, 0), ({"side": "SELL"}, 0), ({"side": "BUY"}, 1)],
)
def test_executions_can_be_filtered(ib, wish, count, until):
    trade = ib.placeOrder(APPLE, ib_async.MarketOrder("BUY", 1))
    until(ib, trade, "Filled")

    assert len(ib.reqExecutions(ib_async.ExecutionFilter(**wish))) == count


def test_another_clients_order_can_be_cancelled_and_both_are_told(connect_wire):
    owner, other = connect_wire().start(1), connect_wire().start(2)
    place(owner, 1)
    owner.until(3, 1, "Submitted")
    other.send(4, 1, 1, "")

    told = other.until(4, 2, 1, 202)[-2]
    assert (told[:3], told[9]) == (["3", "1", "Cancelled"], "2")
    assert owner.until(4, 2, 1, 202)[-2][9] == "1"
