"""Who hears of whose orders: the owner, the master, client 0, and whoever asks for all."""

import pytest

from ibkit.sim.handlers.orders import place_by_hand
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.wire import REQUESTS

RESTING = {
    "contract": {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"},
    "action": "BUY",
    "total_quantity": 1,
    "order_type": "LMT",
    "lmt_price": 10,
    "transmit": True,
    "tif": "GTC",
}


@pytest.fixture
def clients(connect_to):
    """A gateway whose master is client 5, and clients 0, 1, 2 and 5."""
    with run_gateway(master_client_id=5) as running:
        wires = {}
        for client_id in (0, 1, 2, 5):
            wires[client_id] = connect_to(running).start(client_id)
            wires[client_id].until(4, 2, -1, 2158)
        yield running, wires


def place(wire, order_id, **changes):
    wire.send(*REQUESTS[3].fields({**RESTING, "order_id": order_id, **changes}))


def sync(wire):
    wire.send(49, 1)
    return wire.until(49)[:-1]


def statuses(frames):
    return [frame[1:3] for frame in frames if frame[0] == "3"]


def test_an_order_is_pushed_to_its_owner_and_the_master_only(clients):
    _, wires = clients
    place(wires[1], 7)
    wires[1].until(3, 7)

    assert statuses(sync(wires[5]))[0][0] == "7"
    assert not statuses(sync(wires[2]))
    assert not statuses(sync(wires[0]))


def test_the_master_hears_of_executions_and_their_cost(clients):
    _, wires = clients
    place(wires[1], 7, order_type="MKT", lmt_price=None, outside_rth=True)
    wires[1].until(59)

    kinds = [frame[0] for frame in wires[5].until(59)]
    assert {"5", "3", "11", "59"} <= set(kinds)


def test_open_orders_are_ones_own_and_all_open_orders_everybodys(clients):
    _, wires = clients
    place(wires[1], 7)
    place(wires[2], 8)
    for client_id, order_id in ((1, 7), (2, 8)):
        wires[client_id].until(3, order_id)
        sync(wires[client_id])
    wires[1].send(5, 1)
    own = wires[1].until(53)
    wires[1].send(16, 1)
    every = wires[1].until(53)

    assert {frame[1] for frame in own if frame[0] == "3"} == {"7"}
    assert {(frame[1], frame[9]) for frame in every if frame[0] == "3"} == {("7", "1"), ("8", "2")}


def test_the_same_number_of_two_clients_is_two_orders(clients):
    _, wires = clients
    for client_id in (1, 2):
        place(wires[client_id], 7)
        wires[client_id].until(3, 7)
        sync(wires[client_id])
    wires[1].send(4, 1, 7, "")
    wires[1].until(4, 2, 7, 202)
    wires[2].send(5, 1)

    assert statuses(wires[2].until(53))[0][0] == "7"


def test_an_order_placed_by_hand_is_client_0s_and_has_no_number_until_bound(clients):
    running, wires = clients
    number = running.call(place_by_hand, running.gateway, RESTING)
    unbound = statuses([*wires[0].until(3), *sync(wires[0])])
    wires[0].send(15, 1, 1)
    binding = wires[0].until(100)[-1]
    bound = statuses([*wires[0].until(3), *sync(wires[0])])

    assert number < 0
    assert {order_id for order_id, _ in unbound} == {"0"}
    assert binding[2:] == ["0", str(number)]
    assert {order_id for order_id, _ in bound} == {str(number)}
    assert not statuses(sync(wires[1]))


def test_a_bound_order_can_be_cancelled_by_client_0(clients):
    running, wires = clients
    wires[0].send(15, 1, 1)
    sync(wires[0])
    number = running.call(place_by_hand, running.gateway, RESTING)
    wires[0].until(100)
    wires[0].send(4, 1, number, "")

    assert wires[0].until(4, 2, number)[-1][3] == "202"


def test_only_client_0_may_bind(clients):
    _, wires = clients
    wires[1].send(15, 1, 1)

    assert wires[1].until(4)[-1][3] == "327"


def test_order_ids_go_on_where_a_client_left_off(clients, connect_to):
    running, wires = clients
    place(wires[1], 41)
    wires[1].until(3, 41)
    wires[1].close()
    for _ in range(100):
        again = connect_to(running).start(1)
        frame = again.until(9)[-1] if again.receive()[0] == "15" else None
        if frame:
            break

    assert frame == ["9", "1", "42"]
