"""Every bar that should be there is one of four: stored, quiet, confirmed, missing."""

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ibkit.contracts.hours import Session
from ibkit.history.expected import fates, per_day, slots
from ibkit.schema import BAR_SIZES
from ibkit.store.spans import union

MINUTE = 60_000_000
FIRST = datetime(2026, 10, 19, 13, 30, tzinfo=UTC)
ZONES = ("America/New_York", "Asia/Kolkata", "Australia/Adelaide", "UTC")


@st.composite
def weeks(draw):
    """Sessions of some days, perhaps with a break."""
    found = []
    for day in sorted(draw(st.sets(st.integers(0, 20), min_size=1, max_size=5))):
        start = FIRST + timedelta(days=day, minutes=draw(st.integers(-60, 60)))
        length = draw(st.integers(5, 300))
        middle = start + timedelta(minutes=length)
        found.append(Session(start, middle, start.date()))
        if draw(st.booleans()):
            after = middle + timedelta(minutes=draw(st.integers(1, 60)))
            found.append(Session(after, after + timedelta(minutes=30), start.date()))
    return found


spans = st.lists(st.tuples(st.integers(0, 20), st.integers(-60, 900), st.integers(1, 2_000)))


def as_spans(rows):
    base = round(FIRST.timestamp() * 1e6)
    return union(
        (base + (day * 1_440 + at) * MINUTE, base + (day * 1_440 + at + length) * MINUTE)
        for day, at, length in rows
    )


@given(
    weeks(),
    st.sampled_from(["1 min", "5 mins", "1 hour", "4 hours", "1 day", "1 week"]),
    st.sampled_from(ZONES),
    spans,
    spans,
    st.data(),
)
def test_the_four_fates_are_all_there_is(sessions, size, zone, answered, nothing, data):
    found = slots(sessions, BAR_SIZES[size], zone)
    picked = data.draw(st.lists(st.integers(0, max(0, len(found.start) - 1)), max_size=30))
    ts = np.unique(found.start[picked])

    what = fates(found, ts, as_spans(answered), as_spans(nothing))

    flags = np.array([what.stored, what.confirmed, what.quiet, what.missing])
    assert (flags.sum(axis=0) == 1).all()
    assert what.stored.sum() == len(ts)
    total = sum(
        per_day(flag, found) for flag in (what.stored, what.confirmed, what.quiet, what.missing)
    )
    assert total.tolist() == np.bincount(found.day, minlength=len(found.days)).tolist()


@given(weeks(), st.sampled_from(["1 min", "5 mins", "30 mins", "1 hour"]), st.sampled_from(ZONES))
def test_slots_tile_the_sessions(sessions, size, zone):
    found = slots(sessions, BAR_SIZES[size], zone)

    tiled = union(zip(found.start.tolist(), found.end.tolist(), strict=True))
    held = union(
        (round(each.start.timestamp() * 1e6), round(each.end.timestamp() * 1e6))
        for each in sessions
    )
    assert tiled == held
    assert (found.end > found.start).all()
    assert (np.diff(found.start) > 0).all()
    assert (found.end - found.start).max() <= BAR_SIZES[size].seconds * 1_000_000
