"""`history.gaps`: expected bars × stored × confirmed = holes, a row for each instrument and day.

Asks IB for schedules at most, which are kept. Not here: which bars a session should have, and what
became of each (`expected`); closing the holes (`kit.backfill` takes the frame).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.errors import IbkitError, NoDataError, UnknownSeriesError
from ibkit.history.asking import ENDS_ALL
from ibkit.history.doors import several_of
from ibkit.history.expected import Fates, Slots, fates, per_day, slots
from ibkit.history.outcomes import fresh_s
from ibkit.history.preparing import Preparing
from ibkit.schema import bar_size as find_bar_size
from ibkit.store.resample import clock_of
from ibkit.store.spans import minus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ib_async import Contract

    from ibkit.contracts.hours import Session
    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.legal import Before
    from ibkit.history.series import Query, Series
    from ibkit.history.spans import When
    from ibkit.schema import WhatToShow

    Ints = np.ndarray[Any, np.dtype[np.int64]]

TYPES: Final = {
    "instrument": "object",
    "bar_size": "object",
    "what_to_show": "object",
    "use_rth": "bool",
    "day": "object",
    "start": "datetime64[us, UTC]",
    "end": "datetime64[us, UTC]",
    "expected": "int64",
    "stored": "int64",
    "quiet": "int64",
    "confirmed": "int64",
    "missing": "int64",
    "state": "object",
    "reason": "object",
}
#: from good to bad; a picture's colours are in this order
STATES: Final = ("complete", "thin", "empty", "not yet", "never", "partial", "missing")
#: a day is thin if its quiet share is so far above what is usual for the instrument
THIN_TIMES, THIN_MORE = 4.0, 0.05
MICROS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """What the store says about a series; spans in microseconds since 1970."""

    ts: Ints
    answered: list[tuple[int, int]]
    confirmed: list[tuple[int, int, str]]
    told: list[tuple[int, int, str]]  # rows of `gaps` beside those: outages


class GapReport(Preparing):
    """`gaps`, for `History`."""

    @on_loop
    async def gaps(
        self,
        symbols: ContractLike | Sequence[ContractLike],
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        *,
        days: int | None = None,
        what_to_show: WhatToShow | None = None,
        use_rth: bool = True,
    ) -> pd.DataFrame:
        """Return what should be stored, what is, and why the rest is not: a row a day.

        Parameters
        ----------
        symbols : str, Contract or sequence of them
            The instruments.
        bar_size, end, days, what_to_show, use_rth
            As of `bars`.
        start : str, date or datetime, optional
            As of `bars`. Without `start` and `days`: from where the store's answers begin.

        Returns
        -------
        DataFrame
            By instrument and day. ``instrument bar_size what_to_show use_rth``; ``day`` (the trade
            date; of weekly and monthly bars the first) with its ``start`` and ``end``, UTC.
            ``expected`` bars, by IB's sessions, that are over by now; each is one of ``stored``,
            ``quiet`` (IB answered for that time and sent no bar: nothing traded), ``confirmed``
            (IB said that there is nothing) or ``missing``. ``state``, and the ``reason`` of what
            is not stored.

            States: ``complete``; ``thin``: complete, but far more of it is quiet than on other
            days of the instrument; ``empty``: nothing, and that is confirmed; ``not yet``: too
            fresh to be final; ``never``: IB has it not, by its own rules; ``partial`` and
            ``missing``: some, or all, was never asked for. ``attrs["failed"]`` has the reasons of
            instruments about which nothing can be said.

        Raises
        ------
        NoDataError, UnknownContractError, AmbiguousContractError, WrongSeriesError
            Nothing can be said about any of them.

        Notes
        -----
        ``kit.backfill(kit.history.gaps(…))`` closes the holes; ``plots.coverage(…)`` draws them.

        Examples
        --------
        >>> bars = kit.history.bars("MSFT", "5 mins", start="2026-10-20", end="2026-10-20")
        >>> report = kit.history.gaps("MSFT", "5 mins", "2026-10-19", "2026-10-20")
        >>> report[["expected", "stored", "missing", "state"]].to_numpy().tolist()
        [[78, 0, 78, 'missing'], [78, 78, 0, 'complete']]
        """
        several = several_of(symbols)
        query: Query = {"days": days, "what_to_show": what_to_show, "use_rth": use_rth}
        frames, failed = [], dict[str, IbkitError]()
        for each in several:
            try:
                frames.append(await self._gaps_of(each, bar_size, (start, end), query))
            except ENDS_ALL:
                raise
            except IbkitError as error:
                failed[each if isinstance(each, str) else naming.shorthand(each)] = error
        if failed and not frames:
            raise next(iter(failed.values()))
        found = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*TYPES])
        found = found.astype(TYPES)
        found.attrs = {
            "bar_size": bar_size,
            "simulated": self._link.simulated,
            "failed": {name: str(error).partition("\n")[0] for name, error in failed.items()},
        }
        return found

    async def _gaps_of(
        self, wanted: ContractLike, bar_size: str, span: tuple[When, When], query: Query
    ) -> pd.DataFrame:
        """Return the rows of one instrument."""
        contract, what, use_rth = await self._wanted(wanted, query)
        size, days = find_bar_size(bar_size), query.get("days")
        start, end = span
        if start is None and days is None:
            first = partial(self._first_answer, contract, size.ib, what, use_rth=use_rth)
            start = await asyncio.to_thread(first)
        series = await self._bare(contract, size, (what, use_rth), (start, end), days)
        if not series.sessions:
            raise NoDataError(162, "no session in the span", contract)
        first_day, last_day = (series.sessions[n].ref_date for n in (0, -1))
        sessions = await self._contracts.sessions.aio(
            contract, first_day, last_day, use_rth=use_rth, breaks=True
        )
        return await asyncio.to_thread(self._gap_rows, series, sessions)

    def _first_answer(
        self, contract: Contract, size: str, what: WhatToShow, *, use_rth: bool
    ) -> datetime | None:
        """Return where the store's answers begin; None: there are none."""
        known = self._store.answered(contract, size, what_to_show=what, use_rth=use_rth)
        return known[0][0] if known else None

    def _gap_rows(self, series: Series, sessions: Sequence[Session]) -> pd.DataFrame:
        now = clock.now()
        held = [each for each in sessions if each.start < series.span[1]]
        found = slots(held, series.bar_size, clock_of(series.contract)[0])
        found = found.until(_us(min(now, series.span[1])))
        _, before = self._learned(series)
        return rows(series, found, self._gap_facts(series, found), now, before)

    def _gap_facts(self, series: Series, found: Slots) -> Known:
        """Return what the store knows of the time of the slots."""
        if not len(found.start):
            return Known(np.zeros(0, np.int64), [], [], [])
        low, high = found.days[0].start, max(each.end for each in found.days)
        store, size = self._store, series.bar_size.ib
        try:
            bars = store.bars(
                series.slug, size, low, high, columns=["close"], as_="arrow", **series.key
            )
            ts = bars["ts"].cast("int64").to_numpy()
        except UnknownSeriesError:
            ts = np.zeros(0, np.int64)
        holes = store.missing(series.slug, size, low, high, **series.key)
        answered = minus([(_us(low), _us(high))], [(_us(a), _us(b)) for a, b in holes])
        nothing = store.confirmed(series.slug, size, low, high, **series.key)
        confirmed = [(_us(a), _us(b), reason) for a, b, reason in nothing]
        return Known(ts, answered, confirmed, self._gap_notes(series, low, high, set(confirmed)))

    def _gap_notes(
        self, series: Series, low: datetime, high: datetime, known: set[tuple[int, int, str]]
    ) -> list[tuple[int, int, str]]:
        """Return what else the dataset `gaps` says: times when nobody could listen."""
        try:
            frame = self._store.read("gaps", series.slug, None, high)
        except UnknownSeriesError:
            return []
        dataset = self._store.dataset_of(series.slug, series.bar_size.ib)
        mine = (frame["dataset"] == dataset) & (frame["end"] > low)
        mine &= frame["what_to_show"] == series.what_to_show
        mine &= frame["use_rth"] == series.use_rth
        spans = [
            (_us(row["ts"]), _us(row["end"]), str(row["reason"] or ""))
            for row in frame[mine].to_dict("records")
        ]
        return [each for each in spans if each not in known]


