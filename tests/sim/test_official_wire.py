"""IB's own client, unmodified, against the simulated gateway."""

from decimal import Decimal

import pytest
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order


@pytest.fixture
def apple():
    contract = Contract()
    contract.symbol, contract.secType = "AAPL", "STK"
    contract.exchange, contract.currency = "SMART", "USD"
    return contract


def market(action, quantity):
    order = Order()
    order.action, order.totalQuantity, order.orderType = action, Decimal(quantity), "MKT"
    order.tif = "DAY"
    return order


def test_it_connects_at_version_178(official):
    assert official.serverVersion() == 178


def test_it_gets_contract_details(official, apple):
    official.reqContractDetails(5, apple)

    _, details = official.expect("contractDetails")
    assert (details.contract.conId, details.longName) == (265598, "APPLE INC")
    assert official.expect("contractDetailsEnd") == (5,)


def test_it_gets_bars(official, apple):
    official.reqHistoricalData(
        5,
        apple,
        "20261030 20:00:00 UTC",
        "1 D",
        "1 hour",
        "TRADES",
        1,
        1,
        keepUpToDate=False,
        chartOptions=[],
    )

    _, bar = official.expect("historicalData")
    assert bar.date == "20261030 09:30:00 US/Eastern"
    assert official.expect("historicalDataEnd")[0] == 5


def test_it_gets_ticks(official, apple):
    official.reqMktData(5, apple, "", snapshot=False, regulatorySnapshot=False, mktDataOptions=[])

    assert official.expect("tickPrice")[0] == 5
    official.cancelMktData(5)


def test_its_market_order_fills(official, apple):
    official.placeOrder(1, apple, market("BUY", 10))

    _, contract, _, state = official.expect("openOrder")
    assert (contract.conId, state.status) == (265598, "PreSubmitted")
    assert official.expect("execDetails")[2].shares == 10
    while official.expect("orderStatus")[1] != "Filled":
        pass
    official.expect("commissionAndFeesReport")
    official.reqPositions()
    assert official.expect("position")[2] == 10
    official.expect("positionEnd")


def test_its_start_up_questions_are_answered(official):
    official.reqAccountUpdates(subscribe=True, acctCode="")
    official.expect("accountDownloadEnd")
    official.reqOpenOrders()
    official.expect("openOrderEnd")
    official.reqCompletedOrders(apiOnly=False)
    official.expect("completedOrdersEnd")
    official.reqExecutions(6, ExecutionFilter())
    assert official.expect("execDetailsEnd") == (6,)
    official.reqCurrentTime()
    assert official.expect("currentTime")[0] > 1_700_000_000


def test_a_wrong_symbol_is_an_error_with_its_code(official, apple):
    apple.symbol = "NOSUCH"
    official.reqContractDetails(5, apple)

    while (error := official.expect("error"))[0] != 5:
        pass
    assert 200 in error
