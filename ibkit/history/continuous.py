"""One long series of a future, stitched from its contracts: raw, or with the gaps closed. Pure.

A contract is left at a roll for the next one, which trades at another price. The gap between the
two is measured at the last bar that both have before the roll, in the last session before it; so
never on the expiry day, when the old contract's last price is its settlement (of equity indices,
the morning's auction) and the gap has any sign. Not here: when contracts roll
(`ibkit.contracts.rolls`), and fetching them (`ibkit.history.stitching`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from ibkit.errors import MissingContractError, NoCommonBarError, StitchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date, datetime

    from ibkit.contracts.hours import Session

Adjust = Literal["difference", "ratio"] | None

PRICES: Final = ("open", "high", "low", "close", "wap")
LATE: Final = pd.Timedelta(days=6)  # the longest pause of an exchange; more is a hole
ROLLS: Final = {
    "day": "datetime64[us]",
    "old": "string",
    "new": "string",
    "measured": "datetime64[us, UTC]",
    "close_old": "float64",
    "close_new": "float64",
    "gap": "float64",
    "ratio": "float64",
    "reason": "string",
}


@dataclass(frozen=True, slots=True)
class Roll:
    """One change of contracts.

    Attributes
    ----------
    day, before : date
        The first trade date in the new contract, and the one before it.
    since, at : datetime
        When the sessions of `before` and of `day` begin.
    old, new : str
        The contracts' months: ``"202612"``.
    reason : str
        Of the roll calendar: "days", "volume", "last safe day".
    fetch : str
        The call that fetches both contracts' bars of `before`, for messages.
    """

    day: date
    before: date
    since: datetime
    at: datetime
    old: str
    new: str
    reason: str = ""
    fetch: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Continuous:
    """A continuous future.

    Attributes
    ----------
    root : str
        The product: ``"ES"``.
    bar_size : str
        In IB's words.
    adjust : {"difference", "ratio", None}
        How gaps were closed; None: they are in the series.
    frame : DataFrame
        Bars as `History.bars` gives them, and a column ``contract``: the month each bar is of.
        The newest contract's prices are the real ones; ``volume`` and ``count`` are never changed.
    rolls : DataFrame
        One row a roll, ascending: ``day`` (the first in the new contract), ``old new``,
        ``measured`` (the start of the last bar that both have before it), ``close_old close_new``,
        ``gap`` (new less old: what is added to all earlier prices) and ``ratio`` (new over old),
        ``reason``.
    missing : tuple of (str, date)
        The contract and the trade date of each session in which it is the front month and has no
        bar at all. ``frame.attrs["missing_sessions"]`` has their number by contract, if any are.
    """

    root: str
    bar_size: str
    adjust: Adjust
    frame: pd.DataFrame
    rolls: pd.DataFrame
    missing: tuple[tuple[str, date], ...] = ()

    def __repr__(self) -> str:
        return f"<Continuous {self._words()}>"

    def _repr_html_(self) -> str:
        table = self.rolls.to_html(index=False, border=0)
        return f"<p><b>Continuous {self._words()}</b></p>{table}"

    def _words(self) -> str:
        how = {"difference": "adjusted by difference", "ratio": "adjusted by ratio"}
        index = self.frame.index
        contracts = self.frame["contract"].nunique()
        words = [
            f"FUT:{self.root} {self.bar_size}",
            f"{index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}",
            f"{len(index):,} bars of {contracts} contract{'s' * (contracts > 1)}",
            how.get(self.adjust or "", "raw"),
        ]
        if self.missing:
            words.append(f"{len(self.missing):,} sessions without a bar")
        return ", ".join(words)


def stitch(
    bars: Mapping[str, pd.DataFrame], rolls: Sequence[Roll], *, adjust: Adjust = "difference"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the stitched bars and the table of rolls; see `Continuous`.

    Parameters
    ----------
    bars : mapping of str to DataFrame
        Of each contract by its month, index ``ts``; at least from the last session before it
        becomes the front month to the last session in which it is.
    rolls : sequence of Roll
        Ascending, each from the contract of the one before. Without any, the one contract of
        `bars`.
    adjust : {"difference", "ratio", None}
        Add each gap to all prices before it: points of profit are right, prices may fall below
        zero. Or multiply by the ratio: returns are right. None: raw.

    Raises
    ------
    MissingContractError
        A contract has no bar while it is the front month.
    NoCommonBarError
        Two contracts have no bar in common in the session before the roll; not if raw.
    StitchError
        A ratio of prices that are not above zero.
    """
    if adjust not in {"difference", "ratio", None}:
        raise StitchError(
            f"adjust={adjust!r} is no way to join contracts", "say 'difference', 'ratio' or None"
        )
    months = [rolls[0].old, *(roll.new for roll in rolls)] if rolls else list(bars)[:1]
    edges = [None, *(roll.at for roll in rolls), None]
    pieces = [
        _piece(bars, month, start, end)
        for month, (start, end) in zip(months, pairwise(edges), strict=True)
    ]
    if rolls and pieces[-1].empty:  # the day of the roll has come and has no whole bar yet
        rolls, pieces, months = rolls[:-1], pieces[:-1], months[:-1]
    for month, piece in zip(months, pieces, strict=True):
        if piece.empty:
            raise MissingContractError(
                f"{month} has no bar while it is the front month", "fetch it, or roll otherwise"
            )
    for roll, piece in zip(rolls, pieces[1:], strict=True):
        if piece.index[0] - roll.at > LATE:
            raise MissingContractError(
                f"{roll.new} is the front month from {roll.day} on, and its first bar is of "
                f"{piece.index[0]:%Y-%m-%d}",
                "fetch the hole, or roll later",
            )
    measured = [measure(bars[roll.old], bars[roll.new], roll, needed=adjust) for roll in rolls]
    if adjust == "ratio":
        _check_positive(months, pieces)
    changed = [
        _changed(piece, measured[at:], adjust) if adjust else piece
        for at, piece in enumerate(pieces)
    ]
    frame = pd.concat(
        [piece.assign(contract=month) for month, piece in zip(months, changed, strict=True)]
    )
    return frame.astype({"contract": "string"}), table_of(rolls, measured)


