"""Frame in, plotly Figure out: pure functions with one look.

Every figure says what its frames say of themselves (`attrs`): SIMULATED, STALE, DELAYED,
PARTIAL. Not here: fetching or reading; a figure never asks for data.
"""

from __future__ import annotations

from ibkit.plots.compare import correlations, performance, volatility
from ibkit.plots.continuous import continuous
from ibkit.plots.coverage import coverage
from ibkit.plots.intraday import volume_profile
from ibkit.plots.price import price
from ibkit.plots.returns import returns

__all__ = [
    "continuous",
    "correlations",
    "coverage",
    "performance",
    "price",
    "returns",
    "volatility",
    "volume_profile",
]
