"""The control port: faults and the clock from outside, for whoever has the token."""

import http.client
import json
import socket

import ib_async
import pytest

from ibkit.errors import GatewayUnreachableError, SimulationError
from ibkit.sim import control
from ibkit.sim.clock import ManualClock
from ibkit.sim.control import ControlAddress, ask
from ibkit.sim.testing import gateway as run_gateway

AAPL = ib_async.Contract(conId=265598, exchange="SMART", secType="STK", symbol="AAPL")


@pytest.fixture
def address(gateway):
    return gateway.start_control()


def raw(address, text):
    """Return the status of what is sent as it stands."""
    with socket.create_connection(address[:2], 10) as one:
        one.sendall(text)
        return int(one.makefile("rb").readline().split()[1])


def test_a_fault_armed_from_outside_strikes_ib_async(address, ib):
    armed = ask(address, "POST", "/faults", {"kind": "pacing_violation", "times": 1})
    seen = []
    ib.errorEvent += lambda _id, code, _text, _contract: seen.append(code)

    assert not ib.reqHistoricalData(AAPL, "", "1 D", "1 min", "TRADES", useRTH=True)
    assert seen == [162]
    assert ask(address, "GET", "/faults")[0] == {**armed, "hits": 1}
    assert ask(address, "DELETE", f"/faults/{armed['number']}") == []


def test_everything_can_be_ended_at_once(address):
    for kind in ("read_only", "competing_session"):
        ask(address, "POST", "/faults", {"kind": kind})

    assert ask(address, "GET", "/")["armed"] == 2
    assert ask(address, "DELETE", "/faults") == []


def test_the_table_of_faults_can_be_read(address):
    rows = {row["kind"]: row for row in ask(address, "GET", "/kinds")}

    assert rows["restart"]["parameters"]["down_s"] == 60.0
    assert all(row["a_real_gateway"] and row["source"] for row in rows.values())


def test_a_schedule_can_be_sent(address, wire):
    told = ask(address, "POST", "/plan", '[[fault]]\nkind = "notice"\ncode = 2110\non = "reqIds"\n')
    wire.send(8, 1, 1)

    assert told == {"entries": 1, "random": 0}
    assert wire.receive()[3] == "2110"


def test_a_manual_clock_is_moved_from_outside():
    with run_gateway(clock=ManualClock(1_790_611_200.0)) as running:
        address = running.start_control()

        assert ask(address, "POST", "/clock", {"advance": 90, "step": 1})["now"] == 1_790_611_290.0
        with pytest.raises(SimulationError, match="advance is 0 to"):
            ask(address, "POST", "/clock", {"advance": -1})


def test_a_clock_that_runs_by_itself_is_not_moved(address):
    with pytest.raises(SimulationError, match="runs by itself"):
        ask(address, "POST", "/clock", {"advance": 1})


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "/faults", {"kind": "quake"}, "the kinds are"),
        ("POST", "/faults", {"kind": "slow", "minutes": 1}, "its parameters"),
        ("POST", "/faults", {"kind": ["drop"]}, "no fault is called"),
        ("POST", "/faults", [1], "'kind'"),
        ("POST", "/faults", "{", "no JSON"),
        ("POST", "/plan", "[[fault", "Expected"),
        ("POST", "/plan", "[[fault]]\n", "needs a kind"),
        ("DELETE", "/faults/x", None, "number"),
        ("GET", "/nothing", None, "there is no"),
        ("POST", "/clock", {"advance": "x"}, "by itself"),
        ("POST", "/clock", {"advance": 1, "back": 2}, "back"),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_port_lives_on(address, method, path, body, words):
    with pytest.raises(SimulationError, match=words):
        ask(address, method, path, body)
    assert ask(address, "GET", "/")["simulated"] is True


def test_nothing_happens_without_the_token(address, gateway):
    with pytest.raises(SimulationError, match="Authorization"):
        ask(address._replace(token="guessed"), "POST", "/faults", {"kind": "drop"})
    assert raw(address, b"GET /faults HTTP/1.1\r\n\r\n") == 401


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / SPDY/9\r\n\r\n", 400),
        (b"POST /faults HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /faults HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 413),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_what_is_no_http_is_told_so(address, text, status):
    assert raw(address, text) == status


def test_any_http_client_can_use_it(address):
    connection = http.client.HTTPConnection(*address[:2], timeout=10)
    connection.request("GET", "/", headers={"Authorization": f"Bearer {address.token}"})
    answer = connection.getresponse()

    assert answer.getheader("Content-Type") == "application/json"
    assert json.loads(answer.read())["clients"] == []
    connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org"])
def test_it_listens_on_loopback_only(host):
    with pytest.raises(SimulationError, match="not loopback"):
        control.check_loopback(host)


def test_nobody_there_is_an_error_that_says_so():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = ControlAddress("127.0.0.1", taken.getsockname()[1], "x")

        with pytest.raises(GatewayUnreachableError):
            ask(address, "GET", "/")


def test_the_address_is_kept_for_the_user_alone(tmp_path):
    address = ControlAddress("127.0.0.1", 5000, "secret")
    control.write_address(tmp_path / "control-4002.json", address)

    assert (tmp_path / "control-4002.json").stat().st_mode & 0o777 == 0o600
    assert control.find_address(tmp_path) == address
    assert control.find_address(tmp_path, 4002) == address
    with pytest.raises(SimulationError, match="no simulated gateway"):
        control.find_address(tmp_path, 4003)
    control.write_address(tmp_path / "control-4003.json", address)
    with pytest.raises(SimulationError, match="4002, 4003"):
        control.find_address(tmp_path)
