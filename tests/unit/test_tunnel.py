"""Which roads to a gateway are refused, and which are called dangerous."""

import pytest

from ibkit.connection.books import ledger_of
from ibkit.connection.tunnel import exposed_endpoints, exposure, tunnel_words
from ibkit.errors import SettingsError
from ibkit.settings import Settings


def profile(**given):
    return Settings().profile("paper", **given)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_needs_no_protection(host):
    assert exposure(profile(host=host), host) == ""


@pytest.mark.parametrize("host", ["10.0.0.5", "gateway.lan", "0.0.0.0"])
def test_another_machine_without_tunnel_or_tls_is_called_unencrypted(host):
    assert "not encrypted to" in exposure(profile(host=host), host)


def test_a_tunnel_or_verified_tls_is_safe_and_unverified_tls_is_not():
    host = "gateway.lan"
    assert exposure(profile(host=host, tunnel="ssh me@gateway.lan"), host) == ""
    assert exposure(profile(host=host, tls=True), host) == ""
    assert "can pose as it" in exposure(profile(host=host, tls=True, tls_verify=False), host)


def test_this_machine_behind_a_tunnel_is_another_one(tmp_path):
    here, there = (ledger_of(profile(**given), tmp_path) for given in ({}, {"tunnel": "ssh a@b"}))

    assert here != there
    assert " " not in there.name


def test_every_endpoint_counts_and_each_danger_is_told_once():
    one = profile(fallbacks=("far.lan:4002", "far.lan:4001"))

    (text,) = exposed_endpoints([one, one])

    assert "far.lan" in text


@pytest.mark.parametrize(
    "tunnel",
    ["ssh", "me@host", "rsh me@host", "ssh -f me@host", "ssh -NfL 1:2:3 me@host", "ssh 'x"],
)
def test_a_tunnel_that_we_could_not_look_after_is_refused(tunnel):
    with pytest.raises(SettingsError, match="tunnel"):
        profile(tunnel=tunnel)


def test_the_command_ends_when_the_port_is_taken_and_asks_nobody():
    words = tunnel_words("ssh -p 2222 -i key me@bastion", 5000, "fe80::1", 4002)

    assert "ExitOnForwardFailure=yes" in words
    assert "BatchMode=yes" in words
    assert words[words.index("-L") + 1] == "127.0.0.1:5000:[fe80::1]:4002"
    assert words[-5:] == ["-p", "2222", "-i", "key", "me@bastion"]
