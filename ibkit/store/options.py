"""Bars of options: by underlying, each contract a series of its own.

One file a day holds all contracts of an underlying, so what tells one from another is in the key
(`expiry strike right trading_class`), and the answers are kept by contract too. Options are kept so
where they are routed by SMART, and options on futures; one that is asked for on a single exchange
is kept like a share (`bars_<size>`), for its bars are others. Not here: chains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ibkit import naming
from ibkit.errors import UnknownSeriesError
from ibkit.store import files, instruments, layout, lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from ibkit.schema import BarSize, Dataset
    from ibkit.store.table import Table

    Contract = Any  # an ib_async Contract
    #: gives the slug of an option's underlying, or None: not known
    Underlying = Callable[[Contract], str | None]

TERMS: Final = ("expiry", "strike", "right", "trading_class")
SERIES: Final = (*TERMS, "what_to_show", "use_rth")


def named(instrument: Any) -> Contract | None:
    """Return the option that is meant, if its bars are kept by underlying; else None.

    >>> named("OPT:SPY:20261218:650C").strike, named("AAPL"), named("OPT:SPY@CBOE:20261218:650C")
    (650.0, None, None)
    """
    if instruments.is_account(instrument):
        return None
    contract: Contract = instruments.contract_of(instrument)
    kept = contract.secType == "FOP" or (contract.secType == "OPT" and contract.exchange == "SMART")
    whole = len(contract.lastTradeDateOrContractMonth) >= len("YYYYMMDD")
    return contract if kept and whole and contract.strike and contract.right else None


def dataset_of(size: BarSize) -> str:
    """Return the name of the dataset of option bars of a size."""
    return f"option_{size.dataset}"


def holds(dataset: Dataset) -> bool:
    """Whether a dataset's rows are option bars."""
    return set(SERIES) <= set(dataset.key)


def terms(contract: Contract, trading_class: str = "") -> dict[str, Any]:
    """Return the columns that tell an option from the others of its underlying."""
    return {
        "expiry": contract.lastTradeDateOrContractMonth[:8],
        "strike": float(contract.strike),
        "right": contract.right[:1],
        "trading_class": trading_class or contract.tradingClass or contract.symbol,
    }


def slug_of(underlying: str, row: Mapping[str, Any]) -> str:
    """Return the slug of the option with these terms.

    >>> row = {"expiry": "20261218", "strike": 650.0, "right": "C", "trading_class": "SPY"}
    >>> slug_of("STK-SPY-SMART-USD", row)
    'OPT-SPY-SMART-USD-20261218-650-C'
    """
    above = naming.from_slug(underlying)
    on_future = above.secType == "FUT"
    return naming.slug(
        type(above)(
            secType="FOP" if on_future else "OPT",
            symbol=above.symbol,
            exchange=above.exchange if on_future else "SMART",
            currency=above.currency,
            lastTradeDateOrContractMonth=str(row["expiry"]),
            strike=float(row["strike"]),
            right=str(row["right"]),
            tradingClass=str(row["trading_class"]),
        )
    )


def find(table: Table, contract: Contract) -> tuple[str | None, dict[str, Any]]:
    """Return the underlying under which an option is stored (None: it is not), and its terms.

    Raises
    ------
    UnknownSeriesError
        Several options fit: it names no trading class.
    """
    wanted = terms(contract)
    same = {name: value for name, value in wanted.items() if name != "trading_class"}
    under = [slug for slug in table.slugs() if _fits(slug, contract)]
    there = {
        (slug, str(said.series["trading_class"]))
        for slug in under
        for said in table.digest(slug).said.values()
        if said.series.get("expiry") and same.items() <= said.series.items()
    }
    mine = sorted(one for one in there if one[1] == wanted["trading_class"])
    if not mine and not contract.tradingClass:
        mine = sorted(there)
    if len({name for _, name in mine}) > 1:
        listed = ", ".join(name for _, name in mine)
        text = naming.shorthand(contract)
        raise UnknownSeriesError(f"{text} may be of the class {listed}; write it as OPT:SYMBOL#…")
    if mine:
        return mine[0][0], terms(contract, mine[0][1])
    return (under[0] if len(under) == 1 else None), wanted


def _fits(slug: str, contract: Contract) -> bool:
    """Whether this may be the folder of the option's underlying."""
    above = naming.from_slug(slug)
    same = (above.symbol, above.currency) == (contract.symbol, contract.currency)
    return same and (above.secType == "FUT") == (contract.secType == "FOP")


def usual(contract: Contract) -> str:
    """Return the slug of an option's underlying where nobody knows it: a share, or a future.

    >>> usual(naming.parse("OPT:SPY:20261218:650C"))
    'STK-SPY-SMART-USD'
    """
    future = contract.secType == "FOP"
    return naming.slug(
        type(contract)(
            secType="FUT" if future else "STK",
            symbol=contract.symbol,
            exchange=contract.exchange if future else "SMART",
            currency=contract.currency,
            lastTradeDateOrContractMonth=contract.lastTradeDateOrContractMonth if future else "",
        )
    )


class View:
    """The bars of one option, as if they were a table of their own."""

    def __init__(self, table: Table, contract: Contract) -> None:
        self.dataset, self._table, self._contract = table.dataset, table, contract
        self._folder, self._terms = find(table, contract)

    def read(
        self,
        _: str,
        start: int | None,
        end: int | None,
        *,
        columns: Sequence[str],
        series: tuple[Any, ...],
    ) -> pa.Table:
        """Return its rows; as of `Table`."""
        if self._folder is None:
            return files.empty(self.dataset, columns)
        wanted = self._key(series)
        needed = [*dict.fromkeys([*columns, *wanted])]
        rows = self._table.read(self._folder, start, end, columns=needed)
        return lazy.equal(rows, wanted).select(columns)

    def sources(self, _: str, series: Mapping[str, Any]) -> list[str]:
        """Return where its rows came from; none: it is unknown."""
        if self._folder is None:
            return []
        wanted = {**self._terms, **series}
        found = self._table.digest(self._folder).sources(wanted)
        return sorted(found) or self._loose(series)

    def _loose(self, series: Mapping[str, Any]) -> list[str]:
        """Return the sources of rows that came with those of other contracts."""
        rows = self.read("", None, None, columns=["source"], series=tuple(series.values()))
        return sorted(set(rows["source"].to_pylist()))

    def _key(self, series: tuple[Any, ...]) -> dict[str, Any]:
        return {**self._terms, **dict(zip(("what_to_show", "use_rth"), series, strict=True))}

    def absent(self, series: Mapping[str, Any]) -> str:
        """Return why there are no rows, in words."""
        name = naming.shorthand(self._contract)
        words = " ".join(f"{key}={value}" for key, value in series.items())
        return (
            f"{self.dataset.name} holds no {words} of {name}.\n"
            f"Hint: kit.history.bars({name!r}, …) fetches it, as long as it has not expired."
        )


def rows_by_contract(table: Table, slug: str) -> pd.DataFrame:
    """Return what is stored of each contract of an underlying: rows, first, last, files."""
    rows = table.read(slug, None, None, columns=["ts", *SERIES])
    ts = files.microseconds(rows["ts"])
    frame = rows.select(SERIES).to_pandas()
    frame["ts"], frame["code"] = ts, layout.codes(ts, table.dataset.grain)
    grouped = frame.groupby(list(SERIES), sort=True)
    found: pd.DataFrame = grouped.agg(
        rows=("ts", "size"), first=("ts", "min"), last=("ts", "max"), files=("code", "nunique")
    ).reset_index()
    return found
