"""When markets trade, worked out without IB: for work offline, and for days IB has not published.

Cash exchanges are those of exchange_calendars. The futures exchanges follow rules of our own,
product group by product group, because no offline source is right for them: a holiday of New York
closes corn, stops the S&P at noon and leaves currencies alone. IB's own schedule always wins
(`ibkit.contracts.schedules`); sessions made here say so in `source`.
"""

from __future__ import annotations

import warnings
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from zoneinfo import ZoneInfo

from ibkit.contracts.expiry import packed_holidays
from ibkit.contracts.hours import Session
from ibkit.contracts.specs import find_spec
from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from ib_async import Contract

SATURDAY: Final = 5
CLOSED: Final = 0
FIRST_YEAR: Final = 1999
LAST_YEAR: Final = 2060
LAST_CASH_YEAR: Final = 2049  # calendars with lunar holidays end there
RULES_SOURCE: Final = "rules"
CASH_SOURCE: Final = "exchange_calendars"
FUTURES: Final = frozenset({"FUT", "FOP", "CONTFUT"})
# the hours that the user gives a root, while sessions are made for somebody who has said so
NONE: Final[Mapping[str, str]] = MappingProxyType({})
HOURS: ContextVar[Mapping[str, str]] = ContextVar("ibkit_hours", default=NONE)

# exchange_calendars' names of IB's exchanges; where a currency has one home, also of SMART
MICS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("NASDAQ", "NYSE", "ARCA", "AMEX", "BATS", "IEX", "ISLAND", "PINK", "CBOE", "SMART:USD"),
        "XNYS",
    ),
    **dict.fromkeys(("RUSSELL", "NYSENAT", "MEMX", "EDGEA", "BEX", "PSX", "CHX", "VALUE"), "XNYS"),
    **dict.fromkeys(("LSE", "LSEETF", "SMART:GBP"), "XLON"),
    **dict.fromkeys(("SEHK", "HKFE", "SMART:HKD"), "XHKG"),
    **dict.fromkeys(("TSEJ", "OSE.JPN", "SMART:JPY"), "XTKS"),
    **dict.fromkeys(("IBIS", "IBIS2", "FWB", "EUREX", "DTB"), "XETR"),
    **dict.fromkeys(("TSE", "VENTURE", "SMART:CAD"), "XTSE"),
    **dict.fromkeys(("ASX", "SMART:AUD"), "XASX"),
    **dict.fromkeys(("EBS", "SMART:CHF"), "XSWX"),
    **dict.fromkeys(("SFB", "SMART:SEK"), "XSTO"),
    **dict.fromkeys(("SGX", "SMART:SGD"), "XSES"),
    "SBF": "XPAR",
    "AEB": "XAMS",
    "BVME": "XMIL",
    "BM": "XMAD",
    "ENEXT.BE": "XBRU",
    "BVL": "XLIS",
    "VSE": "XWBO",
    "OSE": "XOSL",
    "CPH": "XCSE",
    "HEX": "XHEL",
    "WSE": "XWAR",
    "KSE": "XKRX",
    "TWSE": "XTAI",
    "NSE": "XBOM",
    "MEXI": "XMEX",
    "SEHKNTL": "XSHG",
    "SEHKSZSE": "XSHG",
}
# trading before and after the regular hours, in minutes of New York's day
PRE_OPEN, POST_CLOSE, HALF_DAY_POST_CLOSE = 240, 1200, 1020
EXTENDED: Final = frozenset({"STK", "CFD"})
# where a day has a break that IB's schedules of the past do not tell
BROKEN: Final = frozenset({"XHKG", "XTKS", "XSHG", "XSES", "cme_grains"})


class UnknownVenueError(IbkitError, LookupError):
    """No calendar of ours knows when this trades: `name`, `exchange`."""

    def __init__(self, name: str, exchange: str) -> None:
        super().__init__(name, exchange)
        self.name, self.exchange = name, exchange

    def __str__(self) -> str:
        return (
            f"When {self.name} trades on {self.exchange or 'no exchange'} is not known offline.\n"
            "Hint: connected, IB's schedule is asked; the venues known offline are in "
            "docs/futures-and-hours.md."
        )


