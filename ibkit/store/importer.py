"""Bars from elsewhere: a file or a frame with other people's column names becomes a frame of ours.

Not here: checks of the rows; they are the same for every write.
"""

from __future__ import annotations

import math
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ibkit.errors import InvalidRowsError, StoreAccessError
from ibkit.store import disk
from ibkit.store.frames import BAR_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized

    from ibkit.store.journal import Commit

F = TypeVar("F", bound="Sized")

OFFSET: Final = r":\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)$"  # how an ISO time with a zone ends
CHUNK: Final = 1_000_000  # rows in memory at a time
DAY_S: Final = 86_400
# what a column of theirs may become
MAPPED: Final = (*BAR_FIELDS, "what_to_show", "use_rth", "delayed", "source", "con_id")
# what others call the start of a bar
TIMES: Final = ("ts", "date", "datetime", "time", "timestamp")


@dataclass(frozen=True, slots=True)
class Source:
    """What is imported, and how it is to be understood.

    Attributes
    ----------
    data : DataFrame or Path
        The bars, or the file they are in.
    columns : mapping or None
        Their names to ours.
    zone : str or None
        Of times that have none.
    shift_s : int
        Seconds from their label of a bar back to its start.
    volume_unit : float
        Units of ours in one of theirs.
    """

    data: pd.DataFrame | Path
    columns: Mapping[str, str] | None = None
    zone: str | None = None
    shift_s: int = 0
    volume_unit: float = 1.0

    @property
    def origin(self) -> str:
        """The word for where the bars come from."""
        return f"import:{self.data.name}" if isinstance(self.data, Path) else "import"

    def chunks(self, rows: int = CHUNK) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield the bars as ours, with the number of the first row of each chunk.

        Raises
        ------
        InvalidRowsError
            A column is missing, or holds no times; rows count from the chunk's first.
        StoreAccessError
            The file cannot be read.
        """
        first = 0
        for frame in self._raw(rows):
            with counted_from(first):
                ours = self._ours(flat(frame))
            yield first, ours
            first += len(frame)

    def _raw(self, rows: int) -> Iterator[pd.DataFrame]:
        if isinstance(self.data, pd.DataFrame):
            yield self.data
            return
        try:
            with disk.access(self.data, "the file to import"):
                yield from _read(self.data, rows)
        except (pa.ArrowInvalid, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise StoreAccessError(self.data, f"it is no CSV or Parquet file: {error}") from error

    def _ours(self, frame: pd.DataFrame) -> pd.DataFrame:
        renamed = _renamed(frame, self.columns)
        moments = times(renamed["ts"], self.zone)
        renamed["ts"] = moments - pd.Timedelta(seconds=self.shift_s) if self.shift_s else moments
        if self.volume_unit != 1 and "volume" in renamed:
            renamed["volume"] = renamed["volume"] * self.volume_unit
        return renamed


def source(
    data: pd.DataFrame | Path | str,
    seconds: int,
    *,
    columns: Mapping[str, str] | None,
    zone: str | None,
    label: Literal["start", "end"],
    volume_unit: float,
) -> Source:
    """Return a source, its options checked; `seconds` is the length of a bar.

    Raises
    ------
    ValueError
        An option makes no sense.
    """
    if label not in ("start", "end"):
        raise ValueError(f"a bar is labelled by its 'start' or its 'end', not by {label!r}")
    if label == "end" and seconds >= DAY_S:
        raise ValueError("bars of a day and more are dated by their session, not by its end")
    if not (volume_unit > 0 and math.isfinite(volume_unit)):
        raise ValueError(f"the unit of the volume is a number above 0, not {volume_unit!r}")
    path = data if isinstance(data, pd.DataFrame) else Path(data)
    return Source(path, columns, zone, seconds if label == "end" else 0, volume_unit)


@contextmanager
def counted_from(first: int) -> Iterator[None]:
    """Say in an error of the block where its row 0 is in the file."""
    try:
        yield
    except InvalidRowsError as error:
        if not first:
            raise
        told = [
            (what, n, f"counted from row {first:,}: {words}") for what, n, words in error.failures
        ]
        raise InvalidRowsError(error.dataset, told) from error


def run(
    found: Source,
    check: Callable[[pd.DataFrame], None],
    put: Callable[[pd.DataFrame], Commit],
    *,
    progress: bool,
) -> Commit:
    """Put every chunk, after all were checked; return one commit that counts them all."""
    chunks = found.chunks()
    kept = list(islice(chunks, 2))
    if not any(len(frame) for _, frame in kept):
        raise InvalidRowsError("bars", [("there are no rows", 0, "nothing but a head")])
    if len(kept) > 1:  # of a single one, writing is the check
        with closing(shown(found.chunks(), "checked", on=progress)) as checking:
            for first, frame in checking:
                with counted_from(first):
                    check(frame)
        chunks = found.chunks()
        kept = []
    commits = []
    with closing(shown(chain(kept, chunks), "written", on=progress)) as writing:
        for first, frame in writing:
            with counted_from(first):
                commits.append(put(frame))
    return _sum(commits)


def shown(
    chunks: Iterable[tuple[int, F]], what: str, *, on: bool
) -> Generator[tuple[int, F], None, None]:
    """Yield the chunks, and show how many rows went by; close it to end the line."""
    from tqdm.auto import tqdm

    with tqdm(unit=" rows", unit_scale=True, desc=what, disable=not on) as bar:
        for first, frame in chunks:
            yield first, frame
            bar.update(len(frame))


def _sum(commits: Sequence[Commit]) -> Commit:
    told = [one for one in commits if one.operation != "none"] or [*commits]
    counts = ("rows_in", "rows_added", "rows_changed", "rows_removed", "rows_set_aside")
    totals = {name: sum(getattr(one, name) for one in commits) for name in counts}
    return replace(told[-1], **totals)


def _read(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow
            for batch in file.iter_batches(rows):
                yield (
                    pa.Table.from_batches([batch])
                    .replace_schema_metadata(names.metadata)
                    .to_pandas()
                )
        return
    if path.suffix in (".arrow", ".feather"):
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
            for first in range(0, max(table.num_rows, 1), rows):
                yield table.slice(first, rows).to_pandas()
        return
    with pd.read_csv(path, chunksize=rows) as reader:
        yield from reader


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its index as a column, unless it only counts rows."""
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    name = "ts" if frame.index.name is None else str(frame.index.name)
    flat: pd.DataFrame = frame.rename_axis(index=name).reset_index()
    return flat


