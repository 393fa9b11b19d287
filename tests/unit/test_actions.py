from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from ibkit.schema import bar_size
from ibkit.sim import actions, wsh
from ibkit.sim.market import Market
from ibkit.sim.universe import Universe

UNIVERSE = Universe.load()
MARKET = Market(UNIVERSE)
STOCKS = [one for one in UNIVERSE.instruments if one.sec_type == "STK"]
COMPANIES = [one for one in STOCKS if one.stock_type != "ETF"]
PAYERS = [one for one in STOCKS if actions.dividend_yield(1, one)]
APPLE = UNIVERSE.by_con_id(265598)
ALWAYS = (date(1998, 1, 1), date(2032, 12, 31))
TODAY = date(2026, 11, 20)
DAILY = bar_size("1 day")


def at(day):
    return int(datetime(day.year, day.month, day.day, 23, tzinfo=UTC).timestamp())


def happened(one, kind, first=ALWAYS[0], last=ALWAYS[1]):
    return [x for x in actions.actions(1, one, first, last) if x.kind == kind]


def daily(one, first, last, what="TRADES"):
    return MARKET.bars(one, at(first), at(last), DAILY, what)


# --- what happens ------------------------------------------------------------------------------


def test_most_stocks_pay_dividends_and_about_half_have_split():
    split = [one for one in COMPANIES if happened(one, "split")]

    assert 0.5 < len(PAYERS) / len(STOCKS) < 0.95
    assert 0.25 < len(split) / len(COMPANIES) < 0.75
    assert APPLE in PAYERS


def test_us_stocks_pay_each_quarter_and_others_twice_a_year():
    for one in PAYERS:
        days = [x.day for x in happened(one, "dividend", date(2020, 1, 1), date(2024, 12, 31))]
        assert len(days) == 5 * (4 if one.currency == "USD" else 2)
        assert all(timedelta(75) < b - a < timedelta(200) for a, b in pairwise(days))


def test_actions_fall_on_trade_dates_and_splits_before_this_year():
    for one in STOCKS:
        for action in actions.actions(1, one, *ALWAYS):
            assert MARKET.blocks(one, action.day)
            assert action.day.year < 2026 or action.kind == "dividend"


def test_a_span_holds_the_actions_of_its_days_only_whatever_was_asked_before():
    whole = actions.actions(1, APPLE, *ALWAYS)
    some = whole[10:20]

    assert actions.actions(1, APPLE, some[0].day, some[-1].day) == some
    assert actions.actions(1, APPLE, some[0].day + timedelta(1), some[1].day) == [some[1]]
    assert actions.actions(2, APPLE, *ALWAYS) != whole


@pytest.mark.parametrize("sec_type", ["IND", "CASH", "CRYPTO"])
def test_what_is_no_stock_has_no_actions(sec_type):
    (one, *_) = (x for x in UNIVERSE.instruments if x.sec_type == sec_type)

    assert actions.actions(1, one, *ALWAYS) == []
    assert actions.adjustment(1, one, date(2000, 1, 3), TODAY) == 1.0


def test_a_share_of_long_ago_is_several_of_today():
    (one, *_) = (x for x in COMPANIES if happened(x, "split"))
    split = happened(one, "split")[-1]

    assert actions.split_ratio(1, one, split.day) == split.ratio
    assert actions.split_ratio(1, one, split.day + timedelta(1)) == 1.0


def test_two_lines_of_one_company_pay_and_split_alike():
    classes = [x for x in COMPANIES if x.symbol in {"GOOG", "GOOGL"}]

    one, other = ([x.day for x in actions.actions(1, y, *ALWAYS)] for y in classes)

    assert one == other


# --- what it does to prices --------------------------------------------------------------------


@pytest.mark.parametrize("one", PAYERS[::7], ids=lambda one: one.symbol)
def test_the_night_before_an_ex_day_takes_the_dividend_away(one):
    first, last = date(2025, 1, 2), TODAY
    found = happened(one, "dividend", first + timedelta(2), last)

    for action in found:
        eve = action.day - timedelta(1)
        while not MARKET.blocks(one, eve):
            eve -= timedelta(1)
        lost = actions.below(1, one, action.day) - actions.below(1, one, eve)
        price = actions.close_before(1, one, action.day)
        assert -lost * price == pytest.approx(action.amount * one.price_magnifier, rel=0.05)


