"""A chain as a table, and the choice of some of its rows."""

from dataclasses import replace
from datetime import date

import pytest
from ib_async import Contract, OptionChain

from ibkit.contracts.asking import match_all, plan_requests
from ibkit.contracts.chains import ChoiceError, black_deltas, cycles_of, make_chain
from ibkit.naming import parse

TODAY = date(2026, 11, 23)
SPY = Contract(secType="STK", conId=756733, symbol="SPY", exchange="SMART", currency="USD")
DAYS = ["20261120", "20261124", "20261127", "20261218", "20261231", "20270115"]
STRIKES = [float(each) for each in range(600, 701, 5)]


@pytest.fixture
def chain():
    params = [
        OptionChain("SMART", SPY.conId, "SPY", "100", DAYS, STRIKES),
        OptionChain("SMART", SPY.conId, "2SPY", "100", DAYS[3:4], [600.0]),
        OptionChain("CBOE", SPY.conId, "SPY", "100", DAYS, STRIKES),
    ]
    return make_chain(SPY, params, TODAY, exchange="SMART", spot=650.0)


def test_every_expiry_meets_every_strike_of_its_class_and_what_is_over_is_gone(chain):
    assert len(chain) == 5 * len(STRIKES) * 2 + 2
    assert chain.expiries[0] == "20261124"
    assert chain.frame().query("expiry == '20261218'")["days"].unique() == [25]


def test_adjusted_classes_are_kept_apart_until_asked_for(chain):
    assert chain.classes == ["2SPY", "SPY"]
    assert chain.select(right="C").classes == ["SPY"]
    assert chain.select(right="C", adjusted=True, classes="2SPY").table["strike"].tolist() == [600]


def test_cycles_are_told_apart_also_around_a_holiday():
    good_friday = ["20250410", "20250417", "20250424", "20250430"]  # the 18th was Good Friday

    assert cycles_of(good_friday) == ["weekly", "monthly", "weekly", "month-end"]
    assert cycles_of(["20261217", "20261218"]) == ["daily", "monthly"]


@pytest.mark.parametrize(
    ("narrow", "expiries", "strikes"),
    [
        ({"days": 30}, ["20261218"], STRIKES),
        ({"days": (20, 40)}, ["20261218", "20261231"], STRIKES),
        ({"cycle": "monthly"}, ["20261218", "20270115"], STRIKES),
        ({"cycle": ("weekly", "daily")}, ["20261124", "20261127"], STRIKES),
        ({"expiries": "20261218", "strikes": (640, 650)}, ["20261218"], [640, 645, 650]),
        ({"expiries": ["20261218"], "moneyness": (0.99, 1.01)}, ["20261218"], [645, 650, 655]),
        ({"expiries": "20261218", "moneyness": 1.011}, ["20261218"], [655]),
    ],
)
def test_a_choice_leaves_what_fits(chain, narrow, expiries, strikes):
    found = chain.select(right="C", **narrow)

    assert found.expiries == expiries
    assert sorted(found.table["strike"].unique()) == strikes


def test_the_strike_of_a_delta_is_the_nearest_one_of_each_side(chain):
    found = chain.select(expiries="20261218", delta=0.25, vol=0.16)
    sizes = black_deltas(found.table, 650.0, 0.16)

    assert found.table["right"].tolist() == ["P", "C"]
    assert sizes.round(2).tolist() == pytest.approx([-0.25, 0.25], abs=0.04)
    everything = black_deltas(chain.select(expiries="20261218").table, 650.0, 0.16)
    for side in sizes:
        same = everything[everything * side > 0]
        assert abs(abs(side) - 0.25) == (same.abs() - 0.25).abs().min()


def test_a_call_and_a_put_of_one_strike_have_deltas_one_apart(chain):
    rows = chain.select(expiries="20261218", strikes=(650, 650)).table

    put_and_call = black_deltas(rows, 650.0, 0.2, 0.04)
    assert abs(put_and_call.iloc[0] - put_and_call.iloc[1]) == pytest.approx(1)


def test_delta_and_moneyness_need_a_price(chain):
    with pytest.raises(ValueError, match="vol="):
        chain.select(delta=0.3)
    with pytest.raises(ValueError, match="spot="):
        chain.select(moneyness=1.0, spot=float("nan"))


def test_rows_become_contracts_with_their_class(chain):
    [one] = chain.select(expiries="20261218", strikes=(650, 650), right="P").contracts()

    assert (one.symbol, one.tradingClass, one.strike, one.right) == ("SPY", "SPY", 650.0, "P")
    assert one.lastTradeDateOrContractMonth == "20261218"


def test_the_shorter_side_of_a_grid_is_asked_for():
    grid = [
        parse(f"OPT:SPY:{day}:{strike}{right}")
        for day in ("20261218", "20270115")
        for strike in range(600, 650, 5)
        for right in "CP"
    ]
    by_day = plan_requests(grid)
    by_strike = plan_requests([each for each in grid if each.strike == 600.0])

    assert [each.lastTradeDateOrContractMonth for each, _ in by_day] == ["20261218", "20270115"]
    assert [(each.lastTradeDateOrContractMonth, each.strike) for each, _ in by_strike] == [
        ("", 600.0)
    ]
    assert sum(len(members) for _, members in by_day) == len(grid)
    assert match_all(grid[:1], []) == [(grid[0], [])]


def test_a_chain_that_knows_its_market_needs_neither_price_nor_volatility(chain):
    known = replace(chain, vol=0.16)

    found = known.select(expiries="20261218", delta=0.25)

    assert found.table.equals(chain.select(expiries="20261218", delta=0.25, vol=0.16).table)
    assert found.select(delta=(0, 1)).vol == 0.16


