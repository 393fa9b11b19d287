"""Futures month by month: contracts with their real last trading days and stable numbers.

What is fixed about a product comes from the futures table (`ibkit.contracts.specs`). Not here:
which months are alive (`ibkit.sim.universe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from zlib import crc32

from ibkit.contracts.specs import MONTH_CODES
from ibkit.sim.calendars import CALENDARS
from ibkit.sim.instrument import Instrument

if TYPE_CHECKING:
    from ibkit.contracts.specs import FutureSpec
    from ibkit.sim.instrument import Model

FUTURE_IDS: Final = 700_000_000
KNOWN_FUTURES: Final = {("ES", 2025, 6): 620731015, ("MES", 2026, 6): 770561194}  # IB's own
FUTURE_RULES: Final = 5000
EQUITY_INDEX: Final = ("Indices", "Broad Range Equity Index", "*")
ORDER_TYPES: Final = (
    "ACTIVETIM,AD,ADJUST,ALERT,ALGO,ALLOC,AVGCOST,BASKET,BENCHPX,COND,CONDORDER,DAY,"
    "DEACT,DEACTDIS,DEACTEOD,GAT,GTC,GTD,GTT,HID,ICE,IOC,LIT,LMT,LTH,MIT,MKT,MTL,NGCOMB,NONALGO,OCA,"
    "PEGBENCH,SCALE,SCALERST,SIZECHK,SNAPMID,SNAPMKT,SNAPREL,STP,STPLMT,TRAIL,TRAILLIT,TRAILLMT,"
    "TRAILMIT,WHATIF"
)


@dataclass(frozen=True, slots=True)
class Product:
    """A futures product: the row of the futures table and how it behaves here."""

    spec: FutureSpec
    model: Model
    under_con_id: int = 0


def make_future(product: Product, year: int, month: int) -> Instrument:
    """Return one contract month of a product, with its real last trading day."""
    from ibkit.contracts.expiry import expiry

    spec, model = product.spec, product.model
    last = expiry(spec, year, month)
    industry, category, subcategory = EQUITY_INDEX if product.under_con_id else ("", "", "")
    code = f"{MONTH_CODES[month - 1]}{year % 10}"
    rule = 67 if spec.quoted_tick == Decimal("0.25") else FUTURE_RULES + crc32(_plain(spec)) % 1000
    return Instrument(
        con_id=KNOWN_FUTURES.get(
            (spec.symbol, year, month),
            FUTURE_IDS + slot(spec.symbol) * 1000 + (year - 1990) * 12 + month - 1,
        ),
        symbol=spec.ib_symbol,
        sec_type="FUT",
        exchange=spec.exchange,
        currency=spec.currency,
        local_symbol=f"{spec.trading_class}{code}",
        trading_class=spec.trading_class,
        min_tick=spec.min_tick,
        model=model,
        last_trade_date=f"{last:%Y%m%d}",
        multiplier=f"{spec.multiplier.normalize():f}",
        market_name=spec.trading_class,
        order_types=ORDER_TYPES,
        valid_exchanges=(spec.exchange, "QBALGO") if spec.exchange == "CME" else (spec.exchange,),
        price_magnifier=spec.price_magnifier,
        under_con_id=product.under_con_id,
        long_name=spec.name,
        contract_month=f"{year}{month:02}",
        industry=industry,
        category=category,
        subcategory=subcategory,
        time_zone_id=CALENDARS[model.calendar].ib_zone,
        market_rule_ids=(rule, rule) if spec.exchange == "CME" else (rule,),
        real_expiration_date=f"{last:%Y%m%d}",
        agg_group=2147483647,
        under_symbol=spec.ib_symbol,
        under_sec_type="IND",
    )


def slot(root: str) -> int:
    """Return the number that stands for a product inside our conIds."""
    return crc32(root.encode()) % 20_000


def _plain(spec: FutureSpec) -> bytes:
    return f"{spec.quoted_tick.normalize():f}".encode()


def read_number(con_id: int) -> tuple[int, int, int] | None:
    """Return slot, year and month that a number of ours stands for, or None."""
    found, index = divmod(con_id - FUTURE_IDS, 1000)
    return None if con_id < FUTURE_IDS else (found, 1990 + index // 12, index % 12 + 1)
