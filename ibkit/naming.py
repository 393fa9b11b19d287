"""Names of instruments: shorthand for people, slugs for folders, and the way back.

Shorthand describes, it does not look up: `parse` gives a contract with the fields that the
text says and IB's usual ones for the rest; finding the one instrument behind it is
`ibkit.contracts`' work.

    AAPL   AAPL@LSE:GBP   BRK B            a stock: symbol [@exchange[:currency]]
    FUT:ES   FUT:ES:202612   FUT:ES@CME    the front month, or the named one (yyyymm, yyyymmdd)
    CONT:ES                                IB's continuous future
    OPT:SPY:20261218:650C   FOP:ES:…       an option: underlying, expiry, strike and right
    CASH:EURUSD   CRYPTO:BTC               a pair; a coin in dollars
    IND:SPX@CBOE   CFD:IBUS500             an index; a contract for difference
    CONID:265598                           IB's own number
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from ib_async import Contract

from ibkit.errors import ShorthandError

# what IB routes to when the text does not say; "" means: the resolver finds out
EXCHANGES: Final = {
    "STK": "SMART",
    "OPT": "SMART",
    "CFD": "SMART",
    "CASH": "IDEALPRO",
    "CRYPTO": "PAXOS",
    "FUT": "",
    "CONTFUT": "",
    "FOP": "",
    "IND": "",
}
SEC_TYPES: Final = {"CONT": "CONTFUT"}
KINDS: Final = ("STK", "FUT", "CONT", "OPT", "FOP", "CASH", "IND", "CRYPTO", "CFD", "CONID")

# how many parts of a slug say the terms of a derivative: expiry, and strike and right
_TERMS: Final = {"FUT": 1, "OPT": 3, "FOP": 3}
_NAME = re.compile(
    r"(?P<symbol>[^@:]+)(?:@(?P<exchange>[A-Za-z0-9.]+)(?::(?P<currency>[A-Z]{3}))?)?$"
)
_EXPIRY = re.compile(r"\d{6}(?:\d{2})?$")
_STRIKE = re.compile(r"(?P<strike>\d+(?:\.\d+)?)(?P<right>[CP])$")


def parse(text: str) -> Contract:
    """Return the contract that `text` describes, not yet looked up.

    Parameters
    ----------
    text : str
        Shorthand; the module's docstring lists the forms. Case matters, as it does at IB.

    Returns
    -------
    Contract
        ``conId`` is 0 (except for ``CONID:``); ``exchange`` is empty where only IB or the
        futures table knows it.

    Raises
    ------
    ShorthandError
        Names the position and what was expected there.

    Examples
    --------
    >>> parse("AAPL")
    Contract(secType='STK', symbol='AAPL', exchange='SMART', currency='USD')
    >>> parse("CASH:EURUSD").symbol
    'EUR'
    """
    stripped = text.strip()
    if not stripped:
        raise ShorthandError(text, 0, "a symbol, such as AAPL or FUT:ES")
    kind, colon, rest = stripped.partition(":")
    if not colon or "@" in kind:
        return _plain("STK", stripped, stripped, 0)
    if kind not in KINDS:
        raise ShorthandError(text, 0, f"one of {', '.join(KINDS)} before the colon, or a symbol")
    start = len(kind) + 1
    if not rest:
        raise ShorthandError(text, start, "a symbol after the colon")
    if kind == "CONID":
        return _numbered(stripped, rest, start)
    if kind == "CASH":
        return _pair(stripped, rest, start)
    if kind in {"OPT", "FOP"}:
        return _option(kind, stripped, rest, start)
    if kind == "FUT":
        return _future(stripped, rest, start)
    return _plain(SEC_TYPES.get(kind, kind), stripped, rest, start)


def _plain(sec_type: str, text: str, name: str, start: int) -> Contract:
    match = _NAME.match(name)
    if not match:
        position = start + (name.index("@") + 1 if "@" in name else name.find(":"))
        raise ShorthandError(text, position, "symbol, @exchange, :currency, as in VOD@LSE:GBP")
    return Contract(
        secType=sec_type,
        symbol=match["symbol"],
        exchange=match["exchange"] or EXCHANGES[sec_type],
        currency=match["currency"] or ("" if sec_type in {"CONTFUT", "FUT", "IND"} else "USD"),
    )


def _numbered(text: str, number: str, start: int) -> Contract:
    if not number.isascii() or not number.isdigit() or int(number) == 0:
        raise ShorthandError(text, start, "IB's contract number, as in CONID:265598")
    return Contract(conId=int(number))


def _pair(text: str, pair: str, start: int) -> Contract:
    if not re.fullmatch(r"[A-Z]{3}\.?[A-Z]{3}", pair):
        raise ShorthandError(text, start, "two currencies of three letters, as in EURUSD")
    return Contract(secType="CASH", symbol=pair[:3], exchange="IDEALPRO", currency=pair[-3:])


def _future(text: str, rest: str, start: int) -> Contract:
    head, tail = _split_expiry(rest)
    contract = _plain("FUT", text, head, start)
    if tail is None:
        return contract
    if not _EXPIRY.match(tail):
        raise ShorthandError(text, start + len(head) + 1, "a month or day: 202612 or 20261218")
    contract.lastTradeDateOrContractMonth = tail
    return contract


def _split_expiry(rest: str) -> tuple[str, str | None]:
    """Split ``ES@CME:USD:202612`` before its last colon, unless that one opens a currency."""
    head, colon, tail = rest.rpartition(":")
    if not colon or (re.fullmatch(r"[A-Z]{3}", tail) and "@" in head and ":" not in head):
        return rest, None
    return head, tail


def _option(kind: str, text: str, rest: str, start: int) -> Contract:
    parts = rest.rsplit(":", 2)
    if len(parts) != 3:
        raise ShorthandError(text, len(text), "expiry and strike, as in OPT:SPY:20261218:650C")
    head, expiry, strike = parts
    if not re.fullmatch(r"\d{8}", expiry):
        raise ShorthandError(text, start + len(head) + 1, "the expiry as yyyymmdd")
    match = _STRIKE.match(strike)
    if not match:
        raise ShorthandError(text, len(text) - len(strike), "strike and right, as in 650C")
    contract = _plain(kind, text, head, start)
    contract.lastTradeDateOrContractMonth = expiry
    contract.strike = float(match["strike"])
    contract.right = match["right"]
    return contract


def shorthand(contract: Contract) -> str:
    """Return the shortest text that `parse` reads back as this description.

    Examples
    --------
    >>> shorthand(parse("AAPL@LSE:GBP")), shorthand(parse("FUT:ES:202612"))
    ('AAPL@LSE:GBP', 'FUT:ES:202612')
    """
    sec_type = contract.secType
    if not contract.symbol or sec_type not in {*EXCHANGES}:
        return f"CONID:{contract.conId}"
    if sec_type == "CASH":
        return f"CASH:{contract.symbol}{contract.currency}"
    name = contract.symbol + _at(contract)
    if sec_type == "STK":
        return name
    kind = "CONT" if sec_type == "CONTFUT" else sec_type
    tail = [contract.lastTradeDateOrContractMonth] if sec_type in {"FUT", "OPT", "FOP"} else []
    if sec_type in {"OPT", "FOP"}:
        tail.append(f"{contract.strike:.10g}{contract.right[:1]}")
    return ":".join([kind, name, *filter(None, tail)])


def _at(contract: Contract) -> str:
    """Return ``@exchange:currency``, as far as it differs from what `parse` assumes."""
    usual = "" if contract.secType in {"CONTFUT", "FUT", "IND"} else "USD"
    exchange, currency = contract.exchange, contract.currency
    if currency != usual and currency:
        return f"@{exchange or EXCHANGES[contract.secType]}:{currency}" if exchange else ""
    return f"@{exchange}" if exchange and exchange != EXCHANGES[contract.secType] else ""


def slug(contract: Contract) -> str:
    """Return the folder name of an instrument: the same for every process and every year.

    Letters first (a bare ``0700`` becomes a number in most Parquet readers), parts separated by
    ``-``, anything outside ``[A-Za-z0-9._]`` percent-encoded. A derivative whose trading class is
    not its symbol carries the class: SI and SIL expire on one day under one symbol.

    Raises
    ------
    ValueError
        The contract lacks a part of its name; qualify it first.

    Examples
    --------
    >>> slug(parse("AAPL")), slug(parse("0700@SEHK:HKD"))
    ('STK-AAPL-SMART-USD', 'STK-0700-SEHK-HKD')
    """
    parts = [contract.secType, contract.symbol, contract.exchange, contract.currency]
    if contract.secType in {"FUT", "OPT", "FOP"}:
        parts.append(contract.lastTradeDateOrContractMonth)
    if contract.secType in {"OPT", "FOP"}:
        parts += [f"{contract.strike:.10g}", contract.right[:1]]
    if contract.secType in _TERMS and contract.tradingClass not in {"", contract.symbol}:
        parts.append(contract.tradingClass)
    if not all(parts):
        raise ValueError(
            f"{contract!r} is not named in full (secType, symbol, exchange, currency, expiry); "
            "qualify it first: kit.contract(…)"
        )
    return "-".join(_encode(part) for part in parts)


def _encode(part: str) -> str:
    return quote(part, safe="").replace("-", "%2D").replace("~", "%7E")


def from_slug(name: str) -> Contract:
    """Return the contract that a slug names, without its ``conId``.

    Examples
    --------
    >>> from_slug("CASH-EUR-IDEALPRO-USD").currency
    'USD'
    """
    sec_type, symbol, exchange, currency, *rest = [unquote(part) for part in name.split("-")]
    contract = Contract(secType=sec_type, symbol=symbol, exchange=exchange, currency=currency)
    terms = _TERMS.get(sec_type, 0)
    if terms:
        contract.lastTradeDateOrContractMonth = rest[0]
        contract.tradingClass = rest[terms] if len(rest) > terms else ""
    if terms == 3:
        contract.strike, contract.right = float(rest[1]), rest[2]
    return contract
