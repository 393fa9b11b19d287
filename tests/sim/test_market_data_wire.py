"""Live prices: what a subscription gets, in which order, and when it ends."""

import itertools
import math

import ib_async
import pytest

AAPL = (265598, "", "STK", "", "", "", "", "SMART", "", "", "", "")
EURUSD = (0, "EUR", "CASH", "", "", "", "", "IDEALPRO", "", "USD", "", "")
SPX = (0, "SPX", "IND", "", "", "", "", "CBOE", "", "USD", "", "")


def subscribe(wire, req_id, contract=AAPL, generic="", snapshot=0):
    wire.send(1, 11, req_id, *contract, 0, generic, snapshot, 0, "")


def test_the_first_ticks_come_in_the_recorded_order(wire):
    subscribe(wire, 7, snapshot=1)
    frames = wire.until(57, 1, 7)

    kinds = [(frame[0], frame[3]) for frame in frames if frame[0] in {"1", "2", "46"}]
    assert [frame[0] for frame in frames[:2]] == ["58", "81"]
    assert kinds == [
        *(("46", "45"), ("1", "4"), ("2", "5"), ("2", "8")),
        *(("1", "6"), ("1", "7"), ("1", "9"), ("1", "14")),
        *(("1", "1"), ("2", "0"), ("1", "2"), ("2", "3")),
        *(("46", "32"), ("46", "33")),
    ]
    assert frames[1][1:] == ["7", "0.01", "9c0001", "3"]


def test_a_price_tick_is_followed_by_its_size_once_more(wire):
    subscribe(wire, 7)
    pairs = itertools.pairwise(wire.until(46, 6, 7, 33))

    for price, size in pairs:
        if price[:1] == ["1"] and price[3] in {"1", "2", "4"}:
            assert size[0] == "2"
            assert size[4] == price[5]


def test_ticks_keep_coming_until_the_subscription_is_cancelled(wire):
    subscribe(wire, 7)
    wire.until(46, 6, 7, 33)
    wire.until(1, 6, 7)  # a change, unasked
    wire.send(2, 2, 7)
    wire.send(2, 2, 7)
    wire.until(4, 2, 7, 300)
    wire.send(49, 1)

    assert [frame[0] for frame in wire.until(49)] == ["49"]


def test_a_request_id_in_use_is_refused(wire):
    subscribe(wire, 7)
    subscribe(wire, 7)

    assert wire.until(4, 2, 7, 102)


def test_there_are_a_hundred_lines(wire):
    for req_id in range(101):
        subscribe(wire, req_id)

    assert wire.until(4, 2, 100, 101)


def test_a_snapshot_takes_no_generic_ticks(wire):
    subscribe(wire, 7, generic="233", snapshot=1)

    assert wire.until(4, 2, 7, 414)


def test_an_unknown_generic_tick_is_refused_with_those_that_exist(wire):
    subscribe(wire, 7, generic="233,999")

    text = wire.until(4, 2, 7, 321)[-1][4]
    assert "Incorrect generic tick list of 999" in text
    assert "233(RTVolume)" in text


def test_volume_and_mark_price_come_when_asked_for(wire):
    subscribe(wire, 7, generic="233,221,mdoff")
    wire.send(49, 1)
    frames = wire.until(49)

    [volume] = [frame[4] for frame in frames if frame[:4] == ["46", "6", "7", "48"]]
    assert len(volume.split(";")) == 6


@pytest.mark.parametrize(("contract", "missing"), [(EURUSD, {"4", "5", "8"}), (SPX, {"1", "2"})])
def test_what_an_instrument_does_not_have_never_comes(wire, contract, missing):
    subscribe(wire, 7, contract, snapshot=1)
    frames = wire.until(57, 1, 7)

    assert not missing & {frame[3] for frame in frames if frame[0] in {"1", "2"}}


def test_an_unknown_contract_gets_200(wire):
    subscribe(wire, 7, (0, "NOSUCH", *AAPL[2:]))

    assert wire.until(4, 2, 7, 200)


def test_the_kind_of_market_data_is_accepted_silently(wire):
    wire.send(59, 1, 3)
    subscribe(wire, 7, snapshot=1)

    assert wire.until(57)[0] == ["58", "1", "7", "1"]


def test_ib_async_sees_a_moving_ticker(ib, wait):
    [apple] = ib.qualifyContracts(ib_async.Stock("AAPL", "SMART", "USD"))
    ticker = ib.reqMktData(apple)
    wait(ib, lambda: ticker.hasBidAsk() and not math.isnan(ticker.prevBid))

    assert ticker.bid < ticker.ask
    assert ticker.minTick == 0.01
    assert ticker.marketDataType == 1
    ib.cancelMktData(apple)


def test_ib_async_gets_a_snapshot(ib):
    [ticker] = ib.reqTickers(ib_async.Stock("MSFT", "SMART", "USD", conId=272093))

    assert ticker.bid < ticker.ask


def test_two_clients_see_the_same_prices(gateway, connect_ib):
    now = gateway.call(gateway.gateway.clock.now)
    gateway.call(setattr, gateway.gateway.clock, "now", lambda: now)

    seen = [
        connect_ib(number).reqTickers(ib_async.Stock("AAPL", "SMART", "USD", conId=265598))[0]
        for number in (1, 2)
    ]

    assert seen[0].bid == seen[1].bid
