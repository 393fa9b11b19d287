"""Timers keep what a table needs, in a bounded place."""

import math
import random
import threading

import pytest

from ibkit.timing import BUCKETS, SharedTimer, Timer, timings_frame


def test_nothing_is_said_of_what_never_happened():
    count, total, mean, p50, p99, most = Timer().row()

    assert (count, total, most) == (0, 0.0, 0.0)
    assert all(map(math.isnan, (mean, p50, p99)))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0])
def test_quantiles_are_right_to_about_a_tenth(scale):
    dice, timer = random.Random(7), Timer()
    times = sorted(dice.lognormvariate(0, 1) * scale for _ in range(20_000))
    for each in times:
        timer.add(each)

    for share in (0.5, 0.99):
        exact = times[int(share * len(times))]
        assert timer.quantile(share) == pytest.approx(exact, rel=0.14)
    assert timer.total_s == pytest.approx(sum(times))
    assert timer.row()[-1] == times[-1]


@pytest.mark.parametrize("seconds", [0.0, 1e-12, 1e9])
def test_times_beyond_the_buckets_are_kept_at_the_edge(seconds):
    timer = Timer()
    timer.add(seconds)

    assert len(timer.buckets) == BUCKETS
    assert sum(timer.buckets) == timer.count == 1
    assert timer.quantile(0.5) <= seconds


def test_a_shared_timer_loses_nothing_between_threads():
    timer = SharedTimer()

    def work():
        for _ in range(2_000):
            with timer.timing():
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert timer.count == sum(timer.buckets) == 8_000


def test_a_block_that_raises_took_its_time_too():
    timer = SharedTimer()
    with pytest.raises(ZeroDivisionError), timer.timing():
        1 / 0  # noqa: B018

    assert timer.count == 1


def test_the_table_has_a_row_for_each_timer():
    timer = Timer()
    timer.add(0.5)

    frame = timings_frame({("disk", "sync"): timer, ("loop", "lag"): Timer()})

    assert frame.loc[("disk", "sync"), "count"] == 1
    assert frame.loc[("disk", "sync"), "total_s"] == 0.5
    assert frame.loc[("loop", "lag"), "count"] == 0
