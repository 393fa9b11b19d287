from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from ibkit.contracts.hours import Session
from ibkit.errors import UnreadableAnswerError
from ibkit.history import decode
from ibkit.history.decode import UnknownSessionError
from ibkit.history.wire import read, to_table
from ibkit.schema import bar_size

MIN, DAY = bar_size("1 min"), bar_size("1 day")
NINE_THIRTY = datetime(2026, 11, 3, 14, 30, tzinfo=UTC)
STAMP = str(int(NINE_THIRTY.timestamp()))
SESSION = Session(NINE_THIRTY, datetime(2026, 11, 3, 21, tzinfo=UTC), date(2026, 11, 3))


def bar(stamp=STAMP, close="10", volume="100", average="10.5", count="3"):
    return [stamp, "9", "11", "8", close, volume, average, count]


def answer(*bars, n=None):
    fields = [text for each in bars for text in each]
    return ["17", "5", "start", "end", str(len(bars)) if n is None else n, *fields]


def test_a_bar_keeps_its_instant_and_values():
    [row] = to_table(answer(bar()), MIN).to_pylist()

    assert row == {
        "ts": NINE_THIRTY,
        "open": 9.0,
        "high": 11.0,
        "low": 8.0,
        "close": 10.0,
        "volume": 100.0,
        "wap": 10.5,
        "count": 3,
    }


def test_minus_one_is_null_but_not_in_prices():
    [row] = to_table(answer(bar(STAMP, "-1", "-1", "-1", "-1")), MIN).to_pylist()

    assert (row["close"], row["volume"], row["wap"], row["count"]) == (-1.0, None, None, None)


def test_an_unset_volume_is_left_to_the_store_and_an_unset_wap_too():
    unset = "1.7976931348623157E308"

    [row] = to_table(answer(bar(volume=unset, average=unset)), MIN).to_pylist()

    assert row["volume"] == row["wap"] == float(unset)


def test_no_bars_are_an_empty_table_of_the_same_columns():
    table = to_table(answer(), MIN)

    assert (len(table), table.schema) == (0, decode.SCHEMA)


def test_a_time_in_words_is_an_instant_as_well():
    [row] = to_table(answer(bar("20261103 09:30:00 US/Eastern")), MIN).to_pylist()

    assert row["ts"] == NINE_THIRTY


def test_a_daily_bar_gets_the_open_of_its_session_and_others_are_left_out():
    table = to_table(answer(bar("20261102"), bar("20261103"), bar("20261104")), DAY, [SESSION])

    assert table["ts"].to_pylist() == [NINE_THIRTY]


def test_a_daily_bar_without_a_session_is_an_error():
    later = Session(
        datetime(2026, 11, 5, 14, 30, tzinfo=UTC),
        datetime(2026, 11, 5, 21, tzinfo=UTC),
        date(2026, 11, 5),
    )

    with pytest.raises(UnknownSessionError, match="2026-11-04"):
        to_table(answer(bar("20261104")), DAY, [SESSION, later])


def test_bars_outside_of_the_span_are_counted_and_left_out():
    after = str(int(STAMP) + 60)

    table, received = read(
        answer(bar(), bar(after)), MIN, [], (NINE_THIRTY, NINE_THIRTY.replace(minute=31))
    )

    assert (table["ts"].to_pylist(), received) == ([NINE_THIRTY], 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (["17", "5"], "no message of bars"),
        (answer(bar(), n="many"), "'many' is no number of bars"),
        (answer(n="-1"), "'-1' is no number of bars"),
        (answer(bar(), n="2"), "announces 2 bars and holds 1"),
        (answer(bar(), bar())[:-1], "announces 2 bars and holds 1"),
        (answer(bar(), bar(close="")), "'' is no close, in bar 2 of 2"),
        (answer(bar(count="2.5")), "'2.5' is no count, in bar 1 of 1"),
        (answer(bar(count="3000000000")), "count"),
        (
            answer(bar("20261103")),
            "'20261103' is no time, in bar 1 of 1 (an instant was asked for)",
        ),
        (answer(bar("20261103 09:30:00")), "an instant was asked for"),
        (answer(bar("20261103 09:30:00 Nowhere/City")), "is no time"),
        (answer(bar("yesterday")), "'yesterday' is no time"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_where(fields, words):
    with pytest.raises(UnreadableAnswerError) as caught:
        to_table(fields, MIN)

    assert words in str(caught.value)
    assert "historical data" in str(caught.value)


@pytest.mark.parametrize("stamp", [STAMP, "20261399", "2026-1-3"])
def test_a_daily_bar_without_a_date_is_unreadable(stamp):
    with pytest.raises(UnreadableAnswerError, match="is no date"):
        to_table(answer(bar(stamp)), DAY, [SESSION])


def test_of_two_bars_with_one_start_the_last_wins_in_any_order():
    earlier = str(int(STAMP) - 60)

    table = to_table(answer(bar(close="1"), bar(earlier), bar(close="2")), MIN)

    assert table["close"].to_pylist() == [10.0, 2.0]
    assert table["ts"].type == pa.timestamp("us", tz="UTC")
