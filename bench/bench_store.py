"""The store against ArcticDB, delta-rs, a DuckDB file and naive Parquet, and against the machine.

    python bench/bench_store.py [--symbols 10] [--years 2] [--rounds 20] [--peers FOLDER]

All candidates do the same work in turns, in a new order each round, so a busy machine slows all.
Limits: for writes, the same bytes written and synced and nothing else; for reads, the same columns
copied out of a memory-mapped Arrow file into a frame. ArcticDB (it pins pandas < 3) runs in an
environment that is made in FOLDER, if one is named; delta-rs if it is installed. Results of a row
are medians; `x` is the median over the limit's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import tempfile
import venv
import warnings
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from ibkit.store import Store

FIELDS = ["high", "close", "volume"]
SESSION = 390
MISSING: list[str] = []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--symbols", type=int, default=10)
    parser.add_argument("--years", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", type=Path, help="a folder for ArcticDB's own environment")
    parser.add_argument(
        "--folder", type=Path, help="where the stores are made (default: temporary)"
    )
    parser.add_argument("--only-ours", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning, module=__name__)  # DuckDB's of pandas
    warnings.filterwarnings("ignore", message="The inplace keyword")
    bars = minute_bars(arguments.years)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, ExitStack() as stack:
        root = Path(folder)
        race = Race(root, bars, arguments, stack)
        print(
            f"{len(bars) * arguments.symbols / 1e6:.2f} million bars, {arguments.symbols} symbols"
        )
        print(*MISSING, sep="\n")
        race.ingest()
        race.upsert()
        race.reads()
        race.sizes()
        writers(root / "writers", bars)
        appends(root / "appends", bars, arguments.rounds * 20)
        fan_out(race.ours.store, race.names)


def minute_bars(years: int) -> pd.DataFrame:
    """Return years of minutes: cents, a random walk, log-normal volumes."""
    source = np.random.default_rng(1)
    days = pd.bdate_range("2024-01-01", f"{2023 + years}-12-31", tz="America/New_York")
    opens = (days + pd.Timedelta(hours=9.5)).tz_convert("UTC").as_unit("us")
    steps = np.arange(SESSION) * np.timedelta64(60, "s")
    ts = (opens.to_numpy("M8[us]")[:, None] + steps).ravel()
    n = len(ts)
    close = (20_000 + source.normal(0, 4, n).cumsum().round()) / 100
    open_ = close + source.integers(-3, 4, n) / 100
    spread = source.integers(0, 6, (2, n)) / 100
    high, low = np.maximum(open_, close) + spread[0], np.minimum(open_, close) - spread[1]
    return pd.DataFrame(
        {
            "open": open_.round(2),
            "high": high.round(2),
            "low": low.round(2),
            "close": close.round(2),
            "volume": source.lognormal(8, 1, n).round(),
            "wap": ((open_ + close) / 2).round(3),
            "count": source.integers(1, 300, n),
        },
        index=pd.DatetimeIndex(ts, name="ts").tz_localize("UTC"),
    )


def timed(work, *rest, **options) -> float:
    began = perf_counter()
    work(*rest, **options)
    return perf_counter() - began


def raw_write(path: Path, content: bytes) -> None:
    """Write `content` durably, and nothing else: the price that every safe write has."""
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


# --- candidates: month, day, read, daily take the seconds that they took -------------------------


class Limit:
    """What the disk and the memory allow."""

    label = "limit"

    def __init__(self, root: Path, bars: pd.DataFrame) -> None:
        self.root, self.bars = root, bars
        root.mkdir()
        self.content = os.urandom(120_000)  # as large as the month that an upsert rewrites

    def month(self, _name: str, frame: pd.DataFrame) -> float:
        content = np.ascontiguousarray(frame.to_numpy(float)).tobytes()
        return timed(raw_write, self.root / "raw", content)

    def settle(self, names: list[str]) -> None:
        table = pa.Table.from_pandas(self.bars.reset_index(), preserve_index=False)
        for name in names:
            with (
                pa.OSFile(str(self.root / f"{name}.arrow"), "wb") as sink,
                pa.ipc.new_file(sink, table.schema) as writer,
            ):
                writer.write_table(table.combine_chunks())

    def day(self, _name: str, _frame: pd.DataFrame) -> float:
        return timed(raw_write, self.root / "raw", self.content)

    def read(self, names: list[str], start, end, columns) -> float:
        def work():
            return [self._one(name, start, end, columns) for name in names]

        return timed(work)

    def _one(self, name: str, start, end, columns) -> pd.DataFrame:
        with pa.memory_map(str(self.root / f"{name}.arrow")) as source:
            found = pa.ipc.open_file(source).read_all()
            ts = found["ts"].to_numpy()
            first, after = 0, len(ts)
            if start is not None:
                edges = [edge.tz_localize(None).to_datetime64() for edge in (start, end)]
                first, after = np.searchsorted(ts, edges)
            index = pd.DatetimeIndex(ts[first:after], name="ts").tz_localize("UTC")
            data = {
                each: found[each].slice(first, after - first).to_numpy().copy()
                for each in columns or self.bars.columns
            }
            return pd.DataFrame(data, index)

    def daily(self, names: list[str]) -> float:
        def work():
            for name in names:
                bars = self._one(name, None, None, ["high", "low", "close", "volume"])
                starts = np.arange(0, len(bars), SESSION)
                np.maximum.reduceat(bars["high"].to_numpy(), starts)
                np.minimum.reduceat(bars["low"].to_numpy(), starts)
                np.add.reduceat(bars["volume"].to_numpy(), starts)

        return timed(work)

    def size(self) -> float:
        return 0.0


class Ours:
    """ibkit."""

    label = "ibkit"

    def __init__(self, root: Path, *, cached: bool = True) -> None:
        options = {} if cached else {"cache_bytes": 0}
        self.store = Store(root, **options)
        self.label = "ibkit" if cached else "ibkit, no cache"

    def month(self, name: str, frame: pd.DataFrame) -> float:
        return timed(self.store.write_bars, name, "1 min", frame)

    day = month

    def read(self, names: list[str], start, end, columns) -> float:
        what = names[0] if len(names) == 1 else names
        return timed(self.store.bars, what, "1 min", start, end, columns=columns)

    def daily(self, names: list[str]) -> float:
        wanted = ["high", "low", "close", "volume"]
        return timed(self.store.bars, names, "1 day", resample="1 min", columns=wanted)

    def size(self) -> float:
        coverage = self.store.coverage("bars_1min")
        return float(coverage["bytes"].sum())


class Naive:
    """Two lines of pandas, as most people begin: nothing is synced, nothing is locked."""

    label = "to_parquet"

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, name: str, month: str) -> Path:
        return self.root / f"symbol={name}" / f"month={month}"

    def month(self, name: str, frame: pd.DataFrame) -> float:
        def work():
            stamped = frame.reset_index().assign(symbol=name, month=f"{frame.index[0]:%Y-%m}")
            stamped.to_parquet(
                self.root,
                partition_cols=["symbol", "month"],
                existing_data_behavior="delete_matching",
            )

        return timed(work)

    def day(self, name: str, frame: pd.DataFrame) -> float:
        def work():
            old = pd.read_parquet(self._path(name, f"{frame.index[0]:%Y-%m}"), partitioning=None)
            both = pd.concat([old, frame.reset_index()]).drop_duplicates("ts", keep="last")
            self.month(name, both.sort_values("ts").set_index("ts"))

        return timed(work)

    def read(self, names: list[str], start, end, columns) -> float:
        def work():
            tests = [("symbol", "in", names)]
            if start is not None:
                tests += [("ts", ">=", start), ("ts", "<", end)]
            wanted = None if columns is None else ["ts", *columns]
            return pd.read_parquet(self.root, filters=tests, columns=wanted)

        return timed(work)

    def daily(self, names: list[str]) -> float:
        def work():
            for name in names:
                bars = pd.read_parquet(self.root, filters=[("symbol", "==", name)])
                how = {"high": "max", "low": "min", "close": "last", "volume": "sum"}
                bars.groupby(bars["ts"].dt.floor("D")).agg(how)

        return timed(work)

    def size(self) -> float:
        return float(sum(each.stat().st_size for each in self.root.rglob("*.parquet")))


class DuckFile:
    """One DuckDB file with a primary key."""

    label = "DuckDB file"

    def __init__(self, root: Path) -> None:
        self.path = root / "bars.duckdb"
        root.mkdir()
        self.connection = duckdb.connect(str(self.path))
        self.connection.execute("load icu; set TimeZone = 'UTC'")
        columns = ", ".join(
            f"{name} double" for name in ("open", "high", "low", "close", "volume", "wap")
        )
        self.connection.execute(
            f"create table bars (symbol varchar, ts timestamptz, {columns}, count int, "
            "primary key (symbol, ts))"
        )

    def month(self, name: str, frame: pd.DataFrame) -> float:
        def work():
            rows = pa.Table.from_pandas(frame.reset_index(), preserve_index=False)
            self.connection.register("rows", rows)
            self.connection.execute(f"insert or replace into bars select '{name}', * from rows")

        return timed(work)

    day = month

    def read(self, names: list[str], start, end, columns) -> float:
        def work():
            wanted = "*" if columns is None else ", ".join(["symbol", "ts", *columns])
            listed = ", ".join(f"'{name}'" for name in names)
            where = "" if start is None else f" and ts >= '{start}' and ts < '{end}'"
            query = (
                f"select {wanted} from bars where symbol in ({listed}){where} order by symbol, ts"
            )
            return self.connection.execute(query).df()

        return timed(work)

    def daily(self, _names: list[str]) -> float:
        query = (
            "select symbol, time_bucket(interval 1 day, ts) as day, max(high), min(low), "
            "arg_max(close, ts), sum(volume) from bars group by 1, 2 order by 1, 2"
        )
        return timed(lambda: self.connection.execute(query).df())

    def size(self) -> float:
        self.connection.execute("checkpoint")
        return float(self.path.stat().st_size)


class Delta:
    """delta-rs, partitioned by symbol and month; months are appended, days merged."""

    label = "delta-rs"

    def __init__(self, root: Path) -> None:
        import deltalake

        self.root, self.delta = str(root), deltalake

    def _rows(self, name: str, frame: pd.DataFrame) -> pa.Table:
        stamped = frame.reset_index().assign(symbol=name, month=f"{frame.index[0]:%Y-%m}")
        return pa.Table.from_pandas(stamped, preserve_index=False)

    def month(self, name: str, frame: pd.DataFrame) -> float:
        def work():
            rows = self._rows(name, frame)
            by = ["symbol", "month"]
            self.delta.write_deltalake(self.root, rows, mode="append", partition_by=by)

        return timed(work)

    def day(self, name: str, frame: pd.DataFrame) -> float:
        def work():
            rows = self._rows(name, frame)
            same = f"t.symbol = '{name}' and t.month = '{rows['month'][0]}' and t.ts = s.ts"
            merger = self.delta.DeltaTable(self.root).merge(
                rows, same, source_alias="s", target_alias="t"
            )
            merger.when_matched_update_all().when_not_matched_insert_all().execute()

        return timed(work)

    def read(self, names: list[str], start, end, columns) -> float:
        def work():
            tests = [("symbol", "in", names)]
            if start is not None:
                tests += [("ts", ">=", start), ("ts", "<", end)]
                tests += [("month", "in", sorted({f"{start:%Y-%m}", f"{end:%Y-%m}"}))]
            wanted = None if columns is None else ["symbol", "ts", *columns]
            return self.delta.DeltaTable(self.root).to_pandas(filters=tests, columns=wanted)

        return timed(work)

    def daily(self, names: list[str]) -> float:
        def work():
            bars = self.delta.DeltaTable(self.root).to_pandas(
                filters=[("symbol", "in", names)],
                columns=["symbol", "ts", "high", "low", "close", "volume"],
            )
            bars = bars.sort_values(["symbol", "ts"])
            how = {"high": "max", "low": "min", "close": "last", "volume": "sum"}
            bars.groupby(["symbol", bars["ts"].dt.floor("D")]).agg(how)

        return timed(work)

    def size(self) -> float:
        return float(sum(each.stat().st_size for each in Path(self.root).rglob("*.parquet")))


class Arctic:
    """ArcticDB in its own process and environment."""

    label = "ArcticDB"

    def __init__(self, root: Path, python: Path, bars: pd.DataFrame, stack: ExitStack) -> None:
        held = root.with_suffix(".npz")
        columns = {name: bars[name].to_numpy() for name in bars.columns}
        np.savez(held, ts=bars.index.to_numpy("M8[ns]"), **columns)
        script = Path(__file__).with_name("arctic_peer.py")
        self.process = subprocess.Popen(
            [python, script, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stack.callback(self._close)
        self._ask("load", str(held))

    def _close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)

    def _ask(self, what: str, *rest) -> float:
        self.process.stdin.write(json.dumps({"do": what, "with": rest}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    @staticmethod
    def _span(frame: pd.DataFrame) -> tuple[str, str]:
        last = frame.index[-1] + pd.Timedelta("1min")
        return tuple(str(edge.tz_localize(None)) for edge in (frame.index[0], last))

    def month(self, name: str, frame: pd.DataFrame) -> float:
        return self._ask("month", name, *self._span(frame))

    def day(self, name: str, frame: pd.DataFrame) -> float:
        return self._ask("day", name, *self._span(frame), float(random.random()))

    def read(self, names: list[str], start, end, columns) -> float:
        span = [None if edge is None else str(edge.tz_localize(None)) for edge in (start, end)]
        return self._ask("read", names, *span, columns)

    def daily(self, names: list[str]) -> float:
        return self._ask("daily", names)

    def size(self) -> float:
        return self._ask("size")


def arctic_python(folder: Path) -> Path | None:
    """Return the Python of ArcticDB's environment, made if it is not there."""
    python = folder / "arctic" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "arctic", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "arcticdb"], check=False)
    found = subprocess.run([python, "-c", "import arcticdb"], capture_output=True, check=False)
    return python if found.returncode == 0 else None


