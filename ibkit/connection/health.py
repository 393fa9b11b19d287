"""What is known of the gateway's health: farms, connectivity, notices; and the status card's facts.

Codes: https://interactivebrokers.github.io/tws-api/message_codes.html. Not here: what to do about
it (the link's business).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from ibkit import clock, codes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import pandas as pd

    from ibkit.settings import Kind

State = Literal["closed", "connecting", "syncing", "ready", "degraded", "reconnecting", "failed"]
FarmState = Literal["ok", "idle", "connecting", "broken"]
FARMS: Final[dict[int, FarmState]] = {
    2103: "broken",
    2104: "ok",
    2105: "broken",
    2106: "ok",
    2107: "idle",
    2108: "idle",
    2119: "connecting",
    2157: "broken",
    2158: "ok",
}
LOST: Final = frozenset({1100, 2110})
RESTORED: Final = frozenset({1101, 1102})
# the farm's name follows the sentence: "…is OK:usfarm", "…upon demand.usfarm"
FARM_NAME: Final = re.compile(r"[:.]\s*(\w+)\s*$")
NOTICES_KEPT: Final = 200
# ids and counts in a text do not make it another problem
NUMBER: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Told:
    """One problem that IB told of: its newest words, how often, and when first and last."""

    text: str
    count: int
    first: datetime
    last: datetime

    def with_more(self, other: Told) -> Told:
        """Return both as one, in the newer words."""
        text = max(self, other, key=lambda told: told.last).text
        first, last = min(self.first, other.first), max(self.last, other.last)
        return Told(text, self.count + other.count, first, last)


class Health:
    """The last known state of each farm, whether TWS reaches IB, and IB's notices with a count."""

    def __init__(self) -> None:
        self.farms: dict[str, FarmState] = {}
        self.online = True
        self.notices: OrderedDict[tuple[int, str], Told] = OrderedDict()

    def note(self, code: int, text: str) -> None:
        """Take in one message of IB that is about the connection."""
        if code in FARMS and (named := FARM_NAME.search(text)):
            self.farms[named[1]] = FARMS[code]
        elif code in LOST:
            self.online = False
        elif code in RESTORED:
            self.online = True

    def count(self, code: int, text: str) -> None:
        """Keep a message of IB: the same one again, up to its numbers, is the same problem."""
        key = (code, NUMBER.sub("#", text))
        now = clock.now()
        known = self.notices.pop(key, None)
        first = known.first if known else now
        self.notices[key] = Told(text, known.count + 1 if known else 1, first, now)
        while len(self.notices) > NOTICES_KEPT:
            self.notices.popitem(last=False)


NOTICES: Final = {
    "code": "int64",
    "kind": "string",
    "count": "int64",
    "first": "datetime64[us, UTC]",
    "last": "datetime64[us, UTC]",
    "text": "string",
    "cause": "string",
    "fix": "string",
}


def notices_frame(notices: Mapping[tuple[int, str], Told]) -> pd.DataFrame:
    """Return IB's messages, the newest first, each with what the table of codes knows of it."""
    import pandas as pd

    rows = []
    for (code, _), told in reversed(list(notices.items())):
        known = codes.find(code, told.text)
        kind, cause, fix = (known.kind, known.cause, known.fix) if known else ("", "", "")
        rows.append((code, kind, told.count, told.first, told.last, told.text, cause, fix))
    return pd.DataFrame(rows, columns=list(NOTICES)).astype(NOTICES)


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that a status card shows, at one moment.

    Attributes
    ----------
    profile, kind : str
        The profile's name, and whether it is sim, paper or live.
    state, reason : str
        Of the connection; why, when it is not ready.
    simulated, trading : bool
        Whether the market is invented; whether orders may be sent.
    accounts : tuple of str
        As IB names them; redact before it leaves the machine.
    farms : mapping
        Name of each data farm to ``ok``, ``idle``, ``connecting`` or ``broken``.
    lines : int
        Market data subscriptions that are open.
    messages_left : int
        How many messages may go to the gateway at this moment.
    road : str
        What others on the way to the gateway can see; empty: nothing.
    pacing : str
        What is left of IB's limits, in one line.
    clock_offset_s : float or None
        The gateway's clock minus ours; None if it was not asked.
    roles : mapping
        Where the profile has connections of their own for trading and data, what each is.
    """

    profile: str
    kind: Kind
    state: State
    reason: str
    host: str
    port: int
    client_id: int
    server_version: int
    simulated: bool
    trading: bool
    accounts: tuple[str, ...]
    farms: Mapping[str, FarmState]
    lines: int
    messages_left: int
    clock_offset_s: float | None
    connected_since: datetime | None
    root: Path
    pacing: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    road: str = ""
