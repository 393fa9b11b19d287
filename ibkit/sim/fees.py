"""What trading costs here: simple rates near IB's, in the instrument's currency.

Rates are rough on purpose: a test may rely on their being there, not on their height.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ibkit.sim.universe import Instrument

PLACES: Final = Decimal("0.000001")
SMALL_CONTRACT: Final = Decimal(50_000)  # below this value a futures contract counts as a micro
MICRO_FEE, FUTURE_FEE = Decimal("0.62"), Decimal("2.25")
FREE: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Rate:
    """A fee a unit, plus a share of the value, at least `least` an order."""

    unit: Decimal
    share: Decimal
    least: Decimal


NOTHING: Final = Rate(FREE, FREE, FREE)
RATES: Final = {
    "US stock": Rate(Decimal("0.005"), FREE, Decimal(1)),
    "stock": Rate(FREE, Decimal("0.0005"), Decimal(3)),
    "CASH": Rate(FREE, Decimal("0.00002"), Decimal(2)),
    "CRYPTO": Rate(FREE, Decimal("0.0018"), Decimal("1.75")),
    "OPT": Rate(Decimal("0.65"), FREE, Decimal(1)),
    "FOP": Rate(Decimal("1.42"), FREE, FREE),
    "BOND": Rate(FREE, Decimal("0.001"), Decimal(1)),
    "CFD": Rate(FREE, Decimal("0.0005"), Decimal(1)),
    "FUND": Rate(FREE, FREE, Decimal("14.95")),
    "CMDTY": Rate(FREE, Decimal("0.000015"), Decimal(2)),
}


def order_fee(instrument: Instrument, shares: Decimal, value: Decimal) -> Decimal:
    """Return the fee of an order that has traded `shares` for `value` so far.

    >>> from ibkit.sim.universe import Universe
    >>> order_fee(Universe.load().by_con_id(265598), Decimal(100), Decimal(27_000))
    Decimal('1.000000')
    """
    if instrument.sec_type == "FUT":
        small = value < SMALL_CONTRACT * shares
        return ((MICRO_FEE if small else FUTURE_FEE) * shares).quantize(PLACES)
    rate = RATES.get(_kind(instrument), NOTHING)
    return max(rate.least, rate.unit * shares + rate.share * value).quantize(PLACES)


def _kind(instrument: Instrument) -> str:
    if instrument.sec_type != "STK":
        return instrument.sec_type
    return "US stock" if instrument.currency == "USD" else "stock"
