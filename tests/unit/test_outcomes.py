"""What an answer of bars means for the span that was asked about."""

from datetime import UTC, date, datetime

import pytest
from ib_async import Contract

from ibkit.contracts.hours import Session
from ibkit.errors import (
    BudgetSpentError,
    ExpiredContractError,
    LimitError,
    NeverAvailableError,
    NotYetError,
    RequestTimeoutError,
    refused,
)
from ibkit.history.legal import never_before
from ibkit.history.outcomes import Outcome, judge, read, refusal, together
from ibkit.history.plan import Request
from ibkit.schema import bar_size

FIVE, DAY, WEEK = bar_size("5 mins"), bar_size("1 day"), bar_size("1 week")
AAPL = Contract("STK", 265598, "AAPL", exchange="SMART", currency="USD")
LATER = datetime(2026, 12, 20, tzinfo=UTC)
NOTHING = "HMDS query returned no data: AAPL@SMART Trades"


def at(day, hour=14, minute=30):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


SESSIONS = [
    Session(at(day), at(day, 21, 0), date(2026, 11, day)) for day in (2, 3, 4, 5, 6, 9, 10, 11)
]
REQUEST = Request(at(2), at(6, 21, 0), at(6, 21, 0), "5 D")


def reading(first, last, *, received=300, now=LATER, size=FIVE, request=REQUEST):
    stamps = None if first is None else (first, last)
    return read(stamps, received, request, SESSIONS, size, now)


def test_an_answer_from_the_first_session_on_is_the_whole_answer():
    verdict = reading(at(2, 15), at(6, 20, 55))  # nobody traded in the first half hour

    assert (verdict.kind, verdict.answered, verdict.rest) == ("data", (at(2), at(6, 21, 0)), None)


def test_sessions_before_the_first_bar_are_not_confirmed():
    verdict = reading(at(4, 15), at(6, 20, 55))

    # what was cut may have been cut in the middle of a session
    assert verdict.answered == (at(4, 15), at(6, 21, 0))
    assert verdict.rest == (at(2), at(4, 15))


def test_a_first_bar_at_the_open_leaves_the_sessions_before_it():
    verdict = reading(at(4), at(6, 20, 55))

    assert verdict.answered == (at(3, 21, 0), at(6, 21, 0))
    assert verdict.rest == (at(2), at(3, 21, 0))


def test_a_long_answer_that_begins_late_in_a_session_may_be_cut():
    late = {"size": bar_size("10 secs"), "request": Request(at(6), at(6, 21, 0), at(6, 21, 0), "")}

    assert reading(at(6, 18), at(6, 20, 55), received=999, **late).rest is None
    assert reading(at(6, 14, 35), at(6, 20, 55), received=2_000, **late).rest is None
    cut = reading(at(6, 18), at(6, 20, 55), received=1_080, **late)
    assert (cut.rest, cut.answered) == ((at(6), at(6, 18)), (at(6, 18), at(6, 21, 0)))


def test_the_last_bar_of_data_that_lag_behind_is_asked_for_again():
    """Data that are fifteen minutes old end with half a bar, which must not stay for ever."""
    now = at(6, 20, 0)
    running = Request(at(6), now, now, "1 D")

    late = reading(at(6), at(6, 19, 40), now=now, request=running)
    whole = reading(at(6), at(6, 19, 55), now=now, request=running)
    only = reading(at(6), at(6), now=now, request=running)

    assert late.answered == (at(6), at(6, 19, 40))
    assert whole.answered == (at(6), now)
    assert (only.kind, only.answered) == ("data", None)


def test_the_bar_of_a_day_that_has_just_ended_is_asked_for_again():
    request = Request(at(2), at(6, 21, 0), at(6, 21, 0), "5 D")

    soon = reading(at(2), at(6), now=at(6, 21, 10), size=DAY, request=request)
    later = reading(at(2), at(6), now=at(6, 22, 0), size=DAY, request=request)

    assert soon.answered == (at(2), at(6))
    assert later.answered == (at(2), at(6, 21, 0))


def test_sessions_after_the_last_bar_are_confirmed_when_they_are_old():
    assert reading(at(2), at(4, 20, 55)).answered == (at(2), at(6, 21, 0))


