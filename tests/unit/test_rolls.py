"""Roll days, by the calendar and by volume; IB's word against the table's."""

from datetime import date, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from ib_async import Contract, ContractDetails

from ibkit.contracts.differing import differences, with_ibs
from ibkit.contracts.futures import front_month, to_listed
from ibkit.contracts.rolls import (
    CALENDAR,
    Life,
    RollRule,
    RollRuleError,
    crossover,
    front,
    lives,
    make_rule,
    roll_calendar,
    roll_day,
)
from ibkit.contracts.specs import load_specs

SPECS = load_specs()


def calendar(root, start, end, **options):
    spec = SPECS[root]
    return roll_calendar(lives(spec, start, end), spec.calendar, **options)


def test_the_calendar_is_one_row_a_contract_in_the_order_of_rolls():
    frame = calendar("ES", date(2026, 1, 1), date(2026, 12, 31))

    assert list(frame.columns) == list(CALENDAR)
    assert frame["contract"].tolist() == ["202603", "202606", "202609", "202612"]
    assert frame["next"].tolist() == ["202606", "202609", "202612", "202703"]
    assert [day.date() for day in frame["roll"]] == [
        date(2026, 3, 12), date(2026, 6, 10), date(2026, 9, 10), date(2026, 12, 10),
    ]  # fmt: skip
    assert frame["roll"].is_monotonic_increasing
    assert (frame["roll"] <= frame["last_safe_day"]).all()


def test_delivered_products_leave_before_first_notice_not_before_expiry():
    frame = calendar("GC", date(2026, 12, 1), date(2026, 12, 31))

    row = frame.iloc[0]
    assert row["first_notice"].date() == date(2026, 11, 30)
    assert row["roll"] < row["first_notice"] < row["expiry"]


def test_crude_expires_in_the_month_before_its_name_and_rates_after():
    assert lives(SPECS["CL"], date(2026, 11, 1), date(2026, 11, 30))[0].month == "202612"
    assert lives(SPECS["SR3"], date(2026, 12, 1), date(2026, 12, 31))[0].month == "202609"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RollRule(days=5), date(2026, 11, 22)),
        (RollRule(days=3, business_days=True), date(2026, 11, 23)),
        (RollRule(days=40, before="expiry"), date(2026, 11, 19)),
        (RollRule(days=9, before="first notice"), date(2026, 11, 21)),
        # a delivered contract leaves before first notice, whatever the days count from
        (RollRule(days=5, before="expiry"), date(2026, 11, 27)),
        (RollRule(days=1, before="first notice"), date(2026, 11, 27)),
        (RollRule(days=0), date(2026, 11, 27)),
    ],
)
def test_what_the_days_count_from(rule, expected):
    gold = lives(SPECS["GC"], date(2026, 12, 1), date(2026, 12, 31))[0]

    assert roll_day(gold, rule, "US") == expected


DAYS = pd.to_datetime(["2026-12-07", "2026-12-08", "2026-12-09", "2026-12-10", "2026-12-11"])
VOLUMES = pd.DataFrame({"202612": [9, 8, 4, 6, 1], "202703": [1, 3, 5, 5, 9]}, index=DAYS)


def test_volume_rolls_on_the_session_after_the_next_month_has_more():
    frame = calendar(
        "ES", date(2026, 12, 1), date(2026, 12, 31), rule=RollRule("volume"), volumes=VOLUMES
    )

    assert frame["roll"][0].date() == date(2026, 12, 10)
    assert frame["reason"][0] == "volume"


def test_volumes_that_never_cross_roll_on_the_last_safe_day():
    flat = VOLUMES.assign(**{"202703": 0})

    frame = calendar(
        "ES", date(2026, 12, 1), date(2026, 12, 31), rule=RollRule("volume"), volumes=flat
    )

    assert (frame["roll"][0].date(), frame["reason"][0]) == (date(2026, 12, 18), "last safe day")


@pytest.mark.parametrize("column", ["202612", "202703"])
def test_volumes_that_are_missing_decide_nothing(column):
    unknown = VOLUMES.astype(float).assign(**{column: float("nan")})

    assert crossover(unknown, "202612", "202703") is None


def test_a_crossing_after_the_last_safe_day_comes_too_late():
    days = pd.date_range("2026-11-25", periods=5, freq="B")
    late = pd.DataFrame({"202612": [9, 9, 9, 9, 1], "202702": [1, 1, 1, 1, 9]}, index=days)

    frame = calendar(
        "GC", date(2026, 12, 1), date(2026, 12, 31), rule=RollRule("volume"), volumes=late
    )

    assert (frame["roll"][0].date(), frame["reason"][0]) == (date(2026, 11, 27), "last safe day")


