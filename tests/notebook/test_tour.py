"""The tour, top to bottom in a kernel of its own, on the simulated gateway."""

from __future__ import annotations

import nbformat
import pytest

import ibkit
from ibkit.sim import launch


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "ibkit.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("IBKIT_DATA", str(folder / "data"))
        yield folder
    launch.stop(folder / "data" / "sim")


@pytest.fixture(scope="module")
def toured(workspace):
    return ibkit.run("tour", progress=False)


@pytest.fixture
def kit(workspace):
    with ibkit.connect(client_id=9) as kit:
        yield kit


def said(run):
    """Return everything that the cells of a run show, as text."""
    cells = nbformat.read(run.output, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    plain = (output.get("data", {}).get("text/plain", "") for output in outputs)
    return "\n".join([*plain, *(output.get("text", "") for output in outputs)])


def test_the_tour_shows_each_room_and_places_no_order(toured, kit):
    shown = said(toured)

    for words in ("<Kit sim", "<StatusCard SIMULATED", "<OrderTicket AAPL SIMULATED", "WhatIf("):
        assert words in shown
    assert kit.orders.intents() == []
    assert kit.account.positions().empty


def test_the_report_of_the_tour_has_the_ticket_in_words_and_no_controls(toured):
    page = toured.html.read_text()

    assert "An order ticket; open the notebook to use it." in page
    assert "DUSIM0001" not in page


def test_the_tour_trades_only_when_told_and_then_once(toured, kit):
    ibkit.run("tour", progress=False, report=False, trade=True, quantity=7)

    assert kit.account.positions()["position"].tolist() == [7.0]
    assert [intent.state for intent in kit.orders.intents()] == ["filled"]


def test_what_the_tour_fetched_is_in_the_store(toured, kit):
    assert set(kit.store.instruments("bars_1min")) > {"STK-AAPL-SMART-USD", "CASH-EUR-IDEALPRO-USD"}
