"""One call is one id in every log line and in the journal; metrics and timings add up."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import urllib.request

import pytest
from ib_async import Stock
from prometheus_client.parser import text_string_to_metric_families

import ibkit
from ibkit import errors
from ibkit.log import correlated, get_logger


@pytest.fixture
def kit(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ibkit.connect(port=running.port, root=tmp_path / "store", timeout_s=10) as one:
        yield one


def audit(kit):
    (path,) = (kit.root / "journal").glob("DUSIM*.sqlite")
    with sqlite3.connect(path) as db:
        return [
            (event, json.loads(body)) for event, body in db.execute("SELECT event, body FROM audit")
        ]


def about(caplog, words):
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


def test_a_refusal_in_ib_asyncs_log_names_the_call_that_asked(kit, caplog):
    with correlated("mine"), pytest.raises(errors.UnknownContractError):
        kit.ib.reqHistoricalData(
            Stock("NOSUCH", "SMART", "USD"), "", "1 D", "1 min", "TRADES", useRTH=True
        )

    (line,) = about(caplog, "Error 200")
    assert line.endswith(" call=mine")


def test_calls_at_once_keep_their_ids_apart(kit, caplog):
    async def ask(number):
        with correlated(f"call-{number}"), pytest.raises(errors.UnknownContractError):
            await kit.ib.reqHistoricalDataAsync(
                Stock(f"NOSUCH{number}", "SMART", "USD"), "", "1 D", "1 min", "TRADES", useRTH=True
            )

    async def all_of_them():
        await asyncio.gather(*map(ask, range(8)))

    asyncio.run(all_of_them())

    lines = about(caplog, "Error 200")
    assert len(lines) == 8
    for number in range(8):
        (line,) = [line for line in lines if f"'NOSUCH{number}'" in line]
        assert line.endswith(f" call=call-{number}")


def test_each_outermost_call_has_an_id_of_its_own(kit):
    seen = []

    async def look():
        with correlated() as call:
            seen.append(call)

    kit.link.loop.run(look)
    kit.link.loop.run(look)
    asyncio.run(kit.link.loop.arun(look))

    assert all(seen)
    assert len(set(seen)) == 3


def test_our_own_lines_carry_it_over_threads_and_tasks(kit, caplog):
    async def work():
        log = get_logger("ibkit.test")
        log.warning("on the loop")
        await asyncio.to_thread(log.warning, "in a thread")
        await asyncio.create_task(asyncio.to_thread(log.warning, "in a task"))

    with correlated("over-all"):
        kit.link.loop.run(work)

    lines = [message for message in caplog.messages if " a t" in message or "on the" in message]
    assert [line.rpartition(" ")[2] for line in lines] == ["call=over-all"] * 3


def test_an_order_is_named_after_its_call_in_the_journal(kit, caplog):
    caplog.set_level(logging.INFO, "ib_async")
    with correlated("the-order"):
        placed = kit.orders.limit("AAPL", "BUY", 1, 1.0)
    with correlated("the-cancel"):
        kit.orders.cancel(placed)
    placed.wait(30)

    entries = audit(kit)
    (intended,) = [body for event, body in entries if event == "intended"]
    assert intended["call"] == "the-order"
    (line,) = about(caplog, "placeOrder: New order")
    assert line.endswith(" call=the-order")


def test_what_happens_by_itself_belongs_to_no_call(kit, caplog, running):
    caplog.set_level(logging.INFO, "ibkit")
    back = threading.Event()
    kit.events.state += lambda change: back.set() if change.after == "ready" else None
    running.drop_clients()
    assert back.wait(30)

    lines = about(caplog, "before=ready after=reconnecting")
    assert lines
    assert not any("call=" in line for line in lines)


def test_ids_are_not_kept_without_end(kit, monkeypatch):
    monkeypatch.setattr("ibkit.connection.calls.KEPT", 5)
    calls = kit.link.calls

    async def many():
        return [kit.link.ib.client.getReqId() for _ in range(20)]

    with correlated("many"):
        ids = kit.link.loop.run(many)

    assert [bool(calls.of(each)) for each in ids] == [False] * 15 + [True] * 5


def scraped(server):
    asked = urllib.request.Request(server.url, headers={"Authorization": f"Bearer {server.token}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return text, samples


def test_metrics_tell_what_happened(kit, running):
    server = kit.serve_metrics()
    who = {"profile": "sim", "client": "1"}
    ticked = threading.Event()
    with kit.live.watch("AAPL"):
        kit.link.ib.pendingTickersEvent += lambda _: ticked.set()
        assert ticked.wait(30)
    with pytest.raises(errors.UnknownContractError):
        kit.contract("NOSUCH")

    text, samples = scraped(server)
    ours = {  # a link of another test may not be collected yet
        name: [(labels, value) for labels, value in found if who.items() <= labels.items()]
        for name, found in samples.items()
    }

    states = {labels["state"]: value for labels, value in ours["ibkit_link_state"]}
    assert states.pop("ready") == 1
    assert set(states.values()) == {0}
    assert dict(ours["ibkit_ticks_total"][0][0]) == who
    assert ours["ibkit_ticks_total"][0][1] >= 1
    assert ours["ibkit_socket_bytes_total"][0][1] > 100
    assert ours["ibkit_gate_waiting"] == [(who, 0.0)]
    left = {labels["rule"]: value for labels, value in samples["ibkit_pacing_left"]}
    assert left["historical requests"] == 60
    assert ({"kind": "unknown contract"}, 1.0) in samples["ibkit_errors_total"] or any(
        labels == {"kind": "unknown contract"} and value >= 1
        for labels, value in samples["ibkit_errors_total"]
    )
    for name in (
        "ibkit_connections_total",
        "ibkit_reconnect_seconds_count",
        "ibkit_events_waiting",
        "ibkit_heartbeat_seconds_count",
        "ibkit_requests_total",
    ):
        assert name in samples
    assert "DUSIM" not in text


def test_the_endpoint_ends_with_the_kit(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ibkit.connect(port=running.port, root=tmp_path / "store", client_id=7) as kit:
        server = kit.serve_metrics()
        assert "••••" in repr(server)

    assert "closed" in repr(server)
    assert "ibkit-metrics" not in {thread.name for thread in threading.enumerate()}
    assert kit.link.state == "closed"  # it is still there, and tells nothing
    with ibkit.connect(port=running.port, root=tmp_path / "store", client_id=7) as again:
        _, samples = scraped(again.serve_metrics())
    states = [
        labels["state"]
        for labels, value in samples["ibkit_link_state"]
        if value and labels["client"] == "7"
    ]
    assert states == ["ready"]


def test_timings_say_where_time_goes(kit):
    seen = threading.Event()
    kit.events.order += lambda _: seen.set()
    kit.orders.cancel(kit.orders.limit("MSFT", "BUY", 1, 1.0))
    assert seen.wait(30)
    kit.history.bars("AAPL", "1 min", days=1)

    frame = kit.timings()

    assert frame.loc[("socket", "reads"), "count"] > 5
    for row in (
        ("decode", "reads"),
        ("handler", "on the loop"),
        ("handler", "of users"),
        ("disk", "journal syncs"),
        ("disk", "store commits"),
    ):
        assert frame.loc[row, "count"] > 0, row
        assert 0 < frame.loc[row, "p50_s"] <= frame.loc[row, "p99_s"] <= frame.loc[row, "max_s"]
    whole, decode = (
        frame.loc[("socket", "reads"), "total_s"],
        frame.loc[("decode", "reads"), "total_s"],
    )
    assert 0 < decode <= whole
    assert frame.attrs["bytes_in"] > 1000
    assert ("loop", "lag") in frame.index


def test_a_handler_that_dawdles_on_the_loop_is_seen_as_one_and_as_lag(kit):
    done = threading.Event()

    def dawdle(*_):
        if not done.is_set():
            threading.Event().wait(0.6)
            done.set()

    kit.link.ib.errorEvent += dawdle
    with pytest.raises(errors.UnknownContractError):
        kit.contract("NOSUCH")
    assert done.wait(30)
    lagged = threading.Event()

    def look():
        if kit.link.meter.lag.longest_s > 0.05:
            lagged.set()
        else:
            kit.link.loop._loop.call_later(0.05, look)

    kit.link.loop.call(look)
    assert lagged.wait(30)

    frame = kit.timings()
    assert frame.loc[("handler", "on the loop"), "max_s"] > 0.5
    assert frame.loc[("decode", "reads"), "max_s"] < 0.5
