"""What ib_async goes through when messages are lost, repeated, late or spoilt on their way."""

import ib_async
import pytest

from ibkit.sim.wire import Deframer, WireError, unpack

AAPL = ib_async.Contract(conId=265598, exchange="SMART", secType="STK", symbol="AAPL")
ASK_S = 0.3


def bars(ib, **more):
    return ib.reqHistoricalData(AAPL, "", "1 D", "1 min", "TRADES", useRTH=True, **more)


def test_a_missing_end_marker_makes_a_request_time_out(gateway, ib):
    gateway.fault("withhold", message="contractDetailsEnd", times=1)
    ib.RequestTimeout = ASK_S

    with pytest.raises(TimeoutError):
        ib.reqContractDetails(AAPL)
    assert ib.reqContractDetails(AAPL)


def test_a_missing_end_marker_makes_connecting_slow_not_impossible(gateway, connect_ib):
    gateway.fault("withhold", message="execDetailsEnd")

    assert connect_ib(7, timeout=ASK_S).isConnected()


def test_duplicate_states_change_nothing_for_ib_async(gateway, ib, wait):
    gateway.fault("duplicate", message="orderStatus", copies=2)
    gateway.fault("duplicate", message="openOrder")
    trade = ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 5))
    wait(ib, trade.isDone)

    assert trade.filled() == 5
    assert len(trade.fills) == 1


def test_a_duplicate_execution_is_counted_once_by_ib_async(gateway, ib, wait):
    gateway.fault("duplicate", message="execDetails")
    trade = ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 5))
    wait(ib, trade.isDone)

    assert [fill.execution.shares for fill in trade.fills] == [5]


def test_a_late_message_is_overtaken(gateway, wire):
    gateway.fault("late", message="nextValidId", seconds=0.05, times=1)
    wire.send(8, 1, 1)
    wire.send(49, 1)

    assert [frame[0] for frame in wire.until(9)] == ["49", "9"]


@pytest.mark.parametrize("how", ["replace", "drop", "add"])
def test_a_spoilt_field_loses_that_message_and_no_more(gateway, ib, how, caplog):
    gateway.fault("corrupt_field", message="position", how=how, field=4, times=1)
    ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 5))
    bars(ib)  # the fill is through by then
    gateway.fault("corrupt_field", message="historicalData", how=how, field=5, times=1)
    bars(ib, timeout=ASK_S)

    assert len(bars(ib)) >= 1
    assert ib.isConnected()


def test_spoilt_fields_are_the_same_with_the_same_seed(connect_to):
    from ibkit.sim.testing import gateway as run_gateway

    def spoilt():
        with run_gateway(seed=5) as running:
            wire = connect_to(running).start(9)
            wire.until(4, 2, -1, 2158)
            running.fault("corrupt_field", message="familyCodes", share=0.5)
            for _ in range(10):
                wire.send(80)
            return [wire.receive() for _ in range(10)]

    first = spoilt()

    assert first == spoilt()
    assert 0 < sum("¿corrupt?" in frame for frame in first) < 10


# --- bytes --------------------------------------------------------------------------------------


def test_frames_in_single_bytes_are_understood_by_both_clients(gateway, connect_ib, official):
    gateway.fault("split", size=1)
    ib = connect_ib(7)
    official.reqCurrentTime()

    assert len(bars(ib, timeout=30)) >= 1
    assert official.expect("currentTime")


def test_frames_that_come_all_at_once_are_understood(gateway, connect_ib, official):
    gateway.fault("coalesce", seconds=0.05)
    ib = connect_ib(7)
    official.reqCurrentTime()

    assert bars(ib)
    assert official.expect("currentTime")


def test_bytes_are_spoilt_by_chance_within_whole_frames(gateway, wire):
    fault = gateway.fault("corrupt_bytes", share_of_bytes=0.2)
    for _ in range(20):
        wire.send(80)
    answers = [wire.receive() for _ in range(20)]

    assert len(answers) == 20
    assert any(frame != ["78", "1", "*", ""] for frame in answers)
    assert fault.hits > 0


def test_ib_async_survives_spoilt_bytes_and_asks_again(gateway, ib):
    fault = gateway.fault("corrupt_bytes", share_of_bytes=0.01)
    for _ in range(2):
        bars(ib, timeout=ASK_S)
    gateway.mend(fault)

    assert bars(ib)


def test_after_a_spoilt_length_a_connection_never_comes_to_its_senses(gateway, wire):
    gateway.fault("corrupt_bytes", share_of_bytes=1.0, lengths=True, times=1)
    wire.send(49, 1)
    wire.send(49, 1)
    wire.socket.settimeout(ASK_S)

    with pytest.raises((TimeoutError, WireError)):
        wire.until("nothing")


def test_a_socket_can_end_in_the_middle_of_a_frame(gateway, wire):
    gateway.fault("cut", times=1)
    wire.send(49, 1)
    frames, got = Deframer(), b""
    while data := wire.socket.recv(4096):
        got += data
    frames.feed(got)

    assert len(got) > 4
    assert frames.next() is None
    assert unpack(got[4:])[0] == "49"


def test_ib_async_takes_a_cut_frame_for_the_end_of_the_connection(gateway, ib):
    gateway.fault("cut", times=1)

    with pytest.raises(ConnectionError):
        ib.reqCurrentTime()
    assert not ib.isConnected()


def test_a_half_open_socket_neither_speaks_nor_ends(gateway, ib):
    fault = gateway.fault("half_open", client=1)

    assert not bars(ib, timeout=ASK_S)
    assert ib.isConnected()
    gateway.mend(fault)
    assert bars(ib)


def test_the_id_of_a_half_open_client_is_taken(gateway, ib, connect_to):
    gateway.fault("half_open", client=1)
    wire = connect_to(gateway)
    wire.handshake()
    wire.send(71, 2, 1, "")

    assert wire.receive()[:4] == ["4", "2", "-1", "326"]
