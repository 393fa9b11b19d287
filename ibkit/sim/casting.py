"""Who a recording is about: the universe's instrument of that name, or one made up for it.

Not here: the recordings themselves (`recordings`).
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from ibkit.sim.calendars import CALENDARS
from ibkit.sim.instrument import Instrument, Model, PathModel

if TYPE_CHECKING:
    from ibkit.sim.universe import Universe

RECORDED_IDS: Final = 500_000_000
CALENDAR_OF: Final = {"IND": "us_index", "CASH": "fx", "CRYPTO": "crypto", "FUT": "cme_equity"}
TICK_OF: Final = {"CASH": "0.00005", "FUT": "0.25"}


def known(universe: Universe, name: str) -> Instrument | None:
    """Return the instrument of the universe that a recording's name means, or None."""
    contract = _contract(name)
    if contract.conId:
        return universe.by_con_id(contract.conId)
    day = contract.lastTradeDateOrContractMonth
    # a future that has expired is looked for as of its own month
    today = date(int(day[:4]), int(day[4:6]), 1) if len(day) >= len("yyyymm") else None
    wanted = _Wanted(contract)
    found = universe.find(wanted, today) if today else universe.find(wanted)
    return universe.by_con_id(found[0].con_id) if len(found) == 1 else None


def _contract(name: str) -> Any:
    from ibkit import naming

    slug = name.count("-") >= 3
    return naming.from_slug(name) if slug else naming.parse(name)


class _Wanted:
    """A contract of ib_async, described as the universe wants it."""

    def __init__(self, contract: Any) -> None:
        self.con_id: int = contract.conId
        self.symbol: str = contract.symbol
        self.sec_type: str = contract.secType
        self.last_trade_date: str = contract.lastTradeDateOrContractMonth
        self.strike: float | None = contract.strike
        self.right: str = contract.right
        self.exchange: str = contract.exchange
        self.currency: str = contract.currency
        self.multiplier = self.primary_exchange = self.local_symbol = ""
        self.trading_class = self.sec_id_type = self.sec_id = ""
        self.include_expired = True


def made_up(name: str) -> Instrument:
    """Return plain contract details for a recorded instrument that nobody described."""
    contract = _contract(name)
    sec_type, exchange = contract.secType, contract.exchange or "SMART"
    calendar = CALENDAR_OF.get(sec_type, "us_stocks")
    pair = sec_type == "CASH"
    local_symbol = f"{contract.symbol}.{contract.currency}" if pair else contract.symbol
    return Instrument(
        con_id=RECORDED_IDS + crc32(name.encode()) % 100_000_000,
        symbol=contract.symbol,
        sec_type=sec_type,
        exchange=exchange,
        currency=contract.currency or "USD",
        local_symbol=local_symbol,
        trading_class=local_symbol,
        min_tick=Decimal(TICK_OF.get(sec_type, "0.01")),
        model=Model(PathModel(name, 1.0, 0.0), calendar, volume=1.0),
        last_trade_date=contract.lastTradeDateOrContractMonth,
        contract_month=contract.lastTradeDateOrContractMonth[:6],
        market_name=local_symbol,
        order_types="LMT,MKT,WHATIF",
        valid_exchanges=(exchange,),
        long_name=f"{contract.symbol} (recorded)",
        time_zone_id=CALENDARS[calendar].ib_zone,
    )
