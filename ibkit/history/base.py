"""What every part of `kit.history` works with; each part is a mixin in a module of its own."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ibkit.errors import UnansweredError
from ibkit.history.outcomes import Outcome
from ibkit.history.steps import Steps

if TYPE_CHECKING:
    from pathlib import Path

    from ibkit.connection import Link
    from ibkit.connection.loop import LoopThread
    from ibkit.contracts.resolver import Contracts
    from ibkit.history.plan import Request
    from ibkit.history.series import Series
    from ibkit.history.ticking import Tape
    from ibkit.store import Store

FARM_DOWN: Final = 2105


class Base:
    """The connection, the instruments and the store; `_loop` is where coroutines run.

    Parameters
    ----------
    link : Link
        The connection.
    contracts : Contracts
        Who the instruments are and when they trade.
    store : Store
        Where everything that comes is kept.
    cache : Path, optional
        Folder for what is learned by asking (``steps.sqlite``); None: in memory only.
    """

    def __init__(
        self, link: Link, contracts: Contracts, store: Store, cache: Path | None = None
    ) -> None:
        self._loop: LoopThread = link.loop
        self._link, self._contracts, self._store = link, contracts, store
        self._steps = Steps(cache / "steps.sqlite" if cache else None)
        self._asking_heads: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._woken: set[str] = set()

    @property
    def _source(self) -> str:
        """What rows say of where they come from."""
        return "SIM" if self._link.simulated else "IB"

    def _disconnected(self, series: Series | Tape, request: Request, what: str) -> Outcome | None:
        """Return the outcome of having got nothing while a historical data farm is away."""
        farms = self._farms("broken")
        if not farms:
            return None
        reason = f"{what}, and the historical data farm {', '.join(farms)} is disconnected"
        told = UnansweredError(FARM_DOWN, reason, series.contract)
        return Outcome("unknown", request, reason=reason, error=told)

    def _farms(self, state: str) -> list[str]:
        """Return the farms of historical data that are in this state."""
        farms = self._link.health.farms
        self._woken -= {farm for farm, now in farms.items() if now != "idle"}
        return [farm for farm, now in farms.items() if now == state and "hmds" in farm]
