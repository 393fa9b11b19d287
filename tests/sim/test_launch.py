"""One gateway process per root: started, joined, found dead, stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime

import ib_async
import pytest

from ibkit.errors import (
    GatewayError,
    GatewaySilentError,
    PortInUseError,
    SeedMismatchError,
    StoreAccessError,
)
from ibkit.schema import bar_size
from ibkit.sim import launch
from ibkit.sim.__main__ import main
from ibkit.sim.market import Market
from ibkit.sim.universe import Universe

APPLE = ib_async.Stock("AAPL", "SMART", "USD", conId=265598)
SPAN = {"durationStr": "1 D", "barSizeSetting": "1 day", "whatToShow": "TRADES", "useRTH": True}


def first_price(root):
    """Return a price that the root's gateway tells."""
    ib = ib_async.IB()
    ib.connect(*launch.running(root)[:2], 1)
    try:
        return ib.reqHistoricalData(APPLE, "20261030 20:00:00 UTC", **SPAN)[0].open
    finally:
        ib.disconnect()


def first_price_of(seed):
    """Return the same price of a market with this seed."""
    universe = Universe.load()
    begin = datetime(2026, 10, 30, 13, 30, tzinfo=UTC).timestamp()
    market = Market(universe, seed)
    return market.bars(universe.by_con_id(265598), begin, begin + 23_400, bar_size("1 day")).open[0]


@pytest.fixture
def root(tmp_path):
    yield tmp_path / "sim"
    launch.stop(tmp_path / "sim")


def test_the_first_starts_and_the_second_joins(root):
    first = launch.start_or_join(root)
    second = launch.start_or_join(root, seed=1)

    assert first == second
    assert launch.running(root) == first
    assert launch.answers(first)


def test_a_root_keeps_the_seed_of_its_first_gateway(root):
    launch.start_or_join(root, seed=5)
    with pytest.raises(SeedMismatchError, match="come from seed 5, not 6"):
        launch.start_or_join(root, seed=6)
    launch.stop(root)

    with pytest.raises(SeedMismatchError):
        launch.start_or_join(root, seed=1)
    launch.start_or_join(root)

    assert launch.seed_of(root) == 5
    assert first_price(root) == first_price_of(5)


def test_two_at_once_get_the_same_gateway(root):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(launch.start_or_join(root))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1


def test_the_process_is_of_a_session_of_its_own(root):
    address = launch.start_or_join(root)

    assert os.getsid(address.pid) == address.pid
    assert "SIMULATED" in (root / "gateway" / "gateway.log").read_text()


def test_orders_outlive_the_client_that_placed_them(root, wait):
    address = launch.start_or_join(root)
    order = ib_async.LimitOrder("BUY", 1, 1.0)
    ib = ib_async.IB()
    ib.connect(address.host, address.port, 1)
    [apple] = ib.qualifyContracts(ib_async.Stock("AAPL", "SMART", "USD"))
    placed = ib.placeOrder(apple, order)
    wait(ib, lambda: placed.orderStatus.status == "Submitted")
    ib.disconnect()

    ib.connect(address.host, address.port, 1)
    kept = ib.openTrades()
    ib.disconnect()

    assert [trade.order.permId for trade in kept] == [placed.order.permId]


def test_a_stopped_gateway_is_gone_and_the_next_is_new(root):
    first = launch.start_or_join(root)

    assert launch.stop(root)
    assert not launch.stop(root)
    assert launch.running(root) is None
    assert launch.start_or_join(root).pid != first.pid


def test_a_killed_gateway_is_noticed_though_its_address_is_still_there(root):
    first = launch.start_or_join(root)
    os.kill(first.pid, signal.SIGKILL)
    while launch.running(root):
        pass
    assert (root / "gateway" / "address.json").exists()

    assert launch.start_or_join(root).pid != first.pid


def test_a_gateway_that_does_not_answer_is_an_error_not_a_hang(root, monkeypatch):
    address = launch.start_or_join(root)
    monkeypatch.setattr(launch, "PROBE_S", 0.05)
    os.kill(address.pid, signal.SIGSTOP)
    try:
        with pytest.raises(GatewaySilentError, match="does not answer"):
            launch.start_or_join(root)
    finally:
        os.kill(address.pid, signal.SIGCONT)


def test_a_taken_port_is_an_error_that_names_it(root):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortInUseError, match=str(port)):
            launch.start_or_join(root, port=port)


def test_a_process_that_fails_tells_its_last_words(root, tmp_path):
    with pytest.raises(GatewayError, match="ended with code"):
        launch.start_or_join(root, replay=tmp_path / "nothing-here")


def test_a_folder_that_cannot_be_made_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreAccessError, match="gateway"):
        launch.start_or_join(tmp_path / "file")


def test_an_idle_gateway_leaves(root):
    command = [sys.executable, "-m", "ibkit.sim", "serve", "--root", str(root)]

    subprocess.run([*command, "--idle-exit", "0.01"], timeout=60, check=True)

    assert not (root / "gateway" / "address.json").exists()


def test_a_second_process_for_one_root_refuses_to_serve(root, capsys):
    launch.start_or_join(root)

    assert main(["serve", "--root", str(root)]) == 1
    assert "Another simulated gateway" in capsys.readouterr().err


def test_an_address_file_of_nonsense_is_no_address(root):
    places = launch.Places(root)
    places.make()
    places.address.write_text(json.dumps({"port": 1}))

    assert launch.read_address(places) is None
    assert launch.running(root) is None
