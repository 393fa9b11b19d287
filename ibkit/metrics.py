"""One registry of counters, ours alone, so that re-running a cell registers nothing twice.

Not here: an endpoint that serves them.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter

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
