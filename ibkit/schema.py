"""What the columns are: bar sizes, and the schema, key and grain of every dataset.

Plain data, in Arrow's words for types; `ibkit.store` turns it into Arrow and rows into files.
A dataset is added here by one entry in `DATASETS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Mapping

WhatToShow = Literal[
    "TRADES",
    "MIDPOINT",
    "BID",
    "ASK",
    "BID_ASK",
    "ADJUSTED_LAST",
    "AGGTRADES",
    "HISTORICAL_VOLATILITY",
    "OPTION_IMPLIED_VOLATILITY",
    "FEE_RATE",
    "YIELD_BID",
    "YIELD_ASK",
    "YIELD_BID_ASK",
    "YIELD_LAST",
]
Grain = Literal["date", "month", "year", "all"]


class InvalidBarSizeError(IbkitError, ValueError):
    """IB has no bars of this size."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"{self.text!r} is no bar size; IB's are: {', '.join(BAR_SIZES)}."


@dataclass(frozen=True, slots=True)
class BarSize:
    """One of IB's bar sizes.

    Attributes
    ----------
    ib : str
        IB's words: ``"1 min"``.
    slug : str
        The same inside a dataset's name: ``"1min"``.
    seconds : int
        Length; of a calendar month, the longest (31 days).
    grain : {"date", "month", "year", "all"}
        How much time one Parquet file of this size holds.
    """

    ib: str
    slug: str
    seconds: int
    grain: Grain

    @property
    def intraday(self) -> bool:
        """Whether a bar is shorter than a session."""
        return self.seconds < 86_400

    @property
    def dataset(self) -> str:
        """Return the name of the dataset that holds these bars."""
        return f"bars_{self.slug}"


BAR_SIZES: Final = {
    size.ib: size
    for size in (
        BarSize("1 secs", "1sec", 1, "date"),
        BarSize("5 secs", "5secs", 5, "date"),
        BarSize("10 secs", "10secs", 10, "date"),
        BarSize("15 secs", "15secs", 15, "date"),
        BarSize("30 secs", "30secs", 30, "date"),
        BarSize("1 min", "1min", 60, "month"),
        BarSize("2 mins", "2mins", 120, "month"),
        BarSize("3 mins", "3mins", 180, "month"),
        BarSize("5 mins", "5mins", 300, "year"),
        BarSize("10 mins", "10mins", 600, "year"),
        BarSize("15 mins", "15mins", 900, "year"),
        BarSize("20 mins", "20mins", 1_200, "year"),
        BarSize("30 mins", "30mins", 1_800, "year"),
        BarSize("1 hour", "1hour", 3_600, "year"),
        BarSize("2 hours", "2hours", 7_200, "year"),
        BarSize("3 hours", "3hours", 10_800, "year"),
        BarSize("4 hours", "4hours", 14_400, "year"),
        BarSize("8 hours", "8hours", 28_800, "year"),
        BarSize("1 day", "1day", 86_400, "all"),
        BarSize("1 week", "1week", 604_800, "all"),
        BarSize("1 month", "1month", 2_678_400, "all"),
    )
}


# what is meant where nobody says which series
USUAL: Final[dict[str, WhatToShow]] = {
    **dict.fromkeys(("CASH", "CFD", "CMDTY"), "MIDPOINT"),  # have no trades
    "CRYPTO": "AGGTRADES",  # IB refuses TRADES of coins: error 10299
}


def bar_size(text: str) -> BarSize:
    """Return the bar size that IB calls `text`.

    Raises
    ------
    InvalidBarSizeError
        IB has no such size; the message lists those it has.

    Examples
    --------
    >>> bar_size("1 min").dataset
    'bars_1min'
    """
    try:
        return BAR_SIZES[text]
    except KeyError:
        raise InvalidBarSizeError(text) from None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dataset.

    Attributes
    ----------
    name : str
        As it stands in the files.
    type : str
        Arrow's word for it.
    role : {"key", "value", "origin"}
        Part of the row's identity; what the row says; where it came from. A row whose values
        are stored already is not written again, whatever its origin.
    required : bool
        A null is refused.
    unknown : float or None
        The number by which IB says "not available"; stored as null.
    signed : bool
        Numbers below zero are allowed.
    codec : {"lz4", "zstd"}
        zstd where it saves a lot (volumes), lz4 where speed does.
    repeats : bool
        Values come again within a file, so that a dictionary of them pays.
    """

    name: str
    type: Literal["timestamp[us, tz=UTC]", "double", "int32", "int64", "bool", "string"]
    role: Literal["key", "value", "origin"] = "value"
    required: bool = False
    unknown: float | None = None
    signed: bool = True
    codec: Literal["lz4", "zstd"] = "lz4"
    repeats: bool = True


@dataclass(frozen=True, slots=True)
class Dataset:
    """A kind of rows that share one schema, and how they lie in files.

    Attributes
    ----------
    name : str
        The folder's name under ``data/``.
    columns : tuple of Column
        In the order of the files.
    key : tuple of str
        Rows are unique by it, and sorted by it inside a file.
    series : tuple of str
        The head of the key that tells series apart; each has row groups of its own.
    grain : {"date", "month", "year", "all"}
        How much time one file holds; always by ``ts``, in UTC.
    partition : str
        What a folder is made for: ``instrument=<slug>``.
    outranked : str or None
        A boolean column: a row where it is true never replaces one where it is false.
    version : int
        Of the schema; a change of columns adds one. Files of an older version are read as if
        they were of this one (`upgrades`) and become it when they are written again.
    row_group : int
        The most rows a row group has: small where readers want one contract of many.
    upgrades : mapping of int to mapping
        What a file of that version says otherwise: its name of a column, by ours. A column
        that it lacks is null, or the constant given as ``("=", value)``.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    series: tuple[str, ...]
    grain: Grain
    partition: str = "instrument"
    outranked: str | None = None
    version: int = 1
    row_group: int = 131_072
    upgrades: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, self.version))

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the columns that say something, in order."""
        return tuple(column.name for column in self.columns if column.role == "value")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return the column called `name`."""
        return next(column for column in self.columns if column.name == name)


