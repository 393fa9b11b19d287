"""What the exchange takes: order types, times in force, sizes, price steps; IB's codes and words.

Pure functions on an order. A new order type begins with a row of `TYPES`. Not here: margin and
matching (`ibkit.sim.exchange`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ibkit.sim import times
from ibkit.sim.calendars import local
from ibkit.sim.orders import ZERO

if TYPE_CHECKING:
    from decimal import Decimal

    from ibkit.sim.orders import OrderRequest, WorkingOrder
    from ibkit.sim.universe import Universe

INVALID: Final = "Error validating request.-'bF' : cause - "


@dataclass(frozen=True, slots=True)
class OrderType:
    """How an order of a type trades.

    Attributes
    ----------
    limited : bool
        Whether it has a price to keep to.
    trigger : str
        What wakes it: "stop", "touch", "trail" or, at once, nothing.
    peg : str
        What its price follows: "near" and "far" side, "mid", "best", or nothing.
    at_close : bool
        Whether it trades in the closing auction alone.
    fixed : bool
        Whether a modification can neither come from it nor lead to it.
    snap : bool
        Whether the peg is taken once, when the order comes in.
    """

    limited: bool = False
    trigger: str = ""
    peg: str = ""
    at_close: bool = False
    fixed: bool = False
    snap: bool = False


LIMITED: Final = OrderType(limited=True)
TYPES: Final = {
    "MKT": OrderType(),
    "LMT": LIMITED,
    "MTL": OrderType(),
    "MKT PRT": OrderType(),
    "BOX TOP": OrderType(),
    "STP": OrderType(trigger="stop"),
    "STP PRT": OrderType(trigger="stop"),
    "STP LMT": OrderType(limited=True, trigger="stop"),
    "TRAIL": OrderType(trigger="trail"),
    "TRAIL LIMIT": OrderType(limited=True, trigger="trail"),
    "MIT": OrderType(trigger="touch"),
    "LIT": OrderType(limited=True, trigger="touch"),
    "MOC": OrderType(at_close=True, fixed=True),
    "LOC": OrderType(limited=True, at_close=True, fixed=True),
    "REL": OrderType(limited=True, peg="near", fixed=True),
    "PASSV REL": OrderType(limited=True, peg="near", fixed=True),
    "PEG MKT": OrderType(limited=True, peg="far", fixed=True),
    "PEG MID": OrderType(limited=True, peg="mid", fixed=True),
    "PEG BEST": OrderType(limited=True, peg="best", fixed=True),
    "MIDPRICE": OrderType(limited=True, peg="mid", fixed=True),
    "SNAP MKT": OrderType(limited=True, peg="far", fixed=True, snap=True),
    "SNAP MID": OrderType(limited=True, peg="mid", fixed=True, snap=True),
    "SNAP PRIM": OrderType(limited=True, peg="near", fixed=True, snap=True),
}
# IB knows these; this exchange does not trade them
KNOWN_TYPES: Final = frozenset({"VOL", "PEG BENCH", "PEG STK", "QUOTE", "FUNARI"})
TIFS: Final = frozenset({"DAY", "GTC", "IOC", "FOK", "GTD", "OPG", "DTC", "GTX", "NMIN"})
ECHOED_AS_GTC: Final = frozenset({"GTX", "NMIN"})
IMMEDIATE: Final = frozenset({"IOC", "FOK"})
NO_CASH_QTY: Final = frozenset({"STK", "FUT", "OPT", "FOP", "BAG", "BOND"})
SIGNED_PRICES: Final = frozenset({"BAG", "FUT", "FOP", "CMDTY"})
SCHEDULE: Final = frozenset({"startTime", "endTime", "allowPastEndTime", "monetaryValue"})
# the attributes that each algorithm knows
ALGOS: Final = {
    "Adaptive": frozenset({"adaptivePriority"}),
    "Vwap": SCHEDULE | {"maxPctVol", "noTakeLiq", "speedUp"},
    "Twap": SCHEDULE | {"catchUp"},
    "ArrivalPx": SCHEDULE | {"maxPctVol", "riskAversion", "forceCompletion"},
    "PctVol": SCHEDULE | {"pctVol", "noTakeLiq"},
    "PctVolPx": SCHEDULE | {"pctVol", "deltaPctVol", "minPctVol4Px", "maxPctVol4Px", "noTakeLiq"},
    "PctVolSz": SCHEDULE | {"startPctVol", "endPctVol", "noTakeLiq"},
    "PctVolTm": SCHEDULE | {"startPctVol", "endPctVol", "noTakeLiq"},
    "DarkIce": SCHEDULE | {"displaySize"},
    "ClosePx": SCHEDULE | {"maxPctVol", "riskAversion", "forceCompletion"},
    "MinImpact": frozenset({"maxPctVol"}),
    "BalanceImpactRisk": frozenset({"maxPctVol", "riskAversion", "forceCompletion"}),
    "AD": SCHEDULE
    | {"componentSize", "timeBetweenOrders", "randomizeTime20", "randomizeSize55", "giveUp"}
    | {"catchUp", "waitForFill", "waitOrFill", "activeTimeStart", "activeTimeEnd"},
}
ALGO_NAMES: Final = {
    **{name.upper(): name for name in ALGOS},
    "ACCUMDIST": "AD",
    "ACCUMULATEDISTRIBUTE": "AD",
}
AT_ONCE: Final = "Adaptive"


class InvalidOrder(Exception):  # noqa: N818  a verdict
    """An order that is not even taken: IB's code and words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


