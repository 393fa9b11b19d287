"""Long work that can be interrupted and goes on where it stopped."""

from ibkit.jobs.backfill import BackfillReport, backfill

__all__ = ["BackfillReport", "backfill"]
