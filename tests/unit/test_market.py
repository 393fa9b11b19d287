from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from ibkit.schema import BAR_SIZES, bar_size
from ibkit.sim import derived, paths
from ibkit.sim.market import Market
from ibkit.sim.noise import stream
from ibkit.sim.universe import Universe

DAY = date(2026, 11, 18)


def at(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp())


@pytest.fixture(scope="module")
def universe():
    return Universe.load()


@pytest.fixture(scope="module")
def market(universe):
    return Market(universe)


@pytest.fixture(scope="module")
def apple(universe):
    return universe.by_con_id(265598)


@pytest.fixture(scope="module")
def es(universe):
    return universe.chain("ES", date(2026, 12, 1), date(2026, 12, 31))[0]


@pytest.fixture(scope="module")
def euro(universe):
    return universe.by_con_id(12087792)


def test_the_first_draws_are_pinned_so_that_a_new_numpy_cannot_change_history_unseen():
    drawn = stream(1, "pinned").standard_normal(3)

    assert drawn.round(6).tolist() == [-1.867896, 1.589017, 0.570035]


def test_another_seed_is_another_history_and_the_same_seed_the_same(universe, apple):
    span = (apple, at(2026, 11, 18, 15), at(2026, 11, 18, 16), bar_size("1 min"))

    same, again, other = (Market(universe, seed).bars(*span).close for seed in (1, 1, 2))

    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)


def test_a_day_of_regular_hours_has_390_minutes_from_half_past_nine(market, apple):
    bars = market.bars(apple, at(2026, 11, 18), at(2026, 11, 19), bar_size("1 min"))

    assert len(bars) == 390
    assert bars.time[0] == at(2026, 11, 18, 14, 30)
    assert set(bars.ref_date.tolist()) == {20261118}


