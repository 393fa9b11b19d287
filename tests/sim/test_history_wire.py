"""Bars over the socket: their dates, their number, and every refusal."""

from datetime import UTC, date, datetime, timedelta

import ib_async
import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.replay import ReplayMarket
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.wire import REQUESTS

APPLE = ib_async.Stock("AAPL", "SMART", "USD", conId=265598)
EURUSD = ib_async.Forex("EURUSD")
FRIDAY = datetime(2026, 10, 30, 20, tzinfo=UTC)  # 16:00 in New York, the close


def ask(ib, **changes):
    """Return the bars of a request that is right but for `changes`."""
    values = {
        "contract": APPLE,
        "endDateTime": FRIDAY,
        "durationStr": "1 D",
        "barSizeSetting": "1 min",
        "whatToShow": "TRADES",
        "useRTH": True,
        "formatDate": 2,
        **changes,
    }
    ib.RaiseRequestErrors = True
    return ib.reqHistoricalData(**values)


def test_a_day_of_minutes_is_one_regular_session(ib):
    bars = ask(ib)

    assert len(bars) == 390
    assert bars[0].date == datetime(2026, 10, 30, 13, 30, tzinfo=UTC)
    assert bars[-1].date == datetime(2026, 10, 30, 19, 59, tzinfo=UTC)
    assert all(bar.low <= min(bar.open, bar.close) for bar in bars)
    assert all(bar.high >= max(bar.open, bar.close) for bar in bars)
    assert all(bar.volume > 0 and bar.barCount > 0 for bar in bars)


def test_days_count_as_sessions_and_skip_the_weekend(ib):
    bars = ask(ib, durationStr="3 D", endDateTime=FRIDAY + timedelta(days=3))

    days = sorted({bar.date.date() for bar in bars})
    assert days == [date(2026, 10, 29), date(2026, 10, 30), date(2026, 11, 2)]


@pytest.mark.parametrize(("form", "kind"), [(1, "US/Eastern"), (2, "UTC")])
def test_intraday_dates_are_local_or_utc_as_asked(ib, form, kind):
    bars = ask(ib, formatDate=form, barSizeSetting="1 hour")

    assert bars[0].date == datetime(2026, 10, 30, 13, 30, tzinfo=UTC)
    assert str(bars[0].date.tzinfo) == kind


@pytest.mark.parametrize("form", [1, 2])
def test_daily_bars_are_dated_by_their_session(ib, form):
    bars = ask(ib, formatDate=form, barSizeSetting="1 day", durationStr="1 W")

    assert [bar.date for bar in bars][-1] == date(2026, 10, 30)
    assert {bar.date.weekday() for bar in bars} <= set(range(5))


def test_hours_and_minutes_tell_the_same_story(ib):
    minutes, hours = ask(ib), ask(ib, barSizeSetting="1 hour")

    assert hours[0].open == minutes[0].open
    assert max(bar.high for bar in hours) == max(bar.high for bar in minutes)
    assert sum(bar.volume for bar in hours) == sum(bar.volume for bar in minutes)


def test_the_same_question_has_the_same_answer(ib, connect_ib):
    assert [*ask(ib)] == [*ask(connect_ib(2))]


def test_a_currency_has_quotes_and_no_volume(ib):
    bars = ask(ib, contract=EURUSD, whatToShow="MIDPOINT")

    assert {(bar.volume, bar.average, bar.barCount) for bar in bars} == {(-1, -1, -1)}


def test_without_an_end_the_last_bar_is_recent(ib):
    bars = ask(ib, endDateTime="")

    assert bars[-1].date < datetime.now(UTC)


