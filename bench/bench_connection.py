"""What the connection promises, measured beside plain ib_async in the same run.

    python bench/bench_connection.py [--busy 20] [--rate 200] [--lines 1000] [--only busy,latency,…]

The gateway is a process of its own. For the busy cells it sends ticks whose price is the machine's
monotonic clock at the moment of sending and whose size is a running number, so delay and loss are
exact. "Plain" is ib_async on the loop of the busy thread, as `util.startLoop()` in a notebook has
it. A cell that holds the GIL (one long call in C) is the last of them: no thread helps there, a
process of its own does.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

LINES = ("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "JPM", "XOM", "SPY")


# --- the gateway ---------------------------------------------------------------------------------


class Ticker:
    """Sends a quote with the time of sending, so and so often a second, to every client."""

    def __init__(self, gateway: Any) -> None:
        self.gateway, self.rate, self.sent = gateway, 0.0, 0

    async def run(self) -> None:
        """Tick until cancelled."""
        loop, due = asyncio.get_running_loop(), 0.0
        while True:
            if not self.rate:
                await asyncio.sleep(0.01)
                due = loop.time()
                continue
            due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            for client in tuple(self.gateway.clients.values()):
                for request_id in tuple(client.streams.quotes)[:1]:
                    self.tick(client, request_id)

    def tick(self, client: Any, request_id: int) -> None:
        """Send one tick: its price is the time, its size a running number."""
        from ibkit.sim.wire import replies as r

        self.sent += 1
        facts = {"req_id": request_id, "tick_type": 4, "price": time.monotonic()}
        client.send(r.TICK_PRICE, **facts, size=self.sent, attributes=0)


def serve(pipe: Any, *, quiet: bool) -> None:
    """Serve until told to end; `quiet` moves no price of its own."""
    from ibkit.sim.clock import ManualClock, RealClock
    from ibkit.sim.limits import Limits
    from ibkit.sim.server import Gateway

    async def run() -> None:
        clock = ManualClock(1_793_376_030.0) if quiet else RealClock()
        gateway = Gateway(clock=clock, limits=Limits.none())
        port = await gateway.start()
        ticker, done = Ticker(gateway), asyncio.Event()

        def asked() -> None:
            question, value = pipe.recv()
            if question == "end":
                done.set()
            elif question == "ticks":
                ticker.rate = value
            elif question == "fault":
                gateway.faults.arm(value)
            else:
                gateway.faults.clear()
            pipe.send(time.monotonic())

        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fileno(), asked)
        ticking = asyncio.create_task(ticker.run())
        pipe.send((port, os.getpid()))
        await done.wait()
        loop.remove_reader(pipe.fileno())
        ticking.cancel()
        await gateway.stop()

    asyncio.run(run())


class House:
    """The gateway's process."""

    def __init__(self, *, quiet: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        how = {"quiet": quiet}
        self.process = context.Process(target=serve, args=(other,), kwargs=how, daemon=True)
        self.process.start()
        self.port, self.pid = self.pipe.recv()

    def ask(self, question: str, value: object = None) -> Any:
        """Ask the gateway's process."""
        self.pipe.send((question, value))
        return self.pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ask("end")
        self.process.join(10)


# --- busy cells -----------------------------------------------------------------------------------


def sleep_cell(seconds: float) -> None:
    time.sleep(seconds)


def pandas_cell(seconds: float) -> None:
    import numpy as np
    import pandas as pd

    dice, end = np.random.default_rng(1), time.monotonic() + seconds
    frame = pd.DataFrame({"key": dice.integers(0, 500, 500_000), "x": dice.random(500_000)})
    while time.monotonic() < end:
        frame.groupby("key")["x"].mean()
        frame["x"].rolling(50).mean()
        frame.sort_values("x")


def python_cell(seconds: float) -> None:
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(10_000):
            number += 1


def gil_cell(seconds: float) -> None:
    """One call in C that never lets go, as long as this machine makes it."""
    begun = time.monotonic()
    sum(range(2_000_000))
    once = time.monotonic() - begun
    sum(range(int(2_000_000 * seconds / once)))


CELLS = {"sleep": sleep_cell, "pandas": pandas_cell, "python": python_cell, "GIL": gil_cell}


class Probe:
    """Takes ticks in, and notes when each was sent and when it was handled."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def __call__(self, tickers: Any) -> None:
        now = time.monotonic()
        for ticker in tickers:
            self.seen.extend((tick.price, now) for tick in ticker.ticks if tick.tickType == 4)


def during(probe: Probe, begun: float, ended: float) -> tuple[int, list[float]]:
    """Return how many were handled while the cell ran, and the delay of all that were sent then."""
    sent = [(at, handled) for at, handled in probe.seen if begun <= at < ended]
    return sum(handled < ended for _, handled in sent), [handled - at for at, handled in sent]


def line(name: str, handled: int, sent: int, delays: list[float]) -> None:
    cuts = quantiles(delays, n=100) if len(delays) > 1 else [float("nan")] * 99
    print(
        f"  {name:<22} {handled:>6} of {sent:<6} handled in the cell   "
        f"p50 {1000 * cuts[49]:9.2f} ms   p99 {1000 * cuts[98]:9.2f} ms"
    )


def busy(seconds: float, rate: float) -> None:
    """Ticks during busy cells: the kit's loop thread against ib_async on the busy thread's loop."""
    from ib_async import IB, Contract

    print(f"ticks during a busy cell of {seconds:g} s, {rate:g} ticks/s")
    contract = Contract(conId=265598, symbol="AAPL", secType="STK", exchange="SMART")
    for cell, work in CELLS.items():
        with House(quiet=True) as house:
            probe = Probe()
            ib = IB()
            ib.connect("127.0.0.1", house.port, clientId=7)
            ib.reqMktData(contract)
            ib.pendingTickersEvent += probe
            house.ask("ticks", rate)
            ib.sleep(0.5)
            begun = time.monotonic()
            work(seconds)
            ended = time.monotonic()
            house.ask("ticks", 0.0)
            ib.sleep(1.0)
            ib.disconnect()
            handled, delays = during(probe, begun, ended)
            line(f"{cell}: plain ib_async", handled, len(delays), delays)
        with House(quiet=True) as house, connected(house.port) as kit:
            probe = Probe()
            kit.ib.reqMktData(contract)
            kit.ib.pendingTickersEvent += probe
            house.ask("ticks", rate)
            time.sleep(0.5)
            begun = time.monotonic()
            work(seconds)
            ended = time.monotonic()
            house.ask("ticks", 0.0)
            time.sleep(1.0)
            handled, delays = during(probe, begun, ended)
            line(f"{cell}: ibkit", handled, len(delays), delays)


@contextmanager
def connected(port: int, **options: Any) -> Any:
    import ibkit

    with tempfile.TemporaryDirectory() as folder:
        kit = ibkit.connect(port=port, root=Path(folder) / "store", client_id=1, **options)
        try:
            yield kit
        finally:
            kit.close()


# --- latencies ------------------------------------------------------------------------------------


def latency(rounds: int = 300) -> None:
    """Compare a round trip, and an order until IB's first word, with ib_async."""
    from ib_async import IB, LimitOrder, Stock

    with House(quiet=False) as house:
        plain = IB()
        plain.client.MaxRequests = 0
        plain.connect("127.0.0.1", house.port, clientId=8)
        trips = [timed(plain.reqCurrentTime) for _ in range(rounds)]
        contract = plain.qualifyContracts(Stock("AAPL", "SMART", "USD"))[0]

        def place() -> None:
            order = LimitOrder("BUY", 1, 1.0)
            trade = plain.placeOrder(contract, order)
            while trade.orderStatus.status in {"PendingSubmit", ""}:
                plain.waitOnUpdate(1)

        orders = [timed(place) for _ in range(50)]
        plain.disconnect()
        print(f"a round trip, {rounds} times; an order until IB's first word, 50 times")
        show("plain ib_async", trips, orders)
        with connected(house.port) as kit:
            trips = []
            for _ in range(rounds):
                while not kit.status().messages_left:
                    time.sleep(0.05)
                trips.append(timed(kit.ib.reqCurrentTime))
            orders = []
            for number in range(50):
                while not kit.status().messages_left:
                    time.sleep(0.05)
                key = f"b{number}"
                orders.append(timed(partial(kit.orders.limit, "AAPL", "BUY", 1, 1, key=key)))
            show("ibkit (kit.ib; kit.orders, journal synced)", trips, orders)


def timed(call: Any) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def show(name: str, trips: list[float], orders: list[float]) -> None:
    cuts = quantiles(trips, n=100)
    more = quantiles(orders, n=20)
    print(
        f"  {name:<44} trip p50 {1000 * median(trips):6.2f} p99 {1000 * cuts[98]:6.2f} ms   "
        f"order p50 {1000 * median(orders):6.2f} p95 {1000 * more[18]:6.2f} ms"
    )


class Button(threading.Thread):
    """Presses itself half a second from now, on a thread of its own as a widget's subshell."""

    def __init__(self, press: Any) -> None:
        super().__init__()
        self.press, self.took_s = press, float("nan")

    def run(self) -> None:
        """Wait and press."""
        time.sleep(0.5)
        self.took_s = timed(self.press)


def cancels(seconds: float = 3.0) -> None:
    """Cancel everything from another thread, while the main thread is busy."""
    print(
        f"kit.orders.cancel_all() from a widget's thread, in the middle of a cell of {seconds:g} s"
    )
    for cell, work in CELLS.items():
        with House(quiet=False) as house, connected(house.port) as kit:
            kit.orders.limit("AAPL", "BUY", 1, 1, key="resting")
            button = Button(kit.orders.cancel_all)
            button.start()
            work(seconds)
            button.join()
            print(f"  {cell:<8} {1000 * button.took_s:9.1f} ms until IB had confirmed")


PANIC = """
import sys, time
time.sleep(1)
begun = time.monotonic()
import ibkit
from ibkit.orders.panic import panic
with ibkit.connect(port=int(sys.argv[1]), root=sys.argv[2], client_id="auto") as kit:
    assert len(panic(kit.ib)) == 1
    print(time.monotonic() - begun)
"""


def panics(seconds: float = 4.0) -> None:
    """Cancel everything from a process of its own, while this one is busy."""
    print(f"ibkit panic beside a cell of {seconds:g} s: imports, connecting and IB's word in it")
    for cell, work in CELLS.items():
        with House(quiet=False) as house, connected(house.port) as kit:
            kit.orders.limit("AAPL", "BUY", 1, 1, key="resting")
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-c", PANIC, str(house.port), folder]
                compiled = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
                process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=compiled)
                work(seconds)
                took = float(process.communicate()[0])
            print(f"  {cell:<8} {1000 * took:9.0f} ms")


