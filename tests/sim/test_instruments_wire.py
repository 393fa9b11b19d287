"""Contract details and their relatives, as both kinds of client ask for them."""

import ib_async
import pytest


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
