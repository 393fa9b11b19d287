"""Bars of stocks in today's shares and without dividends, made on reading; never stored.

IB gives TRADES in the shares of the day on which it answers, dividends left in. Rows that were
stored before a split are therefore in old shares and rows stored after it in new ones, whatever
day they are of: what a split changes is decided by the row's commit, what a dividend changes by
the row's time. Not here: where factors come from (`ibkit.history.adjust`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibkit.errors import AdjustedBarsError, NotAdjustableError, UnknownFactorsError
from ibkit.store.files import microseconds
from ibkit.store.instruments import contract_of
from ibkit.store.resample import clock_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibkit.schema import BarSize

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]

Adjusted = bool | Literal["splits", "dividends"]

ADJUSTED_LAST: Final = "ADJUSTED_LAST"
PRICES: Final = frozenset({"open", "high", "low", "close", "wap"})
SPAN: Final = "span"
SPLIT: Final = "split"
ASK_IB: Final = "kit.history.factors({0!r}) derives them from IB's answers and keeps them"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that prices before it are adjusted for.

    Attributes
    ----------
    at : int
        The first instant in new terms, in microseconds since 1970.
    since : int
        Of a split whose day is not known exactly: the first instant at which it may have been;
        else `at`.
    factor, ratio : float
        What earlier prices, and earlier volumes, are multiplied by.
    """

    at: int
    since: int
    kind: str
    factor: float
    ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class Factors:
    """What is known of one instrument.

    Attributes
    ----------
    steps : tuple of Step
        Ascending.
    first, last : date
        The first and the last trade date that were looked at.
    basis : str
        Where that is from: "ADJUSTED_LAST", "events".
    doubts : str
        Where the sources disagree, in words.
    """

    instrument: str
    steps: tuple[Step, ...]
    first: date
    last: date
    basis: str = ""
    doubts: str = ""
    zone: str = field(default="UTC", compare=False)


def how(adjusted: Adjusted) -> str:
    """Return "", "splits" or "dividends".

    Raises
    ------
    ValueError
        There is no such adjustment.
    """
    if adjusted is False:
        return ""
    if adjusted is True:
        return "dividends"
    if not isinstance(adjusted, str) or adjusted not in {"splits", "dividends"}:
        raise ValueError(
            f"adjusted={adjusted!r} is none of False (as stored), 'splits' (in today's shares), "
            "True or 'dividends' (in today's shares, without dividends)"
        )
    return adjusted


def refuse(what_to_show: str) -> None:
    """Raise if bars of this kind have no place in a store."""
    if what_to_show == ADJUSTED_LAST:
        raise AdjustedBarsError


def refuse_rows(rows: pa.Table, said: Mapping[str, Any]) -> None:
    """Raise if any of `rows` is of ADJUSTED_LAST; `said` are columns with one value."""
    if "what_to_show" in said:
        refuse(said["what_to_show"])
    elif "what_to_show" in rows.column_names and _has(rows["what_to_show"], ADJUSTED_LAST):
        raise AdjustedBarsError


def _has(column: pa.ChunkedArray, word: str) -> bool:
    return bool(pc.any(pc.equal(column, word)).as_py())


def check_adjustable(slug: str, size: BarSize, source: BarSize | None, what_to_show: str) -> None:
    """Raise if bars of this kind are not ones that dividends and splits change.

    Raises
    ------
    NotAdjustableError
        The instrument is no stock; the bars are not of trades, or longer than a day.
    """
    kind = contract_of(slug).secType
    if kind != "STK":
        hint = "leave adjusted out"
        if kind == "FUT":
            hint = "kit.history.continuous() joins the contracts of a future and closes the gaps"
        raise NotAdjustableError(slug, "only stocks and funds have dividends and splits", hint)
    if what_to_show != "TRADES":
        raise NotAdjustableError(
            f"{what_to_show} of {slug}",
            "IB says only of TRADES that they are in the shares of the day of its answer",
            "ask for what_to_show='TRADES'",
        )
    if (source or size).seconds > 86_400:
        raise NotAdjustableError(
            f"a {size.ib} bar of {slug}",
            "an ex-day may lie in the middle of it",
            "make it of adjusted days: store.bars(..., resample='1 day', adjusted=True)",
        )


def midnight(slug: str, day: date) -> int:
    """Return when a trade date of an exchange's stocks begins, in microseconds since 1970.

    >>> datetime.fromtimestamp(midnight("STK-AAPL-SMART-USD", date(2026, 11, 9)) / 1e6, UTC).hour
    5
    """
    zone, _ = clock_of(contract_of(slug))
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(start.timestamp()) * 1_000_000


def day_of(zone: str, at: int) -> date:
    """Return the date on the exchange's clock."""
    return datetime.fromtimestamp(at / 1e6, UTC).astimezone(ZoneInfo(zone)).date()


