"""Contract details and their relatives, as both kinds of client ask for them."""

from datetime import UTC, datetime

import ib_async
import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.testing import gateway as run_gateway


@pytest.mark.parametrize(
    "contract",
    [
        ib_async.Stock("AAPL", "SMART", "USD"),
        ib_async.Stock("VOD", "LSE", "GBP"),
        ib_async.Forex("EURUSD"),
        ib_async.Index("SPX", "CBOE", "USD"),
        ib_async.Crypto("BTC", "PAXOS", "USD"),
        ib_async.Contract(conId=265598, exchange="SMART"),
    ],
    ids=lambda contract: f"{contract.secType} {contract.symbol}",
)
def test_one_match_is_qualified(ib, contract):
    [qualified] = ib.qualifyContracts(contract)

    assert qualified.conId > 0
    assert qualified.localSymbol


def test_a_future_without_a_month_is_a_chain(ib):
    chain = ib.reqContractDetails(ib_async.Future("ES", exchange="CME"))

    months = [details.contractMonth for details in chain]
    assert len(months) >= 4
    assert months == sorted(months)
    assert {details.contract.multiplier for details in chain} == {"50"}
    assert all(details.underSymbol == "ES" for details in chain)


def test_details_carry_hours_rules_and_ids(ib):
    [details] = ib.reqContractDetails(ib_async.Stock("AAPL", "SMART", "USD"))

    exchanges, rules = details.validExchanges.split(","), details.marketRuleIds.split(",")
    assert len(exchanges) == len(rules)
    assert "SMART" in exchanges
    assert details.longName == "APPLE INC"
    assert details.tradingHours.count(";") == details.liquidHours.count(";")
    assert "0930-" in details.liquidHours
    assert details.liquidSessions()


def test_no_match_is_error_200_and_no_end(wire):
    wire.send(
        9, 8, 5, 0, "NOSUCH", "STK", "", "0.0", "", "", "SMART", "", "USD", "", "", 0, "", "", ""
    )
    wire.send(49, 1)
    frames = wire.until(49)

    assert [frame[0] for frame in frames] == ["4", "49"]
    assert frames[0][2:4] == ["5", "200"]


def test_a_market_rule_is_a_list_of_steps(ib):
    [step] = ib.reqMarketRule(26)

    assert (step.lowEdge, step.increment) == (0, 0.01)


def test_symbols_are_found_by_their_beginning(ib):
    found = ib.reqMatchingSymbols("AAP")

    assert "AAPL" in [match.contract.symbol for match in found]
    assert ib.reqMatchingSymbols("NOTHING LIKE IT") == []


def test_an_instrument_without_options_has_an_empty_chain(ib):
    assert ib.reqSecDefOptParams("EUR", "", "CASH", 12087792) == []


@pytest.mark.parametrize(
    ("symbol", "exchange", "currency", "hours"),
    [
        ("7203", "TSEJ", "JPY", "20261124:0900-20261124:1130,20261124:1230-20261124:1530"),
        ("700", "SEHK", "HKD", "20261124:0930-20261124:1200,20261124:1300-20261124:1600"),
    ],
)
def test_a_lunch_break_is_told(connect_to, symbol, exchange, currency, hours):
    monday = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    with run_gateway(clock=ManualClock(monday)) as running:
        ib = ib_async.IB()
        ib.connect(running.host, running.port, 1)
        [details] = ib.reqContractDetails(ib_async.Stock(symbol, exchange, currency))
        ib.disconnect()

    assert hours in details.tradingHours.split(";")
    assert hours in details.liquidHours.split(";")


def test_the_steps_of_a_rule_grow_with_the_price(ib):
    [details] = ib.reqContractDetails(ib_async.Stock("VOD", "LSE", "GBP"))
    rule = ib.reqMarketRule(int(details.marketRuleIds.split(",")[0]))

    assert (details.priceMagnifier, details.minTick) == (100, 0.000001)
    assert [(one.lowEdge, one.increment) for one in rule if one.lowEdge in (50, 100)] == [
        (50, 0.01),
        (100, 0.02),
    ]


def test_a_search_says_what_else_trades_on_what_it_finds(ib):
    found = {one.contract.symbol: one for one in ib.reqMatchingSymbols("AAPL")}
    index = next(one for one in ib.reqMatchingSymbols("VIX") if one.contract.secType == "IND")

    assert found["AAPL"].derivativeSecTypes == ["BAG", "CFD", "OPT"]
    assert index.derivativeSecTypes == ["BAG", "FUT"]
