"""The connection comes back by itself, over real sockets, and says what it missed."""

from __future__ import annotations

import sys
import threading

import pytest
from ib_async import Stock

import ibkit
from ibkit import clock, errors
from ibkit.connection import LoopThread
from ibkit.connection.away import Away
from ibkit.connection.link import Link
from ibkit.settings import Profile
from ibkit.sim.testing import gateway

QUICK = {"heartbeat_s": 0.2, "heartbeat_timeout_s": 0.3, "retry_cap_s": 0.3, "timeout_s": 5}
PATIENCE_S = 30.0


@pytest.fixture
def running():
    with gateway() as one:
        yield one


@pytest.fixture
def kit(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{name} = {value}" for name, value in QUICK.items()]
    (tmp_path / "ibkit.toml").write_text("\n".join(["[profiles.sim]", *lines]))
    with ibkit.connect(port=running.port, root=tmp_path / "store") as one:
        yield one


class Heard:
    """The states that a kit goes through, and a way to wait for one."""

    def __init__(self, kit):
        self.states, self._pulse = [], threading.Condition()
        kit.events.state += self._note

    def _note(self, change):
        with self._pulse:
            self.states.append(change.after)
            self._pulse.notify_all()

    def wait(self, state, times=1):
        with self._pulse:
            assert self._pulse.wait_for(lambda: self.states.count(state) >= times, PATIENCE_S)


@pytest.fixture
def heard(kit):
    return Heard(kit)


def ticks(ticker, after):
    """Wait until a ticker has moved on."""
    came = threading.Event()

    def look(_):
        if ticker.time and ticker.time > after:
            came.set()

    ticker.updateEvent += look
    try:
        return came.wait(PATIENCE_S)
    finally:
        ticker.updateEvent -= look


def test_a_lost_socket_comes_back_and_says_so(kit, running, heard):
    before = kit.link.since
    running.drop_clients()

    heard.wait("ready")
    assert heard.states[:3] == ["reconnecting", "syncing", "ready"]
    assert kit.link.since > before
    assert kit.ib.reqCurrentTime()
    away = kit.while_away()
    assert away.iloc[0][["topic", "after", "action"]].tolist() == [
        "connection",
        "ready",
        "reconnected",
    ]


def test_what_was_watched_goes_on_in_the_same_objects(kit, running, heard):
    apple, quotes = Stock("AAPL", "SMART", "USD"), kit.live.watch("MSFT", "CASH:EURUSD")
    kit.ib.qualifyContracts(apple)
    ticker, bars = (
        kit.ib.reqMktData(apple),
        kit.ib.reqRealTimeBars(apple, 5, "TRADES", useRTH=False),
    )
    live = kit.ib.reqHistoricalData(
        apple, "", "5 D", "1 min", "TRADES", useRTH=False, keepUpToDate=True
    )
    pnl = kit.ib.reqPnL(kit.link.account)
    assert ticks(ticker, clock.now())
    wrapper = kit.link.ib.wrapper
    count = kit.link.loop.call(lambda: len(kit.link.subscriptions.live()))

    running.drop_clients()
    heard.wait("ready")
    assert ticks(ticker, kit.link.since)

    assert kit.link.loop.call(lambda: len(kit.link.subscriptions.live())) == count == 6
    assert kit.link.loop.call(lambda: wrapper.reqId2Subscriber[bars.reqId]) is bars
    assert kit.link.loop.call(lambda: wrapper.reqId2Subscriber[live.reqId]) is live
    dates = [bar.date for bar in live]
    assert dates == sorted(set(dates))
    assert len(live) >= 2
    kit.ib.cancelMktData(apple)
    kit.ib.cancelRealTimeBars(bars)
    kit.ib.cancelHistoricalData(live)
    kit.ib.cancelPnL(pnl.account)
    quotes.close()
    assert kit.link.loop.call(kit.link.subscriptions.live) == []
    kit.ib.reqCurrentTime()  # everything before it was heard
    (client,) = running.gateway.clients.values()
    streams = client.streams
    for open_ones in (streams.quotes, streams.bars, streams.real_time_bars, streams.pnl):
        assert not open_ones


def test_stale_quotes_say_so_until_the_first_tick_of_the_new_socket(kit, running, heard):
    with kit.live.watch("AAPL") as quotes:
        assert not quotes.frame().attrs["stale"]
        assert not kit.account.values().attrs["stale"]
        fault = running.fault("refuse")
        running.drop_clients()
        heard.wait("reconnecting")
        frame = quotes.frame()
        assert frame.attrs["stale"]
        assert frame["last"].notna().all() or frame["bid"].notna().all()
        assert kit.account.values().attrs["stale"]
        running.mend(fault)
        heard.wait("ready")
        ticker = kit.link.loop.call(lambda: next(iter(quotes._watched.values())).ticker)
        assert ticks(ticker, kit.link.since)
        assert not quotes.frame().attrs["stale"]


def test_a_silent_gateway_is_noticed_by_its_heart(kit, running, heard):
    fault = running.fault("half_open")
    heard.wait("reconnecting")
    running.mend(fault)
    heard.wait("ready")

    assert kit.ib.reqCurrentTime()


def test_a_question_that_the_outage_interrupts_is_asked_again(kit, running, heard):
    fault = running.fault("ignore", request="reqContractDetails", times=1)
    answer = []

    def ask():
        answer.append(kit.ib.reqContractDetails(Stock("AAPL", "SMART", "USD")))

    thread = threading.Thread(target=ask)
    thread.start()
    while not running.call(lambda: fault.hits):
        kit.ib.reqCurrentTime()
    running.drop_clients()
    thread.join(PATIENCE_S)

    assert answer[0][0].contract.conId == 265598
    assert "ready" in heard.states


def test_close_while_it_reconnects_ends_everything(kit, running, heard):
    running.fault("refuse")
    running.drop_clients()
    heard.wait("reconnecting")

    kit.close()

    assert kit.link.state == "closed"
    with pytest.raises(errors.LoopThreadError):
        kit.ib.reqCurrentTime()


def test_a_login_that_is_another_one_is_refused_for_good(running, tmp_path):
    with LoopThread() as loop:
        profile = Profile(name="sim", kind="sim", port=running.port, **QUICK)
        link = Link(profile, loop)
        heard = Heard(link)
        loop.run(link.open)
        other = profile.model_copy(update={"account": "DUSIM0777"})
        loop.call(setattr, link, "profile", other)
        running.drop_clients()
        heard.wait("failed")

        assert "DUSIM••••777" in link.reason
        with pytest.raises(errors.NotConnectedError, match="failed"):
            loop.run(link.request, "time", lambda ib: ib.reqCurrentTimeAsync())
        loop.run(link.close)
        link.events.close()


def test_the_next_endpoint_is_taken_when_the_first_is_gone(tmp_path):
    with LoopThread() as loop, gateway() as first, gateway() as second:
        fallbacks = (f"127.0.0.1:{second.port}",)
        profile = Profile(name="sim", kind="sim", port=first.port, fallbacks=fallbacks, **QUICK)
        link = Link(profile, loop)
        heard = Heard(link)
        loop.run(link.open)
        first.stop()
        heard.wait("ready", 2)

        assert link.endpoint.port == second.port
        loop.run(link.close)
        loop.run(link.open)  # the first is still away: so is its refusal, at once
        assert link.endpoint.port == second.port
        loop.run(link.close)
        link.events.close()


def test_a_long_outage_calls_for_help_once(running, tmp_path):
    told = tmp_path / "told"
    command = [
        sys.executable,
        "-c",
        f"import sys; open({str(told)!r}, 'a').write(sys.argv[1] + '\\n')",
    ]
    with LoopThread() as loop:
        patience = {**QUICK, "alert": command, "alert_after_s": 0.5, "reset_window": ""}
        link = Link(Profile(name="sim", kind="sim", port=running.port, **patience), loop)
        heard = Heard(link)
        loop.run(link.open)
        fault = running.fault("refuse")
        running.drop_clients()
        while not told.exists() or not told.read_text().endswith("\n"):
            loop.run(link.endpoints)
        running.mend(fault)
        heard.wait("ready", 2)
        loop.run(link.close)
        link.events.close()

    assert told.read_text().count("\n") == 1
    assert "no gateway since" in told.read_text()


def test_the_record_of_absences_is_there_the_next_morning(tmp_path):
    path = tmp_path / "away.jsonl"
    Away(path).note("stream", "AAPL quotes", "then", "silent", "subscribed again")
    with path.open("a") as file:
        file.write('["torn')

    frame = Away(path).frame()

    assert frame[["topic", "key", "action"]].to_numpy().tolist() == [
        ["stream", "AAPL quotes", "subscribed again"]
    ]
    assert str(frame["ts"].dtype) == "datetime64[us, UTC]"
    assert path.stat().st_mode & 0o777 == 0o600
