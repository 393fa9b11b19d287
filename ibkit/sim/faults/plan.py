"""A schedule of faults, from a TOML file: at a time, at a message, or by seeded chance.

A file holds any number of ``[[fault]]`` tables (a `kind`, one time or trigger, the options of
`Faults.arm`, the parameters of the kind) and ``[[random]]`` tables. All times are the gateway's.
Not here: what the faults do (`injector`, `kinds`).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibkit.errors import SettingsError
from ibkit.sim.faults.injector import check_names, check_options
from ibkit.sim.faults.kinds import kind_of
from ibkit.sim.faults.names import is_reply, replies_named, requests_named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ibkit.sim.faults.injector import Faults

OPTIONS: Final = ("client", "times", "share", "for_s")
WHEN: Final = ("at_s", "at", "daily", "on", "after")
COUNTED: Final = re.compile(r"(?:(\d+)(?:st|nd|rd|th)?\s+)?(\w+)")
DAILY: Final = re.compile(r"(\d{1,2}):(\d{2})\s+(\S+)")
ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault of a schedule, and when it begins.

    Attributes
    ----------
    kind : str
        Of the table of kinds.
    when : str
        One of `WHEN`, or nothing: at once.
    moment : Any
        What `when` says, read: seconds, epoch seconds, (hour, minute, zone), or (count, name).
    every_s : float or None
        Again and again, so many seconds apart.
    arguments : mapping
        For `Faults.arm`.
    """

    kind: str
    when: str
    moment: Any
    every_s: float | None
    arguments: Mapping[str, Any]

    def begin(self, faults: Faults) -> None:
        """Arm it when it is time."""
        now = faults.gateway.clock.now()
        if self.when in {"on", "after"}:
            count, name = self.moment
            faults.on(name, count, lambda: self.arm(faults), after=self.when == "after")
        elif self.when == "daily":
            self._tomorrow(faults)
        else:
            delay = self.moment - now if self.when == "at" else self.moment or 0.0
            if delay < 0:
                return  # a moment that has passed before the gateway began
            faults.later(delay, lambda: self.arm(faults))

    def arm(self, faults: Faults) -> None:
        """Arm it now, and again when it is to come again."""
        faults.arm(self.kind, **self.arguments)
        if self.every_s is not None:
            faults.later(self.every_s, lambda: self.arm(faults))

    def _tomorrow(self, faults: Faults) -> None:
        """Arm it at the next such time of the day, and then the day after."""
        seconds = until_daily(faults.gateway.clock.now(), *self.moment)

        def act() -> None:
            faults.arm(self.kind, **self.arguments)
            self._tomorrow(faults)

        faults.later(seconds, act)


