"""The kit's connection against the simulated gateway, over a socket."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from ib_async import IB, MarketOrder, Stock

import ibkit
from ibkit import clock, errors
from ibkit.metrics import REGISTRY
from ibkit.sim import launch

HISTORY = ("", "1 D", "1 min", "TRADES", True, 2)


@pytest.fixture
def faults(running):
    yield running.gateway.faults
    running.gateway.faults.unanswered.clear()
    running.mend()


@pytest.fixture
def kit(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ibkit.connect(port=running.port, root=tmp_path / "store", timeout_s=5) as one:
        yield one


@pytest.fixture
def heard(running, monkeypatch):
    """The names of the requests that the gateway handles, in order."""
    names = []
    answer = running.gateway.answer

    def listen(client, fields):
        names.append(fields[0])
        answer(client, fields)

    monkeypatch.setattr(running.gateway, "answer", listen)
    return names


def orphans(kit):
    return kit.link.loop.call(lambda: dict(kit.link.ib.wrapper._futures))


def aapl(kit):
    return kit.ib.qualifyContracts(Stock("AAPL", "SMART", "USD"))[0]


def test_a_kit_says_who_it_is(kit, running):
    assert repr(kit) == f"<Kit sim 127.0.0.1:{running.port} client 1 ready>"
    status = kit.status()
    assert status.simulated
    assert status.accounts == ("DUSIM0001",)
    assert status.farms["usfarm"] == "ok"
    assert abs(status.clock_offset_s) < 5
    card = kit._repr_html_()
    assert "SIMULATED" in card
    assert "ready" in card
    assert "DUSIM0001" not in card


def test_connect_starts_a_gateway_process_and_a_second_kit_joins_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "sim"
    try:
        with ibkit.connect(root=root) as first, ibkit.connect(root=root, client_id=2) as second:
            assert first.profile.port == second.profile.port
            assert first.ib.reqCurrentTime()
            assert second.ib.reqCurrentTime()
    finally:
        launch.stop(root)


def test_kit_ib_answers_from_any_thread_and_any_loop(kit):
    async def both():
        return await asyncio.gather(*(kit.ib.reqCurrentTimeAsync() for _ in range(5)))

    results = []
    threads = [
        threading.Thread(target=lambda: results.append(kit.ib.reqCurrentTime())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 8
    assert len(asyncio.run(both())) == 5
    assert orphans(kit) == {}


def test_requests_that_share_one_slot_all_get_whole_answers(kit):
    async def many():
        return await asyncio.gather(*(kit.ib.reqOpenOrdersAsync() for _ in range(5)))

    assert asyncio.run(many()) == [[]] * 5
    assert orphans(kit) == {}


def test_kit_ib_looks_like_an_ib(kit):
    assert set(dir(kit.ib)) >= {"reqContractDetails", "errorEvent", "positions", "placeOrder"}
    assert inspect.getdoc(kit.ib.reqMktData) == inspect.getdoc(IB.reqMktData)
    assert str(inspect.signature(kit.ib.reqMktData)).startswith("(contract")
    assert kit.ib.isConnected()
    assert kit.ib.sleep(0)
    assert kit.ib.run(kit.ib.reqCurrentTimeAsync()) is not None
    with pytest.raises(AttributeError):
        kit.ib.reqNothing  # noqa: B018 - the access is the test


def test_the_helpers_that_wait_let_the_connection_work(kit):
    counts = iter(range(10))
    with kit.live.watch("AAPL"):
        assert list(kit.ib.loopUntil(lambda: next(counts) > 2, timeout=30))[-1] is True
    assert list(kit.ib.loopUntil(lambda: False, timeout=0.01))[-1] is False
    assert len(kit.ib.run(kit.ib.reqCurrentTimeAsync(), kit.ib.reqPositionsAsync())) == 2
    soon = clock.now() + timedelta(milliseconds=20)
    assert kit.ib.waitUntil(soon)
    assert clock.now() >= soon
    moments = list(kit.ib.timeRange(clock.now(), clock.now() + timedelta(milliseconds=30), 0.01))
    assert 2 <= len(moments) <= 4
    assert kit.ib.waitOnUpdate(0.001) in {True, False}


def test_every_public_attribute_of_ib_is_there(kit):
    for name in dir(kit.ib):
        if name not in {"client", "wrapper", "connect", "connectAsync", "disconnect"}:
            assert getattr(kit.ib, name) is not None or name == "RequestTimeout", name


def test_handlers_of_ib_events_are_connected_as_usual(kit):
    heard = []
    kit.ib.updateEvent += lambda: heard.append(1)
    kit.ib.reqCurrentTime()

    assert heard


def test_state_reads_are_copies(kit):
    kit.ib.accountValues().clear()

    assert kit.ib.accountValues()
    assert kit.ib.managedAccounts() is not kit.ib.managedAccounts()


def test_orders_do_not_pass_and_what_ifs_do(kit):
    contract = aapl(kit)

    with pytest.raises(errors.OrderRoadError, match=r"kit\.orders"):
        kit.ib.placeOrder(contract, MarketOrder("BUY", 1))
    assert kit.ib.whatIfOrder(contract, MarketOrder("BUY", 1)).initMarginChange
    assert kit.ib.openTrades() == []


def test_the_kit_owns_what_would_break_it(kit):
    for name in ("connect", "disconnect", "client", "wrapper"):
        with pytest.raises(errors.OwnedByKitError, match=name):
            getattr(kit.ib, name)
    with pytest.raises(errors.OwnedByKitError):
        kit.ib.RaiseRequestErrors = False


def test_an_unknown_contract_is_an_error_not_an_empty_list(kit):
    with pytest.raises(errors.UnknownContractError, match="200"):
        kit.ib.reqContractDetails(Stock("NOSUCH", "SMART", "USD"))
    assert orphans(kit) == {}


def test_a_silent_gateway_is_a_timeout_and_the_request_is_cancelled_there(kit, faults, heard):
    contract = aapl(kit)
    faults.unanswered.add("req_historical_data")

    with pytest.raises(errors.RequestTimeoutError, match=r"0\.2 s"):
        kit.ib.reqHistoricalData(contract, *HISTORY, timeout=0.2)

    assert kit.ib.reqCurrentTime()
    assert heard[-3:] == ["20", "25", "49"]
    assert orphans(kit) == {}


def test_an_interrupted_request_is_cancelled_there_and_leaves_no_orphan(kit, faults, heard):
    contract = aapl(kit)
    faults.unanswered.add("req_historical_data")

    def interrupt() -> None:
        while "20" not in heard:
            kit.ib.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        kit.ib.reqHistoricalData(contract, *HISTORY)

    assert kit.ib.reqCurrentTime()
    assert heard[-2:] == ["25", "49"]
    assert orphans(kit) == {}


def test_what_ib_async_hides_behind_none_is_a_timeout(kit, faults):
    faults.unanswered.add("req_market_rule")

    with pytest.raises(errors.RequestTimeoutError):
        kit.ib.reqMarketRule(26)
    assert orphans(kit) == {}


def test_a_gateway_that_stays_away_fails_what_waits_and_what_comes_later(kit, running, faults):
    faults.unanswered.add("req_current_time")
    failures = []

    def ask() -> None:
        try:
            kit.ib.reqCurrentTime()
        except errors.NotConnectedError as error:
            failures.append(error)

    kit.ib.RequestTimeout = 0.5
    refused = running.fault("refuse")
    thread = threading.Thread(target=ask)
    thread.start()
    while not orphans(kit):
        kit.ib.sleep(0.001)
    running.drop_clients()
    thread.join(10)

    assert len(failures) == 1
    assert "comes back by itself" in str(failures[0])
    assert kit.link.state == "reconnecting"
    assert "reconnecting" in repr(kit)
    assert "closed the socket" in kit.status().reason
    for late in (kit.ib.reqCurrentTime, kit.ib.positions, kit.ib.reqGlobalCancel):
        with pytest.raises(errors.NotConnectedError, match="reconnecting"):
            late()
    faults.unanswered.clear()
    running.mend(refused)
    kit.wait_ready(30)
    kit.ib.RequestTimeout = 30
    assert kit.ib.reqCurrentTime()


def test_close_ends_pending_requests_and_later_calls_say_so(kit, faults):
    faults.unanswered.add("req_current_time")
    failures = []

    def ask() -> None:
        try:
            kit.ib.reqCurrentTime()
        except (errors.NotConnectedError, errors.LoopThreadError) as error:
            failures.append(type(error))

    thread = threading.Thread(target=ask)
    thread.start()
    kit.ib.sleep(0.05)
    kit.close()
    kit.close()
    thread.join(5)

    assert failures == [errors.NotConnectedError]
    assert "closed" in repr(kit)
    assert kit._repr_html_()
    with pytest.raises(errors.LoopThreadError, match="connect"):
        kit.ib.reqCurrentTime()


def test_a_handler_may_block_and_hears_each_state_once(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heard, done = [], threading.Event()
    with ibkit.connect(port=running.port, root=tmp_path) as kit:

        def handler(change):
            heard.append((change.before, change.after))
            if change.after == "closed":
                done.set()
            else:
                kit.ib.reqCurrentTime()

        kit.events.state += handler
        running.call(lambda: [c.error(-1, 1100, "lost") for c in clients(running)])
        running.call(lambda: [c.error(-1, 1102, "restored") for c in clients(running)])
        kit.ib.waitOnUpdate(1)
        kit.ib.sleep(0.05)

    assert done.wait(5)
    assert heard == [("ready", "degraded"), ("degraded", "ready"), ("ready", "closed")]


def clients(running):
    return list(running.gateway.clients.values())


def test_twenty_connections_leave_no_thread_task_or_socket(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def cycle() -> None:
        connected = ibkit.connect(port=running.port, root=tmp_path)
        with connected as kit, kit.live.watch("AAPL") as quotes:
            quotes.frame()

    def count() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())

    cycle()
    before = count()
    for _ in range(20):
        cycle()

    assert count() == before
    assert running.call(lambda: len(running.gateway.clients)) == 0


def test_a_script_that_forgets_to_close_ends_at_once_and_says_goodbye(running, tmp_path):
    code = f"""
        import ibkit
        kit = ibkit.connect(port={running.port}, root={str(tmp_path)!r}, client_id=9)
        quotes = kit.live.watch("AAPL")
        kit.events.state += lambda change: None
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )

    # a loaded machine makes asyncio's debug mode complain of slow steps; that is no left-over
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, said) == (0, [])
    assert running.call(lambda: 9 not in running.gateway.clients)


def test_a_forked_child_cannot_hurt_the_connection(running, tmp_path):
    code = f"""
        import os, sys, ibkit
        kit = ibkit.connect(port={running.port}, root={str(tmp_path)!r}, client_id=11)
        if (child := os.fork()) == 0:
            try:
                kit.ib.reqCurrentTime()
            except ibkit.errors.LoopThreadError:
                sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(kit.ib.reqCurrentTime() is not None, kit.link.state)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )

    assert done.stdout.split() == ["7", "True", "ready"]
    assert done.stderr == ""


def test_each_request_is_counted_by_its_outcome(kit):
    def counted(outcome):
        samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
        return sum(
            sample.value
            for sample in samples
            if sample.name == "ibkit_requests_total" and sample.labels["outcome"] == outcome
        )

    refused, answered = counted("UnknownContractError"), counted("answer")
    with pytest.raises(errors.UnknownContractError):
        kit.contract("NOSUCHTHING")
    kit.contract("AAPL")

    # as it was named, and, to be able to say more, on any exchange
    assert counted("UnknownContractError") == refused + 2
    assert counted("answer") > answered