class HoursOutOfReachError(IbkitError, LookupError):
    """A calendar does not reach so far: `venue`, and the `first` and `last` day that it knows."""

    def __init__(self, venue: str, first: date, last: date) -> None:
        super().__init__(venue, first, last)
        self.venue, self.first, self.last = venue, first, last

    def __str__(self) -> str:
        return f"The hours of {self.venue} are known offline from {self.first} to {self.last}."


class Minutes(NamedTuple):
    """A stretch of a usual day, in minutes from midnight of the trade date; below 0: the eve."""

    start: int
    end: int


class Special(NamedTuple):
    """What a day that is not usual changes: minutes of the day; CLOSED closes it."""

    close: int | None = None
    opens: int | None = None


@dataclass(frozen=True, slots=True)
class Venue:
    """The hours of one group of products.

    Attributes
    ----------
    zone : str
        Of its clock.
    full, regular : tuple of Minutes
        A usual day, all of it and the liquid part.
    market : str
        Whose holidays count, a name of the packed table; "" for none.
    days : mapping of str to Special
        What each named day changes; a holiday that is not named is a usual day.
    """

    zone: str
    full: tuple[Minutes, ...]
    regular: tuple[Minutes, ...]
    market: str = "XNYS"
    days: Mapping[str, Special] | None = None  # None: every holiday is closed
    all_week: bool = False


def _at(clock: str) -> int:
    """Return the minute of "0930"; "-1700" is the evening before."""
    minutes = int(clock[-4:-2]) * 60 + int(clock[-2:])
    return minutes - 1440 if clock.startswith("-") else minutes


def _day(*spans: str) -> tuple[Minutes, ...]:
    """Return the stretches that "0930 1600" and the like spell."""
    pairs = (span.split() for span in spans)
    return tuple(Minutes(_at(start), _at(end)) for start, end in pairs)


# Good Friday, Christmas and New Year's Day close every futures exchange; "payrolls" is a Good
# Friday on which the employment report is published
_GREAT: Final = dict.fromkeys(("new_year", "good_friday", "christmas"), Special(CLOSED))
_US_NAMES: Final = (
    *("king", "presidents", "memorial", "juneteenth", "independence", "labor", "thanksgiving"),
)


def _cme(
    holiday: str, black_friday: str, christmas_eve: str, **more: Special
) -> dict[str, Special]:
    """Return the days of a CME group: when it stops on a US holiday ("" for a usual day), ..."""
    stops = dict.fromkeys(_US_NAMES, Special(_at(holiday))) if holiday else {}
    halves = {
        "black_friday": Special(_at(black_friday)),
        "christmas_eve": Special(_at(christmas_eve)),
    }
    return {**_GREAT, "payrolls": Special(CLOSED), **stops, **halves, **more}


_MOURNING_NOON: Final = Special(_at("1215"))
_MOURNING_OPEN: Final = Special(_at("0830"))
_OPENS_0830: Final = Special(None, _at("0830"))
_FARM: Final = {
    **_GREAT,
    **dict.fromkeys(("payrolls", *_US_NAMES), Special(CLOSED)),
    "christmas_eve": Special(_at("1205")),
    "independence_eve": Special(_at("1205")),
    "mourning": _MOURNING_NOON,
}
_EQUITY: Final = _cme(
    *("1200", "1215", "1215"),
    payrolls=Special(_at("0815")),
    independence_eve=Special(_at("1215")),
    mourning=_MOURNING_OPEN,
)
_RATES: Final = _cme("1200", "1215", "1215", payrolls=Special(_at("1015")), mourning=_MOURNING_NOON)
_FX: Final = _cme(
    *("", "1215", "1215"), payrolls=Special(_at("1015")), us_holiday_2021=Special(_at("1200"))
)
_COMMODITY: Final = _cme(
    *("1330", "1245", "1245"),
    us_holiday_2021=Special(_at("1200")),
    labor_2022=Special(_at("1200")),
    juneteenth_friday=Special(_at("1200")),
    independence_friday=Special(_at("1200")),
    black_friday_2026=Special(_at("1345")),
)
_CRYPTO: Final = _cme(
    *("", "1245", "1245"), payrolls=Special(_at("1015")), us_holiday_2021=Special(_at("1200"))
)
_CFE: Final = _cme(
    *("1030", "1215", "1215"), independence_eve=Special(_at("1215")), mourning=_MOURNING_OPEN
)
_GRAINS: Final = {
    **_FARM,
    "black_friday": Special(_at("1205"), _at("0830")),
    **dict.fromkeys(("after_christmas", "after_new_year", "after_independence"), _OPENS_0830),
}
_SOFTS: Final = {
    **_GREAT,
    **dict.fromkeys(("payrolls", *_US_NAMES), Special(CLOSED)),
    "black_friday": Special(_at("1300")),
    "christmas_eve": Special(_at("1300")),
}
_DOLLAR: Final = _cme("1300", "1315", "1315", payrolls=Special(_at("1100")))


