"""The market scanner: which scans there are, and which stocks come first in them.

Pure. Not here: the requests (`ibkit.sim.handlers.scanner`).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from ibkit.sim.actions import dividend_yield
from ibkit.sim.noise import fraction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.screen import Quote
    from ibkit.sim.wire import Record


@dataclass(frozen=True, slots=True)
class Seen:
    """An instrument, its screen, and what is only made up about it."""

    instrument: Instrument
    quote: Quote
    seed: int

    @property
    def price(self) -> float:
        """The last price; 0 when there is none."""
        return self.quote.last or 0.0

    @property
    def change(self) -> float:
        """The move since the close before, in percent."""
        close = self.quote.close
        return (self.price / close - 1) * 100 if close and self.price else 0.0

    @property
    def gap(self) -> float:
        """The move from the close before to today's open, in percent."""
        close, opened = self.quote.close, self.quote.open
        return (opened / close - 1) * 100 if close and opened else 0.0

    @property
    def since_open(self) -> float:
        """The move since today's open, in percent."""
        return (self.price / self.quote.open - 1) * 100 if self.quote.open and self.price else 0.0

    @property
    def market_cap(self) -> float:
        """What the company is worth, in millions: invented shares times price."""
        return self.price * (200 + 9000 * fraction(self.seed, "shares", self.instrument.con_id))

    def made_up(self, name: str) -> float:
        """Return a number about options and dividends that the market does not know."""
        return fraction(self.seed, name, self.instrument.con_id)


# code: (display name, value to rank by)
SCANS: Final[dict[str, tuple[str, Callable[[Seen], float]]]] = {
    "TOP_PERC_GAIN": ("Top % Gainers", lambda one: one.change),
    "TOP_PERC_LOSE": ("Top % Losers", lambda one: -one.change),
    "MOST_ACTIVE": ("Most Active", lambda one: one.quote.volume),
    "MOST_ACTIVE_USD": ("Most Active ($)", lambda one: one.quote.volume * one.price),
    "HOT_BY_VOLUME": (
        "Hot Contracts by Volume",
        lambda one: one.quote.volume / max(one.instrument.model.volume, 1),
    ),
    "HOT_BY_PRICE": ("Hot Contracts by Price", lambda one: abs(one.change)),
    "TOP_TRADE_COUNT": (
        "Top Trade Count",
        lambda one: one.quote.volume / max(one.instrument.model.trade_size, 1e-9),
    ),
    "HIGH_OPEN_GAP": ("High Open Gap", lambda one: one.gap),
    "LOW_OPEN_GAP": ("Low Open Gap", lambda one: -one.gap),
    "TOP_OPEN_PERC_GAIN": ("Top % Gainers Since Open", lambda one: one.since_open),
    "TOP_OPEN_PERC_LOSE": ("Top % Losers Since Open", lambda one: -one.since_open),
    "HIGH_OPT_IMP_VOLAT": (
        "Highest Option Imp Vol",
        lambda one: one.instrument.model.path.vol,
    ),
    "LOW_OPT_IMP_VOLAT": (
        "Lowest Option Imp Vol",
        lambda one: -one.instrument.model.path.vol,
    ),
    "OPT_VOLUME_MOST_ACTIVE": (
        "Most Active by Opt Volume",
        lambda one: one.made_up("options") * one.quote.volume,
    ),
    "HIGH_DIVIDEND_YIELD_IB": (
        "High Dividend Yield",
        lambda one: dividend_yield(one.seed, one.instrument),
    ),
    "HIGH_SYNTH_BID_REV_NAT_YIELD": ("High Yield", lambda one: one.made_up("yield")),
}
# location: (display name, currencies, security types)
LOCATIONS: Final[dict[str, tuple[str, str, frozenset[str], frozenset[str]]]] = {
    "STK.US": ("US Stocks", "STK", frozenset({"USD"}), frozenset({"STK"})),
    "STK.US.MAJOR": ("Listed/NASDAQ", "STK", frozenset({"USD"}), frozenset({"STK"})),
    "STK.NYSE": ("NYSE", "STK", frozenset({"USD"}), frozenset({"STK"})),
    "STK.NASDAQ": ("NASDAQ", "STK", frozenset({"USD"}), frozenset({"STK"})),
    "ETF.EQ.US": ("US Equity ETFs", "ETF.EQ.US", frozenset({"USD"}), frozenset({"STK"})),
    "STK.EU": ("Europe", "STOCK.EU", frozenset({"EUR", "GBP", "CHF"}), frozenset({"STK"})),
    "STK.HK": ("Hong Kong and Japan", "STOCK.HK", frozenset({"HKD", "JPY"}), frozenset({"STK"})),
    "FUT.US": ("US Futures", "FUT.US", frozenset({"USD"}), frozenset({"FUT"})),
    "IND.US": ("US Indices", "IND.US", frozenset({"USD"}), frozenset({"IND"})),
}
# the filters that are understood, as tags of `scannerSubscriptionFilterOptions`
FILTERS: Final[dict[str, Callable[[Seen, float], bool]]] = {
    "priceAbove": lambda one, limit: one.price >= limit,
    "priceBelow": lambda one, limit: one.price <= limit,
    "volumeAbove": lambda one, limit: one.quote.volume >= limit,
    "marketCapAbove1e6": lambda one, limit: one.market_cap >= limit,
    "marketCapBelow1e6": lambda one, limit: one.market_cap <= limit,
    "changePercAbove": lambda one, limit: one.change >= limit,
    "changePercBelow": lambda one, limit: one.change <= limit,
    "usdPriceAbove": lambda one, limit: one.price >= limit,
    "usdPriceBelow": lambda one, limit: one.price <= limit,
    "usdVolumeAbove": lambda one, limit: one.quote.volume * one.price >= limit,
    "avgVolumeAbove": lambda one, limit: one.instrument.model.volume >= limit,
    "avgVolumeBelow": lambda one, limit: one.instrument.model.volume <= limit,
    "dividendYieldFrdAbove": lambda one, limit: (
        100 * dividend_yield(one.seed, one.instrument) >= limit
    ),
    "avgOptVolumeAbove": lambda one, limit: 1e6 * one.made_up("options") >= limit,
}
# what the request's own fields are called as filters
FIELDS: Final = {
    "above_price": "priceAbove",
    "below_price": "priceBelow",
    "above_volume": "volumeAbove",
    "market_cap_above": "marketCapAbove1e6",
    "market_cap_below": "marketCapBelow1e6",
    "average_option_volume_above": "avgOptVolumeAbove",
}