@dataclass(frozen=True, slots=True)
class Chance:
    """Faults at random moments: the same seed gives the same ones at the same moments.

    Attributes
    ----------
    seed : int
        Of moments and choices.
    mean_s : float
        Seconds between two of them, on average.
    until_s : float or None
        None comes after so many seconds.
    choices : tuple
        Pairs of a kind and its arguments; each is as likely.
    """

    seed: int
    mean_s: float
    until_s: float | None
    choices: tuple[tuple[str, Mapping[str, Any]], ...]

    def begin(self, faults: Faults) -> None:
        """Arm the first; each arms the next."""
        self._next(faults, Random(self.seed), 0.0)  # noqa: S311  games

    def moments(self, count: int) -> list[tuple[float, str]]:
        """Return the first so many moments and kinds, for people to look at."""
        dice, at, found = Random(self.seed), 0.0, []  # noqa: S311  games
        for _ in range(count):
            at += dice.expovariate(1 / self.mean_s)
            found.append((at, dice.choice(self.choices)[0]))
        return found

    def _next(self, faults: Faults, dice: Random, at: float) -> None:
        gap = dice.expovariate(1 / self.mean_s)
        kind, arguments = dice.choice(self.choices)
        if self.until_s is not None and at + gap > self.until_s:
            return

        def act() -> None:
            faults.arm(kind, **arguments)
            self._next(faults, dice, at + gap)

        faults.later(gap, act)


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule."""

    entries: tuple[Entry, ...] = ()
    chances: tuple[Chance, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a TOML file.

        Raises
        ------
        SettingsError
            It cannot be read, or some of it makes no sense; all problems are named.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError([str(error)], str(path)) from error
        return cls.parse(tables, str(path))

    @classmethod
    def parse(cls, tables: Mapping[str, Any], source: str = "a schedule") -> Plan:
        """Read what a file says, or refuse it with every problem that it has."""
        problems = [
            f"there is no table [[{name}]]; a schedule has [[fault]] and [[random]]"
            for name in tables
            if name not in {"fault", "random"}
        ]
        entries = _each(tables.get("fault", []), "fault", read_entry, problems)
        chances = _each(tables.get("random", []), "random", read_chance, problems)
        if problems:
            raise SettingsError(problems, source)
        return cls(tuple(entries), tuple(chances))

    def begin(self, faults: Faults) -> None:
        """Begin to follow it."""
        for entry in self.entries:
            entry.begin(faults)
        for chance in self.chances:
            chance.begin(faults)


def _each(tables: Any, name: str, read: Any, problems: list[str]) -> list[Any]:
    """Read tables; what is wrong goes into `problems`."""
    found = []
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        problems.append(f"{name} is written [[{name}]], once for each")
        return []
    for number, table in enumerate(tables, 1):
        try:
            found.append(read(table))
        except ValueError as error:
            problems.append(f"[[{name}]] number {number}: {error}")
    return found


def read_entry(table: Mapping[str, Any]) -> Entry:
    """Return what a ``[[fault]]`` table means."""
    rest = dict(table)
    kind = _kind(rest.pop("kind", None))
    said = [name for name in WHEN if name in rest]
    if len(said) > 1:
        raise ValueError(f"{' and '.join(said)} exclude each other")
    when = said[0] if said else ""
    moment = read_moment(when, rest.pop(when)) if said else None
    every_s = _seconds("every_s", rest.pop("every_s", None))
    return Entry(kind, when, moment, every_s, _arguments(kind, rest))


def read_chance(table: Mapping[str, Any]) -> Chance:
    """Return what a ``[[random]]`` table means."""
    rest = dict(table)
    kinds = rest.pop("kinds", None)
    if not isinstance(kinds, list) or not kinds:
        raise ValueError("kinds is a list of kinds, or of tables with a kind and its parameters")
    seed = rest.pop("seed", 1)
    if not isinstance(seed, int):
        raise ValueError(f"seed is a whole number, not {seed!r}")  # noqa: TRY004  _each gathers them
    mean_s = _seconds("mean_s", rest.pop("mean_s", None))
    if mean_s is None:
        raise ValueError("it needs mean_s, the seconds between two faults on average")
    until_s = _seconds("until_s", rest.pop("until_s", None))
    return Chance(seed, mean_s, until_s, tuple(_choice(one, rest) for one in kinds))


def _choice(one: Any, common: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    own = dict(one) if isinstance(one, dict) else {"kind": one}
    kind = _kind(own.pop("kind", None))
    return kind, _arguments(kind, {**common, **own})


def _kind(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError("it needs a kind")  # noqa: TRY004  _each gathers them
    return kind_of(name).name


def _arguments(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check what `Faults.arm` will be given."""
    options = {name: given[name] for name in OPTIONS if name in given}
    own = {name: value for name, value in given.items() if name not in OPTIONS}
    check_options(**options)
    check_names(kind_of(kind).parameters(own))
    return {**options, **own}


def read_moment(when: str, value: Any) -> Any:
    """Return what a time or a trigger means.

    >>> read_moment("on", "3rd reqHistoricalData"), read_moment("daily", "23:45 America/New_York")
    ((3, 'req_historical_data'), (23, 45, 'America/New_York'))
    """
    if when == "at_s":
        return _seconds("at_s", value, least=0.0)
    if when == "at":
        return _instant(value)
    return read_daily(value) if when == "daily" else read_trigger(value)


def read_trigger(text: Any) -> tuple[int, str]:
    """Return count and name of a message."""
    match = COUNTED.fullmatch(str(text).strip())
    if match is None or match[1] == "0":
        raise ValueError(f"{text!r} is no message; write 'reqHistoricalData' or '3 execDetails'")
    found = replies_named(match[2]) if is_reply(match[2]) else requests_named(match[2])
    if len(found) != 1:
        raise ValueError(f"{text!r} names several messages; a trigger waits for one")
    return int(match[1] or 1), next(iter(found))


def read_daily(text: Any) -> tuple[int, int, str]:
    """Return hour, minute and zone."""
    match = DAILY.fullmatch(str(text).strip())
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise ValueError(f"{text!r} is no time of the day; write '23:45 America/New_York'")
    try:
        ZoneInfo(match[3])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{match[3]!r} is no time zone") from None
    return int(match[1]), int(match[2]), match[3]


def until_daily(now: float, hour: int, minute: int, zone: str) -> float:
    """Return the seconds until a time of the day comes next; never 0.

    >>> until_daily(0, 0, 1, "UTC"), until_daily(60, 0, 1, "UTC")
    (60.0, 86400.0)
    """
    here = datetime.fromtimestamp(now, ZoneInfo(zone))
    then = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then.timestamp() <= now:
        then += ONE_DAY
    return then.timestamp() - now


def _instant(value: Any) -> float:
    """Return epoch seconds of an instant: TOML's own, or ISO text; with a zone."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"at is an instant like 2026-11-20T15:00:00-05:00, not {value!r}"
        ) from None
    if at.tzinfo is None:
        raise ValueError(f"at needs a zone, {value} has none")
    return at.astimezone(UTC).timestamp()


def _seconds(name: str, value: Any, *, least: float | None = None) -> float | None:
    """Return a number of seconds, above 0 if no least is given."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or (value <= 0 if least is None else value < least):
        raise ValueError(f"{name} is a number of seconds, not {value!r}")
    return float(value)
