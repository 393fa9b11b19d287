"""What an empty or refused answer means, over the real socket: one kind each, with IB's words."""

from dataclasses import replace
from datetime import timedelta

import pytest

import ibkit
from ibkit import clock
from ibkit.errors import (
    NeverAvailableError,
    NoDataError,
    NoPermissionError,
    NotYetError,
    PacingError,
    RequestRefusedError,
    RequestTimeoutError,
    UnansweredError,
    UnknownContractError,
    WrongSeriesError,
)
from ibkit.history.asking import Asking
from ibkit.history.ladders import Step
from ibkit.schema import bar_size
from ibkit.sim.testing import gateway

DAY = ("2026-10-20", "2026-10-20")
BARS = "reqHistoricalData"
HMDS = "Historical Market Data Service error message:"
PROCESSING = "Error processing request.-'bM' : cause - "
VALIDATING = "Error validating request.-'bM' : cause - "
NOTHING = HMDS + "HMDS query returned no data: AAPL@SMART"
MINUTE = bar_size("1 min")


@pytest.fixture(scope="module")
def running():
    with gateway(entitlements={"TSLA": "none"}) as one:
        yield one


@pytest.fixture
def kit(running, tmp_path):
    with ibkit.connect(port=running.port, root=tmp_path / "sim") as one:
        yield one
    running.mend()


@pytest.fixture
def impatient(kit, monkeypatch):
    """A kit that waits for an answer a fifth of a second."""
    monkeypatch.setattr("ibkit.history.asking.TIMEOUT_S", 0.2)
    kit.history.plan("AAPL", "1 min", *DAY)  # what a plan asks is asked before
    object.__setattr__(kit.link, "profile", kit.profile.model_copy(update={"timeout_s": 0.2}))
    return kit


def ask(kit, *span, size="1 min", contract="AAPL", **query):
    """Return what came of the newest request for a span."""
    series = kit.history.prepare(contract, size, *span, **query)
    return kit.history.ask(series, series.requests[0])


def missing(kit, size="1 min", contract="AAPL", span=DAY):
    return kit.history.prepare(contract, size, *span).holes


def test_bars_are_data_and_final(kit):
    outcome = ask(kit, *DAY)

    assert (outcome.kind, outcome.rows, outcome.rows_new, outcome.error) == ("data", 390, 390, None)
    assert outcome.final
    assert missing(kit) == ()


@pytest.mark.parametrize(
    ("code", "words", "kind", "error"),
    [
        (162, HMDS + "Historical data request pacing violation", "pacing", PacingError),
        (322, PROCESSING + "Only 50 simultaneous API historical data requests allowed.",
         "pacing", PacingError),
        (162, HMDS + "No market data permissions for ISLAND STK",
         "no_permission", NoPermissionError),
        (162, HMDS + "Trading TWS session is connected from a different IP address",
         "no_permission", NoPermissionError),
        (354, "Requested market data is not subscribed.", "no_permission", NoPermissionError),
        (10089, "Requested market data requires additional subscription for API.",
         "no_permission", NoPermissionError),
        (10090, "Part of requested market data is not subscribed.",
         "no_permission", NoPermissionError),
        (10168, "Requested market data is not subscribed. Delayed market data is not enabled.",
         "no_permission", NoPermissionError),
        (162, HMDS + "API historical data query cancelled: 12", "unknown", RequestRefusedError),
        (162, HMDS + "Starting time must occur before ending time",
         "unknown", RequestRefusedError),
        (162, HMDS + "No historical market data for AAPL/STK@SMART Last",
         "unknown", RequestRefusedError),
        (200, "No security definition has been found for the request",
         "unknown", UnknownContractError),
        (321, VALIDATING + "What to show field is missing or incorrect.",
         "unknown", RequestRefusedError),
        (366, "No historical data query found for ticker id:99", "unknown", RequestRefusedError),
        (10299, "Expected what to show is AGGTRADES, please use that instead of TRADES.",
         "unknown", RequestRefusedError),
        (10339, "Setting end date/time for continuous future security type is not allowed.",
         "unknown", RequestRefusedError),
    ],
)  # fmt: skip
def test_a_refusal_has_its_kind_and_is_never_remembered(
    impatient, running, code, words, kind, error
):
    running.fault("reject", request=BARS, code=code, text=words)

    outcome = ask(impatient, *DAY)

    assert outcome.kind == kind
    assert type(outcome.error) is error or isinstance(outcome.error, error)
    assert outcome.error.code == code
    assert words in str(outcome.error)
    assert str(code) in outcome.reason
    assert len(missing(impatient)) == 1
    with pytest.raises(error):
        impatient.history.bars("AAPL", "1 min", *DAY)


