"""The shorthand's kinds as functions, for people who prefer calls: ``FUT("ES", "202612")``.

Each gives what `ibkit.naming.parse` makes of the same words, and refuses what that refuses. Nothing
is looked up: `kit.contract` does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibkit import naming

if TYPE_CHECKING:
    from ib_async import Contract


def _at(exchange: str, currency: str, primary: str = "") -> str:
    """Return the shorthand's tail for what was given."""
    if not (exchange or currency or primary):
        return ""
    venue = exchange or ("SMART" if primary else naming.ANY)
    return f"@{venue}" + (f"/{primary}" if primary else "") + (f":{currency}" if currency else "")


def _of(symbol: str, trading_class: str = "") -> str:
    named = f"#{naming.escape(trading_class)}" if trading_class else ""
    return naming.escape(symbol) + named


def STK(symbol: str, exchange: str = "SMART", currency: str = "", primary: str = "") -> Contract:  # noqa: N802 - IB's word
    """Return a stock: ``STK("VOD", "LSE", "GBP")`` is ``VOD@LSE:GBP``."""
    return naming.parse("STK:" + _of(symbol) + _at(exchange, currency, primary))


def FUT(  # noqa: N802 - IB's word
    symbol: str, expiry: str = "", exchange: str = "", currency: str = "", trading_class: str = ""
) -> Contract:
    """Return a future: ``FUT("ES", "202612")``; without an expiry, the front month."""
    tail = f":{expiry}" if expiry else ""
    return naming.parse("FUT:" + _of(symbol, trading_class) + _at(exchange, currency) + tail)


def CONT(  # noqa: N802 - IB's word
    symbol: str, exchange: str = "", currency: str = "", trading_class: str = ""
) -> Contract:
    """Return IB's continuous future: ``CONT("ES")``."""
    return naming.parse("CONT:" + _of(symbol, trading_class) + _at(exchange, currency))


def OPT(  # noqa: N802 - IB's word
    symbol: str,
    expiry: str,
    strike: float,
    right: str,
    *,
    exchange: str = "SMART",
    currency: str = "",
    trading_class: str = "",
) -> Contract:
    """Return an option: ``OPT("SPY", "20261218", 650, "C")``.

    >>> OPT("SPX", "20261218", 6500, "P", trading_class="SPXW").tradingClass
    'SPXW'
    """
    name = _of(symbol, trading_class) + _at(exchange, currency)
    return naming.parse(f"OPT:{name}:{expiry}:{naming.exact(strike)}{right}")


def FOP(  # noqa: N802 - IB's word
    symbol: str,
    expiry: str,
    strike: float,
    right: str,
    *,
    exchange: str = "",
    currency: str = "",
    trading_class: str = "",
) -> Contract:
    """Return an option on a future: ``FOP("ES", "20261218", 6500, "C", trading_class="ES")``."""
    name = _of(symbol, trading_class) + _at(exchange, currency)
    return naming.parse(f"FOP:{name}:{expiry}:{naming.exact(strike)}{right}")


def CASH(pair: str, exchange: str = "") -> Contract:  # noqa: N802 - IB's word
    """Return a currency pair: ``CASH("EURUSD")``."""
    return naming.parse(f"CASH:{pair}" + (f"@{exchange}" if exchange else ""))


def IND(symbol: str, exchange: str = "", currency: str = "") -> Contract:  # noqa: N802 - IB's word
    """Return an index: ``IND("SPX", "CBOE")``."""
    return naming.parse("IND:" + _of(symbol) + _at(exchange, currency))


def CRYPTO(symbol: str, exchange: str = "", currency: str = "") -> Contract:  # noqa: N802 - IB's word
    """Return a coin: ``CRYPTO("BTC")``."""
    return naming.parse(
        "CRYPTO:" + _of(symbol) + _at(exchange or naming.EXCHANGES["CRYPTO"], currency)
    )


def CFD(symbol: str, exchange: str = "SMART", currency: str = "") -> Contract:  # noqa: N802 - IB's word
    """Return a contract for difference: ``CFD("IBUS500")``."""
    return naming.parse("CFD:" + _of(symbol) + _at(exchange, currency))


def BOND(number: str, exchange: str = "SMART", currency: str = "") -> Contract:  # noqa: N802 - IB's word
    """Return a bond by ISIN or CUSIP: ``BOND("US912810TM09")``."""
    return naming.parse(f"BOND:{number}" + _at(exchange, currency))


def CONID(number: int, exchange: str = "") -> Contract:  # noqa: N802 - IB's word
    """Return the contract of one of IB's numbers: ``CONID(265598)``."""
    return naming.parse(f"CONID:{number}" + (f"@{exchange}" if exchange else ""))


def BAG(*legs: tuple[int, str | Contract]) -> Contract:  # noqa: N802 - IB's word
    """Return a combo of (signed ratio, leg).

    >>> BAG((1, "FUT:ES:202612"), (-1, FUT("ES", "202703"))).comboLegsDescrip
    '+1 FUT:ES:202612, -1 FUT:ES:202703'
    """
    words = [
        f"{ratio:+d} {leg if isinstance(leg, str) else naming.shorthand(leg)}"
        for ratio, leg in legs
    ]
    return naming.parse(f"BAG:[{', '.join(words)}]")