def places(location: str) -> list[str]:
    """Return the locations in a request that are known: it may name several, joined by commas."""
    return [name for name in location.split(",") if name.strip() in LOCATIONS]


def belongs(instrument: Instrument, location: str, stock_type: str) -> bool:
    """Whether an instrument is in a location and of the kind that was asked for."""
    _, _, currencies, kinds = LOCATIONS[location]
    place = location.partition(".")[2]
    etf = instrument.stock_type == "ETF"
    if instrument.sec_type not in kinds or instrument.currency not in currencies:
        return False
    if place in {"NYSE", "NASDAQ"} and instrument.primary_exchange != place:
        return False
    if location.startswith("ETF") or stock_type in {"ETF", "STOCK_ETF"}:
        return etf
    return not (etf and stock_type in {"CORP", "STOCK", "ADR"})


def filters(values: Record) -> list[tuple[str, float]]:
    """Return the filters of a request: its own fields, and the tags among its options.

    Raises
    ------
    ValueError
        A tag is no filter, or its value no number; the text is the tag.
    """
    found = [(name, float(values[key])) for key, name in FIELDS.items() if values[key] is not None]
    for pair in (values["filter_options"] or "").split(";"):
        tag, _, text = pair.partition("=")
        if not tag:
            continue
        if tag not in FILTERS:
            raise ValueError(tag)
        found.append((tag, float(text)))
    return found


def ranked(
    code: str, seen: Iterable[Seen], wanted: list[tuple[str, float]], rows: int
) -> list[Seen]:
    """Return the first `rows` of a scan."""
    value = SCANS[code][1]
    passing = [one for one in seen if all(FILTERS[tag](one, limit) for tag, limit in wanted)]
    passing.sort(key=lambda one: (-value(one), one.instrument.con_id))
    return passing[:rows]


def parameters() -> str:
    """Return the description of the scanner, in the form of IB's two megabytes, but short."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield "<ScanParameterResponse>"
    yield '<InstrumentList varName="instrumentList">'
    for kind in dict.fromkeys(row[1] for row in LOCATIONS.values()):
        yield f"<Instrument><name>{escape(kind)}</name><type>{escape(kind)}</type></Instrument>"
    yield "</InstrumentList>"
    yield '<LocationTree varName="locationTree">'
    for code, (name, kind, _, _) in LOCATIONS.items():
        yield (
            f"<Location><displayName>{escape(name)}</displayName>"
            f"<locationCode>{code}</locationCode><instruments>{kind}</instruments></Location>"
        )
    yield "</LocationTree>"
    yield '<ScanTypeList varName="scanTypeList">'
    for code, (name, _) in SCANS.items():
        yield (
            f"<ScanType><displayName>{escape(name)}</displayName><scanCode>{code}</scanCode>"
            "<instruments>STK,ETF.EQ.US,STOCK.EU,STOCK.HK,FUT.US,IND.US</instruments></ScanType>"
        )
    yield "</ScanTypeList>"
    yield '<FilterList varName="filterList">'
    for tag in FILTERS:
        yield (
            f'<RangeFilter><id>{tag}</id><AbstractField type="scanner.filter.DoubleField">'
            f"<code>{tag}</code></AbstractField></RangeFilter>"
        )
    yield "</FilterList>"
    yield "</ScanParameterResponse>"
