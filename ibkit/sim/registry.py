"""Where orders are kept: held back, working, completed; who is whose family and group.

Not here: what happens to them (`exchange`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.orders import Fill, OrderRequest, WorkingOrder

KEPT: Final = 10_000  # completed orders and executions, the oldest go first
FIRST_PERM_ID: Final = 600_000_001

Key = tuple[int, int]  # client and order id
Name = TypeVar("Name")


class Registry:
    """All orders of all clients, and their executions."""

    def __init__(self) -> None:
        self.working: dict[Key, WorkingOrder] = {}
        self.held: dict[Key, OrderRequest] = {}
        self.completed: dict[Key, WorkingOrder] = {}
        self.fills: list[Fill] = []
        self._highest: dict[int, int] = {}
        self._perm_id = FIRST_PERM_ID
        self._sides: dict[tuple[int, int], dict[Key, None]] = defaultdict(dict)
        self._groups: dict[tuple[str, str], dict[Key, None]] = defaultdict(dict)
        self._children: dict[Key, dict[Key, None]] = defaultdict(dict)

    # --- numbers --------------------------------------------------------------------------------

    def next_perm_id(self) -> int:
        """Return a permanent id, one above the last."""
        self._perm_id += 1
        return self._perm_id - 1

    def is_spent(self, key: Key) -> bool:
        """Whether a client has used this number, or a higher one, before; not of hand orders."""
        return 0 <= key[1] <= self._highest.get(key[0], -1)

    def spend(self, key: Key) -> None:
        """Remember that a number is used."""
        self._highest[key[0]] = max(key[1], self._highest.get(key[0], -1))

    def find(self, client_id: int, order_id: int) -> Key:
        """Return whose order a number means: the caller's own first."""
        own = (client_id, order_id)
        if own in self.working or own in self.completed:
            return own
        return next((key for key in self.working if key[1] == order_id), own)

    # --- orders ---------------------------------------------------------------------------------

    def keep(self, order: WorkingOrder) -> WorkingOrder:
        """Store the present state of a working order."""
        key, request = order.request.key, order.request
        known = self.working.get(key)
        self.working[key] = order
        if known is None or known.live != order.live or known.oca_group != order.oca_group:
            self._index(order)
        if known is None and request.parent_id:
            self._children[request.client_id, request.parent_id][key] = None
        return order

    def finish(self, order: WorkingOrder) -> None:
        """Store the last state of an order."""
        key = order.request.key
        self.working.pop(key, None)
        self._unindex(order)
        _drop(self._children, (key[0], order.request.parent_id), key)
        self.completed[key] = order
        while len(self.completed) > KEPT:
            del self.completed[next(iter(self.completed))]

    def add_fill(self, fill: Fill) -> None:
        """Store an execution."""
        self.fills.append(fill)
        if len(self.fills) > 2 * KEPT:
            del self.fills[:-KEPT]

    def opposite(self, order: WorkingOrder) -> Iterator[WorkingOrder]:
        """Yield the orders in the book on the other side of the same instrument."""
        request = order.request
        for key in tuple(self._sides.get((request.instrument.con_id, -request.sign), ())):
            other = self.working.get(key)
            if other is not None and other.live:
                yield other

    def group(self, order: WorkingOrder) -> list[WorkingOrder]:
        """Return the other members of an order's one-cancels-all group."""
        if not order.oca_group:
            return []
        keys = tuple(self._groups.get((order.request.account, order.oca_group), ()))
        return [self.working[key] for key in keys if key != order.request.key]

    def children(self, order: WorkingOrder) -> list[WorkingOrder]:
        """Return the working orders whose parent an order is."""
        keys = tuple(self._children.get(order.request.key, ()))
        return [self.working[key] for key in keys if key in self.working]

    def family(self, request: OrderRequest) -> list[OrderRequest]:
        """Return the orders held back that go out with `request`, in the order of placing."""
        root = (request.client_id, request.parent_id or request.order_id)
        found = {
            key: one
            for key, one in self.held.items()
            if key == root or (key[0], one.parent_id) == root
        }
        found[request.key] = request
        return list(found.values())

    def _index(self, order: WorkingOrder) -> None:
        self._unindex(order)
        request = order.request
        if order.live:
            self._sides[request.instrument.con_id, request.sign][request.key] = None
        if order.oca_group:
            self._groups[request.account, order.oca_group][request.key] = None

    def _unindex(self, order: WorkingOrder) -> None:
        request = order.request
        _drop(self._sides, (request.instrument.con_id, request.sign), request.key)
        _drop(self._groups, (request.account, order.oca_group), request.key)


def _drop(table: dict[Name, dict[Key, None]], name: Name, key: Key) -> None:
    """Take a key out of one of the sets of a table, and an empty set out of the table."""
    members = table.get(name)
    if members is not None:
        members.pop(key, None)
        if not members:
            del table[name]
