"""The backfill job: priced, resumable, honest about what failed."""

import asyncio
import os
import signal
import threading
from types import SimpleNamespace

import pandas as pd
import pytest

from ibkit.errors import (
    BackfillIncompleteError,
    NoPermissionError,
    NotConnectedError,
    PacingError,
    UnknownContractError,
)
from ibkit.jobs import Queue
from ibkit.schema import InvalidBarSizeError

SYMBOLS = ["AAPL", "FUT:ES", "CASH:EURUSD"]
SPAN = {"days": 3, "end": "2026-10-21"}


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
    assert "3 requests for 1 series, 1,170 bars" in out
    assert "at IB's pace" in out
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


def test_a_connection_that_breaks_in_the_middle_is_asked_again(kit, answers):
    def drop(n, _):
        if n == 2:
            raise NotConnectedError("reconnecting", "historical data")

    answers.hooks.append(drop)

    report = kit.backfill(["AAPL"], "1 min", **SPAN)

    assert report.complete
    assert len(answers.seen) == 3 + 1


def test_a_connection_that_never_holds_ends_the_job(kit, answers, monkeypatch):
    def drop(*_):
        raise NotConnectedError("reconnecting", "historical data")

    monkeypatch.setattr("ibkit.jobs.bars.BREAK_S", 0.0)
    answers.hooks.append(drop)

    with pytest.raises(NotConnectedError):
        kit.backfill(["AAPL"], "1 min", **SPAN)


def test_it_waits_for_a_connection_that_is_being_made_anew(kit, answers):
    def cut(n, _):
        if n == 2:
            kit.link.cut("the cable was pulled")

    answers.hooks.append(cut)

    report = kit.backfill(["AAPL"], "1 min", **SPAN)

    assert report.complete
    assert report.rows_new == 3 * 390


def test_a_dry_run_returns_the_plan_and_asks_for_nothing(kit, answers):
    plan = kit.backfill([*SYMBOLS, "NOSUCH"], "1 min", dry_run=True, **SPAN)

    assert plan["requests"].tolist() == [3, 3, 3, 0]
    assert "NOSUCH" in plan["reason"].iloc[-1]
    assert answers.seen == []
    assert not (kit.root / "jobs").exists()


def test_it_can_be_awaited(kit):
    report = asyncio.run(kit.backfill.aio("AAPL", "1 min", progress=False, **SPAN))

    assert report.rows_new == 3 * 390


def test_a_frame_of_holes_closes_those_and_no_others(kit, answers):
    first, middle, last = kit.history.sessions("AAPL", 3, "2026-10-21")
    holes = pd.DataFrame(
        {
            "instrument": ["AAPL", "AAPL"],
            "bar_size": "1 min",
            "what_to_show": "TRADES",
            "use_rth": True,
            "start": [last.start, first.start],
            "end": [last.end, first.end],
        }
    )

    report = kit.backfill(holes)

    assert len(answers.seen) == 2
    assert report.rows_new == 2 * 390
    missing = kit.store.missing("STK-AAPL-SMART-USD", "1 min", first.start, last.end)
    assert any(start <= middle.start and end >= middle.end for start, end in missing)


def test_the_frames_of_holes_and_gaps_can_be_given_as_they_are(kit):
    first, _, last = kit.history.sessions("AAPL", 3, "2026-10-21")
    for one in (first, last):
        kit.backfill("AAPL", "1 min", one.start, one.end, progress=False)
    holes = kit.store.holes("AAPL", "1 min", first.start, last.end)
    gaps = kit.history.gaps("AAPL", "1 min", first.ref_date, last.ref_date)

    assert gaps["missing"].tolist() == [0, 390, 0]
    assert kit.backfill(gaps, progress=False).rows_new == 390
    assert kit.backfill(holes, progress=False).rows_new == 0


