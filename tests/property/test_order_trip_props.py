"""Any order that either client can express comes back in openOrder as it was sent."""

import math
from types import SimpleNamespace

import ib_async
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ib_async.client import Client
from ib_async.decoder import Decoder
from ibapi import contract as official_contract
from ibapi import order as official_order
from ibapi import order_condition
from ibapi.client import EClient
from ibapi.const import UNSET_DOUBLE, UNSET_INTEGER
from ibapi.decoder import Decoder as OfficialDecoder
from ibapi.softdollartier import SoftDollarTier
from ibapi.tag_value import TagValue
from ibapi.wrapper import EWrapper

from ibkit.sim import echo
from ibkit.sim.exchange import OrderRequest, WorkingOrder
from ibkit.sim.handlers.orders import read_order
from ibkit.sim.universe import Universe
from ibkit.sim.wire import REQUESTS, SERVER_VERSION
from ibkit.sim.wire import replies as r

ACCOUNT = "DUSIM0001"
TRIPS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
APPLE = Universe.load().by_con_id(265598)

# what openOrder does not carry, or what never leaves the client
NOT_CARRIED = {
    *("transmit", "overridePercentageConstraints", "scaleTable", "activeStartTime"),
    *("activeStopTime", "algoId", "orderMiscOptions", "extOperator", "advancedErrorOverride"),
    *("mifid2DecisionMaker", "mifid2DecisionAlgo", "mifid2ExecutionTrader", "mifid2ExecutionAlgo"),
    *("manualOrderTime", "basisPoints", "basisPointsType", "faProfile", "hedgeMaxSize"),
    *("autoCancelDate", "filledQuantity", "refFuturesConId", "shareholder", "imbalanceOnly"),
    *("routeMarketableToBbo", "parentPermId", "conditionsIncludeOvernight", "nbboPriceCap"),
}
# what the server fills in or replaces
SERVERS = {
    *("orderId", "clientId", "permId", "openClose", "tif", "account", "ocaType"),
    *("clearingIntent", "trailStopPrice"),
}
# fields that travel only with others
ONLY_WITH = {
    "hedgeParam": lambda order, _: order.hedgeType,
    "algoParams": lambda order, _: order.algoStrategy,
    "volatility": lambda order, _: order.orderType.startswith("VOL"),
    "minTradeQty": lambda _, contract: contract.exchange == "IBKRATS",
    "minCompeteSize": lambda order, _: order.orderType == "PEG BEST",
    "competeAgainstBestOffset": lambda order, _: order.orderType == "PEG BEST",
    **dict.fromkeys(("midOffsetAtWhole", "midOffsetAtHalf"), lambda order, _: mid_offsets(order)),
    **dict.fromkeys(
        ("conditionsIgnoreRth", "conditionsCancelOrder"), lambda order, _: order.conditions
    ),
    **dict.fromkeys(
        ("orderComboLegs", "smartComboRoutingParams"), lambda _, contract: contract.secType == "BAG"
    ),
    **dict.fromkeys(
        ("referenceContractId", "isPeggedChangeAmountDecrease", "peggedChangeAmount"),
        lambda order, _: order.orderType == "PEG BENCH",
    ),
    **dict.fromkeys(
        ("referenceChangeAmount", "referenceExchangeId"),
        lambda order, _: order.orderType == "PEG BENCH",
    ),
    **dict.fromkeys(
        (
            *("scalePriceAdjustValue", "scalePriceAdjustInterval", "scaleProfitOffset"),
            *("scaleAutoReset", "scaleInitPosition", "scaleInitFillQty", "scaleRandomPercent"),
        ),
        lambda order, _: 0 < order.scalePriceIncrement < UNSET_DOUBLE,
    ),
    **dict.fromkeys(
        (
            *("deltaNeutralConId", "deltaNeutralSettlingFirm", "deltaNeutralClearingAccount"),
            *("deltaNeutralClearingIntent", "deltaNeutralOpenClose", "deltaNeutralShortSale"),
            *("deltaNeutralShortSaleSlot", "deltaNeutralDesignatedLocation"),
        ),
        lambda order, _: order.deltaNeutralOrderType,
    ),
}
UNSET = {UNSET_INTEGER, UNSET_DOUBLE, 0, "", None, "None", "?"}


def mid_offsets(order):
    up_to_mid = order.orderType == "PEG BEST" and order.competeAgainstBestOffset == math.inf
    return up_to_mid or order.orderType == "PEG MID"


# --- any order ------------------------------------------------------------

WORD = st.text("abcXYZ019 _-.:/", max_size=8).map(str.strip)
MONEY = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 5))
SMALL = st.integers(0, 10_000)
TYPES = ["MKT", "LMT", "STP LMT", "TRAIL", "VOL", "PEG BENCH", "PEG BEST", "PEG MID", "REL"]
TAGS = st.lists(st.tuples(WORD.filter(bool), WORD), max_size=3)


