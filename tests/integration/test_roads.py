"""A gateway on another machine: through an SSH tunnel, or a TLS proxy."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import urllib.request
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import ibkit
from ibkit import clock, errors
from ibkit.serving import serve
from ibkit.sim.testing import gateway

SSH = """
    #!{python}
    # stands for ssh: forwards the -L port, and leaves its process id behind
    import os, socket, sys, threading

    args = sys.argv[1:]
    if "nobody@nowhere" in args:
        sys.exit("nobody@nowhere: Permission denied (publickey).")
    here, port, host, target = args[args.index("-L") + 1].split(":")
    listener = socket.create_server((here, int(port)))
    with open({log!r}, "a") as file:
        file.write(str(os.getpid()) + " " + " ".join(args) + "\\n")

    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    while True:
        ours, _ = listener.accept()
        theirs = socket.create_connection((host, int(target)))
        for pair in ((ours, theirs), (theirs, ours)):
            threading.Thread(target=copy, args=pair, daemon=True).start()
"""


@pytest.fixture
def running():
    with gateway() as one:
        yield one


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """A program called ssh, first on the path; returns the lines that it leaves behind."""
    folder, said = tmp_path / "bin", tmp_path / "ssh.log"
    folder.mkdir()
    text = textwrap.dedent(SSH).strip().format(python=sys.executable, log=str(said))
    (folder / "ssh").write_text(text)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    said.touch()
    return lambda: said.read_text().splitlines()


@pytest.fixture
def connect(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def connect(*lines, port=None):
        toml = ["[profiles.sim]", "retry_cap_s = 0.3", *lines]
        (tmp_path / "ibkit.toml").write_text("\n".join(toml))
        return ibkit.connect(port=port or running.port, root=tmp_path / "store", timeout_s=10)

    return connect


def gone(pid):
    """Wait until a process of somebody else's has ended."""
    end = clock.monotonic() + 30
    while clock.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for ssh is a script")
def test_a_tunnel_carries_the_connection_and_ends_with_it(connect, ssh, running):
    with connect('tunnel = "ssh -p 2222 me@far"') as kit:
        assert kit.ib.reqCurrentTime()
        assert "warning" not in kit._repr_html_()
        (line,) = ssh()
        assert "ExitOnForwardFailure=yes" in line
        assert line.endswith(f":127.0.0.1:{running.port} -p 2222 me@far")

    assert gone(int(line.split()[0]))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for ssh is a script")
