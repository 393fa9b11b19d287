"""Keep one link open: notice that it is gone, bring it back, put on it what was there.

One task does it, from the first ready to the last close, so that a reconnect and a manual close
cannot race. Time comes from the event loop alone, so that a night passes in a test's milliseconds.
Not here: how one connection is opened (`link`), what a subscription is (`subscriptions`).
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from ibkit import clock
from ibkit.connection.away import differences, facts_of, words
from ibkit.connection.events import GapSeen
from ibkit.errors import (
    AccountMismatchError,
    ClientIdInUseError,
    GatewayTooOldError,
    GatewayUnreachableError,
    IbkitError,
    NotConnectedError,
    RequestTimeoutError,
)
from ibkit.log import CALL, get_logger
from ibkit.metrics import HEARTBEAT, OUTAGES, RECONNECTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from ibkit.connection.link import Link
    from ibkit.connection.subscriptions import Stream
    from ibkit.settings import Endpoint

log = get_logger(__name__)
# the first pause after a failed attempt; each further one doubles it, up to the profile's cap
FIRST_PAUSE_S: Final = 0.2
# between two knocks at a port where nobody listens
KNOCK_S: Final = 0.4
# failures in a row after which an endpoint is left alone for the cap, then probed once at a time
BREAKER: Final = 8
# an id that a crash left behind: IB frees it when it notices
LINGER_PAUSE_S: Final = 5.0
# how long a farm, or the line to IB, must be back before silence counts as a lost stream
GRACE_S: Final = 10.0
ALERT_S: Final = 30.0
# causes that no retry mends
FINAL: Final = (AccountMismatchError, GatewayTooOldError)


@dataclass(slots=True)
class Attempts:
    """How often in a row an endpoint failed, and when it may be tried again."""

    failures: int = 0
    not_before: float = 0.0
    closed: bool = False  # nothing listened: it is knocked at, which costs nobody anything

    def refused(self, now: float, dice: random.Random) -> None:
        """Note that nobody listens; a knock is cheap, so the next one is soon."""
        self.closed = True
        self.not_before = now + KNOCK_S * dice.uniform(0.5, 1.0)

    def failed(self, now: float, cap_s: float, dice: random.Random, at_least: float) -> None:
        """Count one more, and choose the pause: doubled each time, with jitter, capped."""
        self.failures += 1
        self.closed = False
        pause = min(cap_s, FIRST_PAUSE_S * 2 ** min(self.failures - 1, 20))
        if self.failures >= BREAKER:
            pause = cap_s
        self.not_before = now + max(at_least, pause * dice.uniform(0.5, 1.0))


class Moment(NamedTuple):
    """An instant, for people and on the loop's clock."""

    ts: datetime
    at: float


@dataclass(slots=True)
class Outage:
    """One time without a gateway."""

    began: float
    ts: datetime
    alerted: bool = False
    last: str = ""


