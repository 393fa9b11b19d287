"""Larger bars of smaller ones: where they begin, what they hold, and what is refused."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ibkit import naming
from ibkit.errors import UnknownSeriesError
from ibkit.store import resample

NEW_YORK = "America/New_York"


def session(start: str, end: str, day: date, zone: str = NEW_YORK):
    return SimpleNamespace(
        start=pd.Timestamp(start, tz=zone), end=pd.Timestamp(end, tz=zone), ref_date=day
    )


@pytest.fixture
def minutes(store, bars):
    """Return a function that stores the minutes of a local span."""

    def put(name, start, end, zone=NEW_YORK, drop=(), **options):
        index = pd.date_range(start, end, freq="min", tz=zone, inclusive="left").tz_convert("UTC")
        frame = bars(n=len(index))
        frame.index = index.as_unit("us").rename("ts")
        frame = frame.drop(frame.index[list(drop)])
        store.write_bars(name, "1 min", frame, **options)
        return frame

    return put


def local(frame, zone=NEW_YORK):
    return [f"{ts:%H:%M}" for ts in frame.index.tz_convert(zone)]


def test_hours_of_a_stock_begin_at_the_open_and_then_on_the_hour(store, minutes):
    minutes("AAPL", "2026-10-01 09:30", "2026-10-01 16:00")

    hours = store.bars("AAPL", "1 hour", resample=True)

    assert local(hours) == ["09:30", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]
    assert hours.attrs["resampled_from"] == "1 min"
    assert hours.attrs["bar_size"] == "1 hour"


def test_a_bar_holds_what_its_minutes_held(store, minutes):
    frame = minutes("AAPL", "2026-10-01 09:30", "2026-10-01 16:00")

    bar = store.bars("AAPL", "5 mins", resample="1 min").iloc[1]

    five = frame.iloc[5:10]
    assert bar["open"] == five["open"].iloc[0]
    assert bar["high"] == five["high"].max()
    assert bar["low"] == five["low"].min()
    assert bar["close"] == five["close"].iloc[-1]
    assert bar["volume"] == five["volume"].sum()
    assert bar["count"] == five["count"].sum()
    assert bar["wap"] == pytest.approx((five["wap"] * five["volume"]).sum() / five["volume"].sum())


def test_the_last_bar_of_a_session_may_be_short(store, minutes):
    minutes("AAPL", "2026-11-27 09:30", "2026-11-27 13:00")  # an early close

    bars = store.bars("AAPL", "2 hours", resample=True)

    assert local(bars) == ["09:30", "10:00", "12:00"]


def test_a_missing_first_minute_does_not_move_the_open(store, minutes):
    minutes("AAPL", "2026-10-01 09:30", "2026-10-01 16:00")
    minutes("AAPL", "2026-10-02 09:30", "2026-10-02 16:00", drop=[0, 1])

    hours = store.bars("AAPL", "1 hour", resample=True)
    days = store.bars("AAPL", "1 day", resample=True)

    assert local(hours).count("09:30") == 2
    assert local(days) == ["09:30", "09:30"]


def test_days_of_a_future_begin_the_evening_before(store, minutes):
    for evening, end in (("2026-10-04", "2026-10-05"), ("2026-10-05", "2026-10-06")):
        minutes(
            "FUT:ES@CME:USD:20261218",
            f"{evening} 17:00",
            f"{end} 16:00",
            "America/Chicago",
            use_rth=False,
        )

    days = store.bars("FUT:ES@CME:USD:20261218", "1 day", use_rth=False, resample=True)

    assert [f"{ts:%a %H:%M}" for ts in days.index.tz_convert("America/Chicago")] == [
        "Sun 17:00",
        "Mon 17:00",
    ]


def test_weeks_and_months(store, minutes):
    for day in ("2026-09-29", "2026-09-30", "2026-10-01", "2026-10-05"):
        minutes("AAPL", f"{day} 09:30", f"{day} 10:00")

    weeks = store.bars("AAPL", "1 week", resample=True)
    months = store.bars("AAPL", "1 month", resample=True)

    assert [f"{ts:%m-%d}" for ts in weeks.index] == ["09-29", "10-05"]
    assert [f"{ts:%m-%d}" for ts in months.index] == ["09-29", "10-01"]


def test_given_sessions_cut_where_they_say(store, minutes):
    day = date(2026, 10, 1)
    minutes("7203@TSEJ:JPY", "2026-10-01 09:00", "2026-10-01 11:30", "Asia/Tokyo")
    minutes("7203@TSEJ:JPY", "2026-10-01 12:30", "2026-10-01 15:30", "Asia/Tokyo")
    sessions = [
        session("2026-10-01 09:00", "2026-10-01 11:30", day, "Asia/Tokyo"),
        session("2026-10-01 12:30", "2026-10-01 15:30", day, "Asia/Tokyo"),
    ]

    hours = store.bars("7203@TSEJ:JPY", "1 hour", resample=True, sessions=sessions)

    assert local(hours, "Asia/Tokyo") == [
        "09:00",
        "10:00",
        "11:00",
        "12:30",
        "13:00",
        "14:00",
        "15:00",
    ]
    days = store.bars("7203@TSEJ:JPY", "1 day", resample=True, sessions=sessions)
    assert local(days, "Asia/Tokyo") == ["09:00"]


def test_the_clocks_of_spring_and_autumn_are_minded(store, minutes):
    for day in ("2026-03-06", "2026-03-09", "2026-10-30", "2026-11-02"):
        minutes("AAPL", f"{day} 09:30", f"{day} 16:00")

    hours = store.bars("AAPL", "1 hour", resample=True)

    assert local(hours) == ["09:30", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"] * 4


def test_a_span_gives_the_bars_that_begin_in_it_and_whole(store, minutes):
    minutes("AAPL", "2026-10-01 09:30", "2026-10-01 16:00")
    whole = store.bars("AAPL", "1 hour", resample=True)
    start, end = whole.index[1], whole.index[3]

    some = store.bars("AAPL", "1 hour", start, end, resample=True)

    pd.testing.assert_frame_equal(some, whole.iloc[1:3])


def test_what_nobody_knows_stays_unknown(store, minutes, bars):
    frame = bars(n=10).assign(volume=np.nan, wap=np.nan, count=pd.NA)
    store.write_bars("CASH:EURUSD", "1 min", frame, what_to_show="MIDPOINT")

    five = store.bars("CASH:EURUSD", "5 mins", what_to_show="MIDPOINT", resample=True)

    assert five[["volume", "wap"]].isna().all(axis=None)
    assert five["count"].isna().all()


def test_bid_and_ask_are_averages(store, bars):
    frame = bars(n=5)
    store.write_bars("AAPL", "1 min", frame, what_to_show="BID_ASK")

    bar = store.bars("AAPL", "5 mins", what_to_show="BID_ASK", resample=True).iloc[0]

    assert bar["open"] == pytest.approx(frame["open"].mean())
    assert bar["close"] == pytest.approx(frame["close"].mean())


def test_what_is_stored_is_not_made(store, minutes, bars):
    minutes("AAPL", "2026-10-01 09:30", "2026-10-01 16:00")
    own = bars("2026-10-01 13:30", n=3, freq="5min")
    store.write_bars("AAPL", "5 mins", own)

    found = store.bars("AAPL", "5 mins", resample=True)

    assert len(found) == 3
    assert "resampled_from" not in found.attrs
    assert len(store.bars("AAPL", "5 mins", resample="1 min")) == 78
    assert store.bars("AAPL", "1 hour", resample=True).attrs["resampled_from"] == "5 mins"


def test_columns_need_not_be_all(store, minutes):
    minutes("AAPL", "2026-10-01 09:30", "2026-10-01 16:00")

    some = store.bars("AAPL", "5 mins", resample=True, columns=["wap", "close"])

    whole = store.bars("AAPL", "5 mins", resample=True)
    pd.testing.assert_frame_equal(some, whole[["wap", "close"]])
    with pytest.raises(ValueError, match="have no source"):
        store.bars("AAPL", "5 mins", resample=True, columns=["source"])


def test_sizes_that_do_not_fit_are_refused(store, minutes):
    minutes("AAPL", "2026-10-01 09:30", "2026-10-01 16:00")

    with pytest.raises(ValueError, match="3 mins cannot be made of bars of 2 mins"):
        store.bars("AAPL", "3 mins", resample="2 mins")
    with pytest.raises(ValueError, match="cannot be made"):
        store.bars("AAPL", "1 month", resample="1 week")
    with pytest.raises(UnknownSeriesError):
        store.bars("AAPL", "30 secs", resample=True)


def test_many_symbols_are_resampled_too(store, minutes):
    for name in ("AAPL", "MSFT"):
        minutes(name, "2026-10-01 09:30", "2026-10-01 16:00")

    days = store.bars(["AAPL", "MSFT"], "1 day", resample=True)

    assert days["instrument"].tolist() == ["STK-AAPL-SMART-USD", "STK-MSFT-SMART-USD"]


def test_an_exchange_that_nobody_listed_has_the_clock_of_its_currency():
    assert resample.clock_of(naming.parse("RY@TSE:CAD")) == ("America/Toronto", 0)
    assert resample.clock_of(naming.parse("X@Y:ZAR")) == ("UTC", 0)
