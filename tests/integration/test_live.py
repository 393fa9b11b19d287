"""Quotes from the simulated gateway."""

from __future__ import annotations

import pytest

import ibkit
from ibkit import errors
from ibkit.sim import handlers
from ibkit.sim.handlers.refusal import RefusedError


@pytest.fixture
def kit(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ibkit.connect(port=running.port, root=tmp_path) as one:
        yield one


def streams(running):
    return running.call(
        lambda: sum(len(c.streams.quotes) for c in running.gateway.clients.values())
    )


def test_the_first_frame_is_filled_and_honest(kit):
    with kit.live.watch("AAPL", "CASH:EURUSD") as quotes:
        frame = quotes.frame()

    assert list(frame.index) == ["AAPL", "CASH:EURUSD"]
    assert (frame["bid"] < frame["ask"]).all()
    assert str(frame["ts"].dtype) == "datetime64[us, UTC]"
    assert frame["ts"].notna().all()
    assert frame.attrs == {"simulated": True, "delayed": False, "stale": False}


def test_leaving_the_block_ends_the_subscription(kit, running):
    with kit.live.watch("AAPL", "MSFT") as quotes:
        assert streams(running) == 2
        assert kit.status().lines == 2

    kit.ib.reqCurrentTime()
    assert streams(running) == 0
    assert quotes.closed
    assert quotes.frame().attrs["stale"]
    assert quotes.frame()["bid"].notna().all()
    quotes.close()


def test_two_watchers_share_a_line_and_the_last_one_ends_it(kit, running):
    first, second = kit.live.watch("AAPL"), kit.live.watch("AAPL", "AAPL")

    assert streams(running) == 1
    first.close()
    kit.ib.reqCurrentTime()
    assert streams(running) == 1
    assert not second.frame().attrs["stale"]
    second.close()
    kit.ib.reqCurrentTime()
    assert streams(running) == 0


def test_an_unknown_symbol_leaves_nothing_subscribed(kit, running):
    with pytest.raises(errors.UnknownContractError):
        kit.live.watch("AAPL", "NOSUCH")

    assert streams(running) == 0
    assert kit.live.lines == 0


def test_watching_again_and_again_keeps_nothing(kit):
    for _ in range(50):
        kit.live.watch("AAPL").close()

    def sizes():
        wrapper = kit.link.ib.wrapper
        tables = (wrapper.reqId2Ticker, wrapper.tickers, wrapper._reqId2Contract)
        return [len(table) for table in tables]

    assert kit.link.loop.call(sizes) == [0, 0, 0]


def test_a_lost_connection_shows_as_stale_with_the_last_prices(kit, running):
    quotes = kit.live.watch("AAPL")
    refused = running.fault("refuse")
    running.drop_clients()
    while kit.link.state == "ready":
        kit.ib.sleep(0.001)

    frame = quotes.frame()
    assert frame.attrs["stale"]
    assert frame["bid"].notna().all()
    running.mend(refused)
    kit.wait_ready(30)
    quotes.close()


def test_watch_without_names_is_refused(kit):
    with pytest.raises(ValueError, match="at least one"):
        kit.live.watch()


def test_quote_events_carry_frozen_payloads(kit):
    seen = []
    kit.events.quote += seen.append
    with kit.live.watch("AAPL"):
        while not seen:
            kit.ib.waitOnUpdate(1)

    assert seen[0].key == "AAPL"
    with pytest.raises(AttributeError):
        seen[0].bid = 1


def test_a_refused_subscription_is_an_error_and_none_stays(kit, running, monkeypatch):
    subscribe = handlers.HANDLERS["req_mkt_data"]

    def refuse_one(client, values):
        if values["contract"]["symbol"] == "MSFT":
            raise RefusedError(354, "Requested market data is not subscribed.")
        subscribe(client, values)

    monkeypatch.setitem(handlers.HANDLERS, "req_mkt_data", refuse_one)

    with pytest.raises(errors.NoPermissionError, match=r"IB 354 for STK MSFT"):
        kit.live.watch("AAPL", "MSFT")
    assert kit.live.lines == 0
    kit.ib.reqCurrentTime()
    assert streams(running) == 0


def test_contracts_may_be_watched_as_they_are(kit):
    contract = kit.contract("AAPL")
    with kit.live.watch(contract, settle_s=0) as quotes:
        assert list(quotes.frame().index) == ["AAPL"]
        assert repr(quotes) == "<Quotes AAPL ready>"
    assert repr(quotes) == "<Quotes AAPL closed>"