@dataclass
class Supervisor:
    """The one task that owns a link's transitions after its first ready.

    Parameters
    ----------
    link : Link
        Whom it keeps open.
    dice : random.Random
        The jitter; a test seeds it.
    alert : callable
        Gets a text when an outage outlives the profile's patience.
    """

    link: Link
    dice: random.Random = field(default_factory=random.Random)
    alert: Callable[[str], Awaitable[None]] | None = None
    _jobs: set[asyncio.Task[None]] = field(default_factory=set)
    _tries: dict[Endpoint, Attempts] = field(default_factory=dict)

    async def run(self) -> None:
        """Watch, and bring back, until the link is closed or no retry helps."""
        CALL.set("")  # what comes from here on is not done for the call that opened the link
        try:
            while True:
                await self._watch()
                await self._end_jobs()
                if not await self._regain():
                    return
        except Exception as error:
            log.exception("the supervisor of the connection broke; please report this")
            self.link.fail(f"a fault of ibkit itself: {type(error).__name__}: {error}")
        finally:
            await self._end_jobs()

    def later(self, job: Callable[[], Awaitable[None]]) -> None:
        """Do something beside the heartbeat; it ends with the socket."""
        task = asyncio.ensure_future(self._do(job))
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _end_jobs(self) -> None:
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    # --- while it is there -----------------------------------------------------------------------

    async def _watch(self) -> None:
        """Return when the socket is gone."""
        gone = self.link.gone
        while not gone.done():
            await asyncio.wait({gone}, timeout=self.link.profile.heartbeat_s)
            if not gone.done():
                await self._beat()
            if not gone.done() and self.link.state == "ready":
                await self._look_for_silence()

    async def _beat(self) -> None:
        """Ask for a sign of life; without one in time the socket is given up."""
        loop, patience = asyncio.get_running_loop(), self.link.profile.heartbeat_timeout_s
        began = loop.time()
        with suppress(NotConnectedError):  # the socket ended meanwhile: that is noticed anyway
            try:
                await self.link.probe(patience)
            except RequestTimeoutError:
                self.link.cut(f"no sign of life within {patience:g} s")
            else:
                HEARTBEAT.observe(loop.time() - began)

    async def _do(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except (IbkitError, ConnectionError) as error:
            log.warning("a recovery step failed", error=str(error))
            self.link.away.note("recovery", "a step", "", str(error).partition("\n")[0])

    async def after_outage_of_ib(self, *, data_lost: bool, since: Moment) -> None:
        """Repair what a loss of IB's servers left behind: 1101 took all streams, 1102 none.

        After 1102 they are believed if they tick; those that stay silent are asked for again.
        """
        await self.link.recover(ready=False)
        if data_lost:
            streams = self.link.subscriptions.live()
            await self._resume(streams, since.ts, "IB says that their data was lost (1101)")
        else:
            await self._revive(since, "silent since IB's servers came back (1102)")
        await self.link.recover(ready=True)

    async def _look_for_silence(self) -> None:
        """Ask again for quotes that fell silent without a word: none may be dead unnoticed."""
        doubtful = self.link.subscriptions.doubtful(self.link.profile.stale_s)
        if doubtful:
            for stream in doubtful:
                self.link.subscriptions.end(stream)
            await self._resume(doubtful, self.link.since, "silent for too long")

    async def after_farm(self, farm: str, since: Moment) -> None:
        """Ask again for the quotes that stayed silent since a data farm broke and came back."""
        await self._revive(since, f"silent since {farm} came back")

    async def _revive(self, since: Moment, why: str) -> None:
        await asyncio.wait({self.link.gone}, timeout=GRACE_S)
        if self.link.gone.done():
            return
        silent = self.link.subscriptions.silent(since.at)
        for stream in silent:
            self.link.subscriptions.end(stream)
        await self._resume(silent, since.ts, why)

    async def _resume(self, streams: Sequence[Stream], since: datetime | None, why: str) -> None:
        ends = {id(stream): stream.last for stream in streams}
        for stream in await self.link.subscriptions.resume(streams):
            self._note_stream(stream, ends[id(stream)] or since, why)

    def _note_stream(self, stream: Stream, last: datetime | None, why: str) -> None:
        contract, now = stream.contract, clock.now()
        name = (contract.localSymbol or contract.symbol) if contract is not None else "account"
        action = "filled up" if stream.name == "bars" else "subscribed again"
        self.link.away.note("stream", f"{name} {stream.name}", words(last), why, action)
        if last is not None:
            self.link.events.publish("gap", GapSeen(now, f"{name} {stream.name}", last, now))

    # --- while it is gone ------------------------------------------------------------------------

    async def _regain(self) -> bool:
        """Connect again; False if that is over for good."""
        loop = asyncio.get_running_loop()
        outage = Outage(loop.time(), clock.now(), last=self.link.reason)
        self._tries.clear()
        OUTAGES.inc()
        while True:
            try:
                endpoint, wait_s = await self._next()
            except IbkitError as error:  # nobody knows where to look, for now
                outage.last, wait_s = str(error).partition("\n")[0], self.link.profile.retry_cap_s
            if wait_s > 0:
                await self._patience(outage, wait_s)
                continue
            try:
                if self._tries[endpoint].closed:
                    await self.link.knock(endpoint)
                await self.link.establish(endpoint)
                await self._settle(outage)
            except FINAL as error:
                self._tries[endpoint].not_before = math.inf
                if all(one.not_before == math.inf for one in self._tries.values()):
                    self.link.fail(str(error).partition("\n")[0])
                    return False
            except GatewayUnreachableError as error:
                outage.last = str(error).partition("\n")[0]
                self._tries[endpoint].refused(loop.time(), self.dice)
            except (IbkitError, ConnectionError) as error:
                outage.last = str(error).partition("\n")[0]
                linger = LINGER_PAUSE_S if _lingers(error) else 0.0
                cap_s = self.link.profile.retry_cap_s
                self._tries[endpoint].failed(loop.time(), cap_s, self.dice, linger)
            else:
                RECONNECTED.observe(loop.time() - outage.began)
                return True

    async def _next(self) -> tuple[Endpoint, float]:
        """Return the preferred endpoint that may be tried now, or the soonest and how long."""
        now = asyncio.get_running_loop().time()
        known = {
            one: self._tries.setdefault(one, Attempts()) for one in await self.link.endpoints()
        }
        self._tries = known
        for endpoint, tries in known.items():
            if tries.not_before <= now:
                return endpoint, 0.0
        soonest = min(known, key=lambda one: known[one].not_before)
        return soonest, known[soonest].not_before - now

    async def _patience(self, outage: Outage, wait_s: float) -> None:
        """Wait; when an outage outlives its patience outside of the reset window, say so, once."""
        profile, loop = self.link.profile, asyncio.get_running_loop()
        late = loop.time() - outage.began >= profile.alert_after_s
        if late and not outage.alerted and not in_window(clock.now(), profile.reset_window):
            outage.alerted = True
            text = f"{self.link.label}: no gateway since {outage.ts:%F %T} UTC ({outage.last})"
            log.error(
                "the outage outlives its patience", since=words(outage.ts), reason=outage.last
            )
            self.link.away.note("connection", "alert", words(outage.ts), outage.last, "alert")
            if self.alert is not None:
                await self.alert(text)
        await asyncio.sleep(wait_s)

    async def _settle(self, outage: Outage) -> None:
        """Bring back what was there: orders first, then ready, then the streams."""
        link = self.link
        subscriptions, before = link.subscriptions, link.before
        subscriptions.greet_again()
        await link.recover(ready=False)
        link.get_ready()
        away = link.away
        away.note("connection", link.label, words(outage.ts), "ready", "reconnected")
        away.note_all(differences(before, facts_of(link.ib)))
        ends = {id(stream): stream.last for stream in subscriptions.kept()}
        # not awaited here: bars take their time, and the heart must beat meanwhile
        self.later(lambda: self._bring_back(ends, outage))

    async def _bring_back(self, ends: dict[int, datetime | None], outage: Outage) -> None:
        for stream in await self.link.subscriptions.resume():
            self._note_stream(stream, ends.get(id(stream)) or outage.ts, "the connection was lost")
        await self.link.recover(ready=True)


def _lingers(error: Exception) -> bool:
    """Whether IB has not noticed yet that our last socket is dead (326)."""
    return isinstance(error, ClientIdInUseError)


def in_window(now: datetime, window: str) -> bool:
    """Whether an instant lies in a daily window such as ``"23:45-01:45 America/New_York"``.

    >>> from datetime import UTC, datetime
    >>> in_window(datetime(2026, 11, 20, 5, 0, tzinfo=UTC), "23:45-01:45 America/New_York")
    True
    """
    if not window:
        return False
    span, _, zone = window.partition(" ")
    first, _, last = span.partition("-")
    there = now.astimezone(ZoneInfo(zone))
    start, end = (_of_day(text) for text in (first, last))
    at = timedelta(hours=there.hour, minutes=there.minute, seconds=there.second)
    return start <= at < end if start <= end else at >= start or at < end


def _of_day(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


async def run_alert(command: Sequence[str], text: str) -> None:
    """Run a profile's alert command, with the text in ``IBKIT_ALERT`` and as its last argument."""

    def run() -> int:
        environment = {**os.environ, "IBKIT_ALERT": text}
        done = subprocess.run(  # noqa: S603 - the user's own command, from the user's own settings
            [*command, text],
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=ALERT_S,
            check=False,
        )
        return done.returncode

    try:
        code = await asyncio.get_running_loop().run_in_executor(None, run)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.error("the alert command cannot be run", command=command[0], error=str(error))  # noqa: TRY400 - its trace says nothing
    else:
        if code:
            log.error("the alert command failed", command=command[0], code=code)
