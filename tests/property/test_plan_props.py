"""Planned requests cover what is missing, once, and nothing else."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ibkit.contracts.hours import Session
from ibkit.history.plan import CHUNK_S, cut, plan
from ibkit.schema import BAR_SIZES
from ibkit.store.spans import minus, union

START = datetime(2026, 1, 5, tzinfo=UTC)
SIZES = st.sampled_from(list(BAR_SIZES.values()))


@st.composite
def calendars(draw):
    """Return sessions on some of the days of a few weeks, of differing lengths."""
    found = []
    for day in sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=25))):
        start = START + timedelta(days=day, minutes=draw(st.integers(0, 600)))
        end = start + timedelta(minutes=draw(st.integers(1, 780)))
        found.append(Session(start, end, date(2026, 1, 5) + timedelta(days=day)))
    return found


@st.composite
def hole_lists(draw):
    minutes = draw(st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 9_000)), max_size=6))
    spans = union((start, start + length) for start, length in minutes)
    return [(START + timedelta(minutes=a), START + timedelta(minutes=b)) for a, b in spans]


def seconds(moment):
    return int((moment - START).total_seconds())


def spans(pairs):
    return [(seconds(start), seconds(end)) for start, end in pairs]


@given(calendars(), hole_lists(), SIZES)
def test_every_session_minute_of_every_hole_is_asked_for_once_and_inside_it(sessions, holes, size):
    requests = plan(holes, size, sessions)

    asked = spans((request.start, request.end) for request in requests)
    assert sum(end - start for start, end in union(asked)) == sum(b - a for a, b in asked)
    assert minus(asked, spans(holes)) == []
    closed = minus(spans(holes), spans((each.start, each.end) for each in sessions))
    assert minus(spans(holes), [*asked, *closed]) == []


@given(calendars(), hole_lists(), SIZES)
def test_a_request_reaches_back_to_the_first_open_minute_of_its_span(sessions, holes, size):
    for request in plan(holes, size, sessions):
        number, unit = request.duration.split()
        length = timedelta(**{{"S": "seconds", "D": "days"}[unit]: int(number)})
        inside = [
            each for each in sessions if each.start < request.end and each.end > request.start
        ]
        first = max(request.start, inside[0].start)
        covered = sum(each.start < request.until and each.end > first for each in sessions)
        assert request.until - length <= first or (unit == "D" and int(number) >= covered)
        assert request.until <= inside[-1].end
        if unit == "S":
            assert int(number) <= max(30, CHUNK_S[size.seconds])


@given(calendars(), st.integers(0, 50_000), st.integers(0, 50_000), SIZES)
def test_nothing_that_is_still_running_is_asked_for(sessions, end, now, size):
    end, now = START + timedelta(minutes=end), START + timedelta(minutes=now, seconds=17)

    until = cut(end, now, size, sessions)

    assert until <= max(now, sessions[0].start)
    if size.seconds <= 3_600:
        assert int(until.timestamp()) % size.seconds == 0 or until == end
