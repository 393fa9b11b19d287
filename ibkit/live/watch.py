"""`kit.live`: start watching instruments.

Not here: the handle that a watch gives back (`ibkit.live.quotes`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ibkit import clock, naming
from ibkit.connection import on_loop
from ibkit.connection.events import QuoteSeen
from ibkit.errors import NotConnectedError
from ibkit.live.lines import Line, Lines
from ibkit.live.quotes import Quotes

if TYPE_CHECKING:
    from collections.abc import Collection

    from ib_async import Contract, Ticker

    from ibkit.connection import Link
    from ibkit.contracts import Contracts

SETTLE_S: Final = 2.0


class Live:
    """Live market data.

    Parameters
    ----------
    link : Link
        The connection.
    contracts : Contracts
        Resolves what is named by shorthand.
    """

    def __init__(self, link: Link, contracts: Contracts) -> None:
        self._loop, self._link, self._contracts = link.loop, link, contracts
        self._lines = Lines(link)
        link.ib.pendingTickersEvent += self._publish

    @property
    def lines(self) -> int:
        """How many market data lines are in use here; IB allows 100 unless one pays for more."""
        return len(self._lines)

    @on_loop
    async def watch(self, *wanted: str | Contract, settle_s: float = SETTLE_S) -> Quotes:
        """Subscribe to quotes of instruments.

        Parameters
        ----------
        *wanted : str or Contract
            Shorthand (``"AAPL"``, ``"FUT:ES"``) or contracts; each once.
        settle_s : float
            How long to wait for the first tick of each, so that the first frame is filled; ends
            as soon as all are there. 0: do not wait.

        Returns
        -------
        Quotes
            Leave its block, or ``close()`` it, to end the subscriptions.

        Raises
        ------
        RequestRefusedError
            IB refused one of them (no permission…); none stays subscribed.
        BudgetSpentError
            All market data lines are in use, by this and other processes, which it names.
        UnknownContractError, AmbiguousContractError, ShorthandError
            As `kit.contract`.
        NotConnectedError
            The connection is not ready.

        Examples
        --------
        >>> with kit.live.watch("AAPL", "MSFT") as quotes:  # doctest: +SKIP
        ...     quotes.frame()
        """
        if not wanted:
            raise ValueError("watch() needs at least one instrument")
        contracts = await asyncio.gather(*(self._contracts.contract.aio(each) for each in wanted))
        if self._link.state != "ready":
            raise NotConnectedError(self._link.state, "live.watch()")
        names = [each if isinstance(each, str) else naming.shorthand(each) for each in wanted]
        watched: dict[str, Line] = {}
        try:
            for name, contract in zip(names, contracts, strict=True):
                if name not in watched:
                    watched[name] = await self._lines.take(contract)
            await _settle(watched.values(), settle_s)
        except BaseException:
            for line in watched.values():
                self._lines.give_back(line)
            raise
        return Quotes(self._link, self._lines, watched)

    def _publish(self, tickers: set[Ticker]) -> None:
        for ticker in tickers:
            if ticker.contract is not None and len(self._link.events.quote):
                key = naming.shorthand(ticker.contract)
                quote = QuoteSeen(clock.now(), key, ticker.bid, ticker.ask, ticker.last)
                self._link.events.publish("quote", quote)


async def _settle(lines: Collection[Line], settle_s: float) -> None:
    """Wait for a first tick of each line; raise the first refusal."""
    waiting = [asyncio.create_task(line.alive.wait()) for line in lines]
    await asyncio.wait(waiting, timeout=settle_s)
    for task in waiting:
        task.cancel()
    for line in lines:
        if line.error is not None:
            raise line.error
