"""`kit.events`: one eventkit `Event` per topic, each with a frozen payload.

Handlers run on a thread of their own behind a bounded queue: a slow one delays no tick, and it may
call the blocking face of anything. The thread starts with the first event that somebody hears.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from eventkit import Event

from ibkit.log import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    from ib_async import Contract

    from ibkit.connection.health import State

QUEUE: Final = 10_000
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The connection went from `before` to `after`."""

    ts: datetime
    before: State
    after: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """IB said something new about an order."""

    ts: datetime
    order_id: int
    perm_id: int
    order_ref: str
    contract: Contract
    status: str
    filled: float
    remaining: float
    average_price: float


@dataclass(frozen=True, slots=True)
class FillMade:
    """One execution; `quantity` is positive, `action` carries the sign."""

    ts: datetime
    exec_id: str
    order_id: int
    perm_id: int
    order_ref: str
    account: str
    contract: Contract
    action: str
    quantity: float
    price: float


@dataclass(frozen=True, slots=True)
class PositionChanged:
    """An account holds `position` units now, signed."""

    ts: datetime
    account: str
    contract: Contract
    position: float
    average_cost: float


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """One value of an account, in IB's words."""

    ts: datetime
    account: str
    tag: str
    value: str
    currency: str


@dataclass(frozen=True, slots=True)
class GapSeen:
    """A stream missed `start` to `end`."""

    ts: datetime
    key: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class RiskRefused:
    """A limit of ours stopped an order."""

    ts: datetime
    key: str
    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """IB's message `code`, in IB's words; `request_id` is -1 for what is about no request."""

    ts: datetime
    code: int
    text: str
    request_id: int
    contract: Contract | None


@dataclass(frozen=True, slots=True)
class QuoteSeen:
    """The best prices of one instrument as they were at `ts`."""

    ts: datetime
    key: str
    bid: float
    ask: float
    last: float


@dataclass(frozen=True, slots=True)
class QualityBreached:
    """Stored rows are worse than ``[quality.<dataset>]`` of the settings allows."""

    ts: datetime
    dataset: str
    instrument: str
    what_to_show: str
    use_rth: bool | None
    metric: str
    value: float
    limit: float


Payload = (
    StateChanged
    | OrderChanged
    | FillMade
    | PositionChanged
    | AccountChanged
    | GapSeen
    | RiskRefused
    | Notice
    | QuoteSeen
    | QualityBreached
)


class Events:
    """The topics: connect a handler with ``kit.events.fill += handler``.

    Attributes
    ----------
    state, order, fill, position, account, gap, risk, notice, quote, quality : eventkit.Event
        Each emits one payload of the class of its name in `ibkit.connection.events`.
    dropped : int
        Payloads that were thrown away because the handlers were too slow.
    failed : int
        How often a handler raised; each is logged with its traceback.

    Notes
    -----
    eventkit holds bound methods weakly: a handler ends with its object.
    """

    TOPICS: Final = (
        "state",
        "order",
        "fill",
        "position",
        "account",
        "gap",
        "risk",
        "notice",
        "quote",
        "quality",
    )

    def __init__(self) -> None:
        self.state = Event("state")
        self.order = Event("order")
        self.fill = Event("fill")
        self.position = Event("position")
        self.account = Event("account")
        self.gap = Event("gap")
        self.risk = Event("risk")
        self.notice = Event("notice")
        self.quote = Event("quote")
        self.quality = Event("quality")
        self.dropped = self.failed = 0
        for topic in self.TOPICS:
            getattr(self, topic).error_event += self._on_failure
        self._queue: queue.Queue[tuple[Event, Payload] | None] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None
        self._closed = False

    def publish(self, topic: str, payload: Payload) -> None:
        """Hand `payload` to the topic's handlers, soon, on the dispatch thread."""
        event: Event = getattr(self, topic)
        if not len(event) or self._closed:  # an Event is always true
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ibkit-events", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait((event, payload))
        except queue.Full:
            self.dropped += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Deliver what waits, as far as `timeout_s` allows, and end the thread."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return  # a handler hangs; the thread is a daemon
        if thread is not threading.current_thread():
            thread.join(timeout_s)

    def _on_failure(self, event: Event, error: Exception) -> None:
        self.failed += 1
        log.error("a handler failed", topic=event.name(), exc_info=error)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            event, payload = item
            event.emit(payload)
