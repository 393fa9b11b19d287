"""Schedules of faults: from a file, at times, at messages, by seeded chance."""

from pathlib import Path

import pytest

from ibkit.errors import SettingsError
from ibkit.sim.clock import ManualClock
from ibkit.sim.faults.plan import Plan
from ibkit.sim.testing import gateway as run_gateway

NOON = 1_790_611_200.0  # Monday, 28 September 2026, noon in New York
EXAMPLE = """
[[fault]]
kind = "farm_down"
farm = "usfuture"
at_s = 10
for_s = 20

[[fault]]
kind = "notice"
code = 2110
text = "first"
on = "2nd reqIds"

[[fault]]
kind = "notice"
code = 2111
after = "2 nextValidId"
"""


@pytest.fixture
def running():
    with run_gateway(clock=ManualClock(NOON)) as running:
        yield running


@pytest.fixture
def wire(running, connect_to):
    wire = connect_to(running).start(9)
    wire.until(4, 2, -1, 2158)
    return wire


def follow(running, text, tmp_path):
    path = Path(tmp_path) / "faults.toml"
    path.write_text(text)
    running.call(running.gateway.faults.follow, Plan.load(path))


def drain(wire):
    wire.send(49, 1)
    return wire.until(49)[:-1]


def test_a_file_schedules_by_time_and_by_message(running, wire, tmp_path):
    follow(running, EXAMPLE, tmp_path)
    running.advance(9)
    assert drain(wire) == []
    running.advance(2)
    assert [frame[3] for frame in drain(wire)] == ["2103"]
    running.advance(20)
    assert [frame[3] for frame in drain(wire)] == ["2104"]

    wire.send(8, 1, 1)
    assert [frame[0] for frame in drain(wire)] == ["9"]
    wire.send(8, 1, 1)
    assert [frame[3 if frame[0] == "4" else 0] for frame in drain(wire)] == ["2110", "9", "2111"]


def test_a_daily_fault_comes_at_its_hour_in_its_zone_every_day(running, wire, tmp_path):
    text = '[[fault]]\nkind = "notice"\ncode = 2110\ndaily = "23:45 America/New_York"\n'
    follow(running, text, tmp_path)
    running.advance(11.7 * 3600)
    assert drain(wire) == []
    running.advance(0.1 * 3600)
    assert len(drain(wire)) == 1
    running.advance(24 * 3600, step=600)
    assert len(drain(wire)) == 1


def test_a_fault_at_an_instant_and_again(running, wire, tmp_path):
    text = '[[fault]]\nkind = "notice"\nat = 2026-09-28T12:00:30-04:00\nevery_s = 60\n'
    follow(running, text, tmp_path)
    running.advance(200, step=1)

    assert len(drain(wire)) == 3


def test_random_faults_are_the_same_with_the_same_seed(connect_to, tmp_path):
    text = '[[random]]\nseed = 4\nmean_s = 60\nuntil_s = 1800\nkinds = ["notice", "farm_down"]\n'
    text += "for_s = 5\n"

    def codes():
        with run_gateway(clock=ManualClock(NOON)) as running:
            wire = connect_to(running).start(9)
            wire.until(4, 2, -1, 2158)
            follow(running, text.replace("for_s = 5\n", ""), tmp_path)
            running.advance(3600, step=1)
            return [frame[3] for frame in drain(wire)]

    first = codes()

    assert 10 < len(first) < 60
    assert codes() == first
    assert (
        len(Plan.parse({"random": [{"mean_s": 1, "kinds": ["drop"]}]}).chances[0].moments(5)) == 5
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[fault]]\nfor_s = 3", "needs a kind"),
        ('[[fault]]\nkind = "quake"', "the kinds are"),
        ('[[fault]]\nkind = "drop"\nat_s = 1\non = "reqIds"', "exclude"),
        ('[[fault]]\nkind = "drop"\non = "reqNothing"', "no request is called"),
        ('[[fault]]\nkind = "drop"\non = "0 reqIds"', "no message"),
        ('[[fault]]\nkind = "drop"\nafter = "orders"', "several messages"),
        ('[[fault]]\nkind = "drop"\ndaily = "25:00 UTC"', "time of the day"),
        ('[[fault]]\nkind = "drop"\ndaily = "5:00 Nowhere/Atoll"', "time zone"),
        ('[[fault]]\nkind = "drop"\nat = 2026-09-28T12:00:00', "zone"),
        ('[[fault]]\nkind = "drop"\nat = "noon"', "instant"),
        ('[[fault]]\nkind = "drop"\nat_s = -1', "number of seconds"),
        ('[[fault]]\nkind = "drop"\nstrength = 3', "its parameters"),
        ("[[random]]\nmean_s = 1", "kinds is a list"),
        ('[[random]]\nkinds = ["drop"]', "mean_s"),
        ('[[random]]\nkinds = ["drop"]\nmean_s = 1\nseed = "x"', "whole number"),
        ("fault = 3", "once for each"),
        ("[storm]", "there is no table"),
        ("[[fault", "Expected"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_with_the_reason(text, words, tmp_path):
    path = tmp_path / "faults.toml"
    path.write_text(text)

    with pytest.raises(SettingsError, match=words):
        Plan.load(path)


def test_all_problems_of_a_schedule_are_told_at_once(tmp_path):
    with pytest.raises(SettingsError) as told:
        Plan.parse({"fault": [{}, {"kind": "drop"}, {"kind": "quake"}]})

    assert len(told.value.problems) == 2
