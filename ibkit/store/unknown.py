"""Names that the store does not know, in words: what was asked for, and the nearest there is."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from ibkit import naming
from ibkit.errors import ShorthandError, UnknownSeriesError
from ibkit.schema import BAR_SIZES, DATASETS
from ibkit.store import layout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.store.table import Table

BARS: Final = ("bars_", "option_bars_")  # one dataset a bar size; they are not listed one by one


def dataset(name: str) -> UnknownSeriesError:
    """Return the error for a dataset that is not in the schema."""
    size = BAR_SIZES.get(name)
    near = [size.dataset] if size else get_close_matches(name, DATASETS, n=1, cutoff=0.6)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    rest = [known for known in DATASETS if not known.startswith(BARS)]
    words = f"bars_<size> such as bars_1min, option_bars_<size>, {', '.join(rest)}"
    return UnknownSeriesError(f"There is no dataset {name!r}.{meant}\nThere are {words}.")


def instrument(table: Table, slug: str) -> UnknownSeriesError:
    """Return the error for an instrument that a dataset has nothing of."""
    known = table.slugs()
    words = f"{table.dataset.name} holds nothing of {_short(slug)}.{_near(slug, known)}"
    hint = "ibkit store ls, or store.instruments(), lists what is there."
    return UnknownSeriesError(f"{words}\nHint: {hint}" if known else words)


def near(slug: str, table: Table) -> str:
    """Return ``" Did you mean …?"``, or nothing."""
    return _near(slug, table.slugs())


def _near(slug: str, known: Iterable[str]) -> str:
    names = {_short(one).lower(): _short(one) for one in known}
    found = get_close_matches(_short(slug).lower(), names, n=1, cutoff=0.6)
    return f" Did you mean {names[found[0]]!r}?" if found else ""


def _short(slug: str) -> str:
    """Return an instrument as people write it; an account's name is its own."""
    try:
        return naming.shorthand(naming.from_slug(slug)) if layout.is_slug(slug) else slug
    except (ShorthandError, ValueError):
        return slug
