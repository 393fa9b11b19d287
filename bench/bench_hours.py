"""How fast questions about trading hours are answered, next to exchange_calendars.

    python bench/bench_hours.py [--calls 100000]

One year of AAPL, asked at instants that are spread over it evenly. `kit` is `kit.contracts.is_open`
as a notebook calls it; `timetable` is the value behind it; `mask` answers for a whole index. The
peer is `is_open_on_minute` of exchange_calendars' XNYS, warm. The second table is what a first
question costs: IB's schedule over the socket (simulated gateway), the copy on the disk, a calendar.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import exchange_calendars
import pandas as pd
from ib_async import Future, Stock

import ibkit
from ibkit.contracts import Contracts
from ibkit.contracts.venues import offline_sessions
from ibkit.sim.testing import gateway

if TYPE_CHECKING:
    from collections.abc import Callable

YEAR = date(2025, 1, 1), date(2025, 12, 31)
APPLE = Stock("AAPL", "SMART", "USD", primaryExchange="NASDAQ")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    calls = parser.parse_args().calls
    start = datetime(2025, 1, 2, tzinfo=UTC)
    step = timedelta(days=362) / calls
    moments = [start + step * n for n in range(calls)]
    with (
        tempfile.TemporaryDirectory() as folder,
        gateway() as running,
        ibkit.connect(port=running.port, root=Path(folder)) as kit,
    ):
        contracts, table = kit.contracts, kit.contracts.timetable("AAPL", *YEAR)
        contracts.is_open("AAPL", start)
        index = pd.DatetimeIndex(moments)
        print(f"{'who answers':34}{'calls/s':>12}")
        rates = {
            "kit.contracts.is_open": _rate(lambda at: contracts.is_open("AAPL", at), moments),
            "timetable.is_open": _rate(table.is_open, moments),
            "timetable.mask (a whole index)": calls / _seconds(lambda: table.mask(index)),
            "exchange_calendars, one by one": _peer(moments),
        }
        for name, rate in rates.items():
            print(f"{name:34}{rate:12,.0f}")
        print(f"\n{'a first question, one year':34}{'ms':>12}")
        for name, seconds in _first(kit, Path(folder)).items():
            print(f"{name:34}{1_000 * seconds:12,.1f}")


def _peer(moments: list[datetime]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = exchange_calendars.get_calendar("XNYS", start="2024-12-02", end="2026-01-30")
        stamps = [pd.Timestamp(at).floor("min") for at in moments[::10]]
        calendar.is_open_on_minute(stamps[0])
        return _rate(calendar.is_open_on_minute, stamps)


def _first(kit: ibkit.Kit, folder: Path) -> dict[str, float]:
    """Return what a first question costs, by where the answer lies."""
    spare = folder / "spare"
    asked = Contracts(kit.link, cache=spare)
    asked.contract("AAPL")
    over_socket = _seconds(lambda: asked.sessions("AAPL", *YEAR))
    kept = Contracts(kit.link, cache=spare)
    kept.contract("AAPL")
    from_disk = _seconds(lambda: kept.sessions("AAPL", *YEAR))
    again = _seconds(lambda: kept.sessions("AAPL", *YEAR))
    cold = _seconds(lambda: offline_sessions(APPLE, *YEAR))
    return {
        "IB's schedule, asked": over_socket,
        "IB's schedule, from the disk": from_disk,
        "IB's schedule, in memory": again,
        "a cash exchange's calendar, cold": cold,
        "ES by our rules, cold": _seconds(lambda: offline_sessions(Future("ES"), *YEAR)),
    }


def _rate(ask: Callable[[datetime], bool], moments: list[datetime]) -> float:
    return len(moments) / _seconds(lambda: [ask(at) for at in moments])


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
