"""Live controls for a notebook, one a module: they draw, and send intents to a service.

No trading logic here: what may be sent, and how, is the business of `ibkit.orders`.
"""

from __future__ import annotations

from ibkit.widgets.order_ticket import OrderTicket
from ibkit.widgets.status_card import StatusCard

__all__ = ["OrderTicket", "StatusCard"]
