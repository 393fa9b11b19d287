"""A gateway that leaves: at once, whoever is coming in and whoever does not listen any more."""

import gc
import socket
import struct
import threading

from ibkit.sim.limits import Limits
from ibkit.sim.testing import gateway as run_gateway

LOOKS = 20_000
REQUESTS = 40
COMERS = 400
DAYS = (265598, "AAPL", "STK", "", 0.0, "", "", "SMART", "", "USD", "", "", 0)


def unsent(running):
    """Return how much the gateway could not send to its client."""
    (client,) = running.gateway.clients.values()
    return client.transport.get_write_buffer_size()


def test_a_client_that_does_not_read_holds_nobody_up(connect_to):
    with run_gateway(limits=Limits.none()) as running:
        deaf = connect_to(running).start(1)
        deaf.until(4, 2, -1, 2158)
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for req_id in range(REQUESTS):
            deaf.send(20, req_id, *DAYS, "", "1 min", "20 D", 1, "TRADES", 2, 0, "")
        assert any(running.call(unsent, running) for _ in range(LOOKS))

        running.stop()  # waits for ten seconds at most, then raises

    gc.collect()  # and nothing is left that Python would warn of


def test_sockets_that_come_in_at_the_end_are_shut_without_a_word():
    with run_gateway() as running:
        opened, first = [], threading.Event()

        def come():
            hello = b"API\0" + struct.pack(">I", 9) + b"v157..178"
            for _ in range(COMERS):
                try:
                    opened.append(socket.create_connection((running.host, running.port), 5))
                    opened[-1].sendall(hello)
                except OSError:
                    break
                first.set()
            first.set()

        thread = threading.Thread(target=come)
        thread.start()
        first.wait(5)
        running.stop()
        thread.join(10)
        for one in opened:
            one.close()

    assert not thread.is_alive()
    gc.collect()
