"""The daily restart: what a client finds again, and what has ended."""

import ib_async
import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.testing import gateway as run_gateway

AAPL = ib_async.Contract(conId=265598, exchange="SMART", secType="STK", symbol="AAPL")
NOON = 1_790_611_200.0  # Monday, 28 September 2026, noon in New York


@pytest.fixture
def running():
    with run_gateway(clock=ManualClock(NOON)) as running:
        yield running


@pytest.fixture
def connect(running):
    opened = []

    def connect(**more):
        ib = ib_async.IB()
        opened.append(ib)
        ib.connect(running.host, running.port, 1, **more)
        return ib

    yield connect
    for ib in opened:
        ib.disconnect()


def restart(running, ib, **more):
    """Restart, and come back as soon as the port listens again."""
    running.fault("restart", down_s=90, **more)
    with pytest.raises(ConnectionError):
        ib.reqCurrentTime()
    assert not ib.isConnected()
    with pytest.raises(ConnectionRefusedError):
        ib_async.IB().connect(running.host, running.port, 1, timeout=1)
    running.advance(91)


def eventually(connect):
    for _ in range(200):
        try:
            return connect()
        except ConnectionRefusedError:
            continue
    pytest.fail("the port never opened again")


def test_gtc_orders_positions_and_executions_are_there_after_a_restart(running, connect, wait):
    ib = connect()
    kept = ib.placeOrder(AAPL, ib_async.LimitOrder("BUY", 1, 1, tif="GTC"))
    ended = ib.placeOrder(AAPL, ib_async.LimitOrder("BUY", 1, 2, tif="DAY"))
    bought = ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 3))
    wait(ib, lambda: bought.isDone() and kept.orderStatus.permId and ended.orderStatus.permId)
    restart(running, ib)
    again = eventually(connect)

    assert [t.order.permId for t in again.openTrades()] == [kept.orderStatus.permId]
    assert [t.order.orderId for t in again.openTrades()] == [kept.order.orderId]
    assert [p.position for p in again.positions()] == [3]
    assert [f.execution.shares for f in again.fills()] == [3]
    cancelled = {t.order.permId: t.orderStatus.status for t in again.trades()}
    assert cancelled[ended.orderStatus.permId] == "Cancelled"
    assert again.client.getReqId() > bought.order.orderId


def test_a_restart_within_a_session_may_keep_the_orders_of_the_day(running, connect, wait):
    ib = connect()
    trade = ib.placeOrder(AAPL, ib_async.LimitOrder("BUY", 1, 1, tif="DAY"))
    wait(ib, lambda: trade.orderStatus.permId)
    restart(running, ib, keep_day_orders=True)
    again = eventually(connect)

    assert [t.order.permId for t in again.openTrades()] == [trade.orderStatus.permId]
    again.cancelOrder(again.openTrades()[0].order)
    wait(again, lambda: not again.openTrades())


def test_a_bracket_of_the_day_ends_as_a_whole(running, connect, wait):
    ib = connect()
    bracket = ib.bracketOrder("BUY", 1, limitPrice=1, takeProfitPrice=900, stopLossPrice=0.5)
    trades = [ib.placeOrder(AAPL, order) for order in bracket]
    wait(ib, lambda: all(trade.orderStatus.permId for trade in trades))
    restart(running, ib)

    assert eventually(connect).openTrades() == []
