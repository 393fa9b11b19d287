"""Snapshots of ib_async's live objects."""

from __future__ import annotations

from ib_async import Contract, Fill, LimitOrder, Order, OrderStatus, Position, Ticker, Trade
from ib_async.objects import CommissionReport, Execution, TradeLogEntry

from ibkit import clock
from ibkit.connection.values import snapshot


def a_trade() -> Trade:
    fill = Fill(Contract(conId=1), Execution(execId="1"), CommissionReport(), clock.now())
    return Trade(
        Contract(conId=1),
        LimitOrder("BUY", 1, 10),
        OrderStatus(status="Submitted"),
        [fill],
        [TradeLogEntry(clock.now())],
    )


def test_a_trade_no_longer_changes():
    trade = a_trade()
    copy = snapshot([trade])[0]
    trade.orderStatus.status = "Filled"
    trade.order.lmtPrice = 11
    trade.fills.clear()
    trade.contract.conId = 2

    assert copy.orderStatus.status == "Submitted"
    assert copy.order.lmtPrice == 10
    assert copy.fills[0].execution.execId == "1"
    assert copy.contract.conId == 1
    assert isinstance(copy.order, Order)


def test_what_a_fill_holds_is_copied_too():
    trade = a_trade()
    copy = snapshot(trade)
    trade.fills[0].commissionReport.commission = 5.0

    assert copy.fills[0].commissionReport.commission == 0


def test_a_handler_can_be_connected_to_a_copy():
    trade, heard = a_trade(), []
    snapshot(trade).statusEvent += heard.append
    trade.statusEvent.emit(trade)

    assert heard == [trade]


def test_tickers_and_positions():
    ticker = Ticker(contract=Contract(conId=1))
    copy = snapshot(ticker)
    ticker.bid = 5
    ticker.ticks.append(1)

    assert copy.bid != 5
    assert copy.ticks == []
    assert snapshot([Position("A", Contract(conId=1), 1, 2)])[0].contract.conId == 1
    assert snapshot("text") == "text"
