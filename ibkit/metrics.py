"""One registry of counters, ours alone, so that re-running a cell registers nothing twice.

Not here: an endpoint that serves them (`ibkit.serving`), what is read from a link at that moment
(`ibkit.connection.meter`). No label names an account.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()

REQUESTS: Final = Counter(
    "ibkit_requests",
    "Requests to the gateway, by name and outcome",
    ["name", "outcome"],
    registry=REGISTRY,
)
CONNECTIONS: Final = Counter(
    "ibkit_connections", "Attempts to connect, by outcome", ["outcome"], registry=REGISTRY
)

OUTAGES: Final = Counter(
    "ibkit_outages", "How often a socket that was ready ended", registry=REGISTRY
)
RECONNECTED: Final = Histogram(
    "ibkit_reconnect_seconds",
    "From the end of a socket to ready again",
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000),
    registry=REGISTRY,
)
HEARTBEAT: Final = Histogram(
    "ibkit_heartbeat_seconds",
    "From asking the gateway for the time to its answer",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
    registry=REGISTRY,
)

ERRORS: Final = Counter(
    "ibkit_errors", "Messages of IB, by kind of its code", ["kind"], registry=REGISTRY
)

QUEUED_EVENTS: Final = Gauge(
    "ibkit_events_waiting", "Payloads that wait for users' handlers", registry=REGISTRY
)
DROPPED_EVENTS: Final = Counter(
    "ibkit_events_dropped", "Payloads lost to slow handlers", ["topic"], registry=REGISTRY
)
HANDLERS_FAILED: Final = Counter(
    "ibkit_handlers_failed", "How often a user's handler raised", ["topic"], registry=REGISTRY
)
