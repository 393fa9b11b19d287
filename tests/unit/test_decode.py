from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from ib_async import BarData

from ibkit.contracts.hours import Session
from ibkit.history.decode import UnknownSessionError, clip, to_table
from ibkit.schema import bar_size

MIN, DAY = bar_size("1 min"), bar_size("1 day")
NINE_THIRTY = datetime(2026, 11, 3, 14, 30, tzinfo=UTC)
SESSION = Session(NINE_THIRTY, datetime(2026, 11, 3, 21, tzinfo=UTC), date(2026, 11, 3))


def bar(when, close=10.0, volume=100.0, average=10.0, count=3):
    return BarData(when, 9.0, 11.0, 8.0, close, volume, average, count)


def test_an_intraday_bar_keeps_its_instant_and_values():
    [row] = to_table([bar(NINE_THIRTY)], MIN).to_pylist()

    assert row == {
        "ts": NINE_THIRTY,
        "open": 9.0,
        "high": 11.0,
        "low": 8.0,
        "close": 10.0,
        "volume": 100.0,
        "wap": 10.0,
        "count": 3,
    }


def test_minus_one_is_null_but_not_in_prices():
    [row] = to_table([bar(NINE_THIRTY, -1.0, -1.0, -1.0, -1)], MIN).to_pylist()

    assert (row["close"], row["volume"], row["wap"], row["count"]) == (-1.0, None, None, None)


def test_an_average_of_minus_one_beside_a_volume_is_a_price():
    [row] = to_table([bar(NINE_THIRTY, average=-1.0)], MIN).to_pylist()

    assert row["wap"] == -1.0


def test_a_daily_bar_gets_the_open_of_its_session():
    table = to_table([bar(date(2026, 11, 3))], DAY, [SESSION])

    assert table["ts"].to_pylist() == [NINE_THIRTY]


def test_a_weekly_bar_dated_by_its_last_day_gets_the_open_of_its_first():
    friday = Session(
        datetime(2026, 11, 6, 14, 30, tzinfo=UTC),
        datetime(2026, 11, 6, 21, tzinfo=UTC),
        date(2026, 11, 6),
    )

    table = to_table([bar(date(2026, 11, 6))], bar_size("1 week"), [SESSION, friday])

    assert table["ts"].to_pylist() == [NINE_THIRTY]


def test_a_daily_bar_without_a_session_is_an_error():
    with pytest.raises(UnknownSessionError, match="2026-11-04"):
        to_table([bar(date(2026, 11, 4))], DAY, [SESSION])


def test_a_naive_time_is_refused():
    with pytest.raises(TypeError, match="formatDate=2"):
        to_table([bar(datetime(2026, 11, 3, 9, 30))], MIN)  # noqa: DTZ001 - that is the point


def test_of_two_bars_with_one_start_the_last_wins():
    table = to_table([bar(NINE_THIRTY, 1.0), bar(NINE_THIRTY, 2.0)], MIN)

    assert table["close"].to_pylist() == [2.0]


def test_clipping_keeps_the_start_and_drops_the_end():
    table = to_table([bar(NINE_THIRTY.replace(minute=m)) for m in (30, 31, 32)], MIN)

    kept = clip(table, NINE_THIRTY, NINE_THIRTY.replace(minute=32))

    assert len(kept) == 2


def test_no_bars_are_an_empty_table_of_the_same_columns():
    assert to_table([], MIN).schema.field("ts").type == pa.timestamp("us", tz="UTC")
