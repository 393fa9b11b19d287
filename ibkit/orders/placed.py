"""A handle on one order, for cells: its properties follow what IB says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibkit.naming import shorthand

if TYPE_CHECKING:
    from ibkit.orders.desk import Desk
    from ibkit.orders.views import OrderView


class Placed:
    """A handle on one order; its properties say what IB said last."""

    def __init__(self, desk: Desk, view: OrderView) -> None:
        self._desk = desk
        self.id = view.id

    def __repr__(self) -> str:
        view = self.view
        done = f"{view.filled:g} of {view.quantity:g}"
        return f"<Placed {view.text} {shorthand(view.contract)}: {view.status}, {done} filled>"

    @property
    def view(self) -> OrderView:
        """The newest snapshot."""
        return self._desk.view(self.id)

    @property
    def order_ref(self) -> str:
        """The name under which journal and IB know it."""
        return self.view.order_ref

    @property
    def key(self) -> str:
        """The intent's key."""
        return self.view.key

    @property
    def status(self) -> str:
        """IB's word."""
        return self.view.status

    @property
    def filled(self) -> float:
        """Units that were executed."""
        return self.view.filled

    @property
    def remaining(self) -> float:
        """Units that were not."""
        return self.view.remaining

    @property
    def average_price(self) -> float:
        """Of what was executed; 0 before."""
        return self.view.average_price

    @property
    def done(self) -> bool:
        """Whether nothing more can happen."""
        return self.view.done

    def wait(self, timeout_s: float = 30.0) -> Placed:
        """Wait until the order is filled, cancelled or refused; return the handle.

        Raises
        ------
        OrderPendingError
            It is still working after `timeout_s` seconds, and goes on working.
        """
        return self._desk.wait(self, timeout_s)

    def cancel(self) -> Placed:
        """Cancel it, see `Desk.cancel`."""
        return self._desk.cancel(self)
