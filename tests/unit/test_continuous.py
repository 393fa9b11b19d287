"""Stitching of futures contracts, against gaps that are known."""

import itertools
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from ibkit.contracts.rolls import RollRule, lives, roll_calendar
from ibkit.contracts.specs import load_specs
from ibkit.errors import MissingContractError, NoCommonBarError, StitchError
from ibkit.history.continuous import Continuous, Roll, stitch

# The continuous ES of an open-source project (QuantConnect Lean, Apache-2.0, factor file "es",
# rolled on the first day of the contract's month): what is added to, and what multiplies, the
# prices up to that day. Closes of the rolls follow from both.
LEAN = (
    (date(2012, 5, 31), -193.25, 0.9149924291004741),
    (date(2012, 8, 31), -186.00, 0.9200942903663680),
    (date(2012, 11, 30), -179.00, 0.9247021673347561),
    (date(2013, 2, 28), -172.00, 0.9293002246399192),
    (date(2013, 5, 31), -166.25, 0.9328554317534784),
)
MONTHS = ("201206", "201209", "201212", "201303", "201306")


def at(day: date) -> pd.Timestamp:
    return pd.Timestamp(day, tz="UTC") + pd.Timedelta(hours=14, minutes=30)


def daily(days, closes):
    close = np.asarray(closes, dtype=float)
    index = pd.DatetimeIndex([at(day) for day in days], name="ts")
    columns = {"open": close, "high": close + 1, "low": close - 1, "close": close, "wap": close}
    return pd.DataFrame({**columns, "volume": 5.0, "count": 3}, index=index)


def roll(day: date, before: date, old: str, new: str) -> Roll:
    return Roll(day, before, at(before).to_pydatetime(), at(day).to_pydatetime(), old, new, "days")


def es_of_2013():
    """Bars of five contracts around four rolls, at closes that make Lean's steps."""
    bars = {month: [] for month in MONTHS}
    rolls = []
    for (before, added, by), (_, added_after, by_after), old, new in zip(
        LEAN, LEAN[1:], MONTHS, MONTHS[1:], strict=False
    ):
        gap, ratio = added - added_after, by / by_after
        close = round(4 * gap / (ratio - 1)) / 4  # on the grid of ES
        assert (close + gap) / close == pytest.approx(ratio, abs=2e-6)
        day = before + timedelta(days=1)
        bars[old] += [(before, close), (day, close + 3)]
        bars[new] += [(before, close + gap), (day, close + gap + 2)]
        rolls.append(roll(day, before, old, new))
    return {month: daily(*zip(*rows, strict=True)) for month, rows in bars.items()}, rolls


def test_differences_are_those_of_leans_es():
    bars, rolls = es_of_2013()

    frame, table = stitch(bars, rolls, adjust="difference")

    assert table["gap"].tolist() == [-7.25, -7.0, -7.0, -5.75]
    first = frame[frame["contract"] == "201206"]
    assert (first["close"] - bars["201206"]["close"].iloc[0]).tolist() == [-193.25 - -166.25]
    assert frame["close"].iloc[-1] == bars["201306"]["close"].iloc[-1]
    assert frame["contract"].unique().tolist() == list(MONTHS)


def test_ratios_are_those_of_leans_es():
    bars, rolls = es_of_2013()

    frame, table = stitch(bars, rolls, adjust="ratio")

    first = frame["close"].iloc[0] / bars["201206"]["close"].iloc[0]
    assert first == pytest.approx(LEAN[0][2] / LEAN[-1][2], abs=5e-6)
    assert table["ratio"].tolist() == pytest.approx(
        [one[2] / other[2] for one, other in itertools.pairwise(LEAN)], abs=2e-6
    )


# ES in December 2013: the gap to March was -6.25 (Lean's step is -6.50, of another sample of the
# day); on the expiry day the old contract's last price is the morning's settlement, and +6.25
DECEMBER = [date(2013, 12, day) for day in (10, 11, 12, 13, 16, 17, 18, 19, 20)]
OLD = [1803.25, 1784.0, 1777.25, 1776.5, 1787.5, 1782.5, 1811.5, 1809.0, 1806.5]
GAPS = [-6.25] * 8 + [6.25]


def test_the_gap_is_of_the_last_common_close_and_not_of_the_expiry_day():
    spec = load_specs()["ES"]
    rule = RollRule(days=0, before="expiry")  # as late as a rule can roll: on the expiry day
    chain = lives(spec, date(2013, 12, 1), date(2013, 12, 31))
    [first] = roll_calendar(chain, spec.calendar, rule).to_dict("records")
    assert first["roll"].date() == first["expiry"].date() == date(2013, 12, 20)
    bars = {
        "201312": daily(DECEMBER, OLD),
        "201403": daily(DECEMBER, np.add(OLD, GAPS)),
    }
    one = roll(date(2013, 12, 20), date(2013, 12, 19), first["contract"], first["next"])

    _, table = stitch(bars, [one])

    assert table["gap"].tolist() == [-6.25]
    assert abs(table["gap"].iloc[0] - -6.50) <= 0.25  # a tick from Lean's
    assert table["measured"].iloc[0] == at(date(2013, 12, 19))


# Crude oil on 20 April 2020: May settled at -37.63, June at 20.43
APRIL = [date(2020, 4, day) for day in (16, 17, 20, 21)]
MAY, JUNE = [19.87, 18.27, -37.63, 10.01], [25.53, 25.03, 20.43, 11.57]


def oil(day: date, before: date):
    bars = {"202005": daily(APRIL, MAY), "202006": daily(APRIL, JUNE)}
    return bars, [roll(day, before, "202005", "202006")]


