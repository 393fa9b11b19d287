"""Read the settings again while a program runs: what may change at once, and what has to wait.

The new settings are valid as a whole, or nothing changes. Not here: who uses them; the kit
exchanges its settings, hands the limits to its ledger and says on `kit.events` what changed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from ibkit.errors import SettingsError, UnknownProfileError
from ibkit.log import get_logger
from ibkit.settings import Settings, load_settings
from ibkit.sources import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = get_logger(__name__)

# limits and patience; where a gateway is and where data lies is settled when one connects
AT_ONCE: Final = (
    "pacing.*",
    "quality.*",
    "profiles.*.timeout_s",
    "profiles.*.heartbeat_s",
    "profiles.*.heartbeat_timeout_s",
    "profiles.*.stale_s",
    "profiles.*.retry_cap_s",
    "profiles.*.reset_window",
    "profiles.*.alert",
    "profiles.*.alert_after_s",
)


PATIENCE: Final = tuple(key.rpartition(".")[2] for key in AT_ONCE if key.startswith("profiles."))


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs now; `key` as in ``"pacing.lines"``, None where it is not set."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.key.endswith(".account"):
            return f"{self.key} changed"
        return f"{self.key}: {self.before!r} → {self.after!r}"


@dataclass(frozen=True, slots=True)
class Reload:
    """What reading the settings again came to.

    Attributes
    ----------
    settings : Settings
        The new ones, valid as a whole.
    changed : tuple of Change
        May take effect at once.
    waiting : tuple of Change
        Take effect with the next `connect`.
    """

    settings: Settings
    changed: tuple[Change, ...] = ()
    waiting: tuple[Change, ...] = ()


def reload_settings(settings: Settings) -> Reload:
    """Read the settings of the same workspace again, and say what differs.

    Raises
    ------
    SettingsError
        The new ones are not valid; go on with the old ones.
    """
    fresh = load_settings(workspace=settings.workspace)
    changes = tuple(_differences(_flat(settings.model_dump()), _flat(fresh.model_dump())))
    return Reload(
        fresh,
        tuple(change for change in changes if _at_once(change.key)),
        tuple(change for change in changes if not _at_once(change.key)),
    )


Stamps = tuple[tuple[int, int], ...]


def stamps(settings: Settings) -> Stamps:
    """Return what tells the settings' files from themselves after a change."""
    folder = settings.workspace
    return tuple(_stamp(folder / name) for name in (FILE, settings.secrets.env_file.expanduser()))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


async def watch(
    settings: Callable[[], Settings],
    use: Callable[[Reload], object],
    seen: Stamps,
    every_s: float,
) -> None:
    """Read the settings again whenever their files change, for ever; the disk in a thread."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(every_s)
        now = await loop.run_in_executor(None, stamps, settings())
        if now == seen:
            continue
        seen = now
        try:
            use(await loop.run_in_executor(None, reload_settings, settings()))
        except (SettingsError, UnknownProfileError) as error:
            log.warning("the new settings are not valid; the old ones hold", reason=str(error))


def _at_once(key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in AT_ONCE)


def _flat(table: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{name}.")
        elif value is not None:
            found[above + name] = value
    return found


def _differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield Change(key, before.get(key), after.get(key))
