from decimal import Decimal

import pytest
from ib_async import ContractDetails, PriceIncrement

from ibkit.contracts.ticks import (
    NotANumberError,
    flat_rule,
    is_on_grid,
    make_rule,
    neighbours,
    round_to_tick,
    rule_id,
    to_decimal,
)

PENNY = flat_rule(0.01)
OPTION = make_rule([PriceIncrement(3.0, 0.05), PriceIncrement(0.0, 0.01)])


def test_rounding_never_makes_an_order_more_aggressive():
    assert round_to_tick("189.503", PENNY, towards="BUY") == Decimal("189.50")
    assert round_to_tick("189.503", PENNY, towards="SELL") == Decimal("189.51")
    assert round_to_tick(189.5, PENNY, towards="SELL") == Decimal("189.5")


def test_the_band_of_the_price_decides():
    assert is_on_grid(Decimal("2.99"), OPTION)
    assert not is_on_grid(Decimal("3.01"), OPTION)
    assert neighbours(Decimal("3.01"), OPTION) == (Decimal("3.00"), Decimal("3.05"))


def test_binary_floats_do_not_leave_the_grid():
    assert all(is_on_grid(to_decimal(n / 100), PENNY) for n in range(1, 10_000))
    assert is_on_grid(to_decimal(0.0000065), flat_rule(5e-7))


def test_negative_prices_have_a_grid_too():
    assert neighbours(Decimal("-37.634"), PENNY) == (Decimal("-37.64"), Decimal("-37.63"))


@pytest.mark.parametrize(("exchange", "expected"), [("SMART", 26), ("CBOE", 110), ("NEW", 26)])
def test_the_rule_is_that_of_the_exchange(exchange, expected):
    details = ContractDetails(validExchanges="SMART,CBOE", marketRuleIds="26,110")

    assert rule_id(details, exchange) == expected


def test_no_rule_is_none():
    assert rule_id(ContractDetails(), "SMART") is None


@pytest.mark.parametrize("side", ["buy", "", "LONG", None])
def test_a_side_that_is_none_rounds_no_price(side):
    with pytest.raises(ValueError, match="'BUY' or 'SELL'"):
        round_to_tick("189.503", flat_rule("0.01"), towards=side)


def test_a_price_beyond_every_grid_is_refused_by_name():
    with pytest.raises(NotANumberError, match="1e"):
        round_to_tick(1e30, flat_rule("0.01"), towards="BUY")
