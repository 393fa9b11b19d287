"""`kit.events`: one eventkit `Event` per topic, each with a frozen payload.

Handlers run on a thread of their own behind bounded queues, one a topic: a slow one delays no tick,
it may call the blocking face of anything, and a flood of quotes pushes no fill aside. The thread
starts with the first event that somebody hears.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eventkit import Event

from ibkit import clock
from ibkit.log import get_logger
from ibkit.metrics import DROPPED_EVENTS, HANDLERS_FAILED, QUEUED_EVENTS
from ibkit.timing import SharedTimer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import pandas as pd
    from ib_async import Contract

    from ibkit.connection.health import State
    from ibkit.reload import Change
    from ibkit.settings import Role

# payloads that a topic may hold for its handlers
QUEUE: Final = 10_000
# of what only the newest counts, the oldest goes when the queue is full; else the newest
NEWEST_COUNTS: Final = frozenset({"quote", "account", "position"})
# a handler that takes longer is called slow
SLOW_S: Final = 0.1
# handlers that are told apart
NAMES: Final = 1000
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The connection went from `before` to `after`.

    `role` says which one, ``data`` or ``trading``, where a profile has one for each.
    """

    ts: datetime
    before: State
    after: State
    reason: str = ""
    role: Role = ""


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


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """The settings were read again: what holds from now on, and what waits for a `connect`."""

    ts: datetime
    changed: tuple[Change, ...]
    waiting: tuple[Change, ...]


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
    | SettingsChanged
)


@dataclass(slots=True)
class Handled:
    """What became of one handler's calls."""

    topic: str
    handler: str
    calls: int = 0
    failed: int = 0
    slow: int = 0
    slowest_s: float = 0.0
    total_s: float = 0.0


class Events:
    """The topics: connect a handler with ``kit.events.fill += handler``.

    Attributes
    ----------
    state, order, fill, position, account, gap, risk, notice, quote, quality, settings : Event
        Each emits one payload of the class of its name in `ibkit.connection.events`.
    dropped : int
        Payloads that were thrown away because the handlers were too slow.
    failed : int
        How often a handler raised; each is logged with its traceback, and named by `handlers`.

    Notes
    -----
    eventkit holds bound methods weakly: a handler ends with its object. A handler may be a
    coroutine function; it runs to its end before the next one is called.
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
        "settings",
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
        self.settings = Event("settings")
        self.dropped = self.failed = 0
        self.timer = SharedTimer()
        self._waiting: dict[str, deque[tuple[int, Payload]]] = {
            topic: deque() for topic in self.TOPICS
        }
        self._handled: dict[tuple[str, str], Handled] = {}
        self._published = 0
        self._pulse = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def publish(self, topic: str, payload: Payload) -> None:
        """Hand `payload` to the topic's handlers, soon, on the dispatch thread."""
        event: Event = getattr(self, topic)
        if not len(event) or self._closed:  # an Event is always true
            return
        with self._pulse:
            waiting = self._waiting[topic]
            full = len(waiting) >= QUEUE
            if full:
                self._drop(topic)
            if full and topic not in NEWEST_COUNTS:
                return
            if full:
                waiting.popleft()
            self._published += 1
            waiting.append((self._published, payload))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ibkit-events", daemon=True)
                self._thread.start()
            self._pulse.notify()

    def _drop(self, topic: str) -> None:
        self.dropped += 1
        DROPPED_EVENTS.labels(topic).inc()
        if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8…: said, and no flood of lines
            log.error("handlers are too slow, payloads are lost", topic=topic, lost=self.dropped)

    @property
    def waiting(self) -> int:
        """How many payloads wait for their handlers."""
        return sum(map(len, self._waiting.values()))

    def handlers(self) -> pd.DataFrame:
        """Return what the handlers cost, the slowest first.

        Returns
        -------
        DataFrame
            ``topic handler calls failed slow slowest_s total_s``; slow is above 0.1 s.
        """
        import pandas as pd

        rows = [astuple(each) for each in tuple(self._handled.values())]
        frame = pd.DataFrame(rows, columns=list(Handled.__dataclass_fields__))
        return frame.sort_values("slowest_s", ascending=False, ignore_index=True)

    def close(self, timeout_s: float = 1.0) -> None:
        """Deliver what waits, as far as `timeout_s` allows, and end the thread."""
        with self._pulse:
            self._closed = True
            thread, self._thread = self._thread, None
            self._pulse.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)  # a handler may hang; the thread is a daemon

    # --- the dispatch thread ---------------------------------------------------------------------

    def _run(self) -> None:
        for topic, payload in self._coming():
            QUEUED_EVENTS.set(self.waiting)
            # eventkit does not say which handler was slow, so its list is walked here
            for slot in tuple(getattr(self, topic)._slots.slots):  # noqa: SLF001 - it has no other way in
                target = slot.weakref() if slot.weakref else slot.obj
                if slot.weakref and target is None:
                    continue
                call = slot.func if target is None else target
                if target is not None and slot.func:
                    call = partial(slot.func, target)
                self._call(topic, call, payload)

    def _coming(self) -> Iterator[tuple[str, Payload]]:
        """Yield payloads in the order in which they were published, until the end."""
        while True:
            with self._pulse:
                while not self.waiting:
                    if self._closed:
                        return
                    self._pulse.wait()
                heads = {topic: queue[0][0] for topic, queue in self._waiting.items() if queue}
                topic = min(heads, key=heads.__getitem__)
                _, payload = self._waiting[topic].popleft()
            yield topic, payload

    def _call(self, topic: str, call: Any, payload: Payload) -> None:
        handled = self._of(topic, _name(call))
        began = clock.monotonic()
        try:
            result = call(payload)
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except Exception:
            self.failed += 1
            handled.failed += 1
            HANDLERS_FAILED.labels(topic).inc()
            log.exception("a handler failed", topic=topic, handler=handled.handler)
        took_s = clock.monotonic() - began
        self.timer.add(took_s)
        handled.calls += 1
        handled.total_s += took_s
        handled.slowest_s = max(handled.slowest_s, took_s)
        if took_s > SLOW_S:
            handled.slow += 1
            if handled.slow == 1:
                log.warning("a handler is slow", topic=topic, handler=handled.handler, s=took_s)

    def _of(self, topic: str, name: str) -> Handled:
        key = (topic, name)
        if key not in self._handled and len(self._handled) >= NAMES:
            key = (topic, "others")
        return self._handled.setdefault(key, Handled(*key))


def _name(call: Any) -> str:
    """Return what a person calls a handler: its module and its name, whatever wraps it."""
    inner = call
    while isinstance(inner, partial):
        inner = inner.args[0] if inner.args and not callable(inner.func) else inner.func
    module = getattr(inner, "__module__", None) or type(inner).__module__
    return f"{module}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