def test_prices_below_zero_are_joined_by_difference():
    frame, table = stitch(*oil(date(2020, 4, 21), date(2020, 4, 20)))

    assert table["gap"].iloc[0] == pytest.approx(58.06)
    assert frame["close"].tolist() == pytest.approx([77.93, 76.33, 20.43, 11.57])


def test_prices_below_zero_and_a_ratio_are_refused():
    with pytest.raises(StitchError, match=r"202005 .* 2020-04-20.*\n.*adjust='difference'"):
        stitch(*oil(date(2020, 4, 21), date(2020, 4, 20)), adjust="ratio")


def test_a_ratio_is_fine_where_the_contract_was_left_before_it_fell():
    frame, table = stitch(*oil(date(2020, 4, 20), date(2020, 4, 17)), adjust="ratio")

    assert table["ratio"].iloc[0] == pytest.approx(25.03 / 18.27)
    assert frame["close"].tolist() == pytest.approx([19.87 * 25.03 / 18.27, 25.03, 20.43, 11.57])


def test_raw_is_what_traded_with_the_gaps_beside_it():
    frame, table = stitch(*oil(date(2020, 4, 20), date(2020, 4, 17)), adjust=None)

    assert frame["close"].tolist() == [19.87, 18.27, 20.43, 11.57]
    assert frame["contract"].tolist() == ["202005"] * 2 + ["202006"] * 2
    assert table["gap"].iloc[0] == pytest.approx(6.76)


def test_volumes_and_counts_are_left_alone():
    frame, _ = stitch(*oil(date(2020, 4, 20), date(2020, 4, 17)))

    assert (frame["volume"] == 5).all()
    assert (frame["count"] == 3).all()
    assert frame["wap"].tolist() == frame["close"].tolist()


def minutes(start: str, closes):
    index = pd.date_range(start, periods=len(closes), freq="min", tz="UTC", name="ts")
    close = np.asarray(closes, dtype=float)
    return pd.DataFrame({"open": close, "high": close, "low": close, "close": close}, index=index)


def test_intraday_the_gap_is_of_the_last_minute_that_both_have():
    old = minutes("2026-09-09 20:55", [100, 101, 102, 103, 104])
    new = minutes("2026-09-09 20:55", [110, 111, 113, np.nan, 114]).drop(
        pd.Timestamp("2026-09-09 20:59", tz="UTC")
    )
    new = pd.concat([new, minutes("2026-09-10 13:30", [115, 116])])
    one = Roll(
        date(2026, 9, 10),
        date(2026, 9, 9),
        pd.Timestamp("2026-09-09 13:30", tz="UTC"),
        pd.Timestamp("2026-09-10 13:30", tz="UTC"),
        "202609",
        "202612",
    )

    frame, table = stitch({"202609": old, "202612": new}, [one])

    assert table["measured"].iloc[0] == pd.Timestamp("2026-09-09 20:57", tz="UTC")
    assert table["gap"].tolist() == [11.0]
    assert frame["close"].tolist() == [111.0, 112.0, 113.0, 114.0, 115.0, 115.0, 116.0]


def test_no_bar_in_common_before_the_roll_is_an_error_that_says_who_has_what():
    bars, rolls = oil(date(2020, 4, 20), date(2020, 4, 17))
    bars["202006"] = bars["202006"].iloc[2:]

    with pytest.raises(NoCommonBarError, match=r"2020-04-20\): 202005 has them from 2020-04-16"):
        stitch(bars, rolls)
    frame, table = stitch(bars, rolls, adjust=None)  # raw needs none
    assert table["gap"].isna().all()
    assert len(frame) == 4


def test_a_common_bar_of_an_older_session_does_not_count():
    bars, rolls = oil(date(2020, 4, 21), date(2020, 4, 20))
    bars["202005"] = bars["202005"].drop(at(date(2020, 4, 20)))

    with pytest.raises(NoCommonBarError):
        stitch(bars, rolls)


@pytest.mark.parametrize("hole", ["no bars at all", "not while it is the front month", "late"])
def test_a_contract_that_is_missing_is_an_error(hole):
    bars, rolls = es_of_2013()
    if hole == "no bars at all":
        del bars["201212"]
    elif hole == "late":
        bars["201212"].index = bars["201212"].index + pd.Timedelta(days=30)
    else:
        bars["201212"] = bars["201212"].iloc[:1]

    with pytest.raises(MissingContractError, match="201212"):
        stitch(bars, rolls)


def test_a_roll_of_today_waits_for_its_first_bar():
    bars, rolls = oil(date(2020, 4, 21), date(2020, 4, 20))
    bars["202006"] = bars["202006"].iloc[:3]

    frame, table = stitch(bars, rolls)

    assert table.empty
    assert frame["contract"].unique().tolist() == ["202005"]


def test_one_contract_alone_is_itself():
    frame, table = stitch({"202006": daily(APRIL, JUNE)}, [])

    assert frame["close"].tolist() == JUNE
    assert table.empty


def test_a_word_that_is_no_way_to_join_is_refused():
    with pytest.raises(StitchError, match="'difference', 'ratio' or None"):
        stitch(*oil(date(2020, 4, 20), date(2020, 4, 17)), adjust="panama")


def test_it_says_what_it_is():
    frame, table = stitch(*oil(date(2020, 4, 20), date(2020, 4, 17)))
    found = Continuous("CL", "1 day", "difference", frame, table)

    assert repr(found) == (
        "<Continuous FUT:CL 1 day, 2020-04-16 to 2020-04-21, 4 bars of 2 contracts, "
        "adjusted by difference>"
    )
    assert "6.76" in found._repr_html_()
