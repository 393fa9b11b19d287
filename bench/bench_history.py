"""Historical bars from the wire to a frame and to the disk, beside plain ib_async.

    python bench/bench_history.py [--rounds 9] [--only frame,store,socket] [--cpu]

The same bytes go to both. `frame` and `store` feed recorded messages to a real client's own data
path (`client._onSocketHasData`) in the pieces in which a socket hands them over; in `socket` they
come from a gateway in a process of its own, for eight instruments at once, as a backfill asks.

The peer is what people write: `reqHistoricalDataAsync`, `util.df`, `to_parquet`, one file an
answer. It syncs nothing, merges with nothing, checks no row and notes nothing; the store does all
of that, and an answer counts when it is acknowledged. So two more candidates stand beside them:
"merged" is the peer doing what it takes to have each bar once (read the month's file, add, drop
duplicates, write it again), still unsynced; "unsynced" is the store with `os.fsync` doing nothing.

An answer to the store costs a few milliseconds however small it is (locks, syncs, the month's file
again), so the ratio grows with its size: below one for a session of minutes, where the peer writes
without a care, and past the target for a month of them.

Candidates take turns in a new order each round, after a round to warm up. Figures are medians of
the rounds; `x` is how many times as fast as the peer. On a busy machine `--cpu` is the fairer
clock: it leaves out what others took, and the waits for the disk as well.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any
from unittest import mock

import pandas as pd
from bench_store import SESSION, minute_bars
from ib_async import IB, Stock, util

from ibkit.connection import taps
from ibkit.contracts.hours import Session
from ibkit.history import wire
from ibkit.schema import bar_size
from ibkit.sim.wire import SERVER_VERSION, Deframer, pack, unpack
from ibkit.store import Store
from ibkit.store.frames import bar_frame

PIECE = 65_536
CONTRACT = Stock("AAPL", "SMART", "USD", conId=265598)
AT_ONCE = 8
SPAN = timedelta(minutes=1)
CLOCK = [perf_counter]


def now() -> float:
    return CLOCK[0]()


class Answers:
    """Recorded answers to requests of one kind: the fields after the request's number.

    Attributes
    ----------
    bodies : list of list of str
        One an answer.
    rows : int
        Bars in all of them.
    """

    def __init__(self, label: str, size: str, parts: list[pd.DataFrame]) -> None:
        self.label, self.size = label, bar_size(size)
        self.bodies = [["start", "end", str(len(each)), *_texts(each, self.size)] for each in parts]
        self.rows = sum(len(each) for each in parts)
        self.sessions = () if self.size.intraday else _sessions(parts[0])


def _texts(bars: pd.DataFrame, size) -> list[str]:
    """Return bars as a gateway writes them."""
    if size.intraday:
        stamps = [str(int(each.timestamp())) for each in bars.index]
    else:
        stamps = [f"{each:%Y%m%d}" for each in bars.index]
    columns = [
        stamps,
        *([f"{value:.2f}" for value in bars[name]] for name in ("open", "high", "low", "close")),
        [f"{value:.0f}" for value in bars["volume"]],
        [f"{value:.3f}" for value in bars["wap"]],
        [str(value) for value in bars["count"]],
    ]
    return [text for row in zip(*columns, strict=True) for text in row]


def _sessions(bars: pd.DataFrame) -> tuple[Session, ...]:
    opens = bars.index.to_pydatetime()
    return tuple(Session(each, each + timedelta(hours=6.5), each.date()) for each in opens)


def recorded() -> list[Answers]:
    """Return answers of several sizes."""
    minutes = minute_bars(2)
    days = minutes.iloc[::SESSION]
    quotes = minutes.assign(volume=-1.0, wap=-1.0, count=-1)
    months = [part for _, part in minutes.groupby(minutes.index.strftime("%Y-%m"))]
    return [
        Answers("minutes, a session", "1 min", cut(minutes, SESSION)[:60]),
        Answers("minutes, a week", "1 min", cut(minutes, 5 * SESSION)[:40]),
        Answers("minutes, a month", "1 min", months),
        Answers("quotes, a month", "1 min", cut(quotes, 21 * SESSION)),
        Answers("days, two years", "1 day", [days] * 10),
    ]


def cut(bars: pd.DataFrame, rows: int) -> list[pd.DataFrame]:
    """Return `bars` in parts."""
    return [bars.iloc[at : at + rows] for at in range(0, len(bars), rows)]


# --- the client's own data path -------------------------------------------------------------------


class Feed:
    """A client without a socket: what a request gets is put into its data path."""

    def __init__(self) -> None:
        self.ib = IB()
        client: Any = self.ib.client
        client._serverVersion, client.connState = SERVER_VERSION, client.CONNECTED  # noqa: SLF001 - it has no socket
        client._apiReady = True  # noqa: SLF001 - as above
        self.client = client

    async def answer(self, request, body: list[str]) -> tuple[Any, float]:
        """Return what `request` gives for a message, and the seconds from its first byte on."""
        number = str(self.client._reqIdSeq)  # noqa: SLF001 - as above
        waiting = asyncio.ensure_future(request)
        await asyncio.sleep(0)
        frame = pack(["17", number, *body])
        pieces = [frame[at : at + PIECE] for at in range(0, len(frame), PIECE)]
        began = now()
        for piece in pieces:
            self.client._onSocketHasData(piece)  # noqa: SLF001 - as above
        return await waiting, now() - began


def theirs(ib: IB, size: str):
    """Ask as people do."""
    wanted = (CONTRACT, "", "1 D", size, "TRADES", True)
    return ib.reqHistoricalDataAsync(*wanted, formatDate=2, timeout=0)


def ours(ib: IB, size: str):
    """Ask as `kit.history` does."""
    return taps.bars(ib, CONTRACT, "", "1 D", size, "TRADES", use_rth=True)


# --- candidates: seconds for all answers ----------------------------------------------------------


async def frame_theirs(feed: Feed, answers: Answers, _: Path) -> float:
    total = 0.0
    for body in answers.bodies:
        bars, seconds = await feed.answer(theirs(feed.ib, answers.size.ib), body)
        began = now()
        util.df(bars)
        total += seconds + now() - began
    return total


async def frame_ours(feed: Feed, answers: Answers, _: Path) -> float:
    total = 0.0
    for body in answers.bodies:
        fields, seconds = await feed.answer(ours(feed.ib, answers.size.ib), body)
        began = now()
        bar_frame(wire.to_table(fields, answers.size, answers.sessions), {})
        total += seconds + now() - began
    return total


async def arrow_ours(feed: Feed, answers: Answers, _: Path) -> float:
    total = 0.0
    for body in answers.bodies:
        fields, seconds = await feed.answer(ours(feed.ib, answers.size.ib), body)
        began = now()
        wire.to_table(fields, answers.size, answers.sessions)
        total += seconds + now() - began
    return total


async def store_theirs(feed: Feed, answers: Answers, folder: Path) -> float:
    make(folder)
    total = 0.0
    for n, body in enumerate(answers.bodies):
        bars, seconds = await feed.answer(theirs(feed.ib, answers.size.ib), body)
        began = now()
        util.df(bars).to_parquet(folder / f"{n}.parquet")
        total += seconds + now() - began
    return total


async def store_merged(feed: Feed, answers: Answers, folder: Path) -> float:
    make(folder)
    total = 0.0
    for body in answers.bodies:
        bars, seconds = await feed.answer(theirs(feed.ib, answers.size.ib), body)
        began = now()
        frame = util.df(bars)
        for month, part in frame.groupby(frame["date"].dt.strftime("%Y-%m")):
            merge(folder / f"{month}.parquet", part)
        total += seconds + now() - began
    return total


def merge(path: Path, frame: pd.DataFrame) -> None:
    """Put rows into a file that may have some of them."""
    if path.exists():
        both = pd.concat([pd.read_parquet(path), frame])
        frame = both.drop_duplicates("date", keep="last").sort_values("date")
    frame.to_parquet(path)


def make(folder: Path) -> None:
    folder.mkdir()


async def store_ours(feed: Feed, answers: Answers, folder: Path) -> float:
    store, total = opened(folder), 0.0
    for body in answers.bodies:
        fields, seconds = await feed.answer(ours(feed.ib, answers.size.ib), body)
        began = now()
        keep(store, fields, answers)
        total += seconds + now() - began
    return total


async def store_unsynced(feed: Feed, answers: Answers, folder: Path) -> float:
    with mock.patch("os.fsync"), mock.patch("os.fdatasync"):
        return await store_ours(feed, answers, folder)


def opened(folder: Path) -> Store:
    """Return a store that has had its first write."""
    store = Store(folder)
    store.write_bars("WARM", "1 min", minute_bars(1).iloc[:SESSION], source="SIM")
    return store


def keep(store: Store, fields: list[str], answers: Answers, name: str = "AAPL") -> None:
    """Store an answer, with the span that it answers for."""
    table = wire.to_table(fields, answers.size, answers.sessions)
    span = (table["ts"][0].as_py(), table["ts"][-1].as_py() + SPAN)
    store.write_bars(name, answers.size.ib, table, span=span, source="SIM", request="bench")


# --- over a socket --------------------------------------------------------------------------------


def turns(answers: Answers) -> list[list[int]]:
    """Return which answers each instrument gets."""
    return [[*range(n, len(answers.bodies), AT_ONCE)] for n in range(AT_ONCE)]


async def socket_theirs(ib: IB, answers: Answers, folder: Path) -> float:
    make(folder)

    async def one(mine: list[int]) -> None:
        for n in mine:
            bars = await theirs(ib, answers.size.ib)
            await asyncio.to_thread(write, bars, folder / f"{n}.parquet")

    def write(bars: list, path: Path) -> None:
        util.df(bars).to_parquet(path)

    began = now()
    await asyncio.gather(*map(one, turns(answers)))
    return now() - began


async def socket_ours(ib: IB, answers: Answers, folder: Path) -> float:
    store = opened(folder)

    async def one(mine: list[int]) -> None:
        for _ in mine:
            fields = await ours(ib, answers.size.ib)
            await asyncio.to_thread(keep, store, fields, answers, f"S{mine[0]}")

    began = now()
    await asyncio.gather(*map(one, turns(answers)))
    return now() - began


def serve(pipe: Any, answers: Answers) -> None:
    """Be a gateway that knows these answers, and gives one after the other."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames, given, greeted = Deframer(), 0, False
        await reader.readexactly(len("API\0"))
        while data := await reader.read(PIECE):
            frames.feed(data)
            for payload in frames.payloads():
                if not greeted:
                    greeted = True
                    writer.write(pack([str(SERVER_VERSION), "20261001 00:00:00 UTC"]))
                    continue
                fields = unpack(payload)
                if fields[0] == "71":
                    writer.write(pack(["15", "1", "DUSIM0001"]) + pack(["9", "1", "1"]))
                elif fields[0] == "20":
                    body = answers.bodies[given % len(answers.bodies)]
                    given += 1
                    writer.write(pack(["17", fields[1], *body]))
            await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)
        server.close()

    asyncio.run(run())


