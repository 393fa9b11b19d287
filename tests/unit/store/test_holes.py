"""Holes as a table: what nobody answered for, of one instrument or several."""

import pandas as pd
import pytest

from ibkit.contracts.hours import Session
from ibkit.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def days(utc):
    return [utc(2026, 10, 1 + n) for n in range(8)]


def test_a_hole_is_a_row(store, bars, days):
    store.write_bars("AAPL", "1 min", bars(), span=(days[0], days[1]))
    store.write_bars("AAPL", "1 min", bars(), span=(days[2], days[3]))
    store.confirm_empty("bars_1min", "AAPL", (days[3], days[4]), reason="holiday")

    holes = store.holes(["AAPL", "MSFT"], "1 min", days[0], days[5])

    assert holes.dtypes.astype(str).to_dict() == {
        "instrument": "object",
        "bar_size": "object",
        "what_to_show": "object",
        "use_rth": "bool",
        "start": "datetime64[us, UTC]",
        "end": "datetime64[us, UTC]",
    }
    assert holes[["instrument", "start", "end"]].to_numpy().tolist() == [
        ["AAPL", pd.Timestamp(days[1]), pd.Timestamp(days[2])],
        ["AAPL", pd.Timestamp(days[4]), pd.Timestamp(days[5])],
        ["MSFT", pd.Timestamp(days[0]), pd.Timestamp(days[5])],
    ]


def test_without_a_span_it_is_what_lies_between_the_answers(store, bars, days):
    store.write_bars("AAPL", "1 min", bars(), span=(days[0], days[1]))
    store.write_bars("AAPL", "1 min", bars(), span=(days[2], days[3]))
    store.write_bars("MSFT", "1 min", bars())

    assert store.holes()[["instrument", "start", "end"]].to_numpy().tolist() == [
        ["AAPL", pd.Timestamp(days[1]), pd.Timestamp(days[2])]
    ]
    assert store.holes("AAPL", "1 min", use_rth=False).empty


def test_time_without_a_session_is_no_hole(store, bars, days, utc):
    asked = []

    def calendar(slug, start, end, *, use_rth):
        asked.append((slug, use_rth))
        open_, close = utc(2026, 10, 2, 13, 30), utc(2026, 10, 2, 20)
        return [Session(open_, close, open_.date())] if start < close and end > open_ else []

    store.calendar = calendar
    store.write_bars("AAPL", "1 min", bars(), span=(days[0], days[1]))
    store.write_bars("AAPL", "1 min", bars(), span=(days[4], days[5]))

    holes = store.holes("AAPL", "1 min", days[0], days[7])

    assert holes[["start", "end"]].to_numpy().tolist() == [
        [pd.Timestamp(utc(2026, 10, 2, 13, 30)), pd.Timestamp(utc(2026, 10, 2, 20))]
    ]
    assert asked == [("STK-AAPL-SMART-USD", True)]


def test_quality_and_resampling_ask_for_the_sessions_too(store, utc):
    day = utc(2026, 10, 2)
    index = pd.date_range("2026-10-02 14:20", "2026-10-02 15:59", freq="min", tz="UTC")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 1.0), index=index)
    store.write_bars("AAPL", "1 min", frame.drop(index[10:40]))
    alone = store.bars("AAPL", "1 hour", resample="1 min")
    asked = []

    def calendar(slug, start, end, *, use_rth):
        asked.append(use_rth)
        begin, close = day.replace(hour=14, minute=5), day.replace(hour=16)
        lunch = day.replace(hour=14, minute=30), day.replace(hour=15)
        return [
            Session(begin, lunch[0], day.date()),
            Session(lunch[1], close, day.date()),
        ]

    store.calendar = calendar
    (row,) = store.quality("bars_1min").to_dict("records")
    hours = store.bars("AAPL", "1 hour", resample="1 min")

    assert row["gaps"] == 0  # a break is no gap
    assert asked == [True, True]
    assert alone.index[0].minute == 20  # as far as the bars can tell
    assert hours.index[0].minute == 5