def _renamed(frame: pd.DataFrame, columns: Mapping[str, str] | None) -> pd.DataFrame:
    if columns is None:
        names = _guessed(frame)
    else:
        names = checked_map(columns, list(frame.columns), [*MAPPED, "ts"], "bars")
    wanted = [name for name in ("ts", "open", "high", "low", "close") if name not in names.values()]
    have = ", ".join(map(str, frame.columns))
    if wanted:
        words = f"say with columns= which of {have} it is"
        raise InvalidRowsError("bars", [(f"no column for {', '.join(wanted)}", len(frame), words)])
    return frame[list(names)].rename(columns=names)


def checked_map(
    columns: Mapping[Any, str], there: Sequence[Any], known: Sequence[str], dataset: str
) -> dict[Any, str]:
    """Return a map of their columns to ours.

    Raises
    ------
    InvalidRowsError
        It names a column that the data do not have, or one that is none of ours, or one twice.
    """
    have, ours = ", ".join(map(str, there)), list(columns.values())
    failures = [
        (f"no column {name!r}{_meant(name, there)}", 0, f"columns= names it, the data has {have}")
        for name in columns
        if name not in there
    ]
    failures += [
        (f"{theirs!r} cannot become {name!r}{_meant(name, known)}", 0, f"ours: {', '.join(known)}")
        for theirs, name in columns.items()
        if name not in known
    ]
    failures += [
        (f"{name!r} is named twice", 0, ", ".join(f"{one}={to}" for one, to in columns.items()))
        for name in dict.fromkeys(ours)
        if ours.count(name) > 1
    ]
    if failures:
        raise InvalidRowsError(dataset, failures)
    return dict(columns)


def _meant(name: Any, known: Sequence[Any]) -> str:
    near = get_close_matches(str(name), [str(one) for one in known], n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _guessed(frame: pd.DataFrame) -> dict[Any, str]:
    """Return the columns whose names differ from ours by case only; the first time-like is ts."""
    lower = {str(name).lower(): name for name in frame.columns}
    times = [lower[name] for name in TIMES if name in lower]
    fields = {lower[name]: name for name in BAR_FIELDS if name in lower}
    return {**dict.fromkeys(times[:1], "ts"), **fields}


def times(column: pd.Series[Any], zone: str | None) -> pd.Series[Any]:
    """Return instants in UTC; texts are read as ISO dates."""
    try:
        times = _parsed(column)
    except (ValueError, TypeError) as error:
        raise _no_times(column, f"no dates: {error}") from error
    if times.dt.tz is None:
        if zone is None:
            raise _no_times(
                column, "no time zone; say theirs with zone=, 'America/New_York' or 'UTC'"
            )
        times = _localized(times, column, zone)
    utc: pd.Series[Any] = times.dt.tz_convert("UTC").dt.as_unit("us")
    return utc


def _localized(times: pd.Series[Any], column: pd.Series[Any], zone: str) -> pd.Series[Any]:
    """Return times of a zone; the hour that autumn has twice is told apart by its order."""
    try:
        known = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _no_times(column, f"there is no time zone {zone!r}") from error
    try:
        found: pd.Series[Any] = times.dt.tz_localize(known)
    except ValueError:
        pass
    else:
        return found
    try:
        found = times.dt.tz_localize(known, ambiguous="infer")
    except ValueError as error:
        words = f"not in {zone}: {error}; give them with their offset, or in UTC"
        raise _no_times(column, words) from error
    return found


def _parsed(column: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column
    if pd.api.types.is_numeric_dtype(column):
        raise TypeError("these are numbers; make times of them first (pd.to_datetime(…, unit=…))")
    texts = column.astype(str)
    zoned = texts.str.contains(OFFSET)
    if zoned.any() and not zoned.all():
        raise ValueError("some have a zone and some have none")
    times: pd.Series[Any] = pd.to_datetime(texts, format="ISO8601", utc=bool(zoned.all()))
    return times


def _no_times(column: pd.Series[Any], words: str) -> InvalidRowsError:
    sample = ", ".join(map(str, column.head(3)))
    return InvalidRowsError("bars", [("column ts", len(column), f"{words}; such as {sample}")])
