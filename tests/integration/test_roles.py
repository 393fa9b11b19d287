"""Data and trading on connections of their own, against two gateways over sockets."""

from __future__ import annotations

import threading

import pytest
from ib_async import Stock

import ibkit
from ibkit import errors
from ibkit.connection.roles import DATA_EVENTS, DATA_METHODS, SHARED_EVENTS
from ibkit.sim.testing import gateway

PATIENCE_S = 30.0
QUICK = "heartbeat_s = 0.2\nheartbeat_timeout_s = 5\nretry_cap_s = 0.3\ntimeout_s = 5"


@pytest.fixture
def data():
    with gateway() as one:
        yield one


@pytest.fixture
def trading():
    with gateway() as one:
        yield one


@pytest.fixture
def roles(data, trading, tmp_path, monkeypatch):
    """Write the settings; `more` goes into the table of the data role."""
    monkeypatch.chdir(tmp_path)

    def write(more="", port=None):
        (tmp_path / "ibkit.toml").write_text(
            f"[profiles.sim]\n{QUICK}\n[profiles.sim.roles.data]\nport = {port or data.port}\n"
            f"{more}\n[profiles.sim.roles.trading]\nport = {trading.port}\n"
        )

    return write


@pytest.fixture
def kit(roles, tmp_path):
    roles()
    with ibkit.connect(root=tmp_path / "store") as one:
        yield one


class Heard:
    """The states of each role, and a way to wait for one."""

    def __init__(self, kit):
        self.changes, self._pulse = [], threading.Condition()
        kit.events.state += self._note

    def _note(self, change):
        with self._pulse:
            self.changes.append((change.role, change.after))
            self._pulse.notify_all()

    def of(self, role):
        return [after for each, after in self.changes if each == role]

    def wait(self, role, state):
        with self._pulse:
            assert self._pulse.wait_for(lambda: state in self.of(role), PATIENCE_S)


def names(running):
    """Return the names of the requests that a gateway hears from now on."""
    heard, answer = [], running.gateway.answer

    def listen(client, fields):
        heard.append(fields[0])
        answer(client, fields)

    running.gateway.answer = listen
    return heard


def test_each_request_goes_to_its_own_gateway(kit, data, trading):
    at_data, at_trading = names(data), names(trading)
    assert kit.contract("AAPL").conId == 265598
    kit.live.watch("AAPL").close()
    kit.ib.reqMktData(Stock("MSFT", "SMART", "USD", conId=272093))
    kit.ib.cancelMktData(Stock("MSFT", "SMART", "USD", conId=272093))
    assert len(kit.history.bars("AAPL", "1 day", "2026-11-02", "2026-11-03")) == 2
    heartbeat = {"49"}
    assert {"9", "1", "2", "20"} <= set(at_data)
    assert set(at_trading) <= heartbeat

    del at_data[:]
    order = kit.orders.limit("AAPL", "BUY", 1, 1.0)
    kit.ib.reqAllOpenOrders()
    kit.orders.cancel(order)
    assert {"3", "16", "4"} <= set(at_trading)
    assert not {"3", "16", "4"} & set(at_data)
    assert len(kit.ib.positions()) == 0
    assert kit.ib.isConnected()


def test_the_data_connection_asks_for_no_account(kit, data, trading):
    assert kit.data is not kit.link
    assert kit.data.profile.client_id == 21
    assert not kit._loop.call(kit.data.ib.accountValues)
    assert kit._loop.call(kit.link.ib.accountValues)
    card, status = kit._repr_html_(), kit.status()
    assert status.roles == {
        "trading": f"127.0.0.1:{trading.port} client 1 ready",
        "data": f"127.0.0.1:{data.port} client 21 ready",
    }
    assert status.roles["data"] in card
    assert "trading" in repr(kit)
    assert "data" in repr(kit)


