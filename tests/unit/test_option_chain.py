"""A chain as a table, and the choice of some of its rows."""

from datetime import date

import pytest
from ib_async import Contract, OptionChain

from ibkit.contracts.asking import match_all, plan_requests
from ibkit.contracts.chains import cycles_of, deltas, make_chain
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
    sizes = deltas(found.table, 650.0, 0.16)

    assert found.table["right"].tolist() == ["P", "C"]
    assert sizes.round(2).tolist() == pytest.approx([-0.25, 0.25], abs=0.04)
    everything = deltas(chain.select(expiries="20261218").table, 650.0, 0.16)
    for side in sizes:
        same = everything[everything * side > 0]
        assert abs(abs(side) - 0.25) == (same.abs() - 0.25).abs().min()


def test_a_call_and_a_put_of_one_strike_have_deltas_one_apart(chain):
    rows = chain.select(expiries="20261218", strikes=(650, 650)).table

    put_and_call = deltas(rows, 650.0, 0.2, 0.04)
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
