import numpy as np
import pytest

from ibkit.errors import InvalidRowsError
from ibkit.schema import DATASETS
from ibkit.store.check import check_rows
from ibkit.store.intake import to_table

BARS = DATASETS["bars_1min"]
CONSTANTS = {"what_to_show": "TRADES", "use_rth": True, "source": "IB", "delayed": False}


def check(frame):
    check_rows(to_table(frame, BARS, CONSTANTS), BARS)


def test_bars_that_obey_the_rules_pass(bars):
    check(bars(n=50))


@pytest.mark.parametrize(
    ("row", "column", "value", "words"),
    [
        (3, "high", 1.0, r"high is below open, low or close: 1 rows, row 3: ts=2026-10-01 14:33"),
        (0, "low", 1e9, "low is above open or close: 1 rows, row 0.*low=1000000000.0"),
        (2, "volume", -3.0, r"volume is negative: 1 rows, row 2.*volume=-3\.0"),
        (2, "count", -3, "count is negative: 1 rows, row 2.*count=-3"),
        (1, "close", np.inf, "close is infinite: 1 rows, row 1"),
        (1, "volume", -np.inf, "volume is infinite"),
        (4, "open", np.nan, "open is missing: 1 rows, row 4"),
    ],
)
def test_a_row_that_cannot_be_true_is_named_with_its_values(bars, row, column, value, words):
    frame = bars()
    frame.iloc[row, frame.columns.get_loc(column)] = value

    with pytest.raises(InvalidRowsError, match=words):
        check(frame)


def test_all_faults_are_told_at_once_and_a_long_list_is_cut(bars):
    frame = bars(n=20).assign(volume=-5.0)
    frame.iloc[0, frame.columns.get_loc("close")] = np.inf

    with pytest.raises(InvalidRowsError) as caught:
        check(frame)

    checks = {check: n for check, n, _ in caught.value.failures}
    assert checks["volume is negative"] == 20
    assert checks["close is infinite"] == 1
    assert "and 17 more" in str(caught.value)


def test_seconds_taken_for_microseconds_are_noticed(bars):
    frame = bars(n=1)
    frame.index = frame.index + np.timedelta64(300 * 365, "D")

    with pytest.raises(InvalidRowsError, match="ts is not between 1900 and 2200"):
        check(frame)


def test_negative_prices_are_prices(bars):
    frame = bars(n=1).assign(open=-37.6, high=-30.0, low=-40.3, close=-37.63, wap=-36.0)

    check(frame)
