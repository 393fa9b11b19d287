"""How near a backfill comes to IB's limits, what a restart costs it, and how much memory it takes.

    python bench/bench_backfill.py                            # all three, a few minutes
    python bench/bench_backfill.py pacing --series 200
    python bench/bench_backfill.py restart
    python bench/bench_backfill.py memory --rows 20_000_000   # the full run: twelve minutes

pacing: the whole of `kit.backfill` on a virtual clock: plan, queue on the disk, ledger, ib_async,
the simulated gateway, the store. Bars of 5 seconds, so that the hard rules bind. `ratio` is the
time of the call over the least that 60 requests in ten minutes allow; violations are counted by a
judge at the gateway's end, who knows IB's rules alone (without our margins), where requests arrive
up to 80 ms late; answers take 0.1 to 3 s. restart: real processes, real seconds; the gateway ends
in the middle and is started again. memory: RSS of this process (the simulator is another) at each
tenth of so many rows, and the slope of the line through it from a quarter on: what a million rows,
and a thousand answers, leave behind. Beside it what the store's journals hold, which is bounded.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import random
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pandas as pd

import ibkit
from ibkit.connection import Link
from ibkit.connection.ledger import Ledger
from ibkit.contracts import Contracts
from ibkit.history import History
from ibkit.jobs import Backfill
from ibkit.settings import Profile
from ibkit.sim import launch
from ibkit.sim.server import Gateway
from ibkit.sim.universe import Universe
from ibkit.sim.wire.requests import REQUESTS
from ibkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

JITTER_S = 0.08
# answers take so long, in virtual seconds
ANSWER_S = (0.1, 3.0)
SERIES = ("TRADES", "MIDPOINT", "BID", "ASK")
AMERICAN = 50


def virtual_time() -> Any:
    """Return the module that the chaos tests take their virtual time from."""
    path = Path(__file__).parents[1] / "tests" / "chaos" / "conftest.py"
    spec = importlib.util.spec_from_file_location("virtual_time", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Here:
    """Stands in for a loop thread, on a loop of our own."""

    here = True

    async def arun(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)


def stocks() -> list[str]:
    """Return the symbols of American stocks that the simulator knows."""
    return [
        each.symbol
        for each in Universe.load().instruments
        if each.sec_type == "STK" and each.currency == "USD" and each.symbol.isalpha()
    ]


# --- pacing --------------------------------------------------------------------------------------


class Judge:
    """Sits at the gateway's end: notes what arrives, and answers as late as IB does."""

    def __init__(self, loop: Any, gateway: Gateway) -> None:
        self.arrived: list[tuple[float, tuple[Any, ...]]] = []
        self.open = self.most = 0
        self._loop, self._dice = loop, random.Random(1)
        self._answer, gateway.answer = gateway.answer, self.answer  # type: ignore[method-assign]

    def answer(self, client: Any, fields: list[str]) -> None:
        if fields[0] != "20":
            self._answer(client, fields)
            return
        asked = REQUESTS[20].decode(fields)
        contract = asked["contract"]
        about = (contract["con_id"], asked["what_to_show"])
        same = (*about, asked["end"], asked["duration"], asked["bar_size"], asked["use_rth"])
        if asked["what_to_show"] != "SCHEDULE":
            self.arrived.append((self._loop.time() + self._dice.uniform(0, JITTER_S), same))
        self.open += 1
        self.most = max(self.most, self.open)
        self._loop.call_later(self._dice.uniform(*ANSWER_S), self._late, client, fields)

    def _late(self, client: Any, fields: list[str]) -> None:
        self.open -= 1
        self._answer(client, fields)

    def violations(self) -> int:
        """Count the requests that IB's rules, without any margin, would have refused."""
        pages: dict[object, list[float]] = {}
        bad = 0
        for at, same in sorted(self.arrived):
            rules = (("all", 600, 60), (("hot", *same[:2]), 2, 5), (same, 15, 1))
            over = False
            for key, seconds, most in rules:
                page = pages.setdefault(key, [])
                while page and page[0] <= at - seconds:
                    page.pop(0)
                page.append(at)
                over |= len(page) > most
            bad += over
        return bad


async def paced(loop: Any, clock: Any, folder: Path, count: int, sessions: int) -> dict[str, Any]:
    """Run one backfill of so many series of 5-second bars, and return its figures."""
    gateway = Gateway(clock=clock)
    judge = Judge(loop, gateway)
    port = await gateway.start()
    profile = Profile(name="sim", kind="sim", port=port)
    ledger = Ledger(folder / "pacing.sqlite", now=loop.time)
    link = Link(profile, Here(), ledger=ledger)  # type: ignore[arg-type]
    await link.open()
    contracts, store = Contracts(link), Store(folder / "data", kind="sim")
    backfill = Backfill(History(link, contracts, store), link, store, folder / "queue.sqlite")
    days = await History(link, contracts, store).sessions.aio("SPY", sessions)
    pairs = [(symbol, what) for what in SERIES for symbol in stocks()[:AMERICAN]][:count]
    holes = pd.DataFrame(pairs, columns=["instrument", "what_to_show"]).assign(
        bar_size="5 secs", use_rth=True, start=days[0].start, end=days[-1].end
    )
    began = loop.time()
    report = await backfill.aio(holes, progress=False)
    took = loop.time() - began
    await link.close()
    await gateway.stop()
    least = (len(judge.arrived) - 1) // 60 * 600.0
    return {
        "series": len(report.frame),
        "requests": len(judge.arrived),
        "rows": report.rows_new,
        "hours": took / 3600,
        "least_hours": least / 3600,
        "ratio": took / least if least else float("nan"),
        "violations": judge.violations(),
        "open_at_most": judge.most,
    }


