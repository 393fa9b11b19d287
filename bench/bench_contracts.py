"""How fast instruments are found, and how few requests that takes.

    python bench/bench_contracts.py [--names 60]

Against a simulated gateway in a process of its own. The peer of the chain is what most people
write: ib_async's `qualifyContracts` on every strike, one request an option; it is timed on a sample
and scaled, since the whole chain would take minutes at IB's 45 messages a second. A cache hit from
memory and one from the disk (a new process, one read of a file) are told apart.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import tracemalloc
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import ibkit
from ibkit.sim import launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibkit.kit import Kit

SAMPLE = 100
STOCKS = [
    *("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "GOOG", "META", "TSLA", "AVGO", "AMD", "INTC"),
    *("NFLX", "COST", "PEP", "CSCO", "ADBE", "PLTR", "JPM", "BAC", "GS", "V", "MA", "XOM", "CVX"),
    *("JNJ", "LLY", "UNH", "PFE", "PG", "KO", "WMT", "HD", "DIS", "BA", "CAT", "GE", "IBM"),
    *("ORCL", "F", "SPY", "QQQ", "IWM"),
]
MORE = [
    *("CASH:EURUSD", "CASH:GBPUSD", "IND:SPX", "CRYPTO:BTC"),
    *("FUT:ES", "FUT:NQ", "FUT:CL", "FUT:GC"),
]


def show(name: str, count: int, requests: int, seconds: float, more: str = "") -> None:
    """Print one row: what, how many contracts, in how many requests, how fast."""
    each = f"{count / requests:6.1f} a request" if requests else "   from the store"
    print(f"{name:<22}{count:6} contracts {requests:6} requests {seconds:8.2f} s "
          f"{count / seconds:8.0f}/s {each}{more}")  # fmt: skip


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `call` gives, and how long it took."""
    start = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start


def bench_names(kit: Kit, names: list[str]) -> None:
    """Print how fast names are resolved, cold and from memory."""
    found, seconds = timed(lambda: kit.contracts.resolve(names))
    if found.failures:
        raise SystemExit(f"not resolved: {sorted(found.failures)}")
    show("names, cold", len(found.contracts), found.requests, seconds)
    hits = [timed(lambda: kit.contract("AAPL"))[1] for _ in range(2000)]
    print(f"cache hit, memory   {median(hits) * 1e6:6.0f} µs (median of {len(hits)})")


def bench_disk(root: Path, names: list[str]) -> None:
    """Print what a new connection pays for names that are in the store."""
    with ibkit.connect(root=root) as kit:
        first = timed(lambda: kit.contract(names[0]))[1]
        rest = [timed(lambda name=name: kit.contract(name))[1] for name in names[1:]]
        asked = kit.contracts.requests
    print(f"cache hit, disk     {median(rest) * 1e3:6.2f} ms (median of {len(rest)}); the first, "
          f"which opens the store, {first * 1e3:.0f} ms; {asked} requests")  # fmt: skip


def bench_chain(kit: Kit) -> None:
    """Print what a whole chain costs, cold and from the store, beside one request an option."""
    tracemalloc.start()
    chain, listing = timed(lambda: kit.contracts.chain("SPY"))
    found, seconds = timed(lambda: kit.contracts.qualify(chain))
    held, peak = (each / 1e6 for each in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    if len(found) < 5000:
        raise SystemExit(f"only {len(found)} options")
    plain = timed(lambda: kit.contracts.qualify(chain.select(days=(0, 5))))
    again, warm = timed(lambda: kit.contracts.qualify(chain))
    table = found.table.memory_usage(deep=True).sum() / 1e6
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    requests = chain.requests + found.requests
    show("chain SPY, parameters", len(chain), chain.requests, listing, ", possible ones")
    show("chain SPY, qualified", len(found), requests, seconds, ", with tracemalloc on")
    print(f"  memory: {held:.0f} MB held, {peak:.0f} MB peak, {table:.1f} MB of it the table; "
          f"the process {process:.0f} MB")  # fmt: skip
    show("chain SPY, again", len(again), again.requests, warm)
    show("  its next five days", len(plain[0]), plain[0].requests, plain[1])
    some = found.contracts()[:: len(found) // SAMPLE][:SAMPLE]
    bare = [type(each)(**{**vars(each), "conId": 0, "localSymbol": ""}) for each in some]
    _, peer = timed(lambda: kit.ib.qualifyContracts(*bare))
    scaled = peer / len(bare) * len(found)
    note = f", scaled from {len(bare)} in {peer:.1f} s"
    show("peer, one by one", len(found), len(found), scaled, note)
    print(
        f"  {scaled / seconds:.0f} times faster, {len(found) / requests:.0f} times fewer requests"
    )


def bench_untraced(root: Path) -> None:
    """Print a whole chain without the memory counting."""
    with ibkit.connect(root=root) as kit:
        chain = kit.contracts.chain("QQQ")
        found, seconds = timed(lambda: kit.contracts.qualify(chain))
    show("chain QQQ, qualified", len(found), chain.requests + found.requests, seconds)


def main() -> None:
    """Run all of it in a folder that is thrown away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=60)
    names = (STOCKS + MORE)[: parser.parse_args().names]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            with ibkit.connect(root=root) as kit:
                bench_names(kit, names)
            bench_disk(root, names)
            bench_untraced(root)
            with ibkit.connect(root=root) as kit:
                bench_chain(kit)
        finally:
            launch.stop(root)


if __name__ == "__main__":
    main()
