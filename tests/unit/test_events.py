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
