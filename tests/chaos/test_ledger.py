"""The ledger on virtual time: who waits, for how long, and that nobody breaks a rule."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from ib_async import Contract

from ibkit.connection.asks import ask_for
from ibkit.connection.budget import Ask, Charge
from ibkit.connection.ledger import Ledger
from ibkit.connection.pacing import LIMITS
from ibkit.errors import BudgetSpentError, NotConnectedError

HISTORY = next(limit for limit in LIMITS if limit.what == "historical requests")
# IB's own numbers, for the judge: (seconds, at most)
TEN_MINUTES, TWO_SECONDS, SAME = (600, 60), (2, 5), (15, 1)


def bars(con_id, n, what="TRADES"):
    contract = Contract(conId=con_id, exchange="SMART")
    return ask_for("reqHistoricalData", contract, str(n), "1800 S", "5 secs", what, useRTH=True)


def most(times, seconds):
    """Return the most that fell into any window of so many seconds; times are (when, cost)."""
    times, best, low, total = sorted(times), 0, 0, 0
    for at, cost in times:
        total += cost
        while times[low][0] <= at - seconds:
            total -= times[low][1]
            low += 1
        best = max(best, total)
    return best


@pytest.fixture
def on_time(virtual, tmp_path):
    """Run a coroutine function with a ledger on the virtual clock, closed at the end."""

    def run(main, **kwargs):
        async def body(loop):
            with Ledger(tmp_path / "pacing.sqlite", now=loop.time, **kwargs) as ledger:
                return await main(ledger, loop)

        return virtual(body)

    return run


@pytest.mark.parametrize("jitter", [0.0, 0.08])
def test_small_bars_use_the_budget_to_the_full_and_never_more(on_time, jitter):
    dice, arrived = random.Random(7), []

    async def one(ledger, loop, n):
        with await ledger.admit(bars(n % 40, n)) as grant:
            grant.sent()
            arrived.append((loop.time() + dice.uniform(0, jitter), 1))
            await asyncio.sleep(dice.uniform(0.1, 3))

    async def main(ledger, loop):
        await asyncio.gather(*(one(ledger, loop, n) for n in range(300)))

    on_time(main)

    assert len(arrived) == 300
    assert most(arrived, TEN_MINUTES[0]) <= TEN_MINUTES[1]
    assert max(arrived)[0] <= 4 * 600 / 0.99


def test_one_hot_contract_and_double_bid_ask_keep_every_rule(on_time):
    seen = []

    async def one(ledger, loop, n):
        what = "BID_ASK" if n % 3 == 0 else "TRADES"
        with await ledger.admit(bars(1, n % 50, what)) as grant:
            grant.sent()
            seen.append((loop.time(), what, n % 50))

    async def main(ledger, loop):
        await asyncio.gather(*(one(ledger, loop, n) for n in range(150)))

    on_time(main)

    cost = {"BID_ASK": 2, "TRADES": 1}
    assert len(seen) == 150
    assert most([(at, cost[what]) for at, what, _ in seen], TEN_MINUTES[0]) <= TEN_MINUTES[1]
    for kind, each in cost.items():
        hot = [(at, each) for at, what, _ in seen if what == kind]
        assert most(hot, TWO_SECONDS[0]) <= TWO_SECONDS[1]
    for same in {(what, n) for _, what, n in seen}:
        assert most([(at, 1) for at, *rest in seen if tuple(rest) == same], SAME[0]) <= SAME[1]


def test_an_identical_request_waits_and_stops_nobody_else(on_time):
    async def main(ledger, loop):
        when = {}

        async def one(name, ask):
            with await ledger.admit(ask):
                when[name] = loop.time()

        names = ("first", "same", "other")
        for name, ask in zip(names, (bars(1, 0), bars(1, 0), bars(2, 0)), strict=True):
            asyncio.get_running_loop().create_task(one(name, ask))
        await asyncio.sleep(60)
        return when

    when = on_time(main)

    assert when["first"] == when["other"] == 0
    assert 15 <= when["same"] <= 15.2


def test_bars_of_a_minute_wait_for_nothing_but_open_requests(on_time):
    contract = Contract(conId=1, exchange="SMART")
    ask = ask_for("reqHistoricalData", contract, "", "1 D", "1 min", "TRADES", useRTH=True)
    open_now, peak = [], []

    async def one(ledger):
        with await ledger.admit(ask):
            open_now.append(1)
            peak.append(len(open_now))
            await asyncio.sleep(1)
            open_now.pop()

    async def main(ledger, loop):
        await asyncio.gather(*(one(ledger) for _ in range(200)))
        return loop.time()

    assert 4 <= on_time(main) < 4.5
    assert max(peak) == 50


def test_who_cannot_be_served_in_time_is_told_at_once_and_costs_nothing(on_time):
    async def main(ledger, loop):
        for n in range(60):
            (await ledger.admit(bars(n, n))).release()
        with pytest.raises(BudgetSpentError) as caught:
            await ledger.admit(bars(99, 99), timeout_s=30)
        return loop.time(), caught.value, ledger.gauge()

    at, error, gauge = on_time(main)

    assert at < 1
    assert error.rule == "historical requests"
    assert error.next_s == pytest.approx(601, abs=1)
    assert "there is room in 60" in str(error)
    assert gauge.used["historical requests"] == 60


def test_the_gauge_says_what_is_left_and_when_the_next_may_go(on_time):
    async def main(ledger, loop):
        for n in range(45):
            await ledger.admit(bars(n, n))
        await asyncio.sleep(100)
        for n in range(5):
            await ledger.admit(bars(n, 100 + n))
        return ledger.gauge()

    gauge = on_time(main)

    assert gauge.left["historical requests"] == 10
    assert gauge.next_s["historical requests"] == 0
    assert gauge.left["open historical requests"] == 0
    assert gauge.next_s.isna()["open historical requests"]
    assert gauge.used["identical historical requests"] == 1


def test_a_cancelled_wait_leaves_its_place_to_the_next(on_time):
    async def main(ledger, loop):
        line = Ask("a line", (Charge("market data lines", "", 100),))
        first = await ledger.admit(line)
        gone = loop.create_task(ledger.admit(line))
        next_ = loop.create_task(ledger.admit(line))
        await asyncio.sleep(1)
        gone.cancel()
        await asyncio.sleep(1)
        first.release()
        grant = await next_
        return loop.time(), gone.cancelled(), ledger.waiting, grant.waited_s

    at, cancelled, waiting, waited = on_time(main)

    assert cancelled
    assert waiting == 0
    assert 2 <= at < 2.01
    assert waited == pytest.approx(2, abs=0.1)


def test_a_caller_cancelled_in_the_moment_of_its_grant_holds_nothing(on_time):
    """However many turns of the loop after asking: the grant is used or undone, never lost."""

    async def main(ledger, loop):
        line = Ask("a line", (Charge("market data lines"), Charge("real-time bars")))
        served = 0
        for turns in range(12):
            task = loop.create_task(ledger.admit(line))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                served += 1
                task.result().withdraw()
        await asyncio.sleep(1)
        return served, ledger.gauge()

    served, gauge = on_time(main)

    assert 0 < served < 12
    assert gauge.used["market data lines"] == 0
    assert gauge.used["real-time bars"] == 0


def test_a_message_that_left_late_counts_from_then_on(on_time):
    one = replace(HISTORY, most=1)
    ask = Ask("history", (Charge("historical requests"),))

    async def main(ledger, loop):
        grant = await ledger.admit(ask)
        await asyncio.sleep(30)
        grant.sent()
        await ledger.admit(ask)
        return loop.time()

    assert 631 <= on_time(main, limits=[one]) < 631.1


def test_a_request_that_was_never_sent_gives_its_place_back(on_time):
    ask = Ask("history", (Charge("historical requests"),))

    async def main(ledger, loop):
        (await ledger.admit(ask)).withdraw()
        await ledger.admit(ask)
        return loop.time()

    assert on_time(main, limits=[replace(HISTORY, most=1)]) < 1


def test_new_limits_let_go_who_waited_for_the_old_ones(on_time):
    lines = next(limit for limit in LIMITS if limit.what == "market data lines")
    ask = Ask("a line", (Charge("market data lines"),))

    async def main(ledger, loop):
        await ledger.admit(ask)
        waiting = loop.create_task(ledger.admit(ask))
        await asyncio.sleep(5)
        assert not waiting.done()
        ledger.set_limits([replace(lines, most=2)])
        await waiting
        return loop.time()

    assert on_time(main, limits=[replace(lines, most=1)]) < 5.2


def test_closing_ends_every_wait_and_a_closed_ledger_admits_nobody(on_time):
    ask = Ask("a line", (Charge("market data lines", "", 100),))

    async def main(ledger, loop):
        await ledger.admit(ask)
        waiting = [loop.create_task(ledger.admit(ask)) for _ in range(3)]
        await asyncio.sleep(1)
        ledger.close()
        ledger.close()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(NotConnectedError):
            await ledger.admit(ask)
        return [type(one) for one in ended]

    assert on_time(main) == [NotConnectedError] * 3


def test_what_asks_for_more_than_there_is_is_refused_at_once(on_time):
    contracts = [Contract(conId=n) for n in range(150)]

    async def main(ledger, loop):
        with pytest.raises(BudgetSpentError, match="more than there ever is"):
            await ledger.admit(ask_for("reqTickers", *contracts))

    on_time(main)


def test_a_damaged_file_is_set_aside_and_begun_anew(virtual, tmp_path):
    path = tmp_path / "pacing.sqlite"
    path.write_bytes(b"no database" * 1000)

    async def main(loop):
        with Ledger(path, now=loop.time) as ledger:
            await ledger.admit(bars(1, 1))
            return int(ledger.gauge().used["historical requests"])

    assert virtual(main) == 1
    assert path.with_suffix(".broken").exists()
