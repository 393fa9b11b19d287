"""Plain Parquet that cannot lie: sorted, unique, synced before it is acknowledged.

Useful alone: nothing here knows IB. `Store` is the way in.
"""

from ibkit.store.crypto import Keys
from ibkit.store.journal import Commit
from ibkit.store.opening import open_store
from ibkit.store.store import Store

__all__ = ["Commit", "Keys", "Store", "open_store"]