# --- connecting -----------------------------------------------------------------------------------


def connecting() -> None:
    """Connect time, alone and with 200 positions; from gateway-back to 50 live streams."""
    from ib_async import IB

    with House(quiet=False) as house:
        times = []
        for _ in range(10):
            begun = time.perf_counter()
            with connected(house.port):
                times.append(time.perf_counter() - begun)
        plain = []
        for _ in range(10):
            ib = IB()
            plain.append(timed(partial(ib.connect, "127.0.0.1", house.port, clientId=9)))
            ib.disconnect()
        print(
            f"connect: ibkit {1000 * median(times):.0f} ms, ib_async {1000 * median(plain):.0f} ms"
        )
        many_positions(house)
        back(house)


def many_positions(house: House, wanted: int = 200) -> None:
    """Buy one of each of 200 instruments, then connect."""
    from ib_async import IB, MarketOrder

    ib = IB()
    ib.client.MaxRequests = 0
    ib.connect("127.0.0.1", house.port, clientId=10)
    for contract in chain(ib, wanted):
        ib.placeOrder(contract, MarketOrder("BUY", 1))
    end = time.monotonic() + 60
    while len(ib.positions()) < wanted and time.monotonic() < end:
        ib.waitOnUpdate(1)
    count = len(ib.positions())
    ib.disconnect()
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        with connected(house.port) as kit:
            times.append(time.perf_counter() - begun)
            assert len(kit.account.positions()) == count
    print(f"connect with {count} positions: {1000 * median(times):.0f} ms (aim 500)")


