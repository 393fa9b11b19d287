"""How much a client may ask for, and what it hears when it asks for more."""

import itertools
from datetime import UTC, datetime

import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.limits import BarsPacing, Limits, MessageRate
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.wire import pack

AAPL = (265598, "", "STK", "", "", "", "", "SMART", "", "", "", "")
NOON = datetime(2026, 10, 30, 16, 0, 30, tzinfo=UTC).timestamp()


@pytest.fixture
def start(connect_to):
    """Return a function that starts a gateway with limits, and a raw client."""
    running = []

    def run(client_id=9, **options):
        context = run_gateway(clock=ManualClock(NOON), **options)
        running.append((context, context.__enter__()))
        wire = connect_to(running[-1][1]).start(client_id)
        wire.until(4, 2, -1, 2158)
        return running[-1][1], wire

    yield run
    for context, _ in running:
        context.__exit__(None, None, None)


def flood(wire, count):
    """Send so many requests at once: one by one, the last may come after the gateway hung up."""
    wire.socket.sendall(pack(["8", "1", "1"]) * count)


# --- messages a second --------------------------------------------------------------------------


def test_the_fifty_first_message_of_a_second_is_error_100(start):
    _, wire = start()
    flood(wire, 60)
    wire.send(49, 1)
    frames = wire.until(49)
    errors = [frame for frame in frames if frame[3:4] == ["100"]]

    assert [frame[2] for frame in errors] == ["-1"]
    assert errors[0][4].startswith("Max rate of messages per second has been exceeded:max=50 rec=5")
    assert errors[0][4].endswith("(1)")
    assert sum(frame[0] == "9" for frame in frames) == 60  # they are answered all the same


def test_the_third_offence_ends_the_connection(start, monkeypatch):
    steps, count = itertools.count(), MessageRate.excess
    monkeypatch.setattr(MessageRate, "excess", lambda rate, _now: count(rate, next(steps) * 0.019))
    _, wire = start()
    flood(wire, 200)

    strikes, last = [], None
    while (frame := wire.receive()) is not None:
        strikes += [frame[4][-3:]] if frame[3:4] == ["100"] else []
        last = frame
    assert strikes == ["(1)", "(2)", "(3)"]
    assert last[3] == "100"


def test_a_client_that_asks_for_pacing_is_slowed_down_instead(start, connect_to):
    running, _ = start(limits=Limits(messages_per_second=10))
    wire = connect_to(running)
    wire.handshake("v157..178 +PACEAPI")
    wire.send(71, 2, 5, "")
    flood(wire, 12)
    wire.send(49, 1)

    assert "100" not in {frame[3] for frame in wire.until(49) if frame[0] == "4"}


def test_no_limits_are_no_limits(start):
    _, wire = start(limits=Limits.none())
    flood(wire, 300)
    wire.send(49, 1)

    assert {frame[0] for frame in wire.until(49)} == {"9", "49"}


def test_a_rate_forgets_with_the_second():
    rate = MessageRate(2)

    assert [rate.excess(at) for at in (0.0, 0.1, 0.2, 0.3, 1.2, 1.3)] == [0, 0, 3, 0, 0, 0]
    assert rate.strikes == 1


def test_a_paced_client_waits_for_its_second():
    rate = MessageRate(2)

    assert [rate.wait(at) for at in (0.0, 0.0, 0.25, 1.0)] == [0.0, 0.0, 0.75, 0.0]


# --- bars ---------------------------------------------------------------------------------------


def ask(wire, req_id, end, *, size="5 secs", what="TRADES", contract=AAPL, live=0):
    text = datetime.fromtimestamp(end, UTC).strftime("%Y%m%d-%H:%M:%S") if end else ""
    wire.send(20, req_id, *contract, 0, text, size, "60 S", 1, what, 2, live, "")


def answers(wire, count):
    """Return, for each request, the number of its answer, or its error's code."""
    found = {}
    while len(found) < count:
        frame = wire.receive()
        if frame[0] == "17":
            found[int(frame[1])] = "bars"
        elif frame[0] == "4" and int(frame[2]) > 0:
            found[int(frame[2])] = frame[4].rpartition(" ")[2]
    return [found[number] for number in sorted(found)]


def test_the_same_small_bars_twice_in_fifteen_seconds_are_a_pacing_violation(start):
    running, wire = start()
    ask(wire, 1, NOON - 100)
    ask(wire, 2, NOON - 100)
    at_once = answers(wire, 2)
    running.advance(16)
    ask(wire, 3, NOON - 100)

    assert at_once == ["bars", "violation"]
    assert answers(wire, 1) == ["bars"]


def test_six_requests_for_one_contract_in_two_seconds_are_too_many(start):
    running, wire = start()
    for number in range(1, 7):
        ask(wire, number, NOON - 100 * number)
    at_once = answers(wire, 6)
    running.advance(3)
    ask(wire, 7, NOON - 1000)

    assert at_once == [*["bars"] * 5, "violation"]
    assert answers(wire, 1) == ["bars"]


def test_minutes_are_not_paced(start):
    _, wire = start()
    for number in range(1, 9):
        ask(wire, number, NOON - 100, size="1 min")

    assert answers(wire, 8) == ["bars"] * 8


def test_sixty_in_ten_minutes_and_bid_ask_counts_twice():
    pacing = BarsPacing(Limits())
    plain = [pacing.violates(at * 3, at, at, 1) for at in range(58)]

    assert not any(plain)
    assert not pacing.violates(300, "a", "a", 2)
    assert pacing.violates(301, "b", "b", 1)
    assert not pacing.violates(620, "c", "c", 2)


def test_fifty_requests_may_be_open(start):
    _, wire = start(limits=Limits(messages_per_second=0, open_history=3))
    for number in range(1, 5):
        ask(wire, number, 0, size="1 min", live=1)

    assert answers(wire, 4) == ["bars", "bars", "bars", "allowed."]


# --- clients ------------------------------------------------------------------------------------


def test_there_is_room_for_thirty_two(start, connect_to):
    running, _ = start(client_id=0)
    for client_id in range(1, 32):
        assert connect_to(running).start(client_id).receive()[0] == "15"
    late = connect_to(running)
    late.handshake()
    late.send(71, 2, 32, "")

    assert late.receive()[3] == "326"


def test_a_negative_client_id_is_none(start, connect_to):
    running, _ = start()
    wire = connect_to(running)
    wire.handshake()
    wire.send(71, 2, -5, "")

    assert wire.receive() is None