# --- the race -------------------------------------------------------------------------------------


class Race:
    """All candidates, doing the same in turns."""

    def __init__(self, root: Path, bars: pd.DataFrame, arguments, stack: ExitStack) -> None:
        self.bars, self.rounds = bars, arguments.rounds
        self.names = [f"S{n}" for n in range(arguments.symbols)]
        self.many = [f"D{n}" for n in range(50)]
        self.ours = Ours(root / "ibkit")
        self.limit = Limit(root / "limit", bars)
        self.all = [self.limit, self.ours]
        if arguments.only_ours:
            return
        self.all += [Naive(root / "naive"), DuckFile(root / "duckdb")]
        try:
            self.all.append(Delta(root / "delta"))
        except ImportError:
            MISSING.append("delta-rs is left out: pip install deltalake")
        python = arguments.peers and arctic_python(arguments.peers)
        if python:
            self.all.append(Arctic(root / "arctic", python, bars, stack))
        else:
            MISSING.append(
                "ArcticDB is left out: name a folder for its environment, --peers FOLDER"
            )

    def turns(self, work, rounds: int, who=None) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {each.label: [] for each in who or self.all}
        for n in range(rounds):
            order = list(who or self.all)
            random.shuffle(order)
            for each in order:
                found[each.label].append(work(each, n))
        return found

    def ingest(self) -> None:
        months = [month for _, month in self.bars.groupby(self.bars.index.strftime("%Y-%m"))]
        for each in self.all:
            each.month("WARM", months[0])
        jobs = [(name, month) for name in self.names for month in months]
        found = self.turns(lambda each, n: each.month(*jobs[n]), len(jobs))
        table(
            "ingest, a month a call",
            found,
            "≥ 1.0 Mrows/s, ≤ 10 x",
            rows=len(self.bars) // len(months),
        )
        for name in self.many:  # one month each, for the row of many symbols
            for each in self.all[1:]:
                each.month(name, months[-1])
        self.limit.settle([*self.names, *self.many])

    def upsert(self) -> None:
        day = self.bars.loc[f"{self.bars.index[-1]:%Y-%m}"].iloc[3 * SESSION : 4 * SESSION].copy()

        def work(each, n):
            return each.day(
                self.names[n % len(self.names)], day.assign(volume=day["volume"] + n + 1)
            )

        table("upsert of one day", self.turns(work, self.rounds), "≤ 8 x, p95 ≤ 25 ms")

    def reads(self) -> None:
        last = self.bars.index[-1]
        start, end = pd.Timestamp(f"{last:%Y-%m}-01", tz="UTC"), last.ceil("D")
        names = self.names
        plain = Ours(self.ours.store.root, cached=False)

        def month(each, n):
            return each.read([names[n % len(names)]], start, end, FIELDS)

        table("one month, 3 columns", self.turns(month, self.rounds * 2), "≤ 2.2 x")
        shorter = max(4, self.rounds // 4)
        first = last.floor("D")

        def some(each, _):
            return each.read(self.many, first, end, None)

        table("50 symbols × 1 day", self.turns(some, shorter), "≤ 40 ms")
        who = [*self.all, plain]

        def whole(each, n):
            return each.read([names[n % len(names)]], None, None, None)

        self._rest()
        for name in names:
            self.ours.read([name], None, None, None)  # leaves it in the cache
        table("whole history, one symbol", self.turns(whole, self.rounds, who), "≤ 1.5 x")
        table("all daily bars", self.turns(lambda each, _: each.daily(names), 3, who), "≤ 2 x")

    def _rest(self) -> None:
        """Let the files be older than the cache asks for, as they are on any other day."""
        for path in (self.ours.store.root / "data").rglob("*.parquet"):
            facts = path.stat()
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns - 10_000_000_000))

    def sizes(self) -> None:
        month = (self.bars.index >= f"{self.bars.index[-1]:%Y-%m}").sum()
        rows = len(self.bars) * len(self.names) + month * len(self.many)
        print("\nbytes a row   target ≤ 16")
        for each in self.all[1:]:
            print(f"  {each.label:<16} {each.size() / rows:8.1f}")


