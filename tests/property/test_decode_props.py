"""Decoded bars say what IB said: in order, once, -1 as null."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from ib_async import BarData

from ibkit.history.decode import clip, to_table
from ibkit.schema import bar_size

START = datetime(2026, 3, 6, 14, 30, tzinfo=UTC)
PRICE = st.floats(-1e6, 1e6, allow_nan=False)
SIZE = st.one_of(st.just(-1.0), st.floats(0, 1e12))
BARS = st.lists(
    st.builds(
        BarData,
        date=st.integers(0, 200_000).map(lambda n: START + timedelta(minutes=n)),
        open=PRICE,
        high=PRICE,
        low=PRICE,
        close=PRICE,
        volume=SIZE,
        average=PRICE,
        barCount=st.integers(-1, 2**31 - 1),
    ),
    max_size=30,
)
MIN = bar_size("1 min")


@given(BARS)
def test_rows_ascend_and_are_unique_and_none_is_lost(bars):
    stamps = to_table(bars, MIN)["ts"].to_pylist()

    assert stamps == sorted({bar.date for bar in bars})


@given(BARS)
def test_the_columnar_way_equals_the_slow_way(bars):
    last = {bar.date: bar for bar in bars}
    slow = pd.DataFrame(
        [
            {
                "ts": when,
                "open": bar.open,
                "high": bar.high,
                "low": bar.low,
                "close": bar.close,
                "volume": None if bar.volume == -1 else bar.volume,
                "wap": None if bar.volume == -1 and bar.average == -1 else bar.average,
                "count": None if bar.barCount == -1 else bar.barCount,
            }
            for when, bar in sorted(last.items())
        ]
    )

    fast = to_table(bars, MIN)

    expected = pa.Table.from_pandas(slow, schema=fast.schema) if len(slow) else fast.slice(0, 0)
    assert fast.to_pylist() == expected.to_pylist()


@given(BARS, st.integers(0, 200_000), st.integers(0, 200_000))
def test_clipping_splits_without_loss(bars, one, other):
    table = to_table(bars, MIN)
    first, last = START, START + timedelta(minutes=200_001)
    low, high = sorted(START + timedelta(minutes=n) for n in (one, other))

    parts = [clip(table, *span) for span in ((first, low), (low, high), (high, last))]

    assert pa.concat_tables(parts).equals(table)
