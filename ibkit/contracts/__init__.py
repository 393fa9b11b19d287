"""Know an instrument: name it, resolve it, its chains, its hours, its tick grid, its expiry.

`Contracts` is loaded when it is first asked for: the simulated gateway reads the tables beside it
without taking the connection along.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibkit.contracts.names import (
        BAG,
        BOND,
        CASH,
        CFD,
        CONID,
        CONT,
        CRYPTO,
        FOP,
        FUT,
        IND,
        OPT,
        STK,
    )
    from ibkit.contracts.resolver import Contracts

__all__ = [
    "BAG",
    "BOND",
    "CASH",
    "CFD",
    "CONID",
    "CONT",
    "CRYPTO",
    "FOP",
    "FUT",
    "IND",
    "OPT",
    "STK",
    "Contracts",
]


def __getattr__(name: str) -> Any:
    if name in __all__ and name != "Contracts":
        return getattr(import_module("ibkit.contracts.names"), name)
    if name == "Contracts":
        from ibkit.contracts.resolver import Contracts

        return Contracts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