def test_a_rule_by_volume_without_volumes_is_refused():
    with pytest.raises(RollRuleError, match="volumes="):
        calendar("ES", date(2026, 1, 1), date(2026, 12, 31), rule=RollRule("open interest"))
    with pytest.raises(RollRuleError, match="days"):
        RollRule(days=-1)
    with pytest.raises(RollRuleError, match="open interest"):
        RollRule("vol")
    with pytest.raises(RollRuleError, match="safe day"):
        RollRule(before="notice")
    with pytest.raises(RollRuleError, match="months"):
        RollRule(months=(3, 13))
    with pytest.raises(RollRuleError, match="2058"):
        calendar("ES", date(1990, 1, 1), date(1991, 1, 1))


def test_the_crossover_of_the_last_session_is_the_next_business_day():
    assert crossover(VOLUMES.iloc[:3], "202612", "202703") == date(2026, 12, 10)
    assert crossover(VOLUMES, "202612", "202706") is None
    friday = VOLUMES.iloc[[0, 4]]
    assert crossover(friday, "202612", "202703") == date(2026, 12, 14)


@pytest.mark.parametrize("hour", ["09:30", "-06:00"])
def test_daily_bars_count_for_the_day_that_their_session_ends_on(hour):
    opens = (DAYS + pd.Timedelta(f"{hour}:00")).tz_localize("America/New_York")

    assert crossover(VOLUMES.set_index(opens), "202612", "202703") == date(2026, 12, 10)


def test_the_front_month_never_rolls_back():
    every = lives(SPECS["ES"], date(2026, 12, 1), date(2026, 12, 31))
    days = (date(2026, 12, 7) + timedelta(days=n) for n in range(10))

    months = [front(every, day, "US", RollRule("volume"), VOLUMES).month for day in days]

    assert months == sorted(months)
    assert months[:4] == ["202612", "202612", "202612", "202703"]
    assert front([], date(2026, 1, 1), "US") is None


@pytest.mark.parametrize("root", SPECS)
def test_days_agree_between_calendar_and_front_month(root):
    spec = SPECS[root]
    every = lives(spec, date(2026, 1, 1), date(2027, 12, 31))
    frame = roll_calendar(every, spec.calendar)

    row = frame.iloc[len(frame) // 2]
    day = row["roll"].date()
    assert front(every, day - timedelta(days=1), spec.calendar).month == row["contract"]
    assert front(every, day, spec.calendar).month == row["next"]


def details(root, year, month, **changes):
    spec = SPECS[root]
    contract = Contract(
        secType="FUT", symbol=spec.ib_symbol, exchange=spec.exchange, currency=spec.currency,
        tradingClass=spec.trading_class, multiplier=f"{spec.multiplier}",
        lastTradeDateOrContractMonth=changes.pop("last", "20261218"),
    )  # fmt: skip
    found = ContractDetails(
        contract=contract, minTick=float(spec.min_tick), priceMagnifier=spec.price_magnifier,
        contractMonth=f"{year}{month:02}",
    )  # fmt: skip
    for name, value in changes.items():
        setattr(found if hasattr(found, name) else contract, name, value)
    return found


def test_a_rule_may_name_its_own_months():
    listed = [to_listed(details("GC", 2026, m, last=f"2026{m:02}25")) for m in (8, 10, 12)]

    chosen = front_month(listed, date(2026, 6, 1), rule=RollRule(months=(12,)))

    assert chosen.month == (2026, 12)


def test_ibs_values_win_and_the_note_says_so():
    ours = SPECS["ES"]

    assert with_ibs(ours, details("ES", 2026, 12)) is ours
    theirs = with_ibs(ours, details("ES", 2026, 12, minTick=0.5, multiplier="25"))
    assert (theirs.min_tick, theirs.multiplier) == (Decimal("0.5"), 25)
    assert "min_tick=0.5 (table: 0.25)" in theirs.note


def test_a_difference_is_reported_field_by_field():
    assert differences(SPECS["ES"], to_listed(details("ES", 2026, 12))) == []
    other = to_listed(details("ES", 2026, 12, priceMagnifier=100, last="20261217"))

    assert [(row["field"], row["table"], row["ib"]) for row in differences(SPECS["ES"], other)] == [
        ("price_magnifier", "1", "100"),
        ("expiry", "2026-12-18", "2026-12-17"),
    ]


def test_a_users_rule_says_that_it_is_one():
    rule = make_rule({"days": 5, "before": "expiry"}, "overridden: days=5 (contracts.toml)")

    assert (rule.days, rule.before) == (5, "expiry")
    assert "contracts.toml" in repr(rule)
    assert make_rule({}, days=3).days == 3
    assert Life("202612", date(2026, 12, 29), date(2026, 11, 30)).last_safe_day("US") == date(
        2026, 11, 27
    )
