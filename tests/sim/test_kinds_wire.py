"""Every kind of series over the socket, by kind of instrument; and that all of them agree."""

from datetime import UTC, datetime, timedelta

import ib_async
import pytest

from ibkit.sim import actions
from ibkit.sim.clock import ManualClock
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.universe import Universe

NOW = datetime(2026, 11, 18, 18, 7, 23, tzinfo=UTC)
APPLE = ib_async.Stock("AAPL", "SMART", "USD", conId=265598)
PRICES = ["TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK"]
VOLATILITY = ["HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY"]
KINDS = {
    "STK": (("AAPL", "SMART"), [*PRICES, "ADJUSTED_LAST", *VOLATILITY, "FEE_RATE"]),
    "IND": (("SPX", "CBOE"), ["TRADES", *VOLATILITY]),
    "CASH": (("EUR", "IDEALPRO"), ["MIDPOINT", "BID", "ASK", "BID_ASK"]),
    "CRYPTO": (("BTC", "PAXOS"), ["AGGTRADES", "MIDPOINT", "BID", "ASK", "BID_ASK"]),
    "CONTFUT": (("ES", "CME"), PRICES),
    "BOND": (
        ("AAPL", "SMART"),
        [*PRICES, "YIELD_BID", "YIELD_ASK", "YIELD_BID_ASK", "YIELD_LAST"],
    ),
    "CFD": (("AAPL", "SMART"), ["MIDPOINT", "BID", "ASK", "BID_ASK"]),
}
REFUSED = [
    ("IND", "MIDPOINT"),
    ("IND", "BID_ASK"),
    ("IND", "FEE_RATE"),
    ("CASH", "TRADES"),
    ("CASH", "ADJUSTED_LAST"),
    ("CASH", "HISTORICAL_VOLATILITY"),
    ("CRYPTO", "FEE_RATE"),
    ("STK", "AGGTRADES"),
    ("STK", "YIELD_BID"),
    ("CFD", "TRADES"),
    ("CFD", "ADJUSTED_LAST"),
    ("BOND", "FEE_RATE"),
    ("CONTFUT", "OPTION_IMPLIED_VOLATILITY"),
]


@pytest.fixture(scope="module")
def gateway():
    with run_gateway(clock=ManualClock(NOW.timestamp())) as running:
        yield running


@pytest.fixture
def ib(connect_ib):
    client = connect_ib()
    client.RaiseRequestErrors = True
    return client


def contract(kind):
    (symbol, exchange), _ = KINDS[kind]
    return ib_async.Contract(symbol=symbol, secType=kind, exchange=exchange, currency="USD")


def ask(ib, what, about=APPLE, **changes):
    values = {
        "endDateTime": "",
        "durationStr": "1 D",
        "barSizeSetting": "5 mins",
        "whatToShow": what,
        "useRTH": True,
        "formatDate": 2,
        **changes,
    }
    return ib.reqHistoricalData(about, **values)


@pytest.mark.parametrize(
    ("kind", "what"), [(kind, what) for kind in KINDS for what in KINDS[kind][1]]
)
def test_each_kind_of_instrument_has_its_kinds_of_series(ib, kind, what):
    bars = ask(ib, what, contract(kind))

    assert bars
    assert all(bar.low <= min(bar.open, bar.close) for bar in bars if what != "BID_ASK")
    assert all(0 < bar.low <= bar.high for bar in bars)
    traded = what in {"TRADES", "ADJUSTED_LAST", "AGGTRADES"}
    assert all((bar.volume >= 0) is traded for bar in bars)
    assert ib.reqHeadTimeStamp(contract(kind), what, useRTH=True, formatDate=2).year < 2026


@pytest.mark.parametrize(("kind", "what"), REFUSED)
def test_other_series_are_refused_with_the_words_of_the_historical_service(ib, kind, what):
    with pytest.raises(ib_async.RequestError) as refused:
        ask(ib, what, contract(kind))

    assert refused.value.code == 162
    assert "No historical market data for" in refused.value.message
    with pytest.raises(ib_async.RequestError):
        ib.reqHeadTimeStamp(contract(kind), what, useRTH=True, formatDate=2)


