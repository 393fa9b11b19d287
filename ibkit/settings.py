"""Settings: where the data lives, the profiles sim, paper and live and those of the user's own.

Read once, at the edge, from the nearest `ibkit.toml` upwards, with `IBKIT_*` environment
variables and secret stores over it (`sources`); validated, frozen, and passed on by hand. Nothing
reads them at import.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ibkit.errors import SettingsError, UnknownProfileError
from ibkit.schema import DATASETS
from ibkit.sources import FILE, Secrets, misspelt, nearest, sources

if TYPE_CHECKING:
    from typing import Self

Kind = Literal["sim", "paper", "live"]
# what a connection is for; empty: everything
Role = Literal["", "data", "trading"]


class Endpoint(NamedTuple):
    """Where a gateway may listen."""

    host: str
    port: int


def _as_endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= 65_535:
        raise ValueError(f"{text!r} is no endpoint; write host:port, such as '127.0.0.1:4002'")
    return text


def _as_window(text: str) -> str:
    if text and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d \S+", text):
        raise ValueError(f"{text!r} is no daily window; write '23:45-01:45 America/New_York'")
    try:
        ZoneInfo(text.partition(" ")[2] or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{text!r} names no time zone that is known") from error
    return text


def _as_list(value: Any) -> Any:
    """Return the list that an environment variable spells in JSON."""
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def _as_range(text: str) -> str:
    first, _, last = text.partition("-")
    if not first.isdigit() or not last.isdigit() or not 0 < int(first) <= int(last) < 2**31:
        raise ValueError(f"{text!r} is no range of client ids; write '21-60', from 1 on")
    return text


# those of ssh that go to the background or say what is forwarded, alone or behind others
OUR_SWITCHES: Final = re.compile(r"-[46AaCgKkNnqsTtVvXxYy]*[fLRDWM]")


def _as_tunnel(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no command: {error}") from error
    if text and (len(words) < 2 or Path(words[0]).stem.lower() != "ssh"):
        raise ValueError(f"{text!r} is no tunnel; write 'ssh user@host'")
    if wrong := [word for word in words[1:] if OUR_SWITCHES.match(word)]:
        raise ValueError(f"leave {wrong[0]!r} out: which ports, and that ssh stays, is ours to say")
    return text


TunnelText = Annotated[str, AfterValidator(_as_tunnel)]
RangeText = Annotated[str, AfterValidator(_as_range)]
EndpointText = Annotated[str, AfterValidator(_as_endpoint)]
WindowText = Annotated[str, AfterValidator(_as_window)]


class RoleTable(BaseModel):
    """What a `[profiles.<name>.roles.data]` or `.trading` table may say; the rest is the profile's.

    A role with a host or a port of its own has fallbacks of its own, or none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str | None = Field(default=None, min_length=1)
    port: int | None = Field(default=None, ge=1, le=65_535)
    client_id: int | None = Field(default=None, ge=0, le=2**31 - 1)
    fallbacks: Annotated[tuple[EndpointText, ...] | None, BeforeValidator(_as_list)] = None


