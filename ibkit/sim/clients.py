"""One connected client: what it asked for, and the bounded way back to it.

Not here: the handshake (`server`) and the answers to its requests (`handlers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ibkit.log import get_logger
from ibkit.sim.limits import BarsPacing, MessageRate
from ibkit.sim.wire import Message, pack, unpack
from ibkit.sim.wire import replies as r
from ibkit.sim.wire.frames import LENGTH

if TYPE_CHECKING:
    from ibkit.sim.server import Gateway

MAX_UNSENT: Final = 48 * 1024 * 1024  # bytes: three frames of the longest kind
NOTICE: Final = -1
log = get_logger(__name__)

Cancel = Callable[[], None]


@dataclass(slots=True)
class Subscriptions:
    """What streams to one client, by request id where there is one."""

    quotes: dict[int, Any] = field(default_factory=dict)
    bars: dict[int, Any] = field(default_factory=dict)
    real_time_bars: dict[int, Any] = field(default_factory=dict)
    ticks: dict[int, Any] = field(default_factory=dict)
    depth: dict[int, Any] = field(default_factory=dict)
    scanners: dict[int, Any] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)
    bulletins: bool = False
    pnl: dict[int, Any] = field(default_factory=dict)
    summaries: dict[int, tuple[str, ...]] = field(default_factory=dict)
    multi: dict[int, str] = field(default_factory=dict)
    positions: bool = False
    positions_multi: dict[int, str] = field(default_factory=dict)
    account: str = ""
    account_told: dict[tuple[str, str], str] = field(default_factory=dict)
    account_changed: bool = False

    @property
    def any(self) -> bool:
        """Whether something must be sent without being asked."""
        lines = self.quotes or self.bars or self.real_time_bars or self.ticks or self.depth
        return bool(lines or self.scanners or self.bulletins or self.pnl or self.account)


class Client:
    """One client of the gateway, from START_API to its end.

    Parameters
    ----------
    gateway : Gateway
        The house it is connected to.
    transport : asyncio.WriteTransport
        The way back.
    """

    def __init__(self, gateway: Gateway, transport: asyncio.WriteTransport) -> None:
        self.gateway = gateway
        self.client_id: int = -1
        self.market_data_type = 1
        self.streams = Subscriptions()
        self.rate = MessageRate(gateway.limits.messages_per_second)
        self.bars_pacing = BarsPacing(gateway.limits)
        self.paced = False
        self.tick_requests: dict[int, float] = {}  # when, by instrument
        self.bulletins_told = 0
        self.wsh_ready = False
        self.wsh_in_flight: int | None = None
        self._transport = transport
        self._unsent: list[bytes] = []
        self._flush_due = False

    def send(self, message: Message, values: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Queue one message; messages of one loop turn leave together."""
        faults = self.gateway.faults
        if message.name in faults.withheld or self.is_closing():
            return
        fields = message.fields({**(values or {}), **more})
        if faults.on_replies:
            faults.tell(self, message.name, fields)
        else:
            self.write(pack(fields))

    def send_line(self, message: Message, values: tuple[object, ...]) -> None:
        """Queue one flat message from its values in order: the fast way, for streams."""
        faults = self.gateway.faults
        if message.name in faults.withheld or self.is_closing():
            return
        self.send_frame(message, message.line(values))

    def send_frame(self, message: Message, frame: bytes) -> None:
        """Queue one message whose frame is ready: the way of answers that took long."""
        faults = self.gateway.faults
        if message.name in faults.withheld or self.is_closing():
            return
        if faults.on_replies:
            faults.tell(self, message.name, unpack(frame[LENGTH.size :]))
        else:
            self.write(frame)

    def write(self, frame: bytes) -> None:
        """Queue a frame that is ready."""
        self._unsent.append(frame)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    @property
    def next_valid_id(self) -> int:
        """The first order id that this client has not used."""
        return self.gateway.next_valid_id(self.client_id)

    def note_order_id(self, order_id: int) -> None:
        """Remember that an order id is used."""
        self.gateway.note_order_id(self.client_id, order_id)

    @property
    def open_history(self) -> int:
        """How many requests for history are open: kept up to date, or waiting for an answer."""
        return len(self.streams.bars) + self.gateway.faults.waiting(self)

    def error(self, about: int, code: int, text: str) -> None:
        """Send an error or a notice about a request, an order, or the system (-1)."""
        self.send(r.ERROR, id=about, code=code, text=text)

    def flush(self) -> None:
        """Write what is queued."""
        self._flush_due = False
        if self.is_closing():
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        if self.gateway.faults.on_bytes:
            self.gateway.faults.emit(self, data)
        else:
            self.put(data)

    def put(self, data: bytes) -> None:
        """Write bytes now; hang up on a client that does not read."""
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            log.warning("client_too_slow", client_id=self.client_id)
            self._transport.abort()

    def close(self) -> None:
        """Send what is queued and hang up."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._transport.abort()

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The way back itself."""
        return self._transport

    def is_closing(self) -> bool:
        """Whether the way back is closed."""
        return self._transport.is_closing()
