"""Every bar size and series over the real socket, right to the session, against ib_async's own."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

import ibkit
from ibkit import clock
from ibkit.errors import NoDataError
from ibkit.schema import BAR_SIZES
from ibkit.sim.testing import gateway

SMALL = ("2026-11-16T10:00-05:00", "2026-11-16T10:20-05:00")
TWENTY = datetime(2026, 11, 16, 15, 20, tzinfo=UTC)
FIELDS = {"open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume",
          "wap": "average", "count": "barCount"}  # fmt: skip


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    root = tmp_path_factory.mktemp("sizes") / "sim"
    with gateway() as running, ibkit.connect(port=running.port, root=root) as one:
        yield one


def theirs(kit, symbol, size, until, duration, what="TRADES", *, use_rth=True):
    """Return ib_async's own answer to one request."""
    return kit.ib.reqHistoricalData(
        kit.contract(symbol), until, duration, size, what, useRTH=use_rth, formatDate=2
    )


def counting(kit):
    """Note the name of every request; delete `link.request` to end it."""
    asked = []
    request = kit.link.request

    async def counted(name, *args, **kwargs):
        asked.append(name)
        return await request(name, *args, **kwargs)

    kit.link.request = counted
    return asked


def same(frame, bars):
    for ours, field in FIELDS.items():
        found = [None if value == -1 else value for value in (getattr(b, field) for b in bars)]
        mine = [None if pd.isna(value) else value for value in frame[ours]]
        assert mine == found, ours


@pytest.mark.parametrize("size", [n for n, each in BAR_SIZES.items() if each.seconds <= 30])
def test_bars_of_seconds_are_ib_asyncs(kit, size):
    frame = kit.history.bars("AAPL", size, *SMALL)
    longer = theirs(kit, "AAPL", size, TWENTY, "1260 S")  # the same question has to wait 15 s
    bars = [bar for bar in longer if bar.date >= TWENTY - timedelta(minutes=20)]

    assert [bar.date for bar in bars] == list(frame.index)
    same(frame, bars)
    assert len(frame) > 0.9 * 1_200 / BAR_SIZES[size].seconds


@pytest.mark.parametrize("use_rth", [True, False], ids=["rth", "full"])
@pytest.mark.parametrize("size", [n for n, each in BAR_SIZES.items() if 30 < each.seconds < 86_400])
def test_bars_of_minutes_and_hours_are_ib_asyncs(kit, size, use_rth):
    frame = kit.history.bars("AAPL", size, "2026-10-29", "2026-11-03", use_rth=use_rth)
    close = datetime(2026, 11, 3, 21, tzinfo=UTC)
    until = close if use_rth else datetime(2026, 11, 4, 1, tzinfo=UTC)
    bars = theirs(kit, "AAPL", size, until, "4 D", use_rth=use_rth)

    assert [bar.date for bar in bars] == list(frame.index)
    same(frame, bars)


@pytest.mark.parametrize(
    ("size", "start", "duration", "count"),
    [("1 day", "2025-11-17", "250 D", 250), ("1 week", "2026-06-01", "22 W", 22),
     ("1 month", "2026-01-02", "10 M", 10)],
)  # fmt: skip
def test_long_bars_are_ib_asyncs_dated_by_their_first_session(kit, size, start, duration, count):
    frame = kit.history.bars("AAPL", size, start, "2026-10-30")
    bars = theirs(kit, "AAPL", size, datetime(2026, 10, 30, 20, tzinfo=UTC), duration)[
        -len(frame) :
    ]

    assert len(frame) >= count - 12
    same(frame, bars)
    last_days = pd.DatetimeIndex([bar.date for bar in bars])
    local = frame.index.tz_convert("America/New_York")
    assert (local.strftime("%H:%M") == "09:30").all()
    assert (local.tz_localize(None).normalize() <= last_days).all()
    if size == "1 week":  # IB dates a week by its last trading day, we by its first session
        assert (
            local.isocalendar().week.to_numpy() == last_days.isocalendar().week.to_numpy()
        ).all()


@pytest.mark.parametrize(
    ("symbol", "what"),
    [
        *(("AAPL", what) for what in ("MIDPOINT", "BID", "ASK", "BID_ASK")),
        *(("AAPL", what) for what in ("HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY")),
        ("AAPL", "FEE_RATE"),
        ("IND:SPX", "OPTION_IMPLIED_VOLATILITY"),
        ("CASH:EURUSD", "BID_ASK"),
        ("CRYPTO:BTC", "AGGTRADES"),
        ("FUT:ES:202612", "BID"),
    ],
)
def test_every_series_that_ib_has_is_stored_as_it_came(kit, symbol, what):
    frame = kit.history.bars(symbol, "1 day", "2026-10-19", "2026-10-23", what_to_show=what)
    until = datetime(2026, 10, 24, tzinfo=UTC)
    bars = theirs(kit, symbol, "1 day", until, "7 D", what)

    first = date(2026, 10, 19)
    same(frame, [bar for bar in bars if first <= bar.date <= date(2026, 10, 23)])
    assert frame.attrs["what_to_show"] == what


