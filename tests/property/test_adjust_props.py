"""Promises of adjusted prices, for any path of prices, dividends and splits."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkit.history import adjust
from ibkit.history.actions import Action
from ibkit.store import adjusted
from ibkit.store.adjusted import Factors, Step

SLUG = "STK-AAPL-SMART-USD"
START = date(2024, 1, 1)
DAY = 86_400_000_000


@st.composite
def companies(draw):
    """A price a day as it traded, in shares of that day, and what the company did."""
    count = draw(st.integers(5, 60))
    seed = draw(st.integers(0, 2**32 - 1))
    returns = np.random.default_rng(seed).normal(0, 0.02, count)
    days = [START + timedelta(days=n) for n in range(count)]
    where = st.lists(st.integers(1, count - 1), unique=True, max_size=5)
    paid = {n: draw(st.floats(0.001, 0.2)) for n in draw(where)}
    splits = {n: draw(st.sampled_from([2.0, 3.0, 1.5, 0.1, 20.0])) for n in draw(where)}
    price, traded = 100.0, []
    actions = []
    for n, day in enumerate(days):
        price *= float(np.exp(returns[n]))
        if n in splits:
            price /= splits[n]
            actions.append(Action(day, "split", ratio=splits[n]))
        if n in paid:
            amount = paid[n] * traded[-1] / splits.get(n, 1.0)
            actions.append(Action(day, "dividend", amount=amount))
            price -= amount * price / (traded[-1] / splits.get(n, 1.0))
        traded.append(price)
    # what it would be worth had all dividends been put back in
    wealth = 100.0 * np.exp(returns.cumsum())
    return days, np.array(traded), actions, wealth


def shares_of_today(days, actions):
    """Return how many shares of today one share of each day is."""
    return np.array(
        [
            float(np.prod([a.ratio for a in actions if a.kind == "split" and a.day > day]))
            for day in days
        ]
    )


def rows(days, prices, stored):
    ts = np.array([adjusted.midnight(SLUG, day) + DAY // 2 for day in days])
    return pa.table(
        {
            "ts": pa.array(ts, pa.timestamp("us", tz="UTC")),
            "close": prices,
            "volume": np.full(len(days), 1000.0) * 100 / prices,
            "commit_id": pa.array(stored, pa.int64()),
        }
    )


def factors(days, closes, actions):
    steps = [
        Step(at := adjusted.midnight(SLUG, one.day), at, one.kind, one.factor, one.ratio)
        for one in adjust.from_actions(actions, days, closes, days[-1])
    ]
    return Factors(SLUG, tuple(steps), days[0], days[-1], zone="America/New_York")


@settings(deadline=None)
@given(companies(), st.integers(0, 2**32 - 1))
def test_returns_of_adjusted_prices_are_total_returns_whenever_rows_were_stored(company, seed):
    days, traded, actions, wealth = company
    # each row was stored on some evening not before its own, in the shares of that evening
    evenings = [
        int(np.random.default_rng((seed, n)).integers(n, len(days))) for n in range(len(days))
    ]
    today = shares_of_today(days, actions)
    then = np.array([today[n] / today[at] for n, at in enumerate(evenings)])
    stored = [adjusted.midnight(SLUG, days[at]) + DAY // 2 + 1 for at in evenings]
    known = factors(days, traded / today, actions)

    table = adjusted.adjust(rows(days, traded / then, stored), known, "dividends")

    made = table["close"].to_numpy()
    assert made[-1] == pytest.approx(traded[-1])
    assert made[1:] / made[:-1] == pytest.approx(wealth[1:] / wealth[:-1], rel=1e-9)


@settings(deadline=None)
@given(companies())
def test_splits_leave_money_traded_as_it_was_and_dividends_leave_volumes(company):
    days, traded, actions, _ = company
    stored = [adjusted.midnight(SLUG, day) + DAY // 2 + 1 for day in days]
    before = rows(days, traded, stored)
    known = factors(days, traded / shares_of_today(days, actions), actions)

    split = adjusted.adjust(before, known, "splits")
    paid = adjusted.adjust(before, known, "dividends")

    def money(table):
        return table["close"].to_numpy() * table["volume"].to_numpy()

    assert money(split) == pytest.approx(money(before), rel=1e-12)
    assert paid["volume"].equals(split["volume"])
    assert split["close"].to_numpy() == pytest.approx(traded / shares_of_today(days, actions))


@settings(deadline=None)
@given(companies())
def test_ibs_two_series_give_back_what_the_company_paid(company):
    days, traded, actions, wealth = company
    closes = traded / shares_of_today(days, actions)
    total = wealth / wealth[-1] * closes[-1]

    steps = adjust.from_ratio(days, closes, total, days[-1] + timedelta(days=1))

    made = np.array([np.prod([s.factor for s in steps if s.day > day]) for day in days])
    assert closes * made == pytest.approx(total, rel=1e-6, abs=10.0 ** -adjust._places(total))


@settings(deadline=None)
@given(companies())
def test_rows_in_any_order_of_time_are_adjusted_each_on_its_own(company):
    days, traded, actions, _ = company
    stored = [adjusted.midnight(SLUG, day) + DAY // 2 + 1 for day in days]
    table = rows(days, traded, stored)
    known = factors(days, traded / shares_of_today(days, actions), actions)

    whole = adjusted.adjust(table, known, "dividends")
    parts = [adjusted.adjust(table.slice(n, 1), known, "dividends") for n in range(len(days))]

    assert whole.equals(pa.concat_tables(parts).combine_chunks())


def test_midnight_is_the_exchanges_also_when_its_clock_changes():
    assert datetime.fromtimestamp(adjusted.midnight(SLUG, date(2026, 3, 8)) / 1e6, UTC) == datetime(
        2026, 3, 8, 5, tzinfo=UTC
    )
    assert datetime.fromtimestamp(
        adjusted.midnight("STK-0700-SEHK-HKD", date(2026, 3, 8)) / 1e6, UTC
    ) == datetime(2026, 3, 7, 16, tzinfo=UTC)
