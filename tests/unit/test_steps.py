"""What was learned by asking: kept on the disk, halved at once, grown with patience."""

from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context

import pytest

from ibkit.history.ladders import LADDERS, Step, is_legal, seconds_text, usual
from ibkit.history.plan import Request
from ibkit.history.steps import MOST_PATIENCE, PATIENCE, Steps
from ibkit.schema import BAR_SIZES, bar_size

SLUG = "STK-AAPL-SMART-USD"
FIVE = bar_size("5 mins")
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)


@pytest.fixture(params=["file", "memory"])
def steps(request, tmp_path):
    return Steps(tmp_path / "cache" / "steps.sqlite" if request.param == "file" else None)


def climb(steps, times):
    for _ in range(times):
        steps.answered(SLUG, FIVE, steps.step(SLUG, FIVE))


def test_a_new_series_asks_for_what_is_usual(steps):
    assert steps.step(SLUG, FIVE) == usual(FIVE) == Step(5)


def test_a_time_out_halves_down_to_a_floor(steps):
    asked, seen = steps.step(SLUG, FIVE), []
    while asked := steps.timed_out(SLUG, FIVE, asked):
        seen.append(asked)

    assert seen == [Step(2), Step(1)]
    assert steps.step(SLUG, FIVE) == Step(1)


def test_a_time_out_of_less_than_a_step_moves_below_that(steps):
    assert steps.timed_out(SLUG, FIVE, Step(3)) == Step(2)
    assert steps.timed_out(SLUG, FIVE, Step(5)) == Step(2)  # another one was on its way
    assert steps.step(SLUG, FIVE) == Step(2)


def test_many_answers_in_a_row_climb_and_a_fall_doubles_the_patience(steps):
    climb(steps, PATIENCE - 1)
    assert steps.step(SLUG, FIVE) == Step(5)
    climb(steps, 1)
    assert steps.step(SLUG, FIVE) == Step(10)

    steps.timed_out(SLUG, FIVE, Step(10))
    climb(steps, 2 * PATIENCE - 1)
    assert steps.step(SLUG, FIVE) == Step(5)
    climb(steps, 1)
    assert steps.step(SLUG, FIVE) == Step(10)


def test_the_top_of_the_ladder_is_the_end_and_patience_has_one():
    steps = Steps()
    climb(steps, 4 * PATIENCE)
    assert steps.step(SLUG, FIVE) == LADDERS["5 mins"].rungs[-1]
    for _ in range(10):
        steps.timed_out(SLUG, FIVE, Step(10))
        climb(steps, MOST_PATIENCE)
        assert steps.step(SLUG, FIVE) > Step(5)


def test_slow_answers_and_small_ones_do_not_climb(steps):
    for _ in range(3 * PATIENCE):
        steps.answered(SLUG, FIVE, Step(5), 30.0, quick=False)
        steps.answered(SLUG, FIVE, Step(2))

    assert steps.step(SLUG, FIVE) == Step(5)
    assert steps.seconds(FIVE) == pytest.approx(30.0)


def test_sizes_and_instruments_are_apart(steps):
    steps.timed_out(SLUG, FIVE, Step(5))

    assert steps.step("STK-MSFT-SMART-USD", FIVE) == Step(5)
    assert steps.step(SLUG, bar_size("10 mins")) == Step(5)


def test_the_head_is_kept_for_long_and_its_absence_for_a_week(steps):
    head = datetime(1980, 12, 12, 14, 30, tzinfo=UTC)
    assert steps.head("a", NOW) == (False, None)

    steps.keep_head("a", head, NOW)
    steps.keep_head("b", None, NOW)

    assert steps.head("a", NOW + timedelta(days=100)) == (True, head)
    assert steps.head("a", NOW + timedelta(days=200)) == (False, None)
    assert steps.head("b", NOW + timedelta(days=6)) == (True, None)
    assert steps.head("b", NOW + timedelta(days=8)) == (False, None)


def test_two_silent_answers_far_apart_confirm_and_two_close_ones_do_not(steps):
    request = Request(NOW - timedelta(hours=1), NOW, NOW, "1 D")

    assert steps.silent("a", request, NOW) is None
    assert steps.silent("a", request, NOW + timedelta(hours=1)) is None
    assert steps.silent("b", request, NOW + timedelta(hours=21)) is None
    assert steps.silent("a", request, NOW + timedelta(hours=21)) == NOW


def test_a_file_that_cannot_be_used_costs_only_what_is_in_it(tmp_path):
    path = tmp_path / "steps.sqlite"
    path.write_bytes(b"no database, " * 100)
    steps = Steps(path)

    steps.timed_out(SLUG, FIVE, Step(5))

    assert steps.step(SLUG, FIVE) == Step(2)
    assert path.read_bytes().startswith(b"no database")


def climbing(path):
    steps = Steps(path)
    for _ in range(20):
        steps.answered(SLUG, bar_size("1 day"), Step(40))
        steps.timed_out(SLUG, FIVE, Step(2))
    return str(steps.step(SLUG, FIVE))


def test_processes_share_it(tmp_path):
    path = tmp_path / "cache" / "steps.sqlite"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert set(pool.map(climbing, [path] * 2)) == {"1 sessions"}

    assert Steps(path).step(SLUG, FIVE) == Step(1)


@pytest.mark.parametrize("name", BAR_SIZES)
def test_every_ladder_ascends_by_about_twice_and_is_legal(name):
    ladder, size = LADDERS[name], BAR_SIZES[name]

    assert list(ladder.rungs) == sorted(set(ladder.rungs))
    for low, high in zip(ladder.rungs, ladder.rungs[1:], strict=False):
        if low.days:
            assert 1.5 <= high.days / low.days <= 2.5
        elif high.seconds:
            assert 1.5 <= high.seconds / low.seconds <= 2.0
    for rung in ladder.rungs:
        if rung.seconds:
            assert is_legal(size, seconds_text(timedelta(seconds=rung.seconds)))
