"""Corporate events in the form of Wall Street Horizon: earnings, dividends, made up.

Pure and random access: the events of an instrument depend on the seed alone. Four earnings dates a
year; dividends and splits are those of the prices (`ibkit.sim.actions`). Not here: the rules of
asking (`ibkit.sim.handlers.events`).
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from ibkit.sim.actions import actions
from ibkit.sim.noise import fraction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ibkit.sim.instrument import Instrument

Event = dict[str, Any]

QUARTER_ENDS: Final = ((3, 31), (6, 30), (9, 30), (12, 31))
FIRM: Final = timedelta(days=35)  # before it, a date is only expected
INFERRED: Final = timedelta(days=120)
TIMES: Final = ("BEFORE MARKET", "AFTER MARKET", "AFTER MARKET", "UNSPECIFIED")
SATURDAY: Final = 5
TYPES: Final = {
    "wshe_ed": ("Earnings Date", "earnings_date time_of_day wshe_earnings_date_status quarter"),
    "wshe_eps": ("Earnings Per Share", "amount_oc estimated_eps currency quarter fiscal_year"),
    "wshe_fq": ("Future Quarters", "earnings_date confidence_indicator quarter fiscal_year"),
    "wshe_cc": ("Conference Call", "event_start_date time_of_day"),
    "wshe_div": ("Dividend", "dividend_oc dividend_currency ex_div_date record_date pay_date"),
    "wshe_splits": ("Stock Split", "ratio split_type ex_date"),
    "wshe_sh": ("Shareholder Meeting", "meeting_date meeting_type"),
    "wshe_bod": ("Board of Directors Meeting", "meeting_date"),
    "wshe_bybk": ("Buyback", "amount announce_date"),
    "wshe_idx": ("Index Change", "change_type index_name announce_date effective_date"),
    "wshe_ipo": ("Initial Public Offering", "pricing_date"),
    "wshe_ic": ("Investor Conference", "event_start_date"),
    "wshe_merg_acq": ("Mergers and Acquisitions", "action_type wshe_action_status close_date"),
    "wshe_option": ("Option Expiration", "expiration_date"),
    "wshe_qe": ("Quarter End", "quarter_end_date quarter"),
    "wshe_sec": ("SEC Filing Due Date", "filing_due_date"),
    "wshe_secondary": ("Secondary Offering", "pricing_date"),
    "wshe_spinoffs": ("Spinoff", "ex_date"),
}


def metadata() -> dict[str, Any]:
    """Return which kinds of events there are, and their columns."""
    kinds = [
        {
            "tag": tag,
            "name": name,
            "columns": [
                {"tag": column, "name": column.replace("_", " ").title(), "type": "string"}
                for column in columns.split()
            ],
        }
        for tag, (name, columns) in TYPES.items()
    ]
    filters = [{"tag": "country", "name": "Country"}, {"tag": "watchlist", "name": "Watchlist"}]
    return {"meta_data": {"event_types": kinds, "filters": filters}}


def events(
    seed: int, instrument: Instrument, first: date, last: date, *, today: date, price: float = 100.0
) -> list[Event]:
    """Return the events of a stock dated from `first` to `last`, as known on `today`."""
    if not is_company(instrument):
        return []
    makers = (_earnings, _actions, _meetings)
    found = [
        event
        for year in range(first.year - 1, last.year + 2)
        for make in makers
        for event in make(seed, instrument, year, today, price)
    ]
    span = f"{first:%Y%m%d}", f"{last:%Y%m%d}"
    found = [event for event in found if span[0] <= event["index_date"] <= span[1]]
    return sorted(found, key=lambda event: (event["index_date"], event["event_key"]))


def is_company(instrument: Instrument) -> bool:
    """Whether an instrument is the stock of a company, so that it has events."""
    return instrument.sec_type == "STK" and instrument.stock_type != "ETF"


def earnings_days(seed: int, con_id: int, year: int) -> list[tuple[date, str, int]]:
    """Return day, time of day and quarter of the reports published in a year."""
    return [
        (
            _weekday(end + timedelta(days=18 + int(20 * fraction(seed, "ed", con_id, end)))),
            TIMES[int(len(TIMES) * fraction(seed, "when", con_id))],
            quarter,
        )
        for end, quarter in _quarters(year)
    ]


def _quarters(year: int) -> Iterator[tuple[date, int]]:
    """Yield end and number of the quarters that are reported on in a year."""
    yield date(year - 1, 12, 31), 4
    for quarter, (month, day) in enumerate(QUARTER_ENDS[:3], 1):
        yield date(year, month, day), quarter


def _weekday(day: date) -> date:
    """Return the day, or the Monday after it."""
    return day + timedelta(days=7 - day.weekday()) if day.weekday() >= SATURDAY else day


def _event(
    instrument: Instrument, kind: str, day: date, number: object, data: dict[str, Any]
) -> Event:
    return {
        "event_key": f"{kind}-{instrument.con_id}-{number}",
        "event_type": kind,
        "index_date": f"{day:%Y%m%d}",
        "index_date_type": TYPES[kind][0],
        "conids": [str(instrument.con_id)],
        "status": "NEW",
        "source": "WSHE",
        "data": {
            **data,
            "company": {
                "contract": str(instrument.con_id),
                "contract_description": instrument.long_name,
                "isin": dict(instrument.sec_ids).get("ISIN", ""),
            },
        },
    }


def _earnings(
    seed: int, instrument: Instrument, year: int, today: date, price: float
) -> Iterator[Event]:
    """Yield the reports of a year: date, call, and once published what was earned."""
    con_id = instrument.con_id
    for day, when, quarter in earnings_days(seed, con_id, year):
        fiscal = year - 1 if quarter == 4 else year
        ends = date(fiscal, *QUARTER_ENDS[quarter - 1])
        number = f"{fiscal}Q{quarter}"
        yield _event(
            instrument,
            "wshe_ed",
            day,
            number,
            {
                "earnings_date": f"{day:%Y%m%d}",
                "time_of_day": when,
                "wshe_earnings_date_status": _status(day, today),
                "quarter": str(quarter),
                "fiscal_year": str(fiscal),
                "quarter_end_date": f"{ends:%Y%m%d}",
                "filing_due_date": f"{ends + timedelta(days=40):%Y%m%d}",
                "stock_exchange": instrument.primary_exchange,
                "announce_datetime": f"{day - FIRM:%Y%m%d} 08:30:00 EST",
            },
        )
        yield _event(instrument, "wshe_cc", day, number, {"event_start_date": f"{day:%Y%m%d}"})
        if day < today:
            yield _per_share(seed, instrument, day, quarter, fiscal, price)


def _per_share(
    seed: int, instrument: Instrument, day: date, quarter: int, fiscal: int, price: float
) -> Event:
    """Return what a quarter earned, against what was expected."""
    con_id, number = instrument.con_id, f"{fiscal}Q{quarter}"
    expected = max(0.01, price * (0.005 + 0.01 * fraction(seed, "eps", con_id)))
    actual = expected * (0.9 + 0.25 * fraction(seed, "surprise", con_id, number))
    data = {
        "amount_oc": round(actual, 2),
        "estimated_eps": round(expected, 2),
        "change_amount": round(actual - expected, 2),
        "change_percent": round(100 * (actual / expected - 1), 2),
        "currency": instrument.currency,
        "quarter": str(quarter),
        "fiscal_year": str(fiscal),
    }
    return _event(instrument, "wshe_eps", day, number, data)


def _status(day: date, today: date) -> str:
    """Return how firm a date is: the company says it a few weeks ahead."""
    if day - today <= FIRM:
        return "CONFIRMED"
    return "UNCONFIRMED" if day - today <= INFERRED else "INFERRED"


def _actions(
    seed: int, instrument: Instrument, year: int, today: date, _price: float
) -> Iterator[Event]:
    """Yield the dividends and splits of a year; later dividends are not announced yet."""
    quarterly = instrument.currency == "USD"
    for number, action in enumerate(
        actions(seed, instrument, date(year, 1, 1), date(year, 12, 31)), 1
    ):
        day = action.day
        if action.kind == "split":
            data: dict[str, Any] = {
                "ratio": f"{action.ratio:g}:1",
                "split_type": "FORWARD",
                "ex_date": f"{day:%Y%m%d}",
            }
            yield _event(instrument, "wshe_splits", day, f"{day:%Y%m%d}", data)
            continue
        if day - today > INFERRED:
            continue
        data = {
            "dividend_oc": action.amount,
            "dividend_amount": action.amount,
            "dividend_currency": instrument.currency,
            "ex_div_date": f"{day:%Y%m%d}",
            "record_date": f"{_weekday(day + timedelta(days=1)):%Y%m%d}",
            "pay_date": f"{_weekday(day + timedelta(days=21)):%Y%m%d}",
            "frequency": "4" if quarterly else "2",
            "time_period": f"Q{(day.month + 2) // 3}" if quarterly else f"H{number}",
            "wshe_approval_status": "APPROVED" if day - today <= FIRM else "PROPOSED",
        }
        yield _event(instrument, "wshe_div", day, f"{day:%Y%m%d}", data)


def _meetings(
    seed: int, instrument: Instrument, year: int, _today: date, _price: float
) -> Iterator[Event]:
    """Yield the shareholders' meeting."""
    later = timedelta(days=int(40 * fraction(seed, "agm", instrument.con_id)))
    day = _weekday(date(year, 4, 20) + later)
    data = {"meeting_date": f"{day:%Y%m%d}", "meeting_type": "ANNUAL"}
    yield _event(instrument, "wshe_sh", day, year, data)


def wanted_types(flags: Iterable[tuple[str, object]]) -> frozenset[str]:
    """Return the kinds of events that a filter switches on: ``{"wshe_ed": "true"}``."""
    return frozenset(tag for tag, on in flags if tag in TYPES and str(on).lower() == "true")
