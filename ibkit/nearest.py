"""What somebody may have meant by an instrument's name that cannot be read.

Guesses only, best first; `ibkit.naming` takes the first one that it can read, and the last one is
always readable. Pure.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from itertools import islice, product
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES: Final = {
    "STK": "AAPL",
    "FUT": "FUT:ES:202612",
    "CONT": "CONT:ES",
    "OPT": "OPT:SPY:20261218:650C",
    "FOP": "FOP:ES:20261218:6500C",
    "CASH": "CASH:EURUSD",
    "IND": "IND:SPX@CBOE",
    "CRYPTO": "CRYPTO:BTC",
    "BOND": "BOND:US912810TM09",
    "CFD": "CFD:IBUS500",
    "CONID": "CONID:265598",
    "BAG": "BAG:[+1 AAPL, -1 MSFT]",
}
# what people and other libraries call the kinds
WORDS: Final = {
    **dict.fromkeys(("STOCK", "EQUITY", "ETF", "EQ", "SHARE"), "STK"),
    **dict.fromkeys(("FUTURE", "FUTURES", "FX.FUT"), "FUT"),
    **dict.fromkeys(("CONTFUT", "CONTINUOUS", "CONTFUTURE"), "CONT"),
    **dict.fromkeys(("OPTION", "OPTIONS", "OPRA"), "OPT"),
    **dict.fromkeys(("FUTOPT", "FUTUREOPTION", "FUTURESOPTION"), "FOP"),
    **dict.fromkeys(("FX", "FOREX", "CURRENCY", "PAIR", "IDEALPRO"), "CASH"),
    **dict.fromkeys(("INDEX", "INDICES"), "IND"),
    **dict.fromkeys(("COIN", "CRYPTOCURRENCY"), "CRYPTO"),
    **dict.fromkeys(("BONDS", "ISIN", "CUSIP"), "BOND"),
    **dict.fromkeys(("ID", "CON_ID", "CONTRACT"), "CONID"),
    **dict.fromkeys(("COMBO", "SPREAD"), "BAG"),
}
MONTHS: Final = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
CODES: Final = "FGHJKMNQUVXZ"
MONEY: Final = frozenset(
    (
        *("USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "HKD", "SGD", "SEK", "NOK"),
        *("DKK", "MXN", "CNH", "KRW", "INR", "ZAR", "PLN", "CZK", "HUF", "ILS"),
    )
)
_CENTURY: Final = "20"
_STRAY: Final = r"[^\w@:#/%.&'*+ -]"  # what no name has
_LEG_GUESSES: Final = 6
_COMBO_GUESSES: Final = 100


def repairs(text: str) -> Iterator[str]:
    """Yield texts that `text` may have been meant to be, and last an example of its kind.

    >>> list(repairs("FUT:ES:2026-12"))[0]
    'FUT:ES:202612'
    """
    plain = re.sub(r"\s+", " ", text).strip()
    kind, rest = _kind(plain)
    seen: set[str] = {text}
    for guess in _guesses(kind, rest, plain):
        if guess not in seen:
            seen.add(guess)
            yield guess
    yield EXAMPLES[kind]


def _kind(text: str) -> tuple[str, str]:
    """Return the kind that the head of a text seems to name, and the rest."""
    match = re.match(r"([A-Za-z_.]+)\s*[:\s]\s*(.*)$", text)
    if not match:
        return "STK", text
    head, rest = str(match[1]).upper(), str(match[2])
    if head in EXAMPLES or head in WORDS:
        return WORDS.get(head, head), rest
    near: list[str] = get_close_matches(head, [*EXAMPLES, *WORDS], 1, 0.75)
    if near and ":" in text:
        return WORDS.get(near[0], near[0]), rest
    return "STK", text


def _guesses(kind: str, rest: str, plain: str) -> Iterator[str]:
    for words in dict.fromkeys((rest, rest.upper())):
        yield from _REPAIRS.get(kind, _plain)(kind, words)
    if kind == "STK":
        yield plain.upper()


def _name(text: str) -> Iterator[str]:
    """Yield what a symbol with its exchange and currency may have been."""
    text = re.sub(r"\s*([@:#/])[\s@:#/]*", r"\1", text.strip(" :@#/")).strip()
    yield text
    yield re.sub(_STRAY, "", text)
    parts = [part for part in re.split(r"[@:,\s/]+", text) if part]
    if len(parts) == 2:
        symbol, other = parts
        if other.upper() in MONEY:
            yield f"{symbol}@SMART:{other.upper()}"
        yield f"{symbol}@{re.sub(_STRAY, '', other).upper()}"
    if len(parts) >= 3 and re.fullmatch(r"[A-Za-z]{3}", parts[2]):
        yield f"{parts[0]}@{parts[1].upper()}:{parts[2].upper()}"
        yield f"{parts[0]}@{parts[2].upper()}:{parts[1].upper()}"
    yield parts[0] if parts else ""


def _plain(kind: str, text: str) -> Iterator[str]:
    for name in _name(text):
        yield name if kind == "STK" else f"{kind}:{name}"


def _future(_: str, text: str) -> Iterator[str]:
    head, _, tail = text.strip(" :").rpartition(":")
    if not head:
        head, _, tail = text.strip(" :").partition(" ")
    for name in _name(head):
        for expiry in _expiries(tail):
            yield f"FUT:{name}:{expiry}"
    local = re.fullmatch(rf"([A-Za-z0-9]{{1,4}}?)([{CODES}])(\d{{1,2}})", text.strip())
    for expiry in _expiries(local[2] + local[3]) if local else ():
        yield f"FUT:{local[1]}:{expiry}" if local else ""
    for name in _name(head or tail):
        yield f"FUT:{name}"


def _expiries(text: str) -> Iterator[str]:
    """Yield a month or a day as yyyymm or yyyymmdd, whichever way it was written."""
    text = text.strip().upper()
    digits = re.sub(r"\D", "", text)
    named = re.fullmatch(rf"({'|'.join(MONTHS)})[A-Z]*[\s'-]*(?:{_CENTURY})?(\d\d)", text)
    coded = re.fullmatch(rf"([{CODES}])(?:{_CENTURY})?(\d{{1,2}})", text)
    day = re.fullmatch(r"(\d{1,2})[./ -](\d{1,2})[./ -](\d{4})", text)
    spelt = re.fullmatch(
        rf"(\d{{1,2}})[\s-]*({'|'.join(MONTHS)})[\s'-]*(?:{_CENTURY})?(\d\d)", text
    )
    if spelt:
        month = MONTHS.index(spelt[2]) + 1
        yield f"{_CENTURY}{spelt[3]}{month:02}{int(spelt[1]):02}"
    if named:
        yield f"{_CENTURY}{named[2]}{MONTHS.index(named[1]) + 1:02}"
    if coded:
        year = coded[2] if len(coded[2]) == 2 else f"2{coded[2]}"
        yield f"{_CENTURY}{year}{CODES.index(coded[1]) + 1:02}"
    if day:
        yield f"{day[3]}{int(day[2]):02}{int(day[1]):02}"
        yield f"{day[3]}{int(day[1]):02}{int(day[2]):02}"
    if not (named or coded or day or spelt):
        yield digits
        if len(digits) in {4, 6}:
            yield f"{_CENTURY}{digits}"
        yield digits[:8]
        yield digits[:6]


def _option(kind: str, text: str) -> Iterator[str]:
    text = re.sub(r"\b(CALL|PUT)S?\b|(?<=\d)(CALL|PUT)", lambda word: word[0][0], text.upper())
    text = re.sub(r"(?<=\d)\s*:?\s*([CP])$", r"\1", text)
    text = re.sub(r"(?<![A-Z])([CP])\s*:?\s*(\d+(?:\.\d+)?)$", r"\2\1", text)
    name, *parts = [part for part in re.split(r":|\s+(?=\d)", text) if part.strip()] or [""]
    if parts and re.fullmatch(r"[A-Z]{3}", parts[0]) and "@" in name:
        name, parts = f"{name}:{parts[0]}", parts[1:]
    sides = [part for part in parts if re.fullmatch(r"\d+(\.\d+)?[CP]", part.strip())]
    days = [part for part in parts if part not in sides]
    found = product(_name(name), [d for day in days for d in _expiries(day)], sides)
    for symbol, day, side in found:
        yield f"{kind}:{symbol}:{day}:{side.strip()}"
    yield from _example_of(kind, name)


def _example_of(kind: str, name: str) -> Iterator[str]:
    """Yield the example of a kind, with the name that was given."""
    tail = ":".join(EXAMPLES[kind].split(":")[2:])
    for symbol in _name(name):
        yield f"{kind}:{symbol}:{tail}"


def _pair(_: str, text: str) -> Iterator[str]:
    letters = re.sub(r"[^A-Z]", "", text.upper())
    yield f"CASH:{letters[:6]}"
    yield f"CASH:{letters[:3]}USD"


def _number(_: str, text: str) -> Iterator[str]:
    yield f"CONID:{re.sub(r'[^0-9]', '', text)}"


def _bond(_: str, text: str) -> Iterator[str]:
    number = re.sub(r"[^A-Z0-9]", "", text.upper())
    yield f"BOND:{number}"
    for digit in range(10):
        yield f"BOND:{number[:-1]}{digit}"


def _combo(_: str, text: str) -> Iterator[str]:
    legs = []
    for part in text.strip("[]() ").split(","):
        match = re.fullmatch(r"\s*([+-]?)\s*(\d*)\s*[x*]?\s*(.*?)\s*", part)
        sign, ratio, what = match.groups() if match else ("", "", part.strip())
        legs.append(f"{sign or '+'}{ratio or 1} {what}")
    yield f"BAG:[{', '.join(legs)}]"
    heads, names = zip(*(leg.split(" ", 1) for leg in legs), strict=True)
    guesses = ([name, *islice(repairs(name), _LEG_GUESSES)] for name in names)
    for some in islice(product(*guesses), _COMBO_GUESSES):
        pairs = zip(heads, some, strict=True)
        yield f"BAG:[{', '.join(f'{head} {name}' for head, name in pairs)}]"


_REPAIRS: Final = {
    "FUT": _future,
    "OPT": _option,
    "FOP": _option,
    "CASH": _pair,
    "CONID": _number,
    "BOND": _bond,
    "BAG": _combo,
}