def check(request: OrderRequest, universe: Universe, now: float) -> None:
    """Refuse what the exchange would not take at all."""
    instrument = request.instrument
    if request.action not in {"BUY", "SELL", "SSHORT"}:
        raise InvalidOrder(321, f"{INVALID}Invalid side")
    if request.quantity <= 0:
        raise InvalidOrder(434, "The order size cannot be zero.")
    if request.kind not in TYPES:
        raise _unknown_type(request)
    if instrument.sec_type in {"IND", "CONTFUT"}:
        raise InvalidOrder(201, "Order rejected - reason:No Trading Permission")
    if instrument.expiry and local(int(now), instrument.model.calendar).date() > instrument.expiry:
        raise InvalidOrder(392, "Invalid order: contract expired.")
    _check_size(request)
    _check_prices(request, universe)
    _check_attributes(request)
    _check_algo(request)
    check_time(request, now)


def check_time(request: OrderRequest, now: float) -> None:
    """Refuse times in force that contradict themselves or the order's type."""
    kind = TYPES[request.kind]
    tif = request.tif or "DAY"
    if kind.at_close and tif != "DAY":
        raise InvalidOrder(113, "The Tif option should be set to DAY for MOC and LOC orders.")
    if tif == "OPG" and request.kind not in {"MKT", "LMT"}:
        raise InvalidOrder(111, "The TIF (Tif type) and the order type are incompatible.")
    if tif in IMMEDIATE and kind.trigger:
        raise InvalidOrder(111, "The TIF (Tif type) and the order type are incompatible.")
    if tif == "GTD":
        if not request.good_till_date:
            raise InvalidOrder(334, "Invalid Good Till Date order")
        if _time(request, request.good_till_date, 334, "Invalid Good Till Date order") <= now:
            raise InvalidOrder(
                337, "The date, time, or time-zone entered is invalid: it has passed."
            )
    if request.good_after_time:
        _time(request, request.good_after_time, 337, "The date, time, or time-zone is invalid.")


def _time(request: OrderRequest, text: str, code: int, words: str) -> float:
    """Return a time of an order in epoch seconds, or refuse the order."""
    try:
        return times.parse_time(text, request.instrument.time_zone_id or "US/Eastern")[0]
    except times.TimeTextError:
        raise InvalidOrder(code, words) from None


def time_of(request: OrderRequest, text: str) -> float | None:
    """Return a checked time of an order in epoch seconds; None when there is none."""
    return _time(request, text, 337, "") if text else None


def _check_size(request: OrderRequest) -> None:
    instrument = request.instrument
    if request.cash_qty and instrument.sec_type in NO_CASH_QTY:
        raise InvalidOrder(10244, "Cash Quantity cannot be used for this order")
    bought = request.action == "BUY" and request.kind == "MKT"
    if instrument.sec_type == "CRYPTO" and bought and not request.cash_qty:
        raise InvalidOrder(10289, "You must set Cash Quantity for this order.")
    if instrument.sec_type == "STK" and request.quantity % 1:
        text = (
            "Fractional-sized order cannot be placed via API. "
            "Please refer to desktop version of TWS for Revision."
        )
        raise InvalidOrder(10243, text)
    if request.quantity < instrument.min_size:
        raise InvalidOrder(388, "Order size is smaller than the minimum requirement.")
    if request.quantity % instrument.size_increment:
        raise InvalidOrder(355, "Order size does not conform to market rule.")


def _check_prices(request: OrderRequest, universe: Universe) -> None:
    """Refuse prices that are missing, not positive, or between two ticks."""
    kind = TYPES[request.kind]
    has_limit = bool(request.lmt_price) if kind.peg else not _limit_follows(request)
    if kind.limited and has_limit:
        _check_price(request, request.lmt_price, universe, "Limit price")
    if kind.trigger in {"stop", "touch"}:
        _check_price(request, request.aux_price, universe, "Stop price")
    if kind.trigger == "trail":
        _check_trail(request, universe)


