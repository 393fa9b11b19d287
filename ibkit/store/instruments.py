"""Which folder is meant: shorthand, slug or Contract becomes the slug of an instrument.

A description that leaves something open (``FUT:ES`` without a month) means the one stored
instrument that fits it; with several, the error lists them. IB is never asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibkit import naming
from ibkit.errors import UnknownSeriesError
from ibkit.store import layout

if TYPE_CHECKING:
    from ibkit.store.table import Table


def contract_of(instrument: Any) -> Any:
    """Return the contract that a shorthand, a slug or a Contract describes."""
    if not isinstance(instrument, str):
        return instrument
    if layout.is_slug(instrument):
        return naming.from_slug(instrument)
    return naming.parse(instrument)


def slug(instrument: Any) -> str:
    """Return the folder name of an instrument that is named in full.

    Raises
    ------
    ValueError
        It is not; the message says what is missing.
    """
    if is_account(instrument):
        return str(instrument)
    return naming.slug(contract_of(instrument))


def slugs(instruments: Any) -> list[str]:
    """Return the folder names of one instrument or several, named in full; each once."""
    one = isinstance(instruments, str) or not hasattr(instruments, "__iter__")
    return list(dict.fromkeys(map(slug, [instruments] if one else instruments)))


def is_account(instrument: Any) -> bool:
    """Whether this is no instrument but an account: ``"ACCOUNT-DU1234567"``."""
    return isinstance(instrument, str) and instrument.startswith("ACCOUNT-")


def find(instrument: Any, table: Table) -> str:
    """Return the slug of the instrument of `table` that is meant.

    Raises
    ------
    UnknownSeriesError
        Nothing stored fits, or more than one instrument does.
    """
    if is_account(instrument):
        return str(instrument)
    wanted = contract_of(instrument)
    if not wanted.symbol:
        raise UnknownSeriesError(
            f"the store knows instruments by their names, not by {instrument!r}; "
            "use a shorthand such as 'AAPL', or a qualified contract"
        )
    exact = _named(wanted)
    if exact is not None and table.has(exact):
        return exact
    fitting = [name for name in table.slugs() if _fits(wanted, naming.from_slug(name))]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and exact is not None:
        return exact
    raise UnknownSeriesError(_words(instrument, table, fitting))


def _named(contract: Any) -> str | None:
    try:
        return naming.slug(contract)
    except ValueError:
        return None


def _fits(wanted: Any, stored: Any) -> bool:
    """Whether every part that `wanted` names is so in `stored`; an expiry may be its start."""
    same = all(
        not getattr(wanted, name) or getattr(wanted, name) == getattr(stored, name)
        for name in ("secType", "symbol", "exchange", "currency", "strike", "right")
    )
    expiry = stored.lastTradeDateOrContractMonth
    return same and expiry.startswith(wanted.lastTradeDateOrContractMonth)


def _words(instrument: Any, table: Table, fitting: list[str]) -> str:
    what = f"{table.dataset.name} has"
    if not fitting:
        return f"{what} nothing that fits {instrument!r}.\nHint: store.coverage() lists it all."
    rows = "\n".join(f"  {naming.shorthand(naming.from_slug(name))}" for name in fitting)
    return f"{what} more than one instrument that fits {instrument!r}; name one:\n{rows}"
