from decimal import Decimal

import pytest
from ib_async import Contract, ContractDetails
from ib_async.util import UNSET_DOUBLE

from ibkit.contracts.money import (
    InvalidSizeError,
    SizeRule,
    notional,
    point_value,
    size_rule,
    units_for,
)
from ibkit.contracts.ticks import flat_rule, make_rule, quoted_rule


def details(multiplier="", magnifier=1, **fields):
    return ContractDetails(
        contract=Contract(multiplier=multiplier), priceMagnifier=magnifier, **fields
    )


ES, CORN, PENCE = details("50"), details("5000", 100), details("", 100)
MICRO_BITCOIN = details("0.1")


@pytest.mark.parametrize(
    ("one", "expected"),
    [(ES, "50"), (CORN, "50"), (PENCE, "0.01"), (MICRO_BITCOIN, "0.1"), (details("100"), "100")],
)
def test_money_for_a_point_of_the_quoted_price(one, expected):
    assert point_value(one) == Decimal(expected)


def test_notional_is_exact_and_signed():
    assert notional(ES, 2, "6000.25") == Decimal("600025.00")
    assert notional(CORN, 1, 450.25) == Decimal("22512.50")
    assert notional(PENCE, 100, "71.38") == Decimal("71.38")
    assert notional(MICRO_BITCOIN, -3, 100_000) == Decimal(-30_000)
    assert notional(details(), "0.3", 0.1) == Decimal("0.03")


def test_sizes_are_those_of_ib():
    coin = size_rule(details(minSize=0.00000001, sizeIncrement=0.00000001))
    share = size_rule(details(minSize=1.0, sizeIncrement=1.0, suggestedSizeIncrement=100.0))
    unset = size_rule(details(minSize=UNSET_DOUBLE, sizeIncrement=0.0))

    assert coin.fits("0.12345678")
    assert not coin.fits("0.123456789")
    assert (share.fits(7), share.round(250), share.round(250, lots=True)) == (True, 250, 200)
    assert unset == SizeRule()


def test_the_api_takes_no_fractions_of_a_share():
    apple = details(minSize=0.0001, sizeIncrement=0.0001, suggestedSizeIncrement=100.0)
    apple.contract.secType = "STK"

    assert size_rule(apple) == SizeRule(suggested=Decimal(100))
    assert units_for(apple, 10_000, "189.5") == 52


@pytest.mark.parametrize("quantity", [0, -5, 0.5, "1.5"])
def test_a_size_that_is_not_taken_says_what_is(quantity):
    with pytest.raises(InvalidSizeError, match="in steps of 1"):
        SizeRule().check(quantity)


def test_less_than_the_least_is_nothing():
    assert SizeRule(least=Decimal(10), step=Decimal(1)).round(9) == 0
    assert SizeRule(least=Decimal(10), step=Decimal(1)).round("12.9") == 12


def test_money_buys_whole_sizes():
    assert units_for(details(), 1000, "189.5") == 5
    assert units_for(ES, 1_000_000, 6000) == 3
    assert units_for(details(), 100, 189.5) == 0
    assert units_for(details(), 1000, "189.5", rounding="nearest") == 5
    with pytest.raises(ValueError, match="price"):
        units_for(details(), 100, 0)


def test_a_rule_in_ibs_units_is_turned_into_quoted_ones():
    class Row:
        def __init__(self, low, increment):
            self.lowEdge, self.increment = low, increment

    bands = make_rule([Row(0.0, 0.0001), Row(1.0, 0.0005)])

    assert quoted_rule(bands, 0.0001, 100).step(Decimal(99)) == Decimal("0.01")
    assert quoted_rule(bands, 0.0001, 100).step(Decimal(100)) == Decimal("0.05")
    assert quoted_rule(bands, 0.0001, 1) is bands
    quoted = flat_rule("0.25")
    assert quoted_rule(quoted, "0.0025", 100) is quoted
