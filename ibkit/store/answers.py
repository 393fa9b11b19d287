"""The part of `Store` that knows what was asked and answered: holes, and confirmed emptiness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibkit.schema import bar_size as size_of
from ibkit.store import coverage, holes, instruments, options, spans
from ibkit.store.journal import micros, moment
from ibkit.store.timed import Timed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pandas as pd

    from ibkit.schema import WhatToShow
    from ibkit.store.options import Underlying
    from ibkit.store.table import Table

    Instrument = Any  # a shorthand, a slug, or an ib_async Contract


class Home(NamedTuple):
    """Where a series of bars is: its dataset, its folder, and the head of its key."""

    dataset: str
    slug: str
    series: dict[str, Any]


class Answers(Timed):
    """What a store says of the time that somebody has an answer for, and of the rest."""

    if TYPE_CHECKING:

        def _table(self, name: str) -> Table: ...

    def missing(
        self,
        instrument: Instrument,
        bar_size: str,
        start: datetime,
        end: datetime,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
    ) -> list[tuple[datetime, datetime]]:
        """Return the parts of ``[start, end)`` that no write and no `confirm_empty` answered for.

        Returns
        -------
        list of (datetime, datetime)
            Half-open, UTC, in order; empty if everything is known. A period whose file was
            removed by hand is a hole again.
        """
        home = self._home(instrument, bar_size, what_to_show, use_rth=use_rth)
        return self.unanswered(home.dataset, home.slug, start, end, series=home.series)

    def unanswered(
        self,
        dataset: str,
        instrument: Instrument,
        start: datetime,
        end: datetime,
        *,
        series: Mapping[str, Any],
    ) -> list[tuple[datetime, datetime]]:
        """Return the same as `missing` of a series of any dataset, such as of ticks.

        >>> recorder = {"recorder": "history"}  # doctest: +SKIP
        >>> store.unanswered("trades", "AAPL", start, end, series=recorder)  # doctest: +SKIP
        """
        wanted = (micros(start), micros(end))
        known = self._table(dataset).answered(instruments.slug(instrument), series, *wanted)
        return [(moment(low), moment(high)) for low, high in spans.minus([wanted], known)]

    def holes(
        self,
        instrument: Instrument | Sequence[Instrument] | None = None,
        bar_size: str = "1 min",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        what_to_show: WhatToShow | None = None,
        use_rth: bool = True,
    ) -> pd.DataFrame:
        """Return what is missing of one or several instruments: one row a hole.

        Parameters
        ----------
        instrument : str, Contract, or a sequence of them, optional
            Named in full. None: all that have bars of this size.
        bar_size, what_to_show, use_rth
            Which series; None: the usual one of each, as in a backfill: TRADES, of currencies
            MIDPOINT.
        start, end : datetime, optional
            With a zone; `end` is excluded. None: where the series' answers begin, and end.

        Returns
        -------
        DataFrame
            ``instrument bar_size what_to_show use_rth start end``; the instrument as shorthand.
            Where the sessions are known, as they are to the store of a kit, time in which the
            exchange is closed is no hole. ``kit.backfill(store.holes(…))`` closes them.
        """
        series = {"what_to_show": what_to_show, "use_rth": use_rth}
        table = self._table(size_of(bar_size).dataset)
        slugs = table.slugs() if instrument is None else instruments.slugs(instrument)
        found = []
        for slug in slugs:
            what = what_to_show or holes.usual(slug)
            home = self._home(slug, bar_size, what, use_rth=use_rth)
            known = self._table(home.dataset).answered(home.slug, home.series, *coverage.ALWAYS)
            low = min((span[0] for span in known), default=None) if start is None else micros(start)
            high = max((span[1] for span in known), default=None) if end is None else micros(end)
            if low is None or high is None or low >= high:
                continue
            missing = spans.minus([(low, high)], known)
            open_ = self.sessions_of(slug, low, high, use_rth=use_rth) if missing else None
            found.append((slug, holes.inside(missing, open_)))
        return holes.frame(found, size_of(bar_size).ib, series)

    def answered(
        self,
        instrument: Instrument,
        bar_size: str,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
    ) -> list[tuple[datetime, datetime]]:
        """Return all the time that some answer speaks of, with bars or without: as `missing`."""
        home = self._home(instrument, bar_size, what_to_show, use_rth=use_rth)
        known = self._table(home.dataset).answered(home.slug, home.series, *coverage.ALWAYS)
        return [(moment(low), moment(high)) for low, high in spans.union(known)]

    def confirmed(
        self,
        instrument: Instrument,
        bar_size: str,
        start: datetime,
        end: datetime,
        *,
        what_to_show: WhatToShow = "TRADES",
        use_rth: bool = True,
    ) -> list[tuple[datetime, datetime, str]]:
        """Return where `confirm_empty` was told of bars, as (start, end, reason), in order."""
        low, high = micros(start), micros(end)
        home = self._home(instrument, bar_size, what_to_show, use_rth=use_rth)
        found = [
            (*commit.span, commit.request)
            for commit in self._table(home.dataset).log(home.slug)
            if commit.operation == "confirm_empty" and commit.span and commit.series == home.series
        ]
        return sorted(one for one in found if micros(one[0]) < high and micros(one[1]) > low)

    def dataset_of(self, instrument: Instrument, bar_size: str) -> str:
        """Return the name of the dataset that bars of an instrument are in."""
        return self._home(instrument, bar_size, "TRADES", use_rth=True).dataset

    #: set by a kit, which can ask; see `ibkit.store.options`
    underlying: Underlying | None = None

    def _home(
        self,
        instrument: Instrument,
        bar_size: str,
        what_to_show: str,
        *,
        use_rth: bool,
        writes: bool = False,
    ) -> Home:
        """Return where bars of an instrument are, or shall be."""
        size, series = size_of(bar_size), {"what_to_show": what_to_show, "use_rth": use_rth}
        option = options.named(instrument)
        if option is None:
            return Home(size.dataset, instruments.slug(instrument), series)
        name = options.dataset_of(size)
        folder, terms = options.find(self._table(name), option)
        if writes and not self._spoken(name, folder, terms) and self.underlying is not None:
            folder = self.underlying(option) or folder
        return Home(name, folder or options.usual(option), {**terms, **series})

    def _spoken(self, name: str, folder: str | None, terms: Mapping[str, Any]) -> bool:
        """Whether a folder has something of an option already."""
        said = self._table(name).digest(folder).said.values() if folder else ()
        return any(terms.items() <= one.series.items() for one in said)
