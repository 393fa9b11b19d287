"""Price steps that grow with the price: every price of the market is on them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from ibkit.schema import BAR_SIZES
from ibkit.sim import grids
from ibkit.sim.depth import book
from ibkit.sim.market import Market
from ibkit.sim.paths import day_grid
from ibkit.sim.trades import trades
from ibkit.sim.universe import Universe

UNIVERSE = Universe.load()
MARKET = Market(UNIVERSE)
STEPPED = [one for one in UNIVERSE.instruments if one.bands]
FIRST = date(2026, 10, 26)


def on_the_grid(instrument, price):
    """Whether an order at this price would be accepted."""
    price = Decimal(repr(float(price)))
    return price % UNIVERSE.increment(instrument, price) == 0


def span(days=5):
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC).timestamp()
    return start, start + timedelta(days=days).total_seconds()


@pytest.fixture(params=STEPPED, ids=lambda one: one.symbol)
def stock(request):
    return request.param


def test_london_xetra_tokyo_and_hong_kong_have_tables_of_steps():
    assert {one.primary_exchange for one in STEPPED} == {"LSE", "IBIS", "TSEJ", "SEHK"}
    assert all(len(UNIVERSE.market_rule(one.market_rule_ids[0])) > 5 for one in STEPPED)


@pytest.mark.parametrize("what", ["TRADES", "BID", "ASK"])
def test_bars_are_on_the_steps_of_their_prices(stock, what):
    bars = MARKET.bars(stock, *span(), BAR_SIZES["1 min"], what)

    assert len(bars)
    for column in (bars.open, bars.high, bars.low, bars.close):
        assert all(on_the_grid(stock, price) for price in np.unique(column))


def test_seconds_still_add_up_to_minutes(stock):
    day = MARKET.sessions(stock, FIRST, FIRST)[0]
    fine = MARKET.bars(stock, day.start, day.start + 3600, BAR_SIZES["1 secs"])
    coarse = MARKET.bars(stock, day.start, day.start + 3600, BAR_SIZES["1 min"])

    for n, at in enumerate(coarse.time.tolist()):
        inside = (fine.time >= at) & (fine.time < at + 60)
        assert fine.high[inside].max() == coarse.high[n]
        assert fine.low[inside].min() == coarse.low[n]
        assert fine.open[inside][0] == coarse.open[n]
        assert fine.close[inside][-1] == coarse.close[n]
        assert fine.volume[inside].sum() == coarse.volume[n]
        assert (fine.wap[inside] >= fine.low[inside] - 1e-9).all()
        assert (fine.wap[inside] <= fine.high[inside] + 1e-9).all()


@pytest.mark.parametrize("hours", [0.5, 14.0])
def test_quotes_and_the_book_are_on_the_steps_also_at_night(stock, hours):
    day = MARKET.sessions(stock, FIRST, FIRST)[0]
    for second in range(0, 600, 37):
        at = day.start + int(hours * 3600) + second
        quote = MARKET.quote(stock, at)
        prices = [quote.bid, quote.ask, quote.last]
        for side in book(1, stock, quote, at, 10):
            prices += [row.price for row in side]
        assert quote.bid < quote.ask
        assert all(on_the_grid(stock, price) for price in prices), prices


def test_single_trades_are_on_the_steps(stock):
    day = MARKET.sessions(stock, FIRST, FIRST)[0]
    found = list(trades(MARKET, 1, stock, day.start, day.start + 300))

    assert found
    assert all(on_the_grid(stock, trade.price) for trade in found)


def test_a_day_near_the_edge_of_a_band_keeps_to_both_of_them():
    """Two years of days: some of them trade on both sides of an edge."""
    start = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    end = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    crossed = 0
    for stock in STEPPED[::2]:
        bars = MARKET.bars(stock, start, end, BAR_SIZES["1 day"])
        steps = [
            {UNIVERSE.increment(stock, Decimal(repr(price))) for price in pair}
            for pair in zip(bars.high.tolist(), bars.low.tolist(), strict=True)
        ]
        crossed += sum(len(one) > 1 for one in steps)
        for column in (bars.open, bars.high, bars.low, bars.close):
            assert all(on_the_grid(stock, price) for price in np.unique(column))
    assert crossed > 5


def test_other_instruments_have_one_step_and_no_bounds():
    (apple,) = [one for one in UNIVERSE.instruments if one.con_id == 265598]

    assert not apple.bands
    assert day_grid(1, apple, FIRST).step == 1


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0, 10, 1), (1500, 1999, 2), (1500, 2000, 10), (999, 5000, 10)]
)
def test_a_common_step_fits_every_band(low, high, step):
    assert grids.common_step(((0, 1), (1000, 2), (2000, 5)), low, high) == step
