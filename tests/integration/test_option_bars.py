"""Bars of options: several strikes, store first, and what is left of those that expired."""

from datetime import UTC, datetime, timedelta

import pytest

from ibkit.errors import NeverAvailableError, NotAdjustableError, UnknownContractError

SPAN = {"start": "2026-11-18", "end": "2026-11-18"}
CALL, EXPIRED = "OPT:SPY:20261218:650C", "OPT:SPY:20261016:650C"


def test_an_option_is_a_series_like_any_other_and_stored_by_underlying(kit):
    bars = kit.history.bars(CALL, "5 mins", **SPAN)

    assert len(bars) == 78
    assert bars.attrs["instrument"] == "OPT-SPY-SMART-USD-20261218-650-C"
    assert kit.store.instruments("option_bars_5mins") == ["STK-SPY-SMART-USD"]
    rows = kit.store.option_bars("5 mins")("SPY")
    assert rows["con_id"].unique().tolist() == [kit.contract(CALL).conId]


def test_bars_of_an_option_are_those_that_ib_async_gets(kit):
    bars = kit.history.bars(CALL, "5 mins", **SPAN)

    end = datetime(2026, 11, 18, 21, tzinfo=UTC)
    raw = kit.ib.reqHistoricalData(
        kit.contract(CALL), end, "1 D", "5 mins", "TRADES", useRTH=True, formatDate=2
    )
    assert [bar.date for bar in raw] == list(bars.index)
    assert [bar.close for bar in raw] == bars["close"].tolist()


def test_several_strikes_are_one_frame_and_only_the_holes_cost(kit):
    kit.history.bars(CALL, "5 mins", **SPAN)
    before = kit.store.coverage("option_bars_5mins").set_index("instrument")["rows"]

    bars = kit.history.option_bars("SPY", "2026-12-18", [640, 650], "5 mins", **SPAN)

    assert bars.groupby(["strike", "right"]).size().to_dict() == {
        (640.0, "C"): 78,
        (640.0, "P"): 78,
        (650.0, "C"): 78,
        (650.0, "P"): 78,
    }
    assert list(bars.columns[:4]) == ["expiry", "strike", "right", "trading_class"]
    assert bars.attrs["underlying"] == "STK-SPY-SMART-USD"
    assert before.to_dict() == {"OPT-SPY-SMART-USD-20261218-650-C": 78}
    log = kit.store.history("option_bars_5mins", "SPY")
    assert len(log) == 4  # one request a contract; none for what was there


def test_options_on_an_index_and_on_a_future_find_their_underlying(kit):
    kit.history.option_bars("IND:SPX@CBOE", "20261218", 6500, "1 hour", rights="C", **SPAN)
    kit.history.bars("FOP:ES:20261218:6500C", "1 hour", **SPAN)

    assert kit.store.instruments("option_bars_1hour") == [
        "FUT-ES-CME-USD-20261218",
        "IND-SPX-CBOE-USD",
    ]


def test_a_strike_that_is_not_listed_is_told_and_does_not_spoil_the_rest(kit):
    bars = kit.history.option_bars("SPY", "20261218", [650, 123.25], "1 hour", rights="C", **SPAN)

    assert set(bars["strike"]) == {650.0}
    assert list(bars.attrs["failed"]) == ["OPT:SPY:20261218:123.25C"]
    with pytest.raises(UnknownContractError):
        kit.history.option_bars("SPY", "20261218", 123.25, "1 hour", **SPAN)


def test_an_expired_option_is_refused_with_the_reason(kit):
    with pytest.raises(NeverAvailableError, match="expired") as caught:
        kit.history.bars(EXPIRED, "5 mins", "2026-10-15", "2026-10-15")

    assert "stored before the expiry" in str(caught.value)


def test_what_was_stored_of_an_expired_option_is_read(kit):
    other = kit.history.bars(CALL, "5 mins", **SPAN)
    ago = timedelta(days=34)
    kit.store.write_bars(EXPIRED, "5 mins", other.shift(freq=-ago), source="SIM")

    bars = kit.history.bars(EXPIRED, "5 mins", "2026-10-15", "2026-10-15")

    assert bars["close"].tolist() == other["close"].tolist()
    assert bars.attrs["expired"] is True
    with pytest.raises(NotAdjustableError, match="only stocks"):
        kit.history.bars(EXPIRED, "5 mins", "2026-10-15", "2026-10-15", adjusted=True)
    assert len(kit.history.bars(EXPIRED, "5 mins")) == 78
    many = kit.history.option_bars("SPY", "20261016", 650, "5 mins", rights="C")
    assert set(many["expiry"]) == {"20261016"}


def test_the_gap_report_is_by_contract(kit):
    kit.history.bars(CALL, "5 mins", **SPAN)

    report = kit.history.gaps([CALL, "OPT:SPY:20261218:650P"], "5 mins", "2026-11-18", "2026-11-18")

    assert report[["instrument", "stored", "missing"]].to_numpy().tolist() == [
        [CALL, 78, 0],
        ["OPT:SPY:20261218:650P", 0, 78],
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expiry": "202612"}, "no day"),
        ({"rights": "X"}, "none of"),
        ({"strikes": []}, "no strike"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_door(kit, changes, words):
    arguments = {"expiry": "20261218", "strikes": 650, "rights": "C"} | changes
    expiry, strikes = arguments.pop("expiry"), arguments.pop("strikes")

    with pytest.raises(ValueError, match=words):
        kit.history.option_bars("SPY", expiry, strikes, "1 hour", **arguments)
