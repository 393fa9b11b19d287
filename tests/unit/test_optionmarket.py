"""Option prices: one surface, on the underlying's path, the same in every bar size."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest

from ibkit.schema import BAR_SIZES
from ibkit.sim import greeks, optionmarket
from ibkit.sim.contracts import ContractSpec
from ibkit.sim.market import Market
from ibkit.sim.universe import Universe

TODAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 17, tzinfo=UTC).timestamp()
SATURDAY = datetime(2026, 11, 21, 17, tzinfo=UTC).timestamp()
OPENING = int(datetime(2026, 11, 20, 14, 30, tzinfo=UTC).timestamp())
CLOSING = OPENING + 390 * 60
UNIVERSE = Universe.load()
MARKET = Market(UNIVERSE)


def under(symbol, kind):
    (found,) = UNIVERSE.find(ContractSpec(symbol=symbol, sec_type=kind, currency="USD"), TODAY)
    return found


def near(symbol, kind, share=1.0, expiry="20261218", at=NOON, name=""):
    """Return spot, and the call and the put with the strike nearest to a share of it."""
    spot = MARKET.quote(under(symbol, kind), at).middle
    listed = UNIVERSE.find(
        ContractSpec(symbol=symbol, sec_type="OPT", last_trade_date=expiry, trading_class=name),
        TODAY,
    )
    strike = min({one.strike for one in listed}, key=lambda one: abs(one - share * spot))
    return spot, *(one for one in listed if one.strike == strike)


@pytest.mark.parametrize("what", ["TRADES", "BID", "ASK", "MIDPOINT"])
@pytest.mark.parametrize(
    "asked", [("SPY", "STK", 1.0), ("AAPL", "STK", 1.06), ("SPX", "IND", 0.93)]
)
def test_all_bar_sizes_add_up_from_one_path(what, asked):
    _, call, _ = near(*asked)
    fine = MARKET.bars(call, OPENING, CLOSING, BAR_SIZES["1 secs"], what)
    minutes = MARKET.bars(call, OPENING, CLOSING, BAR_SIZES["1 min"], what)
    day = MARKET.bars(call, OPENING, CLOSING, BAR_SIZES["1 day"], what).close

    slot = fine.time // 60 * 60
    for n, start in enumerate(minutes.time):
        inside = slot == start
        assert minutes.open[n] == fine.open[inside][0]
        assert minutes.high[n] == fine.high[inside].max()
        assert minutes.low[n] == fine.low[inside].min()
        assert minutes.close[n] == fine.close[inside][-1]
        if what == "TRADES":
            assert minutes.volume[n] == fine.volume[inside].sum()
            assert minutes.count[n] == fine.count[inside].sum()
    assert len(day) == 1
    assert day[0] == fine.close[-1]


def test_the_stream_and_the_history_agree():
    _, call, _ = near("SPY", "STK")
    quote = MARKET.quote(call, NOON)
    bar = {
        what: MARKET.bars(call, NOON, NOON + 1, BAR_SIZES["1 secs"], what).close[0]
        for what in ("BID", "ASK")
    }

    assert (quote.bid, quote.ask) == (bar["BID"], bar["ASK"])


@pytest.mark.parametrize("moment", [NOON, NOON + 13, SATURDAY])
@pytest.mark.parametrize("share", [0.95, 1.0, 1.05])
def test_a_put_and_a_call_of_an_index_differ_by_the_forward(moment, share):
    spot, call, put = near("SPX", "IND", share, at=moment, name="SPXW")
    bought, sold = MARKET.quote(call, moment), MARKET.quote(put, moment)
    years = greeks.years_left(call, moment)
    forward = spot - call.strike * math.exp(-greeks.RATE * years)

    assert abs(bought.middle - sold.middle - forward) < 1.0


@pytest.mark.parametrize("symbol", ["SPY", "QQQ", "IWM", "AAPL", "MSFT", "NVDA", "TSLA", "AMZN"])
def test_quotes_are_on_the_tick_grid_and_no_american_option_is_below_its_inner_value(symbol):
    for share in (0.9, 0.97, 1.0, 1.03, 1.1):
        spot, call, put = near(symbol, "STK", share)
        for one, inner in ((call, spot - call.strike), (put, put.strike - spot)):
            quote = MARKET.quote(one, NOON)
            assert 0 < quote.bid < quote.ask
            assert quote.middle >= inner - (quote.ask - quote.bid)
            for price in (quote.bid, quote.ask, quote.last):
                step = UNIVERSE.increment(one, Decimal(str(price)))
                assert Decimal(str(price)) % step == 0, (one, price, step)


def test_the_surface_is_skewed_and_the_quotes_are_on_it():
    vols = []
    for share in (0.92, 1.0, 1.06):
        spot, call, put = near("SPX", "IND", share, name="SPXW")
        one = put if share < 1 else call
        vol = optionmarket.model_volatility(1, one, spot, NOON)
        implied = greeks.at_price(one, MARKET.quote(one, NOON).middle, spot, NOON).volatility
        assert implied == pytest.approx(vol, abs=0.01)
        vols.append(vol)

    assert vols[0] > vols[1] > vols[2]


def test_the_spread_grows_with_vega():
    widths = []
    for expiry in ("20261127", "20261218", "20270617"):
        _, call, _ = near("SPY", "STK", expiry=expiry)
        quote = MARKET.quote(call, NOON)
        widths.append(round(quote.ask - quote.bid, 2))

    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_an_option_ends_at_its_inner_value():
    expiry = "20261120"
    spot, call, _ = near("SPY", "STK", 0.98, expiry=expiry, at=CLOSING - 1)

    assert MARKET.quote(call, CLOSING - 1).last == pytest.approx(spot - call.strike, abs=0.02)
    assert MARKET.quote(call, SATURDAY).bid is None


def test_the_array_and_the_scalar_formula_agree():
    _, call, put = near("SPX", "IND", name="SPXW")
    spots = np.linspace(4000, 9000, 41)
    for one in (call, put):
        ours = optionmarket.value(one, spots, 0.25, 0.18)
        exact = [greeks.value(s, one.strike, 0.25, 0.18, one.right).price for s in spots]
        assert np.allclose(ours, exact, atol=2e-3)


def test_other_seeds_have_other_prices_and_the_same_seed_the_same():
    _, call, _ = near("SPY", "STK")

    assert Market(Universe.load()).quote(call, NOON) == MARKET.quote(call, NOON)
    assert Market(UNIVERSE, 2).quote(call, NOON) != MARKET.quote(call, NOON)
