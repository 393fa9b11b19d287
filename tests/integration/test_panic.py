"""The kill switch that needs no kernel: a process of its own, whatever the notebook is doing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ibkit
from ibkit import errors
from ibkit.orders.panic import panic
from ibkit.sim import launch
from ibkit.sim.testing import gateway

COMMAND = [sys.executable, "-c", "from ibkit.cli import main; main()", "panic", "sim"]


def test_it_cancels_the_orders_of_another_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ibkit.toml").touch()
    try:
        with ibkit.connect() as kit:
            placed = kit.orders.limit("AAPL", "BUY", 1, 1, key="resting")
            done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)

            assert done.returncode == 0, done.stderr
            assert "resting" in done.stdout
            kit.orders.wait(placed, 30)
            assert placed.status == "Cancelled"
            again = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
            assert "no order was open" in again.stdout
    finally:
        launch.stop(tmp_path / "data" / "sim")


def test_orders_that_stay_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with gateway() as running, ibkit.connect(port=running.port, root=tmp_path / "store") as kit:
        kit.orders.limit("AAPL", "BUY", 1, 1, key="resting")
        running.fault("ignore", request="reqGlobalCancel")

        with pytest.raises(errors.PanicError, match="resting"):
            panic(kit.ib, timeout_s=0.3)
