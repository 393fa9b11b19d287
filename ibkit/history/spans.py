"""Read what a user means by `start`, `end` and `days`.

A date, or a text of one, is a trade date of the instrument's exchange; an instant must carry its
zone. Pure.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.contracts.hours import Session

When = str | date | datetime | None
YEARS: Final = (1900, 2200)


def read_when(when: When, name: str) -> date | datetime | None:
    """Return a trade date, an instant in UTC, or None.

    Raises
    ------
    ValueError
        The text is no ISO date or time, or a time has no zone.

    Examples
    --------
    >>> read_when("2026-10-01", "start")
    datetime.date(2026, 10, 1)
    >>> read_when("2026-10-01T15:30-04:00", "end").hour
    19
    """
    if isinstance(when, str):
        when = _read_text(when.strip(), name) if when else None
    if when is None:
        return None
    if not isinstance(when, date) or when != when:  # noqa: PLR0124 - NaT is not itself
        raise ValueError(
            f"{name}={when!r} is no date: write a trade date as '2026-10-01' or date(2026, 10, 1), "
            "an instant as '2026-10-01T15:30-04:00'"
        )
    if not YEARS[0] <= when.year <= YEARS[1]:
        raise ValueError(f"{name}={when} is of no year in which there are prices")
    if not isinstance(when, datetime):
        return when
    if when.tzinfo is None:
        raise ValueError(
            f"{name}={when.isoformat(sep=' ')} has no time zone, and whose clock is meant is not "
            "ours to guess.\nHint: write it as 2026-10-01T15:30-04:00 or with tzinfo=; a plain "
            "date is a trading session."
        )
    return when.astimezone(UTC)


def _read_text(text: str, name: str) -> date | datetime:
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{name}={text!r} is no date: write a trade date as 2026-10-01, an instant as "
            "2026-10-01T15:30-04:00"
        ) from None


def check_order(start: date | datetime | None, end: date | datetime | None) -> None:
    """Raise ValueError if `start` comes after `end`, as far as the two can be compared."""
    if start is None or end is None:
        return
    first, last = to_day(start), to_day(end)
    instants = isinstance(start, datetime) and isinstance(end, datetime)
    if first > last + timedelta(days=1) or (instants and start >= end):
        raise ValueError(f"start={start} comes after end={end}")
    if not isinstance(start, datetime) and not isinstance(end, datetime) and start > end:
        raise ValueError(f"start={start} comes after end={end}")


def to_day(when: date | datetime) -> date:
    """Return the UTC date."""
    return when.date() if isinstance(when, datetime) else when


def bounds(
    sessions: Sequence[Session], start: date | datetime | None, end: date | datetime | None
) -> tuple[datetime, datetime] | None:
    """Return [start, end) as instants: a trade date stands for its session, both ends included.

    None if no session lies between.
    """
    chosen = [each for each in sessions if _after(each, start) and _before(each, end)]
    if not chosen:
        return None
    first = start if isinstance(start, datetime) else chosen[0].start
    last = end if isinstance(end, datetime) else chosen[-1].end
    return (first, last) if first < last else None


def _after(session: Session, start: date | datetime | None) -> bool:
    if isinstance(start, datetime):
        return session.end > start
    return start is None or session.ref_date >= start


def _before(session: Session, end: date | datetime | None) -> bool:
    if isinstance(end, datetime):
        return session.start < end
    return end is None or session.ref_date <= end
