import asyncio
from types import SimpleNamespace

import pytest

from ibkit.sim import clients
from ibkit.sim.clients import Client
from ibkit.sim.clock import ManualClock, RealClock
from ibkit.sim.faults import Faults
from ibkit.sim.limits import Limits
from ibkit.sim.wire import replies as r


def run(coroutine):
    """Return its result, from a loop of its own: `asyncio.run` would drop the one of ib_async."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


class Transport:
    """Stands for a socket whose other side reads only when told."""

    def __init__(self):
        self.written, self.closed, self.unread = [], False, 0

    def write(self, data):
        self.written.append(data)

    def get_write_buffer_size(self):
        return self.unread

    def is_closing(self):
        return self.closed

    def abort(self):
        self.closed = True

    close = abort


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def client(transport):
    return Client(SimpleNamespace(faults=Faults(), limits=Limits()), transport)


def test_messages_of_one_turn_leave_in_one_write(client, transport):
    async def turn():
        client.send(r.POSITION_END)
        client.send(r.OPEN_ORDER_END)
        await asyncio.sleep(0)

    run(turn())

    assert transport.written == [b"\0\0\0\x0562\x001\0\0\0\0\x0553\x001\0"]


def test_a_client_that_does_not_read_is_hung_up_on(client, transport):
    transport.unread = clients.MAX_UNSENT + 1
    client.flush()

    assert transport.closed


def test_nothing_is_queued_for_a_client_that_has_left(client, transport):
    client.abort()
    client.send(r.POSITION_END)
    client.flush()

    assert transport.written == []


def test_a_fast_clock_runs_ahead():
    fast, real = RealClock(speed=1e6), RealClock()
    until = real.now() + 1

    while fast.now() < until:
        pass
    assert real.now() < until


def test_a_clock_cannot_stand_or_go_back():
    with pytest.raises(ValueError, match="positive"):
        RealClock(speed=0)


def test_a_manual_clock_wakes_sleepers_when_it_is_their_time():
    async def scenario():
        clock, woken = ManualClock(100.0), []

        async def sleeper(seconds):
            await clock.sleep(seconds)
            woken.append((seconds, clock.now()))

        async with asyncio.TaskGroup() as group:
            for seconds in (5, 10):
                group.create_task(sleeper(seconds))
            await asyncio.sleep(0)
            await clock.advance(7)
            await asyncio.sleep(0)
            first = list(woken)
            await clock.advance(7)
        return first, woken

    first, woken = run(scenario())

    assert first == [(5, 107.0)]
    assert woken == [(5, 107.0), (10, 114.0)]
