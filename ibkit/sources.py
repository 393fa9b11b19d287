"""Where settings come from beside the file: environment, `.env`, secret stores.

Every place uses the names of the environment: ``IBKIT_PROFILES__LIVE__ACCOUNT``. Earlier places
win: arguments, environment, `.env`, folder of secrets, keyring, AWS, Azure, then `ibkit.toml`.
Not here: what may be set (`settings`).
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict
from pydantic_settings import (
    AWSSecretsManagerSettingsSource,
    AzureKeyVaultSettingsSource,
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE: Final = "ibkit.toml"
PREFIX: Final = "IBKIT_"
BETWEEN: Final = "__"
SERVICE: Final = "ibkit"


class Secrets(BaseModel):
    """What the `[secrets]` table may say: where settings are kept that no file should show.

    Attributes
    ----------
    env_file : Path
        Lines of ``NAME=value``; relative to the workspace, may be missing.
    dir : Path or None
        A folder with one file a setting, named as in the environment.
    keyring : tuple of str
        Names to ask the system's keyring for, service ``ibkit``; needs ``ibkit[keyring]``.
    aws : str
        The id of a secret in AWS Secrets Manager that is a JSON object of names and values; needs
        ``ibkit[aws]``. Region and credentials are AWS's own variables.
    aws_endpoint : str
        Of another Secrets Manager than Amazon's.
    azure : str
        The URL of an Azure Key Vault; its names have a dash for each underscore, so
        ``IBKIT-PROFILES--LIVE--ACCOUNT``; needs ``ibkit[azure]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    env_file: Path = Path(".env")
    dir: Path | None = None
    keyring: tuple[str, ...] = ()
    aws: str = ""
    aws_endpoint: str = ""
    azure: str = ""


class Places(BaseSettings):
    """The `[secrets]` table alone: it is read first, to know where to read the rest."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=BETWEEN, extra="ignore", frozen=True
    )

    secrets: Secrets = Secrets()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, then the file that the arguments name."""
        file = init_settings().get("file")
        return env_settings, TomlConfigSettingsSource(settings_cls, file)


class DotenvSource(EnvSettingsSource):
    """The lines of a `.env` file that are ours; pydantic's own source refuses those of others."""

    def __init__(self, settings_cls: type[BaseSettings], file: Path) -> None:
        self._file = file
        super().__init__(settings_cls)

    def _load_env_vars(self) -> dict[str, str | None]:
        found = dotenv_values(self._file)
        if wrong := misspelt(self.settings_cls.model_fields, found):
            raise ValueError(f"{self._file}: {'; '.join(wrong)}")
        return {name.lower(): value for name, value in found.items()}


class KeyringSource(EnvSettingsSource):
    """The names of the `[secrets]` table that the system's keyring keeps."""

    def __init__(self, settings_cls: type[BaseSettings], names: Iterable[str]) -> None:
        self._names = tuple(names)
        super().__init__(settings_cls)

    def _load_env_vars(self) -> dict[str, str | None]:
        import keyring
        from keyring.errors import KeyringError

        found: dict[str, str | None] = {}
        for name in self._names:
            try:
                value = keyring.get_password(SERVICE, name)
            except KeyringError as error:
                raise ValueError(f"the keyring cannot be asked for {name}: {error}") from error
            if value is None:
                raise ValueError(
                    f"the keyring has no {name}; put it there: keyring set {SERVICE} {name}"
                )
            found[name.lower()] = value
        return found


def sources(
    settings_cls: type[BaseSettings],
    init: PydanticBaseSettingsSource,
    env: PydanticBaseSettingsSource,
    workspace: Path | None,
) -> tuple[PydanticBaseSettingsSource, ...]:
    """Return every place to read, the first wins.

    Raises
    ------
    ValueError
        A place is named that is not there, or whose package is not installed.
    """
    file = workspace / FILE if workspace else None
    secrets = Places(file=file).secrets  # type: ignore[call-arg]  # for the sources alone
    folder = workspace or Path()
    places: list[PydanticBaseSettingsSource] = [init, env]
    if workspace and (dotenv := folder / secrets.env_file.expanduser()).is_file():
        places.append(DotenvSource(settings_cls, dotenv))
    if secrets.dir is not None:
        path = folder / secrets.dir.expanduser()
        if not path.is_dir():
            raise ValueError(f"secrets.dir: there is no folder {path}")
        places.append(NestedSecretsSettingsSource(settings_cls, path))  # type: ignore[arg-type]  # takes a class too
    if secrets.keyring:
        _need("keyring", "keyring")
        places.append(KeyringSource(settings_cls, secrets.keyring))
    places += _clouds(settings_cls, secrets)
    return *places, TomlConfigSettingsSource(settings_cls, file)


def _clouds(
    settings_cls: type[BaseSettings], secrets: Secrets
) -> Iterable[PydanticBaseSettingsSource]:
    if secrets.aws:
        _need("boto3", "aws")
        yield AWSSecretsManagerSettingsSource(
            settings_cls,
            secrets.aws,
            endpoint_url=secrets.aws_endpoint or None,
            case_sensitive=False,
            env_nested_delimiter=BETWEEN,
        )
    if secrets.azure:
        _need("azure.keyvault.secrets", "azure")
        from azure.identity import DefaultAzureCredential

        yield AzureKeyVaultSettingsSource(
            settings_cls,
            secrets.azure,
            DefaultAzureCredential(),
            case_sensitive=False,
            env_prefix=PREFIX.replace("_", "-"),
        )


def _need(package: str, extra: str) -> None:
    try:
        there = find_spec(package) is not None
    except ModuleNotFoundError:  # its parent is missing
        there = False
    if not there:
        raise ValueError(f'secrets.{extra} needs a package more: pip install "ibkit[{extra}]"')


def misspelt(fields: Iterable[str], variables: Iterable[str] | None = None) -> list[str]:
    """Return a problem for each `IBKIT_*` variable whose first name is almost a setting's.

    Others that begin so belong to somebody else, such as ``IBKIT_RUN``.

    >>> misspelt(["data", "profiles"], ["IBKIT_PROFILE__PAPER__PORT", "IBKIT_RUN"])
    ['IBKIT_PROFILE__PAPER__PORT: there is no setting profile; did you mean profiles?']
    """
    known, found = list(fields), []
    for variable in os.environ if variables is None else variables:
        if not variable.upper().startswith(PREFIX):
            continue
        name = variable[len(PREFIX) :].lower().partition(BETWEEN)[0]
        if name in known:
            continue
        if split := [field for field in known if name.startswith(f"{field}_")]:
            found.append(f"{variable}: two underscores stand between {split[0]} and what is in it")
        elif near := get_close_matches(name, known, 1, 0.75):
            found.append(f"{variable}: there is no setting {name}; did you mean {near[0]}?")
    return found


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the words that point from a misspelt name to a right one; all of them if none is near.

    >>> nearest("prot", ["host", "port"])
    'did you mean port?'
    """
    names = sorted(known)
    near: Any = get_close_matches(str(name), names, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
