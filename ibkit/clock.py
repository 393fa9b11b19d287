"""The only reader of the time.

Everything else gets its instants from here or from its caller, so a test can hold the clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return this instant, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds on a clock that never goes back; only differences mean something."""
    return time.monotonic()
