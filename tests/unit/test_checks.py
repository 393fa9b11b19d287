import pytest
from ib_async import Contract, ContractDetails, Order

from ibkit.contracts.ticks import flat_rule
from ibkit.errors import InvalidOrderError
from ibkit.orders.checks import check_order, order_text
from ibkit.orders.recipes import limit, market

PENNY = flat_rule("0.01")


@pytest.fixture
def aapl():
    contract = Contract(secType="STK", symbol="AAPL", exchange="SMART", currency="USD")
    return ContractDetails(
        contract=contract,
        minTick=0.01,
        orderTypes="ACTIVETIM,LMT,MKT,STP,STPLMT",
        minSize=1.0,
        sizeIncrement=1.0,
    )


def test_a_good_order_passes(aapl):
    check_order(market("BUY", 100), aapl, PENNY)
    check_order(limit("SELL", 100, 189.51), aapl, PENNY)
    check_order(Order(action="BUY", totalQuantity=1, orderType="STP LMT", lmtPrice=2), aapl, PENNY)


def test_a_price_off_the_grid_names_its_neighbours(aapl):
    with pytest.raises(InvalidOrderError) as caught:
        check_order(limit("BUY", 100, 189.503), aapl, PENNY)

    assert str(caught.value) == (
        "BUY 100 LMT 189.503 DAY STK AAPL SMART USD: the limit price 189.503 is not on the grid "
        "of 0.01; nearest: 189.50 or 189.51."
    )


def test_a_type_that_the_instrument_does_not_take_is_refused(aapl):
    order = Order(action="BUY", totalQuantity=1, orderType="MOC")

    with pytest.raises(InvalidOrderError, match="takes no MOC"):
        check_order(order, aapl, PENNY)


def test_sizes_keep_their_step_and_minimum(aapl):
    with pytest.raises(InvalidOrderError, match=r"nearest: 100 or 101"):
        check_order(market("BUY", 100.5), aapl, PENNY)
    aapl.minSize = 5
    with pytest.raises(InvalidOrderError, match="smallest quantity is 5"):
        check_order(market("BUY", 4), aapl, PENNY)


@pytest.mark.parametrize("quantity", [0, -5, float("nan")])
def test_orders_made_by_hand_are_held_to_the_same_rules(aapl, quantity):
    with pytest.raises(InvalidOrderError, match="positive"):
        check_order(Order(action="BUY", totalQuantity=quantity, orderType="MKT"), aapl, PENNY)
    with pytest.raises(InvalidOrderError, match="BUY or SELL"):
        check_order(Order(action="HOLD", totalQuantity=1, orderType="MKT"), aapl, PENNY)
    with pytest.raises(InvalidOrderError, match="needs a price"):
        check_order(Order(action="BUY", totalQuantity=1, orderType="LMT"), aapl, PENNY)


def test_an_index_cannot_be_bought(aapl):
    aapl.contract.secType = "IND"

    with pytest.raises(InvalidOrderError, match="only quoted"):
        check_order(market("BUY", 1), aapl, PENNY)


def test_a_trailing_amount_is_no_price(aapl):
    aapl.orderTypes = ""
    order = Order(action="SELL", totalQuantity=1, orderType="TRAIL", auxPrice=0.123)

    check_order(order, aapl, PENNY)
    assert order_text(order) == "SELL 1 TRAIL 0.123 "


def test_the_zero_price_that_ib_echoes_for_a_market_order_is_not_shown():
    echoed = Order(action="BUY", totalQuantity=10, orderType="MKT", lmtPrice=0.0, auxPrice=0.0)
    echoed.tif = "DAY"

    assert order_text(echoed) == "BUY 10 MKT DAY"