def table(what: str, found: dict[str, list[float]], target: str, rows: int = 0) -> None:
    limit = median(found["limit"])
    print(f"\n{what}   target {target}")
    for label, seconds in found.items():
        speed = f"{rows / (sum(seconds) / len(seconds)) / 1e6:7.2f} Mrows/s" if rows else ""
        p95 = np.percentile(seconds, 95) * 1e3
        middle = median(seconds)
        print(
            f"  {label:<16} p50 {middle * 1e3:9.2f} ms   p95 {p95:9.2f} ms"
            f"   {middle / limit:7.2f} x {speed}"
        )


# --- several processes ----------------------------------------------------------------------------

SECONDS = 4.0


def writers(root: Path, bars: pd.DataFrame) -> None:
    """Let four processes write one symbol's month, and two read it; count what is lost."""
    month = bars.loc[f"{bars.index[-1]:%Y-%m}"]
    Store(root).write_bars("AAPL", "1 min", month)
    context = multiprocessing.get_context("spawn")
    # all have imported everything before the first begins
    with context.Pool(6, initializer=_wait, initargs=(context.Barrier(6),)) as pool:
        jobs = [pool.apply_async(_write, (root, month, n)) for n in range(4)]
        looks = [pool.apply_async(_look, (root, len(month))) for _ in range(2)]
        acked = [job.get() for job in jobs]
        errors = sum(job.get() for job in looks)
    stored = Store(root).bars("AAPL", "1 min")
    lost = sum(
        stored["volume"].iloc[row] < value for mine in acked for row, value in mine[1].items()
    )
    speed = sum(mine[0] for mine in acked) / SECONDS
    content = os.urandom(120_000)
    bare = median(timed(raw_write, root / "raw", content) for _ in range(50))
    print("\n4 writers, 2 readers, one symbol   target ≥ 90 upserts/s, 0 lost, 0 errors")
    print(f"  {'limit':<16} {1 / bare:8.0f} bare durable writes/s, one after the other")
    print(f"  {'ibkit':<16} {speed:8.0f} upserts/s   {lost} lost   {errors} reader errors")


