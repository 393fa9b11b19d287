"""The half of `Store` that keeps house: streams, compaction, lineage, quality, repair.

Each method finds the tables and hands over to the module that does it.
"""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ibkit import clock
from ibkit.errors import StoreAccessError
from ibkit.schema import DATASETS, GAPS
from ibkit.store import (
    compaction,
    frames,
    instruments,
    lineage,
    quality,
    quarantine,
    unknown,
    verify,
)
from ibkit.store import repair as fixing
from ibkit.store.appender import ROTATE_S, Appender
from ibkit.store.compaction import GRACE_S, Compactor
from ibkit.store.table import Table, Write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from typing import Self

    import pandas as pd

    from ibkit.store.access import Role
    from ibkit.store.quality import Breach, Sessions

    Instrument = Any


class Upkeep:
    """What `Store` does beside reading and writing; needs its `_table`, `_settle`, `datasets`."""

    _tables: dict[str, Table]
    _at: int | None

    if TYPE_CHECKING:  # the other halves bring them

        def _table(self, name: str) -> Table: ...
        def _settle(self, source: str) -> None: ...
        def _need(self, role: Role, what: str) -> None: ...
        def _tell(self, what: str, operation: str, tables: Iterable[Table]) -> None: ...
        def known_sessions(self, slug: str, start: int, end: int, *, use_rth: bool) -> Any: ...  # noqa: D102 - see Timed
        def datasets(self) -> list[str]: ...  # noqa: D102 - see Store

    def _tables_of(self, dataset: str | None) -> list[Table]:
        names = list(DATASETS) if dataset is None else [dataset]
        return [self._table(name) for name in names]

    # --- streams ---------------------------------------------------------------------------------

    def appender(
        self,
        dataset: str,
        instrument: Instrument | None = None,
        *,
        source: str,
        series: Mapping[str, Any] | None = None,
        request: str = "",
        rotate_s: float = ROTATE_S,
    ) -> Appender:
        """Open a way in for a live stream: micro-batches that cost one sync, not a file.

        Parameters
        ----------
        dataset : str
            One of `ibkit.schema.DATASETS`.
        instrument : str or Contract, optional
            Named in full. None: of many instruments, see `Appender.append_many`.
        source, series, request
            As for `upsert`.
        rotate_s : float
            Begin a new segment after so many seconds.

        Returns
        -------
        Appender
            A context manager; leaving it brings the rows into the files.

        Raises
        ------
        ProfileMixError
            Simulated rows for a store of real ones, or the reverse.

        Examples
        --------
        >>> with store.appender("bars_5secs", "AAPL", source="IB") as stream:  # doctest: +SKIP
        ...     stream.append(bars)
        """
        self._need("writer", "append")
        table = self._table(dataset)
        if not table.door.medium.local:
            raise StoreAccessError(
                table.door.medium.show(table.folder),
                "a stream is appended to a folder; record there, and upsert to the bucket",
            )
        slug = None if instrument is None else instruments.slug(instrument)
        table.door.tell_write("append", dataset, slug or "many", source=source)
        con_id = getattr(instrument, "conId", 0) or None
        order = Write("upsert", source, request, dict(series or {}), con_id=con_id)
        self._settle(source)
        return Appender(table, slug, order, rotate_s=rotate_s)

    def compact(self, dataset: str | None = None, *, grace_s: float = GRACE_S) -> pd.DataFrame:
        """Bring what streams appended into the files; any process may, at any time.

        Parameters
        ----------
        dataset : str, optional
            That one alone.
        grace_s : float
            Keep segments that are in the files for so many seconds more.

        Returns
        -------
        DataFrame
            One row a seal: ``dataset instrument commit_id rows_in rows_added files``.
        """
        self._need("owner", "compact it")
        tables = self._tables_of(dataset)
        self._tell("write", "compact", tables)
        return compaction.compact(tables, grace_s=grace_s)

    def compactor(
        self, dataset: str | None = None, *, every_s: float = 60.0, grace_s: float = GRACE_S
    ) -> Compactor:
        """Compact in the background, every `every_s` seconds, until the returned block ends."""
        self._need("owner", "compact it")
        tables = self._tables_of(dataset)
        self._tell("write", "compact", tables)
        return Compactor(tables, every_s=every_s, grace_s=grace_s)

    # --- lineage ---------------------------------------------------------------------------------

    def history(
        self,
        dataset: str,
        instrument: Instrument,
        *,
        series: Mapping[str, Any] | None = None,
        since: datetime | int | None = None,
    ) -> pd.DataFrame:
        """Return the commit log of an instrument: one row a commit, oldest first.

        Parameters
        ----------
        dataset, instrument
            Which.
        series : mapping, optional
            Only commits that spoke of this one, or of none in particular:
            ``{"what_to_show": "TRADES", "use_rth": True}``.
        since : datetime or int, optional
            Only commits after an instant, or after a commit's id.

        Returns
        -------
        DataFrame
            ``at commit_id operation``, the series, the span answered for (``start end``),
            ``rows_in rows_added rows_changed rows_removed files source request rows_set_aside``,
            the range of the rows (``first last``), ``who``, the ``sha256`` of the files that were
            put in place, and the ``versions`` of the libraries.

        Raises
        ------
        UnknownSeriesError
            The dataset has nothing of the instrument.
        """
        table = self._table(dataset)
        slug = instruments.find(instrument, table)
        if not table.has(slug):
            raise unknown.instrument(table, slug)
        log = table.log(slug)
        after = 0 if since is None else lineage.instant(since)
        return frames.log_frame(
            tuple(
                commit
                for commit in log
                if commit.commit_id > after
                and (series is None or commit.series in (dict(series), {}))
            )
        )

    def as_of(self, when: datetime | int) -> Self:
        """Return this store as it was: every read gives the rows that a reader saw at `when`.

        Parameters
        ----------
        when : datetime or int
            With a zone; or the ``commit_id`` of a commit, which is included.

        Raises
        ------
        PrunedError
            By a read: a file of that time is not kept any more; see `prune`.
        ValueError
            `when` has no zone.

        Examples
        --------
        >>> store.as_of(friday).bars("AAPL", "1 min")  # doctest: +SKIP
        """
        at = lineage.instant(when)
        then = copy(self)
        then._at = at  # noqa: SLF001 - ours
        then._tables = {name: self._table(name).as_of(at) for name in DATASETS}  # noqa: SLF001 - ours
        return then

    def changes(
        self,
        since: datetime | int | Mapping[str, int] | None = None,
        *,
        dataset: str | None = None,
        instrument: Instrument | None = None,
    ) -> pd.DataFrame:
        """Return the commits after `since`, of everything or of one dataset or instrument.

        Parameters
        ----------
        since : datetime, int or mapping, optional
            An instant, a commit's id, or best the cursor of the last answer: with it no commit is
            missed and none comes twice.
        dataset, instrument : optional
            Only these.

        Returns
        -------
        DataFrame
            As of `history`, with ``dataset instrument`` before and ``periods`` (the folders that
            changed) after; ``attrs["cursor"]`` is for the next call. Rows of a stream are in it
            once they are compacted.
        """
        names = list(DATASETS) if dataset is None else [dataset]
        slug = None if instrument is None else instruments.slug(instrument)
        return lineage.changes([self._table(name) for name in names], since, slug)

    def prune(
        self,
        dataset: str | None = None,
        *,
        older_than: timedelta = timedelta(days=30),
        keep: int = 3,
    ) -> pd.DataFrame:
        """Remove files of the past that were replaced long ago; the rows of now are not touched.

        Parameters
        ----------
        dataset : str, optional
            That one alone.
        older_than : timedelta
            Keep what was replaced later than so long ago.
        keep : int
            Keep at least so many old files of each period.

        Returns
        -------
        DataFrame
            One row a removed file: ``dataset instrument period commit_id bytes``.
        """
        self._need("owner", "prune it")
        tables = self._tables_of(dataset)
        self._tell("write", "prune", tables)
        return lineage.prune(tables, now=clock.now(), older_than=older_than, keep=keep)

    # --- quality ---------------------------------------------------------------------------------

    def quality(
        self, dataset: str | None = None, *, sessions: Sessions | None = None
    ) -> pd.DataFrame:
        """Return how good the stored rows are: one row a series.

        Parameters
        ----------
        dataset : str, optional
            That one alone.
        sessions : callable, optional
            Gives the sessions of an instrument's slug as (start, end), or None. The store of a
            kit knows them. Without them a session ends where bars pause for two hours, and a
            session without any bar is seen for shares of exchanges whose calendar is known.

        Returns
        -------
        DataFrame
            ``dataset instrument what_to_show use_rth rows first last``; ``gaps`` and the bars
            ``missing`` in them, ``gap_share`` of what should be there, ``longest_gap`` in bars;
            ``stale_days`` since the last row; ``outliers`` (a jump that the next bar takes back);
            ``zero_volume_run``, the longest, in bars; ``wap_outside`` of its bar;
            ``disagreements``: bars that do not hold the next smaller ones that are stored.
        """
        tables = {name: self._table(name) for name in DATASETS}
        names = self.datasets() if dataset is None else [dataset]
        names = [name for name in names if name != GAPS.name]
        held: dict[str, Any] = {"sessions": sessions, "calendar": self.known_sessions}
        return quality.frame(tables, names, now=clock.now(), **held)

    def check(
        self,
        limits: Mapping[str, Mapping[str, float]],
        *,
        sessions: Sessions | None = None,
        on_breach: Callable[[Breach], object] | None = None,
    ) -> list[Breach]:
        """Return where a series is worse than the limits of its dataset; none: all is well.

        Parameters
        ----------
        limits : mapping
            By dataset, then by metric of `quality`: ``{"bars_1min": {"gap_share": 0.01}}``; in
            ``ibkit.toml`` a table ``[quality.bars_1min]``.
        sessions : callable, optional
            As for `quality`.
        on_breach : callable, optional
            Gets each breach; a kit publishes it as the event ``quality``.
        """
        strange = {name for table in limits.values() for name in table} - set(quality.METRICS)
        if strange:
            known = ", ".join(quality.METRICS)
            raise ValueError(f"there is no metric {min(strange)!r}; there are {known}")
        now = clock.now()
        tables = {name: self._table(name) for name in DATASETS}
        names = [self._table(name).dataset.name for name in limits]
        held: dict[str, Any] = {"sessions": sessions, "calendar": self.known_sessions}
        measured = quality.frame(tables, names, now=now, **held)
        found = quality.breaches(measured, limits, now=now)
        if on_breach is not None:
            for breach in found:
                on_breach(breach)
        return found

    # --- repair ----------------------------------------------------------------------------------

    def verify(self, dataset: str | None = None, *, repair: bool = False) -> pd.DataFrame:
        """Read every file back, and return what is wrong with which: no row, no problem.

        Parameters
        ----------
        dataset : str, optional
            That one alone.
        repair : bool
            Put right what can be without losing anything: adopt what the journal does not know
            (also a journal that is lost), sort, bring what is whole of a damaged segment in, and
            move what cannot be read, or is none of ours, to ``meta/<dataset>/quarantine``.

        Returns
        -------
        DataFrame
            ``dataset instrument file problem``, and with `repair` what was done; empty: nothing.
        """
        if repair:
            self._need("owner", "repair")
        names = self.datasets() if dataset is None else [dataset]
        tables = [self._table(name) for name in names]
        self._tell("write" if repair else "read", "repair" if repair else "verify", tables)
        return fixing.repair(tables) if repair else verify.frame(tables)

    def quarantined(
        self, dataset: str | None = None, instrument: Instrument | None = None
    ) -> pd.DataFrame:
        """Return the rows that ``on_error="quarantine"`` set aside: when, why, and what they said.

        Returns
        -------
        DataFrame
            ``dataset instrument at reason source request``, then the columns of the rows.
        """
        slug = None if instrument is None else instruments.slug(instrument)
        tables = self._tables_of(dataset)
        self._tell("read", "quarantined", tables)
        return quarantine.frame(tables, slug)
