"""Names of instruments: shorthand for people, slugs for folders, and the way back.

Shorthand describes, it does not look up: `parse` gives a contract with the fields that the
text says and IB's usual ones for the rest; finding the one instrument behind it is
`ibkit.contracts`' work. The grammar is in `docs/contracts.md`.

    AAPL   AAPL@LSE:GBP   BRK B            a stock: symbol [@exchange[/primary][:currency]]
    FUT:ES   FUT:ES:202612   FUT:ES@CME    the front month, or the named one (yyyymm, yyyymmdd)
    FUT:SI#SIL:202612                      #class, where products share a symbol
    CONT:ES                                IB's continuous future
    OPT:SPY:20261218:650C   FOP:ES:…       an option: underlying, expiry, strike and right
    OPT:SPX#SPXW:20261218:6500P            of the weekly class
    CASH:EURUSD   CRYPTO:BTC               a pair; a coin in dollars
    IND:SPX@CBOE   CFD:IBUS500             an index; a contract for difference
    BOND:US912810TM09                      a bond by ISIN or CUSIP
    CONID:265598                           IB's own number
    BAG:[+1 FUT:ES:202612, -1 FUT:ES:202703]   a combo: sign, ratio, leg

`*` is any exchange or currency; one of ``@ : # % [ ] , *`` inside a symbol is written ``%40``.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from ib_async import ComboLeg, Contract

from ibkit.errors import ShorthandError
from ibkit.nearest import EXAMPLES, repairs
from ibkit.securities import check_digit, number_kind
from ibkit.slugs import TERMS, from_slug, slug

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "ANY",
    "EXCHANGES",
    "KINDS",
    "SEC_TYPES",
    "check_text",
    "escape",
    "exact",
    "from_slug",
    "legs_of",
    "make_combo",
    "parse",
    "shorthand",
    "slug",
]

# what IB routes to when the text does not say; "" means: the resolver finds out
EXCHANGES: Final = {
    "STK": "SMART",
    "OPT": "SMART",
    "CFD": "SMART",
    "BOND": "SMART",
    "CASH": "IDEALPRO",
    "CRYPTO": "PAXOS",
    "FUT": "",
    "CONTFUT": "",
    "FOP": "",
    "IND": "",
}
SEC_TYPES: Final = {"CONT": "CONTFUT"}
KINDS: Final = (
    *("STK", "FUT", "CONT", "OPT", "FOP", "CASH", "IND", "CRYPTO", "BOND", "CFD", "CONID", "BAG"),
)
ANY: Final = "*"

_CLASSED: Final = frozenset({"FUT", "CONTFUT", "OPT", "FOP"})
_NAME = re.compile(
    r"(?P<symbol>[^@:#\[\],]+)(?:#(?P<class>[^@:#\[\],]+))?"
    r"(?:@(?P<exchange>[A-Za-z0-9.]+|\*)(?:/(?P<primary>[A-Za-z0-9.]+))?"
    r"(?::(?P<currency>[A-Z]{3}|\*))?)?$"
)
_AS_FAR_AS = re.compile(
    r"[^@:#\[\],]*(?:#[^@:#\[\],]*)?(?:@[A-Za-z0-9.*]*(?:/[A-Za-z0-9.]*)?(?::[A-Z*]*)?)?"
)
_STRIKE = re.compile(r"(?P<strike>\d+(?:\.\d+)?)(?P<right>[CP])$", re.ASCII)
_LEG = re.compile(r"\s*(?P<sign>[+-])(?P<ratio>[1-9]\d{0,5})\s+(?P<what>.*\S)\s*$", re.ASCII)
_RESERVED = re.compile(r"[@:#%\[\],*]|^\s+|\s+$")


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
        futures table knows it. The legs of a ``BAG:`` that are not named by number are in
        ``comboLegsDescrip``, until they are looked up.

    Raises
    ------
    ShorthandError
        Names the position, what was expected there, and the nearest text that can be read.

    Examples
    --------
    >>> parse("AAPL")
    Contract(secType='STK', symbol='AAPL', exchange='SMART', currency='USD')
    >>> parse("CASH:EURUSD").symbol
    'EUR'
    >>> parse("FUT:SI#SIL:202612").tradingClass
    'SIL'
    """
    check_text(text)
    lead = len(text) - len(text.lstrip())
    try:
        return _parse(text.strip())
    except ShorthandError as error:
        near = next(filter(_is_valid, repairs(text)), "")
        raise ShorthandError(text, lead + error.position, error.expected, near) from None