class Roles(BaseModel):
    """The connections of a profile that has one for data and one for trading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: RoleTable | None = None
    trading: RoleTable | None = None

    def of(self, role: str) -> RoleTable:
        """Return the table of a role; an empty one if there is none."""
        found: RoleTable | None = getattr(self, role)
        return found or RoleTable()

    def __bool__(self) -> bool:
        return self.data is not None or self.trading is not None


class Profile(BaseModel):
    """One way to a gateway.

    Attributes
    ----------
    name : str
        What `connect` was given: ``"paper"``.
    kind : {"sim", "paper", "live"}
        What its accounts must look like, and which safety rules hold.
    host, port : str, int
        Where TWS or IB Gateway listens. ``port`` 0, for sim only: the system chooses.
    client_id : int
        IB's client id; orders can be amended only from the id that placed them.
    client_ids : str
        The range that ``connect(client_id="auto")`` takes a free one from: ``"21-60"``.
    account : str
        The account to trade; empty: the only one of the login.
    trading : bool
        Whether orders may be sent.
    timeout_s : float
        Patience with the gateway for connecting and for requests of one answer, in seconds.
    fallbacks : tuple of str
        Further ``host:port`` to try, in order of preference, when the first does not answer.
    heartbeat_s, heartbeat_timeout_s : float
        How often the gateway is asked for a sign of life; how long that may take.
    stale_s : float
        How long quotes may be silent before they are asked for again; then twice as long, up to an
        hour.
    retry_cap_s : float
        The longest pause between two attempts to reconnect.
    reset_window : str
        When IB restarts its servers every day, with the zone; an outage then alarms nobody.
    alert : tuple of str
        A command to run, once, when an outage lasts longer than `alert_after_s` outside of it; the
        text is its last argument.
    roles : Roles
        Connections of their own for data and for trading; none: one connection serves both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(ge=0, le=65_535)
    client_id: int = Field(default=1, ge=0, le=2**31 - 1)
    client_ids: RangeText = "21-60"
    account: str = ""
    trading: bool = False
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    fallbacks: tuple[EndpointText, ...] = ()
    heartbeat_s: float = Field(default=15.0, gt=0, le=3600)
    heartbeat_timeout_s: float = Field(default=10.0, gt=0, le=600)
    stale_s: float = Field(default=60.0, gt=0, le=86_400)
    retry_cap_s: float = Field(default=30.0, gt=0, le=3600)
    reset_window: WindowText = "23:45-01:45 America/New_York"
    alert: tuple[str, ...] = ()
    alert_after_s: float = Field(default=900.0, gt=0)
    tunnel: TunnelText = ""
    tls: bool = False
    tls_ca: str = ""
    tls_name: str = ""
    tls_verify: bool = True
    roles: Roles = Roles()

    def of_role(self, role: Literal["data", "trading"]) -> Profile:
        """Return the profile of one role: its own address and client id, the rest as here.

        Raises
        ------
        SettingsError
            Both roles have the same client id at the same gateway.

        Examples
        --------
        >>> profile = Profile(name="live", kind="live", port=4001, roles={"data": {"port": 4011}})
        >>> profile.of_role("data").endpoints, profile.of_role("data").client_id
        ((Endpoint(host='127.0.0.1', port=4011),), 21)
        """
        found = self._of_role(role)
        other = self._of_role("data" if role == "trading" else "trading")
        if found.client_id == other.client_id and {*found.endpoints} & {*other.endpoints}:
            problem = f"roles: data and trading need two client ids; both have {found.client_id}"
            raise SettingsError([problem], f"profile {self.name!r}")
        return found

    def _of_role(self, role: Literal["data", "trading"]) -> Profile:
        update: dict[str, Any] = self.roles.of(role).model_dump(exclude_none=True)
        if "host" in update or "port" in update:
            update.setdefault("fallbacks", ())
        if role == "data":
            free = (each for each in self.free_ids if each != self.client_id)
            update.setdefault("client_id", next(free))
        return self.model_copy(update=update)

    @property
    def free_ids(self) -> range:
        """The client ids of `client_ids`."""
        first, _, last = self.client_ids.partition("-")
        return range(int(first), int(last) + 1)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where to look for a gateway, in order of preference."""
        split = (text.rpartition(":") for text in self.fallbacks)
        return Endpoint(self.host, self.port), *(
            Endpoint(host, int(port)) for host, _, port in split
        )


class ProfileTable(BaseModel):
    """What one `[profiles.…]` table may say; what it leaves out comes from the profile's kind.

    A profile of the user's own names what it inherits: sim, paper, live, or another of his own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inherits: str | None = None
    host: str | None = Field(default=None, min_length=1)
    port: int | None = Field(default=None, ge=0, le=65_535)
    client_id: int | None = Field(default=None, ge=0, le=2**31 - 1)
    client_ids: RangeText | None = None
    account: str | None = None
    trading: bool | None = None
    timeout_s: float | None = Field(default=None, gt=0, le=600)
    fallbacks: Annotated[tuple[EndpointText, ...] | None, BeforeValidator(_as_list)] = None
    heartbeat_s: float | None = Field(default=None, gt=0, le=3600)
    heartbeat_timeout_s: float | None = Field(default=None, gt=0, le=600)
    stale_s: float | None = Field(default=None, gt=0, le=86_400)
    retry_cap_s: float | None = Field(default=None, gt=0, le=3600)
    reset_window: WindowText | None = None
    alert: Annotated[tuple[str, ...] | None, BeforeValidator(_as_list)] = None
    alert_after_s: float | None = Field(default=None, gt=0)
    tunnel: TunnelText | None = None
    tls: bool | None = None
    tls_ca: str | None = None
    tls_name: str | None = None
    tls_verify: bool | None = None
    roles: Roles | None = None