def rows(
    series: Series, found: Slots, known: Known, now: datetime, before: Before | None = None
) -> pd.DataFrame:
    """Return the report of one series. Pure.

    Parameters
    ----------
    series : Series
        Who it is.
    found : Slots
        The bars that should be there and are over.
    known : Known
        What the store says.
    now : datetime
        What is younger than IB's delay is not yet missing.
    before : Before, optional
        Up to when IB has nothing.
    """
    nothing = [(start, end) for start, end, _ in known.confirmed]
    what = fates(found, known.ts, known.answered, nothing)
    counts = {name: per_day(getattr(what, name), found) for name in Fates.__slots__}
    expected = np.bincount(found.day, minlength=len(found.days))
    fresh = what.missing & (found.end > _us(now - timedelta(seconds=fresh_s(series.bar_size))))
    never = what.missing & (found.end <= (_us(before.until) if before else -(2**62)))
    open_ = {"fresh": per_day(fresh, found), "never": per_day(never, found)}
    usual = _usual_quiet(counts["quiet"], expected)
    told = [
        _row(series, day, int(expected[n]), {k: int(v[n]) for k, v in (counts | open_).items()})
        for n, day in enumerate(found.days)
        if expected[n]
    ]
    for row in told:
        row["state"] = _state(row, usual)
        row["reason"] = _reason(row, known, before)
        del row["fresh"], row["never"]
    return pd.DataFrame(told, columns=list(TYPES)).astype(TYPES)


