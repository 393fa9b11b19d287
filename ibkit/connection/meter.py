"""What one link costs, measured where ib_async reads its socket, and the metrics made from it.

A socket read costs three readings of the clock, a tick one addition. Not here: how times are kept
(`ibkit.timing`), who serves metrics (`ibkit.serving`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, get_args
from weakref import WeakSet

from ib_async import IB
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ibkit import clock, codes
from ibkit.connection.health import State
from ibkit.errors import LedgerError
from ibkit.log import get_logger
from ibkit.metrics import ERRORS, REGISTRY
from ibkit.timing import JOURNAL, STORE, Timer, timings_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd
    from prometheus_client import Metric

    from ibkit.connection.link import Link

log = get_logger(__name__)
# messages that carry a price, a size, a bar or a level: the ids of IB's protocol
TICKS: Final = (1, 2, 12, 13, 21, 45, 46, 50, 81, 90, 99)
# told apart from the others: both happen once a read, whatever came
EVERY_READ: Final = frozenset({"updateEvent", "pendingTickersEvent"})
LAG_S: Final = 0.25
STATES: Final = get_args(State)


class Meter:
    """The clockwork of one link. Used on its loop; reading it from elsewhere is harmless.

    Parameters
    ----------
    ib : IB
        Its connection's `data_received`, its events' `emit` and its decoder's handlers of ticks
        are replaced on these very objects.
    """

    def __init__(self, ib: IB) -> None:
        client: Any = ib.client
        self.bytes = self.ticks = 0
        self.reads, self.decode, self.handlers, self.lag = Timer(), Timer(), Timer(), Timer()
        self._handled_s, self._depth = 0.0, 0
        self._due: asyncio.TimerHandle | None = None
        self._emit = client.conn.hasData.emit
        client.conn.data_received = self._read
        client._tcpDataProcessed = self._timed(client._tcpDataProcessed)  # noqa: SLF001 - no other way in
        for name in set(IB.events) - EVERY_READ:
            event = getattr(ib, name)
            event.emit = self._timed(event.emit)
        for number in TICKS:
            handlers = client.decoder.handlers
            handlers[number] = self._counted(handlers[number])
        ib.errorEvent += self._on_error

    def watch(self) -> None:
        """Measure how late the loop is, until `stop`."""
        if self._due is None:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(loop.time() + LAG_S, self._look, loop)

    def stop(self) -> None:
        """Measure the loop no more."""
        due, self._due = self._due, None
        if due is not None:
            due.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._due is not None:
            now = loop.time()
            self.lag.add(max(0.0, now - self._due.when()))
            self._due = loop.call_at(now + LAG_S, self._look, loop)

    def _read(self, data: bytes) -> None:
        """Take in what the socket gave, as ib_async's connection does."""
        before, began = self._handled_s, clock.monotonic()
        self._emit(data)
        took_s = clock.monotonic() - began
        self.bytes += len(data)
        self.reads.add(took_s)
        self.decode.add(max(0.0, took_s - (self._handled_s - before)))

    def _timed(self, function: Callable[..., None]) -> Callable[..., None]:
        """Return `function`, timed; what it calls of the same kind is part of it."""

        def timed(*args: Any) -> None:
            if self._depth:
                function(*args)
                return
            self._depth, began = 1, clock.monotonic()
            try:
                function(*args)
            finally:
                took_s, self._depth = clock.monotonic() - began, 0
                self._handled_s += took_s
                self.handlers.add(took_s)

        return timed

    def _counted(self, function: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
        def counted(fields: list[str]) -> None:
            self.ticks += 1
            function(fields)

        return counted

    def _on_error(self, _: int, code: int, text: str, __: object) -> None:
        known = codes.find(code, text)
        ERRORS.labels(known.kind if known else "unknown").inc()


def timings(links: Sequence[Link]) -> pd.DataFrame:
    """Return where the time of a kit's links goes, see `ibkit.kit.Kit.timings`."""
    timers: dict[tuple[str, str], Timer] = {}
    for link in links:
        whose, meter = f" ({link.role})" if len(links) > 1 else "", link.meter
        timers["socket", f"reads{whose}"] = meter.reads
        timers["decode", f"reads{whose}"] = meter.decode
        timers["handler", f"on the loop{whose}"] = meter.handlers
    timers["handler", "of users"] = links[0].events.timer
    timers["disk", "store commits"] = STORE
    timers["disk", "journal syncs"] = JOURNAL
    timers["loop", "lag"] = links[0].meter.lag
    frame = timings_frame(timers)
    for name, count in (("bytes_in", "bytes"), ("ticks", "ticks")):
        frame.attrs[name] = sum(getattr(link.meter, count) for link in links)
    return frame


# the links of this process; each scrape asks those that are still there
LINKS: WeakSet[Link] = WeakSet()


class LinkCollector(Collector):
    """Makes metrics of the links, when they are asked for."""

    def collect(self) -> Iterable[Metric]:
        """Yield each family; a link that is gone has no rows any more."""
        links = _distinct(LINKS)
        names = ("profile", "client")
        state = GaugeMetricFamily(
            "ibkit_link_state", "1 for the state it is in", labels=(*names, "state")
        )
        left = GaugeMetricFamily(
            "ibkit_pacing_left", "What is left of a limit", labels=(*names, "rule")
        )
        waiting = GaugeMetricFamily(
            "ibkit_gate_waiting", "Messages that wait for their turn", labels=names
        )
        ticks = CounterMetricFamily("ibkit_ticks", "Ticks, bars and levels that came", labels=names)
        received = CounterMetricFamily("ibkit_socket_bytes", "Bytes that came", labels=names)
        reads = CounterMetricFamily("ibkit_socket_reads", "Reads of the socket", labels=names)
        for who, link in links.items():
            for each in STATES:
                state.add_metric((*who, each), float(link.state == each))
            for rule, count in _left(link):
                left.add_metric((*who, rule), count)
            waiting.add_metric(who, link.gate.waiting)
            ticks.add_metric(who, link.meter.ticks)
            received.add_metric(who, link.meter.bytes)
            reads.add_metric(who, link.meter.reads.count)
        yield from (state, left, waiting, ticks, received, reads)

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: the names are known without asking anybody."""
        return ()


def _distinct(links: Iterable[Link]) -> dict[tuple[str, str], Link]:
    """Return one link for each profile and client id; an open one rather."""
    by_state = sorted(links, key=lambda link: link.state not in {"closed", "failed"})
    return {(link.profile.name, str(link.profile.client_id)): link for link in by_state}


def _left(link: Link) -> Iterator[tuple[str, float]]:
    """Yield what is left of each rule; the ledger's file may be gone, the other metrics are not."""
    ledger = link.permits.ledger
    if ledger is None or ledger.closed:
        return
    with suppress(KeyError):
        try:
            frame = ledger.gauge()
        except LedgerError as error:
            log.warning("the pacing budget cannot be read", error=str(error).partition("\n")[0])
            return
        yield from ((str(rule), float(count)) for rule, count in frame["left"].items())


REGISTRY.register(LinkCollector())
