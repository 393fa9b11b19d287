"""When an order may trade and when it ends: sessions, auctions, times in force.

Not here: what happens at those times (`exchange`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ibkit.sim.calendars import local
from ibkit.sim.orders import Refused
from ibkit.sim.rules import TYPES, time_of

if TYPE_CHECKING:
    from ibkit.sim.calendars import Session
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.orders import OrderRequest
    from ibkit.sim.watch import Watch

LOOK_AHEAD: Final = timedelta(days=15)
REGULAR_ONLY: Final = frozenset({"STK", "OPT", "BAG"})
IGNORES_OUTSIDE: Final = frozenset({"STP", "TRAIL", "MIT", "STP PRT"})


class Times:
    """The hours of every instrument, as orders care about them.

    Parameters
    ----------
    watch : Watch
        The market.
    always_open : bool
        Whether orders trade outside hours too.
    """

    def __init__(self, watch: Watch, *, always_open: bool) -> None:
        self._watch, self._market, self.always_open = watch, watch.market, always_open

    def trades_now(self, request: OrderRequest, now: float) -> bool:
        """Whether an order's market is open for it."""
        return self.always_open or self._watch.is_open(
            request.instrument, now, use_rth=regular(request)
        )

    def in_regular_hours(self, instrument: Instrument, now: float) -> bool:
        """Whether it is regular hours, or always."""
        return self.always_open or self._watch.is_open(instrument, now, use_rth=True)

    def coming(self, request: OrderRequest, now: float, *, use_rth: bool) -> list[Session]:
        """Return the session of now and those that follow."""
        instrument = request.instrument
        today = local(int(now), instrument.model.calendar).date()
        found = self._market.sessions(instrument, today, today + LOOK_AHEAD, use_rth)
        return [one for one in found if one.end > now]

    def expiry(self, request: OrderRequest, now: float) -> float | None:
        """Return when an order ends: with a session, at its own time, or never."""
        tif = request.tif or "DAY"
        if tif == "GTD":
            return time_of(request, request.good_till_date)
        if tif != "DAY" or TYPES[request.kind].at_close:
            return None
        coming = self.coming(request, now, use_rth=regular(request))
        return float(coming[0].end) if coming else None

    def auction(self, request: OrderRequest, now: float) -> float | None:
        """Return when the auction is that an order waits for; None when it waits for none."""
        at_close = TYPES[request.kind].at_close
        if not at_close and request.tif != "OPG":
            return None
        for one in self.coming(request, now, use_rth=True):
            if at_close or one.start > now:
                return float(one.end if at_close else one.start)
        return None

    def warning(self, request: OrderRequest, now: float) -> Refused:
        """Return the notice that an order waits for the opening."""
        instrument = request.instrument
        coming = self.coming(request, now, use_rth=regular(request))
        opens = next((one.start for one in coming if one.start > now), int(now))
        when = local(opens, instrument.model.calendar)
        home = instrument.primary_exchange or instrument.exchange
        text = (
            f"Order Message:\n{request.action} {request.quantity:f} {instrument.symbol} "
            f"{home}.{instrument.trading_class}\n"
            f"Warning: Your order will not be placed at the exchange until "
            f"{when:%Y-%m-%d %H:%M:%S} {instrument.time_zone_id}."
        )
        return Refused(*request.key, 399, text)


def regular(request: OrderRequest) -> bool:
    """Whether an order keeps to regular hours."""
    if request.instrument.sec_type not in REGULAR_ONLY:
        return False
    return not request.outside_rth or request.kind in IGNORES_OUTSIDE


def ignores_outside(request: OrderRequest) -> bool:
    """Whether the wish to trade outside regular hours means nothing for this order."""
    return request.outside_rth and request.kind in IGNORES_OUTSIDE
