"""Bars straight from the wire, over a socket: only for who asked so, and nothing stays behind."""

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from ib_async import BarDataList
from ib_async.decoder import Decoder

import ibkit
from ibkit.connection import taps
from ibkit.errors import (
    NoDataError,
    NotConnectedError,
    RequestTimeoutError,
    UnreadableAnswerError,
)
from ibkit.history import decode, wire
from ibkit.schema import bar_size
from ibkit.sim.clock import ManualClock
from ibkit.sim.limits import Limits
from ibkit.sim.testing import gateway
from ibkit.sim.wire import pack

NOON = datetime(2026, 10, 21, 16, tzinfo=UTC).timestamp()
CLOSE = datetime(2026, 10, 20, 20, tzinfo=UTC)
SPAN = {"start": "2026-10-20", "end": "2026-10-20"}
MIN = bar_size("1 min")
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def running():
    with gateway(limits=Limits.none()) as one:
        yield one


@pytest.fixture(autouse=True)
def mended(running):
    yield
    running.mend()


@pytest.fixture
def kit(running, tmp_path):
    with ibkit.connect(port=running.port, root=tmp_path / "sim", timeout_s=PATIENCE_S) as one:
        yield one
        assert left_behind(one) == []


def left_behind(kit):
    """Return the requests that ib_async still knows."""
    wrapper = kit.link.ib.wrapper
    tables = ("_futures", "_results", "_reqId2Contract", "reqId2Subscriber")
    return kit._loop.call(
        lambda: [each for name in tables for each in getattr(wrapper, name) if each is not None]
    )


def wanted(kit, end=CLOSE, duration="1 D"):
    return kit.contract("AAPL"), end, duration, "1 min", "TRADES", True


async def from_wire(kit, *query, timeout_s=PATIENCE_S, again=True):
    answer = await kit.link.request(
        wire.WHAT, lambda ib: taps.bars(ib, *query), timeout_s=timeout_s, again=again
    )
    return wire.to_table(answer, MIN)


@contextmanager
def asking(kit, *query, **options):
    """Ask, and give the block a handle of the request while it waits."""

    async def start():
        return asyncio.ensure_future(from_wire(kit, *query, **options))

    task = kit._loop.run(start)
    yield task

    async def end():
        await asyncio.wait({task})

    kit._loop.run(end)


def until(kit, condition):
    """Let messages pass until `condition` holds."""
    while not condition():
        kit.ib.reqCurrentTime()


def test_both_kinds_of_request_at_once_get_their_own_kind_of_answer(kit):
    query = wanted(kit)

    async def both():
        return await asyncio.gather(
            *(from_wire(kit, *query) for _ in range(3)),
            *(kit.link.ib.reqHistoricalDataAsync(*query, formatDate=2) for _ in range(3)),
        )

    *tables, first, _, last = kit._loop.run(both)

    assert isinstance(first, BarDataList)
    assert len(last) == 390
    assert all(table.equals(decode.to_table(first, MIN)) for table in tables)


def test_a_list_that_is_kept_up_to_date_stays_one_beside_ours(tmp_path):
    with (
        gateway(limits=Limits.none(), clock=ManualClock(NOON)) as running,
        ibkit.connect(port=running.port, root=tmp_path / "sim", timeout_s=PATIENCE_S) as kit,
    ):
        live = kit.ib.reqHistoricalData(
            kit.contract("AAPL"),
            "",
            "3600 S",
            "5 secs",
            "TRADES",
            useRTH=True,
            formatDate=2,
            keepUpToDate=True,
        )
        [theirs] = kit.link.ib.wrapper.reqId2Subscriber.values()
        assert len(kit._loop.run(from_wire, kit, *wanted(kit))) == 390
        known = len(theirs)

        running.advance(30.0, step=5.0)

        until(kit, lambda: len(theirs) > known)
        assert isinstance(theirs, BarDataList)
        assert theirs[: len(live)][:-1] == live[:-1]
        kit.ib.cancelHistoricalData(live)


def test_a_refusal_is_the_typed_error_and_leaves_nothing(kit, running):
    words = "Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART"
    running.fault("reject", request="reqHistoricalData", code=162, text=words, times=1)
    query = wanted(kit)

    with pytest.raises(NoDataError, match="returned no data"):
        kit._loop.run(from_wire, kit, *query)

    assert left_behind(kit) == []
    assert len(kit._loop.run(from_wire, kit, *query)) == 390


