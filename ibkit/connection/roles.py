"""Data and trading on connections of their own: who serves what, and opening both.

A profile without `roles` has one link that serves both. Not here: how a link lives (`link`), what a
profile may say about roles (`ibkit.settings`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from eventkit import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.connection.health import Told
    from ibkit.connection.link import Link

# what of ib_async's API is about the market; the rest is about the account and its orders
DATA_METHODS: Final = frozenset(
    {
        "calculateImpliedVolatility",
        "calculateOptionPrice",
        "cancelHistoricalData",
        "cancelMktData",
        "cancelMktDepth",
        "cancelNewsBulletins",
        "cancelRealTimeBars",
        "cancelScannerSubscription",
        "cancelTickByTickData",
        "cancelWshEventData",
        "cancelWshMetaData",
        "getWshEventData",
        "getWshMetaData",
        "newsBulletins",
        "newsTicks",
        "pendingTickers",
        "qualifyContracts",
        "realtimeBars",
        "reqContractDetails",
        "reqFundamentalData",
        "reqHeadTimeStamp",
        "reqHistogramData",
        "reqHistoricalData",
        "reqHistoricalNews",
        "reqHistoricalSchedule",
        "reqHistoricalTicks",
        "reqMarketDataType",
        "reqMarketRule",
        "reqMatchingSymbols",
        "reqMktData",
        "reqMktDepth",
        "reqMktDepthExchanges",
        "reqNewsArticle",
        "reqNewsBulletins",
        "reqNewsProviders",
        "reqRealTimeBars",
        "reqScannerData",
        "reqScannerParameters",
        "reqScannerSubscription",
        "reqSecDefOptParams",
        "reqSmartComponents",
        "reqTickByTickData",
        "reqTickers",
        "reqWshEventData",
        "reqWshMetaData",
        "ticker",
        "tickers",
    }
)
DATA_EVENTS: Final = frozenset(
    {
        "barUpdateEvent",
        "newsBulletinEvent",
        "pendingTickersEvent",
        "scannerDataEvent",
        "tickNewsEvent",
        "wshEvent",
        "wshMetaEvent",
    }
)
# what either connection may have to say
SHARED_EVENTS: Final = frozenset({"errorEvent", "timeoutEvent", "updateEvent"})


class Pair:
    """The links of a kit: one for trading, one for data; without roles they are the same.

    Parameters
    ----------
    trading, data : Link
        On one loop.
    """

    def __init__(self, trading: Link, data: Link) -> None:
        self.trading, self.data = trading, data
        self._shared: dict[str, Event] = {}

    @property
    def links(self) -> tuple[Link, ...]:
        """Each link once, trading first."""
        return (self.trading,) if self.trading is self.data else (self.trading, self.data)

    def serving(self, name: str) -> Link:
        """Return the link that serves a method or an event of ib_async's API."""
        about_data = name.removesuffix("Async") in DATA_METHODS or name in DATA_EVENTS
        return self.data if about_data else self.trading

    def event(self, name: str) -> Any:
        """Return an event of ib_async's API; one that both links emit is heard from both."""
        if name not in SHARED_EVENTS or self.trading is self.data:
            return getattr(self.serving(name).ib, name)
        if name not in self._shared:
            self._shared[name] = both = Event(name)
            for link in self.links:
                getattr(link.ib, name).connect(both.emit)
        return self._shared[name]

    def told(self) -> dict[tuple[int, str], Told]:
        """Return what IB told either link: each problem once, the newest last."""
        merged: dict[tuple[int, str], Told] = {}
        for link in self.links:
            for key, told in link.health.notices.items():
                merged[key] = merged[key].with_more(told) if key in merged else told
        return dict(sorted(merged.items(), key=lambda item: item[1].last))

    async def open(self) -> None:
        """Open all links at once; if one cannot be, none stays open, and its error is raised."""
        outcomes: list[BaseException | None] = []
        try:
            opening = (link.open() for link in self.links)
            outcomes = await asyncio.gather(*opening, return_exceptions=True)
        finally:
            if not outcomes or any(outcomes):
                await self.close()
        for outcome in filter(None, outcomes):
            raise outcome

    async def close(self) -> None:
        """Close all links, one after the other: trading first."""
        for link in self.links:
            await link.close()

    async def ready(self, timeout_s: float | None = None) -> None:
        """Wait until all links are ready; raises what `Link.ready` raises."""
        await asyncio.gather(*(link.ready(timeout_s) for link in self.links))


def speaks(link: Link, others: Sequence[Link]) -> bool:
    """Whether a link should pass on what its gateway says to everybody.

    One gateway tells each of its clients; the link for data leaves that to the one for trading
    while both are connected to the same.
    """
    return link.role != "data" or not any(
        other is not link
        and other.endpoint == link.endpoint
        and other.state in {"ready", "degraded"}
        for other in others
    )
