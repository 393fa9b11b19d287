"""How fast the simulated gateway is: ticks, bars, orders, memory and start, on this machine.

    python bench/bench_sim.py [--seconds 5] [--ticks 200000] [--orders 500] [--clients 10]

Small by default (half a minute); ``--full`` streams ten million ticks and places 100,000 orders.
The gateway runs in a process of its own, on a clock that runs fast so that prices move often
enough; clients are raw sockets that only count frames, and one unmodified ib_async. Delay is the
time between the round trip of a request through the same socket as the ticks and that of an idle
one: what a tick waits for in the gateway and on the way. What limits a figure is printed with it.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Self

from ibkit.sim.clock import RealClock
from ibkit.sim.limits import Limits
from ibkit.sim.server import Gateway
from ibkit.sim.wire import REQUESTS, Deframer, pack

OPEN_HOURS = 1793376030.0  # a Friday noon in New York
SPEED = 400.0
STARTS = 5
FULL = {"ticks": 10_000_000, "orders": 100_000}
LINES = 240  # several on one contract: a fast clock moves each line a hundred times a second
STREAMED = {b"1", b"2", b"45", b"46"}


@dataclass
class Ready:
    """What the gateway's process says before it serves."""

    port: int
    pid: int


def serve(pipe: Any, speed: float) -> None:
    """Serve until the other end of the pipe closes; answer questions about memory and CPU."""

    async def run() -> None:
        gateway = Gateway(clock=RealClock(speed, OPEN_HOURS), limits=Limits.none())
        port = await gateway.start()
        pipe.send(Ready(port, os.getpid()))
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def asked() -> None:
            try:
                question = pipe.recv()
            except EOFError:
                done.set()
                return
            if question == "use":
                use = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send((use.ru_utime + use.ru_stime, rss(), use.ru_maxrss / 1024))
            else:
                done.set()

        loop.add_reader(pipe.fileno(), asked)
        await done.wait()
        loop.remove_reader(pipe.fileno())
        await gateway.stop()

    asyncio.run(run())


def rss() -> float:
    """Return the memory in use, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class House:
    """The gateway's process."""

    def __init__(self, speed: float = SPEED) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, speed), daemon=True)
        self.process.start()
        self.ready: Ready = self.pipe.recv()

    def use(self) -> tuple[float, float, float]:
        """Return CPU seconds, memory and peak memory (MB) of the gateway."""
        self.pipe.send("use")
        return self.pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.send("end")
        self.process.join(10)


class Raw:
    """A client that only counts."""

    def __init__(self, port: int, client_id: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"API\0" + struct.pack(">I", 9) + b"v157..178")
        self.frames = Deframer()
        self.ticks = 0
        self.until(lambda _: True)
        self.send(71, 2, client_id, "")
        self.until(lambda payload: payload.startswith(b"4\x002\x00-1\x002158"))

    def send(self, *fields: object) -> None:
        """Send one request."""
        self.socket.sendall(pack([str(field) for field in fields]))

    def pump(self, data: bytes) -> list[bytes]:
        """Return the frames that are complete, and count the ticks among them."""
        self.frames.feed(data)
        found = list(self.frames.payloads())
        self.ticks += sum(payload.split(b"\0", 1)[0] in STREAMED for payload in found)
        return found

    def until(self, wanted: Any) -> bytes:
        """Return the next frame that is wanted."""
        while True:
            data = self.socket.recv(1 << 20)
            for payload in self.pump(data):
                if wanted(payload):
                    return payload

    def round_trip(self) -> float:
        """Return how long a question waits for its answer behind the ticks."""
        begin = time.perf_counter()
        self.send(8, 1, 1)
        self.until(lambda payload: payload.startswith(b"9\0"))
        return time.perf_counter() - begin


Line = tuple[int, str]  # conId and exchange