def _limit_follows(request: OrderRequest) -> bool:
    return request.kind == "TRAIL LIMIT" and request.lmt_price_offset is not None


def _check_trail(request: OrderRequest, universe: Universe) -> None:
    amount, percent = request.aux_price, request.trailing_percent
    if (amount or ZERO) <= 0 and not (percent is not None and 0 < percent < 100):
        raise InvalidOrder(321, f"{INVALID}Trailing amount or percentage is missing.")
    if request.trail_stop_price is not None:
        _check_price(request, request.trail_stop_price, universe, "Trailing stop price")


def _check_price(
    request: OrderRequest, price: Decimal | None, universe: Universe, name: str
) -> None:
    if price is None:
        raise InvalidOrder(321, f"{INVALID}{name} is missing.")
    if price % universe.increment(request.instrument, abs(price)):
        text = "The price does not conform to the minimum price variation for this contract."
        raise InvalidOrder(110, text)
    if price <= 0 and request.instrument.sec_type not in SIGNED_PRICES:
        raise InvalidOrder(321, f"{INVALID}{name} must be positive.")


def _check_attributes(request: OrderRequest) -> None:
    if request.e_trade_only:
        raise InvalidOrder(10268, "The 'EtradeOnly' order attribute is not supported.")
    if request.firm_quote_only:
        raise InvalidOrder(10269, "The 'FirmQuoteOnly' order attribute is not supported.")
    limited = TYPES[request.kind].limited and not TYPES[request.kind].trigger
    if request.display_size and (not limited or request.display_size > request.quantity):
        text = "The 'Display Size' order attribute may not be specified for this order."
        raise InvalidOrder(10255, text)
    if request.trigger_method not in {0, 1, 2, 3, 4, 7, 8}:
        raise InvalidOrder(321, f"{INVALID}Invalid trigger method")
    for condition in request.conditions:
        if condition.value.is_nan():
            raise InvalidOrder(391, "The time or time-zone entered is invalid.")
        if condition.kind in {1, 6, 7} and condition.instrument is None:
            raise InvalidOrder(147, "The conditional contract info is incomplete.")
    change = request.adjustment
    if change is not None and TYPES.get(change.order_type, LIMITED).trigger not in {
        "stop",
        "trail",
    }:
        raise InvalidOrder(321, f"{INVALID}Invalid adjusted order type")


def _check_algo(request: OrderRequest) -> None:
    if not request.algo_strategy:
        return
    name = ALGO_NAMES.get(request.algo_strategy.upper())
    if name is None:
        text = "The order processing failed. Algorithm definition not found."
        raise InvalidOrder(439, text)
    for tag, _ in request.algo_params:
        if tag not in ALGOS[name]:
            raise InvalidOrder(443, f"Order processing failed. Unknown algo attribute:{tag}")


def sliced(request: OrderRequest) -> bool:
    """Whether an algorithm works the order in slices."""
    strategy = request.algo_strategy
    return bool(strategy) and ALGO_NAMES.get(strategy.upper()) != AT_ONCE


def _unknown_type(request: OrderRequest) -> InvalidOrder:
    if request.kind in KNOWN_TYPES:
        return InvalidOrder(387, "Unsupported order type for this exchange and security type.")
    return InvalidOrder(321, f"{INVALID}Invalid order type was entered")


def can_become(before: OrderRequest, after: OrderRequest) -> bool:
    """Whether a modification may change the type so."""
    old, new = before.kind, after.kind
    return old == new or not (TYPES[old].fixed or TYPES[new].fixed)


def limit_of(order: WorkingOrder) -> Decimal | None:
    """Return the price that an order keeps to now, or None when any price will do."""
    if order.limit is not None:
        return order.limit
    return order.request.lmt_price if TYPES[order.request.kind].limited else None


def priority(order: WorkingOrder) -> tuple[int, Decimal, bool, float, int]:
    """Return who is first: market orders, better limits, displayed ones, older ones."""
    price = limit_of(order)
    hidden = order.request.hidden
    if price is None:
        return (0, ZERO, hidden, order.placed_at, order.perm_id)
    return (1, -price * order.request.sign, hidden, order.placed_at, order.perm_id)


def good_enough(order: WorkingOrder, price: Decimal) -> bool:
    """Whether an order trades at `price`."""
    limit = limit_of(order)
    return limit is None or (price - limit) * order.request.sign <= 0