def check_text(text: object) -> None:
    """Refuse what is no text, as shorthand that cannot be read is refused.

    >>> check_text(265598)
    Traceback (most recent call last):
    ibkit.errors.ShorthandError: Cannot read '265598' as an instrument, at position 0:
      265598
      ^ expected shorthand in quotes, or a Contract
    Nearest that can be read: CONID:265598
    """
    if not isinstance(text, str):
        number = isinstance(text, int) and not isinstance(text, bool) and 0 < text < 2**31
        near = f"CONID:{text}" if number else EXAMPLES["STK"]
        raise ShorthandError(repr(text), 0, "shorthand in quotes, or a Contract", near)


def _is_valid(text: str) -> bool:
    try:
        _parse(text)
    except ShorthandError:
        return False
    return True


def _parse(text: str) -> Contract:
    if not text:
        raise ShorthandError(text, 0, "a symbol, such as AAPL or FUT:ES")
    kind, colon, rest = text.partition(":")
    if not colon or "@" in kind or "#" in kind:
        return _plain("STK", text, text, 0)
    if kind not in KINDS:
        raise ShorthandError(text, 0, f"one of {', '.join(KINDS)} before the colon, or a symbol")
    start = len(kind) + 1
    if not rest:
        raise ShorthandError(text, start, "a symbol after the colon")
    if kind in _FORMS:
        return _FORMS[kind](kind, text, rest, start)
    return _plain(SEC_TYPES.get(kind, kind), text, rest, start)


def _plain(sec_type: str, text: str, name: str, start: int) -> Contract:
    match = _NAME.match(name)
    if not match or not (symbol := unquote(match["symbol"])):
        raise ShorthandError(
            text, start + _where(name), "symbol, @exchange, :currency, as in VOD@LSE:GBP"
        )
    if match["class"] and sec_type not in _CLASSED:
        raise ShorthandError(text, start + name.index("#"), "no class: only derivatives have one")
    if match["primary"] and sec_type != "STK":
        raise ShorthandError(
            text, start + match.start("primary") - 1, "no primary exchange but of a stock"
        )
    exchange, currency = match["exchange"] or EXCHANGES[sec_type], match["currency"]
    usual = _usual_currency(sec_type, exchange)
    return Contract(
        secType=sec_type,
        symbol=symbol,
        exchange="" if exchange == ANY else exchange,
        primaryExchange=match["primary"] or "",
        currency=usual if currency is None else currency.replace(ANY, ""),
        tradingClass=unquote(match["class"] or ""),
    )


def _where(name: str) -> int:
    """Return where a name that cannot be read goes wrong."""
    return _AS_FAR_AS.match(name).end()  # type: ignore[union-attr]  # it fits anything


def _usual_currency(sec_type: str, exchange: str) -> str:
    """Return the currency that is meant when none is said; "" is any.

    A stock on a named exchange is in whatever that exchange trades it in.
    """
    if sec_type in {"CONTFUT", "FUT", "IND"} or (sec_type == "STK" and exchange != "SMART"):
        return ""
    return "USD"


def _numbered(_: str, text: str, rest: str, start: int) -> Contract:
    number, at, exchange = rest.partition("@")
    if not number.isascii() or not number.isdigit() or not 0 < int(number) < 2**31:
        raise ShorthandError(text, start, "IB's contract number, as in CONID:265598")
    if at and not re.fullmatch(r"[A-Za-z0-9.]+", exchange):
        position = start + len(number) + 1
        raise ShorthandError(text, position, "an exchange, as in CONID:265598@SMART")
    return Contract(conId=int(number), exchange=exchange)


def _pair(_: str, text: str, rest: str, start: int) -> Contract:
    pair, at, exchange = rest.partition("@")
    if not re.fullmatch(r"[A-Z]{3}\.?[A-Z]{3}", pair):
        raise ShorthandError(text, start, "two currencies of three letters, as in EURUSD")
    if at and not re.fullmatch(r"[A-Za-z0-9.]+", exchange):
        raise ShorthandError(text, start + len(pair) + 1, "an exchange, as in EURUSD@IDEALPRO")
    exchange = exchange or EXCHANGES["CASH"]
    return Contract(secType="CASH", symbol=pair[:3], exchange=exchange, currency=pair[-3:])


