from datetime import UTC, date, datetime

import pytest
from ib_async import ContractDetails, HistoricalSchedule, HistoricalSession

from ibkit.contracts.hours import (
    Session,
    UnknownTimeZoneError,
    UnreadableHoursError,
    by_date,
    from_hours,
    from_schedule,
    sessions_of,
    zone,
)


def utc(day, hour, minute=0):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def test_a_futures_session_belongs_to_the_day_it_ends_on():
    [session] = from_hours("20261122:1700-20261123:1600", "US/Central")

    assert session == Session(utc(22, 23), utc(23, 22), date(2026, 11, 23))


def test_closed_days_are_left_out_and_half_days_are_short():
    text = "20261126:CLOSED;20261127:0930-20261127:1300"

    [session] = from_hours(text, "US/Eastern")

    assert (session.start, session.end) == (utc(27, 14, 30), utc(27, 18))


def test_a_session_until_midnight_belongs_to_the_day_that_ends():
    [session] = from_hours("20261121:0000-20261122:0000", "US/Eastern")

    assert session.ref_date == date(2026, 11, 21)


def test_the_older_form_without_a_second_date_is_read():
    [session] = from_hours("20261123:0930-1600", "US/Eastern")

    assert session.end == utc(23, 21)


def test_the_form_of_before_2018_names_the_trade_date_only():
    """Its first stretch starts on the evening before; those after it are read too."""
    found = from_hours("20261123:1700-1515,1530-1600;20261124:CLOSED", "US/Central")

    assert [(each.start, each.end) for each in found] == [
        (utc(22, 23), utc(23, 21, 15)),
        (utc(23, 21, 30), utc(23, 22)),
    ]
    assert {each.ref_date for each in found} == {date(2026, 11, 23)}


@pytest.mark.parametrize(
    "text",
    [
        "20261123:0930-16:00",
        "20261123:930-1600",
        "20261123:0930-20261122:1600",
        "20261123:0960-1600",
        "20261323:0930-1600",
        "20261123:CLOSED;20261124:",
        "no hours",
    ],
)
def test_hours_that_cannot_be_read_are_no_closed_day(text):
    with pytest.raises(UnreadableHoursError):
        from_hours(text, "US/Eastern")


def test_the_night_from_friday_to_saturday_is_the_next_trade_dates():
    """Osaka and Hong Kong trade Monday's session from Friday evening on."""
    week = "20261127:1715-20261128:0300;20261129:CLOSED;20261130:0915-20261130:1200"

    night, monday = from_hours(week, "Hongkong")

    assert night.ref_date == monday.ref_date == date(2026, 11, 30)
    [alone] = from_hours("20261127:1715-20261128:0300", "Hongkong")
    assert alone.ref_date == date(2026, 11, 30)
    [coins] = from_hours("20261128:0000-20261129:0000", "UTC")
    assert coins.ref_date == date(2026, 11, 28)


def test_a_lunch_break_makes_two_sessions_of_one_trade_date():
    both = from_hours("20261123:0930-20261123:1200,20261123:1300-20261123:1600", "Hongkong")

    assert len(both) == 2
    [day] = by_date(both).values()
    assert (day.start, day.end) == (both[0].start, both[1].end)


def test_a_schedule_is_read_in_its_own_zone_across_the_clock_change():
    days = [("20261030", "20261030"), ("20261102", "20261102")]
    schedule = HistoricalSchedule(
        timeZone="US/Eastern",
        sessions=[HistoricalSession(f"{d}-09:30:00", f"{d}-16:00:00", ref) for d, ref in days],
    )

    hours = [session.start.hour for session in from_schedule(schedule)]

    assert hours == [13, 14]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("US/Eastern", "US/Eastern"),
        ("GB-Eire", "GB-Eire"),
        ("CST (Central Standard Time)", "America/Chicago"),
        ("MET", "Europe/Berlin"),
        ("Japan", "Japan"),
        ("Hongkong", "Hongkong"),
        ("EST5EDT", "EST5EDT"),
        ("GMT (Greenwich Mean Time)", "Europe/London"),
        ("GMT", "GMT"),
        ("JST (Japan Standard Time)", "Asia/Tokyo"),
        ("America/New_York", "America/New_York"),
    ],
)
def test_zone_names_that_ib_sends_are_known(name, key):
    assert zone(name).key == key


@pytest.mark.parametrize("name", ["", "Nowhere/Atlantis", "../etc/passwd"])
def test_an_unknown_zone_is_named(name):
    with pytest.raises(UnknownTimeZoneError, match="time zone"):
        zone(name)


def test_details_without_hours_give_no_sessions():
    assert sessions_of(ContractDetails(), use_rth=True) == []
    details = ContractDetails(
        liquidHours="20261123:0930-20261123:1600",
        tradingHours="20261123:0400-20261123:2000",
        timeZoneId="US/Eastern",
    )
    assert sessions_of(details, use_rth=False)[0].start == utc(23, 9)
