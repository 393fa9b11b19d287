"""Long answers are computed beside the loop: nobody waits for them, and they can be cancelled."""

import asyncio
import threading
from datetime import UTC, datetime

import ib_async
import pytest

from ibkit.sim.clock import ManualClock, RealClock
from ibkit.sim.limits import Limits
from ibkit.sim.market import Market
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.universe import Universe
from ibkit.sim.wire import REQUESTS
from ibkit.sim.worker import check_wanted

AAPL = 265598
NOON = datetime(2026, 10, 30, 16, tzinfo=UTC).timestamp()  # of a Friday in New York
WAIT_S = 10.0


class HeldMarket(Market):
    """A market whose bars are ready when a test says so."""

    def __init__(self, universe):
        super().__init__(universe, seed=1)
        self.begun, self.free = threading.Semaphore(0), threading.Event()
        self.threads = set()

    def bars(self, *args, **kwargs):
        self.threads.add(threading.current_thread().name)
        self.begun.release()
        while not self.free.wait(0.01):
            check_wanted()
        return super().bars(*args, **kwargs)


@pytest.fixture
def held():
    """A market that holds its bars back, and the gateway that serves them."""
    universe = Universe.load()
    market = HeldMarket(universe)
    with run_gateway(
        universe=universe, market=market, clock=RealClock(1.0, NOON), limits=Limits(open_history=3)
    ) as running:
        yield market, running


def ask(wire, req_id, **changes):
    """Ask for bars on a raw connection."""
    values = {
        "req_id": req_id,
        "contract": {"con_id": AAPL, "exchange": "SMART", "sec_type": "STK"},
        "bar_size": "1 day",
        "duration": "1 Y",
        "use_rth": True,
        "what_to_show": "TRADES",
        "format_date": 1,
        **changes,
    }
    table = next(one for one in REQUESTS.values() if one.name == "req_historical_data")
    wire.send(*table.fields(values))


def begun(market):
    assert market.begun.acquire(timeout=WAIT_S)


def greeted(connect_to, running, client_id):
    wire = connect_to(running).start(client_id)
    wire.until(4, 2, -1, 2158)
    return wire


def test_ticks_go_on_to_others_while_one_waits_for_bars(held, connect_to):
    market, running = held
    slow, other = (greeted(connect_to, running, number) for number in (1, 2))
    ask(slow, 7)
    begun(market)

    other.send(1, 11, 5, AAPL, *[""] * 6, "SMART", *[""] * 4, 0, "", 0, 0, "")
    other.until(1, 6, 5)  # a price
    for _ in range(5):
        other.until(2)  # and sizes, again and again
    slow.send(49, 1)  # its own other requests are answered too
    slow.until(49)
    market.free.set()

    assert slow.until(17, 7)[-1][4] != "0"
    assert market.threads == {"sim-worker_0"}


def test_a_request_that_waits_can_be_cancelled(held, connect_to):
    market, running = held
    wire = greeted(connect_to, running, 1)
    ask(wire, 7)
    begun(market)

    wire.send(25, 1, 7)
    *_, error = wire.until(4, 2, 7)
    assert error[3] == "162"
    assert error[4].endswith("API historical data query cancelled: 7")
    ask(wire, 8)
    begun(market)  # the thread has given up the first one
    market.free.set()

    assert not [frame for frame in wire.until(17, 8)[:-1] if frame[0] == "17"]


def test_requests_that_wait_count_as_open_and_keep_their_ids(held, connect_to):
    market, running = held
    wire = greeted(connect_to, running, 1)
    for req_id in (1, 2, 3):
        ask(wire, req_id)
    ask(wire, 3)
    assert wire.until(4, 2, 3)[-1][3] == "386"
    ask(wire, 4)
    assert wire.until(4, 2, 4)[-1][3] == "322"
    market.free.set()

    answers = [frame[1] for frame in wire.until(17, 3) if frame[0] == "17"]
    assert answers == ["1", "2", "3"]  # in the order of the requests
    ask(wire, 4)  # their places are free again
    wire.until(17, 4)


def test_a_client_that_leaves_is_not_computed_for(held, connect_to):
    market, running = held
    leaver, stayer = (greeted(connect_to, running, number) for number in (1, 2))
    ask(leaver, 1)
    begun(market)
    ask(stayer, 2)
    leaver.close()
    begun(market)  # so the thread came to the second request
    market.free.set()

    stayer.until(17, 2)


def test_a_gateway_stops_while_something_is_computed(held, connect_to):
    market, running = held
    wire = greeted(connect_to, running, 1)
    ask(wire, 1)
    begun(market)

    running.stop()

    assert not [one for one in threading.enumerate() if one.name.startswith("sim-worker")]


def test_what_comes_after_a_request_waits_for_its_answer(held, connect_to):
    market, running = held
    wire = greeted(connect_to, running, 1)
    faults = running.gateway.faults
    running.call(faults.on, "req_historical_data", 1, running.gateway.drop_clients, after=True)
    ask(wire, 7)
    begun(market)
    for _ in range(5):  # turns of the loop in which it must not happen
        running.call(len, faults.open)
    market.free.set()

    wire.until(17, 7)
    assert wire.receive() is None


def test_a_refusal_from_the_thread_reaches_the_client_and_frees_its_place(held, connect_to):
    market, running = held
    market.free.set()
    wire = greeted(connect_to, running, 1)

    ask(wire, 1, end="19700105 00:00:00 UTC", duration="1 D")
    assert wire.until(4, 2, 1)[-1][3] == "162"
    ask(wire, 1)
    wire.until(17, 1)


def test_a_bug_in_the_thread_is_error_322(held, connect_to, monkeypatch):
    market, running = held
    wire = greeted(connect_to, running, 1)
    monkeypatch.setattr(market, "bars", lambda *_: 1 / 0)

    ask(wire, 1)

    assert wire.until(4, 2, 1)[-1][3] == "322"


def test_a_clock_that_stands_has_its_answers_at_once(connect_to):
    with run_gateway(clock=ManualClock(NOON)) as running:
        wire = greeted(connect_to, running, 1)
        ask(wire, 1)
        wire.send(49, 1)

        seen = [frame[0] for frame in wire.until(49)]

    assert seen == ["17", "49"]


def test_a_whole_chain_is_told_beside_the_loop(connect_to):
    with run_gateway(clock=RealClock(1.0, NOON)) as running:
        wire = greeted(connect_to, running, 1)
        table = next(one for one in REQUESTS.values() if one.name == "req_contract_details")
        spec = {"symbol": "AAPL", "sec_type": "OPT", "exchange": "SMART", "currency": "USD"}
        month = {"last_trade_date": "202612", "right": "C"}
        wire.send(*table.fields({"req_id": 3, "contract": {**spec, **month}}))
        wire.send(49, 1)

        seen = [frame[0] for frame in wire.until(52)]

    assert seen.count("10") > 50


def test_ib_async_gets_bars_in_the_order_it_asked(connect_ib):
    ib = connect_ib()
    contracts = [ib_async.Stock(name, "SMART", "USD") for name in ("SPY", "MSFT", "AAPL")]
    ib.qualifyContracts(*contracts)
    order = []
    futures = [
        ib.reqHistoricalDataAsync(one, "", "1 M", "1 day", "TRADES", useRTH=True)
        for one in contracts
    ]

    async def wait(n, future):
        bars = await future
        order.append(n)
        return bars

    async def every():
        return await asyncio.gather(*(wait(n, one) for n, one in enumerate(futures)))

    assert all(ib.run(every()))
    assert order == [0, 1, 2]
