"""IB's own schedule of past and present sessions, asked once.

Past days never change, so they are kept; from today on IB may still change its mind, so these are
asked again after a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from ibkit import clock
from ibkit.contracts.hours import Session, from_schedule
from ibkit.errors import NoDataError

if TYPE_CHECKING:
    from ib_async import Contract, HistoricalSchedule

    from ibkit.connection import Link

YEAR_DAYS: Final = 365  # IB: longer durations must be made in years
FRESH_S: Final = 300.0


@dataclass
class _Known:
    """What is known of one instrument: sessions by trade date, and the dates asked for."""

    sessions: dict[date, list[Session]] = field(default_factory=dict)
    asked: set[date] = field(default_factory=set)
    asked_at: float = float("-inf")


class Schedules:
    """Sessions by contract and hours. Used on the loop thread only."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known: dict[tuple[int, bool], _Known] = {}

    async def between(
        self, contract: Contract, start: date, end: date, *, use_rth: bool
    ) -> list[Session]:
        """Return the sessions with trade dates in [`start`, `end`]."""
        known = self._known.setdefault((contract.conId, use_rth), _Known())
        self._forget_today(known)
        missing = [day for day in _days(start, end) if day not in known.asked]
        if missing:
            await self._ask(known, contract, missing[0], missing[-1], use_rth=use_rth)
        return [each for day in _days(start, end) for each in known.sessions.get(day, ())]

    def _forget_today(self, known: _Known) -> None:
        if clock.monotonic() - known.asked_at > FRESH_S:
            today = clock.now().date()
            known.asked -= {day for day in known.asked if day >= today}

    async def _ask(
        self, known: _Known, contract: Contract, first: date, last: date, *, use_rth: bool
    ) -> None:
        while first <= last:
            start = max(first, last - timedelta(days=YEAR_DAYS - 4))
            for session in await self._fetch(contract, start, last, use_rth=use_rth):
                if start <= session.ref_date <= last:
                    day = known.sessions.setdefault(session.ref_date, [])
                    known.sessions[session.ref_date] = sorted({*day, session})
            known.asked.update(_days(start, last))
            known.asked_at = clock.monotonic()
            last = start - timedelta(days=1)

    async def _fetch(
        self, contract: Contract, start: date, end: date, *, use_rth: bool
    ) -> list[Session]:
        """Ask IB; the end is noon after the last day, so that no zone's evening is cut off."""
        noon = datetime.combine(end + timedelta(days=1), time(12), tzinfo=UTC)
        until: datetime | str = noon if noon < clock.now() else ""
        days = (end - start).days + 3
        if not until:  # counted back from now, or from the last day to come
            days = max((clock.now().date() - start).days, 0) + 3
        try:
            answer: HistoricalSchedule = await self._link.request(
                "schedule",
                lambda ib: ib.reqHistoricalScheduleAsync(
                    contract, min(days, YEAR_DAYS), until, use_rth
                ),
                contract=contract,
            )
        except NoDataError:
            return []
        return from_schedule(answer)


def _days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]
