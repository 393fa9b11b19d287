"""What IB's requests cost, and where a gateway's ledger lies."""

from pathlib import Path

import pytest
from ib_async import IB, Contract, ScannerSubscription

from ibkit.connection.asks import PRICES, ask_for
from ibkit.connection.books import ledger_path
from ibkit.connection.pacing import LIMITS, limits_for
from ibkit.settings import Pacing

AAPL = Contract(conId=265598, symbol="AAPL", exchange="SMART")
RULES = {limit.what for limit in LIMITS}


def history(size="5 secs", what="TRADES", end="", contract=AAPL, name="reqHistoricalDataAsync"):
    return ask_for(name, contract, end, "1800 S", size, what, useRTH=True, timeout=0).charges


@pytest.mark.parametrize("size", ["1 secs", "5 secs", "10 secs", "15 secs", "30 secs"])
def test_small_bars_are_under_four_rules(size):
    assert [charge.rule for charge in history(size)] == [
        "identical historical requests",
        "historical requests of one contract",
        "historical requests",
        "open historical requests",
    ]


@pytest.mark.parametrize("size", ["1 min", "1 hour", "1 day"])
def test_bars_of_a_minute_only_count_as_open(size):
    assert [charge.rule for charge in history(size)] == ["open historical requests"]


def test_bid_ask_costs_double_but_is_one_request():
    assert [charge.cost for charge in history(what="BID_ASK")] == [1, 2, 2, 1]


def test_identical_means_every_argument_and_both_spellings_of_the_method():
    same = history()[0].key

    assert history(name="reqHistoricalData")[0].key == same
    others = [
        history(end="20261120 16:00:00 UTC"),
        history(what="MIDPOINT"),
        history(size="10 secs"),
        history(contract=Contract(conId=1, exchange="SMART")),
    ]
    assert len({same, *(charges[0].key for charges in others)}) == 5


def test_contracts_without_a_number_are_told_apart_by_their_fields():
    one, two = (
        Contract(secType="STK", symbol=symbol, exchange="SMART", currency="USD")
        for symbol in ("AAPL", "MSFT")
    )

    assert history(contract=one)[1].key != history(contract=two)[1].key
    assert history(contract=one)[1].key == history(contract=one, end="20261120 16:00:00 UTC")[1].key


@pytest.mark.parametrize(
    ("name", "args", "rules"),
    [
        ("reqHistoricalTicks", (AAPL, "", "20261120 16:00:00 UTC", 10, "TRADES", True), 4),
        ("reqHeadTimeStampAsync", (AAPL, "TRADES", True, 2), 4),
        ("reqHistoricalScheduleAsync", (AAPL, 5), 1),
        ("reqRealTimeBars", (AAPL, 5, "TRADES", True), 2),
        ("reqMktDepth", (AAPL,), 1),
        ("reqTickByTickData", (AAPL, "BidAsk"), 2),
        ("reqScannerDataAsync", (ScannerSubscription(),), 1),
        ("reqAccountSummaryAsync", (), 1),
        ("reqPositionsAsync", (), 0),
        ("placeOrder", (AAPL, None), 0),
    ],
)
def test_every_request_is_charged_under_rules_that_exist(name, args, rules):
    charges = ask_for(name, *args).charges

    assert len(charges) == rules
    assert {charge.rule for charge in charges} <= RULES


def test_tickers_cost_a_line_each():
    assert ask_for("reqTickersAsync", AAPL, AAPL).charges[0].cost == 2
    assert ask_for("reqTickersAsync").charges == ()


def test_every_priced_method_is_one_of_ib_async():
    assert all(hasattr(IB, name) for name in PRICES)


def test_arguments_that_do_not_fit_are_a_type_error():
    with pytest.raises(TypeError):
        ask_for("reqMktDepth")


def test_every_name_of_this_machine_is_one_gateway():
    names = ("localhost", "127.0.0.1", "::1", "LOCALHOST")
    folder = Path("state")

    assert len({ledger_path(name, 4002, folder) for name in names}) == 1
    assert ledger_path("gw.example", 4002, folder) != ledger_path("localhost", 4002, folder)
    assert ledger_path("localhost", 4001, folder) != ledger_path("localhost", 4002, folder)


def test_the_settings_change_the_numbers_they_name_and_nothing_else():
    usual = limits_for(Pacing())
    mine = limits_for(Pacing(lines=200, depth=5, small_bars=50))

    assert usual == LIMITS
    changed = {one.what: one.most for one, two in zip(mine, usual, strict=True) if one != two}
    assert changed == {"market data lines": 200, "market depth": 5, "historical requests": 50}