def pacing(count: int, sessions: int) -> dict[str, Any]:
    """Run `paced` on virtual time; every clock that ibkit reads is that one."""
    module = virtual_time()
    loop = module.VirtualLoop()
    clock = module.LoopClock(loop)
    asyncio.set_event_loop(loop)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("ibkit.clock.now", side_effect=lambda: _instant(clock)),
        mock.patch("ibkit.clock.monotonic", loop.time),
    ):
        started = time.perf_counter()
        figures = loop.run_until_complete(paced(loop, clock, Path(folder), count, sessions))
        figures["real_s"] = time.perf_counter() - started
    loop.close()
    return figures


def _instant(clock: Any) -> datetime:
    return datetime.fromtimestamp(clock.now(), tz=UTC)


# --- a restart in the middle ---------------------------------------------------------------------


def restart(series: int = 20, days: int = 30) -> dict[str, float]:
    """Return seconds: of a backfill undisturbed, of one with a restart, without a gateway, lost."""
    symbols = stocks()[:series]
    with tempfile.TemporaryDirectory() as folder:
        took, gone = {}, 0.0
        for disturbed in (False, True):
            root = Path(folder) / str(disturbed)
            launch.start_or_join(root)
            with ibkit.connect("sim", root=root) as kit:
                for symbol in symbols:
                    kit.contract(symbol)
                outage = threading.Thread(target=lambda: None)
                times: list[float] = []
                if disturbed:
                    outage = threading.Thread(target=_bounce, args=(root, kit, times))
                began = time.perf_counter()
                outage.start()
                report = kit.backfill(symbols, "1 min", days=days, progress=False)
                took[disturbed] = time.perf_counter() - began
                outage.join()
                assert report.complete
                gone = times[0] if times else 0.0
            launch.stop(root)
    lost = took[True] - took[False] - gone
    return {"plain_s": took[False], "restarted_s": took[True], "down_s": gone, "lost_s": lost}


def _bounce(root: Path, kit: Any, times: list[float]) -> None:
    """End the gateway when a part is stored, and start it anew."""
    while kit.store.coverage()["rows"].sum() < 10_000:
        time.sleep(0.05)
    began = time.perf_counter()
    launch.stop(root)
    launch.start_or_join(root)
    times.append(time.perf_counter() - began)


# --- memory --------------------------------------------------------------------------------------


def memory(rows: int) -> dict[str, float]:
    """Return RSS in MB at each tenth of so many rows, its slope, and what the journals hold."""
    symbols = stocks()[:AMERICAN]
    sessions = max(5, rows // (len(symbols) * 960))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sim"
        with ibkit.connect("sim", root=root) as kit:
            last = kit.history.sessions("SPY", 1)[0].ref_date
            first = last - timedelta(days=sessions * 7 // 5 + 8)
            seen: list[tuple[int, float]] = []
            over = threading.Event()
            answers = _counted(kit.store)
            watch = threading.Thread(target=_weigh, args=(seen, answers, over))
            began = time.perf_counter()
            watch.start()
            report = kit.backfill(symbols, "1 min", first, last, use_rth=False, progress=False)
            took = time.perf_counter() - began
            over.set()
            watch.join()
            commits, entries = kit.store._journals.held  # noqa: SLF001 - a bench looks inside
        launch.stop(root)
    count = len(answers)
    slope = _slope([one for one in seen if one[0] >= count / 4])
    tenths = {f"at_{part}0_pct_mb": _at(seen, count * part / 10) for part in range(1, 10)}
    return {
        "rows": report.rows_new,
        "took_s": took,
        "rows_per_s": report.rows_new / took,
        "answers": count,
        **tenths,
        "at_end_mb": seen[-1][1],
        "most_mb": max(each for _, each in seen),
        "mb_per_million_rows": slope * count / report.rows_new * 1e6,
        "kb_per_1000_answers": slope * 1024 * 1000,
        "commits_held": commits,
        "entries_held": entries,
    }


def _counted(store: Store) -> list[None]:
    """Return a list that grows by one with each answer that is stored."""
    answers: list[None] = []
    write = store.write_bars

    def counted(*args: Any, **kwargs: Any) -> Any:
        answers.append(None)
        return write(*args, **kwargs)

    store.write_bars = counted  # type: ignore[method-assign]
    return answers


def _weigh(seen: list[tuple[int, float]], answers: list[None], over: threading.Event) -> None:
    while not over.wait(0.5):
        gc.collect(0)
        seen.append((len(answers), _rss_mb()))


def _at(seen: list[tuple[int, float]], answers: float) -> float:
    """Return the RSS when so many answers were in."""
    return min(seen, key=lambda one: abs(one[0] - answers))[1]


def _slope(seen: list[tuple[int, float]]) -> float:
    """Return the slope of the line of least squares, in MB an answer."""
    counts, weights = zip(*seen, strict=True)
    return float(np.polyfit(counts, weights, 1)[0]) if len(set(counts)) > 1 else float("nan")


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="*", default=["pacing", "restart", "memory"])
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--rows", type=lambda text: int(text.replace("_", "")), default=1_000_000)
    given = parser.parse_args()
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "pacing": lambda: pacing(given.series, given.sessions),
        "restart": restart,
        "memory": lambda: memory(given.rows),
    }
    for name in given.what:
        figures = work[name]()
        print(f"{name}: " + ", ".join(f"{key} {value:,.5g}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
