"""What each of IB's requests costs: from a call of ib_async's API to an `Ask`.

Pure. The one place that knows which limits bind which request, for our own services and for
`kit.ib` alike. Not here: the limits (`pacing`), the waiting (`ledger`).
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ib_async import IB, Contract

from ibkit.connection.budget import Ask, Charge

if TYPE_CHECKING:
    from collections.abc import Callable

HISTORY: Final = "historical requests"
HOT: Final = "historical requests of one contract"
SAME: Final = "identical historical requests"
OPEN: Final = "open historical requests"
LINES: Final = "market data lines"
CLIENT_ID: Final = "client id"
# bars of these sizes are under the hard rules
SMALL: Final = frozenset({"1 secs", "1 sec", "5 secs", "10 secs", "15 secs", "30 secs"})
TEXT_FIELDS: Final = (
    "secType",
    "symbol",
    "lastTradeDateOrContractMonth",
    "strike",
    "right",
    "multiplier",
    "exchange",
    "primaryExchange",
    "currency",
    "localSymbol",
    "tradingClass",
    "includeExpired",
)


def ask_for(name: str, /, *args: Any, **kwargs: Any) -> Ask:
    """Return what ``ib.<name>(*args, **kwargs)`` costs beside its messages; often nothing.

    >>> from ib_async import Stock
    >>> aapl = Stock("AAPL", "SMART", "USD")
    >>> [charge.rule for charge in ask_for("reqMktData", aapl).charges]
    ['market data lines']
    >>> ask_for("reqPositions").charges
    ()

    Raises
    ------
    TypeError
        The arguments do not fit the method.
    """
    stem = name.removesuffix("Async")
    price = PRICES.get(stem)
    if price is None:
        return Ask(name)
    bound = _signature(stem).bind(None, *args, **kwargs)
    bound.apply_defaults()
    return Ask(name, price(bound.arguments))


@cache
def _signature(stem: str) -> inspect.Signature:
    return inspect.signature(getattr(IB, f"{stem}Async", None) or getattr(IB, stem))


def which(contract: Contract) -> str:
    """Return a text that is equal for the same contract on the same exchange."""
    if contract.conId:
        return f"{contract.conId}@{contract.exchange}"
    return "|".join(str(getattr(contract, field)) for field in TEXT_FIELDS)


def _bars(call: dict[str, Any]) -> tuple[Charge, ...]:
    size, what = call["barSizeSetting"], call["whatToShow"]
    if size not in SMALL:
        return (Charge(OPEN),)
    rest = (call["endDateTime"], call["durationStr"], size, call["useRTH"], call["keepUpToDate"])
    return _hard("bars", call["contract"], what, rest)


def _ticks(call: dict[str, Any]) -> tuple[Charge, ...]:
    rest = (call["startDateTime"], call["endDateTime"], call["numberOfTicks"], call["useRth"])
    return _hard("ticks", call["contract"], call["whatToShow"], rest)


def _head(call: dict[str, Any]) -> tuple[Charge, ...]:
    return _hard("head", call["contract"], call["whatToShow"], (call["useRTH"],))


def _hard(kind: str, contract: Contract, what: str, rest: tuple[object, ...]) -> tuple[Charge, ...]:
    """Return the charges of a request under the hard rules."""
    cost, about = 2 if what.upper() == "BID_ASK" else 1, f"{which(contract)} {what}"
    same = " ".join((kind, about, *(str(part) for part in rest)))
    return Charge(SAME, same), Charge(HOT, about, cost), Charge(HISTORY, "", cost), Charge(OPEN)


def _line(_: dict[str, Any]) -> tuple[Charge, ...]:
    return (Charge(LINES),)


def _tickers(call: dict[str, Any]) -> tuple[Charge, ...]:
    return (Charge(LINES, "", len(call["contracts"])),) if call["contracts"] else ()


def _tick_by_tick(call: dict[str, Any]) -> tuple[Charge, ...]:
    about = which(call["contract"])
    return Charge("tick-by-tick of one contract", about), Charge("tick-by-tick")


PRICES: Final[dict[str, Callable[[dict[str, Any]], tuple[Charge, ...]]]] = {
    "reqHistoricalData": _bars,
    "reqHistoricalTicks": _ticks,
    "reqHeadTimeStamp": _head,
    "reqHistoricalSchedule": lambda _: (Charge(OPEN),),
    "reqRealTimeBars": lambda _: (Charge("real-time bars"), Charge(LINES)),
    "reqMktData": _line,
    "reqTickers": _tickers,
    "reqMktDepth": lambda _: (Charge("market depth"),),
    "reqTickByTickData": _tick_by_tick,
    "reqScannerSubscription": lambda _: (Charge("scanners"),),
    "reqScannerData": lambda _: (Charge("scanners"),),
    "reqAccountSummary": lambda _: (Charge("account summaries"),),
}