def chain(ib: Any, wanted: int) -> list[Any]:
    """Return so many options of SPY."""
    from ib_async import Option

    found: list[Any] = []
    (one, *_) = ib.reqContractDetails(contract_of("SPY"))
    chains = ib.reqSecDefOptParams("SPY", "", "STK", one.contract.conId)
    for expiry in sorted(chains[0].expirations)[4:]:
        details = ib.reqContractDetails(Option("SPY", expiry, exchange="SMART", currency="USD"))
        found += [each.contract for each in details]
        if len(found) >= wanted:
            break
    return found[:wanted]


def contract_of(symbol: str) -> Any:
    """Return a US stock."""
    from ib_async import Stock

    return Stock(symbol, "SMART", "USD")


def universe() -> list[str]:
    """Return symbols of the simulated gateway's US stocks."""
    from ibkit.sim.universe import Universe

    return [
        one.symbol
        for one in Universe.load().instruments
        if one.sec_type == "STK" and one.currency == "USD"
    ]


def back(house: House, streams: int = 50, rounds: int = 5) -> None:
    """Seconds from the gateway's return until all streams tick."""
    names = universe()[:streams]
    with connected(house.port) as kit:
        contracts = [kit.contract(name) for name in names]
        tickers = [kit.ib.reqMktData(contract) for contract in contracts]
        took = []
        for _ in range(rounds):
            house.ask("fault", "refuse")
            house.ask("fault", "drop")
            time.sleep(1.0)
            begun = house.ask("mend")
            marks = [ticker.time for ticker in tickers]
            while any(now.time == mark for now, mark in zip(tickers, marks, strict=True)):
                time.sleep(0.005)
                if time.monotonic() - begun > 60:
                    break
            took.append(time.monotonic() - begun)
    print(
        f"from gateway-back to {len(tickers)} live streams: median {median(took):.2f} s, "
        f"worst {max(took):.2f} s (the pause before an attempt and 40 messages a second are in it)"
    )


