"""Adjusted bars over the socket: against IB's own ADJUSTED_LAST, value by value."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from ib_async import WshEventData

import ibkit
from ibkit import clock
from ibkit.errors import (
    AdjustedBarsError,
    NotAdjustableError,
    NotConnectedError,
    UnknownFactorsError,
)
from ibkit.history.actions import read_wsh
from ibkit.history.adjusting import Adjusting
from ibkit.sim.actions import actions

SPAN = {"start": "2025-09-02", "end": "2026-10-30"}
# IB rounds ADJUSTED_LAST to the cent; ours are not rounded
TOLERANCE = 0.005 + 1e-6


@pytest.fixture
def asked(kit, monkeypatch):
    """Count how often factors are derived from IB's answers."""
    calls = []
    answer = Adjusting._answer

    async def counting(self, contract, first, today):
        calls.append(contract.symbol)
        return await answer(self, contract, first, today)

    monkeypatch.setattr(Adjusting, "_answer", counting)
    return calls


@pytest.fixture
def cut(monkeypatch):
    """Let IB be out of reach for new factors, from the call on."""

    def now():
        async def answer(self, contract, first, today):
            raise NotConnectedError("reconnecting", "daily TRADES")

        monkeypatch.setattr(Adjusting, "_answer", answer)

    return now


def ibs_own(kit, symbol, duration="2 Y", size="1 day"):
    """IB's ADJUSTED_LAST, by the start of each bar or its date."""
    bars = kit.ib.reqHistoricalData(
        kit.contract(symbol), "", duration, size, "ADJUSTED_LAST", useRTH=True, formatDate=2
    )
    return {bar.date: bar for bar in bars}


def test_adjusted_days_are_ibs_adjusted_last(kit):
    mine = kit.history.bars("MSFT", "1 day", **SPAN, adjusted=True)

    theirs = ibs_own(kit, "MSFT")
    days = mine.index.tz_convert("America/New_York").date
    plain = kit.history.bars("MSFT", "1 day", **SPAN)
    assert len(mine) > 250
    for name in ("open", "high", "low", "close"):
        answered = np.array([getattr(theirs[day], name) for day in days])
        assert np.abs(mine[name] - answered).max() <= TOLERANCE
    assert np.abs(mine["close"] - plain["close"]).max() > 10  # it is not the same series
    assert (mine["volume"] == plain["volume"]).all()
    assert mine.attrs["adjusted"] == "dividends"
    assert mine.attrs["factors_by"] == "ADJUSTED_LAST"
    assert "stale" not in mine.attrs


def test_adjusted_minutes_are_ibs_around_an_ex_day(kit):
    ex = date.fromisoformat(kit.history.factors("MSFT")["day"].iloc[-1])
    span = {"start": ex - pd.Timedelta(days=4), "end": ex + pd.Timedelta(days=1)}

    mine = kit.history.bars("MSFT", "5 mins", **span, adjusted=True)

    theirs = ibs_own(kit, "MSFT", "4 M", "5 mins")
    answered = np.array([theirs[ts.to_pydatetime()].close for ts in mine.index])
    assert np.abs(mine["close"] - answered).max() <= TOLERANCE
    plain = kit.history.bars("MSFT", "5 mins", **span)
    changed = (mine["close"] != plain["close"]).groupby(mine.index.date).mean()
    assert set(changed) == {0.0, 1.0}  # a day has one factor


def test_factors_are_the_dividends_of_the_market(kit, running):
    found = kit.history.factors("MSFT", start="2024-01-02")

    market = running.gateway.market
    instrument = market.universe.by_con_id(kit.contract("MSFT").conId)
    paid = actions(
        market.seed, instrument, date(2024, 1, 2), date.fromisoformat(found.attrs["last"])
    )
    assert found["day"].tolist() == [one.day.isoformat() for one in paid]
    assert found["amount"].tolist() == pytest.approx([one.amount for one in paid], abs=0.005)
    assert found.attrs["first"] == "2024-01-02"
    assert found.attrs["simulated"] is True