def test_the_close_before_is_that_of_the_daily_bars():
    found = happened(APPLE, "dividend", date(2024, 1, 1), TODAY)
    bars = daily(APPLE, date(2023, 12, 1), TODAY)
    dates = bars.ref_date.tolist()

    for action in found:
        at_ex = dates.index(int(f"{action.day:%Y%m%d}"))
        assert bars.close[at_ex - 1] == actions.close_before(1, APPLE, action.day)


def test_adjusted_bars_lack_every_dividend_since_and_no_other():
    first = date(2025, 1, 2)
    plain, adjusted = (daily(APPLE, first, TODAY, what) for what in ("TRADES", "ADJUSTED_LAST"))
    ratio = adjusted.close / plain.close
    factor = 1.0
    expected = []
    paid = {int(f"{x.day:%Y%m%d}"): x for x in happened(APPLE, "dividend", first, TODAY)}
    for day in plain.ref_date[::-1].tolist():
        expected.append(factor)
        if day in paid:
            before = actions.close_before(1, APPLE, paid[day].day)
            factor *= 1 - paid[day].amount / before

    assert np.allclose(ratio, expected[::-1], atol=3e-5)
    assert len(set(np.round(expected, 6))) == len(paid) + 1
    assert np.array_equal(adjusted.volume, plain.volume)


def test_adjusted_bars_are_based_anew_on_each_now():
    action = happened(APPLE, "dividend", date(2026, 1, 1), TODAY)[-1]
    first, eve = date(2026, 1, 2), action.day - timedelta(1)

    before = daily(APPLE, first, eve, "ADJUSTED_LAST")
    after = daily(APPLE, first, action.day, "ADJUSTED_LAST")

    kept = after.close[: len(before)] / before.close
    assert np.allclose(kept, kept[0], atol=1e-4)
    assert kept[0] < 0.9995
    assert before.close[-1] == daily(APPLE, first, eve).close[-1]


def test_adjusted_bars_of_all_sizes_add_up():
    action = happened(APPLE, "dividend", date(2026, 1, 1), TODAY)[0]
    span = at(action.day - timedelta(10)), at(TODAY)
    day, hours, week = (
        MARKET.bars(APPLE, *span, bar_size(size), "ADJUSTED_LAST")
        for size in ("1 day", "1 hour", "1 week")
    )

    for n, date_ in enumerate(day.ref_date.tolist()):
        inside = hours.ref_date == date_
        assert day.high[n] == hours.high[inside].max()
        assert day.low[n] == hours.low[inside].min()
        assert day.close[n] == hours.close[inside][-1]
    first = np.searchsorted(day.ref_date, week.ref_date[:-1], side="right")
    for n, (begin, end) in enumerate(zip(first, [*first[1:], len(day)], strict=True), 1):
        assert week.high[n] == day.high[begin:end].max()
        assert week.close[n] == day.close[end - 1]


# --- as they are told --------------------------------------------------------------------------


def test_the_tick_of_the_dividends_has_both_years_and_the_next_one():
    past, coming, day, amount = actions.dividend_text(1, APPLE, TODAY).split(",")
    found = happened(APPLE, "dividend", TODAY + timedelta(1), TODAY + timedelta(365))
    gone = happened(APPLE, "dividend", TODAY - timedelta(364), TODAY)

    assert float(past) == pytest.approx(sum(x.amount for x in gone))
    assert float(coming) == pytest.approx(sum(x.amount for x in found))
    assert (day, float(amount)) == (f"{found[0].day:%Y%m%d}", found[0].amount)
    poor = next(x for x in STOCKS if not actions.dividend_yield(1, x))
    assert actions.dividend_text(1, poor, TODAY) == ",,,"


def test_the_events_are_the_same_dividends_and_splits():
    one = next(x for x in COMPANIES if x in PAYERS and happened(x, "split"))
    split = happened(one, "split")[-1]
    span = split.day - timedelta(200), split.day + timedelta(200)

    events = wsh.events(1, one, *span, today=TODAY)

    dividends = [x["data"] for x in events if x["event_type"] == "wshe_div"]
    known = happened(one, "dividend", *span)
    assert [x["ex_div_date"] for x in dividends] == [f"{x.day:%Y%m%d}" for x in known]
    assert [x["dividend_oc"] for x in dividends] == [x.amount for x in known]
    (told,) = (x["data"] for x in events if x["event_type"] == "wshe_splits")
    assert told["ratio"] == f"{split.ratio:g}:1"
