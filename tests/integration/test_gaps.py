"""The gap report: expected × stored × confirmed = holes, by symbol and day, each explained."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pandas as pd
import pytest

from ibkit import plots
from ibkit.errors import UnknownContractError
from ibkit.history import gaps

COUNTS = ["expected", "stored", "quiet", "confirmed", "missing", "state"]


def rows(frame):
    return frame[COUNTS].to_numpy().tolist()


def test_a_session_partly_stored_and_one_not_at_all(kit):
    kit.history.bars("AAPL", "1 min", "2026-10-20", "2026-10-20")
    kit.history.bars("AAPL", "1 min", "2026-10-21T09:30-04:00", "2026-10-21T11:00-04:00")

    report = kit.history.gaps("AAPL", "1 min", "2026-10-20", "2026-10-22")

    assert report["day"].tolist() == [date(2026, 10, 20 + n) for n in range(3)]
    assert rows(report) == [
        [390, 390, 0, 0, 0, "complete"],
        [390, 90, 0, 0, 300, "partial"],
        [390, 0, 0, 0, 390, "missing"],
    ]
    assert report["reason"].tolist() == ["", "300 never asked for", "390 never asked for"]
    assert report.attrs["simulated"] is True


def test_half_days_and_holidays_are_known(kit):
    report = kit.history.gaps("AAPL", "5 mins", "2026-07-01", "2026-07-07")

    days = dict(zip(report["day"], report["expected"], strict=True))
    assert date(2026, 7, 3) not in days  # the Fourth is a Saturday
    assert days[date(2026, 7, 2)] == 78
    report = kit.history.gaps("AAPL", "5 mins", "2025-11-27", "2025-11-28")
    assert rows(report)[0][0] == 42  # of a day that ends at one
    assert len(report) == 1


def test_what_ib_confirmed_is_no_hole_and_says_why(kit):
    start = datetime(2026, 10, 20, 13, 30, tzinfo=UTC)
    span = (start, start + timedelta(hours=7))
    kit.store.confirm_empty("bars_1min", "AAPL", span, reason="IB 162: no data")

    report = kit.history.gaps("AAPL", "1 min", "2026-10-20", "2026-10-20")

    assert rows(report) == [[390, 0, 0, 390, 0, "empty"]]
    assert report["reason"].item() == "390 confirmed: IB 162: no data"


def test_a_minute_without_trades_is_quiet_if_ib_answered_for_it(kit):
    whole = kit.history.bars("AAPL", "1 min", "2026-10-20", "2026-10-20")
    span = (whole.index[0].to_pydatetime(), whole.index[-1].to_pydatetime())
    span = (span[0], span[1] + timedelta(minutes=1))
    less = whole.drop(whole.index[100:110])
    kit.store.replace_range(
        "bars_1min",
        "AAPL",
        less,
        *span,
        source="SIM",
        series={"what_to_show": "TRADES", "use_rth": True},
    )

    report = kit.history.gaps("AAPL", "1 min", "2026-10-20", "2026-10-20")

    assert rows(report) == [[390, 380, 10, 0, 0, "complete"]]
    assert report["reason"].item() == "10 quiet: IB answered, and nothing traded"
    assert kit.store.holes("AAPL", "1 min", *span).empty


def test_a_day_far_thinner_than_the_others_is_said(kit):
    whole = kit.history.bars("AAPL", "1 min", "2026-10-19", "2026-10-23")
    half = whole[whole.index.date == date(2026, 10, 21)]
    start = half.index[0].to_pydatetime()
    kit.store.replace_range(
        "bars_1min",
        "AAPL",
        half[::2],
        start,
        start + timedelta(hours=7),
        source="SIM",
        series={"what_to_show": "TRADES", "use_rth": True},
    )

    report = kit.history.gaps("AAPL", "1 min", "2026-10-19", "2026-10-23")

    assert report["state"].tolist() == ["complete", "complete", "thin", "complete", "complete"]


def test_an_outage_explains_a_hole(kit):
    start = pd.Timestamp("2026-10-20 14:00", tz="UTC")
    outage = {
        "ts": [start],
        "end": [start + pd.Timedelta(hours=1)],
        "reason": "gateway was down",
        "dataset": "bars_1min",
        "what_to_show": "TRADES",
        "use_rth": True,
    }
    kit.store.gaps.write("AAPL", pd.DataFrame(outage), source="SIM")

    report = kit.history.gaps("AAPL", "1 min", "2026-10-20", "2026-10-20")

    assert report["reason"].item() == "390 outage: gateway was down"


def test_what_ib_never_has_is_not_missing(kit):
    report = kit.history.gaps("AAPL", "30 secs", "2026-03-02", "2026-03-02")

    assert report["state"].item() == "never"
    assert "six months" in report["reason"].item()


def test_too_fresh_is_not_yet(kit, monkeypatch):
    end = datetime(2026, 10, 20, 20, tzinfo=UTC)
    kit.history.bars("AAPL", "1 min", "2026-10-20T09:30-04:00", end - timedelta(minutes=10))
    soon = SimpleNamespace(now=lambda: end + timedelta(minutes=5))
    monkeypatch.setattr(gaps, "clock", soon)

    report = kit.history.gaps("AAPL", "1 min", "2026-10-20", "2026-10-20")

    assert rows(report) == [[390, 380, 0, 0, 10, "not yet"]]


def test_a_backfill_of_the_report_closes_its_holes(kit):
    kit.history.bars("AAPL", "5 mins", "2026-10-20", "2026-10-20")
    report = kit.history.gaps(["AAPL", "MSFT"], "5 mins", "2026-10-19", "2026-10-21")
    assert report["missing"].sum() == 5 * 78

    kit.backfill(report, progress=False)

    again = kit.history.gaps(["AAPL", "MSFT"], "5 mins", "2026-10-19", "2026-10-21")
    assert set(again["state"]) == {"complete"}


def test_a_backfill_of_the_holes_closes_them(kit):
    kit.history.bars("AAPL", "5 mins", "2026-10-19", "2026-10-19")
    kit.history.bars("AAPL", "5 mins", "2026-10-22", "2026-10-22")
    holes = kit.store.holes("AAPL", "5 mins")
    assert len(holes) > 0

    kit.backfill(holes, progress=False)

    assert kit.store.holes("AAPL", "5 mins").empty
    report = kit.history.gaps("AAPL", "5 mins", "2026-10-19", "2026-10-22")
    assert set(report["state"]) == {"complete"}


def test_one_unknown_instrument_does_not_spoil_the_report(kit):
    report = kit.history.gaps(["NOPE", "AAPL"], "1 day", "2026-10-20", "2026-10-20")

    assert report["instrument"].tolist() == ["AAPL"]
    assert "No security definition" in report.attrs["failed"]["NOPE"]
    with pytest.raises(UnknownContractError):
        kit.history.gaps(["NOPE"], "1 day", "2026-10-20", "2026-10-20")


def test_a_lunch_break_is_no_gap(kit):
    report = kit.history.gaps("7203@TSEJ:JPY", "5 mins", "2026-10-20", "2026-10-20")

    assert report["expected"].item() == 66  # 09:00-11:30 and 12:30-15:30


def test_the_report_is_a_picture(kit):
    kit.history.bars("AAPL", "1 min", "2026-10-20", "2026-10-20")

    figure = plots.coverage(kit.history.gaps("AAPL", "1 min", "2026-10-20", "2026-10-21"))

    assert "never asked for" in str(figure.data[0].customdata[0][1])


def test_the_store_of_a_kit_knows_the_sessions(kit):
    sessions = kit.store.known_sessions(
        "STK-AAPL-SMART-USD", 1_795_651_200_000_000, 1_795_824_000_000_000, use_rth=True
    )

    assert [each.ref_date for each in sessions] == [date(2026, 11, 27)]
    assert (sessions[0].end - sessions[0].start) == timedelta(hours=3, minutes=30)
