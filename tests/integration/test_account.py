"""Positions and values from the simulated gateway."""

from __future__ import annotations

import asyncio

import pytest

import ibkit
from ibkit import errors
from ibkit.sim.testing import gateway


@pytest.fixture
def running():
    with gateway() as one:
        yield one


@pytest.fixture
def kit(running, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ibkit.connect(port=running.port, root=tmp_path) as one:
        yield one


def test_an_account_without_positions_is_an_empty_frame_with_columns(kit):
    frame = kit.account.positions()

    assert len(frame) == 0
    assert list(frame.columns) == [
        "account",
        "con_id",
        "sec_type",
        "currency",
        "position",
        "average_cost",
    ]
    assert frame.attrs == {"simulated": True, "stale": False}


def test_a_fill_shows_in_positions_and_portfolio(kit):
    placed = kit.orders.market("AAPL", "BUY", 100, key="test")
    placed.wait(10)

    position = kit.account.positions().loc["AAPL"]
    assert position["position"] == 100
    assert position["average_cost"] > 0
    holding = asyncio.run(kit.account.portfolio.aio()).loc["AAPL"]
    assert holding["market_value"] == pytest.approx(100 * holding["market_price"])


def test_values_are_text_and_number(kit):
    values = kit.account.values().set_index(["tag", "currency"])

    assert values.loc[("NetLiquidation", "USD"), "number"].item() > 0
    assert values["number"].isna().any()
    assert str(values["value"].dtype) == "string"


def test_after_a_loss_the_last_frame_is_stale_and_nothing_is_invented(kit, running):
    kit.account.positions()
    refused = running.fault("refuse")
    running.drop_clients()
    while kit.link.state == "ready":
        kit.ib.sleep(0.001)

    assert kit.account.positions().attrs["stale"]
    with pytest.raises(errors.NotConnectedError):
        kit.account.values()
    running.mend(refused)
    kit.wait_ready(30)
    assert not kit.account.positions().attrs["stale"]