def without_bars(
    frame: pd.DataFrame, month: str, sessions: Iterable[Session], until: datetime
) -> list[tuple[str, date]]:
    """Return a contract's sessions, over at `until`, in which a stitched series has no bar."""
    ts = frame.index
    return [
        (month, each.ref_date)
        for each in sessions
        if each.end <= until and ts.searchsorted(each.start) == ts.searchsorted(each.end)
    ]


def _piece(
    bars: Mapping[str, pd.DataFrame], month: str, start: datetime | None, end: datetime | None
) -> pd.DataFrame:
    if month not in bars:
        raise MissingContractError(f"there are no bars of {month}", "fetch them, or import them")
    index = bars[month].index
    inside = np.ones(len(index), dtype=bool)
    if start is not None:
        inside &= index >= start
    if end is not None:
        inside &= index < end
    return bars[month][inside]


def measure(
    old: pd.DataFrame, new: pd.DataFrame, roll: Roll, *, needed: Any = True
) -> tuple[pd.Timestamp, float, float]:
    """Return the last bar in common before a roll, and both closes; NaN if there need be none.

    Raises
    ------
    NoCommonBarError
        There is none in the last session before the roll.
    """
    common = old.index.intersection(new.index)
    common = common[(common >= roll.since) & (common < roll.at)]
    common = common[old.loc[common, "close"].notna() & new.loc[common, "close"].notna()]
    if len(common):
        at = common[-1]
        return at, float(old.loc[at, "close"]), float(new.loc[at, "close"])
    if not needed:
        return pd.NaT, float("nan"), float("nan")  # type: ignore[return-value] # NaT is one
    raise NoCommonBarError(
        f"{roll.old} and {roll.new} have no bar in common on the last session before they roll "
        f"({roll.day}): {_last_words(old, roll.old)}, {_last_words(new, roll.new)}",
        f"{roll.fetch or 'fetch the hole'}; or roll on another day, or join them with adjust=None",
    )


def _last_words(bars: pd.DataFrame, month: str) -> str:
    if bars.empty:
        return f"{month} has none at all"
    return (
        f"{month} has them from {bars.index[0]:%Y-%m-%d %H:%M} to {bars.index[-1]:%Y-%m-%d %H:%M}"
    )


def _check_positive(months: Sequence[str], pieces: Sequence[pd.DataFrame]) -> None:
    for month, piece in zip(months, pieces, strict=True):
        if (piece[["low", "close"]] <= 0).any(axis=None):
            at = piece.index[(piece[["low", "close"]] <= 0).any(axis=1)][0]
            raise StitchError(
                f"{month} has a price of zero or below on {at:%Y-%m-%d}, and a ratio of such "
                "prices turns the series upside down",
                "adjust='difference' is right for any price",
            )


def _changed(
    piece: pd.DataFrame, later: Sequence[tuple[pd.Timestamp, float, float]], adjust: Adjust
) -> pd.DataFrame:
    """Return a piece on the level of the newest contract."""
    names = [name for name in PRICES if name in piece]
    if adjust == "difference":
        return piece.assign(**(piece[names] + sum(new - old for _, old, new in later)))
    by = float(np.prod([new / old for _, old, new in later]))
    return piece.assign(**(piece[names] * by))


def table_of(
    rolls: Sequence[Roll], measured: Sequence[tuple[pd.Timestamp, float, float]]
) -> pd.DataFrame:
    """Return rolls and what was measured as a frame."""
    rows = [
        {
            "day": roll.day,
            "old": roll.old,
            "new": roll.new,
            "measured": at,
            "close_old": old,
            "close_new": new,
            "gap": new - old,
            "ratio": new / old if old else float("nan"),
            "reason": roll.reason,
        }
        for roll, (at, old, new) in zip(rolls, measured, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=list(ROLLS))
    frame["measured"] = pd.to_datetime(frame["measured"], utc=True)
    return frame.astype(ROLLS)
