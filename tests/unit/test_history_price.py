"""What a plan costs is what asking for it takes, under the rules of the shared ledger."""

from datetime import UTC, date, datetime, timedelta

import pytest
from ib_async import Contract

from ibkit.connection.asks import HISTORY, OPEN, ask_for
from ibkit.connection.budget import Books, plan_round
from ibkit.connection.pacing import LIMITS
from ibkit.contracts.hours import Session
from ibkit.history.plan import plan
from ibkit.history.price import Budget, in_turn, plan_frame, rows_of
from ibkit.history.series import Series
from ibkit.schema import bar_size

START = 1_000.0
NOON = datetime(2026, 11, 2, 14, 30, tzinfo=UTC)


def days(count):
    """Return regular sessions, Monday to Friday."""
    found = []
    for n in range(count):
        day = NOON + timedelta(days=n // 5 * 7 + n % 5)
        found.append(Session(day, day + timedelta(hours=6.5), day.date()))
    return tuple(found)


def series(number, size="5 secs", count=5, what="TRADES"):
    held = days(count)
    span = (held[0].start, held[-1].end)
    contract = Contract("STK", 1_000 + number, f"S{number}", exchange="SMART", currency="USD")
    bars = bar_size(size)
    requests = tuple(plan([span], bars, held))
    return Series(
        contract,
        f"STK-S{number}-SMART-USD",
        bars,
        what,
        use_rth=True,
        span=span,
        sessions=held,
        holes=(span,),
        requests=requests,
    )


def asks(all_series):
    return [
        ask_for("reqHistoricalData", each.contract, one.until, one.duration, each.bar_size.ib,
                each.what_to_show, each.use_rth, formatDate=2)
        for each, one in in_turn(all_series)
    ]  # fmt: skip


def execute(asked, sent=()):
    """Return how long a queue takes on a virtual clock, every answer coming at once."""
    limits = {limit.what: limit for limit in LIMITS}
    books, now, waiting = Books.of(sent), START, list(asked)
    while waiting:
        done = plan_round(waiting, books, limits, now)
        books.held.clear()
        waiting = [ask for place, ask in enumerate(waiting) if place not in set(done.granted)]
        if waiting:
            now = min(hold.at for hold in done.held.values())
    return now - START


@pytest.mark.parametrize("what", ["TRADES", "BID_ASK"])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_price_of_small_bars_is_what_their_execution_takes(what, count):
    work = [series(number, what=what, count=3) for number in range(count)]

    wanted = Budget(at=START).wait(asks(work))

    assert wanted == pytest.approx(execute(asks(work)), rel=0.01, abs=2.5)


def test_what_others_have_used_in_the_last_ten_minutes_counts():
    sent = [(HISTORY, "", START - 300 - n, 1) for n in range(60)]
    work = [series(0, count=1)]
    alone = Budget(at=START).wait(asks(work))

    shared = Budget(Books.of(sent), START).wait(asks(work))

    assert alone < 10
    assert shared == pytest.approx(execute(asks(work), sent), abs=2.5)
    assert shared > 240


def test_thousands_of_requests_are_priced_at_the_rate_of_the_tightest_rule():
    work = [series(number, count=20) for number in range(30)]
    count = sum(len(each.requests) for each in work)

    assert count == 4_200
    assert Budget(at=START).seconds(in_turn(work)) == pytest.approx(count / 60 * 601, rel=0.02)


def test_bars_of_a_minute_take_as_long_as_their_answers():
    work = [series(0, "1 min", 100)]

    slow = Budget(answer_s={"1 min": 32.0}).seconds(in_turn(work))
    crowded = Budget(Books.of((), [(OPEN, "", 49)]), answer_s={"1 min": 32.0})

    assert slow == pytest.approx(100)
    assert crowded.seconds(in_turn(work)) == pytest.approx(3_200)
    assert Budget(answer_s={"1 min": 0.001}).seconds(in_turn(work)) == pytest.approx(2.5)


def test_the_frame_says_what_comes_and_when():
    frame = plan_frame([series(0, "1 min", 5), series(1, "1 day", 5), series(2, "5 secs", 1)])

    assert frame["requests"].tolist() == [5, 1, 7]
    assert frame["rows"].tolist() == [5 * 390, 5, 4_680]
    assert (frame["bytes"] > 0).all()
    assert frame.attrs["requests"] == 13
    assert list(frame.columns[:4]) == ["instrument", "bar_size", "what_to_show", "use_rth"]


def test_only_the_open_part_of_what_is_asked_has_rows():
    found = series(0, "1 min", 5)
    morning = (days(1)[0].start, days(1)[0].start + timedelta(hours=1))
    [request] = plan([morning], found.bar_size, found.sessions)

    assert rows_of(found, [request]) == 60
    assert rows_of(found, []) == 0
    assert rows_of(found, found.requests) == 5 * 390
    assert date(2026, 11, 2) == found.sessions[0].ref_date


@pytest.mark.parametrize("used", [0, 15, 40])
@pytest.mark.parametrize("what", ["TRADES", "BID_ASK"])
@pytest.mark.parametrize("many", [241, 300, 301, 630])
def test_beyond_what_is_simulated_the_windows_go_on_as_they_would(used, what, many):
    contracts = [Contract(conId=n, secType="STK", exchange="SMART") for n in (1, 2, 3)]
    asks = [
        ask_for("reqHistoricalData", contracts[n % 3], f"{n}", "1800 S", "5 secs", what, 1)
        for n in range(many)
    ]
    sent = {(HISTORY, ""): [(95.0 - 3 * n, 1) for n in range(used)]}
    budget = Budget(Books(sent=sent), 100.0)

    whole = budget.wait(asks)
    cost = 2 if what == "BID_ASK" else 1

    assert budget.wait(asks[:240], cost * (many - 240)) == pytest.approx(whole, abs=20)
