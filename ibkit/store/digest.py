"""What a journal comes to: all that writes and reads ask of it, without its commits.

A backfill leaves a commit for every answer, tens of thousands of them; a digest grows with what is
known (periods, series, spans that do not touch), not with how often it was said. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ibkit.store.spans import union

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from ibkit.store.journal import Commit
    from ibkit.store.spans import Span


@dataclass(frozen=True, slots=True)
class Said:
    """What all commits of one series said of it.

    Attributes
    ----------
    series : dict
        The head of the key; empty for rows of all series together.
    spans : tuple
        What is answered for, in microseconds since 1970: the fewest spans, in order.
    spoken : bool
        Whether any commit had a span at all.
    sources : frozenset of str
        Where rows and answers came from.
    """

    series: Mapping[str, Any]
    spans: tuple[Span, ...] = ()
    spoken: bool = False
    sources: frozenset[str] = frozenset()

    def after(self, commit: Commit) -> Said:
        """Return the same with one commit more."""
        span = commit.covers()
        return Said(
            self.series,
            self.spans if span is None else tuple(union([*self.spans, span])),
            self.spoken or span is not None,
            self.sources if commit.source in self.sources else self.sources | {commit.source},
        )


@dataclass(frozen=True, slots=True)
class Digest:
    """One journal, digested; never changed, so that threads may share it.

    Attributes
    ----------
    first, latest : int
        The ids of the first and the last commit; 0 if there is none.
    said : dict
        By series, see `key`.
    periods : dict of str to int
        The periods that have got a file, and the last commit that put one in place.
    sealed : dict of str to int
        How far each write-ahead segment is in the files.
    """

    first: int = 0
    latest: int = 0
    said: Mapping[Hashable, Said] = field(default_factory=dict)
    periods: Mapping[str, int] = field(default_factory=dict)
    sealed: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many entries it has: what it costs to keep."""
        spoken = sum(1 + len(one.spans) for one in self.said.values())
        return 1 + spoken + len(self.periods) + len(self.sealed)

    def after(self, commits: Iterable[Commit]) -> Digest:
        """Return what the journal comes to when these are appended."""
        first, latest = self.first, self.latest
        said, periods, sealed = dict(self.said), dict(self.periods), dict(self.sealed)
        for commit in commits:
            first, latest = first or commit.commit_id, commit.commit_id
            name = key(commit.series)
            said[name] = said.get(name, Said(commit.series)).after(commit)
            periods.update((change.period, commit.commit_id) for change in commit.files)
            sealed.update(commit.sealed)
        return Digest(first, latest, said, periods, sealed)

    def spans(self, series: Mapping[str, Any]) -> tuple[Span, ...]:
        """Return what is answered for of one series: the fewest spans, in order."""
        found = self.said.get(key(series))
        return found.spans if found else ()

    def sources(self, series: Mapping[str, Any]) -> frozenset[str]:
        """Return where rows and answers of exactly this series came from."""
        found = self.said.get(key(series))
        return found.sources if found else frozenset()


def key(series: Mapping[str, Any]) -> Hashable:
    """Return a series as something to look up by; equal ones are equal."""
    try:
        return frozenset(series.items())
    except TypeError:  # a value that cannot be hashed, by somebody else's hand
        return repr(sorted(series.items()))
