"""What the queue takes and gives: jobs as values. Not here: the queue."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from datetime import datetime

State = Literal["held", "waiting", "working", "done", "dead"]
MOST_FAILURES: Final = 4


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is to be done, before it is in the queue.

    Attributes
    ----------
    kind : str
        Whose handler does it.
    key : str
        Its name; of one kind and key there is one job at most.
    payload : dict
        What the handler needs, as JSON can say it.
    priority : int
        Higher goes first.
    turn : int
        Among equals the lower goes first: the place within its own series gives a round-robin.
    group : str
        Of which series it is, see `Queue.merge`.
    not_before : datetime, optional
        When it may start, with a zone.
    after : str
        The key of a job of the same kind that has to succeed first. If that is refused for good,
        this one is dead with it.
    most : int
        How often it may fail before it is dead.
    """

    kind: str
    key: str
    payload: dict[str, Any] = field(default_factory=dict)
    priority: int = 0
    turn: int = 0
    group: str = ""
    not_before: datetime | None = None
    after: str = ""
    most: int = MOST_FAILURES


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it was read; after a claim `token` is the right to end it."""

    id: int
    kind: str
    key: str
    group: str
    payload: dict[str, Any]
    priority: int
    state: State
    failures: int
    most: int
    token: int
    result: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Merge:
    """What is to become of a group of jobs.

    Attributes
    ----------
    fresh : sequence of NewJob
        To be added.
    shared : sequence of Job
        Those that are there, and that the caller wants, too.
    superseded : sequence of Job
        Of no use any more: dead ones that others speak for are removed, those that wait are done.
    """

    fresh: Sequence[NewJob] = ()
    shared: Sequence[Job] = ()
    superseded: Sequence[Job] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """What of a batch is not over: the number of jobs, and when the next may start at best.

    `due_s` is in seconds from now; None if all that is left is held or in other hands.
    """

    jobs: int
    due_s: float | None


def read_job(row: sqlite3.Row) -> Job:
    """Return the job of a row."""
    return Job(
        id=row["id"],
        kind=row["kind"],
        key=row["key"],
        group=row["grp"],
        payload=json.loads(row["payload"]),
        priority=row["priority"],
        state=row["state"],
        failures=row["failures"],
        most=row["most"],
        token=row["token"],
        result=json.loads(row["result"]),
        reason=row["reason"],
    )
