"""The futures table, and expiries against real contracts."""

import subprocess
import sys
from dataclasses import replace
from datetime import date
from decimal import Decimal
from importlib import import_module

import numpy as np
import pytest

from ibkit.contracts.expiry import (
    CALENDARS,
    Days,
    UnknownExpiryRuleError,
    expiry,
    first_notice,
    listed,
    packed_holidays,
)
from ibkit.contracts.futures import front_month, to_listed
from ibkit.contracts.specs import find_spec, load_specs
from ibkit.contracts.venues import VENUES

# last trade dates of contracts that were, or are, listed
REAL = [
    ("ES", 2021, 3, date(2021, 3, 19)),
    ("ES", 2024, 12, date(2024, 12, 20)),
    ("ES", 2025, 12, date(2025, 12, 19)),
    ("MCL", 2024, 12, date(2024, 11, 19)),
    ("CL", 2024, 12, date(2024, 11, 20)),
    ("GC", 2024, 12, date(2024, 12, 27)),
    ("GC", 2025, 12, date(2025, 12, 29)),
    ("MGC", 2025, 6, date(2025, 6, 26)),
    ("SIL", 2025, 7, date(2025, 7, 29)),
    ("SIL", 2026, 5, date(2026, 5, 27)),
    ("6J", 2024, 9, date(2024, 9, 16)),
    ("NKD", 2024, 12, date(2024, 12, 12)),
    ("VX", 2025, 3, date(2025, 3, 18)),  # 30 days before a Good Friday: a Tuesday
    ("NG", 2025, 1, date(2024, 12, 27)),
    ("FGBL", 2025, 3, date(2025, 3, 6)),
    ("KC", 2025, 3, date(2025, 3, 19)),
    ("ZN", 2025, 3, date(2025, 3, 20)),
    # micro copper ends in the month before its name, unlike copper
    ("MHG", 2022, 9, date(2022, 8, 29)),
    ("MHG", 2022, 12, date(2022, 11, 28)),
    ("MHG", 2023, 1, date(2022, 12, 28)),
    ("MHG", 2023, 7, date(2023, 6, 28)),
]


@pytest.mark.parametrize(("root", "year", "month", "last"), REAL)
def test_expiry_rules_give_the_real_dates(root, year, month, last):
    assert expiry(load_specs()[root], year, month) == last


def test_a_third_friday_that_is_a_holiday_moves_to_the_day_before():
    assert expiry(load_specs()["ES"], 2008, 3) == date(2008, 3, 20)


@pytest.mark.parametrize(
    ("root", "month", "day"),
    [("GC", 12, date(2025, 11, 28)), ("KC", 3, date(2025, 2, 20)), ("ZC", 3, date(2025, 2, 28))],
)
def test_first_notice_comes_before_the_last_trade_of_delivered_products(root, month, day):
    spec = load_specs()[root]

    assert first_notice(spec, 2025, month) == day < expiry(spec, 2025, month)


def test_cash_settled_products_have_no_first_notice():
    assert all(
        first_notice(spec, 2026, 12) is None
        for spec in load_specs().values()
        if spec.delivery == "cash"
    )


def test_every_row_is_usable():
    specs = load_specs()

    assert len(specs) >= 70
    for spec in specs.values():
        assert spec.calendar in CALENDARS
        assert spec.months == tuple(sorted(spec.months))
        assert spec.min_tick > 0
        assert spec.multiplier > 0
        if spec.last_trade:
            assert Days(spec.calendar).is_business(expiry(spec, 2027, spec.months[0]))


@pytest.mark.parametrize(
    ("root", "tick_value", "point_value"),
    [
        ("ES", "12.5", "50"),
        ("6J", "6.25", "12500000"),
        ("ZC", "12.5", "50"),
        ("MBT", "0.5", "0.1"),
        ("ZN", "15.625", "1000"),
    ],
)
def test_money_per_tick_is_exact(root, tick_value, point_value):
    spec = load_specs()[root]

    assert spec.tick_value == Decimal(tick_value)
    assert spec.point_value == Decimal(point_value)


def test_a_shared_symbol_is_told_apart_by_class_or_multiplier():
    assert find_spec("SI", trading_class="SIL").symbol == "SIL"
    assert find_spec("DAX", multiplier="5").symbol == "FDXM"
    assert find_spec("BRR").symbol == "BTC"
    assert find_spec("NOSUCH") is None


def test_every_product_has_rules_and_hours():
    assert all(spec.last_trade and spec.hours in VENUES for spec in load_specs().values())


def test_a_product_without_a_rule_says_so():
    unruly = replace(load_specs()["MHG"], last_trade="")

    with pytest.raises(UnknownExpiryRuleError, match="MHG"):
        expiry(unruly, 2026, 12)


def test_listed_contracts_start_with_the_nearest_that_still_trades():
    months = [(y, m) for y, m, _ in listed(load_specs()["ES"], date(2026, 12, 19), 9)]

    assert months == [(2027, 3), (2027, 6), (2027, 9)]
    assert [m for _, m, _ in listed(load_specs()["CL"], date(2026, 11, 21), 3)] == [1, 2]


@pytest.mark.parametrize(
    ("root", "as_of", "month"),
    [
        ("ES", date(2026, 12, 9), 12),  # nine days before the third Friday
        ("ES", date(2026, 12, 10), 3),  # the Thursday on which the market rolls
        ("GC", date(2026, 11, 19), 2),  # first notice of December is on 30 November
        ("GC", date(2026, 11, 16), 12),
        ("CL", date(2026, 11, 11), 12),
        ("CL", date(2026, 11, 12), 1),
    ],
)
def test_the_front_month_leaves_before_expiry_or_first_notice(root, as_of, month, details_of):
    spec = load_specs()[root]
    contracts = [to_listed(details_of(spec, *each)) for each in listed(spec, as_of, 18)]

    assert front_month(contracts, as_of).month[1] == month


def test_no_contract_left_is_none():
    assert front_month([], date(2026, 1, 1)) is None


@pytest.fixture
def details_of():
    from ib_async import Contract, ContractDetails

    def make(spec, year, month, last):
        contract = Contract(
            secType="FUT",
            symbol=spec.ib_symbol,
            tradingClass=spec.trading_class,
            multiplier=f"{spec.multiplier}",
            lastTradeDateOrContractMonth=f"{last:%Y%m%d}",
        )
        return ContractDetails(contract=contract, contractMonth=f"{year}{month:02}")

    return make


@pytest.mark.parametrize("market", ["XNYS", "XLON", "XEUR"])
def test_our_packed_holidays_are_the_regular_ones_of_exchange_calendars(market):
    module = import_module(f"exchange_calendars.exchange_calendar_{market.lower()}")
    rules = object.__new__(getattr(module, f"{market}ExchangeCalendar")).regular_holidays
    theirs = rules.holidays("1999-01-01", "2060-12-31").to_numpy().astype("datetime64[D]")

    assert packed_holidays()[market] == sorted({day for day in theirs if np.is_busday(day)})


def test_an_expiry_needs_neither_pandas_nor_exchange_calendars():
    code = (
        "import sys\n"
        "from ibkit.contracts.expiry import expiry\n"
        "from ibkit.contracts.specs import load_specs\n"
        "expiry(load_specs()['ES'], 2026, 12)\n"
        "print({'pandas', 'exchange_calendars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
