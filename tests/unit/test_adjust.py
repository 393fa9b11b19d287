"""What prices are adjusted by, against arithmetic that can be checked by hand."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ibkit import clock
from ibkit.errors import AdjustedBarsError, NotAdjustableError, UnknownFactorsError
from ibkit.history import adjust
from ibkit.history.actions import Action, InvalidActionsError, read_actions
from ibkit.history.adjust import Found
from ibkit.schema import bar_size
from ibkit.store import Store, adjusted

SLUG = "STK-AAPL-SMART-USD"
DAYS = [each.date() for each in pd.bdate_range("2026-06-01", periods=15)]
FOREVER = (datetime(1900, 1, 2, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC))


def rounded(prices, places=2):
    return np.round(np.asarray(prices), places)


# --- IB's two answers --------------------------------------------------------------------------


def test_a_dividend_is_the_step_of_the_ratio_of_ibs_two_series():
    trades = np.full(15, 200.0)
    answered = trades.copy()
    answered[:6] = rounded(trades[:6] * (1 - 1.5 / 200))

    [step] = adjust.from_ratio(DAYS, trades, answered, date(2026, 6, 22))

    assert (step.day, step.kind) == (DAYS[6], "dividend")
    assert step.factor == pytest.approx(0.9925, abs=1e-4)
    assert step.amount == pytest.approx(1.5, abs=0.01)
    assert step.close == 200.0


def test_prices_by_the_steps_are_ibs_to_within_its_rounding():
    random = np.random.default_rng(5)
    days = [each.date() for each in pd.bdate_range("2020-01-01", periods=1500)]
    trades = rounded(3 + np.exp(random.normal(0, 0.02, 1500).cumsum()))  # rounding weighs here
    true = np.ones(1500)
    for at in range(40, 1500, 63):
        true[:at] *= 1 - 0.004
    answered = rounded(trades * true)

    steps = adjust.from_ratio(days, trades, answered, date(2026, 6, 22))

    made = trades.copy()
    for step in steps:
        made[: np.searchsorted(days, step.day)] *= step.factor
    assert np.abs(made - answered).max() <= 0.005 + 1e-6
    assert all(step.factor < 1 for step in steps)


def test_without_dividends_there_are_no_steps_and_rounding_makes_none():
    trades = np.linspace(90.013, 130.877, 15)

    assert adjust.from_ratio(DAYS, trades, rounded(trades), date(2026, 6, 22)) == []


def test_an_ex_day_without_a_finished_session_is_the_day_after_the_answer():
    trades = np.full(15, 100.0)

    [step] = adjust.from_ratio(DAYS, trades, trades * 0.99, date(2026, 6, 22))

    assert (step.day, step.factor) == (date(2026, 6, 22), pytest.approx(0.99))


def test_a_step_upwards_is_named_for_what_it_is_not():
    trades = np.full(15, 100.0)
    answered = trades * np.where(np.arange(15) < 5, 1.02, 1.0)

    [step] = adjust.from_ratio(DAYS, trades, answered, date(2026, 6, 22))

    assert step.kind == "other"


# --- what was stored ---------------------------------------------------------------------------


def split_after(first: date, last: date, ratio: float):
    """Closes stored each on its own day, in shares of that day; a split of `ratio` on `last`."""
    stored = [400.0 if day < last else 400.0 / ratio for day in DAYS]
    return DAYS, np.array(stored), DAYS, dict.fromkeys(DAYS, 400.0 / ratio), first


@pytest.mark.parametrize(("ratio", "factor"), [(4.0, 0.25), (1.5, 2 / 3), (0.1, 10.0)])
def test_a_split_shows_in_prices_that_were_stored_before_it(ratio, factor):
    day = DAYS[8]

    [step] = adjust.from_stored(*split_after(DAYS[-1], day, ratio))

    assert (step.kind, step.day) == ("split", day)
    assert step.since <= day
    assert step.factor == pytest.approx(factor)
    assert step.ratio == pytest.approx(ratio)


def test_where_all_was_stored_before_a_split_it_was_between_then_and_today():
    stored, fresh = np.full(15, 400.0), dict.fromkeys(DAYS, 100.0)
    when = [DAYS[-1]] * 15

    [step] = adjust.from_stored(DAYS, stored, when, fresh, date(2026, 11, 20))

    assert (step.since, step.day) == (DAYS[-1] + timedelta(days=1), date(2026, 11, 20))
    assert step.ratio == 4.0


def test_corrections_of_a_price_are_no_split():
    fresh = dict(zip(DAYS, np.full(15, 100.0), strict=True))
    stored = np.full(15, 100.0)
    stored[3], stored[7] = 101.3, 141.4  # a late correction, and nonsense

    assert adjust.from_stored(DAYS, stored, DAYS, fresh, DAYS[-1]) == []


# --- events ------------------------------------------------------------------------------------


def test_dividends_of_events_relate_to_the_close_before_in_shares_of_today():
    # 2 for 1 on the tenth day; 3.00 a share was paid on the fifth, when one cost 200
    closes = np.full(15, 100.0)
    actions = [Action(DAYS[4], "dividend", 3.0), Action(DAYS[9], "split", ratio=2.0)]

    dividend, split = adjust.from_actions(actions, DAYS, closes, DAYS[-1])

    assert (split.factor, split.ratio) == (0.5, 2.0)
    assert dividend.factor == pytest.approx(1 - 3 / 200)
    assert (dividend.amount, dividend.close) == (1.5, 100.0)


def test_two_dividends_of_a_day_are_one_step_and_those_to_come_are_none():
    actions = [
        Action(DAYS[4], "dividend", 1.0),
        Action(DAYS[4], "dividend", 2.0),
        Action(DAYS[-1], "dividend", 9.0),
    ]

    [step] = adjust.from_actions(actions, DAYS, np.full(15, 100.0), DAYS[10])

    assert step.factor == pytest.approx(0.97)


def test_a_frame_of_events_is_read_and_other_kinds_are_passed_over():
    frame = pd.DataFrame(
        {
            "day": ["2026-05-11", date(2026, 2, 9), "2026-03-01"],
            "kind": ["split", "dividend", "earnings"],
            "amount": [None, 0.25, None],
            "ratio": [4, None, None],
        }
    )

    assert read_actions(frame) == [
        Action(date(2026, 2, 9), "dividend", 0.25),
        Action(date(2026, 5, 11), "split", ratio=4.0),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"day": "2026-02-09", "kind": "dividend", "amount": -0.25},
        {"day": "2026-02-09", "kind": "split", "ratio": 0.0},
        {"day": None, "kind": "dividend", "amount": 1.0},
        {"day": "2026-02-09", "kind": "dividend"},
    ],
)
def test_events_that_cannot_be_true_are_refused(row):
    with pytest.raises(InvalidActionsError, match="Hint: columns day"):
        read_actions(pd.DataFrame([row]))


def test_a_dividend_above_the_price_is_refused():
    with pytest.raises(InvalidActionsError, match="the price was 100"):
        adjust.from_actions([Action(DAYS[4], "dividend", 120.0)], DAYS, np.full(15, 100.0), DAYS[9])


# --- both --------------------------------------------------------------------------------------


def found(day, factor, kind="dividend", **more):
    return Found(day, day, kind, factor, **more)


def test_sources_that_agree_raise_no_doubt_and_ibs_is_used():
    merged = adjust.merge([found(DAYS[4], 0.99003, slack=3e-5)], [found(DAYS[4], 0.99)])

    [(used, ib, event, basis)] = merged.steps
    assert (used.factor, ib.factor, event.factor, basis) == (
        0.99003, 0.99003, 0.99, "ADJUSTED_LAST",
    )  # fmt: skip
    assert merged.doubts == ()


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([found(DAYS[4], 0.98)], "0.990000 by ADJUSTED_LAST, 0.980000 by events"),
        ([found(DAYS[5], 0.99)], f"0.990000 by events of {DAYS[5]}"),
        ([found(DAYS[4], 0.99), found(DAYS[12], 0.98)], "none by ADJUSTED_LAST, 0.980000 by"),
        ([found(date(2026, 3, 2), 0.99)], "0.990000 by ADJUSTED_LAST, none by events"),
    ],
)
def test_sources_that_disagree_are_reported(events, words):
    merged = adjust.merge([found(DAYS[4], 0.99)], events)

    assert any(words in doubt for doubt in merged.doubts)


def test_a_split_is_believed_from_events_alone_for_ib_hides_it():
    merged = adjust.merge([], [found(DAYS[4], 0.25, "split", ratio=4.0)])

    assert [(step.kind, basis) for step, _, _, basis in merged.steps] == [("split", "events")]
    assert merged.doubts == ()


def test_a_split_of_events_that_stored_prices_deny_is_reported_and_not_used():
    split = found(DAYS[4], 0.25, "split", ratio=4.0)

    denied = adjust.merge([], [split], compared=DAYS[0])
    unseen = adjust.merge([], [split], compared=DAYS[6])

    assert denied.steps == ()
    assert "stored on 2026-06-01 are IB's of now" in denied.doubts[0]
    assert len(unseen.steps) == 1


# --- reading adjusted --------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "root", kind="real")


@pytest.fixture
def at(monkeypatch):
    """Let the clock stand at an instant."""

    def stand(text: str) -> None:
        now = datetime.fromisoformat(text).replace(tzinfo=UTC)
        monkeypatch.setattr(clock, "now", lambda: now)

    return stand


def daily(days, price, volume=1000.0):
    index = pd.DatetimeIndex([f"{day}T13:30" for day in days], tz="UTC", name="ts")
    price = np.broadcast_to(np.asarray(price, dtype=float), len(index))
    return pd.DataFrame(
        {
            "open": price, "high": price + 1, "low": price - 1, "close": price,
            "volume": volume, "wap": price, "count": 7,
        },
        index=index,
    )  # fmt: skip


def keep(store, *steps, first="2026-01-02", last="2026-07-31"):
    """Store factors: (day, kind, factor, ratio), and the span that they are known of."""
    span = {"day": last, "since": first, "kind": "span", "factor": 1.0, "ratio": 1.0}
    names = ("day", "kind", "factor", "ratio", "since")
    rows = [dict(zip(names, [*step, None][:5], strict=True)) for step in steps]
    frame = pd.DataFrame([*rows, {**span, "basis": "events"}])
    at = [adjusted.midnight(SLUG, date.fromisoformat(day)) for day in frame["day"]]
    frame["ts"] = pd.to_datetime(at, unit="us", utc=True)
    store.replace_range("factors", SLUG, frame, *FOREVER, source="IB")


SPLIT = ("2026-06-10", "split", 0.25, 4.0)
DIVIDEND = ("2026-06-04", "dividend", 0.99, 1.0)


def test_rows_stored_on_two_sides_of_a_split_come_out_in_the_same_shares(store, at):
    at("2026-06-05 22:00")
    store.write_bars("AAPL", "1 day", daily(DAYS[:5], 400.0, 1000.0))
    at("2026-06-19 22:00")  # IB's answer of then is in new shares, also for the days before
    store.write_bars("AAPL", "1 day", daily(DAYS[5:], 100.0, 4000.0))
    keep(store, SPLIT)

    stored = store.bars("AAPL", "1 day")
    back = store.bars("AAPL", "1 day", adjusted="splits")

    assert stored["close"].tolist() == [400.0] * 5 + [100.0] * 10
    assert back["close"].tolist() == [100.0] * 15
    assert back["wap"].tolist() == [100.0] * 15
    assert back["volume"].tolist() == [4000.0] * 15
    assert back["count"].tolist() == [7] * 15
    assert back.attrs["adjusted"] == "splits"


def test_rows_of_before_a_split_that_were_fetched_again_are_not_split_twice(store, at):
    at("2026-06-05 22:00")
    store.write_bars("AAPL", "1 day", daily(DAYS[:5], 400.0))
    at("2026-06-19 22:00")
    store.write_bars("AAPL", "1 day", daily(DAYS[:2], 100.0, 4000.0))
    keep(store, SPLIT)

    back = store.bars("AAPL", "1 day", adjusted=True)

    assert back["close"].tolist() == [100.0] * 5


def test_dividends_lower_prices_before_and_no_volume(store):
    store.write_bars("AAPL", "1 day", daily(DAYS, 200.0))
    keep(store, DIVIDEND)

    back = store.bars("AAPL", "1 day", adjusted=True)

    assert back["close"].tolist() == [pytest.approx(198.0)] * 3 + [200.0] * 12
    assert (back["volume"] == 1000.0).all()
    assert store.bars("AAPL", "1 day", adjusted="splits")["close"].tolist() == [200.0] * 15
    assert back.attrs["factors_until"] == "2026-07-31"
    assert back.attrs["factors_by"] == "events"


def test_intraday_bars_have_the_factor_of_their_session_day(store, bars_of_minutes):
    store.write_bars("AAPL", "1 min", bars_of_minutes)
    keep(store, DIVIDEND)

    back = store.bars("AAPL", "1 min", adjusted=True)

    factor = back["close"] / bars_of_minutes["close"]
    local = back.index.tz_convert("America/New_York")
    assert factor[local < "2026-06-04"].tolist() == [pytest.approx(0.99)] * 2
    assert factor[local >= "2026-06-04"].tolist() == [1.0] * 2


@pytest.fixture
def bars_of_minutes():
    """The last minutes before an ex-day, and the first of it, which are before the market opens."""
    frame = daily(DAYS[:4], 200.0)
    times = ["2026-06-03T19:59", "2026-06-03T23:59", "2026-06-04T08:00", "2026-06-04T13:30"]
    frame.index = pd.DatetimeIndex(times, tz="UTC", name="ts")
    return frame


def test_bars_made_of_smaller_ones_are_made_of_adjusted_ones(store, at):
    at("2026-06-09 22:00")
    store.write_bars("AAPL", "1 day", daily(DAYS[:7], 400.0, 1000.0))
    at("2026-06-19 22:00")
    store.write_bars("AAPL", "1 day", daily(DAYS[7:10], 100.0, 4000.0))
    keep(store, SPLIT, ("2026-06-11", "dividend", 0.9, 1.0))

    weeks = store.bars("AAPL", "1 week", resample="1 day", adjusted=True)

    assert weeks["open"].tolist() == [pytest.approx(90.0), pytest.approx(90.0)]
    assert weeks["close"].tolist() == [pytest.approx(90.0), 100.0]
    assert weeks["volume"].tolist() == [20000.0, 20000.0]


def test_the_past_is_adjusted_by_what_was_known_then(store, at):
    at("2026-06-20 10:00")
    store.write_bars("AAPL", "1 day", daily(DAYS, 200.0))
    keep(store, DIVIDEND, last="2026-06-19")
    at("2026-08-01 10:00")
    keep(store, DIVIDEND, ("2026-06-15", "dividend", 0.98, 1.0))

    then = store.bars("AAPL", "1 day", adjusted=True, as_of=datetime(2026, 7, 1, tzinfo=UTC))
    now = store.bars("AAPL", "1 day", adjusted=True)

    assert then["close"].iloc[0] == pytest.approx(198.0)
    assert then.attrs["factors_until"] == "2026-06-19"
    assert now["close"].iloc[0] == pytest.approx(198.0 * 0.98)


def test_bars_after_the_last_day_known_of_are_stale(store):
    store.write_bars("AAPL", "1 day", daily(DAYS, 200.0))
    keep(store, last="2026-06-10")

    assert store.bars("AAPL", "1 day", adjusted=True).attrs["stale"] is True
    early = store.bars("AAPL", "1 day", None, datetime(2026, 6, 9, tzinfo=UTC), adjusted=True)
    assert "stale" not in early.attrs


def test_what_is_not_known_is_an_error_with_the_call_that_finds_it_out(store):
    store.write_bars("AAPL", "1 day", daily(DAYS, 200.0))

    with pytest.raises(UnknownFactorsError, match=r"kit\.history\.factors"):
        store.bars("AAPL", "1 day", adjusted=True)


def test_bars_older_than_what_is_known_are_an_error(store):
    store.write_bars("AAPL", "1 day", daily(DAYS, 200.0))
    keep(store, first="2026-06-03")

    with pytest.raises(UnknownFactorsError, match="start='2026-06-01'"):
        store.bars("AAPL", "1 day", adjusted=True)


def test_rows_stored_while_a_split_may_or_may_not_have_been_are_an_error(store, at):
    at("2026-06-09 22:00")
    store.write_bars("AAPL", "1 day", daily(DAYS[:5], 400.0))
    keep(store, (*SPLIT, "2026-06-08"))

    with pytest.raises(UnknownFactorsError, match="between 2026-06-08 and 2026-06-10"):
        store.bars("AAPL", "1 day", adjusted=True)


@pytest.mark.parametrize(
    ("instrument", "size", "options", "words"),
    [
        ("FUT:ES@CME:USD:20261218", "1 day", {}, "continuous"),
        ("AAPL", "1 day", {"what_to_show": "MIDPOINT"}, "TRADES"),
        ("AAPL", "1 week", {}, "resample='1 day'"),
    ],
)
def test_what_cannot_be_adjusted_is_refused(store, instrument, size, options, words):
    store.write_bars(instrument, size, daily(DAYS, 200.0), **options)

    with pytest.raises(NotAdjustableError, match=words):
        store.bars(instrument, size, adjusted=True, **options)


def test_a_word_that_is_no_adjustment_is_refused(store):
    store.write_bars("AAPL", "1 day", daily(DAYS, 200.0))

    with pytest.raises(ValueError, match="'splits'"):
        store.bars("AAPL", "1 day", adjusted="all")


def test_several_instruments_say_the_oldest_of_their_factors(store):
    for name in ("AAPL", "MSFT"):
        store.write_bars(name, "1 day", daily(DAYS, 200.0))
    keep(store, DIVIDEND)
    with pytest.raises(UnknownFactorsError, match="MSFT"):
        store.bars(["AAPL", "MSFT"], "1 day", adjusted=True)

    frame = pd.DataFrame(
        {"ts": pd.DatetimeIndex(["2026-06-01"], tz="UTC"), "kind": "span", "day": "2026-06-30",
         "since": "2026-01-02", "factor": 1.0, "ratio": 1.0, "basis": "events"}
    )  # fmt: skip
    store.replace_range("factors", "MSFT", frame, *FOREVER, source="IB")
    both = store.bars(["AAPL", "MSFT"], "1 day", adjusted=True)

    assert both.attrs["factors_until"] == "2026-06-30"
    assert both.groupby("instrument", observed=True)["close"].first().tolist() == [
        pytest.approx(198.0), 200.0,
    ]  # fmt: skip


def test_arrow_has_the_same_numbers_and_only_the_columns_asked_for(store):
    store.write_bars("AAPL", "1 day", daily(DAYS, 200.0))
    keep(store, DIVIDEND)

    table = store.bars("AAPL", "1 day", adjusted=True, columns=["close"], as_="arrow")

    assert isinstance(table, pa.Table)
    assert table.column_names == ["ts", "close"]
    assert table["close"][0].as_py() == pytest.approx(198.0)


def test_adjusted_last_is_refused_at_the_door(store):
    rows = daily(DAYS, 200.0)
    with pytest.raises(AdjustedBarsError, match="adjusted=True"):
        store.write_bars("AAPL", "1 day", rows, what_to_show="ADJUSTED_LAST")
    with pytest.raises(AdjustedBarsError):
        store.upsert(
            "bars_1day", "AAPL", rows.assign(what_to_show="ADJUSTED_LAST", use_rth=True),
            source="IB",
        )  # fmt: skip
    with pytest.raises(AdjustedBarsError):
        store.import_bars("AAPL", "1 day", rows, what_to_show="ADJUSTED_LAST")

    assert store.datasets() == []


def test_commits_are_read_only_where_a_split_makes_them_matter():
    split = adjusted.Step(1_000, 1_000, "split", 0.5, 2.0)
    known = adjusted.Factors(SLUG, (split,), date(2020, 1, 1), date(2026, 1, 1))

    assert adjusted.needs_commits(known, None)
    assert adjusted.needs_commits(known, 999)
    assert not adjusted.needs_commits(known, 1_000)
    assert not adjusted.needs_commits(
        adjusted.Factors(SLUG, (), date(2020, 1, 1), date(2026, 1, 1)), 1
    )


def test_checks_know_the_size_that_bars_are_made_of():
    adjusted.check_adjustable(SLUG, bar_size("1 week"), bar_size("1 day"), "TRADES")
    with pytest.raises(NotAdjustableError):
        adjusted.check_adjustable(SLUG, bar_size("1 month"), bar_size("1 week"), "TRADES")
