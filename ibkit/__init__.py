"""Interactive Brokers in JupyterLab: market data, orders and reports on top of ib_async.

    import ibkit
    kit = ibkit.connect()                       # the simulated gateway; "paper" and "live" are real
    bars = kit.history.bars("AAPL", "1 min")

Everything below is loaded when it is first used, so `import ibkit` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ibkit import errors, plots, reports, widgets
    from ibkit.disconnected import Offline, offline
    from ibkit.kit import Kit, connect
    from ibkit.reports.run import run
    from ibkit.settings import load_settings
    from ibkit.store import Store

__version__ = "0.1.0"
__all__ = [
    "Kit",
    "Offline",
    "Store",
    "connect",
    "errors",
    "load_settings",
    "offline",
    "plots",
    "reports",
    "run",
    "widgets",
]

# public name: where it lives; a module stands for itself
_HOMES: Final = {
    "Kit": "ibkit.kit",
    "Offline": "ibkit.disconnected",
    "Store": "ibkit.store",
    "connect": "ibkit.kit",
    "load_settings": "ibkit.settings",
    "offline": "ibkit.disconnected",
    "run": "ibkit.reports.run",
}
_MODULES: Final = frozenset({"errors", "plots", "reports", "widgets"})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"ibkit.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
