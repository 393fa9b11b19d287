"""Gateways that are not there, do not speak, or are not the one we meant."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading

import pytest

import ibkit
from ibkit import errors
from ibkit.sim.testing import gateway


@contextlib.contextmanager
def listener(serve):
    """Run `serve(socket)` for each connection, in threads, and free the port at the end."""
    server = socket.create_server(("127.0.0.1", 0))
    sockets, threads = [], []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                sockets.append(client)
                threads.append(threading.Thread(target=serve, args=(client,), daemon=True))
                threads[-1].start()

    threads.append(threading.Thread(target=accept, daemon=True))
    threads[-1].start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for client in sockets:
            client.close()
        for thread in threads:
            thread.join(5)


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    yield
    gc.collect()
    assert threading.active_count() == before


def connect(tmp_path, profile="paper", **options):
    return ibkit.connect(profile, root=tmp_path, **({"timeout_s": 5} | options))


def test_nothing_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(errors.GatewayUnreachableError) as caught:
        connect(tmp_path, port=port)

    text = str(caught.value)
    assert f"127.0.0.1:{port}: nothing listens there" in text
    assert all(known in text for known in ("7496", "7497", "4001", "4002"))
    assert isinstance(caught.value, ConnectionError)


def test_a_host_that_does_not_exist(tmp_path):
    with pytest.raises(errors.GatewayUnreachableError):
        connect(tmp_path, host="gateway.invalid", port=4002)


def test_accepts_and_stays_silent(tmp_path):
    def silent(client):
        with contextlib.suppress(OSError):
            while client.recv(1024):
                pass

    with listener(silent) as port, pytest.raises(errors.GatewaySilentError) as caught:
        connect(tmp_path, port=port, timeout_s=0.3)

    assert "stayed silent for 0.3 s" in str(caught.value)
    assert "log in" in str(caught.value)
    assert isinstance(caught.value, TimeoutError)


def test_accepts_and_hangs_up(tmp_path):
    with (
        listener(lambda client: client.close()) as port,
        pytest.raises(errors.GatewaySilentError, match="ended it before the greeting"),
    ):
        connect(tmp_path, port=port, timeout_s=30)


def test_a_web_server_is_no_gateway(tmp_path):
    def web(client):
        with contextlib.suppress(OSError):
            client.recv(1024)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()

    with listener(web) as port, pytest.raises(errors.GatewaySilentError):
        connect(tmp_path, port=port, timeout_s=0.5)


def test_a_client_id_that_is_taken_says_by_whom(tmp_path):
    with gateway() as running, connect(tmp_path, "sim", port=running.port, client_id=5) as kit:
        with pytest.raises(errors.ClientIdInUseError, match="this process") as here:
            connect(tmp_path, "sim", port=running.port, client_id=5)
        other = socket.create_connection((running.host, running.port))
        other.sendall(b"API\0\0\0\0\x09v157..178")
        other.recv(1024)
        other.sendall(b"\0\0\0\x0971\x002\x0077\0\0")
        other.recv(1024)
        with pytest.raises(errors.ClientIdInUseError, match="326") as elsewhere:
            connect(tmp_path, "sim", port=running.port, client_id=77, timeout_s=0.8)
        other.close()

        assert repr(kit) in str(here.value)
        assert "client_id=" in str(elsewhere.value)
        assert kit.link.state == "ready"


@pytest.mark.parametrize("profile", ["paper", "live"])
def test_a_simulated_gateway_behind_a_real_profile_is_refused(tmp_path, profile):
    with gateway() as running:
        with pytest.raises(errors.AccountMismatchError, match=f"'{profile}' is {profile}"):
            connect(tmp_path, profile, port=running.port)

        assert asked(running) == []


def test_an_account_that_the_login_does_not_have(tmp_path):
    with gateway() as running, pytest.raises(errors.AccountMismatchError, match="DUSIM••••001"):
        connect(tmp_path, "sim", port=running.port, account="DUSIM9999")


def test_unknown_profile_and_bad_values(tmp_path):
    with pytest.raises(errors.UnknownProfileError, match="paper"):
        connect(tmp_path, "papre")
    with pytest.raises(errors.SettingsError, match="port"):
        connect(tmp_path, port=70_000)
    with pytest.raises(errors.SettingsError, match="loop"):
        connect(tmp_path, loop="kernel")
    with pytest.raises(errors.SettingsError, match="typed in full"):
        connect(tmp_path, "live", trading=True)


def test_the_gateway_breaks_while_we_fetch_the_state(tmp_path):
    with gateway() as running:
        running.gateway.faults.unanswered.add("req_positions")
        timer = threading.Timer(0.2, running.drop_clients)
        timer.start()
        with pytest.raises(errors.GatewayError, match="ended while it was being opened"):
            connect(tmp_path, "sim", port=running.port)
        timer.join()


def test_a_missing_end_marker_delays_but_does_not_prevent(tmp_path):
    with gateway() as running:
        running.gateway.faults.withheld.add("execution_end")
        with connect(tmp_path, "sim", port=running.port, timeout_s=0.3) as kit:
            assert kit.link.state == "ready"


def asked(running):
    """Return what the gateway was asked after the greeting; nothing keeps a record of it yet."""
    return [client.streams for client in running.gateway.clients.values() if client.streams.any]
