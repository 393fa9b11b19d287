"""What ib_async goes through when the port, the link to IBKR, a farm or the whole gateway fails."""

import ib_async
import pytest

from ibkit.errors import SimulationError
from ibkit.sim.clock import ManualClock
from ibkit.sim.testing import gateway as run_gateway

AAPL = ib_async.Contract(conId=265598, exchange="SMART", secType="STK", symbol="AAPL")
EURUSD = ib_async.Contract(conId=12087792, exchange="IDEALPRO", secType="CASH", symbol="EUR")
ASK_S = 0.3
OPEN = 1_790_604_000.0  # Monday, 28 September 2026, 10:00 in New York


@pytest.fixture
def codes(ib):
    seen = []
    ib.errorEvent += lambda _id, code, _text, _contract: seen.append(code)
    return seen


def bars(ib, **more):
    return ib.reqHistoricalData(AAPL, "", "1 D", "1 min", "TRADES", useRTH=True, **more)


def fail_to_connect(gateway):
    ib = ib_async.IB()
    try:
        ib.connect(gateway.host, gateway.port, 5, timeout=ASK_S)
    finally:
        ib.disconnect()


# --- the port -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("refuse", ConnectionRefusedError),
        ("silent", TimeoutError),
        ("hang_up", (ConnectionError, TimeoutError)),
    ],
)
def test_a_gateway_that_is_not_at_home(gateway, kind, error, connect_ib):
    fault = gateway.fault(kind)
    with pytest.raises(error):
        fail_to_connect(gateway)

    gateway.mend(fault)
    assert eventually(lambda: connect_ib(5).isConnected())


def eventually(attempt):
    """Try until it works: a port opens in its own time."""
    for _ in range(200):
        try:
            return attempt()
        except ConnectionRefusedError:
            continue
    return False


def test_a_client_id_lingers_after_its_socket_is_gone(connect_to):
    with run_gateway(clock=ManualClock(OPEN)) as running:
        running.fault("linger", seconds=60)
        connect_to(running).start(9).close()
        while running.call(lambda: 9 in running.gateway.clients):
            pass
        early = connect_to(running).start(9)
        assert early.receive()[:4] == ["4", "2", "-1", "326"]
        running.advance(61)

        assert connect_to(running).start(9).receive()[:2] == ["15", "1"]


def test_dropped_clients_are_told_by_the_socket_alone(gateway, ib, wire):
    gateway.fault("drop", client=1)

    with pytest.raises(ConnectionError):
        ib.reqCurrentTime()
    wire.send(49, 1)
    assert wire.until(49)


def test_a_reset_is_a_reset(gateway, wire):
    gateway.fault("drop", reset=True)

    with pytest.raises(ConnectionResetError):
        wire.until("nothing")


def test_a_moved_port_is_1300_and_the_end(gateway, wire):
    gateway.fault("move_port", port=7499)

    assert wire.receive()[3] == "1300"
    assert wire.receive() is None


def test_order_ids_can_be_rolled_back_and_then_collide(gateway, ib, connect_ib, codes, wait):
    trade = ib.placeOrder(AAPL, ib_async.LimitOrder("BUY", 1, 1))
    wait(ib, lambda: trade.orderStatus.permId)
    ib.disconnect()
    gateway.fault("roll_back_ids", client=1)
    again = connect_ib(1, fetchFields=ib_async.StartupFetch(0))
    seen = []
    again.errorEvent += lambda _id, code, _text, _contract: seen.append(code)
    order = ib_async.LimitOrder("SELL", 1, 900, orderId=trade.order.orderId)
    again.client.placeOrder(order.orderId, AAPL, order)
    wait(again, lambda: seen)

    assert again.client.getReqId() <= trade.order.orderId
    assert seen[0] in {103, 105}  # the working order of that number is another one


# --- the link -----------------------------------------------------------------------------------


def test_a_lost_link_is_1100_then_silence_then_1102_and_ticks(gateway, ib, codes, wait):
    ticker = ib.reqMktData(AAPL)
    wait(ib, lambda: ticker.bid > 0)
    fault = gateway.fault("link_lost")
    wait(ib, lambda: 1100 in codes)
    ticker.bid = -1.0

    assert not bars(ib, timeout=ASK_S)
    assert ticker.bid == -1.0
    assert ib.reqCurrentTime()  # what the gateway knows itself it still says
    gateway.mend(fault)
    wait(ib, lambda: 1102 in codes and ticker.bid > 0)


def test_after_1101_the_lines_are_gone_until_asked_for_again(gateway, ib, codes, wait):
    ticker = ib.reqMktData(AAPL)
    wait(ib, lambda: ticker.bid > 0)
    gateway.mend(gateway.fault("link_lost", data_lost=True))
    wait(ib, lambda: 1101 in codes)
    ticker.bid = -1.0
    ib.waitOnUpdate(ASK_S)

    assert ticker.bid == -1.0
    ib.reqMktData(AAPL)
    wait(ib, lambda: ticker.bid > 0)


def test_an_order_sent_into_a_lost_link_is_placed_when_it_is_back(gateway, ib, codes, wait):
    fault = gateway.fault("link_lost")
    trade = ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 1))
    wait(ib, lambda: 1100 in codes)

    assert trade.orderStatus.status == "PendingSubmit"
    gateway.mend(fault)
    wait(ib, trade.isDone)
    assert trade.orderStatus.status == "Filled"


