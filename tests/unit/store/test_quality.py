"""What each measure finds, and what it does not take for a fault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ibkit.plots.coverage import coverage as plot_coverage
from ibkit.store.quality import Breach, longest_run


@pytest.fixture
def measured(store):
    def measured(frame, size="1 min", **options):
        store.write_bars("AAPL", size, frame)
        return store.quality(**options).iloc[0]

    return measured


def test_a_flawless_day_has_nothing_to_report(measured, bars):
    row = measured(bars(n=390))

    zero = ["gaps", "missing", "gap_share", "outliers", "zero_volume_run", "disagreements"]
    assert row[zero].tolist() == [0] * len(zero)
    assert row["rows"] == 390
    assert row["stale_days"] > 0


def test_gaps_are_counted_in_bars_and_nights_are_none(measured, bars):
    day = bars(n=390).drop(bars(n=390).index[[10, 11, 50]])
    next_day = bars("2026-10-02 14:30", n=390)

    row = measured(pd.concat([day, next_day]))

    assert row[["gaps", "missing", "longest_gap"]].tolist() == [2, 3, 2]
    assert row["gap_share"] == pytest.approx(3 / 780)


def test_what_ib_said_is_empty_is_no_gap(store, measured, bars):
    frame = bars(n=20)
    store.confirm_empty("bars_1min", "AAPL", (frame.index[5], frame.index[7]))

    row = measured(frame.drop(frame.index[[5, 6, 9]]))

    assert row["missing"] == 1


def test_with_sessions_a_missing_day_is_a_gap_and_the_night_is_not(measured, bars):
    days = [pd.Timestamp(f"2026-10-0{n} 14:30", tz="UTC").to_pydatetime() for n in (1, 2, 5)]
    sessions = [(day, day + timedelta(hours=6.5)) for day in days]
    frame = pd.concat([bars("2026-10-01 14:30", n=390), bars("2026-10-05 14:30", n=390)])

    row = measured(frame, sessions=lambda slug: sessions)

    assert row[["gaps", "missing"]].tolist() == [1, 390]


def test_daily_bars_may_pause_over_a_long_weekend_but_not_longer(measured, bars):
    days = pd.to_datetime(["2026-10-01", "2026-10-02", "2026-10-06", "2026-10-16"], utc=True)

    row = measured(bars(n=4).set_axis(days.as_unit("us"), axis=0).rename_axis("ts"), "1 day")

    assert row["gaps"] == 1


def test_a_jump_that_is_taken_back_is_an_outlier_and_a_move_is_not(measured, bars):
    frame = bars(n=200)
    for column in ("open", "high", "low", "close", "wap"):
        frame.loc[frame.index[100], column] *= 1.5  # a bad print
        frame.loc[frame.index[150] :, column] *= 1.1  # news

    assert measured(frame)["outliers"] == 1


def test_dead_volume_and_an_average_outside_of_its_bar(measured, bars):
    frame = bars(n=30)
    frame.iloc[5:12, frame.columns.get_loc("volume")] = 0.0
    frame.iloc[20, frame.columns.get_loc("wap")] = 1.0

    assert measured(frame)[["zero_volume_run", "wap_outside"]].tolist() == [7, 1]


def test_sizes_that_contradict_are_counted_by_the_larger_bar(store, bars):
    small = bars(n=30)
    large = small.resample("5min").agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )
    large.iloc[2, large.columns.get_loc("high")] -= 0.2
    large.iloc[2, [0, 3]] = large.iloc[2, 2]
    store.write_bars("AAPL", "1 min", small)
    store.write_bars("AAPL", "5 mins", large)

    table = store.quality().set_index("dataset")

    assert table.loc["bars_5mins", "disagreements"] == 1
    assert table.loc["bars_1min", "disagreements"] == 0


def test_breaches_are_handed_on_and_say_what_and_where(store, bars):
    store.write_bars("AAPL", "1 min", bars(n=20).drop(bars(n=20).index[[5]]))
    heard = []
    limits = {"bars_1min": {"gap_share": 0.01, "outliers": 3}, "bars_1day": {"gap_share": 0.0}}

    (breach,) = store.check(limits, on_breach=heard.append)

    assert heard == [breach]
    assert (breach.metric, breach.value, breach.limit) == ("gap_share", 0.05, 0.01)
    assert str(breach) == (
        "bars_1min STK-AAPL-SMART-USD TRADES: gap_share is 0.05, the limit is 0.01"
    )
    assert store.check({"bars_1min": {"gap_share": 0.05}}) == []
    with pytest.raises(ValueError, match="no metric 'gaps_share'"):
        store.check({"bars_1min": {"gaps_share": 0.05}})


def test_other_datasets_are_measured_by_their_age(store, bars):
    ts = bars().index[:2]
    ticks = pd.DataFrame({"ts": ts, "price": 1.0, "recorder": "r", "seq": [0, 1]})
    store.upsert("trades", "AAPL", ticks, source="IB")

    (row,) = store.quality("trades").to_dict("records")

    assert row["rows"] == 2
    assert row["stale_days"] > 0


def test_an_empty_store_has_no_rows_and_no_breach(store):
    assert len(store.quality()) == 0
    assert store.check({"bars_1min": {"gap_share": 0.0}}) == []


@pytest.mark.parametrize(
    ("flags", "longest"), [("", 0), ("0", 0), ("1", 1), ("1101", 2), ("0111", 3)]
)
def test_longest_run(flags, longest):
    assert longest_run(np.array([flag == "1" for flag in flags], bool)) == longest


def test_a_breach_becomes_an_event_of_the_kit():
    from dataclasses import asdict

    from ibkit.connection.events import Events, QualityBreached

    series = {"what_to_show": "TRADES", "use_rth": True}
    now = datetime(2026, 11, 20, tzinfo=UTC)
    breach = Breach(now, "bars_1min", "X", **series, metric="gaps", value=2, limit=1)
    events, heard = Events(), []
    events.quality += heard.append

    events.publish("quality", QualityBreached(**asdict(breach)))
    events.close()

    assert [one.metric for one in heard] == ["gaps"]


def test_gaps_can_be_drawn(store, bars):
    store.write_bars("AAPL", "1 min", bars(n=20).drop(bars(n=20).index[[5]]))

    figure = plot_coverage(store.coverage(), quality=store.quality())

    assert "1 gap" in figure.to_json()


@pytest.mark.parametrize(("name", "missing"), [("AAPL", 390), ("STK-OMV-VSE-EUR", 0)])
def test_a_session_without_any_bar_is_missing_where_the_calendar_is_known(
    store, bars, name, missing
):
    # a Friday is missing; the Monday after it is Labor Day
    for day in ("09-03", "09-08", "09-09"):
        store.write_bars(name, "1 min", bars(f"2026-{day} 13:30", n=390))

    row = store.quality("bars_1min").iloc[0]

    assert (row["gaps"], row["missing"]) == (missing // 390, missing)
