"""Who may see which prices: what a gateway answers where a market data subscription is missing.

Values only. Everything is entitled unless a rule says otherwise. Not here: the refusals
themselves (`ibkit.sim.handlers.lines`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from ibkit.sim.instrument import Instrument

Level = Literal["live", "delayed", "partly", "api", "none", "competing"]
LEVELS: Final = get_args(Level)


@dataclass(slots=True)
class Entitlements:
    """Rules for chosen instruments; may be changed while the gateway runs.

    Attributes
    ----------
    rules : dict of str to Level
        By symbol, by ``SYMBOL@EXCHANGE``, by security type, or ``*`` for everything; the first of
        these that has a rule decides. The levels:

        ``live``: everything. ``delayed``: 354 for live data, delayed data on request (10167).
        ``partly``: 10090, and what is free goes on. ``api``: 10089, nothing through the API.
        ``none``: 10168, not even delayed data. ``competing``: 10197, another session has it.
    """

    rules: dict[str, Level] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse levels that do not exist."""
        for name, level in self.rules.items():
            if level not in LEVELS:
                raise ValueError(f"{level!r} of {name} is none of {', '.join(LEVELS)}")

    def level(self, instrument: Instrument) -> Level:
        """Return what may be seen of `instrument`."""
        if not self.rules:
            return "live"
        place = f"{instrument.symbol}@{instrument.primary_exchange or instrument.exchange}"
        names = (place, instrument.symbol, instrument.sec_type, "*")
        return next((self.rules[name] for name in names if name in self.rules), "live")
