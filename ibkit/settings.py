"""Settings: where the data lives, and the profiles sim, paper and live.

Read once, at the edge, from the nearest `ibkit.toml` upwards, with `IBKIT_*` environment
variables over it; validated, frozen, and passed on by hand. Nothing reads them at import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ibkit.errors import SettingsError, UnknownProfileError
from ibkit.schema import DATASETS

FILE: Final = "ibkit.toml"
Kind = Literal["sim", "paper", "live"]


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
    account : str
        The account to trade; empty: the only one of the login.
    trading : bool
        Whether orders may be sent.
    timeout_s : float
        Patience with the gateway for connecting and for requests of one answer, in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(ge=0, le=65_535)
    client_id: int = Field(default=1, ge=0, le=2**31 - 1)
    account: str = ""
    trading: bool = False
    timeout_s: float = Field(default=10.0, gt=0, le=600)


class ProfileTable(BaseModel):
    """What one `[profiles.…]` table may say; what it leaves out comes from the profile's kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str | None = Field(default=None, min_length=1)
    port: int | None = Field(default=None, ge=0, le=65_535)
    client_id: int | None = Field(default=None, ge=0, le=2**31 - 1)
    account: str | None = None
    trading: bool | None = None
    timeout_s: float | None = Field(default=None, gt=0, le=600)


class ProfileTables(BaseModel):
    """The `[profiles]` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sim: ProfileTable = ProfileTable()
    paper: ProfileTable = ProfileTable()
    live: ProfileTable = ProfileTable()


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
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="", pattern=r"^$|^[a-z0-9]+://.+")
    options: dict[str, str] = Field(default_factory=dict)
    audit: Literal["off", "writes", "all"] = "off"
    encrypted: tuple[Annotated[str, AfterValidator(_known_dataset)], ...] = ()
    secrets: Path | None = None


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
        if name not in DEFAULTS:
            raise UnknownProfileError(name, sorted(DEFAULTS))
        table = getattr(self.profiles, name).model_dump(exclude_none=True)
        given = {key: value for key, value in overrides.items() if value is not None}
        try:
            return Profile(name=name, **{**DEFAULTS[name], **table, **given})
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
        """Order the sources: arguments, environment, then the file named in the arguments."""
        workspace = init_settings().get("workspace")
        file = Path(workspace) / FILE if workspace else None
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)


def find_workspace(start: Path | None = None) -> Path | None:
    """Return the nearest folder upwards from `start` (default: here) that holds `ibkit.toml`."""
    here = (start or Path.cwd()).absolute()
    return next((folder for folder in (here, *here.parents) if (folder / FILE).is_file()), None)


def load_settings(start: Path | None = None) -> Settings:
    """Read the settings of the workspace around `start`.

    Outside any workspace the user's own data folder serves as one, so that notebooks in two
    places still share one store; `ibkit init` makes a workspace.

    Parameters
    ----------
    start : Path, optional
        Where to look first; the default is the current folder.

    Raises
    ------
    SettingsError
        Names each unknown or wrong setting, and the file.
    """
    workspace = find_workspace(start) or Path(platformdirs.user_data_dir("ibkit"))
    source = f"{workspace / FILE} and IBKIT_* variables"
    try:
        return Settings(workspace=workspace)
    except ValidationError as error:
        raise SettingsError(_problems(error), source) from error
    except ValueError as error:  # TOML that does not parse, an environment value that is no JSON
        raise SettingsError([str(error)], source) from error


def _problems(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in item['loc'])} = {item['input']!r}: {item['msg']}"
        for item in error.errors()
    ]
