"""What a request for bars means: validated, with the span it covers; and the bars as rows.

Not here: answering it (`handlers.history`), and how bars are made (`market`, `replay`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ibkit.schema import BAR_SIZES, BarSize
from ibkit.sim import times
from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.refusal import RefusedError, hmds, invalid
from ibkit.sim.market import Bars, NoDataError
from ibkit.sim.wire import Columns
from ibkit.sim.wire.fields import LONGEST_WHOLE, SMALL, Texts, write_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.server import Gateway
    from ibkit.sim.wire import Record

    Floats = NDArray[np.float64]

# the words of the historical service for each kind of series
WORDS: Final = {
    "TRADES": "Trades",
    "MIDPOINT": "Midpoint",
    "BID": "Bid",
    "ASK": "Ask",
    "BID_ASK": "BidAsk",
    "ADJUSTED_LAST": "AdjustedLast",
    "SCHEDULE": "Schedule",
    "AGGTRADES": "AggTrades",
    "HISTORICAL_VOLATILITY": "HistoricalVolatility",
    "OPTION_IMPLIED_VOLATILITY": "OptionImpliedVolatility",
    "FEE_RATE": "FeeRate",
    "YIELD_BID": "YieldBid",
    "YIELD_ASK": "YieldAsk",
    "YIELD_BID_ASK": "YieldBidAsk",
    "YIELD_LAST": "YieldLast",
}
# series that only some kinds of instruments have
ONLY: Final = {
    "AGGTRADES": frozenset({"CRYPTO"}),
    "HISTORICAL_VOLATILITY": frozenset({"STK", "IND"}),
    "OPTION_IMPLIED_VOLATILITY": frozenset({"STK", "IND"}),
    "FEE_RATE": frozenset({"STK"}),
    **dict.fromkeys(("YIELD_BID", "YIELD_ASK", "YIELD_BID_ASK", "YIELD_LAST"), frozenset({"BOND"})),
}
NO_TRADES: Final = frozenset({"CASH", "CFD", "CMDTY"})
ONLY_TRADES: Final = frozenset({"IND"})
# kinds whose trades go by another word
AGGREGATED: Final = frozenset({"CRYPTO"})
SIZE_ALIASES: Final = {"1 week": "1W", "1 month": "1M"}
LEGAL_SIZES: Final = {**BAR_SIZES, **{SIZE_ALIASES[s]: BAR_SIZES[s] for s in SIZE_ALIASES}}
# the longest text of a duration, by unit
LONGEST: Final = {"S": 86_400, "D": 365, "W": 52, "M": 12, "Y": 68}
LONGEST_OF_1_SECOND: Final = 2_000
# what bars may be kept up to date
LIVE: Final = frozenset({"TRADES", "MIDPOINT", "BID", "ASK", "AGGTRADES"})
SMALLEST_LIVE: Final = 5
CALENDAR_PER_SESSION: Final = 2
MORE_DAYS: Final = 14


@dataclass(frozen=True, slots=True)
class Query:
    """A request for bars that has been found valid."""

    req_id: int
    instrument: Instrument
    start: float
    end: float
    size: BarSize
    what: str
    use_rth: bool
    format_date: int


def read_query(client: Client, values: Record) -> Query:
    """Return what a request for bars means, or refuse it as the real service does."""
    size = LEGAL_SIZES.get(values["bar_size"])
    if size is None:
        legal = ", ".join(LEGAL_SIZES)
        raise invalid(f"Historical data bar size setting is invalid. Legal ones are: {legal}")
    duration = read_duration(values["duration"], size)
    if values["what_to_show"] not in WORDS:
        raise invalid("What to show field is missing or incorrect.")
    if values["what_to_show"] == "SCHEDULE" and size.ib != "1 day":
        raise invalid("Schedule is available for bars of 1 day only.")
    if values["keep_up_to_date"]:
        check_live(values, size)
    instrument = resolve(client.gateway, values)
    what = check_what(instrument, values["what_to_show"])
    end = read_end(client, values, instrument)
    start = find_start(client.gateway, instrument, end, duration, use_rth=values["use_rth"])
    return Query(
        values["req_id"],
        instrument,
        start,
        end,
        size,
        what,
        values["use_rth"],
        values["format_date"],
    )


def check_live(values: Record, size: BarSize) -> None:
    """Refuse updates of bars that a real gateway does not keep up to date."""
    if values["end"]:
        raise invalid("End date not supported")
    if values["what_to_show"] not in LIVE or size.seconds < SMALLEST_LIVE:
        raise invalid("Historical data with keep up to date is not supported for these bars.")


def read_duration(text: str, size: BarSize) -> tuple[int, str]:
    """Return number and unit of a duration that this bar size allows."""
    try:
        count, unit = times.parse_duration(text)
    except times.TimeTextError:
        raise invalid(f"Historical data duration is invalid: {text}") from None
    if unit == "D" and count > LONGEST["D"]:
        raise invalid(
            "Historical data requests for durations longer than 365 days must be made in years."
        )
    if count > LONGEST[unit] or (
        size.seconds == 1 and (unit != "S" or count > LONGEST_OF_1_SECOND)
    ):
        raise hmds("Time length exceed max.")
    return count, unit


def check_what(instrument: Instrument, what: str) -> str:
    """Refuse a series that this kind of instrument does not have."""
    trades = what in {"TRADES", "ADJUSTED_LAST"}
    if trades and instrument.sec_type in AGGREGATED:
        raise RefusedError(
            10299, f"Expected what to show is AGGTRADES, please use that instead of {what}."
        )
    if (
        (trades and instrument.sec_type in NO_TRADES)
        or (instrument.sec_type in ONLY_TRADES and what in {"BID", "ASK", "BID_ASK", "MIDPOINT"})
        or (what in ONLY and instrument.sec_type not in ONLY[what])
    ):
        raise hmds(
            f"No historical market data for {instrument.symbol}/{instrument.sec_type}"
            f"@{instrument.exchange} {'Last' if trades else WORDS[what]}"
        )
    return what


def traded(instrument: Instrument) -> str:
    """Return the word for the trades of this kind of instrument."""
    return "AGGTRADES" if instrument.sec_type in AGGREGATED else "TRADES"


def read_end(client: Client, values: Record, instrument: Instrument) -> float:
    """Return the end of the span: the time asked for, but never later than now."""
    now = client.gateway.clock.now()
    if not values["end"]:
        return now
    if values["what_to_show"] == "ADJUSTED_LAST":
        raise invalid("End date not supported with adjusted last")
    try:
        end, zoneless = times.parse_time(values["end"], instrument.time_zone_id)
    except times.TimeTextError as error:
        raise RefusedError(10314, f"End Date/Time: {error}.") from None
    if zoneless:
        client.error(
            values["req_id"],
            2174,
            "Warning: You submitted request with date-time attributes without explicit time zone.",
        )
    return min(end, now)


def find_start(
    gateway: Gateway,
    instrument: Instrument,
    end: float,
    duration: tuple[int, str],
    *,
    use_rth: bool,
) -> float:
    """Return the begin of the span; days count as trading sessions, other units as calendar."""
    count, unit = duration
    if unit != "D":
        return times.go_back(end, count, unit, instrument.time_zone_id)
    last = times.day_of(end, instrument.time_zone_id) + timedelta(days=1)
    first = last - timedelta(days=count * CALENDAR_PER_SESSION + MORE_DAYS)
    sessions = [
        session
        for session in gateway.market.sessions(instrument, first, last, use_rth)
        if session.start < end
    ]
    days = sorted({session.ref_date for session in sessions})[-count:]
    starts = [session.start for session in sessions if days and session.ref_date >= days[0]]
    return min(starts, default=end)


def find_bars(gateway: Gateway, query: Query) -> Bars:
    """Return the bars of a query, or the refusal of the historical service."""
    span = int(query.start), int(query.end)
    try:
        bars = gateway.market.bars(query.instrument, *span, query.size, query.what, query.use_rth)
    except NoDataError as error:
        raise hmds(str(error)) from error
    if not len(bars.time):
        raise no_data(query)
    return bars


def cut(bars: Bars, first: int) -> Bars:
    """Return the bars from index `first` on."""
    return Bars(*(getattr(bars, name)[first:] for name in Bars.__dataclass_fields__))


def bar_rows(bars: Bars, query: Query) -> Iterator[tuple[Any, ...]]:
    """Yield the bars as rows of the message."""
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.wap, bars.count)
    return zip(bar_dates(bars, query), *(column.tolist() for column in columns), strict=True)


def bar_columns(bars: Bars, query: Query) -> Columns:
    """Return the bars as columns of texts, ready for the message."""
    price = Texts().__getitem__
    prices = (bars.open, bars.high, bars.low, bars.close)
    return Columns(
        (
            bar_dates(bars, query),
            *(list(map(price, column.tolist())) for column in prices),
            number_texts(bars.volume),
            number_texts(bars.wap),
            list(map(str, bars.count.tolist())),
        )
    )


def number_texts(column: Floats) -> list[str]:
    """Return what `Texts` says of each number, faster where numbers do not repeat.

    >>> number_texts(np.array([1200.0, 229.314, 0.00001, -1.0]))
    ['1200', '229.314', '0.00001', '-1']
    """
    size = np.abs(column)
    whole = (column == np.floor(column)) & (size < LONGEST_WHOLE)
    if whole.all():
        return list(map(str, column.astype(np.int64).tolist()))
    texts = list(map(repr, column.tolist()))
    for at in np.flatnonzero(whole | (size < SMALL) | (size >= LONGEST_WHOLE)).tolist():
        texts[at] = str(int(column[at])) if whole[at] else write_number(float(column[at]))
    return texts


def bar_dates(bars: Bars, query: Query) -> Sequence[str]:
    """Return the date of each bar: a session's day, epoch seconds, or local time."""
    if not query.size.intraday:
        return list(map(str, bars.ref_date.tolist()))
    if query.format_date == 2:
        return list(map(str, bars.time.tolist()))
    return times.local_texts(bars.time.tolist(), query.instrument.time_zone_id)


def no_data(query: Query) -> RefusedError:
    """Return the answer for a span without bars."""
    where = f"{query.instrument.symbol}@{query.instrument.exchange}"
    return hmds(f"HMDS query returned no data: {where} {WORDS[query.what]}")
