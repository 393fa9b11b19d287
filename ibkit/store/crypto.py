"""Datasets encrypted at rest: Parquet modular encryption, with keys that never lie beside the data.

Every file has a data key of its own, wrapped by the dataset's master key; the master key comes
from an environment variable, a folder of secrets or the keyring, and its name is in the file. What
is not hidden: names of folders (instruments, periods), sizes, and the journal's ranges and counts.
Losing a master key loses the data.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from ibkit.errors import (
    CorruptFileError,
    MissingKeyError,
    StoreAccessError,
    StoreError,
    TamperedFileError,
)
from ibkit.store import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibkit.store.medium import Medium

SERVICE: Final = "ibkit"  # in the keyring
VARIABLE: Final = "IBKIT_KEY_"  # and the key's name in capitals
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
LENGTH: Final = 32  # AES-256
NONCE: Final = 12
ENCRYPTED, PLAIN_MAGIC = b"PARE", b"PAR1"  # how a Parquet file begins and ends
OTHER: Final = "this key did not encrypt it, or its bytes were changed since"
INSTALL: Final = (
    "encryption needs cryptography and pyarrow 21 or later: pip install 'ibkit[encryption]'"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Where master keys are looked for, in this order: environment, secrets folder, keyring.

    Parameters
    ----------
    folder : Path, optional
        A folder of secrets, one file a key, readable by its owner alone (mode 0600 or 0400).
    keyring : bool
        Whether to ask the system's keyring, if the package ``keyring`` is installed.
    """

    folder: Path | None = None
    keyring: bool = True

    def find(self, dataset: str, key: str) -> bytes:
        """Return a master key.

        Raises
        ------
        MissingKeyError
            It is nowhere; the message lists where it was looked for.
        StoreError
            It is there and is no key, or others may read its file; or no key can have that name.
        """
        _check_name(key)
        looked = []
        for place, look in self._places(key):
            found = look()
            if found is not None:
                return _decoded(found, place)
            looked.append(place)
        raise MissingKeyError(dataset, key, looked)

    def make(self, key: str) -> str:
        """Make a master key, keep it, and return the place; the environment cannot keep one.

        Raises
        ------
        StoreError
            There is neither a folder of secrets nor a keyring to keep it in.
        """
        _check_name(key)
        text = base64.b64encode(secrets.token_bytes(LENGTH)).decode()
        if self.folder is not None:
            return _keep_file(self.folder / key, text)
        if self.keyring and _set_in_keyring(key, text):
            return f"the keyring, service {SERVICE}, name {key}"
        raise StoreError(
            f"there is no place to keep the new key {key}: no keyring answers.\n"
            "Hint: name a folder with keys=Keys(folder=…) or secrets= in ibkit.toml; or make a key "
            f"yourself (32 random bytes, base64), set {_variable(key)} and pass key=."
        )

    def _places(self, key: str) -> Iterable[tuple[str, Callable[[], str | None]]]:
        variable = _variable(key)
        yield f"environment variable {variable}", lambda: os.environ.get(variable)
        if self.folder is None:
            yield "a folder of secrets (none is set)", lambda: None
        else:
            path = self.folder / key
            yield f"file {path}", lambda: _read_secret(path)
        if self.keyring:
            yield f"keyring, service {SERVICE}, name {key}", lambda: _from_keyring(key)


def _check_name(key: str) -> None:
    """Raise if a name, which may come out of a file, could lead out of the folder of secrets."""
    if not NAME.fullmatch(key):
        raise StoreError(f"no key is called {key!r}: letters, digits, - and _ make its name")


def _variable(key: str) -> str:
    return VARIABLE + key.upper().replace("-", "_")


def _read_secret(path: Path) -> str | None:
    content = disk.read(path, "the file of a key")
    if content is not None and path.stat().st_mode & 0o077:
        raise StoreAccessError(path, "others may read this key; make it theirs alone: chmod 600")
    return None if content is None else content.decode("ascii", "replace")