def test_a_tunnel_that_breaks_is_dug_again(connect, ssh):
    with connect('tunnel = "ssh me@far"') as kit:
        back, heard = threading.Event(), []

        def hear(change):
            heard.append(change.after)
            if change.after == "ready":
                back.set()

        kit.events.state += hear
        os.kill(int(ssh()[0].split()[0]), signal.SIGKILL)
        assert back.wait(30)
        assert heard[0] == "reconnecting"
        assert kit.ib.reqCurrentTime()
        assert len(ssh()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for ssh is a script")
def test_a_login_that_ssh_refuses_is_told_in_its_words(connect, ssh):
    with pytest.raises(errors.GatewayUnreachableError, match="Permission denied") as raised:
        connect('tunnel = "ssh nobody@nowhere"')

    assert "try that command in a terminal" in str(raised.value)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for ssh is a script")
def test_a_tunnel_does_not_outlive_a_process_that_is_killed(ssh):
    code = """
        from ibkit.connection.tunnel import Tunnel

        tunnel = Tunnel("ssh me@far", "127.0.0.1", 1)
        print("dug", flush=True)
        tunnel._process.wait()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "dug\n"
        end = clock.monotonic() + 30
        while not (lines := ssh()) and clock.monotonic() < end:
            continue
        child.kill()

    assert gone(int(lines[0].split()[0]))


def test_a_program_that_is_not_there_is_an_error_of_ours(connect, tmp_path):
    with pytest.raises(errors.GatewayUnreachableError, match="no tunnel"):
        connect(f'tunnel = "{tmp_path.as_posix()}/ssh me@far"')


class TlsProxy:
    """What stunnel does: speaks TLS outside, and plainly to the gateway."""

    def __init__(self, folder, port):
        self._port, self._listener = port, socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "proxy.pem", folder / "proxy.key")
        self._open, self._threads = [self._listener], []
        self._start(self._accept)

    def _start(self, function, *args):
        self._threads.append(threading.Thread(target=function, args=args))
        self._threads[-1].start()

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            plain.settimeout(10)
            try:
                outside = self._context.wrap_socket(plain, server_side=True)
            except OSError:  # the client did not like the certificate
                plain.close()
                continue
            outside.settimeout(None)
            inside = socket.create_connection(("127.0.0.1", self._port))
            self._open += [outside, inside]
            self._start(self._copy, outside, inside)
            self._start(self._copy, inside, outside)

    def _copy(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self):
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


def certify(folder):
    """Write an authority, and a certificate of it for 127.0.0.1."""
    now = clock.now()
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("ca", "proxy")
    ]

    def sign(name, key, *extensions):
        builder = (
            x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(keys[0], hashes.SHA256())

    authority = sign(names[0], keys[0], (x509.BasicConstraints(ca=True, path_length=0), True))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    proxy = sign(names[1], keys[1], (x509.SubjectAlternativeName([address]), False))
    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "proxy.pem").write_bytes(proxy.public_bytes(pem))
    (folder / "proxy.key").write_bytes(keys[1].private_bytes(pem, kind, plain))


@pytest.fixture
def proxy(running, tmp_path):
    certify(tmp_path)
    one = TlsProxy(tmp_path, running.port)
    yield one
    one.close()


def test_tls_carries_the_connection(connect, proxy, tmp_path):
    lines = ("tls = true", f"tls_ca = '{tmp_path / 'ca.pem'}'")
    with connect(*lines, port=proxy.port) as kit:
        assert kit.ib.reqCurrentTime()
        assert kit.link._client.conn.transport.get_extra_info("cipher")
        assert kit.link.state == "ready"


def test_metrics_through_tls(tmp_path):
    certify(tmp_path)
    token = "a-token-of-the-test"
    files = {"certificate": tmp_path / "proxy.pem", "key": tmp_path / "proxy.key"}
    trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with serve(token=token, **files) as server:
        assert server.url.startswith("https://")
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port)) as plain:
            plain.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")  # no TLS: an alert, and no metrics
            assert b"ibkit" not in plain.recv(1000)
        address = f"{server.url}?token={token}"
        with urllib.request.urlopen(address, timeout=30, context=trusting) as answer:
            assert b"ibkit_connections" in answer.read()


def test_a_certificate_of_somebody_else_is_refused(connect, proxy):
    with pytest.raises(errors.GatewayUnreachableError, match="TLS failed") as raised:
        connect("tls = true", port=proxy.port)

    assert "tls_ca=" in str(raised.value)


def test_a_name_that_the_certificate_lacks_is_refused(connect, proxy, tmp_path):
    lines = ("tls = true", f"tls_ca = '{tmp_path / 'ca.pem'}'", 'tls_name = "other.lan"')
    with pytest.raises(errors.GatewayUnreachableError, match="TLS failed"):
        connect(*lines, port=proxy.port)


def test_an_authority_that_is_no_file_is_an_error_of_ours(connect, proxy):
    with pytest.raises(errors.GatewayUnreachableError, match="tls_ca"):
        connect("tls = true", 'tls_ca = "nowhere.pem"', port=proxy.port)


def test_tls_to_a_gateway_without_it_is_an_error_of_ours(connect, running):
    with pytest.raises(errors.GatewayError):
        connect("tls = true", "timeout_s = 1")


def test_an_open_road_to_another_machine_is_said_on_the_card_and_in_the_log(
    connect, monkeypatch, caplog
):
    monkeypatch.setattr("ibkit.connection.tunnel.is_loopback", lambda _: False)
    with connect() as kit:
        assert "not encrypted to 127.0.0.1" in kit._repr_html_()
        assert kit.notices["text"].str.contains("not encrypted").any()
    assert any("not encrypted" in message for message in caplog.messages)