def test_adjusted_last_is_stored_nowhere(kit):
    kit.history.bars("MSFT", "1 day", **SPAN, adjusted=True)

    kinds = {
        kind
        for name in kit.store.datasets()
        if name.startswith("bars_")
        for kind in kit.store.read(name)["what_to_show"].unique()
    }
    assert kinds == {"TRADES"}
    bars = kit.history.bars("MSFT", "1 day", days=2)
    with pytest.raises(AdjustedBarsError):
        kit.store.write_bars("MSFT", "1 day", bars, what_to_show="ADJUSTED_LAST")


def test_factors_of_today_are_not_asked_for_again(kit, asked):
    kit.history.bars("MSFT", "1 day", **SPAN, adjusted=True)
    kit.history.bars("MSFT", "1 hour", "2026-10-01", "2026-10-02", adjusted=True)
    assert asked == ["MSFT"]

    kit.history.bars("MSFT", "1 day", "2024-06-03", "2024-07-01", adjusted=True)  # further back
    assert asked == ["MSFT", "MSFT"]


def test_factors_of_yesterday_are_derived_again(kit, asked, monkeypatch):
    kit.history.bars("MSFT", "1 day", **SPAN, adjusted=True)
    tomorrow = clock.now() + pd.Timedelta(days=1)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)

    kit.history.bars("MSFT", "1 day", **SPAN, adjusted=True)

    assert asked == ["MSFT", "MSFT"]


def test_a_split_is_seen_in_what_was_stored_before_it(kit, monkeypatch):
    """IB answers in shares of today; what was stored in June is in those of June."""
    now = kit.history.bars("MSFT", "1 day", "2026-03-02", "2026-10-30")
    theirs = ibs_own(kit, "MSFT")
    june = now[now.index < "2026-06-10"]
    prices = ["open", "high", "low", "close", "wap"]
    old = june.assign(**june[prices] * 4, volume=june["volume"] / 4)
    long_ago = datetime(2026, 6, 9, 21, tzinfo=UTC)
    # rows as a store of that time has them: everything is committed anew, in the order of time
    fresh = kit.store.root.with_name("lived")
    store = ibkit.Store(fresh, kind="sim")
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: long_ago)
        store.write_bars("MSFT", "1 day", old, source="SIM")
    store.write_bars("MSFT", "1 day", now[now.index >= "2026-06-10"], source="SIM")
    monkeypatch.setattr(kit.history, "_store", store)

    found = kit.history.factors("MSFT")
    back = store.bars("MSFT", "1 day", adjusted=True)

    [split] = found[found["kind"] == "split"].to_dict("records")
    assert (split["ratio"], split["since"], split["basis"]) == (4.0, "2026-06-10", "stored prices")
    days = back.index.tz_convert("America/New_York").date
    answered = np.array([theirs[day].close for day in days])
    assert np.abs(back["close"] - answered).max() <= TOLERANCE
    assert np.allclose(back["volume"], now["volume"])


def test_events_of_the_user_are_compared_with_ibs_steps(kit):
    known = kit.history.factors("MSFT")
    events = pd.DataFrame(
        {"day": known["day"], "kind": "dividend", "amount": known["amount"].round(2)}
    )

    assert kit.history.factors("MSFT", events=events).attrs["doubts"] == ()

    events.loc[0, "amount"] *= 1.5
    found = kit.history.factors("MSFT", events=events)

    assert len(found.attrs["doubts"]) == 1
    assert events.loc[0, "day"] in found.attrs["doubts"][0]
    assert found["factor"].tolist() == pytest.approx(known["factor"].tolist())
    bars = kit.history.bars("MSFT", "1 day", **SPAN, adjusted=True)
    assert "by ADJUSTED_LAST" in bars.attrs["factors_doubts"]


def test_events_of_the_dataset_come_back_as_they_went_in(kit):
    """Midnight in Hong Kong is the day before in UTC."""
    events = pd.DataFrame({"day": ["2026-03-09"], "kind": ["dividend"], "amount": [0.5]})
    kit.history.factors("700@SEHK:HKD", events=events)
    stored = kit.store.events("700@SEHK:HKD")

    kit.history.factors("700@SEHK:HKD", events=stored)

    assert kit.store.events("700@SEHK:HKD")["event_key"].tolist() == ["dividend-2026-03-09"]