def instruments() -> list[Line]:
    """Return the contracts that trade at the chosen time, most liquid kinds first."""
    from ibkit.sim.universe import Universe

    kinds = {"STK": 0, "CASH": 1, "CRYPTO": 2}
    known = [one for one in Universe.load().instruments if one.sec_type in kinds]
    known = [one for one in known if one.currency == "USD"]
    known.sort(key=lambda one: kinds[one.sec_type])
    lines = [(one.con_id, one.exchange) for one in known]
    return (lines * (LINES // len(lines) + 1))[:LINES]


def subscribe(client: Raw, lines: list[Line]) -> None:
    for number, (con_id, exchange) in enumerate(lines):
        client.send(1, 11, 1000 + number, con_id, *[""] * 6, exchange, *[""] * 4, 0, "", 0, 0, "")


def raw_client(port: int, client_id: int, lines: list[Line], seconds: float, pipe: Any) -> None:
    """Stream for a while in a process of its own; report ticks a second and the delays."""
    client = Raw(port, client_id)
    subscribe(client, lines)
    client.round_trip()
    pipe.send("warm")
    pipe.recv()
    client.ticks, begin, waits = 0, time.perf_counter(), []
    while time.perf_counter() - begin < seconds:
        waits.append(client.round_trip())
    took = time.perf_counter() - begin
    pipe.send((client.ticks / took, waits))


def stream_raw(count: int, seconds: float) -> None:
    """Stream to `count` raw clients at once."""
    context = multiprocessing.get_context("spawn")
    lines = instruments()
    with House() as house:
        workers = []
        for client_id in range(1, count + 1):
            mine, other = context.Pipe()
            arguments = (house.ready.port, client_id, lines, seconds, other)
            worker = context.Process(target=raw_client, args=arguments, daemon=True)
            worker.start()
            workers.append((worker, mine))
        for _, pipe in workers:
            pipe.recv()
        before, start = house.use()[0], time.perf_counter()
        for _, pipe in workers:
            pipe.send("go")
        results = [pipe.recv() for _, pipe in workers]
        cpu = (house.use()[0] - before) / (time.perf_counter() - start)
        for worker, _ in workers:
            worker.join()
    rate = sum(one for one, _ in results)
    waits = [wait for _, many in results for wait in many]
    p99 = quantiles(waits, n=100)[98] * 1e3 if len(waits) > 100 else max(waits) * 1e3
    report(
        f"stream, {count} raw client{'s' * (count > 1)}",
        f"{rate:,.0f} ticks/s in all, p99 {p99:.1f} ms, gateway uses {cpu:.0%} of a core, "
        f"{rate / max(cpu, 1e-9):,.0f} ticks/s a core",
    )


def stream_ib_async(seconds: float) -> None:
    """Stream to one unmodified ib_async, in this process."""
    import ib_async

    with House() as house:
        ib = ib_async.IB()
        ib.connect("127.0.0.1", house.ready.port, 1)
        counted = [0]
        read = ib.client.decoder.interpret

        def interpret(fields: list[str]) -> None:
            counted[0] += 1
            read(fields)

        ib.client.decoder.interpret = interpret
        for number, (con_id, exchange) in enumerate(instruments()):
            contract = ib_async.Contract(conId=con_id, exchange=exchange, secId=str(number))
            ib.reqMktData(contract)
        ib.sleep(LINES / 40 + 1)  # it sends 45 messages a second
        counted[0], begin = 0, time.perf_counter()
        cpu, mine = house.use()[0], time.process_time()
        ib.sleep(seconds)
        took = time.perf_counter() - begin
        used, own = house.use()[0] - cpu, time.process_time() - mine
        rate = counted[0] / took
        ib.disconnect()
    limit = "ib_async's own core" if own > used else "the gateway's core"
    report(
        "stream, one ib_async",
        f"{rate:,.0f} messages/s; gateway {used / took:.0%}, ib_async {own / took:.0%} of a core "
        f"(limit: {limit})",
    )


def bars() -> None:
    """Ask for days of minutes, cold and warm."""
    with House(1.0) as house:
        client = Raw(house.ready.port, 1)
        for name in ("cold", "warm"):
            served, begin = 0, time.perf_counter()
            for number, (con_id, exchange) in enumerate(instruments()[:20]):
                contract = [con_id, *[""] * 6, exchange, *[""] * 4]
                client.send(20, number, *contract, 0, "", "1 min", "1 M", 1, "TRADES", 2, 0, "")
                answer = client.until(lambda payload: payload.startswith(b"17\0"))
                served += int(answer.split(b"\0", 5)[4])
            rate = served / (time.perf_counter() - begin)
            report(f"bars, 1 min, {name}", f"{rate:,.0f} bars/s ({served:,} bars)")


def orders(count: int) -> None:
    """Place market orders one after the other, each when the one before has filled."""
    place = REQUESTS[3]
    values = {
        "contract": {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"},
        "action": "BUY",
        "total_quantity": 1,
        "order_type": "MKT",
        "transmit": True,
        "outside_rth": True,
    }
    with House(1.0) as house:
        client = Raw(house.ready.port, 1)
        memory, waits, begin = house.use()[1], [], time.perf_counter()
        for order_id in range(1, count + 1):
            values["action"] = "BUY" if order_id % 2 else "SELL"
            start = time.perf_counter()
            client.send(*place.fields({**values, "order_id": order_id}))
            client.until(lambda payload: payload.startswith(b"59\0"))
            waits.append(time.perf_counter() - start)
        rate = count / (time.perf_counter() - begin)
        grown = house.use()[1] - memory
    p99 = quantiles(waits, n=100)[98] * 1e3
    report(
        f"orders, {count:,}",
        f"{rate:,.0f} placed and filled a second, one after the other, p99 {p99:.1f} ms; memory "
        f"+{grown:.0f} MB, {grown * 1024 / count:.1f} KB an order",
    )


def memory(ticks: int) -> None:
    """Stream so many ticks and see what is left of them."""
    with House() as house:
        client = Raw(house.ready.port, 1)
        begun = house.use()[1]
        subscribe(client, instruments())
        while client.ticks < ticks // 10:
            client.pump(client.socket.recv(1 << 20))
        early, begin, first = house.use()[1], time.perf_counter(), client.ticks
        while client.ticks < ticks:
            client.pump(client.socket.recv(1 << 20))
        rate = (client.ticks - first) / (time.perf_counter() - begin)
        _, late, peak = house.use()
    report(
        f"memory, {ticks:,} ticks",
        f"{begun:.0f} MB before, {early:.0f} after a tenth, {late:.0f} after all, peak {peak:.0f} "
        f"({rate:,.0f} ticks/s)",
    )


def start() -> None:
    """Start the gateway as a process, until its port is open and until it has greeted a client.

    Python's compiled files are there, as after any installation; the first start writes them.
    """
    opened, greeted = [], []
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(STARTS + 1):
            begin = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "ibkit.sim", "serve", "--port", "0"],
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            assert process.stderr is not None
            port = next(line for line in process.stderr if "listens" in line).rsplit(":", 1)[1]
            opened.append(time.perf_counter() - begin)
            Raw(int(port), 1).socket.close()
            greeted.append(time.perf_counter() - begin)
            process.terminate()
            process.wait()
    report(
        "start",
        f"{min(opened[1:]) * 1e3:.0f} ms until the port is open, {min(greeted[1:]) * 1e3:.0f} "
        f"until a client is greeted; {opened[0] * 1e3:.0f} when nothing is compiled "
        "(limit: imports, numpy first)",
    )


def report(name: str, text: str) -> None:
    sys.stdout.write(f"{name:<26} {text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--ticks", type=int, default=200_000)
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--full", action="store_true", help=f"as much as the issue asks: {FULL}")
    parser.add_argument("--only", default="", help="one of: start stream ib bars orders memory")
    options = parser.parse_args()
    if options.full:
        vars(options).update(FULL)
    parts = {
        "start": start,
        "stream": lambda: (
            stream_raw(1, options.seconds),
            stream_raw(options.clients, options.seconds),
        ),
        "ib": lambda: stream_ib_async(options.seconds),
        "bars": bars,
        "orders": lambda: orders(options.orders),
        "memory": lambda: memory(options.ticks),
    }
    for name, part in parts.items():
        if options.only in {"", name}:
            part()


if __name__ == "__main__":
    main()
