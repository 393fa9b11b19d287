"""Ticks of the past: store first, page by page from the gateway, each exactly once."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from ibkit.errors import (
    NoDataError,
    NoPermissionError,
    NotConnectedError,
    NotYetError,
    UnansweredError,
)
from ibkit.history import outcomes
from ibkit.history.ticking import Ticking

OPEN = datetime(2026, 10, 20, 13, 30, tzinfo=UTC)
SIZE = 990  # another request than ours, which might not go out within 15 s
BEFORE = datetime(2026, 10, 20, 12, tzinfo=UTC)


@pytest.fixture
def asked(monkeypatch):
    """Return the seconds from which pages were asked for."""
    found = []
    ask = Ticking._ask_ticks

    async def counting(self, tape, start):
        found.append(start)
        return await ask(self, tape, start)

    monkeypatch.setattr(Ticking, "_ask_ticks", counting)
    return found


def answers(monkeypatch, *pages):
    """Let pages be these; an exception is raised."""
    left = list(pages)

    async def answer(self, tape, start):
        page = left.pop(0)
        if isinstance(page, BaseException):
            raise page
        return page

    monkeypatch.setattr(Ticking, "_ask_ticks", answer)


def raw(kit, contract, start, end, what):
    """Return what ib_async gets, page by page; the last second of a page is asked for again."""
    found = []
    while start < end:
        page = kit.ib.reqHistoricalTicks(contract, start, "", SIZE, what, useRth=True)
        last = page[-1].time if page else end
        done = last >= end or len(page) < SIZE or last == start
        found += [one for one in page if one.time < (end if done else last)]
        start = end if done else last
    return found


FIELDS = {
    "TRADES": [
        ("price", lambda one: one.price),
        ("size", lambda one: one.size),
        ("exchange", lambda one: one.exchange),
        ("conditions", lambda one: one.specialConditions),
        ("past_limit", lambda one: one.tickAttribLast.pastLimit),
        ("unreported", lambda one: one.tickAttribLast.unreported),
    ],
    "BID_ASK": [
        ("bid", lambda one: one.priceBid),
        ("ask", lambda one: one.priceAsk),
        ("bid_size", lambda one: one.sizeBid),
        ("ask_size", lambda one: one.sizeAsk),
    ],
    "MIDPOINT": [("price", lambda one: one.price)],
}


@pytest.mark.parametrize(
    ("what", "length"), [("TRADES", 60), ("BID_ASK", 1_200), ("MIDPOINT", 2_400)]
)
def test_ticks_are_those_that_ib_async_gets(kit, asked, what, length):
    end = OPEN + timedelta(seconds=length)

    found = kit.history.ticks("AAPL", OPEN, end, what)

    assert len(asked) > 1
    wanted = raw(kit, kit.contract("AAPL"), OPEN, end, what)
    assert [one.time for one in wanted] == list(found.index)
    for name, field in FIELDS[what]:
        assert [field(one) for one in wanted] == found[name].tolist(), name
    assert found.attrs["simulated"] is True
    assert found.attrs["what_to_show"] == what


def test_what_is_stored_is_not_asked_for_again(kit, asked):
    end = OPEN + timedelta(seconds=20)
    first = kit.history.ticks("AAPL", OPEN, end)
    count = len(asked)

    second = kit.history.ticks("AAPL", OPEN, end)
    kit.history.ticks("AAPL", OPEN, end + timedelta(seconds=5))

    assert len(asked) == count + 1
    assert asked[-1] == int(end.timestamp())
    pd.testing.assert_frame_equal(first, second)


def test_hours_are_no_series_of_their_own(kit, asked):
    end = OPEN + timedelta(seconds=10)
    regular = kit.history.ticks("AAPL", OPEN, end)
    all_hours = kit.history.ticks("AAPL", OPEN - timedelta(seconds=5), end, use_rth=False)

    assert asked[-1] == int(OPEN.timestamp()) - 5
    pd.testing.assert_frame_equal(all_hours[OPEN:], regular, check_like=True)


def test_an_interrupted_call_goes_on_where_it_stopped(kit, asked, monkeypatch):
    end = OPEN + timedelta(seconds=90)
    ask = Ticking._ask_ticks

    async def breaking(self, tape, start):
        if len(asked) == 2:
            raise NotConnectedError("lost", "historical ticks")
        return await ask(self, tape, start)

    with monkeypatch.context() as patch:
        patch.setattr(Ticking, "_ask_ticks", breaking)
        with pytest.raises(NotConnectedError):
            kit.history.ticks("AAPL", OPEN, end)
    stored = kit.store.trades("AAPL")
    found = kit.history.ticks("AAPL", OPEN, end)

    assert len(stored) > 0
    assert asked[2] > stored["ts"].max().timestamp()
    wanted = raw(kit, kit.contract("AAPL"), OPEN, end, "TRADES")
    assert [one.price for one in wanted] == found["price"].tolist()


def test_a_session_without_ticks_is_remembered(kit, monkeypatch, asked):
    end = OPEN + timedelta(seconds=30)
    answers(monkeypatch, [])
    with pytest.raises(NoDataError, match="no TRADES tick"):
        kit.history.ticks("AAPL", OPEN, end)

    monkeypatch.undo()
    with pytest.raises(NoDataError, match="no TRADES tick"):
        kit.history.ticks("AAPL", OPEN, end)

    assert asked == []
    gaps = kit.store.gaps("AAPL")
    assert gaps[["dataset", "reason"]].to_numpy().tolist() == [
        ["trades", "IB answered with no tick"]
    ]


def test_a_young_end_is_left_open(kit, monkeypatch):
    end = OPEN + timedelta(seconds=30)
    page = kit.ib.reqHistoricalTicks(kit.contract("AAPL"), OPEN, "", 100, "TRADES", useRth=True)
    assert len(page) < 1_000
    monkeypatch.setattr(outcomes, "is_fresh", lambda *_: True)
    answers(monkeypatch, page)

    found = kit.history.ticks("AAPL", OPEN, end)

    assert found.index[-1] < page[-1].time  # more may come in the same second
    recorder = {"recorder": "history"}
    left = kit.store.unanswered("trades", "AAPL", OPEN, end, series=recorder)
    assert left == [(page[-1].time, end)]


def test_nothing_yet_is_not_nothing(kit, monkeypatch):
    monkeypatch.setattr(outcomes, "is_fresh", lambda *_: True)
    answers(monkeypatch, [])
    end = OPEN + timedelta(seconds=30)

    with pytest.raises(NotYetError):
        kit.history.ticks("AAPL", OPEN, end)

    recorder = {"recorder": "history"}
    assert kit.store.unanswered("trades", "AAPL", OPEN, end, series=recorder) == [(OPEN, end)]


def test_a_refusal_is_told_and_not_remembered(kit):
    end = OPEN + timedelta(seconds=30)

    with pytest.raises(NoPermissionError):
        kit.history.ticks("CASH:EURUSD", OPEN, end, "TRADES")

    recorder = {"recorder": "history"}
    left = kit.store.unanswered("trades", "CASH:EURUSD", OPEN, end, series=recorder)
    assert left == [(OPEN, end)]


def test_an_answer_that_goes_backwards_is_an_error(kit, monkeypatch):
    page = kit.ib.reqHistoricalTicks(kit.contract("AAPL"), "", OPEN, 1000, "TRADES", useRth=False)
    answers(monkeypatch, page)

    with pytest.raises(UnansweredError, match="ticks of before"):
        kit.history.ticks("AAPL", OPEN, OPEN + timedelta(seconds=30))


def test_currencies_have_midpoints(kit):
    found = kit.history.ticks("CASH:EURUSD", OPEN, OPEN + timedelta(seconds=60))

    assert found.attrs["what_to_show"] == "MIDPOINT"
    assert list(found.columns) == ["price"]
    assert kit.store.midpoints("CASH:EURUSD")["recorder"].unique().tolist() == ["history"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("AAPL", None), "need a start"),
        (("AAPL", OPEN.replace(tzinfo=None)), "no time zone"),
        (("AAPL", OPEN, BEFORE), "comes after"),
        (("AAPL", OPEN, None, "BID"), "one of TRADES"),
    ],
)
def test_what_cannot_be_asked_is_said_at_the_door(kit, arguments, words):
    with pytest.raises(ValueError, match=words):
        kit.history.ticks(*arguments)


def test_combos_have_none(kit):
    with pytest.raises(NoDataError, match="no ticks of combos"):
        kit.history.ticks("BAG:[+1 AAPL, -1 MSFT]", OPEN)
