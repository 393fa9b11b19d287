"""The half of `Store` that decides who may come in: roles, modes, keys, and what is told of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

import pandas as pd

from ibkit.errors import StoreAccessError, StoreError
from ibkit.schema import DATASETS
from ibkit.store import access, compaction, rekey
from ibkit.store.crypto import State, new_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.store.access import Role, Share
    from ibkit.store.place import Place
    from ibkit.store.table import Table

COLUMNS: Final = {"dataset": "str", "instrument": "str", "files": "int64", "bytes": "int64"}


class Guard:
    """What `Store` does about access; needs its `_place` and `_table`."""

    _place: Place

    if TYPE_CHECKING:

        def _table(self, name: str) -> Table: ...

    @property
    def role(self) -> Role:
        """As what the store was opened."""
        return self._place.role

    def _need(self, role: Role, what: str) -> None:
        """Raise `RoleError` if this store was opened as less than `role`."""
        access.check(self._place.role, role, what)

    def _tell(self, what: str, operation: str, tables: Iterable[Table]) -> None:
        """Tell the audit what is about to be done to whole datasets."""
        log = self._place.audit
        tell = log.writes if what == "write" else log.reads
        tell(operation, ", ".join(table.dataset.name for table in tables), "")

    def share(self, whom: Share, *, group: str | None = None) -> None:
        """Say who else on this machine may use the store, by the modes of its folders and files.

        Parameters
        ----------
        whom : {"private", "readers", "writers"}
            Nobody; or the group may read; or the group may read and write. Others never may.
            Marker, keys' markers and the names in the history stay the owner's; the log of the
            audit stays each account's own, and is read by the group.
        group : str, optional
            The group; the present one of the folders if not said.

        Raises
        ------
        RoleError
            This account is not the owner.
        StoreAccessError
            The root is in a bucket (its policies say who may), or a mode cannot be set: what
            another account made stays its own.
        """
        self._need("owner", "share it")
        self._need_folder("modes")
        place = self._place
        kept = [place.paths.meta(one) / "history" for one in DATASETS.values()]
        place.settle()
        place.audit.writes("share", "", "", whom=whom, group=group)
        access.share(place.root, whom, group, kept, place.root / "meta" / "audit")

    def _need_folder(self, what: str) -> None:
        if not self._place.medium.local:
            raise StoreAccessError(
                self._place.name, f"a bucket has no {what}; its own policies say who may do what"
            )

    # --- encryption ------------------------------------------------------------------------------

    def encrypt(
        self, dataset: str, *, key: str | None = None, progress: bool = False
    ) -> pd.DataFrame:
        """Encrypt a dataset at rest from now on, and what it holds already.

        Parameters
        ----------
        dataset : str
            One of `ibkit.schema.DATASETS`.
        key : str, optional
            The name of a key that is there already. None: one is made, and kept in the folder of
            secrets or the keyring.
        progress : bool
            Show a bar of instruments.

        Returns
        -------
        DataFrame
            One row an instrument that was rewritten: ``dataset instrument files bytes``.

        Raises
        ------
        RoleError
            This store was not opened by its owner.
        MissingKeyError
            `key` is nowhere.
        StoreError
            There is no place to keep a new key; or a stream is being appended to the dataset, or
            a query is open on it: end that, and call again.

        Notes
        -----
        Without the key the rows are lost: keep a copy of it elsewhere. Names of instruments and
        periods, sizes, and the journal (ranges, counts, sources) are not hidden. Other readers of
        Parquet cannot read such files. What the disk held before stays in its free blocks until
        they are overwritten.
        """
        return self._turn(dataset, key, "encrypt", progress=progress)

    def rotate_key(
        self, dataset: str, *, key: str | None = None, progress: bool = False
    ) -> pd.DataFrame:
        """Encrypt everything of a dataset with a new key; the old one may be thrown away then.

        Parameters, result and errors are those of `encrypt`. May be killed and called again, and
        goes on where it was: files name their key, so both keys serve until it is through.
        """
        if self._table(dataset).door.seal.state(fresh=True) is None:
            raise StoreError(f"{dataset} is not encrypted; store.encrypt({dataset!r}) does that")
        return self._turn(dataset, key, "rotate_key", progress=progress)

    def _turn(
        self,
        dataset: str,
        key: str | None,
        operation: Literal["encrypt", "rotate_key"],
        *,
        progress: bool,
    ) -> pd.DataFrame:
        table = self._table(dataset)
        self._need("owner", f"{operation.replace('_', ' ')} {dataset}")
        seal, place = table.door.seal, self._place
        old = seal.state(fresh=True)
        if operation == "encrypt" and old is not None and not old.turning:
            raise StoreError(f"{dataset} is encrypted already; store.rotate_key changes its key")
        if old is not None and (old.turning or old.rotating) and key is None:
            key = old.key  # it was interrupted: on with it
        if key is None:
            key = new_key(dataset)
            seal.keys.make(key)
        seal.keys.find(dataset, key)
        place.settle()
        place.audit.writes(operation, dataset, "", key=key)
        plain = old is None or old.turning
        self._mark(table, State(key, turning=plain, rotating=not plain))
        rows = [
            (dataset, slug, len(commit.files), sum(one.bytes for one in commit.files))
            for slug in self._shown(table.slugs(), operation, progress=progress)
            if (commit := rekey.rewrite(table, slug, operation, key)) is not None
        ]
        rekey.rewrite_aside(table, key)
        self._forget_plain(table)
        self._mark(table, State(key))
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)

    @staticmethod
    def _shown(slugs: list[str], what: str, *, progress: bool) -> Iterable[str]:
        from tqdm.auto import tqdm

        words = what.replace("_", " ")
        bar: Iterable[str] = tqdm(slugs, desc=words, unit="instrument", disable=not progress)
        return bar

    def _mark(self, table: Table, state: State) -> None:
        medium, path = self._place.medium, table.door.seal.marker

        def put() -> None:
            medium.replace(path, state.to_bytes(), tmp=path.parent / "tmp")

        medium.exclusively(path.parent / "lock" / "encryption", 30.0, put)

    def _forget_plain(self, table: Table) -> None:
        """Remove what may still hold rows in the plain, or under the old key."""
        if not self._place.medium.local:
            return
        compaction.remove(table, grace_s=0.0)
        if table.cache is not None:
            table.cache.clear(table.dataset)
        rekey.forget_unfinished(table)
        left = [segment.path for segment in table.wal.all()]
        if left:
            raise StoreError(
                f"{left[0]} is being appended to, and holds rows as they were before.\n"
                "Hint: end the recorder, and call the same again; nothing is lost meanwhile."
            )

    def audit_log(self) -> pd.DataFrame:
        """Return who read or wrote what, as far as this account may see it, oldest first.

        Returns
        -------
        DataFrame
            ``at user host pid program role what operation dataset instrument`` and more.
        """
        medium, folder = self._place.medium, self._place.root / "meta" / "audit"
        lines = []
        for name in medium.names(folder, "the folder of the audit"):
            content = medium.read_on(folder / name, "an audit log", 0, 0)[2]
            lines += [json.loads(line) for line in content.splitlines() if line]
        frame = pd.DataFrame(lines)
        return frame.sort_values("at", ignore_index=True) if len(frame) else frame
