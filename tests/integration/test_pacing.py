"""IB's limits and client ids, over real sockets: counted together, given back, never forgotten."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from ib_async import Stock

import ibkit
from ibkit import errors
from ibkit.connection import LoopThread, books
from ibkit.connection.ledger import Ledger
from ibkit.connection.link import Link
from ibkit.connection.permits import open_ledger
from ibkit.settings import Profile
from ibkit.sim.handlers.refusal import RefusedError
from ibkit.sim.testing import gateway

PATIENCE_S = 30.0
LINES = "market data lines"
SETTINGS = """\
[profiles.sim]
timeout_s = 5
retry_cap_s = 0.3
client_ids = "21-24"
[pacing]
lines = {lines}
small_bars = 4
"""
# a second program on the same gateway and the same store; it does what it is told, line by line
PROGRAM = """\
import sys, ibkit
kit = None
for line in sys.stdin:
    try:
        exec(line)
        print("done", flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""
FIVE_SECONDS = ("", "1800 S", "5 secs", "TRADES", False)


@pytest.fixture
def running():
    with gateway() as one:
        yield one


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ibkit.toml").write_text(SETTINGS.format(lines=3))
    return tmp_path


@pytest.fixture
def connect(running, here):
    def connecting(**options):
        return ibkit.connect(port=running.port, root=here / "store", **options)

    return connecting


@pytest.fixture
def kit(connect):
    with connect() as one:
        yield one


@pytest.fixture
def program(running, here):
    """Start a second program; the answer to each line that it is given comes back."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=here,
            env=os.environ | {"GATEWAY": str(running.port), "ROOT": str(here / "store")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)

        def tell(line):
            process.stdin.write(line + "\n")
            process.stdin.flush()

        def hear():
            return process.stdout.readline().strip()

        tell(
            f"connect = lambda **options: ibkit.connect(port={running.port}, "
            f"root={str(here / 'store')!r}, **options)"
        )
        assert hear() == "done"
        return process, tell, hear

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def used(kit, rule=LINES):
    return int(kit.pacing.used[rule])


def wait_for(kit, state, times=1):
    """Return a function that waits until a kit has been in `state` so many times from now on."""
    states, pulse = [], threading.Condition()

    def note(change):
        with pulse:
            states.append(change.after)
            pulse.notify_all()

    kit.events.state += note

    def wait():
        with pulse:
            assert pulse.wait_for(lambda: states.count(state) >= times, PATIENCE_S)
        kit.events.state -= note

    return wait


def test_lines_are_counted_shared_and_given_back(kit):
    apple = Stock("AAPL", "SMART", "USD")
    kit.ib.qualifyContracts(apple)
    with kit.live.watch("AAPL", "MSFT"), kit.live.watch("AAPL"):
        assert used(kit) == 2
        kit.ib.reqMktData(apple)
        assert used(kit) == 3
        with pytest.raises(errors.BudgetSpentError, match=f"process {os.getpid()}.*: 3"):
            kit.ib.run(kit.live.watch.aio("SPY"))
        kit.ib.cancelMktData(apple)
        assert used(kit) == 2
    assert used(kit) == 0
    assert kit.ib.reqTickers(apple)[0].contract == apple
    kit.ib.reqMktData(apple, snapshot=True)
    asked = (kit.ib.reqCurrentTime() and used(kit) for _ in range(500))
    assert 0 in asked, "a snapshot is over when it is there"


def test_the_gauge_shows_each_limit_and_the_card_shows_it_in_a_line(kit):
    gauge = kit.pacing

    assert gauge.index[0] == "messages"
    assert gauge.left[LINES] == 3
    assert gauge.next_s["historical requests"] == 0
    assert "3 lines, 4 small-bar requests may go now" in kit._repr_html_()
    kit.close()
    with pytest.raises(errors.LoopThreadError):
        _ = kit.pacing


def test_every_kind_of_stream_holds_its_limit_until_it_is_cancelled(kit):
    apple = Stock("AAPL", "SMART", "USD")
    kit.ib.qualifyContracts(apple)
    kit.ib.reqMktDepth(apple)
    kit.ib.reqTickByTickData(apple, "Last")
    bars = kit.ib.reqRealTimeBars(apple, 5, "TRADES", useRTH=False)
    live = kit.ib.reqHistoricalData(
        apple, "", "1 D", "1 min", "TRADES", useRTH=False, keepUpToDate=True
    )
    rules = ["market depth", "tick-by-tick", LINES, "open historical requests"]
    assert [used(kit, rule) for rule in rules] == [1, 1, 1, 1]

    kit.ib.cancelMktDepth(apple)
    kit.ib.cancelTickByTickData(apple, "Last")
    kit.ib.cancelRealTimeBars(bars)
    kit.ib.cancelHistoricalData(live)
    assert [used(kit, rule) for rule in rules] == [0, 0, 0, 0]
    assert used(kit, "real-time bars") == 1, "what was sent counts on"


def test_a_stream_that_is_opened_in_a_handler_is_counted_too(kit):
    apple = Stock("AAPL", "SMART", "USD")
    kit.ib.qualifyContracts(apple)
    kit.link.loop.call(kit.ib.reqMktData, apple)

    assert used(kit) == 1
    kit.ib.cancelMktData(apple)
    assert used(kit) == 0


def test_a_line_that_ib_refuses_is_free_again(kit, monkeypatch):
    from ibkit.sim import handlers

    def refuse(*_):
        raise RefusedError(354, "Requested market data is not subscribed.")

    monkeypatch.setitem(handlers.HANDLERS, "req_mkt_data", refuse)
    with pytest.raises(errors.NoPermissionError):
        kit.live.watch("AAPL", settle_s=PATIENCE_S)
    assert used(kit) == 0
    apple = Stock("AAPL", "SMART", "USD")
    kit.ib.qualifyContracts(apple)
    said = threading.Event()
    kit.events.notice += lambda notice: said.set() if notice.code == 354 else None
    kit.ib.reqMktData(apple)
    assert said.wait(PATIENCE_S)
    assert used(kit) == 0


def test_a_reconnect_keeps_what_is_held_and_what_is_closed_meanwhile_is_free(kit, running):
    apple = Stock("AAPL", "SMART", "USD")
    kit.ib.qualifyContracts(apple)
    kit.ib.reqMktDepth(apple)
    quotes, other = kit.live.watch("AAPL"), kit.live.watch("MSFT")
    ready, gone = wait_for(kit, "ready"), wait_for(kit, "reconnecting")
    fault = running.fault("refuse")
    running.drop_clients()
    gone()
    assert (used(kit), used(kit, "market depth")) == (2, 1)
    other.close()
    running.mend(fault)
    ready()

    kit.ib.reqCurrentTime()
    assert (used(kit), used(kit, "market depth")) == (1, 1)
    open_lines = running.call(
        lambda: [len(client.streams.quotes) for client in running.gateway.clients.values()]
    )
    assert open_lines == [1], "what was closed in the outage stays closed"
    quotes.close()
    kit.ib.cancelMktDepth(apple)
    assert (used(kit), used(kit, "market depth")) == (0, 0)


def test_two_programs_share_one_budget_of_historical_requests(kit, program):
    _, tell, hear = program()
    tell("kit = connect(client_id='auto')")
    assert hear() == "done"
    tell("kit.history.bars('AAPL', '5 secs', start='2026-10-20', end='2026-10-20')")
    # it takes all there is and waits for more, without an error
    seen = (kit.ib.reqCurrentTime() and used(kit, "historical requests") for _ in range(1000))
    assert 4 in seen

    apple = Stock("AAPL", "SMART", "USD")
    kit.ib.qualifyContracts(apple)
    with pytest.raises(errors.BudgetSpentError) as full:
        kit.ib.reqHistoricalData(apple, *FIVE_SECONDS)
    assert full.value.next_s > 60
    assert len(kit.ib.reqHistoricalData(apple, "", "1 D", "1 hour", "TRADES", useRTH=True))


def test_a_killed_program_frees_its_lines_and_its_client_id(connect, program):
    victim, tell, hear = program()
    tell("kit = connect(client_id=7)")
    assert hear() == "done"
    tell("quotes = kit.live.watch('AAPL', 'MSFT', 'SPY')")
    assert hear() == "done"

    with connect() as kit:
        assert used(kit) == 3
        with pytest.raises(errors.ClientIdInUseError, match=f"7 is held by process {victim.pid}"):
            connect(client_id=7)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        with kit.live.watch("AAPL", "MSFT", "SPY"):
            assert used(kit) == 3
        with connect(client_id=7) as again:
            assert again.ib.reqCurrentTime()


def test_programs_that_start_together_get_ids_of_their_own(connect, program, running):
    programs = [program() for _ in range(2)]
    for _, tell, _ in programs:
        tell("kit = connect(client_id='auto')")
    assert [hear() for _, _, hear in programs] == ["done", "done"]
    with connect(client_id="auto") as kit:
        ids = running.call(lambda: sorted(running.gateway.clients))
        assert ids == [21, 22, 23]
        assert not kit.profile.trading
        for _, tell, _ in programs:
            tell("kit.backfill(['AAPL'], days=1, progress=False)")
        assert [hear() for _, _, hear in programs] == ["done", "done"]
    with pytest.raises(errors.SettingsError, match="orders need an id that stays"):
        connect(client_id="auto", trading=True)


def stranger(running, client_id):
    """Connect as a program that is not ours."""
    raw = socket.create_connection((running.host, running.port))
    raw.sendall(b"API\0\0\0\0\x09v157..178")
    raw.recv(1024)
    words = f"71\0002\000{client_id}\0\0".encode()
    raw.sendall(len(words).to_bytes(4, "big") + words)
    raw.recv(1024)
    return raw


def test_a_free_id_is_one_that_the_gateway_takes(connect, running):
    with stranger(running, 21), connect(client_id="auto") as kit, connect(client_id="auto") as two:
        assert [kit.profile.client_id, two.profile.client_id] == [22, 23]
        with stranger(running, 24), pytest.raises(errors.ClientIdInUseError, match="from 21 to 24"):
            connect(client_id="auto")


def test_a_free_id_moves_on_when_the_gateway_keeps_the_old_one(connect, running):
    with connect(client_id="auto") as kit:
        running.fault("linger", for_s=600.0)
        ready = wait_for(kit, "ready")
        running.drop_clients()
        ready()

        assert kit.profile.client_id == 22
        assert kit.ib.reqCurrentTime()


def test_an_own_id_waits_until_the_gateway_has_freed_it(running):
    outsider = stranger(running, 5)
    profile = Profile(name="sim", kind="sim", port=running.port, client_id=5, timeout_s=PATIENCE_S)
    with LoopThread() as loop:
        link = Link(profile, loop, ledger=Ledger(None))
        link.events.notice += lambda notice: outsider.close() if notice.code == 326 else None
        loop.run(link.open)
        assert link.state == "ready"
        loop.run(link.close)
        link.events.close()


def test_a_close_ends_the_wait_for_an_id(running):
    profile = Profile(name="sim", kind="sim", port=running.port, client_id=5, timeout_s=600)
    with stranger(running, 5), LoopThread() as loop:
        link = Link(profile, loop, ledger=Ledger(None))
        link.events.notice += lambda _: loop.run(link.close)
        with pytest.raises(errors.GatewayError):
            loop.run(link.open)
        assert link.state == "closed"
        link.events.close()


def test_settings_that_are_read_again_hold_at_once(kit, here):
    told, came = [], threading.Event()
    kit.events.settings += lambda change: (told.append(change), came.set())
    (here / "ibkit.toml").write_text(SETTINGS.format(lines=0))
    with pytest.raises(errors.SettingsError, match="lines"):
        kit.reload_settings()
    assert kit.settings.pacing.lines == 3
    text = SETTINGS.format(lines=5).replace("timeout_s = 5", "timeout_s = 9\nheartbeat_s = 2")
    (here / "ibkit.toml").write_text(text + "[profiles.paper]\nport = 7497\n")

    found = kit.reload_settings()

    assert came.wait(PATIENCE_S)
    assert len(told) == 1
    assert told[0].changed == found.changed
    assert [change.key for change in found.waiting] == ["profiles.paper.port"]
    assert kit.pacing.left[LINES] == 5
    assert (kit.profile.timeout_s, kit.profile.heartbeat_s) == (9, 2)
    assert kit.reload_settings().changed == ()


def test_a_change_of_the_file_is_noticed(kit, here, caplog):
    came = threading.Event()
    kit.events.settings += lambda _: came.set()
    kit.watch_settings(every_s=0.01)

    def save(lines):
        (here / "new").write_text(SETTINGS.format(lines=lines))
        (here / "new").replace(here / "ibkit.toml")

    save(0)
    while "not valid" not in caplog.text:
        kit.ib.reqCurrentTime()
    save(70)

    assert came.wait(PATIENCE_S)
    assert kit.pacing.left[LINES] == 70


def test_a_ledger_that_cannot_be_used_is_said_and_stops_nobody(connect, here, caplog):
    (here / "store" / "gateway" / "pacing.sqlite").mkdir(parents=True)
    with connect() as kit:
        assert "for this process alone" in caplog.text
        assert "other processes not counted" in kit.status().pacing
        with kit.live.watch("AAPL"):
            assert used(kit) == 1


def test_a_ledger_that_fails_later_is_replaced(tmp_path, caplog):
    from ibkit.connection.asks import ask_for
    from ibkit.connection.permits import Permits

    async def main():
        permits = Permits(open_ledger(tmp_path / "pacing.sqlite", ()))
        shared = permits.ledger
        shared._books._db.close()  # as a disk that went away
        grant = await permits.admit(ask_for("reqMktData", Stock("AAPL", "SMART", "USD")), 1)
        permits.settle(grant, held=False)
        assert not permits.shared
        assert shared is not permits.ledger
        permits.close()
        assert shared.closed

    with LoopThread() as loop:
        loop.run(main)
    assert "for this process alone" in caplog.text


def test_a_ledger_that_is_held_up_delays_no_order_and_no_answer(connect, here, monkeypatch):
    monkeypatch.setattr(books, "BUSY_S", PATIENCE_S)
    with connect() as kit, ThreadPoolExecutor() as pool:
        contract = kit.contract("AAPL")
        other = sqlite3.connect(here / "store" / "gateway" / "pacing.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        watching = pool.submit(kit.live.watch, contract)
        while not kit.link.permits.ledger.waiting:
            kit.ib.reqCurrentTime()

        placed = kit.orders.limit(contract, "BUY", 1, 1)
        kit.orders.cancel(placed)
        kit.ib.reqCurrentTime()

        assert not watching.done()
        other.execute("ROLLBACK")
        other.close()
        watching.result(PATIENCE_S).close()
        assert kit.link.permits.shared