def test_no_permission_of_the_login_is_told_as_one(kit):
    outcome = ask(kit, *DAY, contract="TSLA")

    assert outcome.kind == "no_permission"
    assert "Hint" in str(outcome.error)


def test_no_data_long_ago_is_confirmed_and_not_asked_again(kit, running):
    kit.history.plan("AAPL", "1 min", *DAY)
    running.fault("reject", request=BARS, code=162, text=NOTHING)

    outcome = ask(kit, *DAY)

    assert (outcome.kind, outcome.error) == ("empty", None)
    assert "no data" in outcome.reason
    assert missing(kit) == ()
    gaps = kit.store.read("gaps", "AAPL")
    assert "no data" in gaps["reason"].iloc[0]


def test_no_data_of_a_moment_ago_is_not_yet_and_is_a_hole_still(kit, running):
    now = clock.now()
    span = (now - timedelta(minutes=10), now)
    running.fault("reject", request=BARS, code=162, text=NOTHING)

    outcome = ask(kit, *span, contract="CRYPTO:BTC")

    assert outcome.kind == "not_yet"
    assert isinstance(outcome.error, NotYetError)
    assert outcome.error.at > now
    assert len(missing(kit, contract="CRYPTO:BTC", span=span)) == 1
    with pytest.raises(NotYetError, match="ask again after"):
        kit.history.bars("CRYPTO:BTC", "1 min", *span)
    running.mend()
    assert len(kit.history.bars("CRYPTO:BTC", "1 min", *span)) >= 9


def test_what_is_there_of_a_running_session_comes_with_a_word_about_the_rest(kit, running):
    now = clock.now()
    early = (now - timedelta(hours=3), now - timedelta(hours=1))
    whole = (early[0], now)
    kit.history.bars("CRYPTO:BTC", "1 min", *early)
    running.fault("reject", request=BARS, code=162, text=NOTHING)

    bars = kit.history.bars("CRYPTO:BTC", "1 min", *whole)

    assert len(bars) >= 119
    assert "no data" in bars.attrs["not_yet"]


def answers(monkeypatch, change):
    """Let `change` have what each request found, and how many bars its answer had."""
    fetch, seen = Asking._fetch_bars, []

    async def changed(self, *args, **kwargs):
        found = await fetch(self, *args, **kwargs)
        seen.append(found[1])
        return change(found) if len(seen) == 1 else found

    monkeypatch.setattr(Asking, "_fetch_bars", changed)
    return seen


def test_an_answer_without_bars_and_without_a_reason_is_unknown_the_first_time(kit, monkeypatch):
    answers(monkeypatch, lambda found: (found[0][:0], 0))

    outcome = ask(kit, *DAY)

    assert outcome.kind == "unknown"
    assert isinstance(outcome.error, UnansweredError)
    assert len(missing(kit)) == 1
    tomorrow = clock.now() + timedelta(days=1)
    monkeypatch.undo()
    answers(monkeypatch, lambda found: (found[0][:0], 0))
    monkeypatch.setattr("ibkit.history.asking.clock.now", lambda: tomorrow)
    again = ask(kit, *DAY)
    assert again.kind == "empty"
    assert "neither bars nor a reason, as on" in again.reason