def _globex(regular: str, days: Mapping[str, Special]) -> Venue:
    return Venue("America/Chicago", _day("-1700 1600"), _day(regular), "XNYS", days)


def _ice(full: str, days: Mapping[str, Special] | None = None) -> Venue:
    return Venue("America/New_York", _day(full), _day(full), "XNYS", days or _SOFTS)


VENUES: Final[Mapping[str, Venue]] = {
    "cme_equity": _globex("0830 1600", _EQUITY),
    "cme_rates": _globex("0720 1400", _RATES),
    "cme_fx": _globex("0720 1400", _FX),
    "cme_energy": _globex("0800 1330", _COMMODITY),
    "cme_metals": _globex("0720 1230", _COMMODITY),
    "cme_crypto": _globex("0830 1600", _CRYPTO),
    "cme_grains": Venue(
        "America/Chicago", _day("-1900 0745", "0830 1320"), _day("0830 1320"), "XNYS", _GRAINS
    ),
    "cme_livestock": Venue(
        *("America/Chicago", _day("0830 1305"), _day("0830 1305"), "XNYS"),
        {**_FARM, "black_friday": Special(_at("1205"))},
    ),
    "cfe": _globex("0830 1500", _CFE),
    "eurex": Venue("Europe/Berlin", _day("0110 2200"), _day("0800 1900"), "XEUR"),
    "eurex_vstoxx": Venue("Europe/Berlin", _day("0750 2200"), _day("0800 1900"), "XEUR"),
    "ice_brent": Venue("Europe/London", _day("0100 2300"), _day("0800 1930"), "XLON", _GREAT),
    "ice_sugar": _ice("0330 1300"),
    "ice_coffee": _ice("0415 1330"),
    "ice_cocoa": _ice("0445 1330"),
    "ice_cotton": _ice("-2100 1420"),
    "ice_dollar": _ice("-2000 1700", _DOLLAR),
    "fx": Venue(
        *("America/New_York", _day("-1715 1700"), _day("-1715 1700"), "XNYS"),
        dict.fromkeys(("new_year", "christmas"), Special(CLOSED)),
    ),
    "crypto": Venue("UTC", _day("0000 2400"), _day("0000 2400"), "", {}, all_week=True),
}
_MOURNING: Final = frozenset({date(2025, 1, 9)})


def venue_of(contract: Contract) -> str:
    """Return where a contract trades: a name of `VENUES`, or exchange_calendars' of an exchange.

    >>> from ib_async import Stock, Future
    >>> venue_of(Stock("AAPL", "SMART", "USD")), venue_of(Future("ZC"))
    ('XNYS', 'cme_grains')

    Raises
    ------
    UnknownVenueError
        None is known.
    """
    if contract.secType in {"CASH", "CRYPTO"}:
        return "fx" if contract.secType == "CASH" else "crypto"
    if contract.secType in FUTURES:
        spec = find_spec(
            contract.symbol,
            exchange=contract.exchange,
            trading_class=contract.tradingClass if contract.secType != "FOP" else "",
            multiplier=contract.multiplier,
        ) or find_spec(contract.symbol, exchange=contract.exchange)
        found = HOURS.get().get(spec.symbol, spec.hours) if spec else ""
    else:
        homes = (contract.primaryExchange, contract.exchange, f"SMART:{contract.currency}")
        found = next((MICS[home] for home in homes if home in MICS), "")
    if not found:
        raise UnknownVenueError(contract.localSymbol or contract.symbol, contract.exchange)
    return found


