from decimal import Decimal

import pytest

from ibkit.errors import InvalidOrderError
from ibkit.orders import limit, market


def test_a_limit_order_says_what_was_asked():
    order = limit("SELL", 10, Decimal("189.5"), tif="GTC")

    assert (order.action, order.totalQuantity, order.orderType) == ("SELL", 10, "LMT")
    assert (order.lmtPrice, order.tif, order.orderId) == (Decimal("189.5"), "GTC", 0)


@pytest.mark.parametrize("quantity", [0, -1, "many", float("nan"), float("inf"), None])
def test_a_quantity_that_is_no_positive_number_is_refused(quantity):
    with pytest.raises(InvalidOrderError, match="quantity"):
        market("BUY", quantity)


def test_other_mistakes_are_named():
    with pytest.raises(InvalidOrderError, match="BUY or SELL"):
        market("buy", 1)
    with pytest.raises(InvalidOrderError, match="tif"):
        market("BUY", 1, tif="FOREVER")
    with pytest.raises(InvalidOrderError, match="price"):
        limit("BUY", 1, "cheap")


def test_a_fraction_keeps_its_digits():
    assert str(market("BUY", Decimal("0.0001")).totalQuantity) == "0.0001"