def like(default):
    """Return a strategy for what a field with this default may hold."""
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        return SMALL | st.just(default)
    if isinstance(default, float):
        return MONEY | st.just(default)
    return WORD


def plain_fields(order):
    """Return the fields of an order that hold one value."""
    return {
        name: default
        for name, default in vars(order).items()
        if isinstance(default, (bool, int, float, str)) and name not in SERVERS
    }


@st.composite
def orders(draw, make, condition_makers, tag):
    order = make()
    for name, default in plain_fields(order).items():
        if draw(st.booleans()):
            setattr(order, name, draw(like(default)))
    order.action = draw(st.sampled_from(["BUY", "SELL"]))
    order.orderType = draw(st.sampled_from(TYPES))
    order.totalQuantity = draw(st.integers(1, 10**6))
    order.algoParams = [tag(*pair) for pair in draw(TAGS)]
    order.smartComboRoutingParams = [tag(*pair) for pair in draw(TAGS)]
    kinds = draw(st.lists(st.sampled_from(condition_makers), max_size=3))
    order.conditions = [draw(conditions(make_one)) for make_one in kinds]
    if draw(st.booleans()):
        order.competeAgainstBestOffset = math.inf
    order.whatIf = False
    return order


@st.composite
def conditions(draw, make):
    condition = make()
    for name, default in vars(condition).items():
        if name == "conjunction":
            condition.conjunction = draw(st.sampled_from("ao"))
        elif name == "isMore":
            condition.isMore = draw(st.booleans())
        elif name not in {"condType", "isConjunctionConnection"}:
            unknown = WORD if name in {"exchange", "symbol", "secType", "time"} else SMALL
            known = MONEY if isinstance(default, float) else like(default)
            setattr(condition, name, draw(unknown if default is None else known))
    return condition


# --- the trip ------------------------------------------------------------


def trip(sent):
    """Return the openOrder that a gateway answers to these placeOrder fields."""
    values = REQUESTS[3].decode(sent, strict=True)
    gateway = SimpleNamespace(
        account=SimpleNamespace(account_id=ACCOUNT),
        clock=SimpleNamespace(now=lambda: 1.8e9),
        universe=SimpleNamespace(find=lambda *_: [APPLE], by_con_id=lambda _: APPLE),
    )
    request = read_order(SimpleNamespace(gateway=gateway, client_id=1), values)
    assert isinstance(request, OrderRequest)
    order = WorkingOrder(request, 77, 0.0, status="Submitted")
    return r.OPEN_ORDER.fields(echo.open_order(order))


def check_same(sent, back, contract):
    """Assert that every field that travels came back; unset may come back as any kind of empty."""
    for name, value in vars(sent).items():
        if name in NOT_CARRIED | SERVERS or name not in vars(back):
            continue
        if name in ONLY_WITH and not ONLY_WITH[name](sent, contract):
            continue
        got = getattr(back, name)
        if isinstance(value, (bool, int, float, str)) or value is None:
            same = got == value or (value in UNSET and got in UNSET) or float_same(got, value)
            assert same, f"{name}: {value!r} came back as {got!r}"


def float_same(got, value):
    return not isinstance(value, str) and value is not None and float(got) == float(value)


def pairs(tags):
    return [(one.tag, one.value) for one in tags or []]


# --- ib_async ------------------------------------------------------------


def sent_by_ib_async(contract, order):
    client = Client(SimpleNamespace())
    client._serverVersion, client.connState = SERVER_VERSION, Client.CONNECTED
    messages = []
    client.sendMsg = messages.append
    client.placeOrder(5, contract, order)
    return messages[0].split("\0")[:-1]


IB_ASYNC_CONDITIONS = [
    ib_async.PriceCondition,
    ib_async.TimeCondition,
    ib_async.MarginCondition,
    ib_async.ExecutionCondition,
    ib_async.VolumeCondition,
    ib_async.PercentChangeCondition,
]


@TRIPS
@given(
    orders(ib_async.Order, IB_ASYNC_CONDITIONS, ib_async.TagValue),
    st.sampled_from(["SMART", "IBKRATS"]),
)
def test_orders_of_ib_async_come_back_as_they_were_sent(order, exchange):
    contract = ib_async.Stock("AAPL", exchange, "USD")
    order.softDollarTier = ib_async.SoftDollarTier("tier", "1", "")
    volatility = order.volatility
    calls = []
    wrapper = SimpleNamespace(openOrder=lambda *arguments: calls.append(arguments))

    fields = trip(sent_by_ib_async(contract, order))
    Decoder(wrapper, SERVER_VERSION).interpret(fields)

    order.volatility = volatility
    [(order_id, seen, back, state)] = calls
    check_same(order, back, contract)
    assert (order_id, state.status, back.permId) == (5, "Submitted", 77)
    assert (seen.conId, seen.exchange) == (265598, exchange)
    assert back.conditions == order.conditions
    assert pairs(back.algoParams) == (pairs(order.algoParams) if order.algoStrategy else [])
    assert (back.softDollarTier.name, back.softDollarTier.val) == ("tier", "1")