def offline_sessions(
    contract: Contract, start: date, end: date, *, use_rth: bool = True
) -> list[Session]:
    """Return the sessions with trade dates from `start` to `end`, worked out without IB.

    Parameters
    ----------
    contract : Contract
        Its kind, symbol, exchange and currency are looked at.
    start, end : date
        Trade dates, both included, within 1999 to 2060.
    use_rth : bool
        Regular hours only.

    Returns
    -------
    list of Session
        In UTC, ascending, each without a break: a day with lunch has two.

    Raises
    ------
    UnknownVenueError
        No calendar is known for its exchange.
    HoursOutOfReachError
        The calendar does not reach so far; it says how far.
    """
    name = venue_of(contract)
    if not FIRST_YEAR <= start.year <= end.year <= LAST_YEAR:
        raise HoursOutOfReachError(name, date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31))
    if name in VENUES:
        days = (start + timedelta(days=n) for n in range((end - start).days + 1))
        return [each for day in days for each in day_sessions(name, day, use_rth=use_rth)]
    extended = not use_rth and contract.secType in EXTENDED
    return list(_cash_sessions(name, start, end, extended=extended and name == "XNYS"))


@lru_cache(maxsize=65_536)
def day_sessions(name: str, day: date, *, use_rth: bool) -> tuple[Session, ...]:
    """Return what venue `name` trades for the trade date `day`; () when closed."""
    zone, midnight = _zone(VENUES[name].zone), datetime.combine(day, time())
    return tuple(
        Session(_utc(midnight, each.start, zone), _utc(midnight, each.end, zone), day, RULES_SOURCE)
        for each in day_minutes(name, day, use_rth=use_rth)
    )


def day_minutes(name: str, day: date, *, use_rth: bool) -> tuple[Minutes, ...]:
    """Return what venue `name` trades for the trade date `day`, by its own clock; () when closed.

    >>> day_minutes("cme_equity", date(2026, 11, 27), use_rth=True)
    (Minutes(start=510, end=735),)
    """
    venue = VENUES[name]
    if day.weekday() >= SATURDAY and not venue.all_week:
        return ()
    special = _special(venue, day)
    if special.close == CLOSED:
        return ()
    spans = venue.regular if use_rth else venue.full
    opens, close = special.opens, special.close
    cut = (
        Minutes(
            span.start if opens is None else max(span.start, opens),
            span.end if close is None else min(span.end, close),
        )
        for span in spans
    )
    return tuple(each for each in _summered(name, cut, day) if each.start < each.end)


def _summered(name: str, spans: Iterator[Minutes], day: date) -> Iterator[Minutes]:
    """Open Eurex an hour later in summer: it opens by the clock of Asia, which does not change."""
    shift = _at("0100") if name == "eurex" and _is_summer(day) else 0
    for span in spans:
        early = span.start == _at("0110")
        yield Minutes(span.start + shift, span.end) if early else span


def _is_summer(day: date) -> bool:
    noon = datetime.combine(day, time(12), tzinfo=_zone("Europe/Berlin"))
    return bool(noon.dst())


def _special(venue: Venue, day: date) -> Special:
    """Return what is not usual about a day; the more particular name of it wins."""
    if venue.days is None:
        return Special(CLOSED) if day.isoformat() in _closed(venue.market) else Special()
    for name in day_names(day):
        if name in venue.days:
            return venue.days[name]
    return Special()


@cache
def _closed(market: str) -> frozenset[str]:
    return frozenset(str(day) for day in packed_holidays()[market])


