"""Plan who may ask now, by IB's windows and leases: values in, a decision out.

Pure: no clock, no disk, no event loop. `ledger` reads the books, asks here, and writes down what
was granted; `asks` says what each of IB's requests costs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ibkit.connection.pacing import Limit


class Charge(NamedTuple):
    """What a request costs under one rule.

    Attributes
    ----------
    rule : str
        `Limit.what`.
    key : str
        Which request, contract or id it counts for; empty where the rule counts everything.
    cost : int
        1, or 2 for ``BID_ASK``.
    """

    rule: str
    key: str = ""
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Ask:
    """A request before it is sent: its name for people, and what it costs."""

    what: str
    charges: tuple[Charge, ...] = ()


@dataclass(slots=True)
class Books:
    """What was sent lately, newest first, and what is held, both by rule and key."""

    sent: dict[tuple[str, str], list[tuple[float, int]]] = field(default_factory=dict)
    held: dict[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        sent: Iterable[tuple[str, str, float, int]],
        held: Iterable[tuple[str, str, int]] = (),
    ) -> Books:
        """Return the books of rows of rule, key (, instant) and cost, in any order."""
        books = cls()
        for rule, key, at, cost in sent:
            books.sent.setdefault((rule, key), []).append((at, cost))
        for times in books.sent.values():
            times.sort(reverse=True)
        for rule, key, cost in held:
            books.held[rule, key] = books.held.get((rule, key), 0) + cost
        return books

    def enter(self, ask: Ask, limits: Mapping[str, Limit], now: float) -> None:
        """Write down that `ask` went out."""
        for rule, key, cost in ask.charges:
            if rule not in limits:
                continue
            if limits[rule].window_s:
                times = self.sent.setdefault((rule, key), [])
                times.append((now, cost))
                times.sort(reverse=True)
            else:
                self.held[rule, key] = self.held.get((rule, key), 0) + cost


class Hold(NamedTuple):
    """What keeps a request back.

    Attributes
    ----------
    rule : Limit
        The rule that lasts longest.
    key : str
        Of that rule.
    at : float or None
        When it lets the request go; None: when somebody gives back what is held.
    """

    rule: Limit
    key: str
    at: float | None


NEVER = float("inf")


def free_at(times: Sequence[tuple[float, int]], limit: Limit, cost: int) -> float:
    """Return when `cost` more fits into a window: 0 if at once, infinity if never.

    `times` are (when, cost), newest first.
    """
    room = limit.most - cost
    if room < 0:
        return NEVER
    for at, spent in times:
        room -= spent
        if room < 0:
            return at + limit.span_s
    return 0.0


def holds(ask: Ask, books: Books, limits: Mapping[str, Limit], now: float) -> list[Hold]:
    """Return every rule that keeps `ask` back at `now`; none: it may go."""
    found = []
    for rule, key, cost in ask.charges:
        limit = limits.get(rule)
        if limit is None:
            continue
        if limit.window_s:
            at = free_at(books.sent.get((rule, key), ()), limit, cost)
            if at > now:
                found.append(Hold(limit, key, at))
        elif books.held.get((rule, key), 0) + cost > limit.most:
            found.append(Hold(limit, key, NEVER if cost > limit.most else None))
    return found


def longest(found: Sequence[Hold]) -> Hold:
    """Return the hold that lasts longest; one without an instant outlasts those with one.

    Only a rule that never lets the request go comes before that.
    """
    return max(found, key=lambda hold: (hold.at == NEVER, hold.at is None, hold.at or 0.0))


@dataclass(slots=True)
class Round:
    """What came of one look at everybody who waits, by their place in the queue.

    Attributes
    ----------
    granted : list of int
        Who may go at this instant.
    held : dict of int to Hold
        Who may not, and why; the instant is the earliest that can be told now.
    """

    granted: list[int] = field(default_factory=list)
    held: dict[int, Hold] = field(default_factory=dict)


def plan_round(asks: Sequence[Ask], books: Books, limits: Mapping[str, Limit], now: float) -> Round:
    """Decide for a queue who goes now: in order, and nobody overtakes under a rule that holds.

    A request that waits for one rule lets others pass that need only rules which do not hold it,
    so an identical request that has to wait 15 s stops nobody else, and a ``BID_ASK`` that needs
    two places is not starved by those who need one. `books` gets what is granted.
    """
    done, busy = Round(), dict[tuple[str, str], Hold]()
    for place, ask in enumerate(asks):
        ahead = [busy[key] for charge in ask.charges if (key := charge[:2]) in busy]
        found = ahead or holds(ask, books, limits, now)
        if not found:
            books.enter(ask, limits, now)
            done.granted.append(place)
            continue
        done.held[place] = worst = longest(found)
        if worst.at != NEVER:  # the ledger turns that one away, so it stands in nobody's way
            for hold in found:
                busy.setdefault((hold.rule.what, hold.key), hold)
    return done
