"""Metrics are served to those who know the token, and no wider than is safe."""

import socket
import threading
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge

from ibkit.errors import EndpointRefusedError
from ibkit.serving import serve

TOKEN = "a-token-of-the-test"


@pytest.fixture
def server():
    registry = CollectorRegistry()
    Gauge("answer", "To everything", registry=registry).set(42)
    with serve(token=TOKEN, registry=registry) as one:
        yield one


def get(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("way", ["header", "query"])
def test_the_token_opens_it(server, way):
    text = get(server.url, TOKEN) if way == "header" else get(f"{server.url}?token={TOKEN}")

    assert "answer 42.0" in text


@pytest.mark.parametrize("token", [None, "wrong", TOKEN[:-1], TOKEN + "x", "é"])
def test_nothing_is_served_without_it(server, token):
    asked = urllib.request.Request(server.url)
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(asked, timeout=30)

    with raised.value as answer:
        assert answer.code == 401
        assert b"answer" not in answer.read()


def test_there_is_nothing_else_there(server):
    with pytest.raises(urllib.error.HTTPError) as raised:
        get(server.url.replace("/metrics", "/"), TOKEN)

    with raised.value as answer:
        assert answer.code == 404


def test_the_token_is_shown_to_nobody(server, capfd):
    get(f"{server.url}?token={TOKEN}")

    assert TOKEN not in repr(server)
    assert TOKEN not in server.url
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "gateway.lan"])
def test_a_wider_address_is_refused_without_tls(host):
    with pytest.raises(EndpointRefusedError, match="has no TLS"):
        serve(host=host)


def test_half_of_tls_a_file_that_is_none_and_a_short_token_are_refused(tmp_path):
    with pytest.raises(EndpointRefusedError, match="both"):
        serve(host="0.0.0.0", certificate=tmp_path / "c.pem")
    with pytest.raises(EndpointRefusedError, match="cannot be used"):
        serve(host="0.0.0.0", certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    with pytest.raises(EndpointRefusedError, match="16 characters"):
        serve(token="short")


def test_a_port_that_is_taken_is_said(server):
    port = int(server.url.split(":")[2].split("/")[0])

    with pytest.raises(EndpointRefusedError, match="cannot listen"):
        serve(port)


def test_closing_ends_the_thread_and_frees_the_port():
    server = serve()
    port = int(server.url.split(":")[2].split("/")[0])
    assert "ibkit-metrics" in {thread.name for thread in threading.enumerate()}

    server.close()
    server.close()

    assert "ibkit-metrics" not in {thread.name for thread in threading.enumerate()}
    assert "closed" in repr(server)
    socket.create_server(("127.0.0.1", port)).close()


def test_closing_hangs_up_on_whoever_is_still_there():
    before = set(threading.enumerate())
    server = serve(token=TOKEN, registry=CollectorRegistry())
    port = int(server.url.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port)) as silent:
        get(server.url, TOKEN)  # by now the silent one has his thread

        server.close()

        assert silent.recv(10) == b""
    assert set(threading.enumerate()) <= before


def test_a_caller_that_says_nothing_holds_nobody_up(server):
    port = int(server.url.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port)):
        assert "answer 42.0" in get(server.url, TOKEN)
