"""`kit.history.continuous`: a future over years, from the contracts that it consisted of.

A mixin of `History`: which contracts, when they roll, their bars. Not here: the joining
(`ibkit.history.continuous`), and the roll rules (`ibkit.contracts.rolls`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from ib_async import Contract

from ibkit import clock
from ibkit.connection.loop import on_loop
from ibkit.contracts.hours import trade_date
from ibkit.errors import (
    MissingContractError,
    NoDataError,
    NotConnectedError,
    StitchError,
    UnknownContractError,
    UnknownSeriesError,
)
from ibkit.history.base import Base
from ibkit.history.continuous import Adjust, Continuous, Roll, stitch, without_bars
from ibkit.history.outcomes import fresh_s
from ibkit.log import get_logger
from ibkit.schema import bar_size as find_bar_size
from ibkit.store.resample import clock_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.contracts.hours import Session
    from ibkit.contracts.rolls import RollRule
    from ibkit.contracts.specs import FutureSpec
    from ibkit.schema import WhatToShow

log = get_logger(__name__)
A_YEAR: Final = timedelta(days=365)
AHEAD: Final = timedelta(days=150)  # until when a contract expires that is the front month now
WEEKS: Final = timedelta(days=14)  # in which there is a session, whatever the holidays
AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Leg:
    """A contract of the chain and the trade dates on which its bars are needed.

    `contract` is None if IB does not know it; `named` is then what the store may have it as.
    """

    root: str
    month: str
    contract: Contract | None
    named: Contract
    first: date
    last: date


class Stitching(Base):
    """Futures beyond the life of a contract: `continuous`."""

    @on_loop
    async def continuous(
        self,
        wanted: str | Contract,
        bar_size: str = "1 day",
        start: date | str | None = None,
        end: date | str | None = None,
        *,
        adjust: Adjust = "difference",
        rule: RollRule | None = None,
        volumes: pd.DataFrame | None = None,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
    ) -> Continuous:
        """Return one long series of a future, stitched from its contracts.

        Parameters
        ----------
        wanted : str or Contract
            The product: a root (``"ES"``), a shorthand (``"FUT:ES"``) or a contract.
        bar_size : str
            In IB's words, up to ``"1 day"``.
        start, end : date or str, optional
            Trade dates, both included. The last year; up to now.
        adjust : {"difference", "ratio", None}
            How earlier contracts are brought to the level of the newest: by adding the gap of each
            roll (points of profit are right; prices may fall below zero), by multiplying (returns
            are right), or not at all.
        rule : RollRule, optional
            Instead of the product's, see `Contracts.roll_calendar`.
        volumes : DataFrame, optional
            For rules by volume or open interest: dates by contract months.
        what_to_show, use_rth
            As in `bars`.

        Returns
        -------
        Continuous
            ``.frame``: the bars and the contract each is of; ``.rolls``: when, from what to what,
            and the gap that was closed, measured at the last common bar before the roll.

        Raises
        ------
        MissingContractError
            A contract is not to be had: IB keeps two years of expired ones, and the store has no
            bars of it.
        NoCommonBarError
            Two contracts have no bar in common in the session before they roll.
        StitchError
            Bars longer than a day; prices below zero and a ratio.
        NotAFutureError, RollRuleError
            No such product; a rule that needs numbers.

        Notes
        -----
        The bars of each contract are stored as its own, so nothing is fetched twice, and a series
        that was stitched before costs no request. IB's own continuous contract (CONTFUT) has no
        end date and does not say when it rolled.

        Examples
        --------
        >>> es = kit.history.continuous("ES", "1 day", "2026-01-02", "2026-10-30")
        >>> es.rolls["new"].tolist()
        ['202606', '202609', '202612']
        """
        if find_bar_size(bar_size).seconds > 86_400:
            raise StitchError(
                f"a {bar_size} bar may lie on both sides of a roll", "stitch days and resample them"
            )
        today = clock.now().date()
        last = trade_date(end, "end") if end else today
        first = trade_date(start, "start") if start else last - A_YEAR
        if first > last:
            raise StitchError(
                f"the series would start ({first}) after its end ({last})", "swap them"
            )
        spec: FutureSpec = await self._contracts.spec.aio(wanted)
        calendar = await self._contracts.roll_calendar.aio(
            wanted, first, last + AHEAD, rule=rule, volumes=volumes
        )
        rows = _chain(calendar, first, last)
        found = {row["contract"]: await self._contract_of(spec, row) for row in rows}
        rolls = [
            await self._roll(spec, found, (row, following), bar_size, use_rth=use_rth)
            for row, following in pairwise(rows)
        ]
        legs = _legs(spec, rows, found, rolls, (first, last))
        query: dict[Any, Any] = {"what_to_show": what_to_show, "use_rth": use_rth}
        bars = await self._legs_bars(legs, bar_size, query)
        frame, table = await asyncio.to_thread(stitch, bars, rolls, adjust=adjust)
        frame.attrs = {
            "instrument": f"FUT:{spec.symbol}",
            "bar_size": bar_size,
            **query,
            "simulated": self._store.kind == "sim",
            "source": "stitched",
            "adjusted": adjust or "",
            "currency": spec.currency,
        }
        if late := [each.attrs["not_yet"] for each in bars.values() if "not_yet" in each.attrs]:
            frame.attrs["not_yet"] = late[-1]
        missing = await self._barless(spec, frame, (legs, rolls), bar_size, use_rth=use_rth)
        if missing:
            frame.attrs["missing_sessions"] = dict(Counter(month for month, _ in missing))
            log.warning(
                "a continuous future has sessions without a bar",
                root=spec.symbol,
                sessions=len(missing),
                first=f"{missing[0][0]} {missing[0][1]}",
            )
        return Continuous(spec.symbol, bar_size, adjust, frame, table, tuple(missing))

    async def _barless(
        self,
        spec: FutureSpec,
        frame: pd.DataFrame,
        chain: tuple[Sequence[Leg], Sequence[Roll]],
        bar_size: str,
        *,
        use_rth: bool,
    ) -> list[tuple[str, date]]:
        """Return the sessions of each contract, while it is the front month, without a bar."""
        legs, rolls = chain
        until = clock.now() - timedelta(seconds=fresh_s(find_bar_size(bar_size)))
        other = next((leg.contract for leg in legs if leg.contract is not None), None)
        missing: list[tuple[str, date]] = []
        for at, leg in enumerate(legs):
            first = leg.first if at == 0 else rolls[at - 1].day
            sessions = await self._contracts.sessions.aio(
                leg.contract or other or _named(spec, ""), first, leg.last, use_rth=use_rth
            )
            inside = [each for each in sessions if first <= each.ref_date <= leg.last]
            missing += without_bars(frame, leg.month, inside, until)
        return missing

    async def _contract_of(self, spec: FutureSpec, row: dict[str, Any]) -> Contract | None:
        """Return a contract of the chain, also an expired one; None: IB does not know it."""
        try:
            found: Contract = await self._contracts.contract.aio(_named(spec, row["contract"]))
        except (UnknownContractError, NotConnectedError):
            return None
        return found

    async def _roll(
        self,
        spec: FutureSpec,
        found: dict[str, Contract | None],
        rows: tuple[dict[str, Any], dict[str, Any]],
        size: str,
        *,
        use_rth: bool,
    ) -> Roll:
        """Return a roll with the sessions around it."""
        row, following = rows
        old, new = row["contract"], following["contract"]
        day: date = row["roll"].date()
        # where IB knows neither, the product's hours are those of its front month
        known = found[new] or found[old] or _named(spec, "")
        sessions: list[Session] = await self._contracts.sessions.aio(
            known, day - WEEKS, day + WEEKS, use_rth=use_rth
        )
        before = [each for each in sessions if each.ref_date < day]
        after = [each for each in sessions if each.ref_date >= day]
        if not before or not after:
            raise StitchError(
                f"no session is known around {day}, when {old} rolls", "roll otherwise"
            )
        eve = before[-1]
        names = [f"FUT:{spec.symbol}@{spec.exchange}:{month}" for month in (old, new)]
        fetch = f"kit.backfill({names}, {size!r}, start='{eve.ref_date}', end='{eve.ref_date}')"
        reason = str(row["reason"])
        return Roll(day, eve.ref_date, eve.start, after[0].start, old, new, reason, fetch)

    async def _legs_bars(
        self, legs: Sequence[Leg], bar_size: str, query: dict[str, Any]
    ) -> dict[str, pd.DataFrame]:
        """Return the bars of all contracts; several are fetched at a time."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(leg: Leg) -> pd.DataFrame:
            async with gate:
                return await self._leg_bars(leg, bar_size, query)

        found = await asyncio.gather(*map(one, legs), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return {leg.month: each for leg, each in zip(legs, found, strict=True)}  # type: ignore[misc]  # errors were raised

    async def _leg_bars(self, leg: Leg, bar_size: str, query: dict[str, Any]) -> pd.DataFrame:
        if leg.contract is None:
            return await asyncio.to_thread(self._stored_leg, leg, bar_size, query)
        try:
            found: pd.DataFrame = await self.bars.aio(  # type: ignore[attr-defined]  # `History`
                leg.contract, bar_size, leg.first, leg.last, **query
            )
        except NoDataError as error:
            raise MissingContractError(
                f"{leg.month} has no {bar_size} bars, {leg.first} to {leg.last}: {error.reason}",
                _backfill(leg, bar_size),
            ) from error
        return found

    def _stored_leg(self, leg: Leg, bar_size: str, query: dict[str, Any]) -> pd.DataFrame:
        """Return what the store has of a contract that IB does not know any more."""
        try:
            found: pd.DataFrame = self._store.bars(leg.named, bar_size, **query)
        except UnknownSeriesError as error:
            raise MissingContractError(
                f"IB knows no {leg.named.symbol} {leg.month} (it keeps expired futures for about "
                f"two years), and the store has no {bar_size} bars of it",
                f"import them: kit.store.import_bars({_slug_words(leg)!r}, {bar_size!r}, frame), "
                "or start later",
            ) from error
        days = _trade_dates(found, leg.named)
        inside: pd.DataFrame = found[(days >= leg.first) & (days <= leg.last)]
        return inside


def _trade_dates(bars: pd.DataFrame, contract: Contract) -> Any:
    """Return the trade date of each bar, by the exchange's clock."""
    zone, turn = clock_of(contract)
    ahead = timedelta(hours=(24 - turn) % 24)
    return (pd.DatetimeIndex(bars.index).tz_convert(zone).tz_localize(None) + ahead).date


def _chain(calendar: pd.DataFrame, first: date, last: date) -> list[dict[str, Any]]:
    """Return the rows of the contracts that are the front month between two days, in order.

    Raises
    ------
    StitchError
        The calendar does not reach so far.
    """
    every: list[dict[str, Any]] = calendar.to_dict("records")  # type: ignore[assignment]  # named
    rows = [row for row in every if row["roll"].date() > first]
    count = sum(row["roll"].date() <= last for row in rows)
    if len(rows) <= count:
        raise StitchError(f"the roll calendar ends before {last}", "end the series earlier")
    return rows[: count + 1]


def _legs(
    spec: FutureSpec,
    rows: Sequence[dict[str, Any]],
    found: dict[str, Contract | None],
    rolls: Sequence[Roll],
    span: tuple[date, date],
) -> list[Leg]:
    """Return the contracts, each from the session before it is the front month to its last one."""
    legs = []
    for at, row in enumerate(rows):
        month = row["contract"]
        # from the session before, whose bars measure the gap
        first = span[0] if at == 0 else rolls[at - 1].before
        last = span[1] if at == len(rolls) else rolls[at].before
        named = _named(spec, f"{row['expiry']:%Y%m%d}")
        legs.append(Leg(spec.symbol, month, found[month], named, first, last))
    return legs


def _named(spec: FutureSpec, month: str) -> Contract:
    return Contract(
        secType="FUT",
        symbol=spec.ib_symbol,
        lastTradeDateOrContractMonth=month,
        exchange=spec.exchange,
        currency=spec.currency,
        tradingClass=spec.trading_class,
        includeExpired=True,
    )


def _slug_words(leg: Leg) -> str:
    """Return the shorthand by which the store names a contract."""
    one = leg.named
    return f"FUT:{one.symbol}@{one.exchange}:{one.currency}:{one.lastTradeDateOrContractMonth}"


def _backfill(leg: Leg, bar_size: str) -> str:
    name = f"FUT:{leg.root}@{leg.named.exchange}:{leg.month}"
    return (
        f"kit.backfill([{name!r}], {bar_size!r}, start={str(leg.first)!r}, end={str(leg.last)!r}) "
        "fetches them, if IB has them"
    )
