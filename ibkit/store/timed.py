"""The part of `Store` that knows when exchanges are open, if somebody told it how to find out.

A store asks nobody: a kit hands it a calendar, and a store that was opened by itself has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibkit.store.journal import micros, moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ibkit.store.spans import Span


class Calendar(Protocol):
    """Gives the sessions that an instrument has in a span of time, or None: not known."""

    def __call__(
        self, slug: str, start: datetime, end: datetime, *, use_rth: bool
    ) -> Sequence[Any] | None:
        """Return objects with ``start``, ``end`` and ``ref_date``, ascending."""


class Timed:
    """What a store knows of sessions."""

    #: set by a kit; see `Calendar`
    calendar: Calendar | None = None

    def known_sessions(self, slug: str, start: int, end: int, *, use_rth: bool) -> Any:
        """Return the sessions that touch ``[start, end)``, in microseconds; None: not known."""
        if self.calendar is None or start >= end:
            return None
        return self.calendar(slug, moment(start), moment(end), use_rth=use_rth)

    def sessions_of(self, slug: str, start: int, end: int, *, use_rth: bool) -> list[Span] | None:
        """Return the same as spans of microseconds."""
        found = self.known_sessions(slug, start, end, use_rth=use_rth)
        return None if found is None else [(micros(one.start), micros(one.end)) for one in found]
