import numpy as np
import pandas as pd
import pytest

from ibkit.errors import UnknownSeriesError
from ibkit.reports import daily
from ibkit.store import Store


def bars(slug, *, days=4, n=390, volume=100.0, drift=0.0, seed=1):
    opens = pd.bdate_range("2026-11-16", periods=days, tz="America/New_York")
    ts = pd.DatetimeIndex(
        [
            (day + pd.Timedelta(hours=9.5, minutes=minute)).tz_convert("UTC")
            for day in opens
            for minute in range(n)
        ],
        name="ts",
    )
    moves = np.random.default_rng(seed).standard_normal(len(ts)) * 4e-4 + drift
    close = 100 * np.exp(moves.cumsum())
    frame = pd.DataFrame(
        {
            "open": close,
            "high": close * 1.001,
            "low": close * 0.999,
            "close": close,
            "volume": volume,
            "wap": close,
            "count": 1,
        },
        index=ts,
    )
    frame.attrs = {"instrument": slug, "what_to_show": "TRADES", "simulated": True}
    return frame


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "sim", kind="sim")
    store.write_bars("AAPL", "1 min", bars("STK-AAPL-SMART-USD"))
    store.write_bars("AAPL", "1 min", bars("STK-AAPL-SMART-USD"), what_to_show="MIDPOINT")
    for month in ("20260918", "20261218"):
        store.write_bars(f"FUT-ES-CME-USD-{month}", "1 min", bars("", seed=int(month)))
    pair = bars("CASH-EUR-IDEALPRO-USD").assign(volume=np.nan, wap=np.nan)
    store.write_bars("CASH:EURUSD", "1 min", pair, what_to_show="MIDPOINT")
    return store


def test_trades_are_read_before_midpoints_and_the_latest_future_before_older_ones(store):
    read = daily.read(store, ["AAPL", "FUT:ES", "CASH:EURUSD"], days=2)

    assert list(read) == ["AAPL", "FUT:ES", "CASH:EURUSD"]
    assert read["AAPL"].attrs["what_to_show"] == "TRADES"
    assert read["CASH:EURUSD"].attrs["what_to_show"] == "MIDPOINT"
    assert read["FUT:ES"].attrs["instrument"] == "FUT-ES-CME-USD-20261218"
    assert len(read["AAPL"]) == 2 * 390
    assert read["AAPL"].attrs["simulated"]


def test_a_named_month_is_that_month(store):
    read = daily.read(store, ["FUT:ES:202609"], days=1)

    assert read["FUT:ES:202609"].attrs["instrument"] == "FUT-ES-CME-USD-20260918"


def test_the_end_is_a_session_date_and_included(store):
    read = daily.read(store, ["AAPL"], days=2, end="2026-11-18")

    sessions = sorted(set(read["AAPL"].index.date))
    assert [str(day) for day in sessions] == ["2026-11-17", "2026-11-18"]


def test_what_is_not_stored_is_left_out_and_named_by_quality(store):
    read = daily.read(store, ["AAPL", "TSLA"], days=5)

    assert list(read) == ["AAPL"]
    quality = daily.quality(read, ["AAPL", "TSLA"], 5)
    assert quality.loc["TSLA", "verdict"] == "not in the store"
    assert quality.loc["AAPL", "verdict"] == "1 sessions missing"
    assert quality.loc["AAPL", "sessions"] == "4 of 5"


@pytest.mark.parametrize("end", ["", "2020-01-01"])
def test_nothing_at_all_is_an_error_that_says_how_to_get_it(store, end):
    symbols = ["TSLA"] if not end else ["AAPL"]

    with pytest.raises(UnknownSeriesError, match=f"ibkit backfill {symbols[0]}"):
        daily.read(store, symbols, days=1, end=end)


def test_the_summary_compares_the_last_session_with_those_before():
    frame = bars("STK-AAPL-SMART-USD")
    frame.loc[frame.index[-390:], "volume"] = 300.0

    row = daily.summary({"AAPL": frame}).loc["AAPL"]

    closes = frame["close"].to_numpy().reshape(4, 390)[:, -1]
    assert row["session"] == "2026-11-19"
    assert row["last"] == closes[-1]
    assert row["change"] == pytest.approx(closes[-1] / closes[-2] - 1)
    assert row["vs usual"] == pytest.approx(3.0)
    assert row["volume"] == 300 * 390
    assert row["vol."] == pytest.approx(4e-4 * np.sqrt(389 * 252), rel=0.15)
    assert row["trend"].startswith("<svg")


def test_one_session_has_no_change_and_no_usual():
    row = daily.summary({"AAPL": bars("STK-AAPL-SMART-USD", days=1)}).loc["AAPL"]

    assert np.isnan(row["change"])
    assert np.isnan(row["vs usual"])


def test_the_same_moves_correlate_and_others_do_not():
    frames = {
        "A": bars("STK-A-SMART-USD", seed=1),
        "B": bars("STK-B-SMART-USD", seed=1),
        "C": bars("STK-C-SMART-USD", seed=2),
    }

    matrix = daily.correlations(frames)

    assert matrix.loc["A", "B"] == pytest.approx(1)
    assert abs(matrix.loc["A", "C"]) < 0.3


def test_quality_sees_short_sessions_silent_bars_and_jumps():
    frame = bars("STK-AAPL-SMART-USD").drop(bars("").index[100:200])
    frame.loc[frame.index[5], "volume"] = 0
    frame.loc[frame.index[300] :, ["open", "high", "low", "close"]] *= 1.05

    row = daily.quality({"AAPL": frame}, ["AAPL"], 4).loc["AAPL"]

    assert (row["short"], row["no volume"]) == (1, 1)
    assert row["largest move"] == pytest.approx(0.05, abs=0.005)
    assert row["verdict"] == "1 short session"


def test_frames_keep_the_mark_of_simulated_data():
    frames = {"AAPL": bars("STK-AAPL-SMART-USD")}

    for table in (
        daily.summary(frames),
        daily.volatilities(frames),
        daily.correlations(frames),
        daily.quality(frames, ["AAPL"], 4),
    ):
        assert table.attrs["simulated"] is True


def test_coverage_is_of_the_series_that_were_read(store):
    table = daily.coverage(store, daily.read(store, ["AAPL"], days=1))

    assert list(table["what_to_show"]) == ["TRADES"]
    assert table.attrs["simulated"]
