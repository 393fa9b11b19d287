"""Orders: recipes, checks, the journal, and the desk that sends them."""

from ibkit.orders.desk import Desk
from ibkit.orders.journal import Intent, Journal
from ibkit.orders.placed import Placed
from ibkit.orders.recipes import limit, market

__all__ = ["Desk", "Intent", "Journal", "Placed", "limit", "market"]
