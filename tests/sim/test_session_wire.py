"""How a connection begins, who may have which id, and how it ends."""

import socket
import struct

import pytest

from ibkit.errors import PortInUseError
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.wire import REQUESTS

ACCOUNT = "DUSIM0001"


@pytest.mark.parametrize("versions", ["v157..178", "v100..226", "v178", "v157..178 +PACEAPI"])
def test_the_answer_to_a_handshake_is_version_178_and_a_time(connect_wire, versions):
    version, time = connect_wire().handshake(versions)

    assert version == "178"
    assert time.endswith("Coordinated Universal Time")


@pytest.mark.parametrize("versions", ["v100..177", "v179..226", "hello", ""])
def test_versions_that_do_not_overlap_end_the_connection(connect_wire, versions):
    assert connect_wire().handshake(versions) is None


def test_nothing_follows_the_version_before_start_api(connect_wire):
    wire = connect_wire()
    wire.handshake()
    wire.socket.settimeout(0.05)

    with pytest.raises(TimeoutError):
        wire.receive()


def test_a_handshake_in_single_bytes_is_understood(connect_wire):
    wire = connect_wire()
    for byte in b"API\0" + struct.pack(">I", 9) + b"v157..178":
        wire.socket.sendall(bytes([byte]))

    assert wire.receive()[0] == "178"


def test_handshake_and_start_api_in_one_segment_are_understood(connect_wire):
    wire = connect_wire()
    start = b"71\x002\x005\x00\x00"
    wire.socket.sendall(
        b"API\0" + struct.pack(">I", 9) + b"v157..178" + struct.pack(">I", len(start)) + start
    )

    assert wire.receive()[0] == "178"
    assert wire.receive() == ["15", "1", ACCOUNT]


def test_the_greeting_is_accounts_next_id_and_farms(connect_wire):
    greeting = connect_wire().start(9).until(4, 2, -1, 2158)

    assert greeting[:2] == [["15", "1", ACCOUNT], ["9", "1", "1"]]
    assert [frame[3] for frame in greeting[2:]] == ["2104", "2104", "2104", "2106", "2158"]


def test_a_second_client_with_the_same_id_gets_326_and_is_hung_up_on(connect_wire, wire):
    second = connect_wire()
    second.handshake()
    second.send(71, 2, 9, "")

    assert second.receive()[:4] == ["4", "2", "-1", "326"]
    assert second.receive() is None
    wire.send(49, 1)
    assert wire.until(49)


def test_an_id_is_free_again_when_its_client_has_left(connect_wire, wire):
    wire.close()

    for _ in range(100):
        again = connect_wire().start(9)
        if again.receive()[:2] == ["15", "1"]:
            return
        again.close()
    pytest.fail("the id never became free")


def test_a_request_before_start_api_ends_the_connection(connect_wire):
    wire = connect_wire()
    wire.handshake()
    wire.send(49, 1)

    assert wire.receive() is None


def test_order_ids_are_counted_per_client(connect_wire, wire):
    order = wire_order(wire, order_id=41)
    wire.send(*order)
    wire.until(3, 41)
    wire.send(8, 1, 1)
    other = connect_wire().start(10)

    assert wire.until(9)[-1] == ["9", "1", "42"]
    assert other.until(9)[-1] == ["9", "1", "1"]


def wire_order(wire, order_id):
    """Return the fields of a limit order that rests."""
    return REQUESTS[3].fields(
        {
            "order_id": order_id,
            "contract": {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"},
            "action": "BUY",
            "total_quantity": 1,
            "order_type": "LMT",
            "lmt_price": 1,
            "transmit": True,
        }
    )


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(gateway):
    with (
        pytest.raises(PortInUseError, match="choose another port"),
        run_gateway(port=gateway.port),
    ):
        pass


def test_a_stopped_gateway_frees_its_port_and_hangs_up(gateway, wire):
    gateway.stop()

    assert wire.receive() is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((gateway.host, gateway.port), 1)


def test_a_silent_gateway_accepts_and_never_speaks(gateway, connect_wire):
    gateway.call(setattr, gateway.gateway.faults, "greeting", "silent")
    wire = connect_wire()
    wire.socket.settimeout(0.05)

    with pytest.raises(TimeoutError):
        wire.handshake()


def test_a_gateway_that_does_not_trust_an_address_hangs_up(gateway, connect_wire):
    gateway.call(setattr, gateway.gateway.faults, "greeting", "drop")
    wire = connect_wire()

    assert wire.receive() is None


def test_an_end_marker_can_get_lost(gateway, wire):
    gateway.call(gateway.gateway.faults.withheld.add, "position_end")
    wire.send(61, 1)
    wire.send(49, 1)

    assert not [frame for frame in wire.until(49) if frame[0] == "62"]


def test_a_request_can_stay_unanswered(gateway, wire):
    gateway.call(gateway.gateway.faults.unanswered.add, "req_ids")
    wire.send(8, 1, 1)
    wire.send(49, 1)

    assert [frame[0] for frame in wire.until(49)] == ["49"]


def test_dropped_clients_can_come_back(gateway, connect_wire, wire):
    gateway.drop_clients()

    assert wire.receive() is None
    assert connect_wire().start(9).until(4, 2, -1, 2158)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ((14, 1, 9), "319"),
        ((15, 1, 1), "327"),
        ((2, 2, 77), "300"),
        ((25, 1, 77), "366"),
        ((93, 77), "10185"),
        ((4, 1, 4711, ""), "10147"),
        ((91, 999999), "321"),
    ],
)
def test_a_request_that_makes_no_sense_gets_its_code(wire, asked, code):
    wire.send(*asked)

    assert wire.until(4)[-1][3] == code


def test_small_requests_are_answered(wire):
    for request in [(17, 1), (80,), (79, 1), (104, 2), (67, 1, 3), (81, 4, "nothing like it")]:
        wire.send(*request)

    answers = [wire.receive() for _ in range(6)]
    assert [frame[0] for frame in answers] == ["15", "78", "77", "107", "67", "79"]
