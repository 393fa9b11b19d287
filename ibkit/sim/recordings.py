"""Recorded bars, wherever they lie: a store of ours, or a folder of CSV and Parquet files.

Gives arrays by instrument and bar size. Not here: serving them as a market (`ibkit.sim.replay`).
Files of a folder have columns ts, symbol, open, high, low, close, volume (wap, count if known);
files of ticks have ts, symbol and price, size, or bid, ask, bid_size, ask_size.
`ts` without a zone is UTC; `symbol` is a shorthand or a slug.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ibkit.errors import StoreAccessError
from ibkit.schema import BAR_SIZES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from ibkit.sim.ticktapes import Ticks

COLUMNS: Final = ("open", "high", "low", "close", "volume", "wap", "count")
NEEDED: Final = ("ts", "symbol", "open", "high", "low", "close")
# what tells ticks from bars; bars with a bid or a price as well stay bars
SIGNS: Final = {"trades": {"price"}, "quotes": {"bid", "ask"}}
MISSING: Final = -1.0


@dataclass(frozen=True, slots=True)
class Columns:
    """Bars as they were recorded; `ts` in epoch seconds, -1 where a value is missing."""

    ts: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    wap: NDArray[np.float64]
    count: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(frozen=True, slots=True)
class Recording:
    """One series: what it is, and how to read it."""

    instrument: str
    bar_size: str
    what: str
    use_rth: bool
    read: Callable[[], Columns]


def recordings(source: Path | str) -> tuple[list[Recording], list[Ticks]]:
    """Return the bars and the ticks of a store's root or of a folder.

    Raises
    ------
    StoreAccessError
        There is no such folder, or nothing in it that could be served.
    """
    root = Path(source).expanduser()
    if not root.is_dir():
        raise StoreAccessError(root, "there is no such folder to replay")
    from ibkit.sim.ticktapes import ticks_of_store

    if (root / "data").is_dir():
        found, ticks = list(_of_store(root)), list(ticks_of_store(root))
    else:
        found, ticks = _of_folder(root)
    if not found and not any(one.kind == "trades" for one in ticks):
        raise StoreAccessError(root, "it holds no bars or trades that could be replayed")
    return found, ticks


def _of_store(root: Path) -> Iterator[Recording]:
    from ibkit.store import Store

    store = Store(root)
    for row in store.coverage().itertuples():
        size = _SIZES.get(str(row.dataset))
        if size is not None and row.rows:
            name, what, rth = str(row.instrument), str(row.what_to_show), bool(row.use_rth)
            key = {"what_to_show": what, "use_rth": rth}
            yield Recording(name, size, what, rth, _reader(store, name, size, key))


_SIZES: Final = {size.dataset: size.ib for size in BAR_SIZES.values()}


def _reader(store: Any, instrument: str, size: str, key: dict[str, Any]) -> Callable[[], Columns]:
    def read() -> Columns:
        return _columns(store.bars(instrument, size, **key).reset_index())

    return read


def _of_folder(root: Path) -> tuple[list[Recording], list[Ticks]]:
    """Sort the files by what they hold: bars, trades (a price), quotes (bid and ask)."""
    from ibkit.sim.ticktapes import ticks_of_frames

    files = sorted(
        path
        for path in root.rglob("*")
        if path.name.endswith((".csv", ".csv.gz", ".parquet")) and path.is_file()
    )
    kinds: dict[str, list[Any]] = {"bars": [], "trades": [], "quotes": []}
    for path in files:
        kind, frame = _load(path)
        kinds[kind].append(frame)
    ticks = [
        *ticks_of_frames(kinds["trades"], "trades"),
        *ticks_of_frames(kinds["quotes"], "quotes"),
    ]
    return list(_bars_of(kinds["bars"])), ticks


def _bars_of(frames: list[Any]) -> Iterator[Recording]:
    import pandas as pd

    if not frames:
        return
    for symbol, rows in pd.concat(frames).groupby("symbol", sort=True):
        columns = _columns(rows.drop_duplicates("ts").sort_values("ts"))
        yield Recording(
            str(symbol), guess_size(columns.ts), "TRADES", use_rth=True, read=_constant(columns)
        )


def _constant(columns: Columns) -> Callable[[], Columns]:
    return lambda: columns


def _load(path: Path) -> tuple[str, Any]:
    """Return what a file holds, and its frame with times in UTC."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise StoreAccessError(path, f"it cannot be read as bars: {error}") from error
    frame = frame.rename(columns=str.lower)
    whole = set(NEEDED) <= set(frame)
    ticks = [kind for kind, signs in SIGNS.items() if signs <= set(frame) and not whole]
    kind = ticks[0] if ticks else "bars"
    needed = ("ts", "symbol") if kind in SIGNS else NEEDED
    lacking = [name for name in needed if name not in frame]
    if lacking:
        raise StoreAccessError(path, f"it has no column {', '.join(lacking)}")
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True)
    return kind, frame


def _columns(frame: Any) -> Columns:
    """Return a frame's columns as arrays."""
    ts = frame["ts"].astype("datetime64[us, UTC]").array.asi8 // 1_000_000
    values = {
        name: frame[name].to_numpy(dtype=float, na_value=np.nan)
        if name in frame
        else np.full(len(frame), np.nan)
        for name in COLUMNS
    }
    filled = {name: np.where(np.isnan(each), MISSING, each) for name, each in values.items()}
    return Columns(ts.astype(np.int64), **filled)


def guess_size(ts: NDArray[np.int64]) -> str:
    """Return the bar size that the times' usual distance stands for.

    >>> guess_size(np.array([0, 60, 120, 180, 600]))
    '1 min'
    """
    gaps = np.diff(ts)
    if not len(gaps):
        return "1 day"
    usual, often = np.unique(gaps, return_counts=True)
    gap = int(usual[often.argmax()])
    fitting = [size for size in BAR_SIZES.values() if size.seconds <= gap]
    return max(fitting, key=lambda size: size.seconds).ib if fitting else "1 secs"
