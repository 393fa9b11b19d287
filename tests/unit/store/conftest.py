"""What the store's tests share: a store in a folder of its own, and bars that obey the rules."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from ibkit.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "root")


@pytest.fixture
def bars():
    return make_bars


def make_bars(start: str = "2026-10-01 14:30", n: int = 5, *, seed: int = 1, freq: str = "min"):
    """Return `n` bars from `start` (UTC) on."""
    random = np.random.default_rng(seed)
    close = np.round(100 + random.normal(0, 0.05, n).cumsum(), 2)
    open_ = np.round(close + random.normal(0, 0.02, n), 2)
    return pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) + 0.25,
            "low": np.minimum(open_, close) - 0.25,
            "close": close,
            "volume": random.integers(1, 5000, n).astype(float),
            "wap": np.round((open_ + close) / 2, 3),
            "count": pd.array(random.integers(1, 99, n), dtype="Int32"),
        },
        index=pd.date_range(start, periods=n, freq=freq, tz="UTC", name="ts", unit="us"),
    )


@pytest.fixture
def utc():
    def moment(*parts: int) -> datetime:
        return datetime(*parts, tzinfo=UTC)

    return moment
