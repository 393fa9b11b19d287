"""What a change of the quote looks like on the wire: which ticks, in which order.

Pure: from quotes to messages. Not here: when they are sent (`stream`), nor the ticks that a client
asks for by number (`generics`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ibkit.sim.wire import Message
from ibkit.sim.wire import replies as r
from ibkit.sim.wire.fields import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.screen import Quote


class Kinds(NamedTuple):
    """The numbers of the ticks of one kind of market data."""

    bid: int
    ask: int
    last: int
    bid_size: int
    ask_size: int
    last_size: int
    high: int
    low: int
    volume: int
    close: int
    open: int
    last_time: int


LIVE_KINDS: Final = Kinds(1, 2, 4, 0, 3, 5, 6, 7, 8, 9, 14, 45)
DELAYED_KINDS: Final = Kinds(66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 88)
BID_EXCHANGE, ASK_EXCHANGE, HALTED = 32, 33, 49
LIVE, FROZEN, DELAYED, DELAYED_FROZEN = range(1, 5)
DELAY_S: Final = 900.0
CAN_AUTO_EXECUTE: Final = 1
SNAPSHOT_PERMISSIONS: Final = 3
LETTERS: Final = {"NASDAQ": ("9c0001", "Q"), "ARCA": ("a60001", "P")}
HALTING: Final = frozenset({"STK", "ETF"})
NOTHING: Final = -1  # the price of a side that is empty

# a flat message, and its values after the request id
Tick = tuple[Message, tuple[Any, ...]]


@dataclass(slots=True)
class Subscription:
    """One client's line on one instrument, and what it saw last.

    Attributes
    ----------
    data_type : int
        What the client was told: 1 live, 2 frozen, 3 delayed, 4 delayed and frozen.
    due : float
        When the line is looked at again.
    silent : bool
        Whether nothing streams for now, as while another session has the data.
    """

    req_id: int
    instrument: Instrument
    generic: frozenset[int] = frozenset()
    seen: Quote | None = None
    data_type: int = LIVE
    wanted_type: int = LIVE
    due: float = 0.0
    silent: bool = False
    news_since: float = 0.0
    news_from: frozenset[str] = frozenset()
    kinds: Kinds = field(init=False)

    def __post_init__(self) -> None:
        """Find the numbers of its ticks."""
        self.tell(self.data_type)

    def tell(self, data_type: int) -> None:
        """Set the kind of market data."""
        self.data_type = data_type
        self.kinds = DELAYED_KINDS if data_type >= DELAYED else LIVE_KINDS

    @property
    def delay(self) -> float:
        """How old its prices are, in seconds."""
        return DELAY_S if self.data_type >= DELAYED else 0.0


def params(sub: Subscription) -> Tick:
    """Return what a line is told about its instrument first; no key without live data."""
    key = LETTERS.get(sub.instrument.primary_exchange, ("", ""))[0]
    key = key if sub.data_type < DELAYED else ""
    permissions = SNAPSHOT_PERMISSIONS if key else 0
    return r.TICK_REQ_PARAMS, (plain(float(sub.instrument.min_tick)), key, permissions)


def first_ticks(sub: Subscription, quote: Quote) -> Iterator[Tick]:
    """Yield what a new subscription gets, in the order that was recorded from a real gateway."""
    kinds = sub.kinds
    yield r.MARKET_DATA_TYPE, (sub.data_type,)
    yield params(sub)
    if quote.last is not None:
        yield from _trade(kinds, quote, None)
    for kind, value in (
        (kinds.high, quote.high),
        (kinds.low, quote.low),
        (kinds.close, quote.close),
        (kinds.open, quote.open),
    ):
        if value is not None:
            yield r.TICK_PRICE, (kind, plain(value), 0, 0)
    yield from _sides(kinds, quote, None)
    letter = LETTERS.get(sub.instrument.primary_exchange, ("", ""))[1]
    if letter and kinds is LIVE_KINDS:
        yield r.TICK_STRING, (BID_EXCHANGE, letter)
        yield r.TICK_STRING, (ASK_EXCHANGE, letter)
    if sub.instrument.sec_type in HALTING:
        yield r.TICK_GENERIC, (HALTED, int(quote.halted))


def next_ticks(sub: Subscription, quote: Quote) -> Iterator[Tick]:
    """Yield what changed since the last quote."""
    seen, kinds = sub.seen, sub.kinds
    assert seen is not None
    yield from _sides(kinds, quote, seen)
    if traded(quote, seen):
        yield from _trade(kinds, quote, seen)
    if quote.high is not None and quote.high != seen.high:
        yield r.TICK_PRICE, (kinds.high, plain(quote.high), 0, 0)
    if quote.low is not None and quote.low != seen.low:
        yield r.TICK_PRICE, (kinds.low, plain(quote.low), 0, 0)
    if quote.close is not None and quote.close != seen.close:
        yield r.TICK_PRICE, (kinds.close, plain(quote.close), 0, 0)
    if quote.open is not None and quote.open != seen.open:
        yield r.TICK_PRICE, (kinds.open, plain(quote.open), 0, 0)
    if quote.halted != seen.halted:
        yield r.TICK_GENERIC, (HALTED, int(quote.halted))


def traded(quote: Quote, seen: Quote) -> bool:
    """Whether something traded between two quotes."""
    return quote.last is not None and (
        quote.last != seen.last or quote.last_time != seen.last_time or quote.volume != seen.volume
    )


def _trade(kinds: Kinds, quote: Quote, seen: Quote | None) -> Iterator[Tick]:
    """Yield the last trade: its time, price with size, the size once more, the volume."""
    assert quote.last is not None
    if seen is None or quote.last_time != seen.last_time:
        yield r.TICK_STRING, (kinds.last_time, int(quote.last_time))
    size = plain(quote.last_size)
    yield r.TICK_PRICE, (kinds.last, plain(quote.last), size, 0)
    yield r.TICK_SIZE, (kinds.last_size, size)
    if seen is None or quote.volume != seen.volume:
        yield r.TICK_SIZE, (kinds.volume, plain(quote.volume))


def _sides(kinds: Kinds, quote: Quote, seen: Quote | None) -> Iterator[Tick]:
    """Yield bid and ask: a price always carries its size and is followed by it once more.

    A side that has gone is told as the price -1 with size 0.
    """
    old = (seen.bid, seen.bid_size, seen.ask, seen.ask_size) if seen else (None, 0, None, 0)
    sides = (
        (kinds.bid, kinds.bid_size, quote.bid, quote.bid_size, old[0], old[1]),
        (kinds.ask, kinds.ask_size, quote.ask, quote.ask_size, old[2], old[3]),
    )
    for kind, size_kind, value, size, old_value, old_size in sides:
        if value != old_value:
            if value is None:
                yield r.TICK_PRICE, (kind, NOTHING, 0, 0)
            else:
                yield r.TICK_PRICE, (kind, plain(value), plain(size), CAN_AUTO_EXECUTE)
            yield r.TICK_SIZE, (size_kind, plain(size))
        elif value is not None and size != old_size:
            yield r.TICK_SIZE, (size_kind, plain(size))
