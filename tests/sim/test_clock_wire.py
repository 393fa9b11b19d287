"""The gateway's time: what a client sees of a day that a test walks through."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import ib_async
import pytest

from ibkit.sim.clock import ManualClock, RealClock
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.wire import REQUESTS

NEW_YORK = ZoneInfo("America/New_York")
OPEN = datetime(2026, 9, 28, 9, 30, tzinfo=NEW_YORK).timestamp()
CLOSE = datetime(2026, 9, 28, 16, 0, tzinfo=NEW_YORK).timestamp()
APPLE = {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"}
AAPL = ib_async.Contract(conId=265598, exchange="SMART", secType="STK", symbol="AAPL")


def line(req_id=5):
    return REQUESTS[1].fields({"req_id": req_id, "contract": APPLE})


def order(order_id, action, price, quantity=100, **more):
    values = {"order_id": order_id, "contract": APPLE, "action": action, "transmit": True}
    values |= {"total_quantity": quantity, "order_type": "LMT", "lmt_price": price, "tif": "DAY"}
    return REQUESTS[3].fields({**values, **more})


def drain(wire):
    """Return what has been sent by now: everything up to the answer of a question."""
    wire.send(49, 1)
    return wire.until(49)[:-1]


def walk(connect_to, seed, step, *, seconds=1800):
    """Return everything a client is told in half an hour with two orders."""
    with run_gateway(clock=ManualClock(OPEN + 60), seed=seed, always_open=False) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        wire.send(*line())
        wire.send(*order(1, "BUY", 1))
        wire.send(*order(2, "BUY", None, order_type="MKT"))
        told = wire.until(3, 2, "Filled")
        running.advance(seconds, step=step)
        return told + drain(wire)


def test_the_same_seed_and_the_same_steps_give_the_same_frames(connect_to):
    first = walk(connect_to, 7, 1.0)

    assert len(first) > 500
    assert walk(connect_to, 7, 1.0) == first
    assert walk(connect_to, 8, 1.0) != first


def test_a_trading_day_takes_seconds(connect_to):
    with run_gateway(clock=ManualClock(OPEN), always_open=False) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        wire.send(*line())
        wire.until(2, 6, 5)
        running.advance(CLOSE - OPEN, step=5.0)
        prices = [frame for frame in drain(wire) if frame[:1] == ["1"]]

    assert len(prices) > 1000


def test_a_day_order_ends_with_its_session_and_a_gtc_order_does_not(connect_to):
    with run_gateway(clock=ManualClock(OPEN + 60), always_open=False) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        wire.send(*order(1, "BUY", 1))
        wire.send(*order(2, "BUY", 1, tif="GTC"))
        wire.until(3, 2)
        running.advance(CLOSE - OPEN, step=60)
        ended = [frame for frame in drain(wire) if frame[:3] == ["3", "1", "Cancelled"]]
        wire.send(5, 1)
        left = [frame[1] for frame in wire.until(53) if frame[0] == "5"]

    assert ended
    assert left == ["2"]


def test_orders_are_matched_second_by_second_in_one_jump(connect_to):
    """However far the clock jumps, an order fills at the first price that allows it."""
    fills = []
    for step in (None, 1.0):
        with run_gateway(clock=ManualClock(OPEN + 60), always_open=False) as running:
            wire = connect_to(running).start(9)
            wire.until(4, 2, -1, 2158)
            gateway = running.gateway
            apple = gateway.universe.by_con_id(265598)
            bid = running.call(gateway.market.quote, apple, OPEN + 60).bid
            wire.send(*order(1, "BUY", round(bid - 0.1, 2), quantity=1))
            wire.until(3, 1)
            running.advance(600, step=step)
            fills.append([frame[13:20] for frame in drain(wire) if frame[0] == "11"])

    assert fills[0]
    assert [fill[:1] for fill in fills[0]] == [fill[:1] for fill in fills[1]]
    assert fills[0] == fills[1]


def test_a_gateway_begins_at_any_instant(connect_to):
    start = datetime(2020, 3, 16, 15, 0, tzinfo=UTC).timestamp()
    with run_gateway(clock=RealClock(start=start)) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        wire.send(49, 1)

        assert 0 <= int(wire.until(49)[-1][2]) - start < 60


def test_a_fast_clock_makes_a_minute_of_a_moment(connect_to):
    with run_gateway(clock=RealClock(speed=600, start=OPEN), always_open=False) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        wire.send(*line())
        times = [int(wire.until(46, 6, 5, 45)[-1][4]) for _ in range(20)]

    assert times == sorted(times)
    assert times[-1] - times[0] > 60


def minutes(ib):
    return ib.reqHistoricalData(AAPL, "", "1 D", "1 min", "TRADES", useRTH=True, formatDate=2)


def test_ib_async_sees_bars_that_follow_the_clock():
    with run_gateway(clock=ManualClock(OPEN + 1800), always_open=False) as running:
        ib = ib_async.IB()
        ib.connect(running.host, running.port, 1)
        try:
            early = ib.reqHistoricalData(
                AAPL, "", "1 D", "1 min", "TRADES", useRTH=True, formatDate=2
            )
            running.advance(600)
            late = ib.reqHistoricalData(
                AAPL, "", "1 D", "1 min", "TRADES", useRTH=True, formatDate=2
            )
        finally:
            ib.disconnect()

    assert late[: len(early) - 1] == early[:-1]
    assert late[-1].date.timestamp() - early[-1].date.timestamp() == 600


@pytest.mark.parametrize("bad", [{"speed": 0}, {"speed": -1}])
def test_a_clock_that_stands_or_goes_back_is_refused(bad):
    with pytest.raises(ValueError, match="positive"):
        RealClock(**bad)


def test_a_manual_clock_never_goes_back():
    async def scenario():
        await ManualClock(0.0).advance(-1)

    with pytest.raises(ValueError, match="forward"):
        asyncio.run(scenario())