def test_losing_the_data_leaves_trading_alone_and_its_streams_come_back(kit, data, trading):
    heard = Heard(kit)
    quotes = kit.live.watch("AAPL")
    ticker = next(iter(quotes._watched.values())).ticker
    since = kit.link.since
    refusing = data.fault("refuse")
    data.drop_clients()
    heard.wait("data", "reconnecting")

    assert kit.link.state == "ready"
    assert kit.ib.reqAllOpenOrders() == []
    assert kit.account.values().attrs["stale"] is False
    assert quotes.frame().attrs["stale"]
    data.mend(refusing)
    heard.wait("data", "ready")
    came = threading.Event()
    ticker.updateEvent += lambda _: came.set()
    assert came.wait(PATIENCE_S)
    assert kit.link.since == since
    assert heard.of("trading") == []
    assert "sim data" in kit.while_away()["key"].tolist()
    quotes.close()


def test_losing_trading_leaves_the_quotes_alone(kit, data, trading):
    heard = Heard(kit)
    with kit.live.watch("AAPL") as quotes:
        refusing = trading.fault("refuse")
        trading.drop_clients()
        heard.wait("trading", "reconnecting")

        assert not quotes.frame().attrs["stale"]
        assert kit.contract("MSFT").conId
        with pytest.raises(errors.NotConnectedError):
            kit.orders.limit("AAPL", "BUY", 1, 1.0)
        assert not kit.ib.isConnected()
        trading.mend(refusing)
        kit.wait_ready(PATIENCE_S)
        assert kit.ib.isConnected()
    assert heard.of("data") == []


def test_the_data_fails_over_to_an_endpoint_of_its_own(roles, data, tmp_path):
    with gateway() as second:
        roles(f'fallbacks = ["127.0.0.1:{second.port}"]\nclient_id = 55')
        with ibkit.connect(root=tmp_path / "store") as kit:
            heard = Heard(kit)
            quotes = kit.live.watch("AAPL")
            data.stop()
            heard.wait("data", "ready")
            assert kit.data.endpoint.port == second.port
            assert kit.data.profile.client_id == 55
            assert second.call(lambda: 55 in second.gateway.clients)
            quotes.close()


def test_close_closes_both_and_what_opens_half_is_closed_again(kit, roles, data, trading, tmp_path):
    threads = threading.active_count()
    kit.close()
    assert (kit.link.state, kit.data.state) == ("closed", "closed")
    roles(port=1)
    for _ in range(2):
        with pytest.raises(errors.GatewayUnreachableError):
            ibkit.connect(root=tmp_path / "store")
    for running in (data, trading):
        assert running.call(lambda running=running: dict(running.gateway.clients)) == {}
    assert threading.active_count() < threads


def test_one_gateway_for_both_is_told_of_once(data, trading, roles, tmp_path):
    roles(port=trading.port)
    told, came = [], threading.Event()
    with ibkit.connect(root=tmp_path / "store") as kit:
        assert kit.data.endpoint == kit.link.endpoint
        kit.events.notice += lambda notice: (told.append(notice.code), came.set())
        trading.call(lambda: [c.error(-1, 2105, "broken:ushmds") for c in clients(trading)])
        kit.ib.reqCurrentTime()
        kit._loop.run(kit.data.probe, 5)
        count = kit.notices.set_index("code").loc[2105, "count"]
        assert came.wait(PATIENCE_S)
    assert told == [2105]
    assert count == 2


def clients(running):
    return list(running.gateway.clients.values())


def test_error_events_of_both_are_heard(kit):
    heard = []
    kit.ib.errorEvent += lambda request_id, code, text, contract: heard.append(code)
    with pytest.raises(errors.UnknownContractError):
        kit.ib.reqContractDetails(Stock("NOSUCH", "SMART", "USD"))

    assert 200 in heard


def test_the_names_are_those_of_ib_async():
    from ib_async import IB

    assert all(hasattr(IB, name) for name in DATA_METHODS)
    assert set(IB.events) >= DATA_EVENTS | SHARED_EVENTS


def test_two_roles_need_two_ids_at_one_gateway(roles, trading, tmp_path):
    roles("client_id = 1", port=trading.port)
    with pytest.raises(errors.SettingsError, match="two client ids"):
        ibkit.connect(root=tmp_path / "store")
    (tmp_path / "ibkit.toml").write_text("[profiles.sim.roles.date]\nport = 1")
    with pytest.raises(errors.SettingsError, match="data"):
        ibkit.connect(root=tmp_path / "store")


def test_without_roles_there_is_one_connection(trading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ibkit.connect(port=trading.port, root=tmp_path / "store") as kit:
        assert kit.data is kit.link
        assert kit.status().roles == {}
