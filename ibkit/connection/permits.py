"""What one link needs of the ledger: leave to ask, and a client id of its own.

Runs on the loop. A ledger whose file cannot be used any more is replaced by one in memory: then
the limits hold for this process alone, which is said once. Orders and cancels never come here.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from ibkit.connection.asks import CLIENT_ID, OPEN
from ibkit.connection.ledger import Ledger
from ibkit.connection.pacing import LIMITS
from ibkit.errors import BudgetSpentError, ClientIdInUseError, LedgerError
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path
    from typing import TypeVar

    from ibkit.connection.budget import Ask
    from ibkit.connection.ledger import Grant
    from ibkit.connection.pacing import Limit
    from ibkit.settings import Endpoint

    T = TypeVar("T")

log = get_logger(__name__)
# open requests end in seconds; what subscriptions hold is rarely given back soon
STANDING_S: Final = 2.0
HELD: Final = "go on with that program, close it, or connect with another client_id=."
FULL: Final = "close one of them, or give the profile more client_ids."
ALONE: Final = "the ledger of IB's limits cannot be used; they hold for this process alone now"


def open_ledger(path: Path, limits: Iterable[Limit], name: str = "") -> Ledger:
    """Return the ledger at `path`, or, if that cannot be used, one in memory, and say so."""
    limits = tuple(limits)
    try:
        return Ledger(path, limits=limits, name=name)
    except LedgerError as error:
        log.warning(ALONE, reason=str(error).partition("\n")[0])
        return Ledger(None, limits=limits, name=name)


class Permits:
    """Leave to ask, and the client id, of one link.

    Parameters
    ----------
    ledger : Ledger or None
        The books; None: nothing is counted, for tests that bring their own gateway.
    client_ids : sequence of int
        Ids to choose from. Empty: the profile's, and no other.
    """

    def __init__(self, ledger: Ledger | None, client_ids: Sequence[int] = ()) -> None:
        self.ledger = ledger
        self._ids = tuple(client_ids)
        self._refused: dict[int, Grant | None] = {}
        self._id: Grant | None = None
        self._broken: list[Ledger] = []

    @property
    def shared(self) -> bool:
        """Whether other processes count with us."""
        return self.ledger is not None and self.ledger.shared

    @property
    def may_move(self) -> bool:
        """Whether another client id would do as well."""
        return bool(self._ids)

    async def admit(self, ask: Ask | None, wait_s: float | None) -> Grant | None:
        """Wait until `ask` may be sent; None if nothing binds it. See `Ledger.admit`."""
        if self.ledger is None or ask is None or not ask.charges:
            return None
        brief = any(charge.rule == OPEN for charge in ask.charges)
        lease_s = None if brief else STANDING_S
        return await self._with_ledger(
            lambda one: one.admit(ask, timeout_s=wait_s, lease_s=lease_s)
        )

    def settle(self, grant: Grant | None, *, held: bool) -> None:
        """End what was admitted, when its answer is in or never will be.

        A request that was never sent costs nothing; with `held` a subscription keeps the grant.
        """
        if grant is None or held:
            return
        if grant.was_sent:
            grant.release()
        else:
            grant.withdraw()

    def set_limits(self, limits: Iterable[Limit]) -> None:
        """Exchange the rules, for who waits already too."""
        if self.ledger is not None:
            self.ledger.set_limits(limits)

    # --- client ids ------------------------------------------------------------------------------

    async def take_id(self, own: int, endpoint: Endpoint) -> int:
        """Lease a client id that no living program of this machine holds; keep one that we have.

        Raises
        ------
        ClientIdInUseError
            There is none; it says who holds it, and since when.
        """
        if self._id is not None:
            return self._id.client_id
        if self.ledger is None:
            return next((one for one in self._ids if one not in self._refused), own)
        wanted = [one for one in self._ids or (own,) if one not in self._refused]
        try:
            self._id = await self._with_ledger(lambda one: one.lease_client_id(wanted))
        except BudgetSpentError as error:
            raise await self._in_use(wanted, endpoint) from error
        return self._id.client_id

    def refuse_id(self, refused: int) -> bool:
        """Note that IB knows this id already (326); return whether another one is left to try.

        Its lease is kept meanwhile, so that no other process of ours tries it too.
        """
        if not self.may_move:
            return False
        self._refused[refused], self._id = self._id, None
        return any(one not in self._refused for one in self._ids)

    def settle_id(self) -> None:
        """Give back the ids that IB refused: the connection is there, or will not be."""
        for grant in self._refused.values():
            if grant is not None:
                grant.release()
        self._refused.clear()

    def give_back_id(self) -> None:
        """Give back the client id: its socket is closed."""
        self.settle_id()
        if self._id is not None:
            self._id.release()
            self._id = None

    async def _in_use(self, wanted: Sequence[int], endpoint: Endpoint) -> ClientIdInUseError:
        if self.may_move:
            reason = f"all client ids from {self._ids[0]} to {self._ids[-1]} are in use"
            return ClientIdInUseError(*endpoint, reason, FULL)
        assert self.ledger is not None
        read = partial(self.ledger.holders, CLIENT_ID)
        holders = await asyncio.get_running_loop().run_in_executor(None, read)
        told = [f" by {one}, since {one.since}" for one in holders if int(one.key) in wanted]
        reason = f"client id {wanted[0]} is held{''.join(told[:1])}"
        return ClientIdInUseError(*endpoint, reason, HELD)

    # --- the file --------------------------------------------------------------------------------

    async def _with_ledger(self, use: Callable[[Ledger], Awaitable[T]]) -> T:
        """Use the ledger, or, if its file has failed, one in memory from now on."""
        assert self.ledger is not None
        ledger = self.ledger
        try:
            return await use(ledger)
        except LedgerError as error:
            if not ledger.shared or ledger.closed:
                raise
            if self.ledger is ledger:
                log.warning(ALONE, reason=str(error).partition("\n")[0])
                self._broken.append(ledger)
                self.ledger = Ledger(None, limits=ledger.limits or LIMITS)
        return await use(self.ledger)

    def close(self) -> None:
        """Give everything back; who waits gets NotConnectedError."""
        self._id = None
        self._refused.clear()
        for ledger in (*self._broken, self.ledger):
            if ledger is not None:
                ledger.close()