def test_wall_street_horizon_tells_the_same_dividends(kit):
    contract = kit.contract("MSFT")
    kit.ib.getWshMetaData()
    text = kit.ib.getWshEventData(
        WshEventData(conId=contract.conId, startDate="20250901", endDate="20261030")
    )

    told = read_wsh(text)
    found = kit.history.factors("MSFT", start="2025-09-02", events=told)

    dividends = told[told["kind"] == "dividend"]
    assert len(dividends) >= 4
    known = found[found["day"] <= "2026-10-30"]
    assert known["from_events"].notna().all()
    assert [doubt for doubt in found.attrs["doubts"] if "none by events" not in doubt] == []


def test_without_a_connection_events_and_stored_closes_are_enough(kit, cut):
    known = kit.history.factors("MSFT")
    kit.history.bars("MSFT", "1 day", "2025-10-01", clock.now().date())
    events = pd.DataFrame(
        {"day": known["day"], "kind": "dividend", "amount": known["amount"].round(2)}
    )
    cut()

    found = kit.history.factors("MSFT", events=events)

    assert found["basis"].unique().tolist() == ["events"]
    assert found["factor"].tolist() == pytest.approx(known["factor"].tolist(), abs=1e-4)
    offline = ibkit.Store(kit.store.root)
    assert offline.bars("MSFT", "1 day", adjusted=True).attrs["factors_by"] == "events"


def test_events_alone_know_of_splits_too(kit, cut, monkeypatch):
    """Stored in June at 400; split 4 for 1 in July; 2 dollars were paid in June, a half since."""
    days = pd.bdate_range("2026-06-01", "2026-06-30", tz="UTC") + pd.Timedelta("13:30:00")
    bars = pd.DataFrame(dict.fromkeys(["open", "high", "low", "close"], 400.0), index=days)
    bars.index.name = "ts"
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: datetime(2026, 7, 1, tzinfo=UTC))
        kit.store.write_bars("MSFT", "1 day", bars.assign(volume=1000.0))
    cut()
    events = pd.DataFrame(
        {"day": ["2026-06-15", "2026-07-10"], "kind": ["dividend", "split"],
         "amount": [2.0, None], "ratio": [None, 4.0]}
    )  # fmt: skip

    kit.history.factors("MSFT", events=events)

    back = kit.store.bars("MSFT", "1 day", adjusted=True)
    assert back["close"].iloc[0] == pytest.approx(100 * (1 - 2 / 400))
    assert back["close"].iloc[-1] == 100.0
    assert (back["volume"] == 4000.0).all()
    assert kit.store.bars("MSFT", "1 day")["close"].unique().tolist() == [400.0]


def test_who_never_asked_and_cannot_is_told_so(kit, cut):
    cut()

    with pytest.raises(UnknownFactorsError, match="events=frame"):
        kit.history.bars("AAPL", "1 day", "2026-10-01", "2026-10-30", adjusted=True)


def test_old_factors_serve_when_ib_cannot_be_asked_and_say_so(kit, cut, monkeypatch):
    kit.history.bars("MSFT", "1 day", **SPAN, adjusted=True)
    cut()
    tomorrow = clock.now() + pd.Timedelta(days=2)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)

    bars = kit.history.bars("MSFT", "1 day", **SPAN, adjusted=True)

    assert "reconnecting" in bars.attrs["factors_late"]


def test_what_has_no_dividends_is_refused(kit):
    with pytest.raises(NotAdjustableError, match="continuous"):
        kit.history.bars("FUT:ES", "1 day", days=3, adjusted=True)
    with pytest.raises(NotAdjustableError):
        kit.history.factors("CASH:EURUSD")
    with pytest.raises(NotAdjustableError, match="never stored"):
        kit.history.bars("CONT:ES", "1 day", days=3, adjusted=True)
    with pytest.raises(AdjustedBarsError, match="adjusted=True"):
        kit.history.bars("MSFT", "1 day", days=3, what_to_show="ADJUSTED_LAST")
