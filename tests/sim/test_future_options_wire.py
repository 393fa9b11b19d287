"""Options on futures: chains, details, quotes, bars, and exercise into the future."""

import math
from datetime import UTC, datetime

import ib_async
import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.testing import gateway as run_gateway

NOW = datetime(2026, 11, 18, 16, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def gateway():
    with run_gateway(clock=ManualClock(NOW)) as running:
        yield running


@pytest.fixture
def ib(connect_ib):
    client = connect_ib()
    client.RaiseRequestErrors = True
    return client


def future(ib, month="202612"):
    (found,) = ib.qualifyContracts(ib_async.Future("ES", month, "CME"))
    return found


def pair(ib, expiry="20261130"):
    """Return the price of the future, a strike near it, and the call and the put there."""
    price = ib.reqTickers(future(ib))[0].last
    strike = round(price / 25) * 25
    described = [ib_async.FuturesOption("ES", expiry, strike, right, "CME") for right in "CP"]
    return price, strike, ib.qualifyContracts(*described)


def test_each_month_of_a_future_has_the_options_that_end_before_it(ib):
    chains = {
        month: {
            (one.tradingClass, one.multiplier): one.expirations
            for one in ib.reqSecDefOptParams("ES", "CME", "FUT", future(ib, month).conId)
        }
        for month in ("202612", "202703")
    }

    assert chains["202612"] == {("ES", "50"): ["20261218"], ("EW", "50"): ["20261130"]}
    assert chains["202703"] == {
        ("ES", "50"): ["20270319"],
        ("EW", "50"): ["20261231", "20270129", "20270226"],
    }


def test_an_option_on_a_future_says_what_it_is_on(ib):
    _, _, (call, _) = pair(ib)
    (details,) = ib.reqContractDetails(ib_async.Contract(conId=call.conId))
    (named,) = ib.reqContractDetails(
        ib_async.Contract(secType="FOP", localSymbol=call.localSymbol, exchange="CME")
    )

    assert named.contract == details.contract
    assert (details.contract.secType, details.contract.tradingClass) == ("FOP", "EW")
    assert details.contract.localSymbol == f"EWX6 C{call.strike:g}"
    assert (details.underConId, details.underSecType) == (future(ib).conId, "FUT")
    assert details.timeZoneId == "US/Central"


def test_a_call_and_a_put_differ_by_the_future_and_the_stream_says_its_greeks(ib):
    price, strike, options = pair(ib)
    call, put = ib.reqTickers(*options)

    years = 12.2 / 365
    forward = (price - strike) * math.exp(-0.04 * years)
    assert (call.bid + call.ask - put.bid - put.ask) / 2 == pytest.approx(forward, abs=0.75)
    assert call.ask % 0.25 == put.bid % 0.25 == 0  # from ten points on
    assert 0.4 < call.modelGreeks.delta < 0.6
    assert call.modelGreeks.undPrice == pytest.approx(price, abs=1)


def test_bars_of_an_option_on_a_future_cover_the_night(ib):
    _, _, (call, _) = pair(ib)
    day, night = (
        ib.reqHistoricalData(call, "", "1 D", "30 mins", "TRADES", useRTH=rth) for rth in (1, 0)
    )

    assert day[0].date.hour == 8
    assert night[0].date.hour == 17
    assert day[-1].close == night[-1].close


def test_exercise_brings_the_future_at_the_strike(ib, wait):
    _, _, (call, _) = pair(ib)
    trade = ib.placeOrder(call, ib_async.MarketOrder("BUY", 2))
    wait(ib, trade.isDone)
    ib.exerciseOptions(call, 1, 1, "DUSIM0001", 1)
    wait(ib, lambda: len(ib.positions()) == 2)

    held = {one.contract.secType: one for one in ib.positions()}
    assert trade.orderStatus.status == "Filled"
    assert held["FOP"].position == held["FUT"].position == 1
    assert held["FUT"].contract.conId == future(ib).conId
    assert held["FUT"].avgCost == call.strike * 50