BARS = REQUESTS[20]
RIGHT = {
    "req_id": 5,
    "contract": {"con_id": 265598, "sec_type": "STK", "exchange": "SMART"},
    "end": "20261030-20:00:00",
    "bar_size": "1 min",
    "duration": "1 D",
    "use_rth": True,
    "what_to_show": "TRADES",
    "format_date": 2,
}
EURO = {"symbol": "EUR", "sec_type": "CASH", "exchange": "IDEALPRO", "currency": "USD"}
NOBODY = {"symbol": "NOSUCH", "sec_type": "STK", "exchange": "SMART"}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"bar_size": "7 mins"}, "321", "bar size setting is invalid"),
        ({"duration": "a day"}, "321", "duration"),
        ({"duration": "400 D"}, "321", "must be made in years"),
        ({"duration": "90000 S"}, "162", "Time length exceed max"),
        ({"bar_size": "1 secs"}, "162", "Time length exceed max"),
        ({"what_to_show": "NOTHING"}, "321", "What to show field is missing or incorrect"),
        ({"what_to_show": "SCHEDULE"}, "321", "1 day only"),
        ({"contract": EURO}, "162", "No historical market data for EUR/CASH"),
        ({"contract": NOBODY}, "200", "No security definition"),
        ({"end": "19900101-00:00:00"}, "162", "returned no data: AAPL@SMART Trades"),
        ({"end": "yesterday"}, "10314", "is no time"),
        ({"what_to_show": "ADJUSTED_LAST"}, "321", "End date not supported"),
        ({"keep_up_to_date": True}, "321", "End date not supported"),
        ({"keep_up_to_date": True, "end": "", "what_to_show": "BID_ASK"}, "321", "not supported"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_ibs_code(wire, changes, code, words):
    wire.send(*BARS.fields({**RIGHT, **changes}))
    wire.send(49, 1)

    [refusal, _] = wire.until(49)
    assert refusal[:4] == ["4", "2", "5", code]
    assert words in refusal[4]


def test_a_time_without_a_zone_is_the_exchanges_and_gets_a_warning(wire):
    contract = (265598, "", "STK", "", "", "", "", "SMART", "", "", "", "")
    end = "20261030 16:00:00"
    wire.send(20, 5, *contract, 0, end, "1 hour", "1 D", 1, "TRADES", 1, 0, "")
    frames = wire.until(17, 5)

    assert frames[0][:4] == ["4", "2", "5", "2174"]
    assert frames[-1][2:5] == ["20261030 09:30:00 US/Eastern", f"{end} US/Eastern", "7"]


def test_sessions_are_told_in_the_exchanges_own_time(ib):
    schedule = ib.reqHistoricalSchedule(APPLE, 2, FRIDAY)

    assert schedule.timeZone == "US/Eastern"
    assert [session.refDate for session in schedule.sessions] == ["20261029", "20261030"]
    assert schedule.sessions[-1].startDateTime == "20261030-09:30:00"


def test_the_first_timestamp_is_in_the_past(ib):
    assert ib.reqHeadTimeStamp(APPLE, "TRADES", useRTH=True, formatDate=2) < FRIDAY
    assert ib.reqHeadTimeStamp(APPLE, "TRADES", useRTH=True, formatDate=1).year < 2026
    regular, all_hours = (
        ib.reqHeadTimeStamp(APPLE, "TRADES", useRTH=rth, formatDate=2) for rth in (True, False)
    )
    assert [(one.hour, one.minute) for one in (regular, all_hours)] == [(14, 30), (9, 0)]


NOON = datetime(2026, 10, 30, 16, 0, 30, tzinfo=UTC).timestamp()  # 12:00:30 in New York


@pytest.fixture
def manual():
    """A gateway whose clock stands at noon until it is moved, and a raw client."""
    with run_gateway(clock=ManualClock(NOON)) as running:
        yield running


def test_bars_are_kept_up_to_date_until_cancelled(manual, connect_to):
    wire = connect_to(manual).start(9)
    wire.send(*BARS.fields({**RIGHT, "end": "", "keep_up_to_date": True}))
    first = wire.until(17, 5)[-1]
    manual.advance(60)
    updates = [wire.until(90, 5)[-1], wire.until(90, 5)[-1]]
    wire.send(25, 1, 5)

    assert [frame[3] for frame in updates] == [first[-8], str(int(first[-8]) + 60)]
    assert "query cancelled: 5" in wire.until(4, 2, 5, 162)[-1][4]


def test_an_update_has_close_before_high_and_low(manual, connect_to):
    wire = connect_to(manual).start(9)
    wire.send(*BARS.fields({**RIGHT, "end": "", "keep_up_to_date": True}))
    wire.until(17, 5)
    manual.advance(60)
    update = wire.until(90, 5)[-1]

    opened, close, high, low = map(float, update[4:8])
    assert low <= min(opened, close) <= max(opened, close) <= high


def test_recorded_bars_come_back_value_by_value(tmp_path, connect_to):
    rows = [("2026-10-29", 10.5, 11.25, 9.75, 11.0, 1234), ("2026-10-30", 11.5, 12, 11, 11.75, 99)]
    lines = [",".join(["AAPL", *map(str, row)]) for row in rows]
    header = "symbol,ts,open,high,low,close,volume"
    (tmp_path / "days.csv").write_text("\n".join([header, *lines]))
    market = ReplayMarket(tmp_path)

    with run_gateway(universe=market.universe, market=market) as running:
        wire = connect_to(running).start(9)
        wire.send(*BARS.fields({**RIGHT, "bar_size": "1 day", "duration": "1 W"}))
        frame = wire.until(17, 5)[-1]

    bars = [frame[at : at + 8] for at in range(5, len(frame), 8)]
    assert [bar[0] for bar in bars] == ["20261029", "20261030"]
    assert [tuple(map(float, bar[1:6])) for bar in bars] == [row[1:] for row in rows]


def test_a_description_that_fits_several_is_ambiguous(wire):
    future = {"symbol": "ES", "sec_type": "FUT", "exchange": "CME"}
    wire.send(*BARS.fields({**RIGHT, "contract": future}))

    assert "ambiguous" in wire.until(4, 2, 5, 200)[-1][4]
