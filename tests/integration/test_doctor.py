"""The doctor at a gateway: what is well, and what is not."""

import pytest

import ibkit
from ibkit import doctor
from ibkit.sim import launch
from ibkit.sim.testing import gateway as run_gateway


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("IBKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ibkit.toml").write_text("")
    root = tmp_path / "data" / "sim"
    yield root
    if root.exists():
        launch.stop(root)


def findings(profile="sim"):
    return {finding.check: finding for finding in doctor.examine(profile)}


def test_the_simulated_gateway_is_well_and_stopped_again(root):
    found = findings()

    online = ("client id", "accounts", "round trip", "clock", "orders", "market data")
    assert {check: found[check].state for check in online} == dict.fromkeys(online, "ok")
    assert "server version 178" in found["round trip"].found
    assert launch.running(root) is None


def test_a_client_id_in_use_is_a_warning_and_a_gateway_that_ran_goes_on(root):
    with ibkit.connect("sim"):
        found = findings()
        assert launch.running(root) is not None

    assert found["client id"].state == "warn"
    assert found["accounts"].state == "ok"


def test_the_gateway_of_another_kind_of_account_fails(root, monkeypatch):
    with run_gateway() as running:
        monkeypatch.setenv("IBKIT_PROFILES__PAPER__PORT", str(running.port))
        found = findings("paper")

    assert found["gateway port"].state == "ok"
    assert found["connection"].state == "fail"
    assert "is sim" in found["connection"].found
    assert "check host and port" in found["connection"].fix


def test_a_gateway_that_takes_no_orders_is_told(root, monkeypatch):
    """IB refuses even the list of orders then: 321."""
    from ibkit.connection.proxy import IBProxy
    from ibkit.errors import RequestRefusedError

    def refuse():
        raise RequestRefusedError(321, "The API interface is currently in Read-Only mode.")

    monkeypatch.setattr(IBProxy, "reqOpenOrders", property(lambda _: refuse), raising=False)
    found = findings()

    assert found["orders"].state == "warn"  # the sim profile wants to trade
    assert "Read-Only API" in found["orders"].fix
