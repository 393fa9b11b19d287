"""Market data lines of one connection: one an instrument, counted, given back.

IB counts lines (100 by default), and ib_async keeps one ticker a contract: so watchers share.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from ib_async import Ticker

from ibkit.connection.asks import ask_for
from ibkit.errors import RequestRefusedError, refused

if TYPE_CHECKING:
    from ib_async import IB, Contract

    from ibkit.connection import Link

# IB's messages that end a subscription: no permission, no line, no such contract
FATAL = frozenset({101, 200, 300, 321, 322, 354, 420, 10089, 10090, 10168, 10186, 10189, 10197})


class Line:
    """One subscription: its contract, its ticker, who watches it."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.watchers = 0
        self.ticker = Ticker(contract=contract)
        self.error: RequestRefusedError | None = None
        self.alive = asyncio.Event()
        self.opening: asyncio.Future[Ticker] | None = None
        self.subscribed = False
        self.request_id: int | None = None

    def seen(self, _: Ticker) -> None:
        """Note that a tick came."""
        self.alive.set()


class Lines:
    """The open lines of a link, by contract number. Lives on the loop thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._open: dict[int, Line] = {}
        link.ib.errorEvent += self._on_error

    def __len__(self) -> int:
        return len(self._open)

    async def take(self, contract: Contract) -> Line:
        """Return the line of `contract`, opened if nobody watches it yet.

        Raises
        ------
        BudgetSpentError
            All lines that IB allows are in use, by this and other processes.
        """
        line = self._open.get(contract.conId)
        if line is None:
            line = self._open[contract.conId] = Line(contract)
            line.opening = asyncio.ensure_future(self._subscribe(line))
        line.watchers += 1
        try:
            assert line.opening is not None
            await asyncio.shield(line.opening)
        except BaseException:
            self.give_back(line)
            raise
        return line

    def give_back(self, line: Line) -> None:
        """Drop one watcher; the last one ends the subscription."""
        line.watchers -= 1
        if line.watchers > 0 or self._open.get(line.contract.conId) is not line:
            return
        del self._open[line.contract.conId]
        if line.opening is not None:
            line.opening.cancel()
        if not line.subscribed:
            return
        line.ticker.updateEvent -= line.seen
        if self._link.state in {"ready", "degraded"}:
            self._unsubscribe(line)
        else:
            self._link.subscriptions.forget(line.ticker)

    async def _subscribe(self, line: Line) -> Ticker:
        def subscribing(ib: IB) -> Ticker:
            line.ticker, line.subscribed = ib.reqMktData(line.contract), True
            line.ticker.updateEvent += line.seen
            line.request_id = self._wrapper.ticker2ReqId["mktData"].get(line.ticker)
            return line.ticker

        ask = ask_for("reqMktData", line.contract)
        return await self._link.request("quotes", subscribing, contract=line.contract, ask=ask)

    def _unsubscribe(self, line: Line) -> None:
        """Cancel at the gateway, unless it ended the subscription itself; ib_async forgets it."""
        wrapper, request_id = self._wrapper, self._request_id(line)
        if wrapper.ticker2ReqId["mktData"].get(line.ticker) != request_id:
            # somebody asked for the same ticker after us: his line stays
            cast("Any", self._link.ib.client).cancelMktData(request_id)  # ib_async is typed in part
        elif line.error is None:
            self._link.ib.cancelMktData(line.contract)
        else:
            wrapper.endTicker(line.ticker, "mktData")
            self._link.subscriptions.release(request_id)
        wrapper.reqId2Ticker.pop(request_id, None)  # cancelMktData leaves it there for ever
        if not any(line.ticker in tickers for tickers in wrapper.ticker2ReqId.values()):
            wrapper.tickers.pop(hash(line.contract), None)

    @property
    def _wrapper(self) -> Any:
        return self._link.ib.wrapper

    def _request_id(self, line: Line) -> int | None:
        """Return the id of a line's request; it is another one after each reconnect."""
        if line.request_id in self._link.subscriptions.numbers:
            return line.request_id
        found: int | None = self._wrapper.ticker2ReqId["mktData"].get(line.ticker)
        return found

    def _on_error(self, request_id: int, code: int, text: str, _: Contract | None) -> None:
        if code not in FATAL:
            return
        for line in self._open.values():
            if self._request_id(line) == request_id:
                line.error = refused(code, text, line.contract)
                line.alive.set()
