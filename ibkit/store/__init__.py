"""Plain Parquet that cannot lie: sorted, unique, synced before it is acknowledged.

Useful alone: nothing here knows IB. `Store` is the way in.
"""

from ibkit.store.journal import Commit
from ibkit.store.store import Store

__all__ = ["Commit", "Store"]
