"""Requests for single trades and quotes: as they happen, and those of the past.

Not here: the trades themselves (`ibkit.sim.trades`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ibkit.sim import times
from ibkit.sim.handlers.bars import NO_TRADES, ONLY_TRADES, WORDS
from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.lines import NEEDS_MORE
from ibkit.sim.handlers.refusal import RefusedError, hmds, invalid
from ibkit.sim.trades import UNREPORTED, BidAsk, bid_asks, open_spans, trades
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r
from ibkit.sim.wire.fields import plain
from ibkit.sim.worker import Deliver, Later, check_wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.server import Gateway
    from ibkit.sim.wire import Message

KINDS: Final = {"Last": 1, "AllLast": 2, "BidAsk": 3, "MidPoint": 4}
HISTORY: Final = {"TRADES": "AllLast", "BID_ASK": "BidAsk", "MIDPOINT": "MidPoint"}
MOST_TICKS: Final = 1_000
MOST_AT_ONCE_S: Final = 600  # how much a stream makes up for after a jump of the clock
BACK_S: Final = 15 * 86_400
FIRST_LOOK_S: Final = 64
NO_LAST: Final = frozenset({"OPT", "FOP"})  # tick by tick has no trades of options


@dataclass(slots=True)
class TickLine:
    """One client's stream of single ticks, and the second up to which it was told."""

    req_id: int
    instrument: Instrument
    kind: str
    told: int
    size_ignored: bool
    seen: tuple[Any, ...] | None = None


def req_tick_by_tick_data(client: Client, values: Record) -> None:
    """Open a stream; ticks of the past come first when some were asked for."""
    req_id, gateway = values["req_id"], client.gateway
    if req_id in client.streams.ticks:
        raise RefusedError(102, "Duplicate ticker ID.")
    if values["tick_type"] not in KINDS:
        raise invalid(f"Invalid tick-by-tick type {values['tick_type']}")
    count = values["count"] or 0
    if not 0 <= count <= MOST_TICKS:
        raise invalid(f"Invalid number of ticks {count}")
    limit = gateway.limits.tick_by_tick
    if limit and len(client.streams.ticks) >= limit:
        raise RefusedError(10190, "Max number of tick-by-tick requests has been reached.")
    instrument = resolve(gateway, values)
    check(gateway, instrument, values["tick_type"])
    check_again(client, instrument)
    now = int(gateway.clock.now())
    line = TickLine(req_id, instrument, values["tick_type"], now, values["ignore_size"])
    if count:
        send_history(client, line, last_ticks(gateway, line, now + 1, count, now))
    client.streams.ticks[req_id] = line
    gateway.stream.wake()


def check(gateway: Gateway, instrument: Instrument, kind: str) -> None:
    """Refuse ticks that this kind of instrument does not have, or that are not paid for."""
    trades_of = kind in {"Last", "AllLast"}
    missing = (trades_of and instrument.sec_type in NO_TRADES | NO_LAST) or (
        not trades_of and instrument.sec_type in ONLY_TRADES
    )
    if missing or gateway.entitlements.level(instrument) != "live":
        where = instrument.primary_exchange or instrument.exchange
        cause = (
            f"Tick-by-tick data of type {kind} is not supported for {instrument.sec_type}."
            if missing
            else f"No market data permissions for {where} {instrument.sec_type}. {NEEDS_MORE}"
        )
        raise RefusedError(10189, f"Failed to request tick-by-tick data.{cause}")


def check_again(client: Client, instrument: Instrument) -> None:
    """Refuse a second request for an instrument that comes too soon, where that is a limit."""
    gateway, asked = client.gateway, client.tick_requests
    every, now = gateway.limits.same_tick_by_tick_s, gateway.clock.now()
    if every and now - asked.get(instrument.con_id, float("-inf")) < every:
        raise RefusedError(
            10189,
            "Failed to request tick-by-tick data.Only one request for the same instrument in "
            f"{every:g} seconds.",
        )
    asked[instrument.con_id] = now


