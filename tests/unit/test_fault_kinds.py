"""The table of faults: complete, wired, and told to the user."""

import inspect
from pathlib import Path

import pytest

from ibkit.sim.faults import KINDS, pieces, replies, requests, service
from ibkit.sim.faults.kinds import kind_of
from ibkit.sim.faults.names import CLASSES, REQUEST_NAMES, replies_named, requests_named

DOCS = Path(__file__).parents[2] / "docs" / "simulator.md"


def test_every_kind_does_something_and_everything_is_a_kind():
    wired = {*requests.EFFECTS, *replies.EFFECTS, *pieces.EFFECTS, *service.EVENTS}
    wired |= {*service.BEGINS, "linger"}

    assert wired == set(KINDS)
    assert {name for name, kind in KINDS.items() if kind.door == "event"} == set(service.EVENTS)


def test_every_kind_is_in_the_users_table_with_its_parameters():
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}

    for name, kind in KINDS.items():
        assert kind.does in rows[name]
        assert all(f"`{parameter}=" in rows[name] for parameter in kind.defaults)


def test_every_kind_has_a_test_over_a_socket():
    tests = "".join(
        path.read_text(encoding="utf-8")
        for path in (Path(__file__).parents[1] / "sim").glob("test_*.py")
    )
    reached_otherwise = {"close_lines"}  # the end of a lost link whose data are lost

    missing = [name for name in KINDS if f'"{name}"' not in tests]
    assert set(missing) <= reached_otherwise


@pytest.mark.parametrize("name", ["slow", "half-open", "corrupt_field"])
def test_kinds_are_found_with_dashes_too(name):
    assert kind_of(name).name == name.replace("-", "_")


def test_text_is_read_as_the_type_of_the_parameter():
    given = {"down_s": "5", "keep_day_orders": "yes"}

    assert kind_of("restart").parameters(given) == {"down_s": 5.0, "keep_day_orders": True}


def test_classes_name_requests_that_exist():
    for name, requests_of in CLASSES.items():
        assert requests_of <= REQUEST_NAMES
        assert requests_named(name) == requests_of


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("reqMktData", "req_mkt_data"),
        ("req_mkt_data", "req_mkt_data"),
        ("placeOrder", "place_order"),
        ("reqHeadTimestamp", "req_head_time_stamp"),
    ],
)
def test_requests_have_the_names_that_people_use(called, name):
    assert requests_named(called) == {name}


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("execDetailsEnd", "exec_details_end"),
        ("updatePortfolio", "portfolio_value"),
        ("tickByTickBidAsk", "tick_by_tick"),
        ("updateMktDepthL2", "mkt_depth_l2"),
    ],
)
def test_replies_have_the_names_of_callbacks(called, name):
    assert replies_named(called) == {name}


def test_effects_take_what_the_injector_gives():
    for effect in requests.EFFECTS.values():
        assert len(inspect.signature(effect).parameters) == 5
