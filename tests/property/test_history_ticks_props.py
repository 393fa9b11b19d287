"""Ticks page by page: any page size, boundary, interruption; the result is the stream, exactly."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkit.history import ticks
from ibkit.history.ticks import BackwardsError, moment, numbered, pages, read_page

SPAN = 40  # seconds of a session


def tick(second, price):
    return SimpleNamespace(time=moment(second), price=price)


@st.composite
def streams(draw):
    """Ticks of a session and of the one after it; few prices, so that equal ones are frequent."""
    seconds = sorted(draw(st.lists(st.integers(0, SPAN - 1), max_size=60)))
    burst = draw(st.lists(st.integers(0, SPAN - 1), max_size=3))
    for second in burst:
        seconds += [second] * draw(st.integers(1, 30))
    later = draw(st.lists(st.integers(SPAN + 5, SPAN + 50), max_size=20))
    return [tick(second, draw(st.integers(1, 2))) for second in sorted(seconds + later)]


class Server:
    """A gateway: `rude` cuts a page where it is full, the others complete its last second.

    `early` pages begin with ticks of before; `stops` ends a page with the session.
    """

    def __init__(self, stream, asked, *, rude=False, early=0, stops=False):
        self.stream, self.asked, self.rude = stream, asked, rude
        self.early, self.stops, self.calls = early, stops, 0

    async def __call__(self, start):
        self.calls += 1
        times = [int(one.time.timestamp()) for one in self.stream]
        first = int(np.searchsorted(times, start))
        stop = min(first + self.asked, len(times))
        if not self.rude and stop > first and stop < len(times):
            stop = int(np.searchsorted(times, times[stop - 1], "right"))
        found = self.stream[first:stop]
        if self.stops:
            inside = start < SPAN
            found = [one for one in found if (one.time.timestamp() < SPAN) == inside]
        return [*self.stream[max(0, first - self.early) : first], *found] if found else found


async def collect(server, start, end, *, stop_after=None):
    """Return the pages, and where a caller that gives up after some of them stands."""
    found = []
    async for page in pages(server, start, end, asked=server.asked):
        found.append(page)
        if stop_after is not None and len(found) >= stop_after:
            break
    return found


def held(found):
    """Return what a store has that makes each page all that there is of its seconds."""
    store = {}
    for page in found:
        for second in range(page.start, page.end):
            store.pop(second, None)
        seconds = ticks.seconds_of(page.ticks)
        for second, seq, one in zip(seconds, numbered(seconds), page.ticks, strict=True):
            store.setdefault(int(second), {})[int(seq)] = one
    return [one for _, rows in sorted(store.items()) for _, one in sorted(rows.items())]


def inside(stream, start, end):
    return [one for one in stream if start <= one.time.timestamp() < end]


servers = st.fixed_dictionaries(
    {"early": st.integers(0, 3), "stops": st.booleans(), "rude": st.booleans()}
)


@settings(max_examples=300)
@given(streams(), st.integers(1, 12), servers, st.integers(0, SPAN - 1), st.integers(1, SPAN))
def test_pages_are_the_stream_exactly(stream, asked, manners, start, length):
    end = min(SPAN, start + length)
    if manners["rude"]:  # then a page must be longer than a second: who cuts gives no rest of one
        counts = np.unique([one.time for one in stream], return_counts=True)[1]
        asked = max(counts, default=0) + asked % 5 + 1
    server = Server(stream, asked, **manners)

    found = asyncio.run(collect(server, start, end))

    assert [page.start for page in found] == [start, *(page.end for page in found[:-1])]
    assert found[-1].end == end
    assert [id(one) for one in held(found)] == [id(one) for one in inside(stream, start, end)]


@given(streams(), st.integers(1, 12), st.lists(st.integers(1, 3), max_size=5))
def test_an_interruption_costs_nothing_and_doubles_nothing(stream, asked, stops):
    found, start = [], 0
    for stop in [*stops, None]:
        if start < SPAN:
            found += asyncio.run(collect(Server(stream, asked), start, SPAN, stop_after=stop))
            start = found[-1].end

    assert start == SPAN
    assert [id(one) for one in held(found)] == [id(one) for one in inside(stream, 0, SPAN)]


@given(streams(), st.integers(1, 12), st.lists(st.tuples(st.integers(0, 39), st.integers(1, 39))))
def test_seconds_that_come_again_are_not_counted_twice(stream, asked, again):
    found = asyncio.run(collect(Server(stream, asked), 0, SPAN))
    for start, length in again:
        end = min(SPAN, start + length)
        found += asyncio.run(collect(Server(stream, asked), start, end))

    assert [id(one) for one in held(found)] == [id(one) for one in inside(stream, 0, SPAN)]


@given(streams(), st.integers(1, 12))
def test_a_fresh_end_stays_open(stream, asked):
    past = inside(stream, 0, SPAN)

    async def run():
        server = Server(past, asked)
        return [one async for one in pages(server, 0, SPAN + 9, asked=asked, fresh=True)]

    found = asyncio.run(run())

    last = found[-1].end if found else 0
    assert last <= max((int(one.time.timestamp()) + 1 for one in past), default=0)
    assert [id(one) for one in held(found)] == [id(one) for one in inside(past, 0, last)]
    late = [*past, tick(max((int(one.time.timestamp()) for one in past), default=0), 9)]
    if len(past) < asked:  # one more tick comes late, in the last second
        rest = asyncio.run(collect(Server(late, asked), last, SPAN))
        assert [id(one) for one in held([*found, *rest])] == [id(one) for one in late]


@settings(max_examples=50)
@given(st.integers(1, 10), st.integers(1, 5))
def test_a_gateway_that_does_not_get_on_is_an_error_not_an_endless_loop(asked, more):
    async def ask(start):
        return [tick(start - 5, 1)] * (asked + more)

    async def run():
        return [one async for one in pages(ask, 100, 200, asked=asked)]

    with pytest.raises(BackwardsError):
        asyncio.run(run())


def test_a_second_that_fills_a_page_alone_says_so():
    full = np.full(1_000, 7)

    assert read_page(full, 7, 60).cut
    assert read_page(full, 7, 60).until == 8
    assert not read_page(np.full(1_500, 7), 7, 60).cut
    assert not read_page(np.array([*np.full(999, 7), 8]), 7, 60).cut


def test_a_page_that_is_cut_is_asked_for_again_from_its_last_second():
    seconds = [0, 1, 2, 3, 3, 3, 5, 5, 5, 6, 6, 7, 8, 8, 8, 9, 9, 9, 9]
    stream = [tick(second, 1) for second in seconds]

    found = asyncio.run(collect(Server(stream, 5, rude=True, early=2), 0, SPAN))

    assert [id(one) for one in held(found)] == [id(one) for one in stream]
