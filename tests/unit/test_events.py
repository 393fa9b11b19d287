"""Topics and their dispatch thread."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from ibkit.connection import events
from ibkit.connection.events import Events, StateChanged

CHANGE = StateChanged(datetime(2026, 11, 20, tzinfo=UTC), "ready", "closed")


@pytest.fixture
def topics():
    made = Events()
    yield made
    made.close()


def test_a_handler_hears_each_payload_once_in_order_and_off_the_callers_thread(topics):
    heard, threads = [], set()

    def handler(change):
        heard.append(change.reason)
        threads.add(threading.get_ident())

    topics.state += handler
    for number in range(100):
        topics.publish("state", StateChanged(CHANGE.ts, "ready", "closed", str(number)))
    topics.close()

    assert heard == [str(number) for number in range(100)]
    assert threading.get_ident() not in threads


def test_nobody_listening_costs_no_thread(topics):
    topics.publish("state", CHANGE)

    assert topics._thread is None


def test_a_handler_that_raises_stops_nobody_else(topics, caplog):
    heard = []

    def broken(_):
        raise KeyError("mine")

    topics.state += broken
    topics.state += heard.append
    topics.publish("state", CHANGE)
    topics.close()

    assert heard == [CHANGE]
    assert "mine" in caplog.text


def test_a_slow_handler_delays_no_publisher_and_what_is_lost_is_counted(monkeypatch):
    monkeypatch.setattr(events, "QUEUE", 5)
    topics = Events()
    gate = threading.Event()

    def slow(_):
        gate.wait()

    topics.state += slow
    for _ in range(20):
        topics.publish("state", CHANGE)
    gate.set()
    topics.close()

    assert 14 <= topics.dropped <= 15


def test_after_close_nothing_is_delivered(topics):
    heard = []
    topics.state += heard.append
    topics.close()
    topics.publish("state", CHANGE)

    assert heard == []


def test_a_handler_may_close(topics):
    done = threading.Event()

    def handler(_):
        topics.close()
        done.set()

    topics.state += handler
    topics.publish("state", CHANGE)

    assert done.wait(5)


def test_a_flood_of_quotes_pushes_no_fill_aside(monkeypatch):
    monkeypatch.setattr(events, "QUEUE", 5)
    topics, gate, heard = Events(), threading.Event(), []
    topics.quote += lambda _: gate.wait()
    topics.state += heard.append
    for number in range(50):
        topics.publish("quote", events.QuoteSeen(CHANGE.ts, "AAPL", number, number, number))
    for _ in range(3):
        topics.publish("state", CHANGE)
    gate.set()
    topics.close()

    assert heard == [CHANGE] * 3


def test_of_quotes_the_newest_stay_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(events, "QUEUE", 5)
    topics, gate, heard = Events(), threading.Event(), []

    def slow(quote):
        gate.wait()
        heard.append(quote.last)

    topics.quote += slow
    for number in range(50):
        topics.publish("quote", events.QuoteSeen(CHANGE.ts, "AAPL", 1, 1, number))
    gate.set()
    topics.close()

    assert heard[-5:] == [45, 46, 47, 48, 49]


def test_slow_and_failing_handlers_are_named_and_counted(topics, monkeypatch, caplog):
    monkeypatch.setattr(events, "SLOW_S", -1.0)

    def broken(_):
        raise KeyError("mine")

    class Owner:
        def method(self, _):
            pass

    owner = Owner()
    topics.state += broken
    topics.state += owner.method
    for _ in range(2):
        topics.publish("state", CHANGE)
    topics.close()

    found = topics.handlers().set_index("handler")
    name = next(each for each in found.index if each.endswith("broken"))
    assert found.loc[name, ["topic", "calls", "failed", "slow"]].tolist() == ["state", 2, 2, 2]
    assert any(each.endswith("Owner.method") for each in found.index)
    assert "a handler is slow" in caplog.text
    assert topics.failed == 2


def test_a_coroutine_may_be_a_handler(topics):
    heard = []

    async def handler(change):
        heard.append(change)

    topics.state += handler
    topics.publish("state", CHANGE)
    topics.close()

    assert heard == [CHANGE]


def test_a_handler_ends_with_its_object(topics):
    class Owner:
        def __init__(self):
            self.heard = []

        def method(self, change):
            self.heard.append(change)

    owner = Owner()
    heard = owner.heard
    topics.state += owner.method
    del owner
    topics.publish("state", CHANGE)
    topics.close()

    assert heard == []
