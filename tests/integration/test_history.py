"""Bars of the past: store first, holes from the gateway, whole and honest."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ibkit import clock
from ibkit.errors import NoDataError, RequestTimeoutError

TUESDAY = date(2026, 10, 20)


@pytest.fixture
def requests(kit, monkeypatch):
    """Count requests for bars."""
    asked = []
    ask = kit.history.ask.aio

    class Counting:
        async def aio(self, series, request):
            asked.append(request)
            return await ask(series, request)

    monkeypatch.setattr(type(kit.history), "ask", Counting())
    return asked


def test_a_session_of_minutes_is_whole(kit):
    bars = kit.history.bars("AAPL", "1 min", start="2026-10-20", end="2026-10-20")

    assert bars.index[0] == pd.Timestamp("2026-10-20 13:30", tz="UTC")
    assert len(bars) == 390
    assert str(bars.index.dtype) == "datetime64[us, UTC]"
    assert list(bars.columns) == ["open", "high", "low", "close", "volume", "wap", "count"]
    assert bars.attrs["simulated"] is True
    assert bars.attrs["instrument"] == "STK-AAPL-SMART-USD"


def test_bars_are_those_that_ib_async_gets(kit):
    bars = kit.history.bars("MSFT", "5 mins", start=TUESDAY, end=TUESDAY)
    contract = kit.contract("MSFT")

    raw = kit.ib.reqHistoricalData(
        contract,
        datetime(2026, 10, 20, 20, tzinfo=UTC),
        "1 D",
        "5 mins",
        "TRADES",
        useRTH=True,
        formatDate=2,
    )

    assert [bar.date for bar in raw] == list(bars.index)
    for name, field in [
        ("open", "open"),
        ("close", "close"),
        ("volume", "volume"),
        ("wap", "average"),
    ]:
        assert [getattr(bar, field) for bar in raw] == bars[name].tolist()


def test_what_is_stored_is_not_asked_for_again(kit, requests):
    span = {"start": "2026-10-19", "end": "2026-10-21"}
    first = kit.history.bars("AAPL", "1 min", **span)
    assert len(requests) == 3

    second = kit.history.bars("AAPL", "1 min", **span)

    assert len(requests) == 3
    pd.testing.assert_frame_equal(first, second)


def test_a_longer_span_costs_only_the_rest(kit, requests):
    kit.history.bars("AAPL", "1 min", start="2026-10-20", end="2026-10-20")
    kit.history.bars("AAPL", "1 min", start="2026-10-19", end="2026-10-22")

    assert sorted(request.until.day for request in requests) == [19, 20, 21, 22]


def test_an_instant_cuts_the_session(kit):
    bars = kit.history.bars(
        "AAPL", "1 min", start="2026-10-20T10:00-04:00", end="2026-10-20T10:30-04:00"
    )

    assert (bars.index[0].hour, len(bars)) == (14, 30)


def test_currencies_are_quotes_without_volume(kit):
    bars = kit.history.bars("CASH:EURUSD", "1 hour", start="2026-10-20", end="2026-10-20")

    assert bars.attrs["what_to_show"] == "MIDPOINT"
    assert bars["close"].between(0.5, 2).all()
    assert bars[["volume", "wap", "count"]].isna().all(axis=None)


def test_a_daily_bar_starts_with_its_session(kit):
    bars = kit.history.bars("AAPL", "1 day", start="2026-10-30", end="2026-11-03")

    assert [(ts.day, ts.hour, ts.minute) for ts in bars.index] == [
        (30, 13, 30),
        (2, 14, 30),
        (3, 14, 30),
    ]


def test_a_week_is_labelled_by_its_first_session_and_whole(kit):
    days = kit.history.bars("AAPL", "1 day", start="2026-10-12", end="2026-10-23")
    weeks = kit.history.bars("AAPL", "1 week", start="2026-10-14", end="2026-10-23")

    assert [ts.day for ts in weeks.index] == [12, 19]
    assert weeks["volume"].sum() == days["volume"].sum()
    assert weeks["open"].tolist() == days["open"].iloc[[0, 5]].tolist()


def test_a_future_outside_regular_hours_starts_the_evening_before(kit):
    bars = kit.history.bars("FUT:ES", "1 hour", start=TUESDAY, end=TUESDAY, use_rth=False)

    assert bars.index[0] == pd.Timestamp("2026-10-19 22:00", tz="UTC")


def test_minutes_add_up_to_hours(kit):
    span = {"start": "2026-10-20", "end": "2026-10-20"}
    minutes = kit.history.bars("AAPL", "1 min", **span)
    hours = kit.history.bars("AAPL", "1 hour", **span)

    assert minutes["volume"].sum() == hours["volume"].sum()
    assert minutes["high"].max() == hours["high"].max()
    assert minutes["close"].iloc[-1] == hours["close"].iloc[-1]


def test_days_counts_finished_sessions(kit):
    bars = kit.history.bars("AAPL", "1 day", days=3, end="2026-11-27")

    assert [ts.day for ts in bars.index] == [20, 19, 18][::-1] or len(bars) == 3
    assert bars.index[-1] < clock.now()


def test_an_hour_that_the_span_ends_in_is_left_out(kit):
    whole = kit.history.bars("AAPL", "1 hour", start="2026-10-20", end="2026-10-20")
    part = kit.history.bars("MSFT", "1 hour", start="2026-10-20", end="2026-10-20T12:20-04:00")

    assert list(part.index) == list(whole.index[:3])


def test_the_running_minute_is_never_stored(kit):
    now = clock.now()
    try:
        bars = kit.history.bars("CRYPTO:BTC", "1 min", start=now - timedelta(minutes=10))
    except NoDataError:
        pytest.skip("this universe has no coin that trades now")

    assert bars.attrs["what_to_show"] == "AGGTRADES"
    assert bars.index[-1] + timedelta(minutes=1) <= clock.now()
    assert len(bars) >= 9


def test_no_session_is_an_error_not_an_empty_frame(kit):
    with pytest.raises(NoDataError, match="no session"):
        kit.history.bars("AAPL", "1 min", start="2026-10-24", end="2026-10-25")
    with pytest.raises(NoDataError, match="still to come"):
        kit.history.bars("AAPL", "1 min", start="2031-01-01")


def test_an_empty_answer_is_remembered_and_raised(kit, requests, monkeypatch):
    async def nothing(name, *args, **kwargs):
        if name == "historical data":
            raise NoDataError(162, "HMDS query returned no data: AAPL@SMART Trades")
        return await request(name, *args, **kwargs)

    request = kit.link.request
    monkeypatch.setattr(kit.link, "request", nothing)

    for _ in range(2):
        with pytest.raises(NoDataError):
            kit.history.bars("AAPL", "1 min", start="2026-10-20", end="2026-10-20")

    assert len(requests) == 1


def test_a_silent_gateway_is_a_time_out_and_leaves_no_trace(kit, running, monkeypatch):
    monkeypatch.setattr("ibkit.history.asking.TIMEOUT_S", 0.2)
    kit.history.plan("AAPL", "1 min", start="2026-10-20", end="2026-10-20")
    running.gateway.faults.unanswered.add("req_historical_data")
    object.__setattr__(kit.link, "profile", kit.profile.model_copy(update={"timeout_s": 0.2}))
    try:
        with pytest.raises(RequestTimeoutError):
            kit.history.bars("AAPL", "1 min", start="2026-10-20", end="2026-10-20")
    finally:
        running.gateway.faults.unanswered.clear()

    assert len(kit.history.bars("AAPL", "1 min", start="2026-10-20", end="2026-10-20")) == 390


def test_the_plan_is_priced_and_asks_for_no_bars(kit, requests):
    plan = kit.history.plan(["AAPL", "CASH:EURUSD"], "1 min", days=2, end="2026-10-20")

    assert plan["requests"].tolist() == [2, 2]
    assert plan["what_to_show"].tolist() == ["TRADES", "MIDPOINT"]
    assert (plan["minutes"] > 0).all()
    assert requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"start": "2026-10-20", "days": 2}, "twice"),
        ({"days": 0}, "starts at 1"),
        ({"start": datetime(2026, 10, 20, 9, 30)}, "no time zone"),  # noqa: DTZ001 - the point
        ({"bar_size": "7 mins"}, "no bar size"),
    ],
)
def test_bad_spans_are_refused(kit, arguments, words):
    with pytest.raises(ValueError, match=words):
        kit.history.bars("AAPL", **arguments)


def test_prices_are_numbers_everywhere(kit):
    bars = kit.history.bars("SPY", "30 mins", days=2, end="2026-10-20")

    assert np.isfinite(bars[["open", "high", "low", "close", "volume", "wap"]].to_numpy()).all()
    assert (bars["high"] >= bars[["open", "close", "low"]].max(axis=1)).all()