def read_factors(slug: str, rows: pa.Table) -> Factors:
    """Return the rows of the dataset ``factors`` of one instrument as what they mean.

    Raises
    ------
    UnknownFactorsError
        There are none.
    """
    listed = rows.to_pylist()
    span = next((row for row in listed if row["kind"] == SPAN), None)
    if span is None:
        raise UnknownFactorsError(
            slug, "its dividends and splits are not known here", ASK_IB.format(slug)
        )
    steps = [
        Step(
            at := _micros(row["ts"]),
            midnight(slug, date.fromisoformat(row["since"])) if row["since"] else at,
            row["kind"],
            row["factor"],
            row["ratio"],
        )
        for row in listed
        if row["kind"] != SPAN
    ]
    return Factors(
        slug,
        tuple(sorted(steps, key=lambda step: step.at)),
        date.fromisoformat(span["since"]),
        date.fromisoformat(span["day"]),
        span["basis"] or "",
        span["detail"] or "",
        clock_of(contract_of(slug))[0],
    )


def needs_commits(factors: Factors, oldest: int | None) -> bool:
    """Whether rows, the first of them stored at `oldest`, can be on two sides of a split."""
    splits = [step.at for step in factors.steps if step.kind == SPLIT]
    return bool(splits) and (oldest is None or oldest < max(splits))


def adjust(rows: pa.Table, factors: Factors, kind: str) -> pa.Table:
    """Return `rows` in the shares of the last day known; with `kind` "dividends", without these.

    Parameters
    ----------
    rows : pyarrow.Table
        Bars as stored, with ``ts``; and with ``commit_id``, unless all were stored after the last
        split. Prices and ``volume`` are changed, as far as they are there.
    factors : Factors
        Of this instrument.
    kind : {"splits", "dividends"}
        What for.

    Raises
    ------
    UnknownFactorsError
        A row is older than what is known, or was stored when a split may or may not have been.

    Notes
    -----
    A price of time t that was stored at time c becomes
    ``price * prod(factor of splits after c) * prod(factor of dividends after t)``, a volume
    ``volume * prod(ratio of splits after c)``. With ``factor = 1/ratio`` of a split, and
    ``1 - dividend / close before`` of a dividend, returns of the result are total returns: the
    formula of CRSP's adjusted prices, and of https://help.yahoo.com/kb/SLN28256.html .
    """
    if not rows.num_rows:
        return rows
    ts = microseconds(rows["ts"])
    _check_reach(ts, factors)
    price, size = np.ones(len(ts)), np.ones(len(ts))
    if "commit_id" in rows.column_names:
        stored = rows["commit_id"].fill_null(0).to_numpy()
        for step in factors.steps:
            if step.kind == SPLIT:
                old = _before(step, stored, ts, factors)
                price[old] *= step.factor
                size[old] *= step.ratio
    if kind == "dividends":
        price *= _paid(ts, [step for step in factors.steps if step.kind != SPLIT])
    for at, name in enumerate(rows.column_names):
        by = price if name in PRICES else size if name == "volume" else None
        if by is not None:
            rows = rows.set_column(at, name, pc.multiply(rows[name], pa.array(by)))
    return rows


def _check_reach(ts: Ints, factors: Factors) -> None:
    earliest = day_of(factors.zone, int(ts.min()))
    if earliest < factors.first:
        raise UnknownFactorsError(
            factors.instrument,
            f"its dividends are known from {factors.first} on, a row is of {earliest}",
            f"kit.history.factors({factors.instrument!r}, start={str(earliest)!r}) looks further "
            "back",
        )


def _before(step: Step, stored: Ints, ts: Ints, factors: Factors) -> np.ndarray[Any, Any]:
    """Return which rows are in the shares from before a split."""
    doubtful = (stored >= step.since) & (stored < step.at) & (ts < step.at)
    if doubtful.any():
        days = day_of(factors.zone, step.since), day_of(factors.zone, step.at)
        raise UnknownFactorsError(
            factors.instrument,
            f"it split between {days[0]} and {days[1]}, and rows were stored in between",
            "tell the day: kit.history.factors(contract, events=frame), with columns day, kind "
            "'split', ratio",
        )
    found: np.ndarray[Any, Any] = (stored < step.at) & (ts < step.at)
    return found


def _paid(ts: Ints, steps: Sequence[Step]) -> Floats:
    """Return for each time the product of the factors of what comes after it."""
    left: Any = np.cumprod([1.0, *(step.factor for step in reversed(steps))])[::-1]
    found: Floats = left[np.searchsorted([step.at for step in steps], ts, side="right")]
    return found


def told(factors: Factors, kind: str, last: int | None) -> dict[str, Any]:
    """Return what a frame says of its adjustment; `last` is its last row's time.

    It is stale if it has rows of days after the last one that was looked at.
    """
    found: dict[str, Any] = {
        "adjusted": kind,
        "factors_until": factors.last.isoformat(),
        "factors_by": factors.basis,
    }
    if factors.doubts:
        found["factors_doubts"] = factors.doubts
    if last is not None and day_of(factors.zone, last) > factors.last:
        found["stale"] = True
    return found


def told_of_many(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a frame of several instruments says: the oldest factors, any doubt."""
    found: dict[str, Any] = {
        "adjusted": parts[0]["adjusted"],
        "factors_until": min(part["factors_until"] for part in parts),
        "factors_by": ", ".join(sorted({part["factors_by"] for part in parts})),
    }
    doubts = [f"{x['instrument']}: {x['factors_doubts']}" for x in parts if x.get("factors_doubts")]
    if doubts:
        found["factors_doubts"] = "; ".join(doubts)
    if any(part.get("stale") for part in parts):
        found["stale"] = True
    return found


def _micros(when: datetime) -> int:
    return int(when.timestamp()) * 1_000_000