def test_fills_during_a_lost_link_are_told_afterwards(connect_to):
    with run_gateway(clock=ManualClock(OPEN)) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        bid = running.call(quote_of, running, 265598).bid
        wire.send(*order(1, "BUY", round(bid - 0.05, 2)))
        wire.until(3, 1, "Submitted")
        fault = running.fault("link_lost")
        running.advance(6 * 3600, step=60)
        wire.send(49, 1)
        silent = [frame[0] for frame in wire.until(49)]
        running.mend(fault)
        wire.send(49, 1)
        told = [frame[0] for frame in wire.until(49)]

    assert not {"11", "3"} & set(silent)
    assert "11" in told


def quote_of(running, con_id):
    gateway = running.gateway
    return gateway.market.quote(gateway.universe.by_con_id(con_id), gateway.clock.now())


def order(order_id, action, price, tif="DAY"):
    """Return the fields of a limit order for one share of Apple."""
    from ibkit.sim.wire import REQUESTS

    return REQUESTS[3].fields(
        {
            "order_id": order_id,
            "contract": {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"},
            "action": action,
            "total_quantity": 1,
            "order_type": "LMT",
            "lmt_price": price,
            "tif": tif,
            "transmit": True,
        }
    )


def test_the_nightly_reset_comes_and_goes_by_the_gateways_clock(connect_to):
    with run_gateway(clock=ManualClock(OPEN)) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        running.fault("nightly_reset", flaps=2, down_s=20, up_s=40)
        running.advance(150, step=5)
        wire.send(49, 1)
        codes = [frame[3] for frame in wire.until(49)[:-1]]

    assert codes == ["1100", "2105", "2157", "1102", "2106", "2158"] * 2


# --- farms --------------------------------------------------------------------------------------


def test_a_broken_farm_stops_its_own_lines_only(gateway, ib, codes, wait):
    apple, euro = ib.reqMktData(AAPL), ib.reqMktData(EURUSD)
    wait(ib, lambda: apple.bid > 0 and euro.bid > 0)
    fault = gateway.fault("farm_down", farm="cashfarm")
    wait(ib, lambda: 2103 in codes)
    apple.bid = euro.bid = -1.0
    wait(ib, lambda: apple.bid > 0)

    assert euro.bid == -1.0
    gateway.mend(fault)
    wait(ib, lambda: 2104 in codes and euro.bid > 0)


@pytest.mark.parametrize(("farm", "down", "up"), [("ushmds", 2105, 2106), ("secdefnj", 2157, 2158)])
def test_farms_of_history_and_definitions_fall_silent_too(gateway, ib, codes, wait, farm, down, up):
    fault = gateway.fault("farm_down", farm=farm)
    wait(ib, lambda: down in codes)
    if farm == "ushmds":
        assert not bars(ib, timeout=ASK_S)
    else:
        ib.RequestTimeout = ASK_S
        with pytest.raises(TimeoutError):
            ib.reqContractDetails(AAPL)
    gateway.mend(fault)
    wait(ib, lambda: up in codes)


def test_the_request_that_wakes_a_sleeping_farm_is_lost(gateway, ib, codes, wait):
    gateway.fault("farm_asleep")

    assert not bars(ib, timeout=ASK_S)
    assert [code for code in codes if code in {2106, 2107}] == [2107, 2106]
    assert bars(ib)


def test_any_notice_can_be_sent(gateway, ib, codes, wait):
    gateway.fault("notice", code=2110, text="Connectivity is broken.")
    wait(ib, lambda: codes)

    assert codes == [2110]


# --- arming -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("earthquake", {}, "the kinds are"),
        ("slow", {"minutes": 1}, "its parameters"),
        ("slow", {"request": "reqNothing"}, "no request is called"),
        ("slow", {"seconds": "soon"}, "float"),
        ("slow", {"seconds": -1.0}, "negative"),
        ("ignore", {}, "needs request"),
        ("withhold", {"message": "nothing"}, "no reply is called"),
        ("drop", {"client": -1}, "client id"),
        ("ignore", {"request": "all", "times": 0}, "times"),
        ("ignore", {"request": "all", "share": 2}, "share"),
        ("ignore", {"request": "all", "for_s": 0}, "for_s"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(gateway, kind, options, words):
    with pytest.raises(SimulationError, match=words):
        gateway.fault(kind, **options)


def test_clearing_ends_everything(gateway, ib, connect_ib):
    for kind in ("refuse", "read_only", "half_open", "link_lost"):
        gateway.fault(kind)
    gateway.mend()

    assert gateway.call(gateway.gateway.faults.armed) == []
    assert bars(ib)
    assert eventually(lambda: connect_ib(5).isConnected())


def test_a_fault_ends_by_itself_after_its_time(connect_to):
    with run_gateway(clock=ManualClock(OPEN)) as running:
        running.fault("read_only", for_s=30)
        running.advance(29)
        assert running.call(running.gateway.faults.armed)
        running.advance(2)

        assert not running.call(running.gateway.faults.armed)
