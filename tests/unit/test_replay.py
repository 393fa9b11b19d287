from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from arch.data import sp500

from ibkit.errors import StoreAccessError
from ibkit.schema import bar_size
from ibkit.sim.account import Account
from ibkit.sim.exchange import Exchange, OrderRequest
from ibkit.sim.market import NoDataError
from ibkit.sim.recordings import recordings
from ibkit.sim.replay import ReplayMarket
from ibkit.store import Store

SPX = 416904
COLUMNS = {
    "Date": "ts",
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Volume": "volume",
}


def at(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp())


@pytest.fixture(scope="module")
def truth():
    return sp500.load()


@pytest.fixture(scope="module", params=["America/New_York", "UTC"])
def index_market(request, truth, tmp_path_factory):
    """The daily S&P 500 through the store's own import, stamped in two ways."""
    root = tmp_path_factory.mktemp("store")
    Store(root, kind="real").import_bars(
        "IND:SPX@CBOE:USD", "1 day", truth.reset_index(), columns=COLUMNS, zone=request.param
    )
    return ReplayMarket(root)


@pytest.fixture
def folder(tmp_path):
    """Two days of five-minute bars of two symbols, one of them known to nobody."""
    times = pd.to_datetime(
        [
            f"2026-11-{day} {hour}:{minute:02}"
            for day in (18, 19)
            for hour in range(15, 20)
            for minute in range(0, 60, 5)
        ],
        utc=True,
    )
    price = 100 + np.arange(len(times)) / 10
    frame = pd.DataFrame(
        {
            "ts": times,
            "open": price,
            "high": price + 0.3,
            "low": price - 0.2,
            "close": price + 0.1,
            "volume": 10.0,
            "wap": price,
            "count": 2,
        }
    )
    frame.assign(symbol="AAPL").to_csv(tmp_path / "apple.csv", index=False)
    frame.assign(symbol="TULP").to_parquet(tmp_path / "tulips.parquet")
    return tmp_path


@pytest.fixture
def market(folder):
    return ReplayMarket(folder)


def one(market, symbol):
    others = {"BOND", "CFD"}
    (found,) = [
        x for x in market.universe.instruments if x.symbol == symbol and x.sec_type not in others
    ]
    return found


def test_the_sp500_comes_out_value_by_value(index_market, truth):
    spx = index_market.universe.by_con_id(SPX)

    bars = index_market.bars(spx, 0, at(2026, 1, 1), bar_size("1 day"))

    for column in ("Open", "High", "Low", "Close", "Volume"):
        assert np.array_equal(getattr(bars, column.lower()), truth[column].to_numpy(dtype=float))
    assert bars.ref_date.tolist() == [int(f"{day:%Y%m%d}") for day in truth.index]
    assert set(bars.wap) == {-1.0}


def test_the_recorded_days_are_the_sessions(index_market):
    spx = index_market.universe.by_con_id(SPX)

    days = [s.ref_date for s in index_market.sessions(spx, date(2001, 9, 7), date(2001, 9, 18))]

    assert days == [date(2001, 9, 7), date(2001, 9, 10), date(2001, 9, 17), date(2001, 9, 18)]


def test_months_and_weeks_are_added_up_from_days(index_market, truth):
    spx = index_market.universe.by_con_id(SPX)

    months = index_market.bars(spx, at(2010, 5, 15), at(2010, 7, 1), bar_size("1 month"))
    week = index_market.bars(spx, at(2010, 1, 6, 12), at(2010, 1, 9), bar_size("1 week"))

    may = truth.loc["2010-05"]
    assert months.ref_date.tolist() == [20100528, 20100630]
    assert (months.high[0], months.volume[0]) == (may["High"].max(), may["Volume"].sum())
    assert week.open[0] == truth.loc["2010-01-04", "Open"]
    assert week.ref_date.tolist() == [20100108]


def test_finer_bars_than_recorded_are_refused(index_market):
    spx = index_market.universe.by_con_id(SPX)

    with pytest.raises(NoDataError, match=r"HMDS query returned no data: SPX@CBOE.*1 day"):
        index_market.bars(spx, 0, at(2026, 1, 1), bar_size("1 min"))


def test_an_instrument_that_was_not_recorded_has_no_data_and_an_empty_screen(index_market):
    apple = index_market.universe.by_con_id(265598)

    with pytest.raises(NoDataError):
        index_market.bars(apple, 0, at(2026, 1, 1), bar_size("1 day"))
    assert index_market.quote(apple, at(2010, 5, 6, 18)).last is None


