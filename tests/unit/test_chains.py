"""Option chains by the rules of the exchanges, and the futures' cycles."""

from datetime import date
from itertools import pairwise

import pytest

from ibkit.errors import SimulationError
from ibkit.sim.contracts import ContractSpec
from ibkit.sim.optionchains import third_friday
from ibkit.sim.universe import Universe

TODAY = date(2026, 11, 20)
UNIVERSE = Universe.load()
CLASSES = {one.name: one for one in UNIVERSE.option_classes.values()}


def find(**fields):
    return UNIVERSE.find(ContractSpec(sec_type="OPT", **fields), TODAY)


def test_ten_and_more_underlyings_have_options():
    assert {one.under.symbol for one in CLASSES.values()} >= {
        *("SPY", "QQQ", "IWM", "AAPL", "MSFT", "NVDA", "TSLA", "AMZN", "SPX", "NDX", "RUT")
    }
    assert {name for name, one in CLASSES.items() if one.european} == {
        *("SPX", "SPXW", "NDX", "NDXP", "RUT", "RUTW", "EW")
    }


@pytest.mark.parametrize(
    ("year", "month", "day"),
    [
        (2026, 12, "20261218"),
        (2025, 4, "20250417"),  # Good Friday
        (2026, 6, "20260618"),  # Juneteenth
        (2027, 1, "20270115"),
    ],
)
def test_a_month_ends_on_its_third_friday_or_the_day_before_a_holiday(year, month, day):
    assert f"{third_friday(year, month):%Y%m%d}" == day


def test_stocks_have_weeks_months_and_years():
    days = [f"{day:%Y%m%d}" for day in CLASSES["AAPL"].expiries(TODAY)]

    assert days[:4] == ["20261120", "20261127", "20261204", "20261211"]
    assert {"20261218", "20270115", "20270617", "20280121"} <= set(days)
    assert "20261123" not in days


def test_the_day_after_thanksgiving_counts_and_thanksgiving_does_not():
    days = [f"{day:%Y%m%d}" for day in CLASSES["SPXW"].expiries(TODAY)]

    assert "20261126" not in days
    assert {"20261123", "20261124", "20261125", "20261127"} <= set(days)


def test_the_monthly_index_option_trades_until_the_day_before_its_settlement():
    (monthly,) = find(
        symbol="SPX", trading_class="SPX", last_trade_date="202612", strike=6800.0, right="C"
    )
    weekly = find(symbol="SPX", last_trade_date="20261218", strike=6800.0, right="C")

    assert (monthly.last_trade_date, monthly.real_expiration_date) == ("20261217", "20261218")
    assert monthly.local_symbol == "SPX   261218C06800000"
    assert [one.trading_class for one in weekly] == ["SPXW"]


@pytest.mark.parametrize(
    ("fields", "least"),
    [
        ({"symbol": "SPY", "last_trade_date": "20261218", "strike": 650.0, "right": "P"}, 1),
        ({"symbol": "SPY", "last_trade_date": "20261218", "strike": 650.0}, 2),
        ({"symbol": "SPY", "strike": 650.0, "right": "C"}, 15),
        ({"symbol": "SPY", "last_trade_date": "202612", "right": "C", "strike": 650.0}, 3),
        ({"symbol": "AAPL", "last_trade_date": "20261218"}, 100),
        ({"local_symbol": "SPY   261218C00650000"}, 1),
    ],
)
def test_any_part_of_a_description_finds_what_it_fits(fields, least):
    found = find(**fields)

    assert len(found) >= least
    assert len(found) == least or least > 2
    assert all(
        one.strike == fields.get("strike", one.strike)
        and one.right == fields.get("right", one.right)
        for one in found
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"symbol": "SPY", "last_trade_date": "20261219", "strike": 650.0},
        {"symbol": "SPY", "last_trade_date": "20261218", "strike": 650.3},
        {"symbol": "META", "last_trade_date": "20261218"},
        {"symbol": "SPY", "last_trade_date": "20261218", "currency": "EUR"},
        {"symbol": "SPY", "last_trade_date": "20261218", "exchange": "LSE"},
        {"symbol": "SPY", "last_trade_date": "20251219", "strike": 650.0},
        {"local_symbol": "SPY   261319C00650000"},
        {"local_symbol": "SPY   991218C00650000"},
        {"local_symbol": "SPY   261218X00650000"},
    ],
)
def test_no_option_is_made_up(fields):
    assert find(**fields) == []