def _bond(_: str, text: str, rest: str, start: int) -> Contract:
    number, at, venue = rest.partition("@")
    if not (kind := number_kind(number)):
        raise ShorthandError(text, start, "an ISIN of 12 characters, or a CUSIP of 9")
    if (digit := check_digit(number, kind)) != number[-1]:
        position = start + len(number) - 1
        raise ShorthandError(text, position, f"the check digit {digit}: this is no {kind}")
    contract = _plain("BOND", text, number + at + venue, start)
    return Contract(
        secType="BOND",
        secIdType=kind,
        secId=number,
        exchange=contract.exchange,
        currency=contract.currency,
    )


def _future(_: str, text: str, rest: str, start: int) -> Contract:
    head, tail = _split_expiry(rest)
    contract = _plain("FUT", text, head, start)
    if tail is None:
        return contract
    if not re.fullmatch(r"\d{6}(\d{2})?", tail, re.ASCII) or not _is_date(tail):
        position = start + len(head) + 1
        raise ShorthandError(text, position, "a month or day: 202612 or 20261218")
    contract.lastTradeDateOrContractMonth = tail
    return contract


def _split_expiry(rest: str) -> tuple[str, str | None]:
    """Split ``ES@CME:USD:202612`` before its last colon, unless that one opens a currency."""
    head, colon, tail = rest.rpartition(":")
    opens = re.fullmatch(r"[A-Z]{3}|\*", tail) and "@" in head and ":" not in head
    return (rest, None) if not colon or opens else (head, tail)


def _is_date(text: str) -> bool:
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:] or 1))
    except ValueError:
        return False
    return True


def _option(kind: str, text: str, rest: str, start: int) -> Contract:
    parts = rest.rsplit(":", 2)
    if len(parts) != 3:
        raise ShorthandError(text, len(text), "expiry and strike, as in OPT:SPY:20261218:650C")
    head, expiry, strike = parts
    contract = _plain(kind, text, head, start)
    if not re.fullmatch(r"\d{8}", expiry, re.ASCII) or not _is_date(expiry):
        raise ShorthandError(text, start + len(head) + 1, "the expiry as yyyymmdd")
    match = _STRIKE.match(strike)
    if not match:
        raise ShorthandError(text, len(text) - len(strike), "strike and right, as in 650C")
    contract.lastTradeDateOrContractMonth = expiry
    contract.strike = float(match["strike"])
    contract.right = match["right"]
    return contract


def _combo(_: str, text: str, rest: str, start: int) -> Contract:
    if not rest.startswith("[") or not rest.endswith("]"):
        position = start if not rest.startswith("[") else len(text)
        raise ShorthandError(text, position, "the legs in brackets: BAG:[+1 AAPL, -1 MSFT]")
    legs, place = [], start + 1
    for part in rest[1:-1].split(","):
        legs.append(_leg(text, part, place))
        place += len(part) + 1
    if len(legs) < 2:
        raise ShorthandError(text, start + 1, "two legs or more")
    return make_combo(legs)


def _leg(text: str, part: str, place: int) -> tuple[int, Contract]:
    match = _LEG.match(part)
    if not match:
        position = place + len(part) - len(part.lstrip())
        raise ShorthandError(text, position, "sign, ratio and instrument, as in +1 AAPL")
    try:
        contract = _parse(match["what"])
    except ShorthandError as error:
        position = place + match.start("what") + error.position
        raise ShorthandError(text, position, error.expected) from None
    return int(match["sign"] + match["ratio"]), contract


def make_combo(legs: Sequence[tuple[int, Contract]]) -> Contract:
    """Return a combo of (signed ratio, contract); its legs are IB's if all have their numbers.

    >>> make_combo([(1, Contract(conId=1)), (-2, Contract(conId=2))]).comboLegs[1].action
    'SELL'
    """
    contracts = [contract for _, contract in legs]
    symbols = list(dict.fromkeys(each.symbol for each in contracts if each.symbol))
    currencies = {each.currency for each in contracts} - {""}
    venues = {each.exchange for each in contracts}
    combo = Contract(
        secType="BAG",
        symbol=",".join(sorted(symbols)),
        exchange=venues.pop() if len(venues) == 1 and "" not in venues else "SMART",
        currency=currencies.pop() if len(currencies) == 1 else "USD",
    )
    if all(each.conId for each in contracts):
        combo.comboLegs = [_as_leg(ratio, each) for ratio, each in legs]
    else:
        combo.comboLegsDescrip = ", ".join(f"{ratio:+d} {shorthand(each)}" for ratio, each in legs)
    return combo


