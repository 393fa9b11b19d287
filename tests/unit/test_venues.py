"""Hours without IB, on days that are known: half days, holidays, clock changes, lunch."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from ib_async import Contract, Crypto, Forex, Future, Stock

from ibkit.contracts.specs import load_specs
from ibkit.contracts.venues import (
    VENUES,
    HoursOutOfReachError,
    UnknownVenueError,
    day_names,
    day_sessions,
    offline_sessions,
    venue_of,
)

APPLE = Stock("AAPL", "SMART", "USD", primaryExchange="NASDAQ")
LLOYDS = Stock("LLOY", "LSE", "GBP")
TENCENT = Stock("700", "SEHK", "HKD")


def hours(contract, day, zone, *, use_rth=True):
    """Return the stretches of a trade date by the clock of a place."""
    there = ZoneInfo(zone)
    return [
        f"{each.start.astimezone(there):%H%M}-{each.end.astimezone(there):%H%M}"
        for each in offline_sessions(contract, day, day, use_rth=use_rth)
    ]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2025, 11, 28), ["0930-1300"]),
        (date(2025, 12, 24), ["0930-1300"]),
        (date(2025, 1, 9), []),  # mourning for a president
        (date(2025, 12, 26), ["0930-1600"]),
        (date(2026, 7, 3), []),
        (date(2026, 11, 27), ["0930-1300"]),
        (date(2026, 12, 24), ["0930-1300"]),
        (date(2026, 3, 9), ["0930-1600"]),  # the Monday after the clock change
    ],
)
def test_new_york(day, expected):
    assert hours(APPLE, day, "America/New_York") == expected


def test_new_yorks_long_day_ends_early_on_a_half_day():
    assert hours(APPLE, date(2026, 11, 27), "America/New_York", use_rth=False) == ["0400-1700"]
    assert hours(APPLE, date(2026, 11, 25), "America/New_York", use_rth=False) == ["0400-2000"]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2025, 12, 24), ["0800-1230"]),
        (date(2025, 12, 31), ["0800-1230"]),
        (date(2025, 12, 26), []),
        (date(2026, 3, 30), ["0800-1630"]),
    ],
)
def test_london(day, expected):
    assert hours(LLOYDS, day, "Europe/London") == expected


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 11, 20), ["0930-1200", "1300-1600"]),
        (date(2025, 1, 28), ["0930-1200"]),
        (date(2025, 12, 24), ["0930-1200"]),
        (date(2025, 12, 31), ["0930-1200"]),
        (date(2026, 2, 16), ["0930-1200"]),
    ],
)
def test_hong_kong_has_lunch_and_half_days(day, expected):
    assert hours(TENCENT, day, "Asia/Hong_Kong") == expected


# what each product of CME does on days that no one calendar has right, by the clock of Chicago:
# the close, or "closed"
CARTER, KING, GOOD_FRIDAY = date(2025, 1, 9), date(2026, 1, 19), date(2025, 4, 18)
PAYROLLS, JUNETEENTH, JULY_3 = date(2026, 4, 3), date(2026, 6, 19), date(2026, 7, 3)
LABOR, THANKSGIVING, BLACK_FRIDAY = date(2026, 9, 7), date(2026, 11, 26), date(2026, 11, 27)
CHRISTMAS_EVE, CHRISTMAS, PLAIN = date(2025, 12, 24), date(2025, 12, 25), date(2026, 11, 24)
CLOSES = [
    ("ES", CARTER, "0830"), ("NQ", CARTER, "0830"), ("ZN", CARTER, "1215"),
    ("ZC", CARTER, "1215"), ("LE", CARTER, "1215"), ("GC", CARTER, "1600"),
    ("CL", CARTER, "1600"), ("6E", CARTER, "1600"), ("BTC", CARTER, "1600"),
    ("ES", KING, "1200"), ("ZN", KING, "1200"), ("CL", KING, "1330"), ("GC", KING, "1330"),
    ("6E", KING, "1600"), ("BTC", KING, "1600"), ("ZC", KING, "closed"), ("LE", KING, "closed"),
    ("ES", GOOD_FRIDAY, "closed"), ("ZN", GOOD_FRIDAY, "closed"), ("6E", GOOD_FRIDAY, "closed"),
    ("GC", GOOD_FRIDAY, "closed"), ("ZC", GOOD_FRIDAY, "closed"),
    ("ES", date(2024, 3, 29), "closed"),
    ("ES", PAYROLLS, "0815"), ("ZN", PAYROLLS, "1015"), ("6E", PAYROLLS, "1015"),
    ("CL", PAYROLLS, "closed"), ("ES", date(2023, 4, 7), "0815"),
    ("ZN", date(2021, 4, 2), "1015"),
    ("GC", JUNETEENTH, "1200"), ("ES", JUNETEENTH, "1200"), ("CL", date(2025, 6, 19), "1330"),
    ("GC", JULY_3, "1200"), ("ES", JULY_3, "1200"), ("ES", date(2024, 7, 3), "1215"),
    ("ZN", date(2024, 7, 3), "1600"),
    ("GC", LABOR, "1330"), ("ES", LABOR, "1200"),
    ("6E", date(2021, 9, 6), "1200"), ("CL", date(2021, 11, 25), "1200"),
    ("ES", THANKSGIVING, "1200"), ("CL", THANKSGIVING, "1330"), ("ZC", THANKSGIVING, "closed"),
    ("ES", BLACK_FRIDAY, "1215"), ("ZN", BLACK_FRIDAY, "1215"), ("6E", BLACK_FRIDAY, "1215"),
    ("GC", BLACK_FRIDAY, "1345"), ("GC", date(2025, 11, 28), "1245"),
    ("ZC", BLACK_FRIDAY, "1205"), ("LE", BLACK_FRIDAY, "1205"), ("ZC", CHRISTMAS_EVE, "1205"),
    ("ES", CHRISTMAS_EVE, "1215"), ("GC", date(2026, 12, 24), "1245"),
    ("ES", CHRISTMAS, "closed"), ("6E", CHRISTMAS, "closed"),
    ("ES", PLAIN, "1600"), ("ZC", PLAIN, "1320"), ("LE", PLAIN, "1305"),
]  # fmt: skip


@pytest.mark.parametrize(("root", "day", "close"), CLOSES)
def test_cme_product_by_product(root, day, close):
    found = hours(Future(root), day, "America/Chicago", use_rth=False)

    assert (found[-1][5:] if found else "closed") == close


def test_globex_opens_on_sunday_and_rests_for_an_hour_a_day():
    monday, tuesday = offline_sessions(
        Future("ES"), date(2026, 11, 23), date(2026, 11, 24), use_rth=False
    )

    assert monday.start == datetime(2026, 11, 22, 23, tzinfo=UTC)
    assert tuesday.start - monday.end == timedelta(hours=1)
    assert (monday.ref_date, monday.source) == (date(2026, 11, 23), "rules")


def test_corn_pauses_in_the_morning_and_does_not_trade_in_the_night_after_a_holiday():
    chicago = "America/Chicago"

    assert hours(Future("ZC"), PLAIN, chicago, use_rth=False) == ["1900-0745", "0830-1320"]
    assert hours(Future("ZC"), BLACK_FRIDAY, chicago, use_rth=False) == ["0830-1205"]


@pytest.mark.parametrize(("day", "opens"), [(date(2026, 1, 15), "0110"), (PLAIN, "0110")])
def test_eurex_opens_by_a_clock_that_does_not_change(day, opens):
    summer = date(2026, 7, 15)

    assert hours(Future("FESX"), day, "Europe/Berlin", use_rth=False) == [f"{opens}-2200"]
    assert hours(Future("FESX"), summer, "Europe/Berlin", use_rth=False) == ["0210-2200"]
    assert hours(Future("FESX"), date(2025, 12, 24), "Europe/Berlin") == []


def test_vix_trades_nearly_around_the_clock():
    assert hours(Future("VX"), PLAIN, "America/Chicago", use_rth=False) == ["1700-1600"]


def test_the_week_of_currencies_starts_on_sunday_evening_and_rests_at_five():
    week = offline_sessions(Forex("EURUSD"), date(2026, 11, 21), date(2026, 11, 28))

    assert [each.ref_date.day for each in week] == [23, 24, 25, 26, 27]
    assert week[0].start == datetime(2026, 11, 22, 22, 15, tzinfo=UTC)
    assert week[-1].end == datetime(2026, 11, 27, 22, tzinfo=UTC)
    assert hours(Forex("EURUSD"), CHRISTMAS, "UTC") == []


def test_coins_trade_every_day_and_every_hour():
    days = offline_sessions(Crypto("BTC", "PAXOS", "USD"), CHRISTMAS, date(2025, 12, 28))

    assert sum((each.end - each.start for each in days), timedelta()) == timedelta(days=4)


def test_every_future_of_the_table_has_a_venue_that_trades_on_a_plain_day():
    for root, spec in load_specs().items():
        future = Future(spec.ib_symbol, exchange=spec.exchange)
        future.tradingClass = spec.trading_class
        assert venue_of(future) == spec.hours
        full = offline_sessions(future, PLAIN, PLAIN, use_rth=False)
        regular = offline_sessions(future, PLAIN, PLAIN)
        assert full, root
        assert full[0].start <= regular[0].start < regular[-1].end <= full[-1].end


@pytest.mark.parametrize("name", VENUES)
def test_no_session_is_empty_and_none_overlaps_the_next(name):
    days = (date(2026, 1, 1) + timedelta(days=n) for n in range(365))
    year = [each for day in days for each in day_sessions(name, day, use_rth=False)]

    assert len(year) > 200
    assert all(each.start < each.end for each in year)
    assert all(before.end <= after.start for before, after in pairwise(year))


def test_an_exchange_that_nobody_knows_is_an_error_not_a_closed_market():
    with pytest.raises(UnknownVenueError, match="ATLANTIS"):
        offline_sessions(Stock("X", "ATLANTIS", "ATL"), PLAIN, PLAIN)
    with pytest.raises(UnknownVenueError):
        venue_of(Contract("FUT", symbol="NOSUCH"))


def test_a_calendar_that_ends_says_where():
    with pytest.raises(HoursOutOfReachError, match="2026-12-31") as caught:
        offline_sessions(Stock("X", "NSE", "INR"), date(2027, 6, 1), date(2027, 6, 2))
    assert caught.value.last.year < 2027
    with pytest.raises(HoursOutOfReachError):
        offline_sessions(Future("ES"), date(1950, 1, 1), date(1950, 1, 2))


def test_days_have_the_names_that_the_rules_use():
    assert day_names(date(2027, 7, 5)) == ("independence",)
    assert day_names(date(2028, 7, 3)) == ("independence_eve",)
    assert day_names(date(2022, 9, 5)) == ("labor_2022", "labor")
