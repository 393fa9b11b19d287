"""What a user may pass wrongly is refused before anything is asked; emptiness is not believed."""

from datetime import UTC, date, datetime

import pandas as pd
import pytest

import ibkit
from ibkit import clock
from ibkit.errors import NotAdjustableError, UnansweredError
from ibkit.history.ladders import Step
from ibkit.history.steps import PATIENCE
from ibkit.history.ticking import Ticking
from ibkit.schema import bar_size

DAY = ("2026-10-20", "2026-10-20")
NOTHING = "Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART"


@pytest.fixture
def kit(running, tmp_path):
    with ibkit.connect(port=running.port, root=tmp_path / "sim") as one:
        yield one
    running.mend()


@pytest.fixture
def asked(kit, monkeypatch):
    """Names of all requests that go out."""
    names = []
    request = kit.link.request

    async def counted(name, *args, **kwargs):
        names.append(name)
        return await request(name, *args, **kwargs)

    monkeypatch.setattr(kit.link, "request", counted)
    return names


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ("use_rth is True or False", {"use_rth": "False"}),
        ("days counts sessions", {"days": 2.5, "start": None, "end": None}),
        ("days counts sessions", {"days": "3", "start": None, "end": None}),
        ("start=20261020 is no date", {"start": 20261020}),
        ("is no date", {"start": "   "}),
        ("no year", {"start": "0001-01-01"}),
        ("no year", {"end": "9999-12-31"}),
        ("adjusted='split' is none of", {"adjusted": "split"}),
        (r"adjusted=\['splits'\] is none of", {"adjusted": ["splits"]}),
        ("names no instrument", {"contract": None}),
    ],
)
def test_bad_arguments_of_bars_are_refused_at_the_door(kit, asked, words, query):
    usual = {"contract": "AAPL", "bar_size": "1 day", "start": DAY[0], "end": DAY[1]}

    with pytest.raises(ValueError, match=words):
        kit.history.bars(**(usual | query))

    assert "historical data" not in asked


def test_what_cannot_be_adjusted_is_not_fetched_first(kit, asked):
    with pytest.raises(NotAdjustableError):
        kit.history.bars("FUT:ES", "1 day", *DAY, adjusted=True)

    assert "historical data" not in asked


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("names no instrument", lambda one: one.gaps(None)),
        ("names no instrument", lambda one: one.plan(["AAPL", 5])),
        ("names no instrument", lambda one: one.head(None)),
        ("use_rth", lambda one: one.head("AAPL", use_rth="no")),
        ("is no date", lambda one: one.ticks("AAPL", 5)),
        ("ticks are one of", lambda one: one.ticks("AAPL", DAY[0], DAY[0], ["TRADES"])),
        ("use_rth", lambda one: one.ticks("AAPL", DAY[0], DAY[0], use_rth=1)),
        ("is no day", lambda one: one.option_bars("SPY", None, 650)),
        ("a strike is a price", lambda one: one.option_bars("SPY", "20261218", None)),
        ("a strike is a price", lambda one: one.option_bars("SPY", "20261218", [float("nan")])),
        ("no strike", lambda one: one.option_bars("SPY", "20261218", [])),
    ],
)
def test_bad_arguments_of_the_others_are_refused_too(kit, words, call):
    with pytest.raises(ValueError, match=words):
        call(kit.history)


def test_long_bars_of_an_instant_stay_on_its_side(kit):
    start, end = (datetime(2026, 10, 20, hour, tzinfo=UTC) for hour in (15, 18))

    bars = kit.history.bars("AAPL", "2 hours", start, end)

    assert list(bars.index) == [pd.Timestamp("2026-10-20 16:00", tz="UTC")]
    assert len(kit.store.bars("AAPL", "2 hours")) == 4  # a session is asked for as a whole


def test_no_data_while_the_farm_is_away_is_not_remembered(kit, running):
    series = kit.history.prepare("AAPL", "1 min", *DAY)
    kit.link.health.farms["ushmds"] = "broken"  # as 2105 says, which the simulator makes silent
    running.fault("reject", request="reqHistoricalData", code=162, text=NOTHING)

    outcome = kit.history.ask(series, series.requests[0])

    assert outcome.kind == "unknown"
    assert isinstance(outcome.error, UnansweredError)
    assert "ushmds is disconnected" in outcome.reason
    assert len(kit.history.prepare("AAPL", "1 min", *DAY).holes) == 1


def test_whole_sessions_of_minutes_let_the_step_grow(kit):
    series = kit.history.prepare("AAPL", "1 min", "2026-09-28", "2026-10-20")
    assert len(series.requests) > PATIENCE

    for request in series.requests[: PATIENCE + 3]:
        kit.history.ask(series, request)

    assert kit.history._steps.step(series.slug, bar_size("1 min")) == Step(2)


def test_no_ticks_while_the_farm_is_away_is_not_remembered(kit, monkeypatch):
    span = ("2026-10-20T13:30:00Z", "2026-10-20T13:30:20Z")
    kit.link.health.farms["ushmds"] = "broken"

    async def nothing(self, tape, start):
        return []

    monkeypatch.setattr(Ticking, "_ask_ticks", nothing)
    with pytest.raises(UnansweredError, match="ushmds is disconnected"):
        kit.history.ticks("AAPL", *span)
    monkeypatch.undo()
    kit.link.health.farms["ushmds"] = "ok"
    assert len(kit.history.ticks("AAPL", *span)) > 0


def test_a_continuous_future_says_which_sessions_have_no_bar(kit):
    span = ("2026-05-26", "2026-06-16")
    sessions = {each.ref_date: each for each in kit.contracts.sessions("FUT:ES", *span)}
    holes = {"202606": date(2026, 5, 29), "202609": date(2026, 6, 12)}  # the roll is on the 10th
    for month, day in holes.items():
        hole = (sessions[day].start, sessions[day].end)
        kit.store.confirm_empty("bars_1day", kit.contract(f"FUT:ES:{month}"), hole)

    es = kit.history.continuous("ES", "1 day", *span)

    assert es.missing == tuple(holes.items())
    assert es.frame.attrs["missing_sessions"] == {"202606": 1, "202609": 1}
    assert "2 sessions without a bar" in repr(es)
    assert len(es.frame) == len(sessions) - 2


def test_a_continuous_future_without_holes_says_nothing(kit):
    es = kit.history.continuous("ES", "1 day", "2026-06-01", "2026-06-16")

    assert es.missing == ()
    assert "missing_sessions" not in es.frame.attrs


def test_a_head_that_is_a_day_late_hides_no_bars(kit):
    late = datetime(2026, 10, 21, 13, 30, tzinfo=UTC)
    series = kit.history.prepare("AAPL", "1 min", *DAY)
    kit.history._steps.keep_head(series.head_text, late, clock.now())

    assert len(kit.history.bars("AAPL", "1 min", *DAY)) == 390
