"""Where everything lies: the folders of a store, and the periods that files hold.

Pure: no file is touched here. `data/` holds finished Parquet files and nothing else, since any
other file inside the tree breaks one reader or another; all the rest is in the sibling `meta/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from ibkit.schema import Dataset, Grain

FORMAT: Final = 1
SLUG: Final = re.compile(r"[A-Z]+(-[A-Za-z0-9._%]+){3,7}|ACCOUNT-[A-Za-z0-9]+")
PART: Final = "part-0.parquet"
UNITS: Final[dict[Grain, str]] = {"date": "D", "month": "M", "year": "Y"}


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store; `root` is its folder."""

    root: Path

    @property
    def marker(self) -> Path:
        """The file that says what kind of store this is."""
        return self.root / "store.json"

    def data(self, dataset: Dataset) -> Path:
        """Return the folder that any Parquet reader may be pointed at."""
        return self.root / "data" / dataset.name

    def folder(self, dataset: Dataset, slug: str) -> Path:
        """Return the folder of one instrument."""
        return self.data(dataset) / f"{dataset.partition}={slug}"

    def part(self, dataset: Dataset, slug: str, label: str) -> Path:
        """Return the one file of one instrument and period."""
        return self.folder(dataset, slug) / label / PART

    def meta(self, dataset: Dataset) -> Path:
        """Return the folder of everything about a dataset that is not its rows."""
        return self.root / "meta" / dataset.name

    def lock(self, dataset: Dataset, slug: str) -> Path:
        """Return the file that a writer of one instrument holds."""
        return self.meta(dataset) / "lock" / slug

    def journal(self, dataset: Dataset, slug: str) -> Path:
        """Return the commit log of one instrument."""
        return self.journals(dataset) / f"{slug}.jsonl"

    def journals(self, dataset: Dataset) -> Path:
        """Return the folder of a dataset's commit logs."""
        return self.meta(dataset) / "journal"

    def history(self, dataset: Dataset, slug: str, label: str, commit_id: int) -> Path:
        """Return where the file that `commit_id` wrote is kept once it is replaced."""
        return self.meta(dataset) / "history" / slug / label / f"{commit_id}.parquet"

    def wal(self, dataset: Dataset) -> Path:
        """Return the folder of the write-ahead segments of live streams."""
        return self.meta(dataset) / "wal"

    def quarantine(self, dataset: Dataset) -> Path:
        """Return the folder of rows and files that were set aside."""
        return self.meta(dataset) / "quarantine"

    def tmp(self, dataset: Dataset) -> Path:
        """Return the folder of files that are being written."""
        return self.meta(dataset) / "tmp"


def is_slug(name: str) -> bool:
    """Whether `name` is one that `ibkit.naming.slug` gives; anything else is no folder of ours.

    >>> is_slug("STK-AAPL-SMART-USD"), is_slug("AAPL"), is_slug("../x")
    (True, False, False)
    """
    return SLUG.fullmatch(name) is not None


def codes(ts: npt.NDArray[np.int64], grain: Grain) -> npt.NDArray[np.int64]:
    """Return the number of the period that each microsecond since 1970 lies in.

    >>> codes(np.array([0, 86_400_000_000 * 31]), "month").tolist()
    [0, 1]
    """
    if grain == "all":
        return np.zeros(len(ts), np.int64)
    return ts.view("M8[us]").astype(f"M8[{UNITS[grain]}]").view(np.int64)


@lru_cache(maxsize=4096)
def label(code: int, grain: Grain) -> str:
    """Return the folder's name of a period; a dataset of grain ``"all"`` has none.

    >>> label(650, "month")
    'month=2024-03'
    """
    return "" if grain == "all" else f"{grain}={np.array(code).view(f'M8[{UNITS[grain]}]')}"


@lru_cache(maxsize=4096)
def code(name: str, grain: Grain) -> int | None:
    """Return the number of the period that a folder is named for; None if it is none of ours."""
    head, equals, tail = name.partition("=")
    if head != grain or not equals:
        return None
    try:
        found = int(np.array(tail, f"M8[{UNITS[grain]}]").astype(np.int64))
    except ValueError:
        return None
    return found if label(found, grain) == name else None


@lru_cache(maxsize=4096)
def bounds(code: int, grain: Grain) -> tuple[int, int]:
    """Return the first microsecond of a period, and the first after it.

    >>> bounds(0, "date")
    (0, 86400000000)
    """
    if grain == "all":
        limits = np.iinfo(np.int64)
        return int(limits.min), int(limits.max)
    unit = UNITS[grain]
    edges = np.array([code, code + 1]).view(f"M8[{unit}]").astype("M8[us]").view(np.int64)
    return int(edges[0]), int(edges[1])
