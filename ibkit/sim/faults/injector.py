"""Keeps what is armed, and asks it at the gateway's few hooks.

The hooks are `passes` (a request was heard), `tell` (a message is about to be sent), `emit` (bytes
are about to leave), `holds_id` and `left` (who may have which client id). Everything runs on the
gateway's loop and by the gateway's clock. Not here: what each kind does (`requests`, `replies`,
`pieces`, `service`), which kinds there are (`kinds`), schedules (`plan`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

from ibkit.errors import SimulationError
from ibkit.log import get_logger
from ibkit.sim.faults import pieces, replies, requests, service
from ibkit.sim.faults.kinds import Kind, kind_of
from ibkit.sim.faults.names import REPLY_NAMES, replies_named, requests_named
from ibkit.sim.wire.frames import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibkit.sim.clients import Client
    from ibkit.sim.faults.plan import Plan
    from ibkit.sim.server import Gateway
    from ibkit.sim.wire import Record

Greeting = Literal["serve", "silent", "drop"]
FINISHED_KEPT: Final = 100
log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class Fault:
    """A fault that is armed, or was.

    Attributes
    ----------
    number : int
        What `Faults.disarm` calls it.
    kind : Kind
        Its row in the table.
    parameters : dict
        Of the kind.
    client : int or None
        The only client that it strikes; None strikes all.
    times : int or None
        How often it strikes; None without end.
    share : float
        How likely it strikes when it could.
    hits : int
        How often it has struck.
    """

    number: int
    kind: Kind
    parameters: dict[str, Any]
    client: int | None = None
    times: int | None = None
    share: float = 1.0
    hits: int = 0
    dice: Random = field(default_factory=Random, repr=False)
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]

    def concerns(self, client: Client) -> bool:
        """Whether it may strike this client at all, any more."""
        mine = self.client is None or self.client == client.client_id
        return mine and (self.times is None or self.hits < self.times)

    def strikes(self, client: Client) -> bool:
        """Whether it strikes this client now; if so, that counts."""
        if not self.concerns(client) or (self.share < 1 and self.dice.random() >= self.share):
            return False
        self.hits += 1
        return True

    def row(self) -> dict[str, Any]:
        """Return what the control port tells about it."""
        return {
            "number": self.number,
            "kind": self.kind.name,
            **self.parameters,
            "client": self.client,
            "times": self.times,
            "share": self.share,
            "hits": self.hits,
        }


class Faults:
    """What the gateway does wrong, on demand. Touch it on the gateway's thread only.

    Parameters
    ----------
    seed : int
        Of every chance: the same seed and the same traffic give the same faults.

    Attributes
    ----------
    greeting : {"serve", "silent", "drop"}
        What a new socket meets: service; a gateway that accepts and never speaks, as one that is
        not logged in; or one that closes at once, as for an address that is not trusted.
    unanswered : set of str
        Names of requests (`wire.REQUESTS`) that get no answer at all.
    withheld : set of str
        Names of replies (`wire.REPLIES`) that are never sent: end markers get lost that way.
    on_replies, on_bytes : bool
        Whether anything is armed for what is sent; the gateway's fast path asks.

    Examples
    --------
    >>> faults = Faults()
    >>> fault = faults.arm("slow", request="historical", seconds=2)
    >>> faults.armed() == [fault]
    True
    """

    def __init__(self, seed: int = 1) -> None:
        self.greeting: Greeting = "serve"
        self.unanswered: set[str] = set()
        self.withheld: set[str] = set()
        self.on_replies = self.on_bytes = False
        self.heard: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.open: set[tuple[Client, int]] = set()  # requests for history without an answer yet
        self.answering = ""  # the request that is being handled just now
        self._gateway: Gateway | None = None
        self._seed = seed
        self._numbers = 0
        self._armed: list[Fault] = []
        self._on_request: list[tuple[Fault, requests.Effect]] = []
        self._on_reply: list[tuple[Fault, replies.Effect]] = []
        self._on_bytes: list[tuple[Fault, pieces.Effect]] = []
        self._triggers: list[Trigger] = []
        self._afterwards: list[Callable[[], object]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # --- arming ---------------------------------------------------------------------------------

    def bind(self, gateway: Gateway) -> None:
        """Belong to a gateway."""
        self._gateway = gateway

    @property
    def gateway(self) -> Gateway:
        """The gateway that all this happens to."""
        assert self._gateway is not None, "these faults belong to no gateway yet"
        return self._gateway

    def arm(
        self,
        kind: str,
        *,
        client: int | None = None,
        times: int | None = None,
        share: float = 1.0,
        for_s: float | None = None,
        **parameters: Any,
    ) -> Fault:
        """Begin a fault; one that is an event happens now.

        Parameters
        ----------
        kind : str
            A name in `kinds.KINDS`.
        client : int, optional
            Strike this client id only.
        times : int, optional
            Strike so often, then no more.
        share : float
            Strike with this likelihood, by the seeded dice.
        for_s : float, optional
            End after so many seconds of the gateway's clock.
        **parameters
            Of the kind.

        Raises
        ------
        SimulationError
            There is no such kind, or it takes no such parameter or value.
        """
        known = kind_of(kind)
        read = known.parameters(parameters)
        check_names(read)
        check_options(client, times, share, for_s)
        self._numbers += 1
        dice = Random(f"{self._seed} {self._numbers} {known.name}")  # noqa: S311  games
        fault = Fault(self._numbers, known, read, client, times, share, dice=dice)
        log.info("fault_armed", number=fault.number, kind=known.name)
        if known.door == "event":
            fault.hits = 1
            service.EVENTS[known.name](self, fault)
            return fault
        self._armed.append(fault)
        self._sort()
        if known.name in service.BEGINS:
            service.BEGINS[known.name](self, fault)
        if for_s is not None:
            self.later(for_s, lambda: self.disarm(fault))
        return fault

    def disarm(self, fault: Fault | int) -> None:
        """End a fault; one that has ended stays so."""
        ending = [one for one in self._armed if fault in {one, one.number}]
        for one in ending:
            self._armed.remove(one)
            self._sort()
            log.info("fault_ended", number=one.number, kind=one.kind.name, hits=one.hits)
            if one.kind.name in service.ENDS:
                service.ENDS[one.kind.name](self, one)

    def clear(self) -> None:
        """End everything: what is armed, what is scheduled, what is switched."""
        self._triggers.clear()
        self._afterwards.clear()
        for task in tuple(self._tasks):
            task.cancel()
        for fault in tuple(self._armed):
            self.disarm(fault)
        self.greeting = "serve"
        self.unanswered.clear()
        self.withheld.clear()
        if self._gateway is not None and self._gateway.is_away:  # a restart that was to end later
            self.spawn(self._gateway.open_port())

    def armed(self, kind: str | None = None) -> list[Fault]:
        """Return what is armed, of one kind or of all, the oldest first."""
        return [one for one in self._armed if kind in {None, one.kind.name}]

    def follow(self, plan: Plan) -> None:
        """Do what a schedule says, from now on."""
        plan.begin(self)

    def on(self, name: str, count: int, act: Callable[[], object], *, after: bool = False) -> None:
        """Act when the `count`th request or reply of a name from now on comes, or after it."""
        told = name in REPLY_NAMES
        seen = self.told if told else self.heard
        self._triggers.append(Trigger(name, seen[name] + count, act, told=told, after=after))
        self._sort()

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Act when so many seconds have passed on the gateway's clock."""

        async def wait() -> None:
            await self.gateway.clock.sleep(seconds)
            act()

        self.spawn(wait())

    def spawn(self, work: Any) -> None:
        """Run a coroutine that ends with the gateway."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Forget what is still to come: the gateway leaves."""
        for task in tuple(self._tasks):
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("fault_failed", exc_info=task.exception())

    def _sort(self) -> None:
        """Sort what is armed by the hooks it works at."""
        name = [(fault, fault.kind.name) for fault in self._armed]
        self._on_request = [
            (f, act) for k, act in requests.EFFECTS.items() for f, n in name if n == k
        ]
        self._on_reply = [(f, replies.EFFECTS[n]) for f, n in name if n in replies.EFFECTS]
        self._on_bytes = [(f, pieces.EFFECTS[n]) for f, n in name if n in pieces.EFFECTS]
        self.on_replies = bool(self._on_reply) or any(one.told for one in self._triggers)
        self.on_bytes = bool(self._on_bytes)

    # --- the hooks ------------------------------------------------------------------------------

    def passes(self, client: Client, name: str, values: Record) -> bool:
        """Whether a request goes on to its handler; if not, all that is to be done is done."""
        self._do_afterwards()
        self.heard[name] += 1
        if self._triggers:
            self._pull(name, self.heard[name], told=False)
        if name in self.unanswered:
            return False
        return all(
            effect(fault, self, client, name, values) for fault, effect in tuple(self._on_request)
        )

    def tell(self, client: Client, name: str, fields: list[str]) -> None:
        """Send a message the way the armed faults will have it."""
        frames: list[replies.Frame] = [(name, fields)]
        for fault, effect in tuple(self._on_reply):
            frames = [
                out
                for one in frames
                for out in (effect(fault, self, client, one) if fault.concerns(client) else [one])
            ]
        for _, each in frames:
            client.write(pack(each))
        self.told[name] += 1
        if self._triggers:
            self._pull(name, self.told[name], told=True)

    def emit(self, client: Client, data: bytes) -> None:
        """Let bytes leave the way the armed faults will have it."""
        for fault, effect in tuple(self._on_bytes):
            if fault.concerns(client):
                data = effect(fault, self, client, data)
        if data:
            client.put(data)

    def holds_id(self, client_id: int) -> bool:
        """Whether a client id is still taken though its socket is gone."""
        return service.holds_id(self, client_id)

    # --- requests for history that wait for their answer ------------------------------------------

    def is_open(self, client: Client, req_id: int) -> bool:
        """Whether a request for history waits for an answer that comes late, or never."""
        return (client, req_id) in self.open

    def waiting(self, client: Client) -> int:
        """Return how many requests for history of a client wait so."""
        return sum(one is client for one, _ in self.open)

    def withdraw(self, client: Client, req_id: int) -> bool:
        """Forget a request that waits; return whether there was one."""
        known = self.is_open(client, req_id)
        self.open.discard((client, req_id))
        return known

    def left(self, client: Client) -> None:
        """Notice that a client's socket is gone."""
        self.open = {one for one in self.open if one[0] is not client}
        service.left(self, client)
        for fault in self._armed:
            fault.kept.pop(client, None)

    # --- triggers -------------------------------------------------------------------------------

    def _pull(self, name: str, count: int, *, told: bool) -> None:
        """Act on the triggers that wait for this message."""
        due = [
            one for one in self._triggers if (one.name, one.told, one.count) == (name, told, count)
        ]
        for one in due:
            self._triggers.remove(one)
            if one.after:
                self._afterwards.append(one.act)
                asyncio.get_running_loop().call_soon(self._soon)
            else:
                one.act()
        if due:
            self._sort()

    def _soon(self) -> None:
        """Wait for answers that take long, and one turn more: then what was answered leaves."""
        loop = asyncio.get_running_loop()
        self.gateway.worker.when_idle(lambda: loop.call_soon(self._do_afterwards))

    def _do_afterwards(self) -> None:
        """Do what was to come after a message, before the next one is looked at."""
        while self._afterwards:
            self._afterwards.pop(0)()


@dataclass(frozen=True, slots=True)
class Trigger:
    """Something to do when a message has been seen so often."""

    name: str
    count: int
    act: Callable[[], object]
    told: bool
    after: bool


def check_names(parameters: dict[str, Any]) -> None:
    """Refuse names of requests and replies that do not exist."""
    if parameters.get("request"):
        requests_named(parameters["request"])
    if parameters.get("message"):
        replies_named(parameters["message"])


def check_options(
    client: int | None = None,
    times: int | None = None,
    share: float = 1.0,
    for_s: float | None = None,
) -> None:
    """Refuse options that make no sense."""
    if client is not None and (not isinstance(client, int) or client < 0):
        raise SimulationError(f"client is a client id, not {client!r}")
    if times is not None and (not isinstance(times, int) or times < 1):
        raise SimulationError(f"times is a whole number from 1, not {times!r}")
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise SimulationError(f"share is a likelihood above 0 and up to 1, not {share!r}")
    if for_s is not None and (not isinstance(for_s, int | float) or not for_s > 0):
        raise SimulationError(f"for_s is a number of seconds above 0, not {for_s!r}")