def test_bars_outside_of_the_span_confirm_that_it_is_empty(kit):
    series = kit.history.prepare("AAPL", "1 min", "2026-10-19", "2026-10-20")
    newest, older = series.requests
    object.__setattr__(older, "until", newest.until)  # IB's answer is of another day

    outcome = kit.history.ask(series, older)

    assert outcome.kind == "empty"
    assert "none of them in the span" in outcome.reason


def test_an_answer_that_does_not_reach_back_is_asked_again_for_the_rest(kit, monkeypatch):
    asked = answers(monkeypatch, lambda found: (found[0][-100:], 100))

    outcome = ask(kit, "2026-10-19", "2026-10-23", size="5 mins")

    assert asked == [390, 290]  # cut in the middle of a session, of which the rest comes too
    assert (outcome.kind, outcome.rows) == ("data", 100 + 290)
    assert missing(kit, "5 mins", span=("2026-10-19", "2026-10-23")) == ()
    assert len(kit.store.bars("AAPL", "5 mins")) == 390


def test_a_time_out_is_halved_remembered_and_planned_with(impatient, running):
    span = ("2026-10-19", "2026-10-23")
    assert len(impatient.history.prepare("AAPL", "5 mins", *span).requests) == 1
    running.fault("ignore", request=BARS, times=1)

    outcome = ask(impatient, *span, size="5 mins")

    assert (outcome.kind, outcome.rows) == ("data", 390)
    assert impatient.history._steps.step("STK-AAPL-SMART-USD", bar_size("5 mins")) == Step(2)
    later = impatient.history.prepare("AAPL", "5 mins", "2026-10-12", "2026-10-16")
    assert len(later.requests) == 3
    with ibkit.connect(
        port=running.port, root=impatient.root, client_id=7
    ) as other:  # another program
        assert (
            len(other.history.prepare("AAPL", "5 mins", "2026-10-12", "2026-10-16").requests) == 3
        )
    assert (
        len(impatient.history.prepare("MSFT", "5 mins", "2026-10-12", "2026-10-16").requests) == 1
    )


def test_silence_down_to_the_smallest_step_is_unknown(impatient, running):
    running.fault("ignore", request=BARS)

    outcome = ask(impatient, "2026-10-19", "2026-10-23", size="5 mins")

    assert outcome.kind == "unknown"
    assert isinstance(outcome.error, RequestTimeoutError)
    assert len(missing(impatient, "5 mins", span=("2026-10-19", "2026-10-23"))) == 1


def test_silence_of_a_broken_data_farm_halves_nothing(impatient, running):
    running.fault("farm_down", farm="ushmds")

    outcome = ask(impatient, "2026-10-19", "2026-10-23", size="5 mins")

    assert outcome.kind == "unknown"
    assert "ushmds is disconnected" in str(outcome.error)
    assert impatient.history._steps.step("STK-AAPL-SMART-USD", bar_size("5 mins")) == Step(5)


def test_a_sleeping_data_farm_is_woken_and_asked_again(impatient, running, monkeypatch):
    monkeypatch.setattr("ibkit.history.asking.WAKE_S", 0.2)
    running.fault("farm_asleep", farm="ushmds")
    impatient.ib.reqCurrentTime()  # the notice has arrived

    outcome = ask(impatient, "2026-10-19", "2026-10-23", size="5 mins")

    assert (outcome.kind, outcome.rows) == ("data", 390)
    assert impatient.history._steps.step("STK-AAPL-SMART-USD", bar_size("5 mins")) == Step(5)


def test_a_bar_of_a_day_that_the_schedule_does_not_know_loses_nothing(kit):
    series = kit.history.prepare("AAPL", "1 day", "2026-10-12", "2026-10-23")
    fewer = replace(series, sessions=series.sessions[:4] + series.sessions[5:])

    outcome = kit.history.ask(fewer, series.requests[0])

    assert (outcome.kind, outcome.rows) == ("data", 10)
    stored = kit.history.bars("AAPL", "1 day", "2026-10-12", "2026-10-23")
    assert list(stored.index) == [each.start for each in series.sessions]