def _as_leg(ratio: int, contract: Contract) -> ComboLeg:
    action = "BUY" if ratio > 0 else "SELL"
    return ComboLeg(contract.conId, abs(ratio), action, contract.exchange)


def legs_of(combo: Contract) -> list[tuple[int, Contract]]:
    """Return the (signed ratio, contract) of each leg of a combo, in order."""
    if combo.comboLegs:
        return [
            (each.ratio if each.action == "BUY" else -each.ratio, _numbered_leg(each))
            for each in combo.comboLegs
        ]
    text = f"BAG:[{combo.comboLegsDescrip}]"
    return [_leg(text, part, 5) for part in combo.comboLegsDescrip.split(",")]


def _numbered_leg(leg: ComboLeg) -> Contract:
    return Contract(conId=leg.conId, exchange=leg.exchange)


# the kinds whose text is more than a name
_FORMS: Final[dict[str, Callable[[str, str, str, int], Contract]]] = {
    "FUT": _future,
    "OPT": _option,
    "FOP": _option,
    "CASH": _pair,
    "BOND": _bond,
    "CONID": _numbered,
    "BAG": _combo,
}


def shorthand(contract: Contract) -> str:
    """Return the shortest text that `parse` reads back as this description.

    What a description says beyond a shorthand's words (multiplier, local symbol) is left out, and
    so are the primary exchange, and a class that is called like the symbol, of a contract that has
    its number; what has no words of its own is
    ``CONID:``.

    Examples
    --------
    >>> shorthand(parse("AAPL@LSE:GBP")), shorthand(parse("FUT:ES:202612"))
    ('AAPL@LSE:GBP', 'FUT:ES:202612')
    """
    sec_type = contract.secType
    if sec_type == "BAG" and (contract.comboLegs or contract.comboLegsDescrip):
        legs = (f"{ratio:+d} {shorthand(each)}" for ratio, each in legs_of(contract))
        return f"BAG:[{', '.join(legs)}]"
    if sec_type == "BOND" and contract.secId:
        return f"BOND:{contract.secId}{_at(contract)}"
    pair = contract.symbol + contract.currency
    if sec_type == "CASH" and re.fullmatch(r"[A-Z]{6}", pair) and len(contract.symbol) == 3:
        usual = contract.exchange in {"", EXCHANGES["CASH"]}
        return f"CASH:{pair}" if usual else f"CASH:{pair}@{contract.exchange}"
    if not contract.symbol or sec_type not in EXCHANGES.keys() - {"BOND", "CASH"}:
        at = f"@{contract.exchange}" if contract.exchange else ""
        return f"CONID:{contract.conId}{at}"
    named = contract.tradingClass if sec_type in _CLASSED else ""
    if contract.conId and named == contract.symbol:
        named = ""
    name = escape(contract.symbol) + (f"#{escape(named)}" if named else "")
    name += _at(contract)
    if sec_type == "STK":
        return name
    kind = "CONT" if sec_type == "CONTFUT" else sec_type
    tail = [contract.lastTradeDateOrContractMonth[:8]] if sec_type in TERMS else []
    if sec_type in {"OPT", "FOP"}:
        tail.append(f"{exact(contract.strike)}{contract.right[:1]}")
    return ":".join([kind, name, *filter(None, tail)])


def exact(strike: float) -> str:
    """Return a number as shorthand writes it: every digit, and no more."""
    return f"{Decimal(repr(strike)).normalize():f}"


def escape(text: str) -> str:
    """Write what the grammar needs for itself as ``%40``; a blank at either end too."""
    return _RESERVED.sub(lambda found: quote(found[0], safe=""), text)


def _at(contract: Contract) -> str:
    """Return ``@exchange/primary:currency``, as far as it differs from what `parse` assumes."""
    sec_type, primary = contract.secType, contract.primaryExchange
    usual = EXCHANGES[sec_type]
    # IB names no exchange of what is held
    venue = contract.exchange or (usual if contract.conId else "")
    money = contract.currency
    money = "" if money == _usual_currency(sec_type, venue) else f":{money or ANY}"
    told = contract.conId or primary in {"", venue}
    named = "" if told or sec_type != "STK" else f"/{primary}"
    if venue == usual and not money and not named:
        return ""
    return f"@{venue or ANY}{named}{money}"