# --- hours of the clock ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "opens"),
    [("2026-10-30", 13), ("2026-11-02", 14), ("2026-03-06", 14), ("2026-03-09", 13)],
)
def test_a_session_keeps_its_hours_when_clocks_change(kit, day, opens):
    bars = kit.history.bars("AAPL", "1 min", day, day)

    assert len(bars) == 390
    assert (bars.index[0].hour, bars.index[0].minute) == (opens, 30)


def test_the_europeans_change_their_clocks_a_week_before(kit):
    bars = kit.history.bars("SAP@IBIS:EUR", "1 hour", "2026-10-23", "2026-10-26")

    assert [bars.loc[f"2026-10-{day}"].index[0].hour for day in (23, 26)] == [7, 8]


def test_a_half_day_is_whole_and_a_holiday_is_no_hole(kit):
    span = ("2025-11-26", "2025-11-28")  # Thanksgiving between
    bars = kit.history.bars("AAPL", "1 min", *span)

    assert bars.groupby(bars.index.date).size().tolist() == [390, 210]
    assert kit.history.prepare("AAPL", "1 min", *span).holes == ()
    with pytest.raises(NoDataError, match="no session"):
        kit.history.bars("AAPL", "1 min", "2025-11-27", "2025-11-27")


def test_currencies_change_their_day_at_five_in_new_york_and_open_on_sunday(kit):
    bars = kit.history.bars("CASH:EURUSD", "1 hour", "2026-10-30", "2026-11-03")
    days = kit.history.bars("CASH:EURUSD", "1 day", "2026-10-30", "2026-11-03")

    local = bars.index.tz_convert("America/New_York")
    assert local[0].strftime("%a %H:%M") == "Thu 17:15"
    sunday = local[local.day_of_week == 6]
    assert sunday[0].strftime("%H:%M") == "17:15"
    assert not any(local.day_of_week == 5)
    assert [ts.tz_convert("America/New_York").strftime("%a %H") for ts in days.index] == [
        "Thu 17",
        "Sun 17",
        "Mon 17",
    ]
    monday = bars.loc[days.index[1] : days.index[2] - timedelta(seconds=1)]
    assert days["high"].iloc[1] == monday["high"].max()
    assert days["close"].iloc[1] == monday["close"].iloc[-1]


def test_lunch_in_hong_kong_is_no_hole_and_costs_nothing(kit):
    series = kit.history.prepare("700@SEHK:HKD", "1 min", "2026-10-20", "2026-10-20")
    bars = kit.history.bars("700@SEHK:HKD", "1 min", "2026-10-20", "2026-10-20")
    hours = kit.history.schedule("700@SEHK:HKD", "2026-10-20", "2026-10-20")

    assert len(series.requests) == 1
    assert hours["minutes"].tolist() == [150, 180]
    assert len(bars) == 330
    assert bars.loc["2026-10-20 04:00":"2026-10-20 04:59"].empty
    assert kit.history.prepare("700@SEHK:HKD", "1 min", "2026-10-20", "2026-10-20").holes == ()


def test_the_schedule_is_asked_once_and_is_in_utc(kit):
    hours = kit.history.schedule("AAPL", "2025-11-24", "2025-11-28")
    asked = counting(kit)
    try:
        again = kit.history.schedule("MSFT", "2025-11-24", "2025-11-28")
    finally:
        del kit.link.request

    assert hours["minutes"].tolist() == [390, 390, 390, 210]
    assert hours.index.tolist() == [pd.Timestamp(2025, 11, day) for day in (24, 25, 26, 28)]
    assert str(hours["start"].dtype) == "datetime64[us, UTC]"
    assert set(hours["source"]) == {"IB"}
    assert "schedule" not in asked
    assert again.equals(hours)


# --- the price ------------------------------------------------------------------------------------


def test_a_plan_of_many_series_asks_for_each_market_once_and_prices_the_shared_ledger(kit):
    symbols = ["AAPL", "MSFT", "NVDA", "SPY", "CASH:EURUSD", "FUT:ES:202612", "NOPE"]
    first = kit.history.plan(symbols, "5 secs", "2026-11-10", "2026-11-13")
    asked = counting(kit)
    try:
        again = kit.history.plan(symbols[:-1], "5 secs", "2026-11-10", "2026-11-13")
    finally:
        del kit.link.request

    assert asked == []
    assert again["requests"].tolist() == first["requests"].tolist()[:-1]
    assert "IB 200" in first["reason"].iloc[-1]
    assert (first["minutes"].iloc[:-1] > 0).all()
    total = int(again["requests"].sum())
    assert again.attrs["minutes"] >= (total - 60) // 60 * 10
    assert again.attrs["minutes"] >= again["minutes"].max()
    assert again.attrs["done_at"] > clock.now()


def test_rows_that_a_plan_expects_are_those_that_come(kit):
    span = ("2026-08-03", "2026-08-05")
    plan = kit.history.plan(["AAPL", "CASH:EURUSD"], "5 mins", *span)

    rows = [len(kit.history.bars(each, "5 mins", *span)) for each in ("AAPL", "CASH:EURUSD")]

    assert plan["rows"].tolist() == rows
    assert (
        kit.history.plan(["AAPL"], "5 mins", *span)[["holes", "requests", "rows"]].sum().sum() == 0
    )


def test_one_instrument_that_cannot_be_planned_is_an_error(kit):
    with pytest.raises(ibkit.errors.UnknownContractError):
        kit.history.plan("NOPE", "1 min", *SMALL)