@pytest.mark.parametrize("minute", [0, 100, 200, 389])
def test_quotes_walk_within_the_days_range(index_market, truth, minute):
    spx, row = index_market.universe.by_con_id(SPX), truth.loc["2010-05-06"]

    quote = index_market.quote(spx, at(2010, 5, 6, 13, 30) + 60 * minute)

    assert row["Low"] <= quote.low <= quote.last <= quote.high <= row["High"]
    assert quote.open == row["Open"]
    assert quote.close == truth.loc["2010-05-05", "Close"]
    assert quote.volume <= row["Volume"]


def test_at_the_end_of_a_day_the_quote_is_its_close(index_market, truth):
    spx, row = index_market.universe.by_con_id(SPX), truth.loc["2010-05-06"]

    quote = index_market.quote(spx, at(2010, 5, 6, 20))

    assert (quote.last, quote.high, quote.low) == (row["Close"], row["High"], row["Low"])


def test_before_the_opening_and_long_after_the_last_day_the_quote_is_the_close_before(
    index_market, truth
):
    spx = index_market.universe.by_con_id(SPX)

    early = index_market.quote(spx, at(2010, 5, 6, 12))
    late = index_market.quote(spx, at(2026, 5, 6, 12))

    assert early.last == truth.loc["2010-05-05", "Close"]
    assert late.last == truth["Close"].iloc[-1]


def test_a_folder_of_csv_and_parquet_is_a_market_too(market):
    bars = market.bars(one(market, "AAPL"), at(2026, 11, 18), at(2026, 11, 19), bar_size("5 mins"))

    assert len(bars) == 60
    assert bars.open[:2].tolist() == [100.0, 100.1]
    assert market.head(one(market, "AAPL")) == at(2026, 11, 18, 15)


def test_a_known_symbol_keeps_its_details_and_an_unknown_one_gets_plain_ones(market):
    tulip = one(market, "TULP")

    assert one(market, "AAPL").con_id == 265598
    assert (tulip.exchange, tulip.currency, tulip.order_types) == ("SMART", "USD", "LMT,MKT,WHATIF")
    assert market.universe.by_con_id(tulip.con_id) is tulip


@pytest.mark.parametrize(
    ("size", "count"), [("15 mins", 20), ("1 hour", 5), ("1 day", 1), ("1 week", 1)]
)
def test_larger_bars_are_sums_of_the_recorded_ones(market, size, count):
    span = (one(market, "TULP"), at(2026, 11, 18), at(2026, 11, 19))

    bars, fine = market.bars(*span, bar_size(size)), market.bars(*span, bar_size("5 mins"))

    assert len(bars) == count
    assert bars.volume.sum() == fine.volume.sum()
    assert (bars.high.max(), bars.low.min()) == (fine.high.max(), fine.low.min())
    assert (bars.wap * bars.volume).sum() == pytest.approx((fine.wap * fine.volume).sum())
    assert bars.count.sum() == fine.count.sum()


def test_orders_fill_against_the_recording(market):
    exchange = Exchange(market.universe, market, Account())
    now = at(2026, 11, 18, 16)

    exchange.place(OrderRequest(1, 1, one(market, "TULP"), "BUY", 10, "MKT"), now)

    (fill,) = exchange.executions()
    assert float(fill.price) == market.quote(one(market, "TULP"), now).ask


def test_a_store_with_minutes_of_a_future_is_replayed_as_that_future(tmp_path):
    times = pd.date_range("2026-11-18 15:00", periods=5, freq="min", tz="UTC")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 6000.0), index=times)
    Store(tmp_path, kind="sim").write_bars("FUT-ES-CME-USD-20261218", "1 min", frame)

    market = ReplayMarket(tmp_path)

    (es,) = list(market.universe.chain("ES", date(2026, 12, 1), date(2026, 12, 31)))
    assert len(market.bars(es, at(2026, 11, 18), at(2026, 11, 19), bar_size("1 min"))) == 5


def test_what_cannot_be_replayed_says_why(tmp_path):
    with pytest.raises(StoreAccessError, match="no such folder"):
        ReplayMarket(tmp_path / "nowhere")
    with pytest.raises(StoreAccessError, match="no bars"):
        recordings(tmp_path)
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StoreAccessError, match="no column ts"):
        recordings(tmp_path)