def cancel_tick_by_tick_data(client: Client, values: Record) -> None:
    """Close a stream, silently."""
    if client.streams.ticks.pop(values["req_id"], None) is None:
        raise RefusedError(300, f"Can't find EId with tickerId:{values['req_id']}")


# --- the streams --------------------------------------------------------------------------------


def send_ticks(client: Client, now: float) -> None:
    """Send the ticks of the seconds that have begun since the last time."""
    for line in tuple(client.streams.ticks.values()):
        first = max(line.told + 1, int(now) + 1 - MOST_AT_ONCE_S)
        for values in made(client.gateway, line, first, int(now) + 1):
            client.send(r.TICK_BY_TICK, values, req_id=line.req_id, kind=KINDS[line.kind])
        line.told = max(line.told, int(now))


def made(gateway: Gateway, line: TickLine, start: int, end: int) -> Iterator[Record]:
    """Yield the ticks of the seconds from `start` to before `end`."""
    market, instrument = gateway.market, line.instrument
    if line.kind in {"Last", "AllLast"}:
        for trade in trades(market, gateway.seed, instrument, start, end):
            if line.kind == "AllLast" or not trade.attributes & UNREPORTED:
                yield trade._asdict()
        return
    for row in bid_asks(market, instrument, start, end):
        prices = shown(line, row)
        if prices == line.seen:
            continue
        line.seen = prices
        if line.kind == "BidAsk":
            yield row._asdict()
        else:
            yield {"time": row.time, "midpoint": round(prices[0], 10)}


def shown(line: TickLine, row: BidAsk) -> tuple[float, ...]:
    """Return what of a row makes a tick, when it changes."""
    if line.kind == "MidPoint":
        return ((row.bid + row.ask) / 2,)
    return row[1:3] if line.size_ignored else row[1:]


# --- the past -----------------------------------------------------------------------------------


def req_historical_ticks(client: Client, values: Record) -> Later:
    """Answer with ticks before an end or after a start; the last second is always complete."""
    gateway, what = client.gateway, values["what_to_show"]
    if what not in HISTORY:
        raise invalid("What to show field is missing or incorrect.")
    if bool(values["start"]) == bool(values["end"]):
        raise invalid("Please specify either start or end of the ticks, and not both.")
    if not 0 < values["count"] <= MOST_TICKS:
        raise invalid("Number of ticks must be between 1 and 1000.")
    instrument = resolve(gateway, values)
    check_history(gateway, instrument, what)
    line = TickLine(values["req_id"], instrument, HISTORY[what], 0, values["ignore_size"])
    at = read_time(client, values, instrument)
    find = first_ticks if values["start"] else last_ticks
    now = int(gateway.clock.now())

    def compute() -> Deliver:
        found = find(gateway, line, at, values["count"], now, use_rth=values["use_rth"])
        return partial(send_history, client, line, found)

    return Later(compute)


def check_history(gateway: Gateway, instrument: Instrument, what: str) -> None:
    """Refuse ticks that do not exist or are not paid for."""
    if (what == "TRADES" and instrument.sec_type in NO_TRADES) or (
        what != "TRADES" and instrument.sec_type in ONLY_TRADES
    ):
        raise RefusedError(
            10187,
            f"Failed to request historical ticks:No historical market data for "
            f"{instrument.symbol}/{instrument.sec_type}@{instrument.exchange} {WORDS[what]}",
        )
    if gateway.entitlements.level(instrument) != "live":
        where = instrument.primary_exchange or instrument.exchange
        raise hmds(f"No market data permissions for {where} {instrument.sec_type}")


def read_time(client: Client, values: Record, instrument: Instrument) -> int:
    """Return the second that a request begins or ends at."""
    text = values["start"] or values["end"]
    try:
        at, zoneless = times.parse_time(text, instrument.time_zone_id)
    except times.TimeTextError as error:
        raise RefusedError(10314, f"Start/End Date/Time: {error}.") from None
    if zoneless:
        client.error(
            values["req_id"],
            2174,
            "Warning: You submitted request with date-time attributes without explicit time zone.",
        )
    return int(at)


