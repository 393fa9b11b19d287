"""The stop button, at every kind of request and at connect(): nothing goes on, nothing is left."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import threading

import pytest
from ib_async import ScannerSubscription, Stock

import ibkit
from ibkit import errors

END = "20261120 20:00:00 UTC"
APPLE = Stock("AAPL", "SMART", "USD", conId=265598)
# what is asked: the name that the gateway is told not to answer, its message, the one that ends it
REQUESTS = {
    "contract details": (
        "req_contract_details", "9", None, lambda ib: ib.reqContractDetails(APPLE),
    ),
    "head timestamp": (
        "req_head_time_stamp", "87", "90",
        lambda ib: ib.reqHeadTimeStamp(APPLE, "TRADES", useRTH=True, formatDate=1),
    ),
    "histogram": (
        "req_histogram_data", "88", "89",
        lambda ib: ib.reqHistogramData(APPLE, useRTH=True, period="1 day"),
    ),
    "historical ticks": (
        "req_historical_ticks", "96", None,
        lambda ib: ib.reqHistoricalTicks(APPLE, "", END, 10, "TRADES", useRth=False),
    ),
    "scanner": (
        "req_scanner_subscription", "22", "23",
        lambda ib: ib.reqScannerData(ScannerSubscription(instrument="STK", locationCode="STK.US",
                                                          scanCode="TOP_PERC_GAIN")),
    ),
    "snapshot": ("req_mkt_data", "1", "2", lambda ib: ib.reqTickers(APPLE)),
}  # fmt: skip


@pytest.fixture
def kit(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ibkit.connect(port=running.port, root=tmp_path / "store", timeout_s=20) as one:
        yield one
    running.gateway.faults.unanswered.clear()


def stop_when(happened):
    """Press the stop button once `happened`."""

    def press():
        happened.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_stopped_request_is_cancelled_and_leaves_no_orphan(kit, running, name, monkeypatch):
    silent, message, ending, ask = REQUESTS[name]
    heard, came, answer = [], threading.Event(), running.gateway.answer

    def listen(client, fields):
        heard.append(fields[0])
        answer(client, fields)
        if fields[0] == message:
            came.set()

    monkeypatch.setattr(running.gateway, "answer", listen)
    running.gateway.faults.unanswered.add(silent)
    stop_when(came)
    with pytest.raises(KeyboardInterrupt):
        ask(kit.ib)

    running.gateway.faults.unanswered.clear()
    assert kit.ib.reqCurrentTime()
    assert ending is None or ending in heard
    assert kit._loop.call(lambda: dict(kit.link.ib.wrapper._futures)) == {}
    assert kit._loop.call(lambda: dict(kit.link.ib.wrapper._results)) == {}
    assert kit._loop.call(lambda: list(kit.link.subscriptions.numbers)) == []


def test_a_stopped_connect_leaves_no_thread_and_no_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, accepted = set(threading.enumerate()), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        caller = []

        def accept():
            caller.append(silent.accept()[0])
            accepted.set()

        thread = threading.Thread(target=accept)
        thread.start()
        stop_when(accepted)
        with pytest.raises(KeyboardInterrupt):
            ibkit.connect(port=silent.getsockname()[1], root=tmp_path / "store", timeout_s=60)
        thread.join()
        caller[0].settimeout(20)
        while caller[0].recv(1024):
            pass
        caller[0].close()
    names = {each.name for each in set(threading.enumerate()) - before}
    assert not {name for name in names if name.startswith("ibkit")}


def use_in_a_fork(kit, quotes, answers):
    try:
        quotes.frame()
    except errors.LoopThreadError as error:
        answers.put(str(error))
    kit.close()  # does not touch what is the parent's
    answers.put("closed")  # not the exit code: coverage has its own word in that


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_with_live_streams_is_refused_and_the_parent_goes_on(kit):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with kit.live.watch("AAPL") as quotes:
        child = context.Process(target=use_in_a_fork, args=(kit, quotes, answers))
        child.start()
        assert "forked child" in answers.get(timeout=60)
        assert answers.get(timeout=60) == "closed"
        child.join(60)
        assert kit.ib.reqCurrentTime()
        assert not quotes.frame().empty
    assert kit.link.state == "ready"


def test_a_second_connection_under_one_id_is_refused_and_says_who_holds_it(kit, running, tmp_path):
    with pytest.raises(errors.ClientIdInUseError, match="<Kit sim"):
        ibkit.connect(port=running.port, root=tmp_path / "store")