# every row says where it came from: the source's word, IB's number of the instrument, and the
# commit that brought it (microseconds since 1970, also its name in the journal)
ORIGIN: Final = (
    Column("source", "string", "origin", required=True),
    Column("con_id", "int64", "origin"),
    Column("commit_id", "int64", "origin"),
)
TS: Final = Column("ts", "timestamp[us, tz=UTC]", "key", required=True)
SERIES: Final = (
    Column("what_to_show", "string", "key", required=True),
    Column("use_rth", "bool", "key", required=True),
)
BAR_COLUMNS: Final = (
    TS,
    Column("open", "double", required=True),
    Column("high", "double", required=True),
    Column("low", "double", required=True),
    Column("close", "double", required=True),
    Column("volume", "double", unknown=-1.0, signed=False, codec="zstd", repeats=False),
    Column("wap", "double", codec="zstd"),
    Column("count", "int32", unknown=-1.0, signed=False),
    *SERIES,
    Column("delayed", "bool", required=True),
    *ORIGIN,
)


def _bars(size: BarSize) -> Dataset:
    return Dataset(
        size.dataset,
        BAR_COLUMNS,
        key=("what_to_show", "use_rth", "ts"),
        series=("what_to_show", "use_rth"),
        grain=size.grain,
        outranked="delayed",
    )


GAPS: Final = Dataset(
    "gaps",
    (
        TS,
        Column("end", "timestamp[us, tz=UTC]", required=True),
        Column("reason", "string"),
        Column("dataset", "string", "key", required=True),
        *SERIES,
        *ORIGIN,
    ),
    key=("dataset", "what_to_show", "use_rth", "ts"),
    series=(),
    grain="all",
)


def _prices(*names: str) -> tuple[Column, ...]:
    """Return prices: any number, null where there is none."""
    return tuple(Column(name, "double") for name in names)


def _sizes(*names: str) -> tuple[Column, ...]:
    """Return quantities: not below zero, -1 where IB has none."""
    return tuple(Column(name, "double", unknown=-1.0, signed=False) for name in names)


def _texts(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "string") for name in names)


def _whole(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "int64") for name in names)


def _flags(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "bool") for name in names)


RECEIVED: Final = Column("received", "timestamp[us, tz=UTC]", "origin")
# a tick has no number of its own at IB: the recorder that heard it counts. Rows of the past are
# of the recorder "history", counted within their second, and replace whole seconds
TICK_KEY: Final = (
    Column("recorder", "string", "key", required=True),
    Column("seq", "int64", "key", required=True, signed=False),
    Column("delayed", "bool", required=True),
    RECEIVED,
    *ORIGIN,
)
TRADES: Final = Dataset(
    "trades",
    (
        TS,
        Column("price", "double", required=True),
        *_sizes("size"),
        *_texts("exchange", "conditions"),
        *_flags("past_limit", "unreported"),
        *TICK_KEY,
    ),
    key=("recorder", "ts", "seq"),
    series=("recorder",),
    grain="date",
)
QUOTES: Final = Dataset(
    "quotes",
    (
        TS,
        *_prices("bid", "ask"),
        *_sizes("bid_size", "ask_size"),
        *_flags("bid_past_low", "ask_past_high"),
        *TICK_KEY,
    ),
    key=("recorder", "ts", "seq"),
    series=("recorder",),
    grain="date",
)
# what is half way between the two sides: no trade, and no quote either, so neither of the above
MIDPOINTS: Final = Dataset(
    "midpoints",
    (TS, Column("price", "double", required=True), *TICK_KEY),
    key=("recorder", "ts", "seq"),
    series=("recorder",),
    grain="date",
)

