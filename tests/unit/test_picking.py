"""Which of several matches is meant, and how each of them is named."""

from ib_async import Contract, ContractDetails

from ibkit.contracts.overrides import PreferRow
from ibkit.contracts.picking import contract_in, fits, pick, prefer, table_of
from ibkit.naming import parse


def listed(con_id, exchange, currency="USD", primary="", symbol="DUO"):
    contract = Contract("STK", con_id, symbol, exchange=exchange, currency=currency)
    contract.primaryExchange = primary
    return ContractDetails(contract)


def option(con_id, trading_class):
    contract = Contract("OPT", con_id, "SPX", "20261218", 6500.0, "C", "100", "SMART")
    contract.currency, contract.tradingClass = "USD", trading_class
    return ContractDetails(contract)


LISTINGS = [
    listed(1, "SMART", primary="NYSE"),
    listed(2, "SMART", primary="ARCA"),
    listed(3, "LSE", "GBP", "LSE"),
    listed(4, "LSE", "USD", "LSE"),
]


def test_the_shorthand_of_each_candidate_picks_it_and_no_other():
    contracts = [contract_in(each) for each in LISTINGS]
    names = [pick(each, contracts) for each in contracts]

    assert names == ["DUO@SMART/NYSE", "DUO@SMART/ARCA", "DUO@LSE:GBP", "DUO@LSE:USD"]
    for name, contract in zip(names, contracts, strict=True):
        assert [each for each in contracts if fits(each, parse(name))] == [contract]


def test_classes_tell_options_apart_also_the_one_that_is_called_like_the_symbol():
    contracts = [contract_in(option(1, "SPX")), contract_in(option(2, "SPXW"))]

    assert [pick(each, contracts) for each in contracts] == [
        "OPT:SPX#SPX:20261218:6500C",
        "OPT:SPX#SPXW:20261218:6500C",
    ]


def test_twins_are_named_by_their_number():
    twins = [contract_in(listed(n, "NYSE")) for n in (7, 8)]

    assert [pick(each, twins) for each in twins] == ["CONID:7", "CONID:8"]


def test_a_preference_decides_only_what_was_left_open():
    rules = PreferRow(currencies=("EUR", "GBP"), primary_exchanges=("NYSE",))
    any_money = Contract(secType="STK", symbol="DUO")
    dollars = Contract(secType="STK", symbol="DUO", currency="USD")

    assert [contract_in(each).conId for each in prefer(any_money, LISTINGS, rules)] == [3]
    assert [contract_in(each).conId for each in prefer(dollars, LISTINGS[:2], rules)] == [1]
    assert prefer(any_money, LISTINGS, PreferRow()) == LISTINGS


def test_the_standard_class_is_preferred_when_told_so():
    both = [option(1, "SPX"), option(2, "SPXW")]
    weekly = Contract(secType="OPT", symbol="SPX", tradingClass="SPXW")

    assert prefer(Contract(secType="OPT"), both, PreferRow(standard_class=True)) == both[:1]
    assert prefer(weekly, both[1:], PreferRow(standard_class=True)) == both[1:]
    assert prefer(Contract(secType="OPT"), both, PreferRow()) == both


def test_a_long_table_says_how_much_it_leaves_out():
    table = table_of([listed(n, f"X{n}", symbol="MANY") for n in range(1, 31)])

    assert len(table) == 21
    assert table[-1]["name"] == "and 10 more"


def test_a_future_is_picked_by_its_day_since_without_one_its_name_means_the_front_month():
    silver = [
        Contract("FUT", n, "SI", "20261229", tradingClass=name, exchange="COMEX", currency="USD")
        for n, name in enumerate(("SI", "SIL"), 1)
    ]

    assert [pick(each, silver) for each in silver] == ["FUT:SI#SI:20261229", "FUT:SI#SIL:20261229"]


def test_continuous_futures_of_one_symbol_are_told_apart_by_class_not_by_a_real_ones_number():
    silver = [
        Contract("CONTFUT", n, "SI", "20261229", tradingClass=name, exchange="COMEX")
        for n, name in enumerate(("SI", "SIL"), 1)
    ]

    assert [pick(each, silver) for each in silver] == ["CONT:SI#SI", "CONT:SI#SIL"]


def test_a_whole_chain_is_shown_in_order_and_at_once():
    chain = [_listed_option(day, strike) for day in range(1, 29) for strike in range(500, 900)]

    table = table_of(chain)

    assert table[0]["shorthand"] == "OPT:SPY:20270101:500C"
    assert table[-1]["name"] == f"and {28 * 400 - 20} more"


def _listed_option(day, strike):
    contract = Contract("OPT", day * 1000 + strike, "SPY", f"202701{day:02}", float(strike), "C")
    contract.exchange, contract.currency, contract.tradingClass = "SMART", "USD", "SPY"
    return ContractDetails(contract)
