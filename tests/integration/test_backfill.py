"""The backfill job: priced, resumable, honest about what failed."""

import os
import signal
import threading

import pytest

import ibkit
from ibkit.errors import (
    BackfillIncompleteError,
    NoPermissionError,
    NotConnectedError,
    UnknownContractError,
)
from ibkit.sim.testing import gateway

SYMBOLS = ["AAPL", "FUT:ES", "CASH:EURUSD"]
SPAN = {"days": 3, "end": "2026-10-21"}


@pytest.fixture(scope="module")
def running():
    with gateway() as one:
        yield one


@pytest.fixture
def kit(running, tmp_path):
    with ibkit.connect(port=running.port, root=tmp_path / "sim") as one:
        yield one


@pytest.fixture
def answers(kit, monkeypatch):
    """Let a test step into each request for bars: answers(n, contract) may raise."""
    hooks, seen = [], []
    request = kit.link.request

    async def asked(name, call, **kwargs):
        if name == "historical data":
            seen.append(kwargs["contract"].symbol)
            for hook in hooks:
                hook(len(seen), kwargs["contract"])
        return await request(name, call, **kwargs)

    monkeypatch.setattr(kit.link, "request", asked)
    asked.hooks, asked.seen = hooks, seen
    return asked


def test_a_backfill_stores_every_series(kit):
    report = kit.backfill(SYMBOLS, "1 min", **SPAN)

    assert report.complete
    assert report.frame["instrument"].tolist() == SYMBOLS
    assert report.frame["requests"].tolist() == [3, 3, 3]
    assert report.frame["rows_new"].min() >= 3 * 390
    assert "9 requests" in str(report)


def test_a_second_run_asks_nothing_and_says_so(kit, answers):
    kit.backfill(SYMBOLS, "1 min", **SPAN)
    answers.seen.clear()

    report = kit.backfill(SYMBOLS, "1 min", **SPAN)

    assert answers.seen == []
    assert str(report) == "Nothing missing: all 1 min bars of 3 series are stored."


def test_the_plan_is_shown_before_the_bar(kit, capsys):
    kit.backfill("AAPL", "1 min", **SPAN)

    out, err = capsys.readouterr()
    assert "3 requests, about 2 s at IB's pace" in out
    assert "3/3" in err


def test_what_came_before_an_interrupt_is_kept(kit, answers):
    def interrupt(n, _):
        if n == 6:
            os.kill(os.getpid(), signal.SIGINT)  # as the stop button does

    answers.hooks.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        kit.backfill(SYMBOLS, "1 min", **SPAN)
    answers.hooks.clear()
    answers.seen.clear()

    report = kit.backfill(SYMBOLS, "1 min", **SPAN)

    assert report.complete
    # four ask at once: when the sixth is asked, two or more of the nine are stored
    assert 0 < len(answers.seen) <= 7


def test_one_bad_symbol_does_not_stop_the_others(kit):
    with pytest.raises(BackfillIncompleteError, match="NOSUCH") as caught:
        kit.backfill(["AAPL", "NOSUCH"], "1 min", **SPAN)

    report = caught.value.report
    assert report.frame["failed"].tolist() == [0, 1]
    assert report.frame["rows_new"].tolist() == [3 * 390, 0]


def test_a_refused_series_is_asked_once_and_listed_with_ibs_words(kit, answers):
    def refuse(_, contract):
        if contract.symbol == "AAPL":
            raise NoPermissionError(354, "Requested market data is not subscribed.", contract)

    answers.hooks.append(refuse)

    with pytest.raises(BackfillIncompleteError, match="IB 354") as caught:
        kit.backfill(["AAPL", "MSFT"], "1 min", days=10, end="2026-10-21")

    assert answers.seen.count("AAPL") < 5
    assert caught.value.report.frame["fetched"].tolist()[1] == 10


def test_a_broken_connection_ends_the_job(kit, answers):
    def drop(n, _):
        if n == 2:
            raise NotConnectedError("closed", "historical data")

    answers.hooks.append(drop)

    with pytest.raises(NotConnectedError):
        kit.backfill(["AAPL"], "1 min", days=20, end="2026-10-21")


def test_it_runs_in_any_thread(kit):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(kit.backfill("SPY", "1 min", progress=False, **SPAN))
    )
    thread.start()
    thread.join(30)

    assert found[0].rows_new == 3 * 390


def test_an_unknown_symbol_alone_is_still_a_list(kit):
    with pytest.raises(BackfillIncompleteError) as caught:
        kit.backfill("NOSUCH", "1 min", **SPAN)

    assert isinstance(caught.value, Exception)
    assert not isinstance(caught.value, UnknownContractError)
