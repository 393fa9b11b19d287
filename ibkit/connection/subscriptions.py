"""Every open subscription of one `IB`, and how to put it on a new socket without a new object.

A subscription is the message that opened it and the ib_async object that it feeds. ib_async forgets
both when a socket ends; they are remembered here, and sent again with fresh ids, so that the
`Ticker`, the `BarDataList` and the `PnL` that a user holds come back to life with their handlers.
Runs on the loop thread only. Not here: when to do so (`supervisor`).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from ib_async import BarDataList

from ibkit import clock
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ib_async import IB, Contract

    from ibkit.connection.ledger import Grant

log = get_logger(__name__)
# message that opens a stream: where its request id stands, and what it is called
OPENS: Final = {
    "1": (2, "quotes"),
    "10": (2, "depth"),
    "20": (1, "bars"),
    "22": (1, "scanner"),
    "50": (2, "real-time bars"),
    "92": (1, "PnL"),
    "94": (1, "PnL of one position"),
    "97": (1, "tick-by-tick"),
}
# message that ends one: where the request id stands, and what it looked like when it was opened
CLOSES: Final = {
    "2": (2, "1"),
    "11": (2, "10"),
    "25": (2, "20"),
    "23": (2, "22"),
    "51": (2, "50"),
    "93": (1, "92"),
    "95": (1, "94"),
    "98": (1, "97"),
}
# IB's messages after which a subscription is over, whoever asked for it
ENDS: Final = frozenset(
    {101, 162, 200, 300, 309, 316, 321, 322, 354, 366, 420, 10092, 10168, 10189, 10190}
)
# from the end of a request for quotes: snapshot, regulatory snapshot, options, empty end
SNAPSHOTS: Final = slice(-4, -2)
DATA_TYPE: Final = "59"
NEWS_ON: Final = "12"
NEWS_OFF: Final = "13"
# from the end of a request for bars: keepUpToDate, chartOptions, and the empty end of the message
KEEP_UP: Final = -3
# where the span stands in it
DURATION: Final = 17
UNITS: Final = {"S": 1, "D": 86_400, "W": 604_800, "M": 2_592_000, "Y": 31_536_000}
BARS_S: Final = 60.0
# a new subscription begins with the picture of the moment: that is no sign of life yet
PICTURE_S: Final = 5.0
LONGEST_S: Final = 3600.0
# ended requests whose last ticks may still be on their way
FADING: Final = 32


@dataclass(slots=True)
class Stream:
    """One subscription.

    Attributes
    ----------
    message : str
        What opened it, as it went over the wire.
    request_id : int
        Its present one.
    target : Any
        The object of ib_async that it feeds: a Ticker, a list of bars, a PnL.
    kind : str
        In which of ib_async's tables it stands: for a ticker, its kind of ticks.
    contract : Contract or None
        What it is about.
    grant : Grant or None
        What it holds of IB's limits, until it is cancelled; a reconnect changes nothing of that.
    """

    message: str
    request_id: int
    target: Any
    kind: str
    contract: Contract | None
    grant: Grant | None = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return OPENS[self.message.partition("\0")[0]][1]

    @property
    def last(self) -> datetime | None:
        """When it last brought something, as far as its object knows."""
        newest = self.target
        if isinstance(newest, list):
            newest = newest[-1] if newest else None
        found = getattr(newest, "time", getattr(newest, "date", None))
        return found if isinstance(found, datetime) else None


@dataclass(slots=True)
class Silence:
    """When a stream was last asked for, and how long it may be silent after that."""

    asked: float
    patience_s: float


class Subscriptions:
    """What is subscribed, and what was when the socket ended.

    Parameters
    ----------
    ib : IB
        Its wrapper's `setEventsDone` and `connectionClosed` are replaced on this very object: the
        events of what is going to be resumed must not end with a socket.
    lost : callable
        Called before ib_async forgets everything.

    Attributes
    ----------
    keep : bool
        Whether the subscriptions outlive the end of the socket.
    """

    def __init__(self, ib: IB, lost: Callable[[], None]) -> None:
        self._ib, self._lost = ib, lost
        self._wrapper = cast("Any", ib.wrapper)  # ib_async is typed in part only
        self._client = cast("Any", ib.client)
        self._opened: dict[int, str] = {}
        self._data_type = self._news = ""
        self._kept: list[Stream] = []
        self._grants: dict[int, Grant] = {}
        self._snapshots: set[int] = set()
        self._ended: deque[int] = deque()
        self.keep = False
        self._ticked: dict[int, float] = {}
        self._silence: dict[int, Silence] = {}
        ib.pendingTickersEvent += self._on_ticks
        self._end_events: Callable[[], None] = self._wrapper.setEventsDone
        self._close: Callable[[], None] = self._wrapper.connectionClosed
        self._wrapper.setEventsDone = self._on_events_done
        self._wrapper.connectionClosed = self._on_closed
        self._end_request: Callable[..., None] = self._wrapper._endReq  # noqa: SLF001 - it has no other way in
        self._wrapper._endReq = self._on_request_end  # noqa: SLF001 - as above

    def note(self, message: str, grant: Grant | None = None) -> None:
        """Look at a message on its way out: it may begin or end a stream, and what that holds."""
        kind = message.partition("\0")[0]
        if kind in OPENS:
            if kind == "20" and message.split("\0")[KEEP_UP] != "1":
                return
            number = _number(message, OPENS[kind][0])
            if kind == "1" and "1" in message.split("\0")[SNAPSHOTS]:
                self._snapshots.add(number)
            else:
                self._opened[number] = message
            if grant is not None:
                self._grants[number] = grant
        elif kind in CLOSES:
            number = _number(message, CLOSES[kind][0])
            self._opened.pop(number, None)
            self._release(number)
            self._fade(number)
        elif kind == DATA_TYPE:
            self._data_type = message
        elif kind == NEWS_ON:
            self._news = message
        elif kind == NEWS_OFF:
            self._news = ""

    def live(self) -> list[Stream]:
        """Return the streams that are open on this socket, oldest first."""
        found = (self._stream(request_id, message) for request_id, message in self._opened.items())
        streams = [stream for stream in found if stream is not None]
        live, fed = {stream.request_id for stream in streams}, self._wrapper.reqId2Ticker
        self._opened = {
            number: message
            for number, message in self._opened.items()
            if number in live or number in fed  # a second one of a ticker: open, though unlisted
        }
        for number in self._grants.keys() - self._opened.keys() - self._snapshots:
            self._release(number)
        return streams

    @property
    def numbers(self) -> Collection[int]:
        """The request ids of the streams that are open."""
        return self._opened.keys()

    def hold(self, numbers: Iterable[int], grant: Grant) -> None:
        """Let open streams hold a grant, as far as they are open still."""
        for number in numbers:
            if number in self._opened:
                self._grants[number] = grant

    def holds(self, grant: Grant | None) -> bool:
        """Whether a subscription that is open, or waits to be resumed, keeps this grant."""
        return grant is not None and any(
            one is grant for one in (*self._grants.values(), *(kept.grant for kept in self._kept))
        )

    def refused(self, request_id: int, code: int) -> None:
        """Give back what a subscription held that IB ended with an error."""
        if code in ENDS:
            self._release(request_id)

    def release(self, request_id: int | None) -> None:
        """Give back what a subscription held that nobody will cancel at the gateway."""
        if request_id is not None:
            self._opened.pop(request_id, None)
            self._release(request_id)

    def forget(self, target: Any) -> None:
        """Drop what waits to be resumed for an object that nobody wants any more."""
        for stream in [one for one in self._kept if one.target is target]:
            self._kept.remove(stream)
            if stream.grant is not None:
                stream.grant.release()

    def give_back(self) -> None:
        """Give back all that is held: nothing will be resumed."""
        kept = (stream.grant for stream in self._kept)
        for grant in (*self._grants.values(), *kept):
            if grant is not None:
                grant.release()
        self._grants.clear()

    def _release(self, request_id: int) -> None:
        """Release a grant with the last of the requests that it covers."""
        self._snapshots.discard(request_id)
        grant = self._grants.pop(request_id, None)
        if grant is not None and not any(one is grant for one in self._grants.values()):
            grant.release()

    def _on_request_end(self, key: Any, *args: Any, **kwargs: Any) -> None:
        if key in self._snapshots:
            self._release(key)
            self._fade(key)
        self._end_request(key, *args, **kwargs)

    def _fade(self, request_id: int) -> None:
        """Let ib_async forget a ticker's id, as it never does, once its last ticks are through."""
        self._ended.append(request_id)
        if len(self._ended) > FADING:
            self._wrapper.reqId2Ticker.pop(self._ended.popleft(), None)

    def kept(self) -> list[Stream]:
        """Return the streams that the last socket took with it and that wait to be resumed."""
        return list(self._kept)

    def clear(self) -> None:
        """Forget everything: the connection was closed for good."""
        self.give_back()
        self._snapshots.clear()
        self._opened.clear()
        self._kept.clear()
        self._data_type = self._news = ""

    def greet_again(self) -> None:
        """Send what must come before the streams: the type of data, the news bulletins."""
        for message in (self._data_type, self._news):
            if message:
                self._client.sendMsg(message)

    async def resume(self, streams: Iterable[Stream] | None = None) -> list[Stream]:
        """Open streams again under fresh ids; by default those that the last socket took along.

        Returns
        -------
        list of Stream
            What was asked for again. Bars are in it when the hole is filled.
        """
        again = self._take_kept() if streams is None else list(streams)
        for stream in again if streams is not None else ():  # a new socket knows no old id
            self._forget(stream)
        bars = [self._reopen(stream) for stream in again]
        filling = [answer for answer in bars if answer is not None]
        if filling:
            await asyncio.wait(filling, timeout=BARS_S)
        return again

    def silent(self, since: float) -> list[Stream]:
        """Return the quotes that brought nothing since an instant of the loop's clock."""
        quotes = (stream for stream in self.live() if stream.kind == "mktData")
        return [one for one in quotes if self._ticked.get(id(one.target), -math.inf) < since]

    def doubtful(self, patience_s: float) -> list[Stream]:
        """Return the quotes that have been silent for longer than they are given.

        Each is given `patience_s` at first, and twice as long each time that asking again brought
        it nothing but the picture of the moment: a market that is closed is not asked for ever.
        """
        now = asyncio.get_running_loop().time()
        quotes = {id(one.target): one for one in self.live() if one.kind == "mktData"}
        self._silence = {key: self._silence.get(key) or Silence(now, patience_s) for key in quotes}
        self._ticked = {key: at for key, at in self._ticked.items() if key in quotes}
        found = []
        for key, silence in self._silence.items():
            last = self._ticked.get(key, -math.inf)
            if last > silence.asked + PICTURE_S:
                silence.asked, silence.patience_s = last - PICTURE_S, patience_s
            elif now - silence.asked >= silence.patience_s:
                silence.asked = now
                silence.patience_s = min(2 * silence.patience_s, LONGEST_S)
                found.append(quotes[key])
        return found

    def _on_ticks(self, tickers: Iterable[Any]) -> None:
        now = asyncio.get_running_loop().time()
        for ticker in tickers:
            self._ticked[id(ticker)] = now

    def end(self, stream: Stream) -> None:
        """Cancel a stream at the gateway, and keep its object, and what it holds."""
        self._grants.pop(stream.request_id, None)
        number, version = str(stream.request_id), {"1": "2", "10": "1"}
        kind = stream.message.partition("\0")[0]
        closing = next(close for close, (_, opened) in CLOSES.items() if opened == kind)
        at = CLOSES[closing][0]
        words = [closing, *([version.get(kind, "1")] if at == 2 else []), number]
        if kind == "10":
            words.append(stream.message.split("\0")[-3])  # smart depth
        self._client.sendMsg("\0".join([*words, ""]))

    # --- what ib_async knows ---------------------------------------------------------------------

    def _stream(self, request_id: int, message: str) -> Stream | None:
        """Return what ib_async feeds from a request; None if it ended the subscription."""
        wrapper = self._wrapper
        contract = wrapper._reqId2Contract.get(request_id)  # noqa: SLF001 - it has no other way in
        ticker, grant = wrapper.reqId2Ticker.get(request_id), self._grants.get(request_id)
        if ticker is not None:
            for kind, tickers in wrapper.ticker2ReqId.items():
                if kind != "snapshot" and tickers.get(ticker) == request_id:
                    return Stream(message, request_id, ticker, str(kind), ticker.contract, grant)
            return None
        for kind in ("reqId2Subscriber", "reqId2PnL", "reqId2PnlSingle"):
            target = getattr(wrapper, kind).get(request_id)
            if target is not None:
                return Stream(message, request_id, target, kind, contract, grant)
        return None

    def _on_events_done(self) -> None:
        """End the events of trades only: what is subscribed goes on."""
        if not self.keep:
            self._end_events()

    def _on_closed(self) -> None:
        if self.keep:
            found = self.live()
            self._kept += found
            for stream in found:  # the next socket counts its ids from the start
                self._grants.pop(stream.request_id, None)
            self._lost()
        for number in tuple(self._grants):
            self._release(number)
        self._opened.clear()
        self._snapshots.clear()
        self._close()

    def _take_kept(self) -> list[Stream]:
        kept, self._kept = self._kept, []
        return kept

    def _forget(self, stream: Stream) -> None:
        """Take the old id out of ib_async's tables, if it is still there."""
        wrapper, old = self._wrapper, stream.request_id
        self._opened.pop(old, None)
        wrapper._reqId2Contract.pop(old, None)  # noqa: SLF001 - as above
        for table in ("reqId2Ticker", "reqId2Subscriber", "reqId2PnL", "reqId2PnlSingle"):
            getattr(wrapper, table).pop(old, None)

    def _reopen(self, stream: Stream) -> asyncio.Task[None] | None:
        """Send the message again under a new id, and feed the same object from it."""
        wrapper, client = self._wrapper, self._client
        stream.request_id = new = client.getReqId()
        kind, *fields = stream.message.split("\0")
        fields[OPENS[kind][0] - 1] = str(new)
        if stream.contract is not None:
            wrapper._reqId2Contract[new] = stream.contract  # noqa: SLF001 - as above
        filling = None
        if stream.kind == "reqId2Subscriber":
            stream.target.reqId = new
            wrapper.reqId2Subscriber[new] = stream.target
            if kind == "20":
                answer = wrapper.startReq(new, stream.contract, cast("Any", BarDataList)())
                filling = asyncio.create_task(self._refill(stream.target, answer))
                fields[DURATION - 1] = covering(fields[DURATION - 1], stream.last)
        elif stream.kind in {"reqId2PnL", "reqId2PnlSingle"}:
            getattr(wrapper, stream.kind)[new] = stream.target
            self._key_pnl(stream, new)
        else:
            ticker = stream.target
            if stream.kind == "mktDepth":  # the book is sent whole again
                book = (ticker.domBids, ticker.domAsks, ticker.domBidsDict, ticker.domAsksDict)
                for rows in book:
                    rows.clear()
            wrapper.tickers[hash(stream.contract)] = ticker
            wrapper.reqId2Ticker[new] = ticker
            wrapper.ticker2ReqId[stream.kind][ticker] = new
        stream.message = "\0".join([kind, *fields])
        client.sendMsg(stream.message)
        if stream.grant is not None:
            self._grants[new] = stream.grant
            stream.grant.sent_again()
        return filling

    def _key_pnl(self, stream: Stream, new: int) -> None:
        """Let `cancelPnL` find it: ib_async knows these by account, model and contract."""
        pnl, wrapper = stream.target, self._wrapper
        if stream.kind == "reqId2PnL":
            wrapper.pnlKey2ReqId[pnl.account, pnl.modelCode] = new
        else:
            wrapper.pnlSingleKey2ReqId[pnl.account, pnl.modelCode, pnl.conId] = new

    async def _refill(self, bars: BarDataList, answer: asyncio.Future[BarDataList]) -> None:
        """Lay the bars that the gateway sends again over those that are there."""
        try:
            fresh = await answer
        except Exception as error:  # noqa: BLE001 - a refusal is said by its code; the hole stays
            log.warning("bars could not be filled up", error=str(error))
            return
        if not fresh:
            return
        newest = {bar.date: bar for bar in fresh}
        newest.update({bar.date: bar for bar in bars if bar.date >= fresh[-1].date})
        before = [bar for bar in bars if bar.date < fresh[0].date]
        bars[:] = [*before, *(newest[date] for date in sorted(newest, key=_instant))]
        self._ib.barUpdateEvent.emit(bars, True)  # noqa: FBT003 - ib_async's signature
        bars.updateEvent.emit(bars, True)  # noqa: FBT003 - as above


def _number(message: str, at: int) -> int:
    found = message.split("\0", at + 1)[at]
    return int(found) if found.lstrip("-").isdigit() else -1


def covering(duration: str, last: datetime | None) -> str:
    """Return a span for bars that reaches back to `last`, at least as long as it was.

    >>> covering("1 D", None)
    '1 D'
    """
    if last is None:
        return duration
    number, _, unit = duration.partition(" ")
    asked = int(number) * UNITS.get(unit, 0)
    missing = (clock.now() - last.astimezone(clock.now().tzinfo)).total_seconds()
    return duration if missing < asked else f"{int(missing // UNITS['D']) + 2} D"


def _instant(date: Any) -> datetime:
    """Return when a bar begins; ib_async gives daily bars a bare date."""
    if isinstance(date, datetime):
        return date if date.tzinfo else date.astimezone()
    return datetime(date.year, date.month, date.day, tzinfo=clock.now().tzinfo)
