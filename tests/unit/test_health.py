"""Farms, connectivity and notices, from IB's own messages."""

from __future__ import annotations

import pytest

from ibkit.connection.health import NOTICES_KEPT, Health, notices_frame


@pytest.mark.parametrize(
    ("code", "text", "farm", "state"),
    [
        (2104, "Market data farm connection is OK:usfarm", "usfarm", "ok"),
        (2103, "Market data farm connection is broken:usbond", "usbond", "broken"),
        (
            2107,
            "HMDS data farm connection is inactive but should be available upon demand.ushmds",
            "ushmds",
            "idle",
        ),
        (2119, "Market data farm is connecting:jfarm", "jfarm", "connecting"),
        (2158, "Sec-def data farm connection is OK:secdefnj", "secdefnj", "ok"),
    ],
)
def test_each_farm_message_is_understood(code, text, farm, state):
    health = Health()
    health.note(code, text)

    assert health.farms == {farm: state}


def test_lost_and_restored():
    health = Health()
    health.note(1100, "Connectivity between IBKR and Trader Workstation has been lost.")
    assert not health.online
    health.note(1102, "Connectivity between IBKR and Trader Workstation has been restored")
    assert health.online


def test_a_problem_is_kept_once_with_a_count_and_old_ones_go():
    health = Health()
    for _ in range(3):
        health.count(2104, "OK:usfarm")
    (told,) = health.notices.values()
    assert (told.text, told.count) == ("OK:usfarm", 3)
    assert told.first <= told.last

    for number in range(NOTICES_KEPT):
        health.count(number, "something")
    assert len(health.notices) == NOTICES_KEPT
    assert (2104, "OK:usfarm") not in health.notices


def test_other_numbers_in_a_text_are_no_other_problem():
    health = Health()
    health.count(366, "No historical data query found for ticker id:7")
    health.count(366, "No historical data query found for ticker id:8")

    (row,) = notices_frame(health.notices).to_dict("records")

    assert (row["code"], row["kind"], row["count"]) == (366, "cancelled", 2)
    assert row["text"].endswith(":8")


def test_a_code_that_nobody_knows_is_shown_all_the_same():
    health = Health()
    health.count(99_999, "IB says something new")

    (row,) = notices_frame(health.notices).to_dict("records")

    assert (row["text"], row["cause"]) == ("IB says something new", "")
