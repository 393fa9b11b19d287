"""The market's promises: bars add up exactly, whatever was asked before, in any window."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkit.schema import bar_size
from ibkit.sim import paths, refine
from ibkit.sim.market import Market
from ibkit.sim.noise import stream
from ibkit.sim.universe import Universe

UNIVERSE = Universe.load()
MARKET = Market(UNIVERSE)
FUTURES = [
    UNIVERSE.chain(root, date(2026, 12, 1), date(2027, 6, 30))[0] for root in ("ES", "PA", "ZC")
]
SOME = [
    *FUTURES,
    *(
        one
        for one in UNIVERSE.instruments
        if one.symbol in {"AAPL", "VOD", "7203", "700", "BTC", "SPX"}
    ),
    *(one for one in UNIVERSE.instruments if one.sec_type == "CASH"),
]
INTRADAY = ["1 secs", "5 secs", "30 secs", "1 min", "3 mins", "15 mins", "1 hour", "4 hours"]
instruments = st.sampled_from(SOME)
days = st.dates(date(2026, 1, 5), date(2026, 11, 20))
kinds = st.sampled_from(
    [
        "TRADES",
        "MIDPOINT",
        "BID",
        "ASK",
        "ADJUSTED_LAST",
        "HISTORICAL_VOLATILITY",
        "OPTION_IMPLIED_VOLATILITY",
        "FEE_RATE",
    ]
)


def epoch(day):
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def forget():
    for cached in (paths.minutes, paths.seconds):
        cached.cache_clear()


@settings(max_examples=40, deadline=None)
@given(
    instruments,
    days,
    st.sampled_from(INTRADAY[:-1]),
    st.sampled_from(INTRADAY[1:]),
    kinds,
    st.booleans(),
)
def test_larger_bars_are_the_sums_of_smaller_ones(one, day, small, large, what, use_rth):
    small, large = (bar_size(name) for name in (small, large))
    if large.seconds % small.seconds or small == large:
        return
    span = (epoch(day), epoch(day + timedelta(days=1)))

    fine = MARKET.bars(one, *span, small, what, use_rth)
    coarse = MARKET.bars(one, *span, large, what, use_rth)

    # what lies before the first whole large bar has no counterpart
    cut = np.searchsorted(fine.time, coarse.time)
    assert len(set(cut.tolist())) == len(coarse)
    ends = np.append(cut, len(fine))[1:] if len(cut) else cut
    for n, (first, last) in enumerate(zip(cut, ends, strict=True)):
        assert coarse.open[n] == fine.open[first]
        assert coarse.close[n] == fine.close[last - 1]
        assert coarse.high[n] == fine.high[first:last].max()
        assert coarse.low[n] == fine.low[first:last].min()
        if what == "TRADES":
            assert coarse.volume[n] == pytest.approx(fine.volume[first:last].sum(), rel=1e-12)
            assert coarse.count[n] == fine.count[first:last].sum()


@settings(max_examples=25, deadline=None)
@given(instruments, days, st.integers(0, 86_399), st.integers(1, 20_000), kinds)
def test_a_window_shows_the_same_bars_as_the_day_around_it(one, day, offset, length, what):
    start = epoch(day) + offset
    size = bar_size("1 min")

    window = MARKET.bars(one, start, start + length, size, what, use_rth=False)
    around = MARKET.bars(one, start - 86_400, start + length, size, what, use_rth=False)

    keep = around.time >= start
    assert np.array_equal(window.time, around.time[keep])
    assert np.array_equal(window.close, around.close[keep])
    assert np.array_equal(window.volume, around.volume[keep])


@settings(max_examples=20, deadline=None)
@given(instruments, days, kinds, st.integers(1, 600))
def test_a_day_alone_is_the_same_as_within_years(one, day, what, later):
    size = bar_size("1 day")
    start, end = epoch(day), epoch(day + timedelta(days=1))
    if what == "ADJUSTED_LAST":  # is based on its own end
        what = "TRADES"

    alone = MARKET.bars(one, start, end, size, what)
    forget()
    within = MARKET.bars(one, start - 86_400 * 400, end + 86_400 * later, size, what)

    for n, ref_date in enumerate(alone.ref_date.tolist()):
        (m,) = np.flatnonzero(within.ref_date == ref_date)
        if alone.time[n] < start:
            continue
        whole = MARKET.bars(one, start, end + 86_400, size, what)
        (k,) = np.flatnonzero(whole.ref_date == ref_date)
        for column in ("open", "high", "low", "close", "volume"):
            assert getattr(whole, column)[k] == getattr(within, column)[m]


@settings(max_examples=25, deadline=None)
@given(instruments, days, st.integers(0, 86_399))
def test_history_shows_what_the_screen_showed_in_that_second(one, day, offset):
    now = epoch(day) + offset
    quote = MARKET.quote(one, now)
    if not MARKET.is_open(one, now):
        return
    size = bar_size("1 secs")

    for side, what in ((quote.bid, "BID"), (quote.ask, "ASK")):
        if side is not None:
            shown = MARKET.bars(one, now, now + 1, size, what, use_rth=False)
            assert shown.close.tolist() == [side]
    trades = MARKET.bars(one, now, now + 1, size, "TRADES", use_rth=False)
    if len(trades) and quote.last is not None:
        assert (trades.close[0], trades.time[0]) == (quote.last, quote.last_time)


@settings(max_examples=15, deadline=None)
@given(instruments, st.lists(days, min_size=2, max_size=4, unique=True))
def test_the_order_of_questions_changes_no_answer(one, asked):
    def ask(day):
        at = epoch(day) + 54_000
        return MARKET.quote(one, at), MARKET.bars(
            one, at, at + 600, bar_size("5 secs")
        ).close.tolist()

    forget()
    forwards = {day: ask(day) for day in asked}
    forget()
    backwards = {day: ask(day) for day in reversed(asked)}

    assert forwards == backwards


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(
        st.tuples(
            st.integers(50, 5_000),
            st.integers(-30, 30),
            st.integers(0, 40),
            st.integers(0, 40),
            st.integers(0, 2_000),
            st.integers(1, 50),
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_seconds_add_up_to_any_minute_that_can_exist(seed, drawn):
    opening, move, up, down, count, per_trade = (
        np.array(x, dtype=np.int64) for x in zip(*drawn, strict=True)
    )
    up, down = np.where(count >= 3, up, 0), np.where(count >= 4, down, 0)
    closing = opening + np.where(count >= 2, move, 0)
    high, low = np.maximum(opening, closing) + up, np.minimum(opening, closing) - down
    volume = count * per_trade
    zero = np.zeros_like(count)
    rows = refine.Bars(
        opening,
        high,
        low,
        closing,
        volume,
        count,
        volume * (opening + high + low + closing),
        zero,
        zero + 1,
    )

    fine = refine.refine(rows, stream(seed))

    grid = {name: getattr(fine, name).reshape(-1, 60) for name in refine.Bars.__dataclass_fields__}
    traded = grid["count"] > 0
    assert (grid["volume"].sum(axis=1) == volume).all()
    assert (grid["count"].sum(axis=1) == count).all()
    assert (grid["turnover"].sum(axis=1) == rows.turnover).all()
    assert (grid["high"].max(axis=1) == high)[count > 0].all()
    assert (grid["low"].min(axis=1) == low)[count > 0].all()
    assert (grid["open"][:, 0] == opening).all()
    assert (grid["close"][:, -1] == closing)[count > 0].all()
    assert (grid["low"] <= np.minimum(grid["open"], grid["close"])).all()
    assert (grid["high"] >= np.maximum(grid["open"], grid["close"])).all()
    assert ((grid["volume"] >= grid["count"]) | ~traded).all()
    assert (4 * grid["low"] * grid["volume"] <= grid["turnover"]).all()
    assert (grid["turnover"] <= 4 * grid["high"] * grid["volume"]).all()