def test_holes_of_a_currency_are_of_the_series_that_it_has(kit):
    first, second = kit.history.sessions("CASH:EURUSD", 2, "2026-10-21")
    kit.backfill("CASH:EURUSD", "1 hour", second.start, second.end, progress=False)

    holes = kit.store.holes("CASH:EURUSD", "1 hour", first.start, second.end)
    report = kit.backfill(holes, progress=False)

    assert holes["what_to_show"].tolist() == ["MIDPOINT"]
    assert report.rows_new > 0
    assert kit.store.holes("CASH:EURUSD", "1 hour", first.start, second.end).empty


def test_no_holes_are_nothing_to_do(kit):
    none = kit.store.holes(None, "1 hour")

    assert str(kit.backfill(none)) == "Nothing to do: no series was named."


def test_a_wrong_bar_size_is_one_error_and_not_a_failure_of_each(kit):
    with pytest.raises(InvalidBarSizeError):
        kit.backfill(["AAPL", "MSFT"], "1min")


def test_a_frame_without_the_columns_is_refused(kit):
    with pytest.raises(ValueError, match="bar_size, start, end is missing"):
        kit.backfill(pd.DataFrame({"instrument": ["AAPL"]}))


def test_a_refusal_is_listed_with_its_kind_and_asked_again_on_the_next_run(kit, answers):
    def refuse(_, contract):
        raise NoPermissionError(354, "Requested market data is not subscribed.", contract)

    answers.hooks.append(refuse)
    with pytest.raises(BackfillIncompleteError) as caught:
        kit.backfill(["AAPL"], "1 min", progress=False, **SPAN)
    answers.hooks.clear()

    failures = caught.value.report.failures
    assert failures["kind"].tolist() == ["no_permission"] * 3
    with Queue(kit.root / "jobs" / "queue.sqlite") as queue:
        assert len(queue.dead()) == 3
    assert kit.backfill(["AAPL"], "1 min", progress=False, **SPAN).rows_new == 3 * 390
    with Queue(kit.root / "jobs" / "queue.sqlite") as queue:
        assert queue.frame().empty


def test_a_pacing_violation_is_waited_out_and_tried_again(kit, answers, monkeypatch):
    monkeypatch.setattr("ibkit.jobs.bars.PACING_S", 0.0)

    def refuse(n, contract):
        if n == 1:
            raise PacingError(162, "Historical data request pacing violation", contract)

    answers.hooks.append(refuse)

    assert kit.backfill(["AAPL"], "1 min", progress=False, **SPAN).complete
    assert len(answers.seen) == 4


def test_the_newest_sessions_come_first_and_each_series_in_turn(kit, monkeypatch):
    monkeypatch.setattr("ibkit.jobs.backfill.AT_ONCE", 1)
    asked, ask = [], kit.history.ask.aio

    async def noted(series, request):
        asked.append((series.contract.symbol, request.start.date().isoformat()))
        return await ask(series, request)

    monkeypatch.setattr(type(kit.history), "ask", SimpleNamespace(aio=noted))

    kit.backfill(["AAPL", "MSFT"], "1 min", progress=False, **SPAN)

    assert [symbol for symbol, _ in asked] == ["AAPL", "MSFT"] * 3
    days = [day for symbol, day in asked if symbol == "AAPL"]
    assert days == sorted(days, reverse=True)


def test_never_more_at_once_than_its_share(kit, answers, monkeypatch):
    monkeypatch.setattr("ibkit.jobs.backfill.AT_ONCE", 3)
    open_, most, ask = set(), [], kit.history.ask.aio

    async def counted(series, request):
        open_.add(request)
        most.append(len(open_))
        try:
            return await ask(series, request)
        finally:
            open_.discard(request)

    monkeypatch.setattr(type(kit.history), "ask", SimpleNamespace(aio=counted))

    kit.backfill(["AAPL"], "1 min", days=20, end="2026-10-21", progress=False)

    assert max(most) == 3


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
