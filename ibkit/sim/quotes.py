"""What a change of the quote looks like on the wire: which ticks, in which order.

Pure: from quotes to messages. Not here: when they are sent (`stream`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ibkit.sim.wire import Message
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.screen import Quote

BID_SIZE, BID, ASK, ASK_SIZE, LAST, LAST_SIZE, HIGH, LOW, VOLUME, CLOSE = range(10)
OPEN, BID_EXCHANGE, ASK_EXCHANGE, MARK_PRICE, LAST_TIME, RT_VOLUME = 14, 32, 33, 37, 45, 48
CAN_AUTO_EXECUTE: Final = 1
LIVE: Final = 1
SNAPSHOT_PERMISSIONS: Final = 3
LETTERS: Final = {"NASDAQ": ("9c0001", "Q"), "ARCA": ("a60001", "P")}

UNSEEN: Final = (None, -1.0)

Tick = tuple[Message, dict[str, Any]]


@dataclass(slots=True)
class Subscription:
    """One client's line on one instrument, and what it saw last."""

    req_id: int
    instrument: Instrument
    generic: frozenset[int] = frozenset()
    seen: Quote | None = None


def price(kind: int, value: float, size: float = 0, attributes: int = 0) -> Tick:
    """Return a price tick."""
    return r.TICK_PRICE, {
        "tick_type": kind,
        "price": value,
        "size": size,
        "attributes": attributes,
    }


def size_tick(kind: int, value: float) -> Tick:
    """Return a size tick."""
    return r.TICK_SIZE, {"tick_type": kind, "size": value}


def text_tick(kind: int, value: str) -> Tick:
    """Return a text tick."""
    return r.TICK_STRING, {"tick_type": kind, "value": value}


def first_ticks(sub: Subscription, quote: Quote) -> Iterator[Tick]:
    """Yield what a new subscription gets, in the order that was recorded from a real gateway."""
    key, letter = LETTERS.get(sub.instrument.primary_exchange, ("", ""))
    yield r.MARKET_DATA_TYPE, {"market_data_type": LIVE}
    yield (
        r.TICK_REQ_PARAMS,
        {
            "min_tick": sub.instrument.min_tick,
            "bbo_exchange": key,
            "snapshot_permissions": SNAPSHOT_PERMISSIONS if key else 0,
        },
    )
    if quote.last is not None:
        yield text_tick(LAST_TIME, str(int(quote.last_time)))
        yield price(LAST, quote.last, quote.last_size)
        yield size_tick(LAST_SIZE, quote.last_size)
        yield size_tick(VOLUME, quote.volume)
    for kind, value in (
        (HIGH, quote.high),
        (LOW, quote.low),
        (CLOSE, quote.close),
        (OPEN, quote.open),
    ):
        if value is not None:
            yield price(kind, value)
    yield from _sides(quote, None)
    if letter:
        yield text_tick(BID_EXCHANGE, letter)
        yield text_tick(ASK_EXCHANGE, letter)
    yield from _extras(sub, quote)


def next_ticks(sub: Subscription, quote: Quote) -> Iterator[Tick]:
    """Yield what changed since the last quote."""
    seen = sub.seen
    assert seen is not None
    yield from _sides(quote, seen)
    if quote.last is not None and (quote.last_time, quote.last, quote.volume) != (
        seen.last_time,
        seen.last,
        seen.volume,
    ):
        if quote.last_time != seen.last_time:
            yield text_tick(LAST_TIME, str(int(quote.last_time)))
        yield price(LAST, quote.last, quote.last_size)
        yield size_tick(LAST_SIZE, quote.last_size)
        if quote.volume != seen.volume:
            yield size_tick(VOLUME, quote.volume)
        yield from _extras(sub, quote)
    for kind, now, before in ((HIGH, quote.high, seen.high), (LOW, quote.low, seen.low)):
        if now is not None and now != before:
            yield price(kind, now)


def _sides(quote: Quote, seen: Quote | None) -> Iterator[Tick]:
    """Yield bid and ask: a price always carries its size and is followed by it once more."""
    old_bid, old_ask = (
        ((seen.bid, seen.bid_size), (seen.ask, seen.ask_size)) if seen else (UNSEEN, UNSEEN)
    )
    sides = (
        (BID, BID_SIZE, quote.bid, quote.bid_size, old_bid),
        (ASK, ASK_SIZE, quote.ask, quote.ask_size, old_ask),
    )
    for kind, size_kind, value, size, (old_value, old_size) in sides:
        if value is None or (value, size) == (old_value, old_size):
            continue
        if value != old_value:
            yield price(kind, value, size, CAN_AUTO_EXECUTE)
        yield size_tick(size_kind, size)


def _extras(sub: Subscription, quote: Quote) -> Iterator[Tick]:
    """Yield the generic ticks that the client asked for and the market knows."""
    if 233 in sub.generic and quote.last is not None:
        parts = (
            quote.last,
            quote.last_size,
            int(quote.last_time * 1000),
            quote.volume,
            quote.last,
            "true",
        )
        yield text_tick(RT_VOLUME, ";".join(map(str, parts)))
    if sub.generic & {221, 232} and quote.last is not None:
        yield price(MARK_PRICE, quote.last)
