"""The recording proxy: clients notice nothing, the transcript holds everything but account ids."""

import asyncio
import json
import threading
from contextlib import contextmanager

import ib_async
import pytest
from ib_async import util

from ibkit.errors import SimulationError, StoreAccessError
from ibkit.sim.playback import Playback, read_transcript
from ibkit.sim.record import Masker, Recorder
from ibkit.sim.testing import gateway as run_gateway

AAPL = ib_async.Contract(conId=265598, exchange="SMART", secType="STK", symbol="AAPL")


@contextmanager
def serving(server):
    """Run a server in a thread of its own, and give its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def morning(port):
    """Do what a morning does, and return what came of it."""
    ib = ib_async.IB()
    ib.connect("127.0.0.1", port, 1)
    try:
        bars = ib.reqHistoricalData(
            AAPL, "20260929 00:00:00 UTC", "1 D", "30 mins", "TRADES", useRTH=True, formatDate=2
        )
        details = ib.reqContractDetails(AAPL)
        return [util.tree(one) for one in (bars, details, ib.managedAccounts())]
    finally:
        ib.disconnect()


def record(path, **options):
    with run_gateway(**options) as running:
        direct = morning(running.port)
        with serving(Recorder(running.host, running.port, path)) as port:
            through = morning(port)
    return direct, through


def test_a_client_gets_the_same_through_the_proxy_and_it_is_written_down(tmp_path):
    direct, through = record(tmp_path / "morning.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "morning.jsonl").read_text().splitlines()]

    assert through == direct
    names = [line.get("name") for line in lines]
    assert names[1:3] == ["version", "version"]
    assert {"start_api", "req_historical_data", "historical_data", "contract_details_end"} <= {
        *names
    }
    asked = next(line for line in lines if line.get("name") == "req_historical_data")
    assert asked["from"] == "client"
    assert asked["values"]["bar_size"] == "30 mins"
    assert not [line for line in lines if "undecoded" in line or line.get("name") == "unknown"]
    assert [line["event"] for line in lines if "event" in line] == ["opened", "closed"]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)


def test_real_account_ids_do_not_get_into_a_transcript(tmp_path):
    path = tmp_path / "morning.jsonl"
    _, (_, _, accounts) = record(path, account_id="DU7654321")

    assert accounts == ["DU7654321"]  # the client sees the truth
    assert "DU7654321" not in path.read_text()
    assert "DU0000001" in path.read_text()


def test_masks_are_steady_and_of_the_same_kind():
    mask = Masker()
    mask.learn("F1234567,U7777777,paper-a")

    names = ("F1234567", "for U7777777", "DU55555", "paper-a", "DUSIM0001")
    assert [mask(text) for text in names] == [
        "F0000001", "for U0000002", "DU0000004", "U0000003", "DUSIM0001"
    ]  # fmt: skip
    assert mask("U0000002") == "U0000002"


def test_a_client_of_newer_versions_is_kept_at_178(gateway, connect_to, tmp_path):
    with serving(Recorder(gateway.host, gateway.port, tmp_path / "x.jsonl")) as port:
        wire = connect_to(type("Address", (), {"host": "127.0.0.1", "port": port}))

        assert wire.handshake("v100..226")[0] == "178"
    assert "v100..178" in (tmp_path / "x.jsonl").read_text()


def test_a_transcript_is_played_back_to_the_same_client(tmp_path):
    path = tmp_path / "morning.jsonl"
    direct, _ = record(path)

    with serving(Playback(path)) as port:
        assert morning(port) == direct


def test_a_transcript_can_be_inspected(tmp_path):
    path = tmp_path / "morning.jsonl"
    record(path)
    lines = read_transcript(path)

    assert [line.fields[0] for line in lines if line.name == "managed_accounts"] == ["15"]
    assert {line.who for line in lines} == {"client", "gateway"}


@pytest.mark.parametrize("text", ["not json\n", '{"at": 1, "from": "client"}\n', ""])
def test_what_is_no_transcript_is_refused(tmp_path, text):
    path = tmp_path / "odd.jsonl"
    path.write_text(text)

    with pytest.raises(StoreAccessError):
        Playback(path)


def test_only_loopback_is_recorded(tmp_path):
    with pytest.raises(SimulationError, match="not loopback"):
        Recorder("192.168.1.4", 4002, tmp_path / "x.jsonl")


def test_a_gateway_that_is_not_there_ends_the_connection(tmp_path):
    with run_gateway() as gone:
        port = gone.port
    with serving(Recorder("127.0.0.1", port, tmp_path / "x.jsonl")) as proxy:
        ib = ib_async.IB()
        with pytest.raises((ConnectionError, TimeoutError)):
            ib.connect("127.0.0.1", proxy, 1, timeout=0.5)
        ib.disconnect()


def test_what_is_no_api_client_is_hung_up_on(gateway, connect_to, tmp_path):
    with serving(Recorder(gateway.host, gateway.port, tmp_path / "x.jsonl")) as port:
        wire = connect_to(type("Address", (), {"host": "127.0.0.1", "port": port}))
        wire.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert wire.receive() is None