def _wait(barrier) -> None:
    barrier.wait()


def _write(root: Path, month: pd.DataFrame, which: int) -> tuple[int, dict[int, float]]:
    """Write rows of one's own for a while; return how many writes, and what was acknowledged."""
    store, done, acked = Store(root), 0, {}
    end = perf_counter() + SECONDS
    while perf_counter() < end:
        row = (done * 4 + which) % len(month)
        value = 1e9 + done
        one = month.iloc[row : row + 1].assign(volume=value)
        store.write_bars("AAPL", "1 min", one)
        acked[row] = value
        done += 1
    return done, acked


def _look(root: Path, rows: int) -> int:
    store, errors, end = Store(root), 0, perf_counter() + SECONDS
    while perf_counter() < end:
        try:
            bars = store.bars("AAPL", "1 min")
            errors += len(bars) != rows or not bars.index.is_unique
        except Exception:  # noqa: BLE001 - counted, whatever it is
            errors += 1
    return errors


def appends(root: Path, bars: pd.DataFrame, times: int) -> None:
    """Append micro-batches, as a recorder does each second."""
    store, limit, ours = Store(root), [], []
    frames = [
        pd.DataFrame(
            {
                "ts": bars.index[:1000] + pd.Timedelta(days=n),
                "price": bars["close"].to_numpy()[:1000],
                "recorder": "bench",
                "seq": np.arange(1000) + 1000 * n,
            }
        )
        for n in range(20)
    ]
    log = os.open(root.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    content = os.urandom(24_000)
    with store.appender("trades", "AAPL", source="IB") as appender:
        for n in range(times):
            ours.append(timed(appender.append, frames[n % 20]))
            limit.append(timed(lambda: (os.write(log, content), os.fdatasync(log))))
    os.close(log)
    table("recorder, 1,000 rows a batch", {"limit": limit, "ibkit": ours}, "p50 ≤ 1.5 ms")


def fan_out(store: Store, names: list[str]) -> None:
    """Run a function of a few seconds over some symbols, in one process and in two."""
    store.map(len, names[:1], "1 min", progress=False)  # the first one imports everything
    bars = store.bars(names[0], "1 min")
    limit, ours = {}, {}
    for n in (1, 2):
        with multiprocessing.get_context("spawn").Pool(n) as pool:
            pool.map(slow, [bars[:1]] * n, chunksize=1)
            limit[n] = timed(pool.map, slow, [bars] * 4, chunksize=1)
        ours[n] = timed(store.map, slow, names[:4], "1 min", processes=n, progress=False)
    print(
        "\nstore.map, 2 processes   target ≥ 1.7 x faster; limit: processes that are there already"
    )
    for label, seconds in (("limit", limit), ("ibkit", ours)):
        one, two = seconds[1], seconds[2]
        print(f"  {label:<16} {one / two:8.2f} x   ({one:.1f} s, {two:.1f} s)")


def slow(bars: pd.DataFrame) -> float:
    """Work on bars for a while, in pure Python."""
    total = 0.0
    closes = bars["close"].tolist()
    for _ in range(1000):
        for close in closes:
            total += close
    return total


if __name__ == "__main__":
    main()