class ProfileTables(BaseModel):
    """The `[profiles]` table: the built-in ones, and any number of the user's own."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, ProfileTable] = Field(init=False)

    sim: ProfileTable = ProfileTable()
    paper: ProfileTable = ProfileTable()
    live: ProfileTable = ProfileTable()

    def tables(self) -> dict[str, ProfileTable]:
        """Return all tables by name, the built-in ones first."""
        return {name: getattr(self, name) for name in DEFAULTS} | (self.__pydantic_extra__ or {})

    def line(self, name: str) -> list[str]:
        """Return `name` and what it inherits from, up to a built-in one."""
        tables, names = self.tables(), [name]
        while (parent := tables[names[-1]].inherits) and names[-1] not in DEFAULTS:
            names.append(parent)
            if parent not in tables or names.count(parent) > 1:
                break
        return names

    @model_validator(mode="after")
    def _check_own(self) -> Self:
        for name, table in self.tables().items():
            if problem := self._wrong_with(name, table.inherits):
                raise ValueError(problem)
        return self

    def _wrong_with(self, name: str, parent: str | None) -> str:
        """Return what is wrong with a profile's name or ancestry, if anything is."""
        tables = self.tables()
        if name in DEFAULTS:
            built_in = f"profiles.{name}.inherits: {name} is built in and inherits nothing"
            return built_in if parent else ""
        if not OWN_NAME.fullmatch(name):
            return f"profiles.{name}: a name has small letters, digits, - and _, a letter first"
        if not parent:
            return (
                f"profiles.{name}: {nearest(name, DEFAULTS)} A profile of your own says "
                'inherits = "sim", "paper" or "live"'
            )
        others = tables.keys() - {name}
        if parent not in others:
            return f"profiles.{name}.inherits: no profile {parent!r}; {nearest(parent, others)}"
        top = self.line(name)[-1]
        return "" if top in DEFAULTS else f"profiles.{name}.inherits: goes round in a circle"


class Pacing(BaseModel):
    """What the `[pacing]` table may say: IB's limits, where yours differ from the usual ones.

    They may change while running, see `ibkit.reload.reload_settings`.

    Attributes
    ----------
    lines : int
        Market data lines; boosters add 100 each.
    depth, tick_by_tick, scanners : int
        Subscriptions of these kinds at once.
    open_history : int
        Historical requests at once.
    small_bars : int
        Historical requests under the hard rules in ten minutes; less leaves room for TWS itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: int = Field(default=100, ge=1, le=10_000)
    depth: int = Field(default=3, ge=0, le=60)
    tick_by_tick: int = Field(default=5, ge=0, le=1_000)
    scanners: int = Field(default=10, ge=0, le=10)
    open_history: int = Field(default=50, ge=1, le=50)
    small_bars: int = Field(default=60, ge=1, le=60)


class Quality(BaseModel):
    """What one `[quality.<dataset>]` table may say: limits that ``ibkit store check`` holds.

    Attributes
    ----------
    gap_share : float
        Missing bars, as a share of those that should be there.
    longest_gap : int
        In bars.
    stale_days : float
        Age of the last row.
    outliers : int
        Jumps that the next bar takes back.
    zero_volume_run : int
        Bars in a row without a trade.
    wap_outside : int
        Bars whose average price lies outside of them.
    disagreements : int
        Bars that do not hold the smaller bars of their time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gap_share: float | None = Field(default=None, ge=0, le=1)
    longest_gap: int | None = Field(default=None, ge=0)
    stale_days: float | None = Field(default=None, ge=0)
    outliers: int | None = Field(default=None, ge=0)
    zero_volume_run: int | None = Field(default=None, ge=0)
    wap_outside: int | None = Field(default=None, ge=0)
    disagreements: int | None = Field(default=None, ge=0)


