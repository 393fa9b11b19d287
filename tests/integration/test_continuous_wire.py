"""Continuous futures over the socket: the past chain, its rolls, what is missing."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from ibkit.contracts.rolls import RollRule
from ibkit.errors import MissingContractError, NoCommonBarError, StitchError
from ibkit.history.service import History

YEAR = ("2025-11-03", "2026-10-30")


@pytest.fixture
def requests(kit, monkeypatch):
    """Count requests for bars."""
    asked = []
    ask = kit.history.ask.aio

    class Counting:
        async def aio(self, series, request):
            asked.append(series.slug)
            return await ask(series, request)

    monkeypatch.setattr(History, "ask", Counting())
    return asked


def test_a_year_of_es_is_made_of_its_expired_contracts(kit):
    es = kit.history.continuous("ES", "1 day", *YEAR)

    assert es.rolls["old"].tolist() == ["202512", "202603", "202606", "202609"]
    assert es.rolls["new"].tolist() == ["202603", "202606", "202609", "202612"]
    assert [day.date() for day in es.rolls["day"]] == [
        date(2025, 12, 11), date(2026, 3, 12), date(2026, 6, 10), date(2026, 9, 10),
    ]  # fmt: skip
    sessions = kit.contracts.sessions("FUT:ES", date(2025, 11, 3), date(2026, 10, 30))
    assert len(es.frame) == len(sessions)
    assert es.frame.index.is_monotonic_increasing
    assert es.frame.attrs["simulated"] is True
    assert "248 bars" in repr(es) or f"{len(sessions)} bars" in repr(es)


def test_each_gap_is_of_the_closes_that_the_contracts_themselves_have(kit):
    es = kit.history.continuous("ES", "1 day", *YEAR)

    for row in es.rolls.to_dict("records"):
        day = row["measured"].date()
        old, new = (
            kit.history.bars(f"FUT:ES:{month}", "1 day", day, day)["close"].item()
            for month in (row["old"], row["new"])
        )
        assert (row["close_old"], row["close_new"]) == (old, new)
        assert row["gap"] == new - old
        assert row["measured"] < pd.Timestamp(row["day"], tz="UTC")
    raw = kit.history.continuous("ES", "1 day", *YEAR, adjust=None)
    moved = es.frame["close"] - raw.frame["close"]
    assert moved.iloc[0] == es.rolls["gap"].sum()
    assert moved.iloc[-1] == 0


def test_ratio_and_difference_have_the_same_rolls_and_other_prices(kit):
    by_ratio = kit.history.continuous("ES", "1 day", *YEAR, adjust="ratio")
    by_points = kit.history.continuous("ES", "1 day", *YEAR)

    pd.testing.assert_frame_equal(by_ratio.rolls, by_points.rolls)
    first = by_ratio.frame["close"].iloc[0] / by_points.frame["close"].iloc[0]
    assert first != 1
    assert np.isclose(by_ratio.rolls["ratio"].prod(), 1.025, atol=0.005)


def test_what_was_stitched_before_is_not_asked_for_again(kit, requests):
    first = kit.history.continuous("ES", "1 day", *YEAR)
    assert len(requests) == 5
    assert len(set(requests)) == 5

    again = kit.history.continuous("ES", "1 day", *YEAR, adjust="ratio")

    assert len(requests) == 5
    assert again.frame.index.equals(first.frame.index)


def test_minutes_roll_at_the_last_minute_in_common(kit):
    es = kit.history.continuous("ES", "1 min", "2026-09-09", "2026-09-11", use_rth=False)

    [one] = es.rolls.to_dict("records")
    assert one["measured"] == pd.Timestamp("2026-09-09 20:59", tz="UTC")
    evening = pd.Timestamp("2026-09-09 22:00", tz="UTC")  # the session of the 10th begins then
    assert (es.frame["contract"] == "202612").tolist() == (es.frame.index >= evening).tolist()


def test_crude_rolls_each_month_though_it_expires_before_its_name(kit):
    cl = kit.history.continuous("FUT:CL", "1 day", "2026-07-01", "2026-10-30")

    assert cl.rolls["new"].tolist() == ["202609", "202610", "202611", "202612"]
    assert cl.rolls["gap"].abs().between(0.01, 2).all()


def test_the_roll_rule_can_be_chosen(kit):
    rule = RollRule(days=2, business_days=True, before="expiry")

    es = kit.history.continuous("ES", "1 day", *YEAR, rule=rule)

    assert es.rolls["day"].iloc[-1].date() == date(2026, 9, 16)
    assert es.rolls["measured"].iloc[-1].date() == date(2026, 9, 15)


def test_a_roll_by_volume_asks_for_the_volumes(kit):
    es = kit.history.continuous("ES", "1 day", "2026-05-01", "2026-10-30", rule=RollRule("volume"))

    assert set(es.rolls["reason"]) <= {"volume", "last safe day"}
    assert es.rolls["old"].tolist() == ["202606", "202609"]


def test_a_contract_that_ib_forgot_is_missing_with_the_way_to_bring_it(kit):
    with pytest.raises(MissingContractError, match=r"two years[^\n]*\n.*import_bars\('FUT:ES@CME"):
        kit.history.continuous("ES", "1 day", "2023-01-03", "2023-06-30")


def test_a_contract_that_ib_forgot_is_taken_from_the_store(kit):
    """Bars of old contracts, archived or imported, serve as if they were of today."""
    days = pd.bdate_range("2023-02-01", "2023-04-28", tz="UTC") + pd.Timedelta("14:30:00")
    days.name = "ts"
    for expiry, level in (("20230317", 4000.0), ("20230616", 4040.0)):
        close = level + np.arange(len(days))
        frame = pd.DataFrame(
            {"open": close, "high": close + 5, "low": close - 5, "close": close}, index=days
        )
        kit.store.import_bars(f"FUT:ES@CME:USD:{expiry}", "1 day", frame, source="SIM:archive")

    es = kit.history.continuous("ES", "1 day", "2023-02-06", "2023-04-14")

    assert es.rolls["gap"].tolist() == [40.0]
    assert es.frame["close"].iloc[0] == 4043.0
    assert es.frame.index[0].date() == date(2023, 2, 6)
    assert es.frame.index[-1].date() == date(2023, 4, 14)


def test_a_hole_at_the_roll_is_an_error(kit, monkeypatch):
    bars = kit.history.bars.aio

    class Holed:
        async def aio(self, contract, *args, **query):
            found = await bars(contract, *args, **query)
            if contract.lastTradeDateOrContractMonth.startswith("202609"):
                return found[found.index < "2026-09-09"]
            return found

    monkeypatch.setattr(History, "bars", Holed())

    with pytest.raises(NoCommonBarError, match=r"202609 and 202612.*2026-09-10[^\n]*\n.*backfill"):
        kit.history.continuous("ES", "1 day", "2026-08-03", "2026-10-30")


@pytest.mark.parametrize(
    ("size", "span", "words"),
    [
        ("1 week", YEAR, "both sides of a roll"),
        ("1 day", ("2026-10-30", "2026-10-01"), "after its end"),
    ],
)
def test_what_cannot_be_stitched_is_refused(kit, size, span, words):
    with pytest.raises(StitchError, match=words):
        kit.history.continuous("ES", size, *span)
