"""Requests for real-time bars: one of five seconds every five seconds.

Not here: bars of the past and those kept up to date (`handlers.history`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ibkit.schema import BAR_SIZES
from ibkit.sim.handlers.bars import NO_TRADES, ONLY_TRADES
from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.lines import NEEDS_MORE
from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.market import NoDataError
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.screen import Quote
    from ibkit.sim.server import Gateway

SECONDS: Final = 5
SHOWN: Final = frozenset({"TRADES", "MIDPOINT", "BID", "ASK"})
MOST_AT_ONCE: Final = 720  # bars that a stream makes up for after a jump of the clock
UNKNOWN: Final = -1


@dataclass(slots=True)
class LiveBars:
    """One client's real-time bars, and the start of the next one."""

    req_id: int
    instrument: Instrument
    what: str
    use_rth: bool
    next_start: int


def req_real_time_bars(client: Client, values: Record) -> None:
    """Begin with the bar that is in progress."""
    req_id, gateway = values["req_id"], client.gateway
    if req_id in client.streams.real_time_bars:
        raise RefusedError(102, "Duplicate ticker ID.")
    if values["bar_size"] != SECONDS:
        raise invalid("Real-time bars are available in 5 second size only.")
    if values["what_to_show"] not in SHOWN:
        raise invalid("What to show field is missing or incorrect.")
    instrument = resolve(gateway, values)
    if gateway.entitlements.level(instrument) != "live":
        raise RefusedError(10089, NEEDS_MORE)
    traded = values["what_to_show"] == "TRADES"
    if instrument.sec_type in (NO_TRADES if traded else ONLY_TRADES):
        raise RefusedError(420, "Invalid Real-time Query:No such data for this security type")
    now = int(gateway.clock.now())
    client.streams.real_time_bars[req_id] = LiveBars(
        req_id, instrument, values["what_to_show"], values["use_rth"], now // SECONDS * SECONDS
    )
    gateway.stream.wake()


def cancel_real_time_bars(client: Client, values: Record) -> None:
    """End the bars, silently."""
    if client.streams.real_time_bars.pop(values["req_id"], None) is None:
        raise RefusedError(300, f"Can't find EId with tickerId:{values['req_id']}")


def send_bars(client: Client, now: float) -> None:
    """Send the bars that are complete; five seconds without a trade have none."""
    complete = int(now) // SECONDS * SECONDS
    for line in tuple(client.streams.real_time_bars.values()):
        start = max(line.next_start, complete - MOST_AT_ONCE * SECONDS)
        line.next_start = max(line.next_start, complete)
        for row in bars(client.gateway, line, start, complete):
            client.send_line(r.REALTIME_BAR, (line.req_id, *row))


def bars(gateway: Gateway, line: LiveBars, start: int, end: int) -> list[tuple[object, ...]]:
    """Return the bars from `start` to before `end`; of quotes where history has none."""
    if start >= end:
        return []
    known: dict[int, tuple[object, ...]] = {}
    try:
        found = gateway.market.bars(
            line.instrument, start, end, BAR_SIZES["5 secs"], line.what, line.use_rth
        )
    except NoDataError:
        pass
    else:
        columns = (found.open, found.high, found.low, found.close, found.volume, found.wap)
        for n, at in enumerate(found.time.tolist()):
            sums = [x if (x := float(column[n])) != int(x) else int(x) for column in columns[4:]]
            prices = [float(column[n]) for column in columns[:4]]
            known[at] = (at, *prices, *sums, int(found.count[n]))
    starts = range(start, end, SECONDS)
    return [row for at in starts if (row := known.get(at) or from_quotes(gateway, line, at))]


def from_quotes(gateway: Gateway, line: LiveBars, start: int) -> tuple[object, ...] | None:
    """Return a bar of what the screen showed, where the market is kept open or only replayed."""
    market, instrument = gateway.market, line.instrument
    always_open = getattr(market, "always_open", None)  # a recording does not say
    if always_open is False or (always_open and market.is_open(instrument, start)):
        return None
    quotes = [market.quote(instrument, start + n) for n in range(SECONDS)]
    prices = [price for quote in quotes if (price := shown(quote, line.what)) is not None]
    if not prices:
        return None
    ohlc = (prices[0], max(prices), min(prices), prices[-1])
    if line.what != "TRADES":
        return (start, *ohlc, UNKNOWN, UNKNOWN, UNKNOWN)
    volume = max(quotes[-1].volume - market.quote(instrument, start - 1).volume, 0)
    return (start, *ohlc, volume, round(sum(prices) / len(prices), 6), SECONDS if volume else 0)


def shown(quote: Quote, what: str) -> float | None:
    """Return the price of a quote that a series shows."""
    if what == "TRADES":
        return quote.last
    if quote.bid is None or quote.ask is None:
        return None
    return {"BID": quote.bid, "ASK": quote.ask}.get(what, round((quote.bid + quote.ask) / 2, 10))


HANDLERS: Final = {
    "req_real_time_bars": req_real_time_bars,
    "cancel_real_time_bars": cancel_real_time_bars,
}
