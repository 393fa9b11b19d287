"""`kit.history.factors`: what prices are adjusted by, derived from IB's answers and kept.

A mixin of `History`. Not here: the arithmetic (`ibkit.history.adjust`), and reading bars adjusted
(`ibkit.store.adjusted`).
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from ibkit import clock, naming
from ibkit.connection.asks import ask_for
from ibkit.connection.loop import on_loop
from ibkit.contracts.hours import trade_date
from ibkit.errors import (
    IbkitError,
    LoopThreadError,
    NoDataError,
    NotAdjustableError,
    NotConnectedError,
    RequestRefusedError,
    RequestTimeoutError,
    StoreError,
    UnknownFactorsError,
)
from ibkit.history import adjust
from ibkit.history.actions import read_actions
from ibkit.history.factors import Factors
from ibkit.log import get_logger
from ibkit.store import adjusted as applied
from ibkit.store.resample import clock_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ib_async import BarData, BarDataList, Contract

    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.actions import Action
    from ibkit.history.adjust import Found
    from ibkit.history.series import Series

log = get_logger(__name__)
TIMEOUT_S: Final = 120.0
OLD: Final = timedelta(days=1)
USUALLY: Final = timedelta(days=370)


@dataclass(frozen=True, slots=True)
class Answer:
    """IB's daily prices of one moment, of finished sessions, and the day after them.

    `trades` and `adjusted` have a row a day: open, high, low, close.
    """

    days: tuple[date, ...]
    trades: Any
    adjusted: Any
    last: date
    following: date


class Adjusting(Factors):
    """What prices are adjusted by: `factors`."""

    @on_loop
    async def factors(
        self,
        contract: ContractLike,
        start: date | str | None = None,
        *,
        events: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Derive what a stock's prices are adjusted by, keep it, and return it.

        Parameters
        ----------
        contract : str or Contract
            A stock or fund.
        start : date or str, optional
            How far back. By default as far as there are stored bars, or was looked before; at
            least a year.
        events : DataFrame, optional
            Dividends and splits from elsewhere, to be kept in the dataset ``events`` and compared:
            columns ``day`` (the ex-day), ``kind`` ("dividend", "split"), ``amount`` (money a share,
            as it was paid) or ``ratio`` (new shares for an old one).

        Returns
        -------
        DataFrame
            One row a step, ascending: ``day`` (the first one in new terms), ``kind``, ``factor``
            and ``ratio`` (what earlier prices and volumes are multiplied by), ``amount`` and
            ``close`` (of a dividend, in shares of today), ``from_ib from_events`` (the factor by
            each source), ``basis`` (which is used), ``since`` (of a split whose day is not sure).
            ``attrs``: first and last day that were looked at, and ``doubts``: where the sources
            disagree.

        Raises
        ------
        NotAdjustableError
            No stock.
        UnknownFactorsError
            IB cannot be asked, and there are no events.
        InvalidActionsError
            `events` cannot be read.

        Notes
        -----
        Costs two historical requests, TRADES and ADJUSTED_LAST up to now, at the same moment:
        their ratio steps on ex-days. ADJUSTED_LAST itself is stored nowhere. What IB has stored
        here earlier, over its TRADES of now, shows splits since. See `ibkit.history.adjust` for
        the formulas, and docs/adjustments.md.
        """
        found = await self._contracts.contract.aio(contract)
        slug = naming.slug(found)
        if found.secType != "STK":
            raise NotAdjustableError(
                slug, "only stocks and funds have dividends and splits", "leave it as it is"
            )
        if events is not None:
            actions = read_actions(_dated(events, clock_of(found)[0]))
            await asyncio.to_thread(self._keep_events, found, slug, actions)
        first = trade_date(start, "start") if start else None
        await self._derive(found, slug, first)
        return await asyncio.to_thread(self.read_factors, slug)

    async def _read_adjusted(
        self, series: Series, read: Callable[[], pd.DataFrame]
    ) -> pd.DataFrame:
        """Return what `read` does, with factors that are of today and reach as far as its bars.

        Raises
        ------
        NotAdjustableError, UnknownFactorsError
            There are none, and none can be found.
        """
        applied.check_adjustable(series.slug, series.bar_size, None, series.what_to_show)
        known = await asyncio.to_thread(self._known, series.slug)
        last, late = series.sessions[-1].ref_date, ""
        if known is None or clock.now() - known[1] >= OLD or known[0].last < last:
            late = await self._refresh(series, needed=known is None)
        try:
            frame = await asyncio.to_thread(read)
        except UnknownFactorsError:  # they do not reach so far back
            await self._refresh(series, needed=True)
            frame = await asyncio.to_thread(read)
        if late:
            frame.attrs["factors_late"] = late
        return frame

    async def _refresh(self, series: Series, *, needed: bool) -> str:
        """Derive the factors of a series anew; return why that was not possible."""
        try:
            await self._derive(series.contract, series.slug, series.sessions[0].ref_date)
        except (LoopThreadError, StoreError):
            raise
        except IbkitError as error:
            if needed:
                words = f"IB could not be asked ({error})"
                hint = "kit.history.factors(contract, events=frame) takes dividends from elsewhere"
                raise UnknownFactorsError(series.slug, words, hint) from error
            log.warning("factors are not up to date", instrument=series.slug, error=str(error))
            return str(error)
        return ""

    # --- deriving --------------------------------------------------------------------------------

    async def _derive(self, contract: Contract, slug: str, start: date | None) -> None:
        """Find the factors of an instrument from `start` on and put them in place of the old."""
        zone = ZoneInfo(clock_of(contract)[0])
        today = clock.now().astimezone(zone).date()
        first = await asyncio.to_thread(self._reach, slug, start, today - USUALLY)
        actions = await asyncio.to_thread(self._actions, slug)
        try:
            answer = await self._answer(contract, first, today)
        except (NotConnectedError, RequestRefusedError, RequestTimeoutError) as error:
            if actions is None:
                raise
            log.warning("events alone make the factors", instrument=slug, error=str(error))
            await asyncio.to_thread(self._from_events, contract, slug, actions, today)
            return
        await asyncio.to_thread(self._from_answer, contract, slug, answer, actions)

    async def _answer(self, contract: Contract, first: date, today: date) -> Answer:
        """Ask for TRADES and ADJUSTED_LAST at the same moment, as IB gives them: up to now."""
        days = (today - first).days + 5
        duration = f"{days} D" if days <= 365 else f"{days // 365 + 1} Y"

        async def one(what: str) -> BarDataList:
            wanted = (contract, "", duration, "1 day", what, True)
            found: BarDataList = await self._link.request(
                f"daily {what}",
                lambda ib: ib.reqHistoricalDataAsync(*wanted, formatDate=2, timeout=0),
                contract=contract,
                timeout_s=max(TIMEOUT_S, self._link.profile.timeout_s),
                ask=ask_for("reqHistoricalData", *wanted, formatDate=2),
                wait_s=math.inf,
            )
            return found

        trades, adjusted = await asyncio.gather(one("TRADES"), one(applied.ADJUSTED_LAST))
        theirs = {bar.date: bar for bar in adjusted}
        rows = [(bar, theirs[bar.date]) for bar in trades if bar.date in theirs]
        rows = [(one, other) for one, other in rows if one.date >= first]
        if not rows:
            raise NoDataError(162, "no day has both TRADES and ADJUSTED_LAST", contract)
        last = rows[-1][0].date
        # the running session's prices move between the two answers; its ratio is 1 by definition
        done = [(one, other) for one, other in rows if one.date < today]
        following = today if last == today else await self._next_day(contract, last)
        return Answer(
            tuple(one.date for one, _ in done),
            _prices([one for one, _ in done]),
            _prices([other for _, other in done]),
            last,
            following,
        )

    async def _next_day(self, contract: Contract, day: date) -> date:
        """Return the next trade date, as far as anybody knows."""
        with suppress(IbkitError):
            one = timedelta(days=1)
            found = await self._contracts.sessions.aio(contract, day + one, day + 14 * one)
            return min(each.ref_date for each in found if each.ref_date > day)
        return date.fromordinal(day.toordinal() + (3 if day.weekday() == 4 else 1))

    def _from_answer(
        self,
        contract: Contract,
        slug: str,
        answer: Answer,
        actions: Sequence[Action] | None,
    ) -> None:
        found = adjust.from_ratio(answer.days, answer.trades, answer.adjusted, answer.following)
        closes = answer.trades[:, -1]
        fresh = dict(zip(answer.days, closes.tolist(), strict=True))
        stored = self._stored_closes(slug, answer.days)
        splits = adjust.from_stored(*stored, fresh, max(answer.last, answer.following))
        events = None
        if actions is not None:
            # before its ex-day's session, IB may or may not have counted a dividend already
            until = answer.following if _steps_on(found, answer.following) else answer.last
            events = adjust.from_actions(actions, answer.days, closes, until)
        oldest = min(stored[2], default=None)
        merged = adjust.merge([*found, *splits], events, oldest)
        # of days before IB's answer nothing is known, also where more was asked for
        first = answer.days[0] if answer.days else answer.last
        self._keep_factors(contract, slug, merged, (first, answer.last), applied.ADJUSTED_LAST)

    def _from_events(
        self, contract: Contract, slug: str, actions: Sequence[Action], today: date
    ) -> None:
        """Make the factors of events and of stored daily closes."""
        splits = adjust.from_actions(actions, (), np.array([]), today)
        days, closes, committed = self._closes(slug, "1 day", use_rth=True)
        if not days:
            words = "there are events, but no stored daily closes to relate dividends to"
            hint = f"kit.history.bars({slug!r}, '1 day', ...) while connected"
            raise UnknownFactorsError(slug, words, hint)
        for split in splits:
            old = [when < split.day for when in committed]
            closes = np.where(old, closes * split.factor, closes)
        steps = adjust.from_actions(actions, days, closes, today)
        span = (days[0], max(days[-1], *(action.day for action in actions)))
        span = (span[0], min(span[1], today))
        self._keep_factors(contract, slug, adjust.merge(None, steps), span, "events")


def _dated(events: pd.DataFrame, zone: str) -> pd.DataFrame:
    """Return events with a day for those that have only an instant: the exchange's date."""
    if "day" in events or "ts" not in events:
        return events
    stamps = pd.DatetimeIndex(events["ts"])
    return events.assign(day=(stamps.tz_convert(zone) if stamps.tz else stamps).date)


def _prices(bars: Sequence[BarData]) -> Any:
    rows = [(bar.open, bar.high, bar.low, bar.close) for bar in bars]
    return np.array(rows, dtype=float).reshape(-1, 4)


def _steps_on(found: Sequence[Found], day: date) -> bool:
    """Whether one of `found` is of `day`."""
    return any(step.day == day for step in found)
