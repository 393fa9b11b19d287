from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from ibkit.contracts.hours import Session
from ibkit.contracts.timetable import BeyondTimetableError, NaiveTimeError, Timetable


def at(day, hour, minute=0):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


DAYS = [
    Session(at(25, 14, 30), at(25, 21), date(2026, 11, 25)),
    Session(at(27, 14, 30), at(27, 18), date(2026, 11, 27)),
]
TABLE = Timetable(DAYS, at(23, 0), at(29, 0), name="AAPL")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (at(25, 14, 29), False),
        (at(25, 14, 30), True),
        (at(25, 20, 59), True),
        (at(25, 21), False),
        (at(26, 15), False),
        (at(27, 17, 59), True),
        (at(27, 18), False),
        (at(23, 0), False),
    ],
)
def test_a_session_has_its_start_and_not_its_end(moment, expected):
    assert TABLE.is_open(moment) is expected
    assert TABLE.mask(pd.DatetimeIndex([moment])).tolist() == [expected]


def test_the_next_opening_is_after_the_moment():
    assert TABLE.next_open(at(25, 14)) == at(25, 14, 30)
    assert TABLE.next_open(at(25, 14, 30)) == at(27, 14, 30)
    assert TABLE.next_open(at(27, 15)) is None
    assert TABLE.next_close(at(25, 15)) == at(25, 21)
    assert TABLE.next_close(at(25, 21)) == at(27, 18)


def test_minutes_count_only_what_is_open():
    assert TABLE.minutes_open(at(25, 0), at(28, 0)) == 390 + 210
    assert TABLE.minutes_open(at(25, 20), at(27, 15)) == 60 + 30
    assert TABLE.minutes_open(at(26, 0), at(27, 0)) == 0
    assert TABLE.minutes_open(at(28, 0), at(29, 0)) == 0


def test_sessions_that_touch_are_one_stretch():
    halves = [
        Session(at(25, 0), at(26, 0), date(2026, 11, 25)),
        Session(at(26, 0), at(27, 0), date(2026, 11, 26)),
    ]
    table = Timetable(halves, at(24, 0), at(28, 0))

    assert table.next_close(at(25, 3)) == at(27, 0)
    assert table.minutes_open(at(24, 0), at(28, 0)) == 2880


@pytest.mark.parametrize("moment", [at(22, 23, 59), at(29, 0)])
def test_a_moment_that_it_does_not_know_is_refused(moment):
    with pytest.raises(BeyondTimetableError, match="AAPL"):
        TABLE.is_open(moment)
    with pytest.raises(BeyondTimetableError):
        TABLE.mask(pd.DatetimeIndex([moment]))


def test_a_time_without_a_zone_is_refused():
    naive = datetime(2026, 11, 25, 15)  # noqa: DTZ001 - what is tested
    for ask in (TABLE.is_open, TABLE.next_open, lambda each: TABLE.minutes_open(each, each)):
        with pytest.raises(NaiveTimeError):
            ask(naive)
    with pytest.raises(NaiveTimeError):
        TABLE.mask(pd.DatetimeIndex([naive]))


def test_a_whole_index_is_answered_as_each_of_its_instants():
    index = pd.date_range(at(23, 0), at(28, 23), freq="7min", tz=UTC)

    assert TABLE.mask(index).tolist() == [TABLE.is_open(each) for each in index]
    assert TABLE.mask(index[:0]).tolist() == []
    assert Timetable([], at(23, 0), at(29, 0)).mask(index).sum() == 0


def test_zones_do_not_matter():
    berlin = at(25, 15).astimezone(ZoneInfo("Europe/Berlin"))

    assert TABLE.is_open(berlin)
    assert TABLE.next_open(berlin) == at(27, 14, 30)
