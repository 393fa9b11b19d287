from datetime import UTC, date, datetime

import pytest

from ibkit.sim import times
from ibkit.sim.calendars import Session

CLOSE = datetime(2026, 10, 30, 20, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "20261030-20:00:00",
        "20261030 20:00:00 UTC",
        "20261030 16:00:00 US/Eastern",
        "20261030 16:00:00 EST5EDT",
        "20261030  15:00:00  US/Central",
    ],
)
def test_every_spelling_of_an_instant_is_read(text):
    assert times.parse_time(text, "Japan") == (CLOSE, False)


def test_a_time_without_a_zone_is_the_instruments_own():
    assert times.parse_time("20261030 16:00:00", "US/Eastern") == (CLOSE, True)


def test_a_date_alone_is_its_end():
    end, _ = times.parse_time("20261030", "US/Eastern")

    assert times.local_text(end, "US/Eastern") == "20261030 23:59:59 US/Eastern"


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "20261399", "20261030 25:00:00", "20261030 16:00:00 Mars/Base"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(times.TimeTextError):
        times.parse_time(text, "UTC")


@pytest.mark.parametrize("text", ["1D", "0 D", "-1 D", "1 H", "D 1", "1.5 D"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(times.TimeTextError):
        times.parse_duration(text)


@pytest.mark.parametrize(
    ("count", "unit", "start"),
    [
        (1800, "S", "20261030 15:30:00 US/Eastern"),
        (2, "W", "20261016 16:00:00 US/Eastern"),
        (8, "M", "20260228 16:00:00 US/Eastern"),
        (12, "M", "20251030 16:00:00 US/Eastern"),
        (1, "Y", "20251030 16:00:00 US/Eastern"),
    ],
)
def test_going_back_keeps_the_local_time(count, unit, start):
    assert times.local_text(times.go_back(CLOSE, count, unit, "US/Eastern"), "US/Eastern") == start


def test_hours_name_sessions_and_closed_days_and_not_the_eve_of_a_session():
    def at(day, hour):
        return int(datetime(2026, 10, day, hour, tzinfo=UTC).timestamp())

    sunday, monday = date(2026, 10, 25), date(2026, 10, 26)
    sessions = [
        Session(at(25, 22), at(26, 14), monday),
        Session(at(26, 15), at(26, 20), monday),
    ]
    days = [date(2026, 10, 24), sunday, monday]

    text = times.hours_text(sessions, days, "UTC")

    assert text == ("20261024:CLOSED;20261025:2200-20261026:1400,20261026:1500-20261026:2000")
