"""The past of any instrument: from the store first, from IB what is missing there."""

from ibkit.history.service import History, Series

__all__ = ["History", "Series"]
