"""Nothing grows: not with connections, not with subscriptions.

A part of the cycles by default; ``IBKIT_TEST_CYCLES=full`` runs 200 connections and 1,000
subscriptions of each kind.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from ib_async import IB, Stock

import ibkit
from ibkit.connection.link import Link
from ibkit.sim.limits import Limits
from ibkit.sim.testing import gateway

FULL = os.environ.get("IBKIT_TEST_CYCLES") == "full"
CONNECTIONS, SUBSCRIPTIONS = (200, 1000) if FULL else (20, 20)
# a long day of ib_async: its tables by request id, by contract, by ticker
TABLES = (
    "_futures",
    "_reqId2Contract",
    "_results",
    "pnlKey2ReqId",
    "reqId2PnL",
    "reqId2Subscriber",
    "reqId2Ticker",
    "ticker2ReqId",
    "tickers",
)


@pytest.fixture(scope="module")
def running():
    with gateway(limits=Limits.none()) as one:
        yield one


@pytest.fixture
def open_kit(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # a heartbeat in the moment of counting is a task and an answer that wait
    monkeypatch.setenv("IBKIT_PROFILES__SIM__HEARTBEAT_S", "3600")
    return lambda **options: ibkit.connect(port=running.port, root=tmp_path / "store", **options)


def of_process():
    """Count what a process may leak: threads, open files, asyncio's tasks, links."""
    gc.collect()
    kinds = Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, Link | IB))
    return {
        "threads": threading.active_count(),
        "files": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        **kinds,
    }


def of_link(link):
    """Count what a connection holds. On its loop."""
    wrapper = link.ib.wrapper
    tables = {name: _size(getattr(wrapper, name)) for name in TABLES}
    events = [getattr(link.ib, name) for name in IB.events]
    events += [getattr(link.events, name) for name in link.events.TOPICS]
    return tables | {
        "tasks": len(asyncio.all_tasks()),
        "handlers": sum(len(event) for event in events),
        "streams": len(link.subscriptions.live()),
        "open requests": len(link.subscriptions._opened),
    }


def _size(table):
    """Return how many entries a table has; those of its tables, if it is one of tables."""
    inner = [each for each in table.values() if isinstance(each, dict)]
    return sum(map(len, inner)) if inner else len(table)


def test_connections_leave_nothing(open_kit, running):
    def cycle():
        with open_kit() as kit, kit.live.watch("AAPL") as quotes:
            kit.events.state += print
            quotes.frame()
            assert kit.account.values() is not None

    cycle()
    before = of_process()
    for _ in range(CONNECTIONS):
        cycle()

    assert of_process() == before
    assert running.call(lambda: len(running.gateway.clients)) == 0


def test_connections_that_fail_leave_nothing(open_kit, running):
    def cycle():
        with pytest.raises(ibkit.errors.AccountMismatchError):
            open_kit(account="DUSIM0777")

    cycle()
    before = of_process()
    for _ in range(CONNECTIONS):
        cycle()

    assert of_process() == before
    assert running.call(lambda: len(running.gateway.clients)) == 0


@pytest.fixture
def kit(open_kit):
    with open_kit() as one:
        yield one


def watch(kit, _):
    kit.live.watch("AAPL", "MSFT").close()


def watch_in_a_block_that_raises(kit, _):
    with pytest.raises(ZeroDivisionError), kit.live.watch("AAPL"):
        raise ZeroDivisionError


def quotes(kit, contract):
    kit.ib.reqMktData(contract)
    kit.ib.cancelMktData(contract)


def depth(kit, contract):
    kit.ib.reqMktDepth(contract)
    kit.ib.cancelMktDepth(contract)


def profit(kit, _):
    kit.ib.reqPnL(kit.link.account)
    kit.ib.cancelPnL(kit.link.account)


def snapshots(kit, contract):
    kit.ib.reqTickers(contract)


@pytest.mark.parametrize(
    "cycle",
    [watch, watch_in_a_block_that_raises, quotes, depth, profit, snapshots],
    ids=lambda cycle: cycle.__name__,
)
def test_subscriptions_leave_nothing(kit, cycle, monkeypatch):
    # how many ids are kept because their last ticks may still come
    monkeypatch.setattr("ibkit.connection.subscriptions.FADING", 2)
    contract = kit.ib.qualifyContracts(Stock("AAPL", "SMART", "USD"))[0]
    for _ in range(3):
        cycle(kit, contract)
    kit.ib.reqCurrentTime()
    before, process = kit._loop.call(of_link, kit.link), of_process()
    for _ in range(SUBSCRIPTIONS):
        cycle(kit, contract)
    kit.ib.reqCurrentTime()

    assert kit._loop.call(of_link, kit.link) == before
    assert of_process() == process