def test_after_the_deadline_nothing_is_left_and_a_late_answer_harms_nobody(kit, running):
    query = wanted(kit)
    running.fault("withhold", message="historicalData")
    client, sent = kit.link.ib.client, []
    kit._loop.call(lambda: sent.append(client._reqIdSeq))

    with pytest.raises(RequestTimeoutError, match="historical data"):
        kit._loop.run(lambda: from_wire(kit, *query, timeout_s=0.1))
    assert left_behind(kit) == []

    late = ["17", str(sent[0]), "start", "end", "1", "1792526400", *(["1"] * 7)]
    kit._loop.call(client._onSocketHasData, pack(late))
    assert left_behind(kit) == []
    running.mend()
    assert len(kit._loop.run(from_wire, kit, *query)) == 390


def test_a_request_that_is_cancelled_is_cancelled_at_the_gateway_too(kit, running):
    query = wanted(kit)
    fault = running.fault("slow", request="reqHistoricalData", seconds=60.0)

    heard = []
    kit.ib.errorEvent += lambda number, code, text, _: heard.append((code, text))

    with asking(kit, *query) as task:
        until(kit, lambda: running.call(lambda: fault.hits))
        kit._loop.call(task.cancel)

    assert task.cancelled()
    assert left_behind(kit) == []
    until(kit, lambda: any(code == 162 and "cancelled" in text for code, text in heard))


def test_an_outage_ends_the_request_and_another_decoder_is_served_too(kit, running):
    query = wanted(kit)
    fault = running.fault("slow", request="reqHistoricalData", seconds=60.0)

    with asking(kit, *query, again=False) as task:
        until(kit, lambda: running.call(lambda: fault.hits))
        running.drop_clients()
    running.mend()
    assert isinstance(task.exception(), NotConnectedError)

    kit._loop.run(kit.link.ready, PATIENCE_S)
    ib = kit.link.ib
    kit._loop.call(setattr, ib.client, "decoder", Decoder(ib.wrapper, ib.client.serverVersion()))
    assert len(kit._loop.run(from_wire, kit, *query)) == 390


def test_a_request_that_an_outage_interrupts_is_asked_again(kit, running):
    query = wanted(kit)
    fault = running.fault("slow", request="reqHistoricalData", seconds=60.0, times=1)

    with asking(kit, *query) as task:
        until(kit, lambda: running.call(lambda: fault.hits))
        running.drop_clients()

    assert len(task.result()) == 390


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"field": 7, "value": "?"}, r"'\?' is no .*, in bar 1 of 390"),
        ({"field": 3124, "value": ""}, "'' is no count, in bar 390 of 390"),
        ({"field": 1000, "how": "drop"}, "announces 390 bars and holds 389"),
        ({"field": 4, "value": "x"}, "'x' is no number of bars"),
    ],
)
def test_a_broken_message_is_a_typed_error_at_once(kit, running, broken, words):
    query = wanted(kit)
    running.fault("corrupt_field", message="historicalData", times=1, **broken)

    with pytest.raises(UnreadableAnswerError, match=words):
        kit._loop.run(from_wire, kit, *query)

    assert left_behind(kit) == []
    assert len(kit._loop.run(from_wire, kit, *query)) == 390


def test_history_stores_nothing_of_a_broken_message_and_asks_again(kit, running):
    running.fault("corrupt_field", message="historicalData", field=10, value="?", times=1)
    with pytest.raises(UnreadableAnswerError, match="is no"):
        kit.history.bars("AAPL", "1 min", **SPAN)

    assert len(kit.history.bars("AAPL", "1 min", **SPAN)) == 390


@pytest.mark.parametrize("size", ["5 mins", "1 day", "1 week"])
def test_what_history_stores_is_what_objects_give(kit, size):
    span = {"start": "2026-09-01", "end": "2026-10-20"}
    series = kit.history.prepare("AAPL", size, **span)
    found = kit.history.bars("AAPL", size, **span)

    objects = [
        kit.ib.reqHistoricalData(
            series.contract, each.until, each.duration, size, "TRADES", useRTH=True, formatDate=2
        )
        for each in series.requests
    ]

    tables = [
        decode.clip(
            decode.to_table(
                decode.of_sessions(bars, series.bar_size, series.sessions),
                series.bar_size,
                series.sessions,
            ),
            each.start,
            each.end,
        )
        for each, bars in zip(series.requests, objects, strict=True)
    ]
    rows = sorted((row for table in tables for row in table.to_pylist()), key=lambda r: r["ts"])
    assert len(rows) == len(found) > 5
    assert [row["ts"] for row in rows] == found.index.tolist()
    for name in found.columns:
        assert [row[name] for row in rows] == found[name].tolist()
