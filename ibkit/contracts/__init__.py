"""Know an instrument: resolve it, its hours, its tick grid, its expiry.

`Contracts` is loaded when it is first asked for: the simulated gateway reads the tables beside it
without taking the connection along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibkit.contracts.resolver import Contracts

__all__ = ["Contracts"]


def __getattr__(name: str) -> type[Contracts]:
    if name == "Contracts":
        from ibkit.contracts.resolver import Contracts

        return Contracts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
