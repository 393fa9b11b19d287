"""Where IB's word about a future differs from the futures table's: IB's wins, and it is told.

Pure but for the log. Not here: asking IB (`ibkit.contracts.rolling`).
"""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ibkit.contracts.expiry import UnknownExpiryRuleError, expiry
from ibkit.contracts.ticks import to_decimal
from ibkit.log import get_logger

if TYPE_CHECKING:
    from ib_async import ContractDetails

    from ibkit.contracts.futures import Listed
    from ibkit.contracts.specs import FutureSpec

DIFFERENCES: Final = {"instrument": "string", "field": "string", "table": "string", "ib": "string"}
log = get_logger(__name__)


def with_ibs(spec: FutureSpec, details: ContractDetails) -> FutureSpec:
    """Return a row with IB's own values over it; the note says what they changed."""
    ours, theirs = _facts(spec), _ibs_facts(details)
    changed = {name: theirs[name] for name in theirs if theirs[name] != ours[name]}
    if not changed:
        return spec
    words = ", ".join(f"{name}={value} (table: {ours[name]})" for name, value in changed.items())
    log.warning("IB differs from the futures table: IB wins", root=spec.symbol, changed=words)
    return replace(spec, **changed, note=joined(spec.note, f"IB: {words}"))


def differences(spec: FutureSpec, listed: Listed) -> list[dict[str, str]]:
    """Return where IB's word on one contract differs from the table's row."""
    ours, theirs = _facts(spec), _ibs_facts(listed.details)
    rows = [
        {**row_of(spec), "field": name, "table": str(ours[name]), "ib": str(ib)}
        for name, ib in theirs.items()
        if ib != ours[name]
    ]
    try:
        expected = expiry(spec, *listed.month)
    except UnknownExpiryRuleError:
        return rows
    if expected != listed.expiry:
        rows.append(
            {
                "instrument": f"FUT:{spec.symbol}:{listed.life.month}",
                "field": "expiry",
                "table": str(expected),
                "ib": str(listed.expiry),
            }
        )
    return rows


def row_of(spec: FutureSpec) -> dict[str, str]:
    """Return the column of a report that says which product it is about."""
    return {"instrument": f"FUT:{spec.symbol}"}


def _facts(spec: FutureSpec) -> dict[str, Any]:
    return {each.name: getattr(spec, each.name) for each in fields(spec)}


def _ibs_facts(details: ContractDetails) -> dict[str, Any]:
    """Return what IB says about the product, where it says something."""
    contract = details.contract
    assert contract is not None
    told: dict[str, Any] = {
        "ib_symbol": contract.symbol,
        "exchange": contract.exchange,
        "trading_class": contract.tradingClass,
        "currency": contract.currency,
        "multiplier": Decimal(contract.multiplier) if contract.multiplier else None,
        "price_magnifier": details.priceMagnifier,
        "min_tick": to_decimal(details.minTick) if details.minTick else None,
    }
    return {name: value for name, value in told.items() if value}


def joined(*notes: str) -> str:
    """Return the notes that there are, as one."""
    return "; ".join(note for note in notes if note)