CONTRACT_KEY: Final = (
    Column("expiry", "string", "key", required=True),
    Column("strike", "double", "key", required=True, signed=False),
    Column("right", "string", "key", required=True),
    Column("trading_class", "string", "key", required=True),
)
OPTION_CHAIN: Final = Dataset(
    "option_chain",
    (
        TS,
        *CONTRACT_KEY,
        *_prices("bid", "ask", "last"),
        *_sizes("bid_size", "ask_size", "last_size", "volume", "open_interest"),
        *_prices("bid_iv", "ask_iv", "last_iv", "model_iv", "model_price"),
        *_prices("delta", "gamma", "vega", "theta", "underlying_price"),
        Column("delayed", "bool", required=True),
        RECEIVED,
        *ORIGIN,
    ),
    key=("expiry", "strike", "right", "trading_class", "ts"),
    series=(),
    grain="date",
    partition="underlying",
    outranked="delayed",
    row_group=8_192,
)


def _option_bars(size: BarSize) -> Dataset:
    grain: Grain = "year" if not size.intraday else "month" if size.grain == "year" else "date"
    return Dataset(
        f"option_{size.dataset}",
        (TS, *CONTRACT_KEY, *BAR_COLUMNS[1:]),
        key=("expiry", "strike", "right", "trading_class", "what_to_show", "use_rth", "ts"),
        series=(),
        grain=grain,
        partition="underlying",
        outranked="delayed",
        row_group=8_192,
    )


FILLS: Final = Dataset(
    "fills",
    (
        TS,
        Column("exec_id", "string", "key", required=True),
        *_texts("account", "order_ref", "action"),
        *_sizes("quantity"),
        *_prices("price"),
        *_texts("exchange"),
        *_prices("commission", "realized_pnl"),
        *_texts("commission_currency"),
        *_whole("order_id", "perm_id", "client_id", "liquidity"),
        *ORIGIN,
    ),
    key=("ts", "exec_id"),
    series=(),
    grain="year",
)
ORDERS: Final = Dataset(
    "orders",
    (
        TS,
        Column("client_id", "int64", "key", required=True),
        Column("order_id", "int64", "key", required=True),
        *_whole("perm_id"),
        *_texts("account", "order_ref", "action"),
        *_sizes("quantity"),
        *_texts("order_type", "tif"),
        *_prices("limit_price", "stop_price"),
        *_texts("status"),
        *_sizes("filled", "remaining"),
        *_prices("average_price"),
        *_texts("reason"),
        *ORIGIN,
    ),
    key=("ts", "client_id", "order_id"),
    series=(),
    grain="year",
)
ACCOUNT_VALUES: Final = Dataset(
    "account_values",
    (
        TS,
        Column("tag", "string", "key", required=True),
        Column("currency", "string", "key", required=True),
        *_texts("value"),
        *_prices("number"),
        *ORIGIN,
    ),
    key=("tag", "currency", "ts"),
    series=(),
    grain="month",
    partition="account",
)
EVENTS: Final = Dataset(
    "events",
    (
        # what the event says, not who it is: a date that is moved is the same event
        Column("ts", "timestamp[us, tz=UTC]", required=True),
        Column("kind", "string", "key", required=True),
        Column("event_key", "string", "key", required=True),
        *_texts("status", "time_of_day", "fiscal_year", "quarter"),
        *_prices("amount", "estimate"),
        *_texts("currency", "detail"),
        RECEIVED,
        *ORIGIN,
    ),
    key=("kind", "event_key"),
    series=(),
    grain="all",
)
FACTORS: Final = Dataset(
    "factors",
    (
        # the first instant on which a price needs no factor: midnight of `day`, on the exchange
        TS,
        # dividend, split, other (neither can be told); span: what was looked at, and up to when
        Column("kind", "string", "key", required=True),
        *_texts("day", "since"),
        Column("factor", "double", required=True),
        Column("ratio", "double", required=True),
        *_prices("amount", "close", "from_ib", "from_events"),
        *_texts("basis", "detail"),
        *ORIGIN,
    ),
    key=("kind", "ts"),
    series=(),
    grain="all",
)
CONTRACTS: Final = Dataset(
    "contracts",
    (
        TS,
        # the question that was answered: a shorthand, or a description's fields
        Column("entry", "string", "key", required=True),
        *_texts("symbol", "sec_type", "exchange", "primary_exchange", "currency"),
        *_texts("local_symbol", "trading_class", "expiry"),
        *_prices("strike"),
        *_texts("right", "multiplier"),
        *_prices("min_tick"),
        *_texts("long_name", "time_zone", "market_rule_ids", "detail"),
        *ORIGIN,
    ),
    key=("entry", "ts"),
    series=(),
    grain="all",
    partition="kind",
)

DATASETS: Final[Mapping[str, Dataset]] = MappingProxyType(
    {
        dataset.name: dataset
        for dataset in (
            *map(_bars, BAR_SIZES.values()),
            TRADES,
            QUOTES,
            MIDPOINTS,
            OPTION_CHAIN,
            *map(_option_bars, BAR_SIZES.values()),
            FILLS,
            ORDERS,
            ACCOUNT_VALUES,
            EVENTS,
            FACTORS,
            CONTRACTS,
            GAPS,
        )
    }
)
