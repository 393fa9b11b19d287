"""What ib_async goes through when requests are refused, delayed or never heard."""

import asyncio

import ib_async
import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.limits import Limits
from ibkit.sim.testing import gateway as run_gateway

AAPL = ib_async.Contract(conId=265598, exchange="SMART", secType="STK", symbol="AAPL")
MSFT = ib_async.Contract(conId=272093, exchange="SMART", secType="STK", symbol="MSFT")
SPY = ib_async.Contract(conId=756733, exchange="SMART", secType="STK", symbol="SPY")
ASK_S = 0.3


@pytest.fixture
def codes(ib):
    """Every error that the client was told: (id, code), in order."""
    seen = []
    ib.errorEvent += lambda req_id, code, _text, _contract: seen.append((req_id, code))
    return seen


def bars(ib, contract=AAPL, **more):
    asked = {"endDateTime": "", "durationStr": "1 D", "barSizeSetting": "1 min"}
    asked |= {"whatToShow": "TRADES", "useRTH": True, **more}
    return ib.reqHistoricalData(contract, **asked)


def test_a_request_that_is_ignored_times_out_and_the_next_is_served(gateway, ib):
    gateway.fault("ignore", request="reqHistoricalData", times=1)

    assert not bars(ib, timeout=ASK_S)  # ib_async gives an empty list, not an error
    assert bars(ib)


def test_slow_replies_of_one_class_let_others_overtake(gateway, ib):
    gateway.fault("slow", request="historical", seconds=0.2)

    async def ask():
        asked = asyncio.ensure_future(
            ib.reqHistoricalDataAsync(AAPL, "", "1 D", "1 min", "TRADES", useRTH=True)
        )
        details = await ib.reqContractDetailsAsync(MSFT)
        return details, asked.done(), await asked

    details, done, found = ib.run(ask())

    assert details
    assert not done
    assert found


def test_a_slow_reply_waits_by_the_gateways_clock(connect_to):
    with run_gateway(clock=ManualClock(1_790_000_000.0)) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        running.fault("slow", request="reqIds", seconds=3600)
        wire.send(8, 1, 1)
        wire.send(49, 1)
        assert wire.until(49)[0][0] == "49"
        running.advance(3600)

        assert wire.receive() == ["9", "1", "1"]


def test_any_request_can_be_refused_with_any_code(gateway, ib, codes):
    gateway.fault("reject", request="reqContractDetails", code=200, text="No security definition")

    assert ib.reqContractDetails(AAPL) == []
    assert [code for _, code in codes] == [200]


def test_a_pacing_violation_is_162_and_an_empty_list_to_ib_async(gateway, ib, codes):
    gateway.fault("pacing_violation", times=1)

    assert not bars(ib)
    assert [code for _, code in codes] == [162]
    assert bars(ib)


def test_the_request_after_the_third_is_the_one_that_is_refused(gateway, ib, codes):
    faults = gateway.gateway.faults
    gateway.call(
        faults.on,
        "req_historical_data",
        3,
        lambda: faults.arm("pacing_violation", times=1),
        after=True,
    )
    found = [bool(bars(ib, one)) for one in (AAPL, MSFT, SPY, AAPL, MSFT)]

    assert found == [True, True, True, False, True]
    assert [code for _, code in codes] == [162]


def test_one_open_request_for_history_too_many_is_refused(gateway, ib, codes):
    gateway.fault("slow", request="historical", seconds=0.3)
    gateway.fault("max_open", limit=2)

    async def ask():
        asked = [
            ib.reqHistoricalDataAsync(one, "", "1 D", "1 hour", "TRADES", useRTH=True)
            for one in (AAPL, MSFT, SPY)
        ]
        return await asyncio.gather(*asked)

    found = ib.run(ask())

    assert [bool(one) for one in found] == [True, True, False]
    assert [code for _, code in codes] == [162]


def history(wire, req_id):
    """Ask for a day of minutes, in raw fields."""
    contract = [265598, "AAPL", "STK", "", 0.0, "", "", "SMART", "", "USD", "", "", 0]
    wire.send(20, req_id, *contract, "", "1 min", "1 D", 1, "TRADES", 2, 0, "")


