"""`ibkit panic`: cancel everything, from a process that no busy notebook can hold up.

Any client may ask IB to cancel all orders of the login, its own, those of others and TWS's. Not
here: a lasting halt, or closing positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from ibkit import clock
from ibkit.errors import PanicError
from ibkit.orders.views import make_view, orders_frame

if TYPE_CHECKING:
    import pandas as pd
    from ib_async import IB

OVER: Final = frozenset({"Cancelled", "ApiCancelled", "Filled", "Inactive"})
AGAIN_S: Final = 0.1


def panic(ib: IB, timeout_s: float = 10.0) -> pd.DataFrame:
    """Cancel every open order of the login, and wait until IB lists none.

    Parameters
    ----------
    ib : IB
        `kit.ib` of any connection; a read-only one will do, since it only takes risk away.
    timeout_s : float
        Seconds until the orders that are left become an error.

    Returns
    -------
    DataFrame
        The orders that were open before; columns as `kit.orders.open`.

    Raises
    ------
    PanicError
        Some orders are still open: it names them. The request to cancel stands at IB all the same.
    RequestRefusedError
        IB would not take the request (a gateway whose API is read-only, say).

    Notes
    -----
    Costs one message, and a list of the open orders ten times a second until it is empty.
    """
    before = [make_view(trade) for trade in ib.reqAllOpenOrders()]
    cast("Any", ib).reqGlobalCancel()  # ib_async is typed in part only
    end = clock.monotonic() + timeout_s
    while left := [t for t in ib.reqAllOpenOrders() if t.orderStatus.status not in OVER]:
        if clock.monotonic() >= end:
            raise PanicError([f"{t.order.orderRef or t.order.permId}" for t in left], timeout_s)
        ib.sleep(AGAIN_S)
    return orders_frame(before)
