from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from ibkit.contracts.hours import Session
from ibkit.history.ladders import Step
from ibkit.history.plan import Request, cut, plan, step_of
from ibkit.history.spans import bounds, check_order, read_when
from ibkit.schema import bar_size

MONDAY = date(2026, 11, 2)
MIN, DAY = bar_size("1 min"), bar_size("1 day")


def at(day, hour, minute=0):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def week(weeks=1):
    """Return US sessions, Monday to Friday."""
    days = [MONDAY + timedelta(days=7 * w + d) for w in range(weeks) for d in range(5)]
    return [
        Session(
            datetime(d.year, d.month, d.day, 14, 30, tzinfo=UTC),
            datetime(d.year, d.month, d.day, 21, tzinfo=UTC),
            d,
        )
        for d in days
    ]


def test_one_minute_bars_cost_a_request_a_session_newest_first():
    requests = plan([(at(2, 14, 30), at(6, 21))], MIN, week())

    assert [request.until.day for request in requests] == [6, 5, 4, 3, 2]
    assert {request.duration for request in requests} == {"1 D"}


def test_requests_tile_the_hole():
    requests = plan([(at(2, 14, 30), at(6, 21))], MIN, week())[::-1]

    assert (requests[0].start, requests[-1].end) == (at(2, 14, 30), at(6, 21))
    assert all(a.end == b.start for a, b in pairwise(requests))


def test_a_hole_that_the_market_sleeps_through_costs_nothing():
    assert plan([(at(6, 21), at(9, 14, 30))], MIN, week(2)) == []


def test_a_part_of_a_session_is_asked_for_up_to_its_end():
    [request] = plan([(at(3, 16), at(3, 17, 5))], MIN, week())

    assert (request.start, request.until, request.duration) == (at(3, 16), at(3, 17, 5), "1 D")


def test_five_minute_bars_take_a_week_at_once_and_reach_across_the_weekend():
    requests = plan([(at(4, 14, 30), at(10, 21))], bar_size("5 mins"), week(2))

    assert [request.duration for request in requests] == ["7 D"]


def test_small_bars_split_a_session_into_pieces():
    requests = plan([(at(2, 14, 30), at(2, 21))], bar_size("1 secs"), week())

    assert len(requests) == 13
    assert {request.duration for request in requests} == {"1800 S"}
    assert requests[-1].start == at(2, 14, 30)


def test_long_daily_spans_are_asked_for_in_years():
    sessions = [
        Session(s.start + timedelta(days=7 * n), s.end + timedelta(days=7 * n),
                s.ref_date + timedelta(days=7 * n))
        for n in range(160)
        for s in week()
    ]  # fmt: skip

    [request] = plan([(sessions[0].start, sessions[-1].end)], DAY, sessions)

    assert request.duration == "4 Y"


def test_the_running_minute_is_cut_off():
    now = at(3, 15, 0).replace(second=42)

    assert cut(at(3, 21), now, MIN, week()) == at(3, 15)
    assert cut(at(3, 14, 40), now, MIN, week()) == at(3, 14, 40)


def test_a_running_session_is_no_daily_bar_yet():
    assert cut(at(4, 21), at(4, 15), DAY, week()) == at(3, 21)
    assert cut(at(4, 21), at(4, 22), DAY, week()) == at(4, 21)
    assert cut(at(4, 21), at(2, 15), DAY, week()) == at(2, 14, 30)


def test_a_running_week_is_no_weekly_bar_yet():
    assert cut(at(12, 21), at(12, 22), bar_size("1 week"), week(2)) == at(6, 21)


def test_a_date_is_a_session_and_an_instant_has_a_zone():
    assert read_when("2026-11-03", "start") == date(2026, 11, 3)
    assert read_when("2026-11-03T09:30-05:00", "start") == at(3, 14, 30)
    assert read_when("", "end") is None
    with pytest.raises(ValueError, match="no time zone"):
        read_when(datetime(2026, 11, 3, 9, 30), "start")  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="no time zone"):
        read_when("2026-11-03 09:30", "start")
    with pytest.raises(ValueError, match="is no date"):
        read_when("yesterday", "end")


@pytest.mark.parametrize(
    "when", ["  ", 20261103, 1.5, True, [], pd.NaT, np.datetime64("2026-11-03"), "0001-01-01"]
)
def test_what_is_no_date_is_refused(when):
    with pytest.raises(ValueError, match="start="):
        read_when(when, "start")


@pytest.mark.parametrize(
    ("size", "until"), [("1 hour", (4, 30)), ("20 mins", (5, 10)), ("30 mins", (5, 0))]
)
def test_bars_lie_on_the_clock_of_an_exchange_that_is_half_an_hour_off(size, until):
    mumbai = [Session(at(3, 3, 45), at(3, 10), date(2026, 11, 3))]

    assert cut(at(3, 10), at(3, 5, 12), bar_size(size), mumbai, "Asia/Kolkata") == at(3, *until)


def test_the_last_bar_of_a_session_is_complete_when_the_session_is():
    session = [Session(at(3, 14, 30), at(3, 21, 15), date(2026, 11, 3))]
    hour = bar_size("1 hour")

    assert cut(at(3, 21, 15), at(3, 21, 20), hour, session) == at(3, 21, 15)
    assert cut(at(3, 21, 15), at(3, 21, 10), hour, session) == at(3, 21)


@pytest.mark.parametrize(
    ("size", "start", "until", "step"),
    [
        (MIN, at(3, 14, 30), at(3, 21), Step(1)),
        (MIN, at(3, 17), at(3, 21), Step(seconds=14_400)),
        (bar_size("5 secs"), at(3, 14, 30), at(3, 21), Step(seconds=23_400)),
        (bar_size("5 mins"), at(3, 17), at(3, 21), Step(1)),
    ],
)
def test_a_whole_session_is_a_step_of_a_day_where_steps_are_days(size, start, until, step):
    assert step_of(Request(start, until, until, ""), size, week()) == step


def test_bounds_of_dates_are_their_sessions():
    assert bounds(week(), date(2026, 11, 3), date(2026, 11, 4)) == (at(3, 14, 30), at(4, 21))
    assert bounds(week(), at(3, 15), None) == (at(3, 15), at(6, 21))
    assert bounds(week(), date(2026, 11, 7), None) is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (date(2026, 11, 4), date(2026, 11, 3)),
        (at(3, 15), at(3, 15)),
        (date(2026, 11, 6), at(3, 15)),
    ],
)
def test_a_start_after_the_end_is_refused(start, end):
    with pytest.raises(ValueError, match="comes after"):
        check_order(start, end)