def _row(series: Series, day: Session, expected: int, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "instrument": naming.shorthand(series.contract),
        "bar_size": series.bar_size.ib,
        "what_to_show": series.what_to_show,
        "use_rth": series.use_rth,
        "day": day.ref_date,
        "start": day.start,
        "end": day.end,
        "expected": expected,
        **counts,
    }


def _usual_quiet(quiet: Ints, expected: Ints) -> float:
    """Return the share of quiet slots above which a day is thin: of days that have any bar."""
    some = expected > 0
    if not some.any():
        return 1.0
    share = quiet[some] / expected[some]
    return THIN_TIMES * float(np.median(share)) + THIN_MORE


def _state(row: dict[str, Any], thin: float) -> str:
    if row["missing"] and row["never"] == row["missing"]:
        return "never" if not row["stored"] else "partial"
    if row["missing"] and row["fresh"] == row["missing"]:
        return "not yet"
    if row["missing"]:
        return "missing" if row["missing"] == row["expected"] else "partial"
    if not row["stored"]:
        return "empty"
    gone = row["quiet"] + row["confirmed"]
    return "thin" if gone / row["expected"] > thin else "complete"


def _reason(row: dict[str, Any], known: Known, before: Before | None) -> str:
    """Return in words why bars are not stored; empty if all are."""
    start, end = _us(row["start"]), _us(row["end"])
    words = []
    if row["never"] and before is not None:
        words.append(f"{row['never']:,} never: {before.reason}")
    if row["fresh"]:
        words.append(f"{row['fresh']:,} not yet: too fresh to be final")
    if left := row["missing"] - row["fresh"] - row["never"]:
        outages = _told_in(known.told, start, end)
        words.append(f"{left:,} {'outage: ' + outages if outages else 'never asked for'}")
    if row["confirmed"]:
        words.append(f"{row['confirmed']:,} confirmed: {_told_in(known.confirmed, start, end)}")
    if row["quiet"]:
        words.append(f"{row['quiet']:,} quiet: IB answered, and nothing traded")
    return "; ".join(words)


def _told_in(spans: Sequence[tuple[int, int, str]], start: int, end: int) -> str:
    said = dict.fromkeys(reason for low, high, reason in spans if low < end and high > start)
    return ", ".join(filter(None, said))


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * MICROS + moment.microsecond