def day_names(day: date) -> tuple[str, ...]:
    """Return what American futures exchanges call a day, the most particular name first.

    >>> day_names(date(2026, 4, 3)), day_names(date(2026, 11, 27)), day_names(date(2026, 11, 24))
    (('payrolls', 'good_friday'), ('black_friday_2026', 'black_friday'), ())
    """
    holiday = _holiday_name(day)
    if holiday:
        return _particular(holiday, day)
    before = _holiday_name(day - timedelta(days=1))
    if before == "thanksgiving":
        return ("black_friday_2026", "black_friday") if day.year >= 2026 else ("black_friday",)
    if (day.month, day.day) == (12, 24):
        return ("christmas_eve",)
    if (day.month, day.day) == (7, 3) and _holiday_name(day + timedelta(days=1)):
        return ("independence_eve",)
    if before in {"christmas", "new_year", "independence"}:
        return (f"after_{before}",)
    return ("mourning",) if day in _MOURNING else ()


def _particular(holiday: str, day: date) -> tuple[str, ...]:
    if holiday == "good_friday" and day.day <= 7 and day.month == 4:
        return "payrolls", holiday
    if holiday in _US_NAMES and day.year <= 2021:
        return "us_holiday_2021", holiday
    if holiday == "labor" and day.year <= 2022:
        return "labor_2022", holiday
    if holiday in {"juneteenth", "independence"} and day.weekday() == 4:
        return f"{holiday}_friday", holiday
    return (holiday,)


_BY_MONTH: Final = {
    2: "presidents",
    3: "good_friday",
    4: "good_friday",
    5: "memorial",
    6: "juneteenth",
    7: "independence",
    9: "labor",
    11: "thanksgiving",
    12: "christmas",
}


def _holiday_name(day: date) -> str:
    """Return the name of a regular holiday of New York; "" for any other day."""
    if day.isoformat() not in _closed("XNYS"):
        return ""
    return _BY_MONTH.get(day.month) or ("king" if day.day >= 15 else "new_year")


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _utc(midnight: datetime, minute: int, zone: ZoneInfo) -> datetime:
    wall = midnight + timedelta(minutes=minute)
    return wall.replace(tzinfo=zone).astimezone(UTC)


# --- cash exchanges -------------------------------------------------------------------------------


def _cash_sessions(mic: str, start: date, end: date, *, extended: bool) -> Iterator[Session]:
    schedule = _cash_schedule(mic, min(end.year // 10 * 10 + 9, LAST_CASH_YEAR))
    last = max(schedule.index[-1].date(), date(schedule.index[-1].year, 12, 31))
    if end > last:
        raise HoursOutOfReachError(mic, date(FIRST_YEAR, 1, 1), last)
    for row in schedule.loc[str(start) : str(end)].itertuples():
        day = cast("pd.Timestamp", row.Index).date()
        opens, close, lunch, resumes = (
            _moment(value) for value in (row.open, row.close, row.break_start, row.break_end)
        )
        assert opens is not None
        assert close is not None
        if extended:
            opens, close = _extended(day, close)
        if lunch is None or resumes is None:
            yield Session(opens, close, day, CASH_SOURCE)
        else:
            yield Session(opens, lunch, day, CASH_SOURCE)
            yield Session(resumes, close, day, CASH_SOURCE)


def _extended(day: date, close: datetime) -> tuple[datetime, datetime]:
    """Return the whole day of New York's stocks, which ends earlier on a half day."""
    zone = _zone("America/New_York")
    half = close.astimezone(zone).hour < 16
    midnight = datetime.combine(day, time())
    last = HALF_DAY_POST_CLOSE if half else POST_CLOSE
    return _utc(midnight, PRE_OPEN, zone), _utc(midnight, last, zone)


def _moment(value: object) -> datetime | None:
    stamp = cast("pd.Timestamp", value)
    return stamp.to_pydatetime().astimezone(UTC) if stamp == stamp else None  # noqa: PLR0124 - NaT is not itself


@lru_cache(maxsize=64)
def _cash_schedule(mic: str, year: int) -> pd.DataFrame:
    """Return open, close and lunch of each session of an exchange, up to the end of `year`.

    Loading takes a tenth of a second, however many years there are.
    """
    from exchange_calendars import get_calendar

    start = f"{FIRST_YEAR}-01-01"
    with warnings.catch_warnings():  # it warns of its own use of pandas
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            calendar = get_calendar(mic, start=start, end=f"{year}-12-31")
        except ValueError:  # some know the holidays of a year or two ahead
            calendar = get_calendar(mic, start=start)
    return cast("pd.DataFrame", calendar.schedule)