def test_what_comes_after_the_last_bar_of_a_fresh_span_is_not():
    fresh = reading(at(2), at(6, 20, 40), now=at(6, 21, 10))

    assert fresh.answered == (at(2), at(6, 20, 40))


@pytest.mark.parametrize(
    ("size", "last", "now", "end"),
    [
        (DAY, at(5), at(6, 22, 0), at(5, 21, 0)),
        (DAY, at(6), at(6, 22, 0), at(6, 21, 0)),
        (WEEK, at(2), at(6, 23, 0), at(6, 21, 0)),
    ],
)
def test_a_fresh_answer_of_days_ends_with_the_session_of_its_last_bar(size, last, now, end):
    assert reading(at(2), last, size=size, now=now).answered == (at(2), end)


def test_no_bar_in_the_span_is_empty_when_old_not_yet_when_fresh_unknown_when_silent():
    assert reading(None, None, received=7).kind == "empty"
    assert reading(None, None, received=7).answered == (at(2), at(6, 21, 0))
    assert reading(None, None, received=7, now=at(6, 21, 20)).kind == "not_yet"
    assert reading(None, None, received=0).kind == "unknown"
    assert reading(None, None, received=0).answered is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BudgetSpentError("bars", "historical requests", 60, 5.0), "pacing"),
        (LimitError(309, "Max number (3) of market depth requests has been reached."), "pacing"),
        (RequestTimeoutError("historical data", 60), "unknown"),
        (NeverAvailableError(162, "six months", AAPL), "empty"),
        (refused(10187, "Failed to request historical ticks:No market data permissions"),
         "no_permission"),
        (refused(10187, "Failed to request historical ticks:HMDS query returned no data"), "empty"),
        (refused(10186, "Requested market data is not subscribed."), "no_permission"),
        (refused(10197, "No market data during competing live session"), "no_permission"),
    ],
)  # fmt: skip
def test_every_error_is_of_one_kind(error, kind):
    assert judge(error) == kind


def test_no_data_is_not_yet_until_its_time_has_come():
    soon = refusal(refused(162, NOTHING), REQUEST, FIVE, at(6, 21, 20), AAPL)
    late = refusal(refused(162, NOTHING), REQUEST, FIVE, at(6, 21, 31), AAPL)
    daily = refusal(refused(162, NOTHING), REQUEST, DAY, at(6, 21, 31), AAPL)

    assert (soon.kind, late.kind, daily.kind) == ("not_yet", "empty", "not_yet")
    assert isinstance(soon.error, NotYetError)
    assert soon.error.at == at(6, 21, 30)
    assert NOTHING in str(soon.error)


def test_an_expired_contract_that_ib_does_not_know_is_told_as_one():
    old = Contract("FUT", 1, "ES", "20240920", exchange="CME", currency="USD")

    outcome = refusal(refused(200, "No security definition"), REQUEST, FIVE, LATER, old)

    assert isinstance(outcome.error, ExpiredContractError)
    assert "two years" in str(outcome.error)


@pytest.mark.parametrize(
    ("contract", "size", "reason"),
    [
        (Contract("OPT", 1, "AAPL", "20261120"), "1 min", "options that have expired"),
        (Contract("FUT", 1, "ES", "20240920"), "1 day", "two years"),
        (Contract("FUT", 1, "ES", "20250919"), "1 day", ""),
        (AAPL, "30 secs", "six months"),
        (AAPL, "1 min", ""),
    ],
)
def test_ibs_own_rules_are_known_beforehand(contract, size, reason):
    found = never_before(contract, bar_size(size), LATER)

    assert (found is None) == (not reason)
    assert found is None or reason in found.reason


def test_the_worst_of_several_parts_is_the_outcome_with_all_rows():
    parts = [
        Outcome("data", REQUEST, 10, 9),
        Outcome("empty", REQUEST, reason="IB 162: no data"),
        Outcome("unknown", REQUEST, reason="?", error=RequestTimeoutError("bars", 1)),
    ]

    assert together(REQUEST, parts[:2]).kind == "data"
    assert together(REQUEST, parts).kind == "unknown"
    assert (together(REQUEST, parts).rows, together(REQUEST, parts).rows_new) == (10, 9)
    assert not together(REQUEST, parts).final