def _known_dataset(name: str) -> str:
    if name not in DATASETS:
        raise ValueError(f"there is no dataset {name!r}; bars of one minute are 'bars_1min'")
    return name


class StoreTable(BaseModel):
    """What the `[store]` table may say.

    Attributes
    ----------
    url : str
        ``"s3://bucket/prefix"`` for stores in a bucket; a profile adds its name. Empty: folders.
    options : dict
        Of the bucket: ``endpoint``, ``region``, …; keys are better in ``AWS_*`` variables.
    audit : {"off", "writes", "all"}
        What of reading and writing is told in ``meta/audit``.
    encrypted : tuple of str
        Datasets that are never written plain.
    secrets : Path or None
        A folder of keys; without it the environment and the keyring are asked alone.
    role : {"reader", "writer", "owner"} or None
        As what stores are opened; None: the owner, if the folder is this account's, else a writer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="", pattern=r"^$|^[a-z0-9]+://.+")
    options: dict[str, str] = Field(default_factory=dict)
    audit: Literal["off", "writes", "all"] = "off"
    encrypted: tuple[Annotated[str, AfterValidator(_known_dataset)], ...] = ()
    secrets: Path | None = None
    role: Literal["reader", "writer", "owner"] | None = None


OWN_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# IB Gateway's own ports; TWS listens on 7497 (paper) and 7496 (live)
DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "sim": {"kind": "sim", "port": 0, "trading": True},
    "paper": {"kind": "paper", "port": 4002},
    "live": {"kind": "live", "port": 4001},
}


class Settings(BaseSettings):
    """Everything that a user may set. Make one with `load_settings`.

    Attributes
    ----------
    data : Path
        The data root, relative to the workspace; each profile has a folder of its own in it.
    profiles : ProfileTables
        Overrides of the built-in profiles.
    quality : dict of str to Quality
        By dataset, how good stored rows must be.
    store : StoreTable
        Where stores lie if not in folders, and who may look into them.
    pacing : Pacing
        IB's limits for this login.
    secrets : Secrets
        Where settings are kept that no file should show.
    workspace : Path
        The folder of the `ibkit.toml` that was found.
    """

    model_config = SettingsConfigDict(
        env_prefix="IBKIT_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data: Path = Path("data")
    profiles: ProfileTables = ProfileTables()
    quality: dict[Annotated[str, AfterValidator(_known_dataset)], Quality] = Field(
        default_factory=dict
    )
    store: StoreTable = StoreTable()
    pacing: Pacing = Pacing()
    secrets: Secrets = Secrets()
    workspace: Path = Field(default=Path(), exclude=True)

    def profile(self, name: str, **overrides: Any) -> Profile:
        """Return profile `name`, with every override that is not None.

        Raises
        ------
        UnknownProfileError
            The message lists the profiles there are.
        SettingsError
            An override is of the wrong type or out of range.

        Examples
        --------
        >>> Settings().profile("paper", port=7497).port
        7497
        """
        tables = self.profiles.tables()
        if name not in tables:
            raise UnknownProfileError(name, sorted(tables))
        line = self.profiles.line(name)
        found = dict(DEFAULTS[line[-1]])
        for each in reversed(line):
            found |= tables[each].model_dump(exclude_none=True, exclude={"inherits"})
        found |= {key: value for key, value in overrides.items() if value is not None}
        try:
            return Profile(name=name, **found)
        except ValidationError as error:
            raise SettingsError(_problems(error), f"profile {name!r}") from error

    def limits(self) -> dict[str, dict[str, float]]:
        """Return the limits of quality that are set, by dataset and metric."""
        return {name: table.model_dump(exclude_none=True) for name, table in self.quality.items()}

    def root(self, profile: str) -> Path:
        """Return the store's root of a profile: profiles never share one."""
        return (self.workspace / self.data.expanduser() / profile).absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, secret stores, then the workspace's file."""
        workspace = init_settings().get("workspace")
        return sources(
            settings_cls, init_settings, env_settings, Path(workspace) if workspace else None
        )


