"""What a gateway can do wrong, on demand.

The minimal set: how it greets a socket, and which requests it hears and never answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Greeting = Literal["serve", "silent", "drop"]


@dataclass(slots=True)
class Faults:
    """Switches that may be changed while the gateway runs.

    Attributes
    ----------
    greeting : {"serve", "silent", "drop"}
        What a new socket meets: service; a gateway that accepts and never speaks, as one that is
        not logged in; or one that closes at once, as for an address that is not trusted.
    unanswered : set of str
        Names of requests (`wire.REQUESTS`) that get no answer at all.
    withheld : set of str
        Names of replies (`wire.REPLIES`) that are never sent: end markers get lost that way.
    """

    greeting: Greeting = "serve"
    unanswered: set[str] = field(default_factory=set)
    withheld: set[str] = field(default_factory=set)
