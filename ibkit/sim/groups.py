"""Families of orders, and groups of which one cancels the others.

Pure. A bracket's children wait for their parent and form a group named after its permanent id. Not
here: when any of this happens (`exchange`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ibkit.sim.fills import tradable

if TYPE_CHECKING:
    from decimal import Decimal

    from ibkit.sim.orders import WorkingOrder

CANCEL, REDUCE_WITH_BLOCK, REDUCE = 1, 2, 3
DEFAULT: Final = REDUCE


def family_of(order: WorkingOrder, parent: WorkingOrder | None) -> WorkingOrder:
    """Return an order that knows its parent and its group."""
    request = order.request
    group = request.oca_group
    if parent is None and not group:
        return order
    if parent is None:
        return replace(order, oca_group=group, oca_type=request.oca_type or DEFAULT)
    if not group and not request.hedge_type:
        group = str(parent.perm_id)
    return replace(
        order,
        waits=True,
        parent_perm_id=parent.perm_id,
        oca_group=group,
        oca_type=request.oca_type or DEFAULT,
    )


def reduced(
    other: WorkingOrder, oca_type: int, shares: Decimal, before: Decimal
) -> WorkingOrder | None:
    """Return a member after another one of its group filled `shares` of what was left, `before`.

    None when nothing of it is left: it is cancelled.
    """
    if oca_type == CANCEL or shares >= before:
        return None
    left = tradable(other.remaining * (before - shares) / before, other.request.instrument)
    if left <= 0:
        return None
    return replace(other, request=replace(other.request, quantity=other.filled + left))