def find_workspace(start: Path | None = None) -> Path | None:
    """Return the nearest folder upwards from `start` (default: here) that holds `ibkit.toml`."""
    here = (start or Path.cwd()).absolute()
    return next((folder for folder in (here, *here.parents) if (folder / FILE).is_file()), None)


def load_settings(start: Path | None = None, *, workspace: Path | None = None) -> Settings:
    """Read the settings of the workspace around `start`.

    Outside any workspace the user's own data folder serves as one, so that notebooks in two
    places still share one store; `ibkit init` makes a workspace.

    Parameters
    ----------
    start : Path, optional
        Where to look first; the default is the current folder.
    workspace : Path, optional
        This very folder; nothing is looked for then.

    Raises
    ------
    SettingsError
        Names each unknown or wrong setting, and the file.
    """
    workspace = workspace or find_workspace(start) or Path(platformdirs.user_data_dir("ibkit"))
    source = f"{workspace / FILE} and IBKIT_* variables"
    if wrong := misspelt(Settings.model_fields):
        raise SettingsError(wrong, source)
    try:
        return Settings(workspace=workspace)
    except ValidationError as error:
        raise SettingsError(_problems(error), source) from error
    except (ValueError, OSError) as error:  # TOML that does not parse, a place that is not there
        raise SettingsError([str(error)], source) from error
    except Exception as error:
        if (type(error).__module__ or "").partition(".")[0] in CLOUDS:
            raise SettingsError([f"a secret store refused: {error}"], source) from error
        raise


# packages whose errors mean that a secret store cannot be read
CLOUDS: Final = frozenset({"botocore", "boto3", "azure"})


def _problems(error: ValidationError) -> list[str]:
    """Return a line for each thing that is wrong, with the nearest right name for a wrong one."""
    return [
        _problem(item["loc"], item["type"], item["input"], item["msg"]) for item in error.errors()
    ]


def _problem(loc: tuple[int | str, ...], kind: str, given: object, words: str) -> str:
    if kind == "value_error" and loc == ("profiles",):  # the table's own check names the place
        return words.removeprefix("Value error, ")
    shown = "…" if loc[-1:] == ("account",) else repr(given)
    if kind == "extra_forbidden":
        words = f"there is no such setting; {nearest(loc[-1], _names_at(loc[:-1]))}"
    return f"{'.'.join(str(part) for part in loc)} = {shown}: {words}"


def _names_at(loc: tuple[int | str, ...]) -> list[str]:
    """Return the names that a table may have."""
    tables: dict[str, type[BaseModel]] = {
        "profiles": ProfileTable,
        "quality": Quality,
        "store": StoreTable,
        "pacing": Pacing,
        "secrets": Secrets,
    }
    table = tables.get(str(loc[0])) if loc else Settings
    if "roles" in loc[2:]:
        table = Roles if loc[-1] == "roles" else RoleTable
    return sorted(set((table or Settings).model_fields) - {"workspace"})
