"""Choose among several matches, by rules that the user has set, or show them as a table.

Pure. A preference never invents a match, and what no rule decides stays ambiguous. Not here: the
rules' file (`ibkit.contracts.overrides`), the front month (`ibkit.contracts.futures`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ib_async import Contract, ContractDetails

from ibkit import naming
from ibkit.contracts.specs import find_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibkit.contracts.overrides import PreferRow

SHOWN: Final = 20
DATED: Final = frozenset({"FUT", "OPT", "FOP"})
MORE: Final = "…"  # instead of a shorthand, in the last row of a long table
_FIELDS: Final = (
    *("secType", "symbol", "exchange", "primaryExchange", "currency", "tradingClass"),
    *("strike", "right", "conId"),
)


def contract_in(details: ContractDetails) -> Contract:
    """Return the contract of details; IB always sends one."""
    assert details.contract is not None
    return details.contract


def prefer(
    description: Contract, matches: Sequence[ContractDetails], rules: PreferRow
) -> list[ContractDetails]:
    """Return the matches that the rules prefer, as far as the description left them open.

    Parameters
    ----------
    description : Contract
        What was asked for; what it names is never a matter of preference.
    matches : sequence of ContractDetails
        All that fit it.
    rules : PreferRow
        The ``[prefer]`` table.
    """
    kept = list(matches)
    orders = (
        ("currency", _currencies(description, rules) if not description.currency else ()),
        ("exchange", rules.exchanges if not description.exchange else ()),
        ("primaryExchange", rules.primary_exchanges if not description.primaryExchange else ()),
    )
    for field, order in orders:
        for value in order if len(kept) > 1 else ():
            fitting = [each for each in kept if getattr(contract_in(each), field) == value]
            if fitting:
                kept = fitting
                break
    if rules.standard_class and not description.tradingClass and len(kept) > 1:
        kept = [each for each in kept if _is_standard(contract_in(each))] or kept
    return kept


def _currencies(description: Contract, rules: PreferRow) -> tuple[str, ...]:
    """Return the currencies in order; what names no exchange either is usual in dollars."""
    usual = ("USD",) if description.exchange == naming.EXCHANGES.get(description.secType) else ()
    return (*rules.currencies, *usual) if rules.currencies else ()


def _is_standard(contract: Contract) -> bool:
    """Whether a derivative is of the class that its product is known by."""
    if contract.secType == "FUT" and (spec := find_spec(contract.symbol)):
        return contract.tradingClass == spec.trading_class
    return contract.tradingClass in {"", contract.symbol}


def table_of(matches: Sequence[ContractDetails]) -> list[dict[str, str]]:
    """Return the candidates as rows of text, each with the shortest shorthand that picks it.

    In order of expiry, strike and right; no more than `SHOWN`, and a last row that says how many
    more there are.
    """
    contracts = [contract_in(each) for each in matches]
    shown = sorted(matches, key=lambda each: _place(contract_in(each)))[:SHOWN]
    rows = [
        {
            "shorthand": pick(contract, contracts),
            "name": details.longName,
            "local symbol": contract.localSymbol,
            "exchange": contract.primaryExchange or contract.exchange,
            "currency": contract.currency,
            "class": contract.tradingClass if contract.secType != "STK" else "",
            "expiry": contract.lastTradeDateOrContractMonth,
            "multiplier": contract.multiplier,
        }
        for details, contract in ((each, contract_in(each)) for each in shown)
    ]
    if len(matches) <= SHOWN:
        return sorted(rows, key=lambda row: row["shorthand"]) if _undated(contracts) else rows
    more = {"shorthand": MORE, "name": f"and {len(matches) - SHOWN} more"}
    return [*rows, dict.fromkeys(rows[0], "") | more]


def _place(contract: Contract) -> tuple[object, ...]:
    """Return what candidates are sorted by."""
    terms = contract.lastTradeDateOrContractMonth, contract.strike, contract.right
    listing = contract.tradingClass, contract.exchange, contract.currency, contract.conId
    return *terms, contract.symbol, *listing


def _undated(contracts: Sequence[Contract]) -> bool:
    return not any(each.lastTradeDateOrContractMonth for each in contracts)


def pick(contract: Contract, among: Sequence[Contract]) -> str:
    """Return the shortest shorthand that fits `contract` and none of the others.

    Of a future it names the day: without one it would mean the front month, whichever that is.

    >>> silver = [Contract("FUT", n, "SI", "20261229", tradingClass=name, exchange="COMEX")
    ...           for n, name in enumerate(("SI", "SIL"), 1)]
    >>> pick(silver[1], silver)
    'FUT:SI#SIL:20261229'
    """
    rivals = [each for each in among if _terms(each) == _terms(contract)]
    for description in _descriptions(contract):
        if sum(fits(each, description) for each in rivals) == 1 and fits(contract, description):
            text = naming.shorthand(description)
            if naming.parse(text) == description:
                return text
    return f"CONID:{contract.conId}"


def _terms(contract: Contract) -> tuple[str, str, str, float, str]:
    """Return what every description of a contract says; the continuous has no day of its own."""
    day = contract.lastTradeDateOrContractMonth[:8] if contract.secType in DATED else ""
    return contract.secType, contract.symbol, day, contract.strike, contract.right[:1]


def _descriptions(contract: Contract) -> Iterator[Contract]:
    """Yield ever more precise descriptions of a contract."""
    kind, symbol, day, strike, right = _terms(contract)
    usual = naming.EXCHANGES.get(kind)
    if usual is None or not symbol:
        return
    base = Contract(kind, 0, symbol, day, strike, right)
    classes = ("", contract.tradingClass) if kind in {"FUT", "OPT", "FOP", "CONTFUT"} else ("",)
    for each in dict.fromkeys(classes):
        yield from _listed(replace(base, tradingClass=each), contract, usual)


def _listed(base: Contract, contract: Contract, usual: str) -> Iterator[Contract]:
    kind, venue = contract.secType, contract.exchange
    money = "" if kind in {"FUT", "CONTFUT", "IND"} else "USD"
    yield replace(base, exchange=usual, currency=money)
    if venue:
        any_money = "" if kind == "STK" and venue != "SMART" else money
        yield replace(base, exchange=venue, currency=any_money)
        yield replace(base, exchange=venue, currency=contract.currency)
        if kind == "STK" and contract.primaryExchange not in {"", venue}:
            primary = contract.primaryExchange
            for currency in dict.fromkeys((any_money, contract.currency)):
                yield replace(base, exchange=venue, primaryExchange=primary, currency=currency)


def fits(contract: Contract, description: Contract) -> bool:
    """Whether nothing that a description says speaks against a contract."""
    told = ((getattr(description, name), getattr(contract, name)) for name in _FIELDS)
    if any(said and said != is_ for said, is_ in told):
        return False
    expiry = description.lastTradeDateOrContractMonth
    return contract.lastTradeDateOrContractMonth.startswith(expiry)