# --- memory ---------------------------------------------------------------------------------------

BARE = "import ib_async, pandas"
KIT = (
    "import ibkit, sys; kit = ibkit.connect(port=int(sys.argv[1]), root=sys.argv[2]); import pandas"
)
SAY = "; print(int(open('/proc/self/statm').read().split()[1]) * 4096 / 2**20)"


def memory(lines: int) -> None:
    """Idle memory, and what a subscription costs."""
    with House(quiet=True) as house, tempfile.TemporaryDirectory() as folder:
        bare = float(output(BARE + SAY))
        kit_mb = float(output(KIT + SAY, str(house.port), str(Path(folder) / "store")))
        ratio = kit_mb / bare
        print(f"idle: {kit_mb:.0f} MB; ib_async and pandas alone {bare:.0f}: {ratio:.2f} (aim 1.3)")
    with House(quiet=False) as house, connected(house.port) as kit:
        options = chain(kit.ib, lines)
        trim()
        before = rss()
        tickers = [kit.ib.reqMktData(contract) for contract in options]
        while any(ticker.time is None for ticker in tickers):
            kit.ib.waitOnUpdate(1)
        trim()
        print(
            f"a subscription: {(rss() - before) * 1024 / lines:.1f} kB each over {lines} (aim 20)"
        )


def trim() -> None:
    """Give back to the system what is free, so that growth can be seen."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def output(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def rss() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--busy", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--only", default="busy,latency,cancels,panics,connecting,memory")
    chosen = parser.parse_args()
    parts = {
        "busy": lambda: busy(chosen.busy, chosen.rate),
        "latency": latency,
        "cancels": cancels,
        "panics": panics,
        "connecting": connecting,
        "memory": lambda: memory(chosen.lines),
    }
    for name in chosen.only.split(","):
        parts[name]()


if __name__ == "__main__":
    main()
