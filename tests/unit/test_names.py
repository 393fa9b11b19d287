"""The helpers named like the shorthand's kinds."""

import pytest

from ibkit import contracts
from ibkit.contracts import BAG, BOND, CASH, CFD, CONID, CONT, CRYPTO, FOP, FUT, IND, OPT, STK
from ibkit.errors import ShorthandError
from ibkit.naming import KINDS, legs_of, parse, shorthand

PAIRS = [
    (STK("AAPL"), "AAPL"),
    (STK("VOD", "LSE", "GBP"), "VOD@LSE:GBP"),
    (STK("AAPL", primary="NASDAQ"), "AAPL@SMART/NASDAQ"),
    (STK("A@B"), "A%40B"),
    (FUT("ES"), "FUT:ES"),
    (FUT("SI", "202612", trading_class="SIL"), "FUT:SI#SIL:202612"),
    (CONT("ES", "CME"), "CONT:ES@CME"),
    (OPT("SPY", "20261218", 650.5, "P"), "OPT:SPY:20261218:650.5P"),
    (FOP("ES", "20261231", 6500, "C", trading_class="EW"), "FOP:ES#EW:20261231:6500C"),
    (CASH("EURUSD"), "CASH:EURUSD"),
    (IND("SPX", "CBOE"), "IND:SPX@CBOE"),
    (CRYPTO("BTC"), "CRYPTO:BTC"),
    (CFD("IBUS500"), "CFD:IBUS500"),
    (BOND("US0378331005"), "BOND:US0378331005"),
    (CONID(265598), "CONID:265598"),
    (BAG((1, "AAPL"), (-2, CONID(5))), "BAG:[+1 AAPL, -2 CONID:5]"),
]


@pytest.mark.parametrize(("made", "text"), PAIRS, ids=[text for _, text in PAIRS])
def test_a_call_and_its_shorthand_are_the_same_contract(made, text):
    assert made == parse(text)
    assert shorthand(made) == text


def test_each_kind_has_a_helper():
    assert {*KINDS} == {*contracts.__all__} - {"Contracts"}


def test_a_helper_refuses_what_the_shorthand_refuses():
    with pytest.raises(ShorthandError, match="month or day"):
        FUT("ES", "2026-12")


def test_the_legs_of_a_combo_come_back_with_their_signs():
    combo = BAG((1, CONID(4, "CME")), (-2, CONID(5, "CME")))

    assert [(leg.conId, leg.ratio, leg.action) for leg in combo.comboLegs] == [
        (4, 1, "BUY"),
        (5, 2, "SELL"),
    ]
    assert [ratio for ratio, _ in legs_of(combo)] == [1, -2]
    assert combo.exchange == "CME"
