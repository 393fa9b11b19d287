"""Promises of stitched futures: what a holder who rolls earns is what the series says."""

import itertools
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkit.history.continuous import Roll, stitch

START = date(2024, 1, 1)


def at(n: int) -> pd.Timestamp:
    return pd.Timestamp(START + timedelta(days=n), tz="UTC")


@st.composite
def chains(draw):
    """Contracts of one path, each with its own distance to it, all alive all the time."""
    length = draw(st.integers(10, 80))
    places = st.lists(st.integers(1, length - 2), unique=True, min_size=1, max_size=5)
    where = sorted(draw(places))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    path = 100 + random.normal(0, 1, length).cumsum() / 4
    bars = {}
    for k in range(len(where) + 1):
        close = path + random.normal(0, 3) + random.normal(0, 0.1, length)
        index = pd.DatetimeIndex([at(n) for n in range(length)], name="ts")
        frame = {"open": close, "high": close + 1, "low": close - 1, "close": close}
        bars[f"c{k}"] = pd.DataFrame(frame, index=index)
    rolls = [
        Roll(at(n).date(), at(n - 1).date(), at(n - 1), at(n), f"c{k}", f"c{k + 1}")
        for k, n in enumerate(where)
    ]
    return bars, rolls


def held(bars, rolls):
    """What one contract earns each day, sold and bought anew at the close before each roll."""
    earned, returned = [], []
    index = bars["c0"].index
    for before, now in itertools.pairwise(index):
        name = next((roll.old for roll in rolls if now < roll.at), rolls[-1].new)
        close = bars[name]["close"]
        earned.append(close[now] - close[before])
        returned.append(close[now] / close[before])
    return np.array(earned), np.array(returned)


@settings(deadline=None, max_examples=60)
@given(chains())
def test_points_of_the_difference_series_are_those_of_holding_and_rolling(chain):
    frame, table = stitch(*chain, adjust="difference")

    earned, _ = held(*chain)
    assert np.diff(frame["close"]) == pytest.approx(earned, abs=1e-9)
    assert len(table) == len(chain[1])


@settings(deadline=None, max_examples=60)
@given(chains())
def test_returns_of_the_ratio_series_are_those_of_holding_and_rolling(chain):
    frame, _ = stitch(*chain, adjust="ratio")

    _, returned = held(*chain)
    close = frame["close"].to_numpy()
    assert close[1:] / close[:-1] == pytest.approx(returned, rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(chains(), st.sampled_from(["difference", "ratio", None]))
def test_the_newest_contract_is_as_it_trades_and_bars_are_none_more_nor_less(chain, adjust):
    bars, rolls = chain

    frame, _ = stitch(bars, rolls, adjust=adjust)

    newest = frame[frame["contract"] == rolls[-1].new]
    assert newest["close"].equals(bars[rolls[-1].new]["close"].loc[rolls[-1].at :])
    assert frame.index.equals(bars["c0"].index)
    assert (frame["high"] >= frame["low"]).all()
