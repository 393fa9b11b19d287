"""Real prices, all the way: imported, stored, replayed by the gateway, fetched over a socket."""

import ib_async
import pandas as pd
import pytest
from arch.data import sp500

from ibkit.sim.replay import ReplayMarket
from ibkit.sim.testing import gateway as run_gateway
from ibkit.store import Store

COLUMNS = {"Date": "ts", "Open": "open", "High": "high", "Low": "low", "Close": "close"}
VALUES = ["open", "high", "low", "close", "volume"]
SPX = ib_async.Index("SPX", "CBOE", "USD")


@pytest.fixture(scope="module")
def prices():
    """Daily S&P 500, 1999 to 2018, as the package `arch` carries it."""
    found = sp500.load()
    named = {name: name.lower() for name in found.columns}
    return found.rename(columns=named)[VALUES].astype(float)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that the series was imported into."""
    root = tmp_path_factory.mktemp("real") / "paper"
    Store(root, kind="real").import_bars(
        "IND:SPX@CBOE:USD",
        "1 day",
        sp500.load().reset_index(),
        columns={**COLUMNS, "Volume": "volume"},
        zone="America/New_York",
        source="PyPI arch, arch.data.sp500",
    )
    return root


@pytest.fixture(scope="module")
def replayed(root):
    market = ReplayMarket(root)
    with run_gateway(market=market, universe=market.universe) as running:
        yield running


@pytest.fixture
def ib(replayed):
    ib = ib_async.IB()
    ib.connect(replayed.host, replayed.port, 1)
    yield ib
    ib.disconnect()


def fetch(ib, end, duration, size="1 day"):
    bars = ib.reqHistoricalData(SPX, end, duration, size, "TRADES", useRTH=True, formatDate=2)
    frame = ib_async.util.df(bars)
    return frame.set_index(pd.DatetimeIndex(frame["date"], name="Date"))[VALUES]


def test_twenty_years_of_the_sp500_come_back_equal_value_by_value(ib, prices):
    fetched = fetch(ib, "20190101 00:00:00 UTC", "20 Y")

    assert len(fetched) == len(prices) == 5031
    assert list(fetched.index) == list(prices.index)
    pd.testing.assert_frame_equal(
        fetched, prices, check_exact=True, check_index_type=False, check_freq=False
    )


def test_a_month_out_of_the_middle_holds_its_own_days(ib, prices):
    fetched = fetch(ib, "20081101 00:00:00 UTC", "1 M")

    expected = prices.loc["2008-10-01":"2008-10-31"]
    assert list(fetched.index) == list(expected.index)
    assert (fetched.to_numpy() == expected.to_numpy()).all()


def test_weeks_are_the_sums_of_their_recorded_days(ib, prices):
    fetched = fetch(ib, "20090101 00:00:00 UTC", "1 Y", "1 week")

    days = prices.loc["2008-06-09":"2008-06-13"]
    week = fetched.loc["2008-06-13"]
    assert week["high"] == days["high"].max()
    assert week["volume"] == days["volume"].sum()


def test_the_recording_begins_where_the_series_does(ib):
    head = ib.reqHeadTimeStamp(SPX, "TRADES", useRTH=True, formatDate=2)

    assert head.date() == pd.Timestamp("1999-01-04").date()
