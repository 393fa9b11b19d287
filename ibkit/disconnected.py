"""`offline()`: what is kept of instruments, without a gateway.

No socket is opened and nothing is written. Not here: bars and ticks (`ibkit.Store` reads them
without a gateway too), and anything that only IB can tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from ibkit.connection.link import Link
from ibkit.connection.loop import LoopThread
from ibkit.errors import OfflineError, StoreAccessError
from ibkit.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd
    from ib_async import Contract

    from ibkit.connection.loop import Face
    from ibkit.contracts import Contracts
    from ibkit.settings import Profile
    from ibkit.store import Store


def offline(profile: str = "sim", *, root: Path | str | None = None) -> Offline:
    """Open what earlier connections have kept, without a connection.

    Parameters
    ----------
    profile : str
        Whose store: ``"sim"``, ``"paper"``, ``"live"``, or one of ``ibkit.toml``.
    root : path, optional
        Folder of the store, instead of ``<data>/<profile>``.

    Returns
    -------
    Offline
        Names and describes every instrument that was ever looked up with this store, by any
        shorthand that fits it; the futures table, roll calendars, hours by calendar, tick grids of
        one step, sizes and money need no gateway either.

    Raises
    ------
    StoreAccessError
        There is no such store yet: nothing was ever kept.

    Examples
    --------
    >>> with ibkit.offline() as kept:  # doctest: +SKIP
    ...     kept.contract("AAPL").conId, kept.known()
    """
    settings = load_settings()
    chosen = settings.profile(profile)
    folder = Path(root).expanduser().absolute() if root else settings.root(profile)
    if not settings.store.url and not (folder / "data").is_dir():
        why = "there is no store, nothing was ever kept here; connect once"
        raise StoreAccessError(str(folder), why)
    from ibkit.store import open_store

    kind: Literal["sim", "real"] = "sim" if chosen.kind == "sim" else "real"
    store = open_store(settings, profile, root=folder if root else None, kind=kind, role="reader")
    return Offline(chosen, store, folder, settings.workspace)


class Offline:
    """What is kept, as a `Kit` would give it; see `offline`.

    Attributes
    ----------
    contracts : Contracts
        As ``kit.contracts``, from the book of IB's answers alone.
    store : Store
        Read only.
    """

    def __init__(self, profile: Profile, store: Store, root: Path, workspace: Path) -> None:
        from ibkit.contracts import Contracts
        from ibkit.contracts.book import Book
        from ibkit.contracts.overrides import load_overrides

        self.store = store
        self._profile, self._loop = profile, LoopThread("ibkit-offline")
        link = self._loop.call(_NoLink, profile, self._loop)
        self.contracts: Contracts = Contracts(
            link,
            cache=root / "cache",
            overrides=load_overrides(workspace),
            book=lambda: Book(store, simulated=profile.kind == "sim"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Offline {self._profile.name}: what is kept, nothing can be asked or placed>"

    @property
    def contract(self) -> Face[[str | Contract], Contract]:
        """Look one instrument up: ``kept.contract("AAPL")``, see `Contracts.contract`."""
        return self.contracts.contract

    def known(self) -> pd.DataFrame:
        """Return every name that has an answer, and how old that is; see `Contracts.known`."""
        return self.contracts.known()

    def close(self) -> None:
        """End the thread. Closing twice is allowed."""
        self._loop.close()


class _NoLink(Link):
    """A link that is never opened: whatever must be asked is refused."""

    def __init__(self, profile: Profile, loop: LoopThread) -> None:
        super().__init__(profile, loop)

    def __repr__(self) -> str:
        return f"<no link, {self.profile.name}>"

    async def open(self) -> None:
        self._refuse("open")

    async def request(self, name: str, *_: Any, **__: Any) -> Any:
        self._refuse(name)

    def _refuse(self, wanted: str) -> NoReturn:
        raise OfflineError(wanted, self.profile.name)