@pytest.mark.parametrize("what", ["TRADES", "ADJUSTED_LAST"])
def test_trades_of_a_coin_are_refused_with_the_word_that_it_goes_by(ib, what):
    with pytest.raises(ib_async.RequestError) as refused:
        ask(ib, what, contract("CRYPTO"))

    assert refused.value.code == 10299
    assert "is AGGTRADES" in refused.value.message
    with pytest.raises(ib_async.RequestError):
        ib.reqHeadTimeStamp(contract("CRYPTO"), what, useRTH=True, formatDate=2)


def test_a_coin_has_a_histogram_of_its_trades(ib):
    found = ib.reqHistogramData(contract("CRYPTO"), useRTH=True, period="1 day")

    assert sum(item.count for item in found) > 0


def test_adjusted_bars_differ_from_trades_by_the_dividends_since(ib, gateway):
    apple = Universe.load().by_con_id(265598)
    first = NOW.date() - timedelta(days=365)
    paid = actions.actions(gateway.gateway.seed, apple, first, NOW.date())
    long = {"durationStr": "1 Y", "barSizeSetting": "1 day"}

    trades, adjusted = (ask(ib, what, **long) for what in ("TRADES", "ADJUSTED_LAST"))

    steps = {round(b.close / a.close, 3) for a, b in zip(trades, adjusted, strict=True)}
    assert adjusted[-1] == trades[-1]
    assert adjusted[0].close < trades[0].close
    assert len(paid) == 4
    assert len(steps) >= len(paid)


def test_single_trades_give_the_bar_of_their_second(ib):
    begin = NOW.replace(minute=0, second=0)
    ticks = ib.reqHistoricalTicks(APPLE, begin, "", 300, "TRADES", useRth=True)
    bars = ask(
        ib,
        "TRADES",
        endDateTime=begin + timedelta(minutes=2),
        durationStr="120 S",
        barSizeSetting="1 secs",
    )

    checked = 0
    for bar in bars:
        inside = [t for t in ticks if t.time == bar.date and not t.tickAttribLast.unreported]
        if inside:
            prices = [tick.price for tick in inside]
            assert (prices[0], prices[-1]) == (bar.open, bar.close)
            assert (max(prices), min(prices)) == (bar.high, bar.low)
            assert sum(tick.size for tick in inside) == bar.volume
            checked += 1
    assert checked > 5


def test_single_quotes_are_those_of_the_bars_of_their_second(ib):
    begin = NOW.replace(minute=0, second=0)
    ticks = ib.reqHistoricalTicks(APPLE, begin, "", 50, "BID_ASK", useRth=True)
    end = begin + timedelta(seconds=120)
    bid, ask_ = (
        {
            bar.date: bar.close
            for bar in ask(ib, what, endDateTime=end, durationStr="120 S", barSizeSetting="1 secs")
        }
        for what in ("BID", "ASK")
    )

    known = [tick for tick in ticks if tick.time in bid]
    assert len(known) > 20
    assert all((t.priceBid, t.priceAsk) == (bid[t.time], ask_[t.time]) for t in known)


def test_the_histogram_holds_the_volume_of_the_bars(ib):
    rows = ib.reqHistogramData(APPLE, useRTH=True, period="1 day")
    minutes = ask(ib, "TRADES", barSizeSetting="1 min")

    assert sum(row.count for row in rows) == sum(bar.volume for bar in minutes)
    assert min(row.price for row in rows) >= min(bar.low for bar in minutes)
    assert max(row.price for row in rows) <= max(bar.high for bar in minutes)


def test_sessions_are_those_of_the_daily_bars(ib):
    schedule = ib.reqHistoricalSchedule(APPLE, 10, NOW)
    days = ask(ib, "TRADES", durationStr="10 D", barSizeSetting="1 day")

    assert [one.refDate for one in schedule.sessions] == [f"{x.date:%Y%m%d}" for x in days]


def test_the_tick_of_the_dividends_is_that_of_the_prices(ib, wait):
    ticker = ib.reqMktData(APPLE, "456")
    wait(ib, lambda: ticker.dividends is not None)

    apple = Universe.load().by_con_id(265598)
    _, _, day, amount = actions.dividend_text(1, apple, NOW.date()).split(",")
    assert f"{ticker.dividends.nextDate:%Y%m%d}" == day
    assert ticker.dividends.nextAmount == float(amount)
