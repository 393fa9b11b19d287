from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ibkit.errors import InvalidRowsError
from ibkit.schema import DATASETS
from ibkit.store import files
from ibkit.store.intake import to_table

BARS = DATASETS["bars_1min"]
CONSTANTS = {"what_to_show": "TRADES", "use_rth": True, "source": "IB", "delayed": False}


def take(data):
    return to_table(data, BARS, CONSTANTS)


def test_pandas_arrow_and_polars_give_the_same_table(bars):
    frame = bars()
    arrow = pa.Table.from_pandas(frame.reset_index(), preserve_index=False)

    tables = [take(data) for data in (frame, arrow, pl.from_arrow(arrow), arrow.to_batches()[0])]

    assert all(table.equals(tables[0]) for table in tables)
    assert tables[0].schema.equals(files.schema(BARS))


def test_times_of_any_zone_and_unit_become_utc_microseconds(bars):
    frame = bars()
    there = frame.tz_convert("America/New_York")
    there.index = there.index.as_unit("ns")

    assert take(there).equals(take(frame))


def test_a_time_without_a_zone_is_refused(bars):
    with pytest.raises(InvalidRowsError, match=r"ts.*no time zone"):
        take(bars().tz_localize(None))


@pytest.mark.parametrize(
    ("column", "unknown"),
    [
        ("volume", -1.0),
        ("volume", np.nan),
        ("volume", 1.7976931348623157e308),
        ("volume", None),
        ("wap", np.nan),
        ("wap", 1.7976931348623157e308),
        ("count", -1),
        ("count", None),
    ],
)
def test_every_way_of_saying_unknown_becomes_null(bars, column, unknown):
    frame = bars(n=2).astype({"count": object})
    frame[column] = pd.Series([unknown, 7], index=frame.index, dtype=object)

    table = take(frame.astype({"volume": float, "wap": float}) if column != "count" else frame)

    assert table[column].to_pylist() == [None, 7]


def test_a_count_that_came_as_float_with_nan_is_a_count_with_null(bars):
    frame = bars(n=3).astype({"count": float})
    frame.iloc[1, frame.columns.get_loc("count")] = np.nan

    assert take(frame)["count"].null_count == 1


def test_minus_one_is_a_price_where_something_was_traded(bars):
    frame = bars(n=2).assign(open=-1.0, high=-1.0, low=-1.0, close=-1.0, wap=-1.0)
    frame.loc[frame.index[1], "volume"] = -1.0

    table = take(frame)

    assert table["close"].to_pylist() == [-1.0, -1.0]
    assert table["wap"].to_pylist() == [-1.0, None]


def test_missing_columns_are_null_and_constants_fill_the_rest(bars):
    table = take(bars()[["open", "high", "low", "close"]])

    assert table["volume"].null_count == table.num_rows
    assert set(table["source"].to_pylist()) == {"IB"}


def test_decimal_prices_are_numbers(bars):
    frame = bars(n=1).astype({"open": object})
    frame["open"] = [Decimal("100.25")]

    assert take(frame.assign(high=101.0, low=99.0))["open"].to_pylist() == [100.25]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"average": 1.0}, "column average.*no such column"),
        ({"open": "abc"}, "column open.*wanted double.*'abc'"),
        ({"ts": 20261001}, "column ts.*wanted timestamp"),
        ({"count": 1.5}, "column count"),
        ({"count": 2**40}, "column count"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused_by_name_and_value(bars, change, words):
    with pytest.raises(InvalidRowsError, match=words):
        take(bars().assign(**change))


def test_a_column_of_mixed_types_is_refused(bars):
    frame = bars(n=2).astype({"open": object})
    frame["open"] = [1.0, "x"]

    with pytest.raises(InvalidRowsError, match="column open"):
        take(frame)


def test_a_column_that_is_there_twice_is_refused(bars):
    frame = bars()
    frame.columns = ["open", "high", "low", "close", "open", "wap", "count"]

    with pytest.raises(InvalidRowsError, match=r"column open.*twice"):
        take(frame)


def test_what_is_no_frame_is_a_type_error():
    with pytest.raises(TypeError, match="not list"):
        take([1, 2])


def test_sub_microsecond_times_are_refused_rather_than_rounded(bars):
    frame = bars(n=1)
    frame.index = frame.index.as_unit("ns") + pd.Timedelta(1, "ns")

    with pytest.raises(InvalidRowsError, match="column ts"):
        take(frame)
