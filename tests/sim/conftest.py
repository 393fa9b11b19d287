"""A running gateway, and the two clients that must be able to talk to it."""

import socket
import struct
import threading
from queue import Empty, Queue

import ib_async
import pytest
from ibapi.client import EClient
from ibapi.wrapper import EWrapper

from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.wire import Deframer, pack, unpack

WAIT_S = 10.0
STEP_S = 0.05


@pytest.fixture
def gateway():
    with run_gateway() as running:
        yield running


class Wire:
    """A client that speaks raw frames: what is sent and what comes back, field by field."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), WAIT_S)
        self.frames = Deframer()

    def handshake(self, versions="v157..178"):
        payload = versions.encode()
        self.socket.sendall(b"API\0" + struct.pack(">I", len(payload)) + payload)
        return self.receive()

    def start(self, client_id):
        self.handshake()
        self.send(71, 2, client_id, "")
        return self

    def send(self, *fields):
        self.socket.sendall(pack([str(field) for field in fields]))

    def receive(self):
        """Return the next frame, or None when the other side has hung up."""
        while (payload := self.frames.next()) is None:
            data = self.socket.recv(65_536)
            if not data:
                return None
            self.frames.feed(data)
        return unpack(payload)

    def until(self, *start):
        """Return frames up to the first that begins with these fields."""
        wanted, seen = [str(field) for field in start], []
        while True:
            frame = self.receive()
            assert frame is not None, f"hung up; seen {seen}"
            seen.append(frame)
            if frame[: len(wanted)] == wanted:
                return seen

    def close(self):
        self.socket.close()


@pytest.fixture
def connect_to():
    """Return a function that opens a raw connection to some gateway."""
    opened = []

    def connect(running):
        opened.append(Wire(running.host, running.port))
        return opened[-1]

    yield connect
    for wire in opened:
        wire.close()


@pytest.fixture
def connect_wire(gateway, connect_to):
    """Return a function that opens a raw connection."""
    return lambda: connect_to(gateway)


@pytest.fixture
def wire(connect_wire):
    """A raw connection that has been greeted."""
    connected = connect_wire().start(9)
    connected.until(4, 2, -1, 2158)
    return connected


@pytest.fixture
def connect_ib(gateway):
    """Return a function that connects an unmodified ib_async."""
    connected = []

    def connect(client_id=1, **options):
        ib = ib_async.IB()
        ib.RequestTimeout = WAIT_S
        connected.append(ib)
        ib.connect(gateway.host, gateway.port, client_id, **options)
        return ib

    yield connect
    for ib in connected:
        ib.disconnect()


@pytest.fixture
def ib(connect_ib):
    return connect_ib()


@pytest.fixture
def wait():
    """Return a function that runs a client until something is so.

    `waitOnUpdate` alone may miss an update that arrives with its own start, so it is asked often.
    """

    def until(ib, condition):
        for _ in range(int(WAIT_S / STEP_S)):
            if condition():
                return
            ib.waitOnUpdate(STEP_S)
        pytest.fail("it never became so")

    return until


class Official(EWrapper, EClient):
    """IB's own client, with every callback in a queue."""

    def __init__(self):
        EClient.__init__(self, self)
        self.calls = Queue()

    def expect(self, name):
        """Return the arguments of the next callback of this name; others are passed over."""
        while True:
            try:
                called, arguments = self.calls.get(timeout=WAIT_S)
            except Empty:
                raise AssertionError(f"{name} never came") from None
            if called == name:
                return arguments


def _recorder(name):
    def record(self, *arguments, **named):
        self.calls.put((name, (*arguments, *named.values())))

    return record


for _name in vars(EWrapper):
    if not _name.startswith("_") and _name != "logAnswer":
        setattr(Official, _name, _recorder(_name))


@pytest.fixture
def official(gateway):
    client = Official()
    client.connect(gateway.host, gateway.port, 3)
    thread = threading.Thread(target=client.run, daemon=True)
    thread.start()
    client.expect("nextValidId")
    yield client
    client.disconnect()
    thread.join(WAIT_S)
