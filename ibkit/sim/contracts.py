"""A contract as clients describe it, and as answers repeat it.

Pure. Not here: finding the instrument that is meant (`universe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.wire import Record


@dataclass(slots=True)
class ContractSpec:
    """A contract as a client describes it; empty means "any"."""

    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    last_trade_date: str = ""
    strike: float | None = 0.0
    right: str = ""
    multiplier: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""
    include_expired: bool = False
    sec_id_type: str = ""
    sec_id: str = ""


def spec_of(values: Record) -> ContractSpec:
    """Return the description inside a request."""
    contract = dict(values["contract"])
    contract["con_id"] = contract["con_id"] or 0
    contract["strike"] = float(contract.get("strike") or 0)
    if contract.get("right") in {"?", "0"}:
        contract["right"] = ""
    extra = {
        key: values[key] for key in ("include_expired", "sec_id_type", "sec_id") if key in values
    }
    return ContractSpec(**contract, **extra)


def contract_record(instrument: Instrument, exchange: str | None = None) -> Record:
    """Return the contract of an answer; `exchange` is where the client's order or position is."""
    return {
        "con_id": instrument.con_id,
        "symbol": instrument.symbol,
        "sec_type": instrument.sec_type,
        "last_trade_date": instrument.last_trade_date,
        "strike": instrument.strike or None,
        "right": instrument.right or None,
        "multiplier": instrument.multiplier,
        "exchange": instrument.exchange if exchange is None else exchange,
        "primary_exchange": instrument.primary_exchange,
        "currency": instrument.currency,
        "local_symbol": instrument.local_symbol,
        "trading_class": instrument.trading_class,
    }
