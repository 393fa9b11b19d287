"""What a gateway can do wrong, on demand: by method, over the control port, from a file.

`kinds` is the table of them; `injector` keeps what is armed and is asked at the gateway's hooks.
"""

from __future__ import annotations

from ibkit.sim.faults.injector import Fault, Faults, Greeting
from ibkit.sim.faults.kinds import KINDS, Kind

__all__ = ["KINDS", "Fault", "Faults", "Greeting", "Kind"]
