"""What a client says of an order comes back in openOrder, over the socket and through the rules."""

from decimal import Decimal

import ib_async
import pytest

from ibkit.sim.wire import REPLIES, REQUESTS

PLACE, OPEN = REQUESTS[3], REPLIES[5]
APPLE = {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"}
RESTING = {
    "order_id": 7,
    "contract": APPLE,
    "action": "BUY",
    "total_quantity": Decimal(100),
    "order_type": "LMT",
    "lmt_price": Decimal("10.5"),
    "tif": "GTC",
    "transmit": True,
    "order_ref": "ours",
}
TAGS = [{"tag": "adaptivePriority", "value": "Normal"}]
PRICE = {
    "type": 1,
    "conjunction": "a",
    "is_more": True,
    "price": Decimal(900),
    "con_id": 272093,
    "exchange": "SMART",
    "trigger_method": 2,
}
TIME = {"type": 3, "conjunction": "o", "is_more": True, "time": "20300101 10:00:00 US/Eastern"}
MARGIN = {"type": 4, "conjunction": "a", "is_more": False, "percent": 30}
VOLUME = {
    "type": 6,
    "conjunction": "a",
    "is_more": True,
    "volume": 10**9,
    "con_id": 265598,
    "exchange": "SMART",
}
CHANGES = {
    "type": 7,
    "conjunction": "a",
    "is_more": True,
    "change_percent": Decimal(90),
    "con_id": 265598,
    "exchange": "SMART",
}
ASKED = {
    "plain": {},
    "good till date": {"tif": "GTD", "good_till_date": "20300101 23:59:59 US/Eastern"},
    "good after": {"good_after_time": "20300101 10:00:00 US/Eastern"},
    "hidden": {"hidden": True},
    "all or none": {"all_or_none": True},
    "at least": {"min_qty": 10},
    "group": {"oca_group": "one", "oca_type": 2},
    "algo": {"algo_strategy": "Adaptive", "algo_params": TAGS},
    "price": {"conditions": [PRICE], "conditions_ignore_rth": True},
    "several": {
        "conditions": [PRICE, TIME, MARGIN, VOLUME, CHANGES],
        "conditions_cancel_order": True,
    },
    "stop": {"order_type": "STP", "lmt_price": None, "aux_price": Decimal(900)},
    "stop limit": {"order_type": "STP LMT", "aux_price": Decimal(900), "lmt_price": Decimal(901)},
    "adjusted stop": {
        "order_type": "STP",
        "lmt_price": None,
        "aux_price": Decimal(900),
        "adjusted_order_type": "TRAIL",
        "trigger_price": Decimal(950),
        "adjusted_stop_price": Decimal(910),
        "adjusted_trailing_amount": Decimal(5),
    },
    "scale": {
        "scale_init_level_size": 10,
        "scale_subs_level_size": 5,
        "scale_price_increment": Decimal("0.1"),
        "scale_profit_offset": Decimal("0.5"),
        "scale_auto_reset": True,
    },
    "soft dollars": {"soft_dollar_name": "tier", "soft_dollar_value": "1"},
    "model": {"model_code": "growth"},
    "random": {"randomize_size": True, "randomize_price": True},
    "sweep": {"sweep_to_fill": True, "not_held": True},
    "clearing": {"clearing_account": "away", "settling_firm": "firm"},
    "no best price": {"opt_out_smart_routing": True, "solicited": True},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_what_was_asked_for_comes_back(wire, asked):
    sent = {**RESTING, **asked}
    wire.send(*PLACE.fields(sent))
    frame = wire.until(5, 7)[-1]
    back = OPEN.decode(frame, strict=True)

    # an unset limit is told as 0
    unsent = {"contract", "transmit", *(name for name, value in sent.items() if value is None)}
    wanted = {name: value for name, value in sent.items() if name not in unsent}
    assert {name: back[name] for name in wanted} == wanted
    assert back["contract"]["con_id"] == 265598


def test_an_order_reported_later_is_the_same(wire):
    sent = {**RESTING, **ASKED["several"], **ASKED["algo"]}
    wire.send(*PLACE.fields(sent))
    wire.until(3, 7)
    wire.send(5, 1)
    frames = wire.until(53)
    back = [OPEN.decode(frame, strict=True) for frame in frames if frame[0] == "5"]

    assert {name: back[-1][name] for name in ("conditions", "algo_params")} == {
        "conditions": sent["conditions"],
        "algo_params": TAGS,
    }


def test_ib_async_sees_its_conditions_and_algo_again(connect_ib):
    ib = connect_ib()
    [apple] = ib.qualifyContracts(ib_async.Stock("AAPL", "SMART", "USD"))
    order = ib_async.LimitOrder("BUY", 100, 10.5, tif="GTC")
    order.conditions = [
        ib_async.PriceCondition(isMore=True, price=900.0, conId=272093, exch="SMART")
    ]
    order.algoStrategy = "Adaptive"
    order.algoParams = [ib_async.TagValue("adaptivePriority", "Patient")]
    ib.placeOrder(apple, order)
    ib.reqOpenOrders()
    ib.disconnect()
    again = connect_ib(1)
    [trade] = again.openTrades()

    assert trade.order.conditions[0].price == 900
    assert trade.order.algoParams[0].value == "Patient"
