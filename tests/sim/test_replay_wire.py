"""A recorded day, traded again: bars, ticks and quotes of a store or a folder over the socket."""

from datetime import UTC, datetime

import ib_async
import numpy as np
import pandas as pd
import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.replay import ReplayMarket
from ibkit.sim.testing import gateway as run_gateway
from ibkit.store import Store

AAPL = ib_async.Contract(conId=265598, exchange="SMART", secType="STK", symbol="AAPL")
OPEN = datetime(2026, 9, 28, 13, 30, tzinfo=UTC)
MINUTES = 390


def recorded_day():
    """A day of minutes that falls from 200 to 190 and comes back to 205."""
    path = np.concatenate([np.linspace(200, 190, 200), np.linspace(190, 205, MINUTES - 200 + 1)])
    path = np.round(path, 2)
    frame = pd.DataFrame({"ts": pd.date_range(OPEN, periods=MINUTES, freq="1min")})
    frame["open"], frame["close"] = path[:-1], path[1:]
    frame["high"] = frame[["open", "close"]].max(axis=1) + 0.02
    frame["low"] = frame[["open", "close"]].min(axis=1) - 0.02
    return frame.assign(volume=1000.0)


@pytest.fixture
def day():
    return recorded_day()


@pytest.fixture
def replay(tmp_path, day):
    day.assign(symbol="AAPL").to_csv(tmp_path / "day.csv", index=False)
    market = ReplayMarket(tmp_path)
    clock = ManualClock(market.begins)
    with run_gateway(market=market, universe=market.universe, clock=clock) as running:
        yield running


@pytest.fixture
def ib(replay):
    ib = ib_async.IB()
    ib.connect(replay.host, replay.port, 1)
    yield ib
    ib.disconnect()


def test_the_clock_can_begin_where_the_recording_does(replay):
    assert replay.gateway.clock.now() == OPEN.timestamp()


def test_minutes_come_back_value_by_value_as_far_as_the_day_has_gone(replay, ib, day):
    replay.advance(3600)
    bars = ib.reqHistoricalData(AAPL, "", "1 D", "1 min", "TRADES", useRTH=True, formatDate=2)

    for name in ("open", "high", "low", "close", "volume"):
        assert [getattr(bar, name) for bar in bars[:60]] == list(day[name][:60])
    assert bars[0].date == OPEN


def test_quotes_follow_the_recorded_day(replay, ib, day, wait):
    ticker = ib.reqMktData(AAPL)
    wait(ib, lambda: ticker.last > 0)
    for minute in (50, 150, 250, 350):
        at = OPEN.timestamp() + 60 * minute - replay.gateway.clock.now()
        replay.advance(at)
        wait(ib, lambda m=minute: day.low[m - 1] <= ticker.last <= day.high[m - 1])
        assert ticker.bid < ticker.last < ticker.ask


def test_a_resting_order_fills_when_the_recorded_price_gets_there(replay, ib, day, wait):
    buy = ib.placeOrder(AAPL, ib_async.LimitOrder("BUY", 10, 195))
    sell = ib.placeOrder(AAPL, ib_async.LimitOrder("SELL", 10, 202))
    wait(ib, lambda: sell.orderStatus.status == "Submitted")
    replay.advance(60 * MINUTES, step=30)
    wait(ib, lambda: buy.isDone() and sell.isDone())

    bought, sold = buy.fills[0].execution, sell.fills[0].execution
    assert (bought.avgPrice, sold.avgPrice) == (195, 202)
    reached = day.ts[day.low <= 195].iloc[0]
    assert abs(bought.time - reached) < pd.Timedelta("2min")
    assert sold.time > bought.time


def test_a_market_order_gets_the_recorded_price_of_its_moment(replay, ib, day, wait):
    replay.advance(3600)
    trade = ib.placeOrder(AAPL, ib_async.MarketOrder("BUY", 1))
    wait(ib, trade.isDone)

    assert day.low[60] <= trade.orderStatus.avgFillPrice <= day.high[60] + 0.02


# --- ticks --------------------------------------------------------------------------------------


def recorded_ticks():
    ts = pd.to_datetime(OPEN) + pd.to_timedelta([0, 0.4, 1, 5, 5.5, 61], unit="s")
    trades = pd.DataFrame({"ts": ts, "price": [100, 100.5, 100.25, 101, 99, 102], "size": 10.0})
    quotes = pd.DataFrame({"ts": ts[::2], "bid": [99.9, 100.1, 98.9], "ask": [100.6, 100.4, 99.2]})
    return trades.assign(exchange="IEX", conditions=""), quotes.assign(bid_size=3.0, ask_size=7.0)


@pytest.fixture(params=["store", "folder"])
def ticks_root(request, tmp_path):
    trades, quotes = recorded_ticks()
    if request.param == "folder":
        trades.assign(symbol="AAPL").to_parquet(tmp_path / "trades.parquet")
        quotes.assign(symbol="AAPL").to_csv(tmp_path / "quotes.csv", index=False)
        return tmp_path
    store = Store(tmp_path / "root", kind="sim")
    for name, frame in (("trades", trades), ("quotes", quotes)):
        rows = frame.assign(recorder="r1", seq=range(len(frame)), delayed=False)
        store.upsert(name, "AAPL", rows, source="SIM:test")
    return tmp_path / "root"


@pytest.fixture
def ticking(ticks_root):
    market = ReplayMarket(ticks_root)
    clock = ManualClock(OPEN.timestamp() + 120)
    with run_gateway(market=market, universe=market.universe, clock=clock) as running:
        ib = ib_async.IB()
        ib.connect(running.host, running.port, 1)
        yield ib
        ib.disconnect()


def test_recorded_trades_are_the_historical_ticks(ticking):
    found = ticking.reqHistoricalTicks(AAPL, OPEN, "", 100, "TRADES", useRth=False)

    assert [(tick.price, tick.size) for tick in found] == [
        (100, 10), (100.5, 10), (100.25, 10), (101, 10), (99, 10), (102, 10)
    ]  # fmt: skip
    assert found[-1].time == OPEN.replace(minute=31, second=1)


def test_recorded_quotes_are_the_historical_bid_and_ask(ticking):
    found = ticking.reqHistoricalTicks(AAPL, OPEN, "", 100, "BID_ASK", useRth=False)

    assert [(tick.priceBid, tick.priceAsk) for tick in found] == [
        (99.9, 100.6), (100.1, 100.4), (98.9, 99.2)
    ]  # fmt: skip


def test_bars_are_made_of_recorded_trades(ticking):
    bars = ticking.reqHistoricalData(AAPL, "", "1 D", "1 min", "TRADES", useRTH=True, formatDate=2)

    values = [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
    assert values == [(100, 101, 99, 99, 50), (102, 102, 102, 102, 10)]


def test_the_book_is_the_recorded_one(ticking, wait):
    ticker = ticking.reqMktData(AAPL)
    wait(ticking, lambda: ticker.bid > 0)

    assert (ticker.bid, ticker.ask, ticker.bidSize, ticker.askSize) == (98.9, 99.2, 3, 7)