# --- what needs no request ------------------------------------------------------------------------


def count(kit, monkeypatch):
    """Count requests by name."""
    asked = []
    request = kit.link.request

    async def counted(name, *args, **kwargs):
        asked.append(name)
        return await request(name, *args, **kwargs)

    monkeypatch.setattr(kit.link, "request", counted)
    return asked


def test_before_the_first_data_nothing_is_asked_and_the_head_once(kit, monkeypatch):
    head = kit.history.head("AAPL")
    assert kit.history.head("AAPL") == head
    start = head.date().replace(year=head.year - 12)
    asked = count(kit, monkeypatch)

    series = kit.history.prepare("AAPL", "1 day", start, head.date() + timedelta(days=30))
    known = [request for request in series.requests if request.known]
    outcomes = [kit.history.ask(series, request) for request in series.requests]

    assert asked.count("head timestamp") == 0  # remembered
    assert asked.count("historical data") == len(series.requests) - len(known) == 1
    assert {one.kind for one in outcomes} == {"data", "empty"}
    assert "before its first data" in outcomes[-1].reason
    assert kit.history.prepare("AAPL", "1 day", start, head.date()).holes == ()
    with pytest.raises(NoDataError):
        kit.history.bars("AAPL", "1 day", start, head.date() - timedelta(days=7))


def test_the_first_answer_that_falls_short_asks_where_data_begin_and_the_rest_is_free(
    kit, monkeypatch
):
    span = ("2024-06-03", "2025-01-31")
    series = kit.history.prepare("FUT:ES:202612", "15 mins", *span)
    asked = count(kit, monkeypatch)

    outcomes = [kit.history.ask(series, request) for request in series.requests]

    assert len(series.requests) == 9
    assert asked == ["historical data", "historical data", "head timestamp"]
    assert [one.kind for one in outcomes] == ["data"] * 2 + ["empty"] * 7
    assert "head timestamp" in outcomes[-1].reason
    assert kit.history.prepare("FUT:ES:202612", "15 mins", *span).holes == ()


def test_seconds_of_long_ago_are_never_available_and_nothing_is_asked(kit, monkeypatch):
    asked = count(kit, monkeypatch)
    plan = kit.history.plan("AAPL", "5 secs", "2025-11-03", "2025-11-05")

    assert plan["requests"].tolist() == [0]
    assert "six months" in plan["reason"].iloc[0]
    with pytest.raises(NeverAvailableError, match="six months"):
        kit.history.bars("AAPL", "5 secs", "2025-11-03", "2025-11-05")
    assert "historical data" not in asked


@pytest.mark.parametrize(
    ("contract", "what", "instead"),
    [
        ("CASH:EURUSD", "TRADES", "MIDPOINT, BID, ASK, BID_ASK"),
        ("IND:SPX", "BID", "TRADES, HISTORICAL_VOLATILITY"),
        ("CRYPTO:BTC", "TRADES", "AGGTRADES"),
        ("AAPL", "YIELD_BID", "TRADES"),
        ("FUT:ES", "FEE_RATE", "TRADES"),
    ],
)
def test_series_that_do_not_fit_are_refused_with_those_that_do(
    kit, monkeypatch, contract, what, instead
):
    kit.contract(contract)
    asked = count(kit, monkeypatch)

    with pytest.raises(WrongSeriesError, match=instead):
        kit.history.bars(contract, "1 day", *DAY, what_to_show=what)

    assert asked == []


def test_a_continuous_future_is_asked_without_an_end_and_never_stored(kit):
    bars = kit.history.bars("CONT:ES", "1 day", "2026-10-12", "2026-10-23")

    assert len(bars) == 10
    assert bars.attrs["stored"] is False
    assert kit.store.coverage("bars_1day").empty
    with pytest.raises(WrongSeriesError, match="never stored"):
        kit.history.prepare("CONT:ES", "1 day", *DAY)