def test_deltas_that_ib_has_told_win_over_blacks(chain):
    some = chain.select(expiries="20261218", right="C", strikes=(640, 650))
    qualified = replace(some, table=some.table.assign(con_id=[1, 2, 3]))

    best = qualified.select(delta=0.3, deltas={1: 0.9, 3: 0.31})

    assert best.table["con_id"].tolist() == [3]
    assert len(qualified.select(delta=(0, 1), deltas={1: 0.9, 3: 0.31})) == 2
    with pytest.raises(ValueError, match="qualify"):
        some.select(delta=0.3, deltas={1: 0.9})


def test_a_delta_below_zero_is_of_puts(chain):
    some = {"expiries": "20261218", "vol": 0.16}

    assert chain.select(delta=-0.25, **some).table.equals(
        chain.select(delta=0.25, right="P", **some).table
    )
    assert chain.select(delta=(-0.4, -0.2), **some).table.equals(
        chain.select(delta=(0.2, 0.4), right="P", **some).table
    )


def test_expiries_and_strikes_may_be_said_in_other_words(chain):
    day = chain.select(expiries="20261218", strikes=(650, 650)).table

    assert chain.select(expiries="2026-12-18", strikes=650).table.equals(day)
    assert chain.select(expiries=[date(2026, 12, 18)], strikes=650.0).table.equals(day)


@pytest.mark.parametrize(
    "wrong",
    [
        {"delta": 25},
        {"delta": (-0.1, 0.1)},
        {"delta": -0.3, "right": "C"},
        {"right": "put"},
        {"days": "x"},
        {"days": (30, 20)},
        {"moneyness": (1.1, 0.9)},
        {"strikes": (1, 2, 3)},
        {"strikes": float("nan")},
        {"cycle": "yearly"},
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(chain, wrong):
    with pytest.raises(ChoiceError):
        chain.select(**{"vol": 0.2, **wrong})


def test_of_two_expiries_that_are_equally_near_there_is_one(chain):
    assert chain.select(days=2.5, right="C").expiries == ["20261124"]  # 1 day or 4


def test_a_friday_that_ends_a_month_is_a_weekly_expiry_too():
    params = [OptionChain("SMART", 1, "SPXW", "100", ["20261127", "20270129"], [6000.0])]
    spx = Contract(secType="IND", conId=1, symbol="SPX", exchange="CBOE", currency="USD")
    chain = make_chain(spx, params, TODAY, exchange="SMART")

    assert chain.select(cycle="weekly").expiries == ["20261127", "20270129"]
    assert chain.select(cycle="month-end").expiries == ["20270129"]
    with pytest.raises(ValueError, match="quarterly"):
        chain.select(cycle="quarterly")


def test_the_month_ends_on_its_last_business_day():
    # Good Friday was the last weekday of March 2024
    assert cycles_of(["20240328", "20240430", "20240531", "20240603"])[0] == "month-end"


@pytest.mark.parametrize(
    ("days", "cycle"),
    [
        # VIX: Wednesdays; SPX: Thursdays before third Fridays, and a Wednesday before a holiday
        (["20261216", "20270120", "20270217", "20270317"], "monthly"),
        (["20270318", "20270415", "20270520", "20270616"], "monthly"),
        # crude oil: a few days before its future
        (["20261216", "20270114", "20270217", "20270317"], "monthly"),
        # end of month, and first Fridays
        (["20261130", "20261231", "20270129", "20270226"], "month-end"),
        (["20261204", "20270108", "20270205", "20270305"], "weekly"),
    ],
)
def test_a_class_that_expires_once_a_month_is_of_one_kind(days, cycle):
    assert set(cycles_of(days)) == {cycle}


def test_morning_and_evening_settlement_are_told_apart():
    spx = Contract(secType="IND", conId=1, symbol="SPX", exchange="CBOE", currency="USD")
    params = [
        OptionChain("SMART", 1, "SPX", "100", ["20261217"], [6000.0]),
        OptionChain("SMART", 1, "SPXW", "100", ["20261218"], [6000.0]),
    ]

    table = make_chain(spx, params, TODAY, exchange="SMART").table

    assert dict(zip(table["trading_class"], table["settlement"], strict=True)) == {
        "SPX": "AM",
        "SPXW": "PM",
    }


def test_a_multiplier_that_is_usual_there_is_not_odd():
    vodafone = Contract(secType="STK", symbol="VOD", exchange="LSE", currency="GBP")
    params = [
        OptionChain("SMART", 1, "VOD", "1000", ["20261218"], [90.0]),
        OptionChain("SMART", 1, "VODA", "1043", ["20261218"], [90.0]),
    ]

    chain = make_chain(vodafone, params, TODAY, exchange="SMART")

    assert chain.select(right="C").classes == ["VOD"]
    assert chain.select(right="C", adjusted=True).classes == ["VOD", "VODA"]


def test_a_row_and_a_column_of_a_grid_are_two_requests():
    days = ("20261218", "20270115", "20270219", "20270319")
    column = [parse(f"OPT:SPY:{day}:600C") for day in days]
    row = [parse(f"OPT:SPY:20261218:{strike}C") for strike in range(605, 650, 5)]

    plan = plan_requests(column + row)

    assert sorted((one.lastTradeDateOrContractMonth, one.strike) for one, _ in plan) == [
        ("", 600.0),
        ("20261218", 0.0),
    ]
    assert sum(len(members) for _, members in plan) == len(column + row)
