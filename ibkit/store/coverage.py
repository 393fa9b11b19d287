"""What the store has: one row a series, from the footers of the files and from the journals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ibkit import naming
from ibkit.store import files, options, spans, unknown
from ibkit.store.journal import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

    from ibkit.store.table import Table

TYPES: Final = {
    "dataset": "str",
    "instrument": "str",
    "what_to_show": "str",
    "use_rth": "bool",
    "first": "datetime64[us, UTC]",
    "last": "datetime64[us, UTC]",
    "rows": "int64",
    "files": "int64",
    "bytes": "int64",
    "spans": "object",
}


@dataclass(slots=True)
class _Series:
    runs: list[files.Run] = field(default_factory=list)
    bytes: float = 0.0
    live: tuple[int, int, int] | None = None  # rows, first, last, where a stream is appending

    def extent(self) -> tuple[int, int, int] | None:
        """Return how many rows there are, the first and the last ``ts``; None: no rows."""
        if self.live is not None or not self.runs:
            return self.live
        rows = sum(run.rows for run in self.runs)
        return rows, min(run.first for run in self.runs), max(run.last for run in self.runs)


def frame(tables: Sequence[Table]) -> pd.DataFrame:
    """Return one row a series of `tables`."""
    rows = [row for table in tables for slug in table.slugs() for row in _all_rows(table, slug)]
    return pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)


def _all_rows(table: Table, slug: str) -> Iterable[dict[str, Any]]:
    return _option_rows(table, slug) if options.holds(table.dataset) else _rows(table, slug)


def _option_rows(table: Table, slug: str) -> Iterable[dict[str, Any]]:
    """Return one row a contract; the bytes of the files are shared out by rows."""
    stored = {
        tuple(row[name] for name in options.SERIES): row
        for row in options.rows_by_contract(table, slug).to_dict("records")
    }
    spoken = (one.series for one in table.digest(slug).said.values() if one.spoken and one.series)
    keys = {tuple(series.get(name) for name in options.SERIES) for series in spoken}
    paths = [table.part(slug, code) for code in table.stored(slug)]
    total = sum(table.door.medium.size(path) for path in paths if table.door.medium.exists(path))
    rows = sum(row["rows"] for row in stored.values()) or 1
    for key in sorted(keys | set(stored)):
        named = dict(zip(options.SERIES, key, strict=True))
        row = stored.get(key)
        answered = table.answered(slug, named, *ALWAYS)
        yield {
            "dataset": table.dataset.name,
            "instrument": options.slug_of(slug, named),
            "what_to_show": named["what_to_show"],
            "use_rth": named["use_rth"],
            "first": moment(row["first"]) if row else pd.NaT,
            "last": moment(row["last"]) if row else pd.NaT,
            "rows": row["rows"] if row else 0,
            "files": row["files"] if row else 0,
            "bytes": round(total * row["rows"] / rows) if row else 0,
            "spans": [(moment(start), moment(end)) for start, end in spans.union(answered)],
        }


def _rows(table: Table, slug: str) -> Iterable[dict[str, Any]]:
    found: dict[tuple[Any, ...], _Series] = {}
    tail = table.fresh(slug)
    for key in set() if tail is None else _keys(table, tail.rows):
        found[key] = _Series(live=_live(table, slug, key))
    for said in table.digest(slug).said.values():
        if said.spoken and said.series:
            found.setdefault(_key(table, said.series), _Series())
    for code in table.stored(slug):
        path = table.part(slug, code)
        footer = files.read_footer(path, table.dataset, door=table.door)
        for run in footer.runs if footer else ():
            series = found.setdefault(run.series, _Series())
            series.runs.append(run)
            series.bytes += table.door.medium.size(path) * run.rows / footer.rows if footer else 0
    return [_row(table, slug, key, series) for key, series in sorted(found.items())]


def _keys(table: Table, rows: pa.Table) -> set[tuple[Any, ...]]:
    names = list(table.dataset.series)
    return {tuple(row[name] for name in names) for row in rows.select(names).to_pylist()}


def _live(table: Table, slug: str, key: tuple[Any, ...]) -> tuple[int, int, int]:
    """Return the extent of a series of which no file has all rows yet."""
    series = key or None
    ts = files.microseconds(table.read(slug, None, None, columns=["ts"], series=series)["ts"])
    return len(ts), int(ts.min()), int(ts.max())


def _key(table: Table, series: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(series.get(name) for name in table.dataset.series)


def _row(table: Table, slug: str, key: tuple[Any, ...], series: _Series) -> dict[str, Any]:
    named = dict(zip(table.dataset.series, key, strict=True))
    answered = table.answered(slug, named, *ALWAYS)
    rows, first, last = series.extent() or (0, None, None)
    return {
        "dataset": table.dataset.name,
        "instrument": slug,
        **named,
        "first": pd.NaT if first is None else moment(first),
        "last": pd.NaT if last is None else moment(last),
        "rows": rows,
        "files": len(series.runs),
        "bytes": round(series.bytes),
        "spans": [(moment(start), moment(end)) for start, end in spans.union(answered)],
    }


ALWAYS: Final = (-(2**62), 2**62)


def absent(table: Table, slug: str, series: Mapping[str, Any]) -> str:
    """Return why there are no rows, in words: what is there instead."""
    name = naming.shorthand(naming.from_slug(slug))
    wanted = " ".join(f"{key}={value}" for key, value in series.items())
    others = [
        " ".join(f"{column}={row[column]}" for column in series)
        for row in _rows(table, slug)
        if row["rows"] or row["spans"]
    ]
    there = f"it holds {'; '.join(others)}." if others else "nothing of this instrument at all."
    there += "" if others else unknown.near(slug, table)
    return (
        f"{table.dataset.name} holds no {wanted} of {name}; {there}\n"
        f"Hint: kit.history.bars({name!r}, …) or kit.backfill([{name!r}], …) fetches it."
    )
