"""Planned requests cover what is missing, once, in IB's legal steps, and nothing else."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ibkit.contracts.hours import Session
from ibkit.history.ladders import LADDERS, Step, is_legal
from ibkit.history.legal import Before
from ibkit.history.plan import cut, period, plan, size_of, smaller, whole
from ibkit.schema import BAR_SIZES
from ibkit.store.spans import minus, union

START = datetime(2026, 1, 5, tzinfo=UTC)
SIZES = st.sampled_from(list(BAR_SIZES.values()))
UNITS = {"S": "seconds", "D": "days", "W": "weeks"}
LONG = {"M": timedelta(days=28), "Y": timedelta(days=365)}


@st.composite
def calendars(draw):
    """Return sessions on some of the days of a few weeks, of any length, some in two parts."""
    found = []
    for day in sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=25))):
        start = START + timedelta(days=day, minutes=draw(st.integers(0, 600)))
        end = start + timedelta(minutes=draw(st.integers(4, 780)))
        named = date(2026, 1, 5) + timedelta(days=day)
        if draw(st.booleans()):
            lunch = start + (end - start) / 2
            found.append(Session(start, lunch - (end - start) / 4, named))
            start = lunch
        found.append(Session(start, end, named))
    return found


@st.composite
def hole_lists(draw):
    minutes = draw(st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 9_000)), max_size=6))
    spans = union((start, start + length) for start, length in minutes)
    return [(START + timedelta(minutes=a), START + timedelta(minutes=b)) for a, b in spans]


@st.composite
def sized(draw):
    """Return a bar size and one of its steps."""
    size = draw(SIZES)
    return size, draw(st.sampled_from(LADDERS[size.ib].rungs))


def seconds(moment):
    return (moment - START) // timedelta(microseconds=1)


def spans(pairs):
    return [(seconds(start), seconds(end)) for start, end in pairs]


def reach(text):
    """Return how far back a duration goes at least."""
    number, unit = text.split()
    if unit in LONG:
        return int(number) * LONG[unit]
    return timedelta(**{UNITS[unit]: int(number)})


def check_tiling(requests, holes, sessions):
    asked = spans((request.start, request.end) for request in requests)
    assert sum(end - start for start, end in union(asked)) == sum(b - a for a, b in asked)
    assert minus(asked, spans(holes)) == []
    closed = minus(spans(holes), spans((each.start, each.end) for each in sessions))
    assert minus(spans(holes), [*asked, *closed]) == []


@given(calendars(), hole_lists(), sized())
def test_every_session_minute_of_every_hole_is_asked_for_once_and_inside_it(sessions, holes, one):
    size, step = one

    requests = plan(holes, size, sessions, step)

    check_tiling(requests, holes, sessions)
    assert [one.start for one in requests] == sorted((r.start for r in requests), reverse=True)


@given(calendars(), hole_lists(), sized())
def test_a_request_is_legal_no_larger_than_its_step_and_reaches_back_to_its_start(
    sessions, holes, one
):
    size, step = one
    for request in plan(holes, size, sessions, step):
        inside = [s for s in sessions if s.start < request.end and s.end > request.start]
        first = max(request.start, inside[0].start)
        assert is_legal(size, request.duration)
        assert request.until - reach(request.duration) <= first
        assert inside[-1].start < request.until <= inside[-1].end
        if step.seconds:
            assert int(request.duration.split()[0]) <= max(30, step.seconds)
        elif size.seconds <= 86_400:
            assert len({each.ref_date for each in inside}) <= step.days


@given(calendars(), hole_lists(), st.sampled_from(["1 week", "1 month"]), st.integers(1, 9))
def test_no_week_and_no_month_is_cut_in_two(sessions, holes, name, days):
    size = BAR_SIZES[name]
    held = [whole(hole, size, sessions) for hole in holes
            if any(s.start < hole[1] and s.end > hole[0] for s in sessions)]  # fmt: skip

    for hole in held:
        edges = {request.start for request in plan([hole], size, sessions, Step(days))} - {hole[0]}
        for edge in edges:
            before = max(s.ref_date for s in sessions if s.end <= edge)
            after = min(s.ref_date for s in sessions if s.end > edge)
            assert period(size, before) != period(size, after)


@given(calendars(), hole_lists(), SIZES)
def test_a_request_that_was_too_much_becomes_smaller_ones_of_the_same_span(sessions, holes, size):
    for request in plan(holes, size, sessions)[:3]:
        asked = size_of(request, size, sessions)
        step = smaller(request, size, sessions)
        if step is None:
            assert asked <= LADDERS[size.ib].rungs[0]
            continue
        parts = plan([(request.start, request.end)], size, sessions, step)

        assert step < asked
        assert all(size_of(part, size, sessions) < asked for part in parts) or len(parts) == 1
        check_tiling(parts, [(request.start, request.end)], sessions)


@given(calendars(), hole_lists(), sized(), st.integers(0, 60_000))
def test_what_ib_never_has_costs_nothing_and_the_rest_is_asked_for(sessions, holes, one, minutes):
    size, step = one
    before = Before(START + timedelta(minutes=minutes), "never")

    requests = plan(holes, size, sessions, step, before)

    check_tiling(requests, holes, sessions)
    for request in requests:
        if request.known:
            assert request.end <= before.until
            assert request.known == "never"
        elif size.seconds <= 3_600:
            assert request.end > before.until - timedelta(seconds=size.seconds)


@given(calendars(), st.integers(0, 50_000), st.integers(0, 50_000), SIZES)
def test_nothing_that_is_still_running_is_asked_for(sessions, end, now, size):
    end, now = START + timedelta(minutes=end), START + timedelta(minutes=now, seconds=17)

    until = cut(end, now, size, sessions)

    assert until <= max(now, sessions[0].start)
    if size.seconds <= 3_600:
        on_grid = int(until.timestamp()) % size.seconds == 0
        assert on_grid or until == end or until in {each.end for each in sessions}
