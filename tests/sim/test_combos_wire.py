"""Market data of combinations: made from the legs, for both clients."""

import ib_async
import pytest
from ibapi.contract import ComboLeg, Contract

from ibkit.sim.clock import ManualClock
from ibkit.sim.testing import gateway as run_gateway

APPLE, MICROSOFT = 265598, 272093
NOON = 1_795_190_400  # 2026-11-20, 11:00 in New York


@pytest.fixture
def gateway():
    with run_gateway(clock=ManualClock(NOON)) as running:
        yield running


def spread(contract=ib_async.Contract, leg=ib_async.ComboLeg):
    """Return one share of Apple against two of Microsoft."""
    legs = []
    for con_id, ratio, action in ((APPLE, 1, "BUY"), (MICROSOFT, 2, "SELL")):
        one = leg()
        one.conId, one.ratio, one.action, one.exchange = con_id, ratio, action, "SMART"
        legs.append(one)
    bag = contract()
    bag.symbol, bag.secType, bag.currency, bag.exchange = "AAPL,MSFT", "BAG", "USD", "SMART"
    bag.comboLegs = legs
    return bag


def ticks(official, req_id):
    """Return the prices of a snapshot, by kind."""
    found = {}
    while True:
        called, arguments = official.calls.get(timeout=10)
        if called == "tickPrice" and arguments[0] == req_id:
            found[arguments[1]] = arguments[2]
        if called == "tickSnapshotEnd" and arguments[0] == req_id:
            return found


def snapshot(official, req_id, contract):
    """Return the prices of a contract now, by kind."""
    official.reqMktData(req_id, contract, "", True, False, [])  # noqa: FBT003  IB's own client
    return ticks(official, req_id)


def test_a_combination_is_quoted_by_what_its_legs_cost(official, gateway):
    legs = {}
    for req_id, con_id in ((11, APPLE), (12, MICROSOFT)):
        single = Contract()
        single.conId, single.exchange = con_id, "SMART"
        legs[con_id] = snapshot(official, req_id, single)
    whole = snapshot(official, 13, spread(Contract, ComboLeg))

    assert whole[1] == pytest.approx(legs[APPLE][1] - 2 * legs[MICROSOFT][2])
    assert whole[2] == pytest.approx(legs[APPLE][2] - 2 * legs[MICROSOFT][1])
    assert whole[9] == pytest.approx(legs[APPLE][9] - 2 * legs[MICROSOFT][9])
    assert whole[1] < whole[2] < 0


def test_a_combination_streams_and_an_order_on_it_trades_at_its_quote(gateway, connect_ib, wait):
    ib = connect_ib()
    ticker = ib.reqMktData(spread())
    wait(ib, lambda: ticker.ask == ticker.ask and ticker.ask != -1)
    first = ticker.bid
    gateway.advance(30, step=1)
    wait(ib, lambda: ticker.bid != first)
    ask = ticker.ask
    trade = ib.placeOrder(spread(), ib_async.MarketOrder("BUY", 1))
    wait(ib, lambda: trade.orderStatus.status == "Filled")

    assert trade.fills[0].execution.price == pytest.approx(ask)


def test_what_a_combination_does_not_have_is_refused(connect_wire):
    wire = connect_wire().start(9)
    wire.until(4, 2, -1, 2158)
    bag = (0, "AAPL,MSFT", "BAG", "", "", "", "", "SMART", "", "USD", "", "")
    legs = (2, APPLE, 1, "BUY", "SMART", MICROSOFT, 2, "SELL", "SMART")
    wire.send(1, 11, 5, *bag, *legs, 0, "233", 0, 0, "")
    assert "Incorrect generic tick list" in wire.until(4, 2, 5, 321)[-1][4]
    wire.send(1, 11, 6, *bag, 0, 0, "", 0, 0, "")
    wire.until(4, 2, 6, 312)
    wire.send(1, 11, 7, *bag, 2, APPLE, 1, "BUY", "SMART", 999, 1, "SELL", "SMART", 0, "", 0, 0, "")

    wire.until(4, 2, 7, 200)