def test_a_combination_comes_back_with_its_legs():
    legs = [
        ib_async.ComboLeg(1, 1, "BUY", "SMART"),
        ib_async.ComboLeg(2, 2, "SELL", "SMART", 1, 2, "X", 3),
    ]
    contract = ib_async.Contract(
        symbol="SPY", secType="BAG", exchange="SMART", currency="USD", comboLegs=legs
    )
    contract.deltaNeutralContract = ib_async.DeltaNeutralContract(7, 0.5, 12.25)
    order = ib_async.LimitOrder("BUY", 3, 1.5)
    order.orderComboLegs = [ib_async.OrderComboLeg(1.25), ib_async.OrderComboLeg()]
    order.smartComboRoutingParams = [ib_async.TagValue("NonGuaranteed", "1")]
    calls = []

    fields = trip(sent_by_ib_async(contract, order))
    wrapper = SimpleNamespace(openOrder=lambda *arguments: calls.append(arguments))
    Decoder(wrapper, SERVER_VERSION).interpret(fields)

    _, seen, back, _ = calls[0]
    assert seen.comboLegs == legs
    assert seen.deltaNeutralContract == contract.deltaNeutralContract
    assert [leg.price for leg in back.orderComboLegs] == [1.25, UNSET_DOUBLE]
    assert pairs(back.smartComboRoutingParams) == [("NonGuaranteed", "1")]


# --- IB's own client ------------------------------------------------------------


class Sender(EClient):
    def __init__(self):
        EClient.__init__(self, EWrapper())
        self.messages = []

    def isConnected(self):  # noqa: N802  IB's name
        return True

    def serverVersion(self):  # noqa: N802  IB's name
        return SERVER_VERSION

    def sendMsg(self, number, text):  # noqa: N802  IB's name
        self.messages.append(f"{number}\0{text}".split("\0")[:-1])


def sent_by_ibapi(contract, order):
    sender = Sender()
    sender.placeOrder(5, contract, order)
    return sender.messages[0]


class Receiver(EWrapper):
    def __init__(self):
        super().__init__()
        self.calls = []

    def openOrder(self, *arguments):  # noqa: N802  IB's name
        self.calls.append(arguments)


OFFICIAL_CONDITIONS = [
    order_condition.PriceCondition,
    order_condition.TimeCondition,
    order_condition.MarginCondition,
    order_condition.ExecutionCondition,
    order_condition.VolumeCondition,
    order_condition.PercentChangeCondition,
]
# fields of versions after 178, which EClient refuses to send
TOO_NEW = {
    *("customerAccount", "professionalCustomer", "bondAccruedInterest", "includeOvernight"),
    *("manualOrderIndicator", "submitter", "postOnly", "allowPreOpen", "ignoreOpenAuction"),
    *("deactivate", "seekPriceImprovement", "whatIfType", "slOrderId", "slOrderType"),
    *("ptOrderId", "ptOrderType", "hedgeMaxSize", "imbalanceOnly"),
}


def clean(order):
    """Take back what this client would not send to version 178."""
    fresh = official_order.Order()
    for name in TOO_NEW & vars(fresh).keys():
        setattr(order, name, getattr(fresh, name))
    order.softDollarTier = SoftDollarTier("tier", "1", "")
    return order


@TRIPS
@given(
    orders(official_order.Order, OFFICIAL_CONDITIONS, TagValue).map(clean),
    st.sampled_from(["SMART", "IBKRATS"]),
)
def test_orders_of_ibapi_come_back_as_they_were_sent(order, exchange):
    contract = official_contract.Contract()
    contract.symbol, contract.secType, contract.exchange = "AAPL", "STK", exchange
    receiver = Receiver()

    fields = trip(sent_by_ibapi(contract, order))
    raw = tuple(field.encode() for field in fields[1:])
    OfficialDecoder(receiver, SERVER_VERSION).interpret(raw, 5)

    [(order_id, seen, back, state)] = receiver.calls
    check_same(order, back, contract)
    assert (order_id, state.status, seen.conId) == (5, "Submitted", 265598)
    assert pairs(back.algoParams) == (pairs(order.algoParams) if order.algoStrategy else [])
    assert [vars(one) for one in back.conditions or []] == [vars(one) for one in order.conditions]