def test_a_number_is_the_same_in_another_process_and_leads_back_to_its_option():
    other = Universe.load()
    seen = {}
    for name in CLASSES:
        for one in find(trading_class=name, strike=None, last_trade_date="202612"):
            assert seen.setdefault(one.con_id, one) is one
            assert one.con_id < 2**31
    for con_id, one in list(seen.items())[::97]:
        assert other.by_con_id(con_id) == one


@pytest.mark.parametrize("con_id", [1_000_000_000, 2**31 - 1, 2_099_999_999, 1_000_000_001])
def test_a_number_of_no_option_is_nothing(con_id):
    assert UNIVERSE.by_con_id(con_id) is None


def test_strikes_surround_the_level_and_are_closer_near_it():
    one = CLASSES["SPY"]
    (day,) = [day for day in one.expiries(TODAY) if day == date(2026, 12, 18)]
    strikes, level = one.strikes(day, TODAY), one.level(day)

    assert strikes[0] < 0.75 * level < 1.3 * level < strikes[-1]
    steps = {round(b - a, 2) for a, b in pairwise(strikes)}
    assert steps >= {1.0, 5.0}


def test_a_universe_holds_no_options_until_they_are_named():
    assert not [one for one in Universe.load().instruments if one.sec_type == "OPT"]


ROW = {"slot": 14, "under": "STK:META", "cycle": "weekly", "step": "5", "wide": "10"}


def write(path, **fields):
    row = {**ROW, **fields}
    inside = ", ".join(
        f"{key} = {value}" if isinstance(value, int) else f'{key} = "{value}"'
        for key, value in row.items()
    )
    path.write_text(f"[options]\nMETA = {{ {inside}, rule = 3200 }}\n")
    return path


def test_a_user_adds_a_class_in_a_file_of_his_own(tmp_path):
    universe = Universe.load(write(tmp_path / "mine.toml"))
    asked = ContractSpec(symbol="META", sec_type="OPT", last_trade_date="20261218")

    found = universe.find(asked, TODAY)

    assert len(found) > 50
    assert universe.by_con_id(found[0].con_id) is found[0]


@pytest.mark.parametrize(
    "fields", [{"slot": 3}, {"slot": 20}, {"under": "STK:NOPE"}, {"under": "X"}, {"cycle": "now"}]
)
def test_a_class_that_cannot_be_is_refused(tmp_path, fields):
    with pytest.raises(SimulationError, match="META"):
        Universe.load(write(tmp_path / "mine.toml", **fields))


MOST_TRADED = [
    *("ES", "MES", "NQ", "MNQ", "YM", "RTY", "ZT", "ZF", "ZN", "TN", "ZB", "UB", "ZQ"),
    *("SR3", "6E", "6J", "6B", "6A", "6C", "6S", "CL", "MCL", "BZ", "NG", "RB", "HO"),
    *("GC", "MGC", "SI", "HG", "PL", "ZC", "ZS", "ZW", "ZM", "ZL", "LE", "HE", "VX"),
    *("FESX", "FDAX", "FGBL", "FGBM", "FGBS", "SB", "KC", "CC", "CT", "DX", "B"),
]


@pytest.mark.parametrize("root", MOST_TRADED)
def test_the_most_traded_futures_have_their_cycle(root):
    months = UNIVERSE.products[root].spec.months
    chain = UNIVERSE.chain(root, TODAY, date(2028, 3, 1))

    assert len(chain) >= len(months)
    assert {int(one.contract_month[4:]) for one in chain} == set(months)
    days = [one.last_trade_date for one in chain]
    assert days == sorted(set(days))
    assert all(one.expiry.weekday() < 5 for one in chain)
    assert all(UNIVERSE.by_con_id(one.con_id) == one for one in chain)
