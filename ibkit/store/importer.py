"""Bars from elsewhere: a file or a frame with other people's column names becomes a frame of ours.

Not here: checks of the rows; they are the same for every write.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ibkit.errors import InvalidRowsError, StoreAccessError
from ibkit.store import disk
from ibkit.store.frames import BAR_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

OFFSET: Final = r":\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)$"  # how an ISO time with a zone ends
# what others call the start of a bar
TIMES: Final = ("ts", "date", "datetime", "time", "timestamp")


def load(
    data: pd.DataFrame | Path | str, *, columns: Mapping[str, str] | None, zone: str | None
) -> tuple[pd.DataFrame, str]:
    """Return the bars with our names and a zone, and the word for where they come from."""
    if isinstance(data, pd.DataFrame):
        frame, origin = data, "import"
    else:
        path = Path(data)
        frame, origin = _read(path), f"import:{path.name}"
    renamed = _renamed(_flat(frame), columns)
    renamed["ts"] = _times(renamed["ts"], zone)
    return renamed, origin


def _read(path: Path) -> pd.DataFrame:
    try:
        with disk.access(path, "the file to import"):
            if path.suffix == ".parquet":
                frame: pd.DataFrame = pq.read_table(path).to_pandas()
                return frame
            return pd.read_csv(path)
    except (pa.ArrowInvalid, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise StoreAccessError(path, f"it is no CSV or Parquet file: {error}") from error


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its index as a column, unless it only counts rows."""
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    name = "ts" if frame.index.name is None else str(frame.index.name)
    flat: pd.DataFrame = frame.rename_axis(index=name).reset_index()
    return flat


def _renamed(frame: pd.DataFrame, columns: Mapping[str, str] | None) -> pd.DataFrame:
    names = dict(columns) if columns is not None else _guessed(frame)
    missing = [name for name in names if name not in frame.columns]
    wanted = [name for name in ("ts", "open", "high", "low", "close") if name not in names.values()]
    have = ", ".join(map(str, frame.columns))
    if missing:
        words = f"columns= names it, the data has {have}"
        raise InvalidRowsError("bars", [(f"no column {missing[0]!r}", len(frame), words)])
    if wanted:
        words = f"say with columns= which of {have} it is"
        raise InvalidRowsError("bars", [(f"no column for {wanted[0]!r}", len(frame), words)])
    return frame[list(names)].rename(columns=names)


def _guessed(frame: pd.DataFrame) -> dict[Any, str]:
    """Return the columns whose names differ from ours by case only; the first time-like is ts."""
    lower = {str(name).lower(): name for name in frame.columns}
    times = [lower[name] for name in TIMES if name in lower]
    fields = {lower[name]: name for name in BAR_FIELDS if name in lower}
    return {**dict.fromkeys(times[:1], "ts"), **fields}


def _times(column: pd.Series[Any], zone: str | None) -> pd.Series[Any]:
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
        times = times.dt.tz_localize(zone)
    utc: pd.Series[Any] = times.dt.tz_convert("UTC").dt.as_unit("us")
    return utc


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
