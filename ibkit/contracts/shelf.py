"""Keeps IB's schedules on the disk: one small Parquet file a market, whole days only.

What is kept is over: a day goes on the shelf when the next one has begun, and then for good; today
and the days to come IB may still change, so these are never kept. A file that cannot be read is no
error: its days are asked for again. Not here: asking (`ibkit.contracts.schedules`).
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ibkit.contracts.hours import Session
from ibkit.log import get_logger
from ibkit.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

VERSION: Final = "2"
SCHEMA: Final = pa.schema(
    [
        pa.field("ref_date", pa.date32(), nullable=False),
        pa.field("start", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("end", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
log = get_logger(__name__)


@dataclass
class Known:
    """What is known of a market: sessions by trade date, and the dates that were asked for."""

    sessions: dict[date, list[Session]] = field(default_factory=dict)
    asked: set[date] = field(default_factory=set)

    def add(self, days: Iterable[date], sessions: Iterable[Session]) -> None:
        """Take an answer over, which is the whole truth about `days`."""
        for day in days:
            self.asked.add(day)
            self.sessions.pop(day, None)
        for each in sessions:
            if each.ref_date in self.asked:
                held = self.sessions.setdefault(each.ref_date, [])
                self.sessions[each.ref_date] = sorted({*held, each})

    def before(self, day: date) -> Known:
        """Return the part that is over when `day` has come."""
        return Known(
            {each: rows for each, rows in self.sessions.items() if each < day},
            {each for each in self.asked if each < day},
        )


class Shelf:
    """A folder of schedules, shared by all processes of a profile.

    Parameters
    ----------
    folder : Path
        Made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[str, tuple[int, int]] = {}

    def read(self, market: str) -> Known:
        """Return what is kept of a market; nothing, if there is no file or it is broken."""
        try:
            with self._path(market).open("rb") as file:
                self._seen[market] = _stamp(os.fstat(file.fileno()))
                table = pq.read_table(file, page_checksum_verification=True)
            return _known(table)
        except FileNotFoundError:
            return Known()
        except (
            pa.ArrowException,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
        ) as error:
            log.warning("a schedule on the disk is not readable: IB is asked again", error=error)
            return Known()

    def is_newer(self, market: str) -> bool:
        """Whether the file of a market is not the one that was read last."""
        try:
            found = _stamp(self._path(market).stat())
        except OSError:
            return False
        return self._seen.get(market) != found

    def put(self, market: str, known: Known) -> None:
        """Add what is known of a market to its file; two processes may do so at once."""
        disk.make_folder(self.folder)
        with self._locked():
            whole = self.read(market)
            whole.add(known.asked, (each for rows in known.sessions.values() for each in rows))
            sink = io.BytesIO()
            pq.write_table(_table(whole), sink, compression="zstd", write_page_checksum=True)
            tmp = self.folder / ".tmp"
            disk.make_folder(tmp)
            disk.replace(self._path(market), sink.getvalue(), tmp=tmp)

    def markets(self) -> list[str]:
        """Return the names of the markets that are kept."""
        return sorted(path.stem for path in self.folder.glob("*.parquet"))

    def _path(self, market: str) -> Path:
        return self.folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', market)}.parquet"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _table(known: Known) -> pa.Table:
    rows = sorted(each for held in known.sessions.values() for each in held)
    columns = {
        "ref_date": [each.ref_date for each in rows],
        "start": [each.start for each in rows],
        "end": [each.end for each in rows],
    }
    asked = json.dumps(_spans(known.asked))
    words = {"version": VERSION, "asked": asked, "digest": _digest(asked, rows)}
    return pa.table(columns, schema=SCHEMA.with_metadata(words))


def _digest(asked: str, rows: Iterable[Session]) -> str:
    """Return what a damaged file has not: hours that are a little wrong are worse than none."""
    text = [asked, *(f"{each.ref_date} {each.start:%F %T} {each.end:%F %T}" for each in rows)]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def _stamp(file: os.stat_result) -> tuple[int, int]:
    return file.st_mtime_ns, file.st_ino


def _known(table: pa.Table) -> Known:
    words = table.schema.metadata or {}
    if words.get(b"version") != VERSION.encode():
        raise ValueError("another version of the file")
    rows = [Session(r["start"], r["end"], r["ref_date"]) for r in table.to_pylist()]
    if words[b"digest"].decode() != _digest(words[b"asked"].decode(), rows):
        raise ValueError("the file is damaged")
    asked = {
        day
        for first, last in json.loads(words[b"asked"])
        for day in days(date.fromisoformat(first), date.fromisoformat(last))
    }
    found = Known()
    found.add(asked, rows)
    return found


def _spans(asked: Iterable[date]) -> list[tuple[str, str]]:
    """Return the first and last day of each unbroken run."""
    runs: list[list[date]] = []
    for day in sorted(asked):
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return [(first.isoformat(), last.isoformat()) for first, last in runs]


def days(start: date, end: date) -> list[date]:
    """Return the days from `start` to `end`, both included."""
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]
