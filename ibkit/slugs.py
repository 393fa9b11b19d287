"""Folder names of instruments, and the way back. `ibkit.naming` gives them to everybody else."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from ib_async import ComboLeg, Contract

from ibkit.securities import number_kind

# how many parts of a slug say the terms of a derivative: expiry, and strike and right
TERMS: Final = {"FUT": 1, "OPT": 3, "FOP": 3}


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
    >>> from ibkit.naming import parse
    >>> slug(parse("AAPL")), slug(parse("0700@SEHK:HKD"))
    ('STK-AAPL-SMART-USD', 'STK-0700-SEHK-HKD')
    """
    symbol = contract.secId if contract.secType == "BOND" and contract.secId else contract.symbol
    parts = [contract.secType, symbol, contract.exchange, contract.currency]
    if contract.secType == "BAG":
        parts.append("_".join(map(_leg_slug, contract.comboLegs)))
    if contract.secType in {"FUT", "OPT", "FOP"}:
        parts.append(contract.lastTradeDateOrContractMonth)
    if contract.secType in {"OPT", "FOP"}:
        parts += [f"{contract.strike:.10g}", contract.right[:1]]
    if contract.secType in TERMS and contract.tradingClass not in {"", contract.symbol}:
        parts.append(contract.tradingClass)
    if not all(parts):
        raise ValueError(
            f"{contract!r} is not named in full (secType, symbol, exchange, currency, expiry); "
            "qualify it first: kit.contract(…)"
        )
    return "-".join(_encode(part) for part in parts)


def _leg_slug(leg: ComboLeg) -> str:
    return f"{leg.action[:1]}{leg.ratio}.{leg.conId}.{leg.exchange}"


def _slug_leg(text: str) -> ComboLeg:
    ratio, con_id, exchange = text[1:].split(".", 2)
    return ComboLeg(int(con_id), int(ratio), "BUY" if text[0] == "B" else "SELL", exchange)


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
    if sec_type == "BAG":
        contract.comboLegs = [_slug_leg(leg) for leg in rest[0].split("_") if leg] if rest else []
    if sec_type == "BOND" and (kind := number_kind(symbol)):
        contract.symbol, contract.secIdType, contract.secId = "", kind, symbol
    terms = TERMS.get(sec_type, 0)
    if terms:
        contract.lastTradeDateOrContractMonth = rest[0]
        contract.tradingClass = rest[terms] if len(rest) > terms else ""
    if terms == 3:
        contract.strike, contract.right = float(rest[1]), rest[2]
    return contract