def _keep_file(path: Path, text: str) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with disk.access(path, "the file of a key"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(descriptor)
    disk.sync_folder(path.parent)
    return f"file {path}"


def _from_keyring(key: str) -> str | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        return keyring.get_password(SERVICE, key)
    except KeyringError:
        return None


def _set_in_keyring(key: str, text: str) -> bool:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return False
    try:
        keyring.set_password(SERVICE, key, text)
        return keyring.get_password(SERVICE, key) == text
    except KeyringError:
        return False


def _decoded(text: str, place: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != LENGTH:
        raise StoreError(f"what is in {place} is no key; a key is {LENGTH} random bytes in base64")
    return key


@dataclass(frozen=True, slots=True)
class State:
    """What a dataset's marker says.

    Attributes
    ----------
    key : str
        The name of the present key.
    turning : bool
        Whether plain files may still be there: `Store.encrypt` is under way, or was killed.
    rotating : bool
        Whether files of an older key may be: the same of `Store.rotate_key`.
    """

    key: str
    turning: bool = False
    rotating: bool = False

    def to_bytes(self) -> bytes:
        """Return the marker's content."""
        facts = {"v": 1, **asdict(self)}
        return (json.dumps(facts) + "\n").encode()

    @classmethod
    def of(cls, content: bytes, path: str) -> State:
        """Return what a marker says."""
        try:
            facts = json.loads(content)
            if facts.pop("v") == 1:
                return cls(**facts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFileError(path, f"it does not say how to decrypt: {error}") from error
        raise CorruptFileError(path, "it was written by a newer ibkit; update this one")


class Seal:
    """The encryption of one dataset: whether, with which key, and how a file is opened.

    Parameters
    ----------
    dataset : str
        Its name.
    marker : Path
        The file that says that it is encrypted, in ``meta``.
    medium : Medium
        Where the marker and the files lie.
    keys : Keys
        Where master keys are.
    required : bool
        The settings say that it must be encrypted: a missing marker is an error, not a licence.
    """

    def __init__(
        self, dataset: str, marker: Path, medium: Medium, keys: Keys, *, required: bool = False
    ) -> None:
        self.dataset, self.marker, self.keys, self.required = dataset, marker, keys, required
        self._medium = medium
        self._known: State | None = None
        self._asked = False

    def state(self, *, fresh: bool = False) -> State | None:
        """Return what the marker says; None: the dataset is plain."""
        if fresh or not self._asked:
            content = self._medium.read(self.marker, "the marker of an encrypted dataset")
            found = None if content is None else State.of(content, self._medium.show(self.marker))
            self._known, self._asked = found, True
        return self._known

    def open(self, path: Path) -> Any:
        """Return a `pyarrow.parquet.ParquetFile`, decrypted if need be.

        Raises
        ------
        TamperedFileError
            A plain file lies in an encrypted dataset.
        MissingKeyError
            Its key is nowhere.
        """
        source = self._medium.source(path)
        options = {"pre_buffer": False, "page_checksum_verification": True}
        state = self.state()
        if state is None:
            try:
                return pq.ParquetFile(source, **options)
            except OSError as error:
                # another process may have turned encryption on since
                if "encrypted" not in str(error) or self.state(fresh=True) is None:
                    raise
            source = self._medium.source(path)
        self._check_magic(source, path)
        return pq.ParquetFile(source, decryption_properties=self._opening(), **options)

    def _check_magic(self, source: Any, path: Path) -> None:
        """Raise if a file is plain and should not be; pyarrow would read it all the same."""
        if isinstance(source, Path):
            with source.open("rb") as file:
                magic = file.read(4)
        else:
            magic = source.read(4)
            source.seek(0)
        if magic == ENCRYPTED:
            return
        state = self.state(fresh=True)
        if not (magic == PLAIN_MAGIC and state is not None and state.turning):
            words = "it is not encrypted, and its dataset is"
            raise TamperedFileError(self._medium.show(path), words)

    def _opening(self) -> Any:
        import pyarrow.parquet.encryption as pe

        factory, connection = self._factory()
        return factory.file_decryption_properties(connection, pe.DecryptionConfiguration())

    def writing(self) -> Any:
        """Return what a `ParquetWriter` needs to encrypt; None if the dataset is plain.

        The marker is read anew each time: what another process encrypted is never written plain.
        """
        state = self.state(fresh=True)
        if state is None:
            if self.required:
                raise StoreError(
                    f"{self.dataset} is to be encrypted by the settings, and is not yet; nothing "
                    f"was written.\nHint: store.encrypt({self.dataset!r}) makes its key."
                )
            return None
        import pyarrow.parquet.encryption as pe

        self.keys.find(self.dataset, state.key)  # a missing key is told before anything is made
        factory, connection = self._factory()
        try:
            configuration = pe.EncryptionConfiguration(
                footer_key=state.key,
                uniform_encryption=True,
                double_wrapping=False,
                data_key_length_bits=8 * LENGTH,
            )
        except TypeError as error:  # pyarrow before 21
            raise StoreError(INSTALL) from error
        return factory.file_encryption_properties(connection, configuration)

    def _factory(self) -> tuple[Any, Any]:
        import pyarrow.parquet.encryption as pe

        return pe.CryptoFactory(lambda _: _kms(self.keys, self.dataset)), pe.KmsConnectionConfig()

    # --- bytes that are no Parquet ---------------------------------------------------------------

    def wrap(self, content: bytes, about: str = "") -> bytes:
        """Return the bytes as they may lie on the disk: a frame of a segment, a file set aside.

        `about` is signed with them, such as their instrument; `unwrap` asks for it.
        """
        state = self.state(fresh=True)
        if state is None:
            return content
        name = state.key.encode()
        key = self.keys.find(self.dataset, state.key)
        sealed = _encrypt(key, content, self._signed(name, about))
        return ENCRYPTED + len(name).to_bytes(2, "little") + name + sealed

    def _signed(self, name: bytes, about: str) -> bytes:
        return b"\0".join((name, self.dataset.encode(), about.encode()))

    def unwrap(self, content: bytes, about: str = "") -> bytes:
        """Return what `wrap` was given; plain bytes pass while a dataset is plain or turning.

        Raises
        ------
        TamperedFileError
            The bytes are not those that were wrapped.
        """
        if not content.startswith(ENCRYPTED):
            state = self.state(fresh=True)
            if state is not None and not state.turning:
                words = "it holds plain bytes, and its dataset is encrypted"
                raise TamperedFileError(self.dataset, words)
            return content
        length = int.from_bytes(content[4:6], "little")
        name, sealed = content[6 : 6 + length], content[6 + length :]
        key = self.keys.find(self.dataset, name.decode("ascii", "replace"))
        try:
            return _decrypt(key, sealed, self._signed(name, about))
        except ValueError as error:
            raise TamperedFileError(self.dataset, f"a stretch of a stream: {error}") from error


def new_key(dataset: str) -> str:
    """Return a name for a new master key: the dataset's, and what tells stores and times apart."""
    return f"{dataset.replace('_', '-')}-{secrets.token_hex(4)}"


def _encrypt(key: bytes, content: bytes, about: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE)
    return nonce + _cipher(key).encrypt(nonce, content, about)  # type: ignore[no-any-return] # typed where cryptography is installed


def _decrypt(key: bytes, sealed: bytes, about: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(key).decrypt(sealed[:NONCE], sealed[NONCE:], about)  # type: ignore[no-any-return] # as above
    except (InvalidTag, ValueError) as error:
        raise ValueError(OTHER) from error


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise StoreError(INSTALL) from error
    return AESGCM(key)


def _kms(keys: Keys, dataset: str) -> Any:
    """Return what pyarrow asks for keys: our places stand for a key server."""
    import pyarrow.parquet.encryption as pe

    class Kms(pe.KmsClient):  # type: ignore[misc] # pyarrow ships no types
        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            master = keys.find(dataset, master_key_identifier)
            return base64.b64encode(_encrypt(master, key_bytes, master_key_identifier.encode()))

        def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
            master = keys.find(dataset, master_key_identifier)
            sealed = base64.b64decode(wrapped_key)
            return _decrypt(master, sealed, master_key_identifier.encode())

    return Kms()