def last_ticks(
    gateway: Gateway, line: TickLine, end: int, count: int, now: int, *, use_rth: bool = False
) -> list[Record]:
    """Return the last `count` ticks before `end`, and what else is in the first one's second."""
    end = min(end, now + 1)
    start = max(end - BACK_S, int(gateway.market.head(line.instrument)))
    found: list[Record] = []
    stretches = open_spans(gateway.market, line.instrument, start, end, use_rth=use_rth)
    for begin, stop in reversed(stretches):
        at, width = stop, FIRST_LOOK_S
        while at > begin and len(found) < count:
            check_wanted()
            low = max(begin, at - width)
            found = [*past(gateway, line, low, at), *found]
            at, width = low, 2 * width
        if len(found) >= count:
            break
    return _whole_seconds(found, count)


def past(gateway: Gateway, line: TickLine, start: int, end: int) -> Iterator[Record]:
    """Yield the ticks of some seconds of the past; the same ones, wherever one begins to ask."""
    market, instrument = gateway.market, line.instrument
    line.seen = None
    if line.kind in {"BidAsk", "MidPoint"} and market.is_open(instrument, start - 1):
        quote = market.quote(instrument, start - 1)
        if quote.bid is not None and quote.ask is not None:
            row = BidAsk(start - 1, quote.bid, quote.ask, quote.bid_size, quote.ask_size)
            line.seen = shown(line, row)
    return made(gateway, line, start, end)


def _whole_seconds(found: list[Record], count: int) -> list[Record]:
    """Return the last `count` ticks, with those that share the first one's second."""
    if len(found) <= count:
        return found
    second = found[-count]["time"]
    first = next(n for n, tick in enumerate(found) if tick["time"] >= second)
    return found[first:]


def first_ticks(
    gateway: Gateway, line: TickLine, start: int, count: int, now: int, *, use_rth: bool = False
) -> list[Record]:
    """Return the first `count` ticks from `start` on, and the rest of the last one's second."""
    end = min(now + 1, start + BACK_S)
    head = int(gateway.market.head(line.instrument))
    stretches = open_spans(gateway.market, line.instrument, max(start, head), end, use_rth=use_rth)
    found: list[Record] = []
    for begin, stop in stretches:
        at = begin
        while at < stop and len(found) < count:
            check_wanted()
            high = min(stop, at + FIRST_LOOK_S)
            found += past(gateway, line, at, high)
            at = high
    if len(found) <= count:
        return found
    second = found[count - 1]["time"]
    return [tick for tick in found if tick["time"] <= second]


def send_history(client: Client, line: TickLine, found: list[Record]) -> None:
    """Send ticks of the past in one message that says it is the last."""
    message, names = COLUMNS[line.kind]
    rows = [tuple(_cell(tick.get(name, 0)) for name in names) for tick in found]
    client.send(message, req_id=line.req_id, ticks=rows, done=True)


def _cell(value: Any) -> Any:
    return plain(value) if isinstance(value, float) else value


LAST_COLUMNS: Final = ("time", "attributes", "price", "size", "exchange", "conditions")
COLUMNS: Final[dict[str, tuple[Message, tuple[str, ...]]]] = {
    "Last": (r.TICKS_LAST, LAST_COLUMNS),
    "AllLast": (r.TICKS_LAST, LAST_COLUMNS),
    "BidAsk": (
        r.TICKS_BID_ASK,
        ("time", "attributes", "bid", "ask", "bid_size", "ask_size"),
    ),
    "MidPoint": (r.TICKS_MIDPOINT, ("time", "attributes", "midpoint", "size")),
}
HANDLERS: Final = {
    "req_tick_by_tick_data": req_tick_by_tick_data,
    "cancel_tick_by_tick_data": cancel_tick_by_tick_data,
    "req_historical_ticks": req_historical_ticks,
}
