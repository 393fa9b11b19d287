"""Long work that can be interrupted and goes on where it stopped."""

from ibkit.jobs.backfill import Backfill
from ibkit.jobs.queue import Queue
from ibkit.jobs.report import BackfillReport
from ibkit.jobs.values import Job, NewJob
from ibkit.jobs.worker import AgainError, Done, RefusedError, Worker

__all__ = [
    "AgainError",
    "Backfill",
    "BackfillReport",
    "Done",
    "Job",
    "NewJob",
    "Queue",
    "RefusedError",
    "Worker",
]
