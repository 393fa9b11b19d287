"""The past of any instrument: from the store first, from IB what is missing there."""

from ibkit.history.outcomes import Outcome
from ibkit.history.series import Series
from ibkit.history.service import History

__all__ = ["History", "Outcome", "Series"]
