"""Nothing that one client sends ends the gateway, or another client."""

import contextlib
import random

import pytest

from ibkit.sim.wire import REQUESTS


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
