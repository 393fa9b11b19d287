"""Options, bonds and CFDs on the wire, as ib_async and raw frames ask for them."""

from datetime import UTC, datetime

import ib_async
import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.testing import gateway as run_gateway

NOON = datetime(2026, 11, 20, 17, 0, 30, tzinfo=UTC).timestamp()


@pytest.fixture
def gateway():
    with run_gateway(clock=ManualClock(NOON)) as running:
        yield running


def option(symbol="SPY", expiry="20261218", strike=575.0, right="C", **more):
    return ib_async.Option(symbol, expiry, strike, right, "SMART", **more)


def test_a_named_option_is_qualified(ib):
    (found,) = ib.qualifyContracts(option())
    (details,) = ib.reqContractDetails(found)

    assert found.localSymbol == "SPY   261218C00575000"
    assert (details.underSymbol, details.underSecType, details.underConId) == (
        *("SPY", "STK"),
        756733,
    )
    assert details.contractMonth == "202612"
    assert "0930" in details.liquidHours


def test_any_subset_of_a_description_is_a_list(ib):
    one_day = ib.reqContractDetails(option("AAPL", strike=0.0, right=""))
    both = ib.reqContractDetails(option(right=""))
    month = ib.reqContractDetails(option("AAPL", "202612", 210.0))

    assert len(one_day) > 100
    assert {one.contract.right for one in one_day} == {"C", "P"}
    assert len(both) == 2
    assert {one.contract.lastTradeDateOrContractMonth[:6] for one in month} == {"202612"}
    assert len(month) >= 3


def test_a_chain_has_a_row_for_each_exchange_and_class(ib):
    spy = ib.reqSecDefOptParams("SPY", "", "STK", 756733)
    spx = ib.reqSecDefOptParams("SPX", "", "IND", 416904)

    assert {"SMART", "CBOE", "AMEX"} <= {row.exchange for row in spy}
    assert {(row.exchange, row.tradingClass) for row in spx} == {
        (exchange, name) for exchange in ("SMART", "CBOE") for name in ("SPX", "SPXW")
    }
    (weekly,) = [row for row in spx if (row.exchange, row.tradingClass) == ("SMART", "SPXW")]
    assert list(weekly.expirations) == sorted(weekly.expirations)
    assert "20261218" in weekly.expirations
    assert 6800.0 in weekly.strikes
    assert "20261217" in next(row for row in spx if row.tradingClass == "SPX").expirations


def test_every_expiry_of_a_chain_has_contracts(ib):
    row = next(r for r in ib.reqSecDefOptParams("AAPL", "", "STK", 265598) if r.exchange == "SMART")
    found = {
        one.contract.lastTradeDateOrContractMonth
        for one in ib.reqContractDetails(option("AAPL", "", 210.0, "P"))
    }

    assert found <= set(row.expirations)
    assert len(found) > 10


def test_a_snapshot_of_an_option_has_both_sides_and_all_computations(ib):
    (found,) = ib.qualifyContracts(option())
    (ticker,) = ib.reqTickers(found)

    assert 0 < ticker.bid < ticker.ask
    for greeks in (ticker.bidGreeks, ticker.askGreeks, ticker.lastGreeks, ticker.modelGreeks):
        assert 0 < greeks.delta < 1
        assert 0.05 < greeks.impliedVol < 0.6
    assert ticker.bidGreeks.impliedVol < ticker.askGreeks.impliedVol


def test_history_of_an_option_agrees_between_sizes(ib):
    (found,) = ib.qualifyContracts(option("SPX", strike=5800.0, tradingClass="SPXW"))
    ask = {"endDateTime": "", "durationStr": "3 D", "whatToShow": "MIDPOINT", "useRTH": True}
    days = ib.reqHistoricalData(found, barSizeSetting="1 day", **ask)
    hours = ib.reqHistoricalData(found, barSizeSetting="1 hour", **ask)
    first = [bar for bar in hours if bar.date.date() == days[0].date]

    assert (days[0].open, days[0].close) == (first[0].open, first[-1].close)
    assert days[0].high == max(bar.high for bar in first)


def test_price_and_volatility_belong_together(ib):
    (found,) = ib.qualifyContracts(option())
    priced = ib.calculateOptionPrice(found, 0.2, 575.0)
    back = ib.calculateImpliedVolatility(found, priced.optPrice, 575.0)

    assert back.impliedVol == pytest.approx(0.2, abs=1e-4)


def test_a_bond_answers_with_a_message_of_its_own(wire):
    wire.send(9, 8, 5, 127128131, *[""] * 3, "0.0", *[""] * 2, "SMART", *[""] * 4, 0, *[""] * 3)
    frame = wire.until(52)[-2]

    assert frame[:6] == ["18", "5", "", "BOND", "037833AL4", "3.85"]
    assert frame[14] == "AAPL 3.85 05/04/43"


def test_a_bond_is_known_to_the_client(ib):
    # ib_async 2.1 reads coupons as whole numbers; it drops a bond that has another
    found = ib.reqContractDetails(ib_async.Contract(secType="BOND", symbol="US-T", currency="USD"))

    assert [one.coupon for one in found] == [4.0]


def test_a_cfd_names_its_underlying_and_sends_its_data_requests_there(wire):
    cfd = (0, "AAPL", "CFD", "", "0.0", "", "", "SMART", "", "USD", "", "")
    wire.send(9, 8, 5, *cfd, 0, "", "", "")
    details = wire.until(10)[-1]
    wire.send(1, 11, 7, *cfd, 0, "", 0, 0, "")

    assert "265598" in details
    assert wire.until(91)[-1] == ["91", "7", "265598", "SMART"]
