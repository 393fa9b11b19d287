"""How well the ledger uses IB's historical limits, and what a grant costs.

    python bench/bench_pacing.py [--requests 600]

The first table is on a virtual clock: hours pass in seconds. A judge that knows only IB's rules
(60 in ten minutes, 5 of one contract in two seconds, 15 s between identical ones, BID_ASK double;
without our margins) counts violations at the gateway's end, where requests arrive up to 80 ms late.
`ratio` is requests/s over the most that the rules allow, if none was broken. The peers are
what people write by hand: one request every ten seconds, and no pacing at all. The second table is
on the real clock.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import random
import selectors
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from ib_async import Contract

from ibkit.connection.asks import ask_for
from ibkit.connection.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ibkit.connection.budget import Ask

JITTER_S = 0.08
# answers take so long, in virtual seconds
ANSWER_S = (0.1, 3.0)


class Jumping(selectors.DefaultSelector):
    """Never waits: moves the clock instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if not (events := super().select(0)) and timeout:
            self.loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer; threads' work is done at once."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> Any:
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        done.set_result(func(*args))
        return asyncio.wrap_future(done, loop=self)


@dataclass(frozen=True)
class Request:
    """One request of a workload."""

    contract: int
    what: str
    n: int

    @property
    def cost(self) -> int:
        return 2 if self.what == "BID_ASK" else 1

    def ask(self) -> Ask:
        contract = Contract(conId=self.contract, exchange="SMART")
        return ask_for(
            "reqHistoricalData", contract, str(self.n), "1800 S", "5 secs", self.what, useRTH=True
        )


WORKLOADS: dict[str, Callable[[int], Request]] = {
    "40 contracts": lambda n: Request(n % 40, "TRADES", n),
    "one contract": lambda n: Request(1, "TRADES", n),
    "BID_ASK": lambda n: Request(n % 40, "BID_ASK", n),
    "mixed": lambda n: Request(n % 7, ("TRADES", "BID_ASK", "MIDPOINT")[n % 3], n),
}


def violations(arrived: list[tuple[float, Request]]) -> int:
    """Count the requests that a gateway would have refused, by IB's rules alone."""
    pages: dict[object, list[tuple[float, int]]] = {}
    bad = 0
    for at, request in sorted(arrived, key=lambda one: one[0]):
        rules = (
            ("all", 600, 60, request.cost),
            ((request.contract, request.what), 2, 5, request.cost),
            (request, 15, 1, 1),
        )
        over = False
        for key, seconds, most, cost in rules:
            page = pages.setdefault((key, seconds), [])
            while page and page[0][0] <= at - seconds:
                page.pop(0)
            page.append((at, cost))
            over |= sum(each for _, each in page) > most
        bad += over
    return bad


def best_s(requests: list[Request]) -> float:
    """Return the seconds between first and last that no program can beat under 60 in 600 s."""
    cost = sum(request.cost for request in requests)
    return (cost - 1) // 60 * 600.0


async def with_ledger(
    requests: list[Request], loop: VirtualLoop, path: Path, processes: int
) -> list[tuple[float, Request]]:
    """Send them all as soon as the ledger allows, shared by so many ledgers."""
    dice, arrived = random.Random(1), list[tuple[float, Request]]()
    ledgers = [Ledger(path, now=loop.time) for _ in range(processes)]

    async def one(ledger: Ledger, request: Request) -> None:
        with await ledger.admit(request.ask()) as grant:
            grant.sent()
            arrived.append((loop.time() + dice.uniform(0, JITTER_S), request))
            await asyncio.sleep(dice.uniform(*ANSWER_S))

    await asyncio.gather(*(one(ledgers[n % processes], each) for n, each in enumerate(requests)))
    for ledger in ledgers:
        ledger.close()
    return arrived


async def every(
    seconds: float, requests: list[Request], loop: VirtualLoop
) -> list[tuple[float, Request]]:
    """Send one every so many seconds."""
    dice, arrived = random.Random(1), list[tuple[float, Request]]()
    for request in requests:
        arrived.append((loop.time() + dice.uniform(0, JITTER_S), request))
        await asyncio.sleep(seconds)
    return arrived


def virtual(main: Callable[[VirtualLoop], Awaitable[Any]]) -> Any:
    """Run on a fresh virtual loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


def efficiency(total: int = 600) -> list[dict[str, Any]]:
    """Return one row a workload and way: requests, hours, ratio to the best, violations."""
    rows = []
    for name, make in WORKLOADS.items():
        requests = [make(n) for n in range(total)]
        cost = sum(request.cost for request in requests)
        ways: dict[str, Callable[[VirtualLoop, Path], Awaitable[list[tuple[float, Request]]]]] = {
            "ledger": lambda loop, path: with_ledger(requests, loop, path, 1),  # noqa: B023 - used in this turn
            "ledger, 4 shares": lambda loop, path: with_ledger(requests, loop, path, 4),  # noqa: B023 - as above
            "every 10 s": lambda loop, _: every(10.0, requests, loop),  # noqa: B023 - as above
            "unpaced, 45/s": lambda loop, _: every(1 / 45, requests, loop),  # noqa: B023 - as above
        }
        for way, send in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "pacing.sqlite"
                arrived = virtual(lambda loop: send(loop, path))  # noqa: B023 - as above
            times = sorted(at for at, _ in arrived)
            took = times[-1] - times[0]
            rows.append(
                {
                    "workload": name,
                    "way": way,
                    "requests": len(arrived),
                    "cost": cost,
                    "hours": took / 3600,
                    "ratio": best_s(requests) / took,
                    "first_60_s": times[59] - times[0],
                    "violations": violations(arrived),
                }
            )
    return rows


def cost(grants: int = 400) -> dict[str, float]:
    """Return milliseconds of a grant with its release: p50 and p99, on disk, 60 rows in the books.

    Small bars for the hard rules (the books are kept at their fullest), bars of a minute for the
    rest. Five loops' turns and the hop to the ledger's thread are in it.
    """

    async def main(path: Path) -> dict[str, float]:
        figures = {}
        with Ledger(path) as ledger:
            for n in range(58):
                (await ledger.admit(Request(n, "TRADES", n).ask())).release()
            contract = Contract(conId=1, exchange="SMART")
            minute = ask_for(
                "reqHistoricalData", contract, "", "1 D", "1 min", "TRADES", useRTH=True
            )
            for name, ask in (("small", Request(99, "TRADES", 99).ask()), ("minute", minute)):
                took = []
                for _ in range(grants):
                    start = time.perf_counter()
                    grant = await ledger.admit(ask)
                    took.append(time.perf_counter() - start)
                    grant.withdraw()
                spread = quantiles(took, n=100)
                figures[f"{name}_p50_ms"] = spread[49] * 1e3
                figures[f"{name}_p99_ms"] = spread[98] * 1e3
        return figures

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(Path(folder) / "pacing.sqlite"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=600)
    total = parser.parse_args().requests
    print(f"{'workload':<14}{'way':<18}{'hours':>8}{'ratio':>8}{'first 60':>10}{'violations':>12}")
    for row in efficiency(total):
        ratio = "broken" if row["violations"] else f"{row['ratio']:.4f}"
        print(
            f"{row['workload']:<14}{row['way']:<18}{row['hours']:>8.2f}{ratio:>8}"
            f"{row['first_60_s']:>8.1f} s{row['violations']:>12}"
        )
    print("a grant: " + ", ".join(f"{name} {value:.2f}" for name, value in cost().items()))


if __name__ == "__main__":
    main()