@contextmanager
def gateway(answers: Answers):
    """Run `serve` in a process; give its port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, answers))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("end")
        process.join(10)


# --- the race -------------------------------------------------------------------------------------


class Race:
    """Candidates that take turns; prints what came of it."""

    def __init__(self, rounds: int, folder: Path) -> None:
        self.rounds, self.folder, self.number = rounds, folder, 0

    async def run(self, label: str, target: str, candidates: dict[str, Any], answers: Answers):
        found: dict[str, list[float]] = {name: [] for name in candidates}
        for round_ in range(self.rounds + 1):
            names = list(candidates)
            random.shuffle(names)
            for name in names:
                self.number += 1
                seconds = await candidates[name](answers, self.folder / str(self.number))
                if round_:
                    found[name].append(seconds)
        n = len(answers.bodies)
        print(f"\n{label}: {answers.label} ({n} answers of {answers.rows // n} bars)   {target}")
        peer = median(found["ib_async"])
        for name, seconds in found.items():
            middle = median(seconds)
            print(
                f"  {name:<16} {answers.rows / middle / 1e6:7.3f} Mbars/s"
                f" {middle / n * 1e3:9.2f} ms an answer {peer / middle:7.2f} x"
            )


async def isolated(race: Race, all_answers: list[Answers], only: set[str]) -> None:
    feed = Feed()

    def with_feed(work):
        return lambda answers, folder: work(feed, answers, folder)

    frames = {"ib_async": frame_theirs, "ibkit": frame_ours, "ibkit, Arrow": arrow_ours}
    stores = {
        "ib_async": store_theirs,
        "merged": store_merged,
        "ibkit": store_ours,
        "unsynced": store_unsynced,
    }
    for answers in all_answers:
        if "frame" in only:
            made = {name: with_feed(work) for name, work in frames.items()}
            await race.run("wire → frame", "target ≥ 5 x", made, answers)
    for answers in all_answers[:3]:
        if "store" in only:
            made = {name: with_feed(work) for name, work in stores.items()}
            await race.run("wire → store", "target ≥ 3 x", made, answers)


async def over_socket(race: Race, answers: Answers) -> None:
    with gateway(answers) as port:
        ib = IB()
        await ib.client.connectAsync("127.0.0.1", port, 1)
        ib.client.MaxRequests = 0
        made = {
            "ib_async": lambda answers, folder: socket_theirs(ib, answers, folder),
            "ibkit": lambda answers, folder: socket_ours(ib, answers, folder),
        }
        try:
            await race.run("socket → store, 8 instruments at once", "target ≥ 3 x", made, answers)
        finally:
            ib.disconnect()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="frame,store,socket")
    parser.add_argument("--folder", type=Path, help="where files are made (default: temporary)")
    parser.add_argument("--cpu", action="store_true", help="count the processor's time, not waits")
    arguments = parser.parse_args()
    if arguments.cpu:
        CLOCK[0] = process_time
    only, all_answers = set(arguments.only.split(",")), recorded()
    print(f"{os.cpu_count()} cores; pandas {pd.__version__}; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        race = Race(arguments.rounds, Path(folder))
        asyncio.run(isolated(race, all_answers, only))
        if "socket" in only:
            for answers in all_answers[:3]:
                asyncio.run(over_socket(race, answers))


if __name__ == "__main__":
    main()