def test_hours_begin_at_half_past_nine_and_then_on_the_hour(market, apple):
    bars = market.bars(apple, at(2026, 11, 18), at(2026, 11, 19), bar_size("1 hour"))

    begins = [datetime.fromtimestamp(when, UTC).strftime("%H:%M") for when in bars.time]
    assert begins == ["14:30", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00"]


def test_hours_after_a_lunch_break_begin_with_the_afternoon(market, universe):
    (toyota,) = [one for one in universe.instruments if one.symbol == "7203"]

    bars = market.bars(toyota, at(2026, 11, 18), at(2026, 11, 19) - 1, bar_size("1 hour"))

    tokyo = [datetime.fromtimestamp(when + 9 * 3600, UTC).strftime("%H:%M") for when in bars.time]
    assert tokyo == ["09:00", "10:00", "11:00", "12:30", "13:00", "14:00", "15:00"]


def test_bars_lie_on_the_tick_grid_and_enclose_open_close_and_average(market, apple):
    bars = market.bars(
        apple, at(2026, 11, 1), at(2026, 11, 20), bar_size("1 min"), "TRADES", use_rth=False
    )

    for column in (bars.open, bars.high, bars.low, bars.close):
        assert np.array_equal(column, np.round(column, 2))
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert ((bars.wap >= bars.low - 1e-9) & (bars.wap <= bars.high + 1e-9)).all()
    assert (bars.volume >= bars.count).all()
    assert (bars.count > 0).all()


def test_early_minutes_without_a_trade_are_left_out(market, universe):
    (small,) = [one for one in universe.instruments if one.symbol == "GS"]
    span = (small, at(2026, 11, 18, 9), at(2026, 11, 18, 10), bar_size("1 min"))

    assert 0 < len(market.bars(*span, "TRADES", use_rth=False)) < 50
    assert len(market.bars(*span, "MIDPOINT", use_rth=False)) == 60


@pytest.mark.parametrize("what", ["MIDPOINT", "BID", "ASK", "BID_ASK"])
def test_other_series_than_trades_have_no_volume_average_or_count(market, apple, what):
    bars = market.bars(apple, at(2026, 11, 18, 15), at(2026, 11, 18, 16), bar_size("5 mins"), what)

    assert len(bars) == 12
    assert set(bars.volume) == set(bars.wap) == {-1.0}
    assert set(bars.count.tolist()) == {-1}


def test_bid_lies_below_mid_and_mid_below_ask(market, apple):
    span = (apple, at(2026, 11, 18, 15), at(2026, 11, 18, 16), bar_size("1 min"))

    bid, mid, ask = (market.bars(*span, what).close for what in ("BID", "MIDPOINT", "ASK"))

    assert (bid < mid).all()
    assert (mid < ask).all()
    assert np.allclose(mid, (bid + ask) / 2)


def test_bid_ask_bars_span_from_the_lowest_bid_to_the_highest_ask_of_their_seconds(market, apple):
    span = (apple, at(2026, 11, 18, 15), at(2026, 11, 18, 16))
    both = market.bars(*span, bar_size("10 mins"), "BID_ASK")

    bid, ask = (
        market.bars(*span, bar_size("1 secs"), what).close.reshape(6, 600)
        for what in ("BID", "ASK")
    )

    assert np.array_equal(both.low, bid.min(axis=1))
    assert np.array_equal(both.high, ask.max(axis=1))
    assert np.allclose(both.open, bid.mean(axis=1), atol=1e-3)
    assert np.allclose(both.close, ask.mean(axis=1), atol=1e-3)


def test_a_days_bid_ask_bar_is_made_of_its_hours(market, apple):
    span = (apple, at(2026, 11, 18), at(2026, 11, 19))

    day = market.bars(*span, bar_size("1 day"), "BID_ASK")
    minutes = market.bars(*span, bar_size("1 min"), "BID_ASK")

    assert (day.low[0], day.high[0]) == (minutes.low.min(), minutes.high.max())
    assert day.open[0] == pytest.approx(minutes.open.mean(), abs=2e-3)


def test_the_bar_in_progress_holds_only_what_has_happened(market, apple):
    begin, now = at(2026, 11, 18, 15), at(2026, 11, 18, 15, 7, 23)
    span = (apple, begin, now)

    five = market.bars(*span, bar_size("5 mins"))
    seconds = market.bars(apple, begin + 300, now, bar_size("1 secs"))

    assert len(five) == 2
    assert five.volume[1] == seconds.volume.sum()
    assert (five.open[1], five.close[1]) == (seconds.open[0], seconds.close[-1])
    assert (five.high[1], five.low[1]) == (seconds.high.max(), seconds.low.min())


def test_a_day_in_progress_ends_now(market, apple):
    now = at(2026, 11, 18, 15, 7, 23)

    day = market.bars(apple, at(2026, 11, 18), now, bar_size("1 day"))
    seconds = market.bars(apple, at(2026, 11, 18), now, bar_size("5 secs"))

    assert day.ref_date.tolist() == [20261118]
    assert day.volume[0] == seconds.volume.sum()
    assert day.close[0] == seconds.close[-1]


def test_weeks_and_months_carry_their_last_trading_day_and_are_whole_at_the_begin(market, apple):
    weeks = market.bars(apple, at(2026, 11, 4), at(2026, 11, 21), bar_size("1 week"))
    months = market.bars(apple, at(2026, 9, 15), at(2026, 11, 1), bar_size("1 month"))

    assert weeks.ref_date.tolist() == [20261106, 20261113, 20261120]
    assert datetime.fromtimestamp(weeks.time[0], UTC).date() == date(2026, 11, 2)
    assert months.ref_date.tolist() == [20260930, 20261030]


def test_an_index_has_bars_without_volume(market, universe):
    spx = universe.by_con_id(416904)

    bars = market.bars(spx, at(2026, 11, 18), at(2026, 11, 19), bar_size("1 hour"))

    assert len(bars) == 7
    assert set(bars.volume) == {0.0}


def test_coins_trade_on_sunday_in_fractions(market, universe):
    (coin,) = [
        one for one in universe.instruments if one.sec_type == "CRYPTO" and one.symbol == "BTC"
    ]

    bars = market.bars(
        coin, at(2026, 11, 15), at(2026, 11, 16), bar_size("1 hour"), "TRADES", use_rth=False
    )

    assert len(bars) == 24
    assert (bars.volume % 1).any()


def test_an_instrument_asked_for_at_a_venue_has_the_same_prices(market, universe, apple):
    from dataclasses import replace

    span = (at(2026, 11, 18, 15), at(2026, 11, 18, 16), bar_size("1 min"))
    there = replace(apple, exchange="NASDAQ")

    assert np.array_equal(market.bars(apple, *span).close, market.bars(there, *span).close)


def test_nothing_before_the_head_or_after_the_last_trading_day(market, es):
    assert len(market.bars(es, at(2020, 1, 1), at(2021, 1, 1), bar_size("1 day"))) == 0
    assert len(market.bars(es, at(2026, 12, 19), at(2027, 1, 1), bar_size("1 day"))) == 0
    assert market.head(es) >= at(2024, 12, 1)
    assert len(market.bars(es, 0, at(2026, 11, 20), bar_size("1 day"))) > 400


def test_a_year_that_lies_far_back_or_ahead_is_there_at_once(market, apple):
    for year in (1999, 2031):
        assert len(market.bars(apple, at(year, 2, 1), at(year, 3, 1), bar_size("1 day"))) in {
            19,
            20,
        }


# --- quotes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [0, 59, 1234, 3599, 3600, 9000, 23399])
def test_a_quote_agrees_with_the_bars_of_its_day(market, apple, second):
    opening = at(2026, 11, 18, 14, 30)
    now = opening + second

    quote = market.quote(apple, now + 0.9)
    bars = market.bars(
        apple, at(2026, 11, 18, 9), now + 1, bar_size("1 secs"), "TRADES", use_rth=False
    )
    regular = bars.time >= opening

    assert quote.last == bars.close[-1]
    assert quote.last_time == bars.time[-1]
    assert quote.volume == bars.volume.sum()
    assert quote.open == bars.open[regular][0]
    assert (quote.high, quote.low) == (bars.high[regular].max(), bars.low[regular].min())


def test_bid_and_ask_of_a_quote_are_those_of_the_bars(market, apple):
    now = at(2026, 11, 18, 16, 11, 7)

    quote = market.quote(apple, now)

    for side, what in ((quote.bid, "BID"), (quote.ask, "ASK")):
        assert side == market.bars(apple, now, now + 1, bar_size("1 secs"), what).close[0]


def test_the_close_of_a_quote_is_that_of_the_day_before(market, apple):
    days = market.bars(apple, at(2026, 11, 17), at(2026, 11, 18), bar_size("1 day"))

    assert market.quote(apple, at(2026, 11, 18, 16)).close == days.close[-1]


def test_before_the_first_trade_of_a_day_the_last_price_is_that_of_the_evening(market, apple):
    start = at(2026, 11, 18, 9)
    evening = market.bars(
        apple, at(2026, 11, 17), start, bar_size("1 min"), "TRADES", use_rth=False
    )
    first = market.bars(
        apple, start, start + 3600, bar_size("1 secs"), "TRADES", use_rth=False
    ).time[0]

    if first > start:
        assert market.quote(apple, first - 1).last == evening.close[-1]
        assert market.quote(apple, first - 1).open is None


def test_on_a_sunday_quotes_go_on_around_the_last_close_when_always_open(market, apple):
    friday = market.bars(apple, at(2026, 11, 20), at(2026, 11, 21), bar_size("1 day")).close[-1]

    quotes = [market.quote(apple, at(2026, 11, 22, 12) + n) for n in range(0, 3600, 10)]

    lasts = [quote.last for quote in quotes]
    assert len(set(lasts)) > 3
    assert all(abs(last / friday - 1) < 0.02 for last in lasts)
    assert all(quote.bid < quote.ask for quote in quotes)
    assert [q.volume for q in quotes] == sorted(q.volume for q in quotes)
    assert quotes[0] == market.quote(apple, at(2026, 11, 22, 12))


def test_on_a_sunday_a_market_with_hours_shows_the_last_price_and_no_book(universe, apple):
    quote = Market(universe, always_open=False).quote(apple, at(2026, 11, 22, 12))

    assert (quote.bid, quote.ask) == (None, None)
    assert quote.last is not None


def test_a_currency_has_no_trades_and_an_index_no_book(market, universe, euro):
    pair, index = (
        market.quote(euro, at(2026, 11, 18, 16)),
        market.quote(universe.by_con_id(416904), at(2026, 11, 18, 16)),
    )

    assert pair.last is None
    assert pair.ask > pair.bid
    assert index.bid is None
    assert index.last > 0


def test_an_expired_future_shows_its_last_price_for_ever(market, es):
    one, other = (market.quote(es, at(2027, month, 5)) for month in (1, 3))

    assert one == other
    assert one.bid is None


def test_is_open_knows_hours_and_regular_hours(market, apple, es):
    assert market.is_open(apple, at(2026, 11, 18, 10))
    assert not market.is_open(apple, at(2026, 11, 18, 10), use_rth=True)
    assert not market.is_open(apple, at(2026, 11, 21, 16))
    assert not market.is_open(es, at(2026, 12, 22, 16))


# --- plausible -----------------------------------------------------------------------------------


def returns(market, instrument, start, end):
    close = market.bars(instrument, start, end, bar_size("1 day")).close
    return np.diff(np.log(close))


def test_stocks_move_with_the_market_and_most_with_their_sector(market, universe):
    def of(symbol):
        (found,) = [
            x
            for x in universe.instruments
            if (x.symbol, x.currency) == (symbol, "USD") and x.sec_type == "STK"
        ]
        return returns(market, found, at(2024, 1, 1), at(2026, 1, 1))

    chevron, exxon, pepsi = of("CVX"), of("XOM"), of("PEP")

    assert np.corrcoef(chevron, exxon)[0, 1] > 0.4
    assert np.corrcoef(chevron, exxon)[0, 1] > np.corrcoef(chevron, pepsi)[0, 1] + 0.1


def test_months_of_one_future_move_together_and_differ_by_carry(market, universe):
    near, far = universe.chain("ES", date(2026, 12, 1), date(2027, 3, 31))
    span = (at(2026, 9, 1), at(2026, 11, 20), bar_size("1 day"))

    first, second = (market.bars(one, *span).close for one in (near, far))

    assert np.corrcoef(np.diff(first), np.diff(second))[0, 1] > 0.98
    assert 1.001 < (second / first).mean() < 1.02


def test_volume_is_a_u_and_busy_days_come_in_clusters(market, apple):
    bars = market.bars(apple, at(2026, 9, 1), at(2026, 11, 20), bar_size("30 mins"))
    by_slot = bars.volume.reshape(-1, 13).mean(axis=0)
    moves = np.abs(returns(market, apple, at(2016, 1, 1), at(2026, 1, 1)))

    assert by_slot[0] > 1.3 * by_slot[6]
    assert by_slot[-1] > 1.3 * by_slot[6]
    assert np.corrcoef(moves[1:], moves[:-1])[0, 1] > 0.03


def test_the_front_month_has_most_of_the_volume(market, universe):
    near, far = universe.chain("ES", date(2026, 12, 1), date(2027, 3, 31))
    span = (at(2026, 11, 17), at(2026, 11, 18), bar_size("1 day"))

    assert market.bars(near, *span).volume[0] > 5 * market.bars(far, *span).volume[0]


@pytest.mark.parametrize("name", list(BAR_SIZES))
def test_every_bar_size_adds_up_to_the_same_day(market, apple, name):
    day = (at(2026, 11, 18), at(2026, 11, 19))
    size = bar_size(name)
    if not size.intraday:
        return

    bars, whole = market.bars(apple, *day, size), market.bars(apple, *day, bar_size("1 day"))

    assert bars.volume.sum() == whole.volume[0]
    assert bars.count.sum() == whole.count[0]
    assert (bars.high.max(), bars.low.min()) == (whole.high[0], whole.low[0])
    assert (bars.open[0], bars.close[-1]) == (whole.open[0], whole.close[0])
    assert (bars.wap * bars.volume).sum() / whole.volume[0] == pytest.approx(whole.wap[0], abs=1e-4)


def stocks(universe, currency="USD"):
    return [
        one
        for one in universe.instruments
        if one.sec_type == "STK" and one.currency == currency and one.stock_type != "ETF"
    ]


def test_pairs_of_one_sector_move_together_more_than_others(market, universe):
    found = [one for one in stocks(universe) if one.symbol != "GOOG"]
    moves = np.corrcoef([returns(market, one, at(2025, 1, 1), at(2026, 1, 1)) for one in found])
    sectors = np.array([one.model.path.sector for one in found])
    pair = np.triu(np.ones_like(moves, dtype=bool), 1)
    same = (sectors[:, None] == sectors[None, :]) & (sectors[:, None] != "")

    assert len(set(sectors)) >= 5
    assert 0.1 < moves[pair & ~same].mean() < 0.5
    assert moves[pair & same].mean() > moves[pair & ~same].mean() + 0.1


def test_large_moves_follow_large_moves_in_most_stocks(market, universe):
    found = []
    for one in stocks(universe)[:6]:
        squares = returns(market, one, at(2017, 1, 1), at(2026, 1, 1)) ** 2
        calm = np.minimum(squares, np.quantile(squares, 0.99))
        found.append(np.mean([np.corrcoef(calm[lag:], calm[:-lag])[0, 1] for lag in range(1, 6)]))

    assert np.mean(found) > 0.03
    assert sum(one > 0 for one in found) >= 5


def test_returns_have_the_volatility_of_their_path_and_fatter_tails_than_normal(market, apple):
    moves = returns(market, apple, at(2010, 1, 1), at(2026, 1, 1))

    assert moves.std() * np.sqrt(252) == pytest.approx(apple.model.path.vol, rel=0.2)
    assert ((moves / moves.std()) ** 4).mean() > 3.3


def test_nights_have_gaps_that_are_a_part_of_the_days_move(market, apple):
    days = market.bars(apple, at(2024, 1, 1), at(2026, 1, 1), bar_size("1 day"))
    gaps = np.log(days.open[1:] / days.close[:-1])
    whole = np.diff(np.log(days.close))

    assert (np.abs(gaps) > 0.0005).mean() > 0.7
    assert 0.1 < gaps.var() / whole.var() < 0.6


@pytest.mark.parametrize("symbol", ["AAPL", "VOD", "7203", "700", "ES", "ZC", "EUR", "BTC"])
def test_both_sides_lie_on_the_tick_grid_and_apart(market, universe, symbol):
    if symbol in universe.products:
        (one, *_) = universe.chain(symbol, date(2026, 12, 1), date(2027, 3, 31))
    else:
        (one, *_) = (x for x in universe.instruments if x.symbol == symbol)
    span = (one, at(2026, 11, 17), at(2026, 11, 19), bar_size("5 mins"))

    bid, ask = (market.bars(*span, what).close for what in ("BID", "ASK"))

    step = paths.day_grid(market.seed, one, date(2026, 11, 17)).step
    tick = float(one.tick) * step
    for side in (bid, ask):
        assert np.allclose(side / tick, np.round(side / tick), atol=1e-6)
    wide = np.round((ask - bid) / tick)
    assert wide.min() >= 1
    assert wide.max() <= 4 * (one.model.spread + 1)


def test_a_future_comes_to_its_underlying_as_it_expires(market, universe):
    spx = universe.by_con_id(416904)
    future = universe.chain("ES", date(2026, 9, 1), date(2026, 9, 30))[0]
    span = (at(2026, 1, 5), at(2026, 9, 18), bar_size("1 hour"))

    bars, index = market.bars(future, *span), market.bars(spx, *span)
    same = np.intersect1d(bars.time, index.time, return_indices=True)
    basis = np.log(bars.close[same[1]] / index.close[same[2]])

    assert basis[:100].mean() > basis[-100:].mean() + 0.005
    assert abs(basis[-20:].mean()) < 0.003


# --- series that are no prices -------------------------------------------------------------------

LINES = ["HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY", "FEE_RATE"]


@pytest.mark.parametrize("what", LINES)
def test_volatility_and_fees_have_bars_of_every_size_and_no_volume(market, apple, what):
    for name in ("1 secs", "1 min", "1 hour", "1 day", "1 week"):
        start = at(2026, 11, 18, 15) if name == "1 secs" else at(2026, 11, 9)
        end = at(2026, 11, 18, 16) if name == "1 secs" else at(2026, 11, 21)
        bars = market.bars(apple, start, end, bar_size(name), what)
        assert len(bars) == {"1 secs": 3600, "1 min": 3900, "1 hour": 70}.get(name, len(bars))
        assert (bars.low > 0).all()
        assert (bars.low <= np.minimum(bars.open, bars.close)).all()
        assert (bars.high >= np.maximum(bars.open, bars.close)).all()
        assert set(bars.volume) == set(bars.wap) == {-1.0}


def test_historical_volatility_is_that_of_the_last_thirty_sessions(market, apple):
    moves = returns(market, apple, at(2026, 10, 1), at(2026, 11, 19))
    shown = market.bars(
        apple, at(2026, 11, 18), at(2026, 11, 19), bar_size("1 day"), "HISTORICAL_VOLATILITY"
    )

    assert shown.close[0] == pytest.approx(moves[-30:].std() * np.sqrt(252), rel=0.1)


def test_implied_volatility_is_near_what_the_path_does(market, universe):
    for one in stocks(universe)[:5]:
        shown = market.bars(
            one,
            at(2020, 1, 1),
            at(2026, 1, 1),
            bar_size("1 month"),
            "OPTION_IMPLIED_VOLATILITY",
        )
        assert shown.close.mean() == pytest.approx(one.model.path.vol, rel=0.35)
        assert shown.close.std() > 0.02 * shown.close.mean()


@pytest.fixture(scope="module")
def bond(universe):
    return next(one for one in universe.instruments if one.sec_type == "BOND")


def test_the_yield_of_a_bond_at_par_is_its_coupon_and_falls_as_the_price_rises(bond):
    low, par, high = derived.yields(bond, date(2026, 11, 20), np.array([90.0, 100.0, 110.0]))

    assert par / derived.SCALE == pytest.approx(bond.bond.coupon, abs=0.001)
    assert 0.5 < (low - par) / derived.SCALE < 2
    assert high < par


def test_the_bid_yields_more_than_the_ask_and_bars_add_up(market, bond):
    span = (bond, at(2026, 11, 18), at(2026, 11, 19))

    bid, ask, last = (
        market.bars(*span, bar_size("1 min"), what)
        for what in ("YIELD_BID", "YIELD_ASK", "YIELD_LAST")
    )
    day = market.bars(*span, bar_size("1 day"), "YIELD_LAST")
    both = market.bars(*span, bar_size("1 hour"), "YIELD_BID_ASK")

    assert (bid.close > ask.close).all()
    assert (day.high[0], day.low[0]) == (last.high.max(), last.low.min())
    assert (day.open[0], day.close[0]) == (last.open[0], last.close[-1])
    assert (both.open > both.close).all()
    assert 1.0 < both.close.mean() < 10.0


def test_a_bond_has_a_history_from_its_issue_on(market, bond):
    issued = date.fromisoformat(bond.bond.issued)
    head = datetime.fromtimestamp(market.head(bond), UTC).date()

    assert issued <= head <= issued + timedelta(days=5)
