"""Nothing that one client sends ends the gateway, or another client."""

import contextlib
import random

import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.limits import Limits
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.wire import REQUESTS
from ibkit.sim.wire.fields import Field, Fixed, Nested, When


def alive(other):
    """Assert that another client is still served."""
    other.send(49, 1)
    assert other.until(49)


@pytest.fixture
def other(connect_wire):
    connected = connect_wire().start(2)
    connected.until(4, 2, -1, 2158)
    return connected


def flood(wire, data):
    """Send bytes; the other side may hang up at any moment."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        wire.socket.sendall(data)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_after_the_greeting_hurt_nobody_else(connect_wire, other, seed):
    chance = random.Random(seed)
    wire = connect_wire().start(3)
    flood(wire, chance.randbytes(chance.randint(1, 20_000)))
    wire.close()

    alive(other)


@pytest.mark.parametrize("seed", range(20))
def test_random_fields_of_known_requests_hurt_nobody_else(connect_wire, other, seed):
    chance = random.Random(seed)
    wire = connect_wire().start(3)
    words = ["", "0", "1", "-1", "265598", "STK", "SMART", "nan", "x" * 99, "1e999", "é", "1 D"]
    for number in chance.choices(list(REQUESTS), k=50):
        fields = [str(number), *chance.choices(words, k=chance.randint(0, 130))]
        payload = ("\0".join(fields) + "\0").encode()
        flood(wire, len(payload).to_bytes(4, "big") + payload)
    wire.close()

    alive(other)


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\n\r\n", b"API", b"API\0\xff\xff\xff\xff", b""]
)
def test_a_socket_that_speaks_something_else_hurts_nobody(connect_wire, other, start):
    wire = connect_wire()
    wire.socket.sendall(start)
    wire.close()

    alive(other)


def test_a_malformed_request_gets_320_and_the_next_one_its_answer(connect_wire, other):
    other.send(20, 1)
    other.send(49, 1)
    frames = other.until(49)

    assert [frame[3] for frame in frames[:-1]] == ["320"]


def test_an_unknown_request_gets_320_and_ends_the_connection(connect_wire, other):
    wire = connect_wire().start(3)
    wire.until(4, 2, -1, 2158)
    wire.send(9999, 1)

    assert wire.receive()[3] == "320"
    assert wire.receive() is None
    alive(other)


def test_a_bug_in_a_handler_is_an_error_of_that_request_only(gateway, other, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(gateway.gateway.universe, "matching", broken)
    other.send(81, 5, "A")

    assert other.until(4)[-1][2:4] == ["5", "322"]
    alive(other)


TEXTS = (
    *("", "SMART", "STK", "OPT", "FUT", "CASH", "BAG", "USD", "TRADES", "1 D", "1 min", "Last"),
    *("20261030-15:00:00", "BRFG", "MOST_ACTIVE", "STK.US.MAJOR", "233", "LMT", "BUY", "{}", "é"),
)
WORDS = {
    "text": TEXTS,
    "whole": ("0", "1", "5", "265598", "12087792", "-1", "2147483647"),
    "number": ("0", "1", "0.25", "-3", "1e9", "", "Infinity"),
    "flag": ("0", "1"),
}


def plausible(items, chance, record):
    """Return fields that fit a table, with values that a handler may well meet."""
    out = []
    for item in items:
        if isinstance(item, Field):
            text = chance.choice(WORDS[item.kind])
            if text == "" and item.unset is None:
                text = "1"
            record[item.name] = None if text == "" else item.reader(text)
            out.append(text)
        elif isinstance(item, Nested):
            record[item.name] = {}
            out += plausible(item.items, chance, record[item.name])
        elif isinstance(item, When):
            out += plausible(item.items, chance, record) if item.test(record) else []
        elif isinstance(item, Fixed):
            out.append(item.text)
        else:
            record[item.name] = []
            out.append("0")
    return out


@pytest.mark.parametrize("number", [n for n in sorted(REQUESTS) if n != 71])
def test_no_plausible_request_breaks_its_handler(free, connect_to, number):
    wire = connect_to(free).start(number)
    wire.until(4, 2, -1, 2158)
    for seed in range(60):
        chance = random.Random(seed)
        wire.send(number, *plausible(REQUESTS[number].items, chance, {}))
    wire.send(49, 1)

    texts = [frame[4] for frame in wire.until(49) if frame[0] == "4" and len(frame) > 4]
    assert not [text for text in texts if "internal error" in text]


@pytest.fixture(scope="module")
def free():
    with run_gateway(limits=Limits.none(), clock=ManualClock(1793376030.0)) as running:
        yield running
