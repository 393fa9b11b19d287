"""The store against a dictionary: any writes, in any order, give the rows a dictionary holds."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibkit.store import Store, spans

START = datetime(2026, 9, 30, 23, 50, tzinfo=UTC)  # a month ends after ten minutes
SERIES = [("TRADES", True), ("TRADES", False), ("BID", True)]

values = st.integers(1, 3)
minutes = st.integers(0, 20)
rows = st.dictionaries(minutes, st.tuples(values, st.booleans()), max_size=8)
writes = st.lists(st.tuples(st.sampled_from(SERIES), rows), min_size=1, max_size=6)


@pytest.fixture
def fresh(tmp_path):
    """Return a maker of empty stores, for hypothesis runs a test's body many times."""

    def make() -> Store:
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
        return Store(tmp_path / "root")

    return make


relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def frame_of(cells: dict[int, tuple[int, bool]]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            **dict.fromkeys(("open", "high", "low", "close"), 0.0),
            "volume": [float(value) if known else -1.0 for value, known in cells.values()],
        },
        index=pd.DatetimeIndex([moment(minute) for minute in cells], tz=UTC, name="ts"),
    )
    frame[["open", "high", "low", "close"]] = [
        [float(value)] * 4 for value, _ in cells.values()
    ] or 0.0
    return frame


def moment(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def stored(store: Store, what: str, *, rth: bool) -> dict[int, tuple[int, bool]]:
    bars = store.bars("AAPL", "1 min", what_to_show=what, use_rth=rth)
    assert bars.index.is_monotonic_increasing
    assert bars.index.is_unique
    return {
        int((ts - START) / timedelta(minutes=1)): (int(row.close), not pd.isna(row.volume))
        for ts, row in bars.iterrows()
    }


@relaxed
@given(writes)
def test_the_newest_write_of_every_row_is_what_is_read(fresh, writes):
    store, model = fresh(), {}
    for (what, rth), cells in writes:
        if cells:
            store.write_bars("AAPL", "1 min", frame_of(cells), what_to_show=what, use_rth=rth)
            model.setdefault((what, rth), {}).update(cells)

    for (what, rth), cells in model.items():
        assert stored(store, what, rth=rth) == dict(sorted(cells.items()))
    assert len(store.verify()) == 0


@relaxed
@given(rows.filter(bool), st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_order_and_the_pieces_of_one_answer_do_not_matter(fresh, cells, random, pieces):
    keys = list(cells)
    random.shuffle(keys)
    whole, parts = fresh(), None
    whole.write_bars("AAPL", "1 min", frame_of(cells))
    expected = stored(whole, "TRADES", rth=True)

    parts = fresh()
    for n in range(pieces):
        piece = {key: cells[key] for key in keys[n::pieces]}
        if piece:
            parts.write_bars("AAPL", "1 min", frame_of(piece))

    assert stored(parts, "TRADES", rth=True) == expected


@relaxed
@given(rows.filter(bool), rows, minutes, st.integers(1, 20))
def test_a_replaced_range_is_the_new_rows_and_the_rest_is_as_before(fresh, old, new, first, length):
    store, last = fresh(), first + length
    inside = {minute: cell for minute, cell in new.items() if first <= minute < last}
    store.write_bars("AAPL", "1 min", frame_of(old))
    store.replace_range(
        "bars_1min", "AAPL", frame_of(inside), moment(first), moment(last), source="IB",
        series={"what_to_show": "TRADES", "use_rth": True},
    )  # fmt: skip

    outside = {minute: cell for minute, cell in old.items() if not first <= minute < last}
    assert stored(store, "TRADES", rth=True) == {**outside, **inside}


@relaxed
@given(rows.filter(bool), minutes, minutes)
def test_any_span_reads_as_the_same_slice(fresh, cells, one, other):
    store = fresh()
    store.write_bars("AAPL", "1 min", frame_of(cells))
    start, end = moment(min(one, other)), moment(max(one, other))

    some, whole = store.bars("AAPL", "1 min", start, end), store.bars("AAPL", "1 min")

    pd.testing.assert_frame_equal(some, whole[(whole.index >= start) & (whole.index < end)])


pairs = st.lists(st.tuples(minutes, minutes).map(lambda pair: (min(pair), max(pair))), max_size=6)


@given(pairs, pairs)
def test_span_arithmetic_is_that_of_sets(first, second):
    def points(some):
        return {point for start, end in some for point in range(start, end)}

    left, both = spans.minus(first, second), spans.union([*first, *second])

    assert points(left) == points(first) - points(second)
    assert points(both) == points(first) | points(second)
    for result in (left, both):
        assert result == sorted(result)
        assert all(one[1] <= other[0] for one, other in pairwise(result))


@relaxed
@given(pairs, pairs)
def test_holes_and_answers_are_all_of_the_time(fresh, answered, empty):
    store = fresh()
    for start, end in answered:
        if start < end:
            span = (moment(start), moment(end))
            store.write_bars("AAPL", "1 min", frame_of({}), span=span)
    for start, end in empty:
        if start < end:
            store.confirm_empty("bars_1min", "AAPL", (moment(start), moment(end)))

    holes = store.missing("AAPL", "1 min", moment(0), moment(20))

    known = {minute for start, end in [*answered, *empty] for minute in range(start, end)}
    left = {minute for minute in range(20) if any(a <= moment(minute) < b for a, b in holes)}
    assert left == set(range(20)) - known