def test_slow_answers_hold_a_place_among_the_open_requests_for_history(connect_to):
    limits = Limits(open_history=2)
    with run_gateway(clock=ManualClock(1_790_000_000.0), limits=limits) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        running.fault("slow", request="historical", seconds=60)
        for req_id in (1, 2, 3):
            history(wire, req_id)
        refused = wire.receive()
        assert refused[2:4] == ["3", "322"]
        assert "Only 2 simultaneous" in refused[4]
        running.advance(60)
        assert [wire.receive()[:2] for _ in range(2)] == [["17", "1"], ["17", "2"]]

        history(wire, 3)
        wire.send(49, 1)
        assert wire.receive()[0] == "49"  # so the gateway has heard both
        running.advance(60)
        assert wire.receive()[:2] == ["17", "3"]


@pytest.mark.parametrize(("kind", "more"), [("slow", {"seconds": 60}), ("ignore", {})])
def test_a_request_for_history_that_waits_can_be_cancelled(connect_to, kind, more):
    with run_gateway(clock=ManualClock(1_790_000_000.0)) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        running.fault(kind, request="reqHistoricalData", **more)
        history(wire, 1)
        wire.send(25, 1, 1)
        assert "query cancelled: 1" in wire.until(4, 2, 1, 162)[-1][4]
        wire.send(25, 1, 1)
        wire.until(4, 2, 1, 366)
        running.advance(61)
        wire.send(49, 1)

        assert wire.receive()[0] == "49"  # the bars never came


def test_a_number_that_waits_for_its_bars_cannot_be_used_again(connect_to):
    with run_gateway(clock=ManualClock(1_790_000_000.0)) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        running.fault("slow", request="reqHistoricalData", seconds=60)
        history(wire, 1)
        history(wire, 1)

        assert wire.receive()[2:4] == ["1", "386"]


def test_a_line_too_many_is_101(gateway, ib, codes, wait):
    gateway.fault("max_lines", limit=1)
    ib.reqMktData(AAPL)
    ib.reqMktData(MSFT)
    wait(ib, lambda: codes)

    assert [code for _, code in codes] == [101]


def test_a_competing_session_stops_the_ticks_and_their_end_brings_them_back(
    gateway, ib, codes, wait
):
    ticker = ib.reqMktData(AAPL)
    wait(ib, lambda: ticker.bid > 0)
    fault = gateway.fault("competing_session")
    wait(ib, lambda: codes)
    ib.reqCurrentTime()  # everything sent before has arrived
    ticker.bid = ticker.ask = -1.0

    assert [code for _, code in codes] == [10197]
    ib.waitOnUpdate(ASK_S)
    assert (ticker.bid, ticker.ask) == (-1.0, -1.0)
    gateway.mend(fault)
    wait(ib, lambda: ticker.bid > 0)


# --- orders -------------------------------------------------------------------------------------


def test_the_read_only_api_refuses_orders_with_321(gateway, ib, codes, wait):
    gateway.fault("read_only")
    trade = ib.placeOrder(AAPL, ib_async.LimitOrder("BUY", 1, 1))
    wait(ib, lambda: codes)

    # 321 is a warning to ib_async: the trade looks alive, yet no order exists
    assert trade.orderStatus.status == "ValidationError"
    assert [code for _, code in codes] == [321]
    gateway.mend()
    assert ib.reqOpenOrders() == []


def test_a_rejected_order_is_inactive_and_says_why(gateway, ib, codes, wait):
    gateway.fault("order_rejected", reason="No Trading Permission", times=1)
    trade = ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 1))
    wait(ib, lambda: codes)

    assert codes == [(trade.order.orderId, 201)]
    assert trade.orderStatus.status == "Inactive"
    again = ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 1))
    wait(ib, again.isDone)
    assert again.orderStatus.status == "Filled"


def test_the_preset_of_a_time_in_force_looks_like_a_cancel_to_ib_async(gateway, ib, codes, wait):
    gateway.fault("preset")
    trade = ib.placeOrder(AAPL, ib_async.LimitOrder("BUY", 1, 1, tif=""))
    wait(ib, lambda: 10349 in [code for _, code in codes])

    assert trade.orderStatus.status == "Cancelled"  # not true: it works
    assert [one.order.orderId for one in ib.reqOpenOrders()] == [trade.order.orderId]


def test_executions_can_come_after_the_status_filled(gateway, ib, wait):
    gateway.fault("late_execution")
    seen = []
    ib.orderStatusEvent += lambda trade: seen.append(trade.orderStatus.status)
    ib.execDetailsEvent += lambda *_: seen.append("execution")
    ib.commissionReportEvent += lambda *_: seen.append("commission")
    ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 1))
    wait(ib, lambda: "commission" in seen)

    assert seen.index("Filled") < seen.index("execution") < seen.index("commission")
