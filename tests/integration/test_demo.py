"""`ibkit demo`, as a person types it: in a workspace, in a process of its own, over a socket."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ibkit import connect
from ibkit.sim import launch
from ibkit.store import Store

ENTRY = "from ibkit.cli import main; main()"


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "ibkit.toml").touch()
    yield tmp_path
    if (tmp_path / "data").is_dir():
        launch.stop(tmp_path / "data" / "sim")


@pytest.fixture
def start(workspace):
    """Start the command line in the workspace."""
    env = {name: value for name, value in os.environ.items() if name != "IBKIT_DATA"}
    running = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, *words],
            cwd=workspace,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def ibkit(start):
    """Run the command line to its end; return its exit code and what it said."""

    def ibkit(*words):
        process = start(*words)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    return ibkit


def rows(workspace):
    return Store(workspace / "data" / "sim").coverage().set_index("instrument")["rows"].to_dict()


def test_the_demo_fetches_reports_and_does_nothing_twice(ibkit, workspace):
    code, out, err = ibkit("demo", "--days", "2")

    assert code == 0, err
    stored = rows(workspace)
    assert len(stored) >= 5
    assert {name.split("-")[0] for name in stored} == {"STK", "FUT", "CASH"}
    assert stored["STK-AAPL-SMART-USD"] == 2 * 390
    assert f"Fetched {sum(stored.values()):,} bars" in out
    report = re.search(r"Report: (.*\.html) \((\d\.\d\d) MB, \d+\.\d s\)", out)
    assert report[2] == f"{Path(report[1]).stat().st_size / 1e6:.2f}"
    assert "jupyter lab notebooks/tour.ipynb" in out
    assert 'ibkit.connect("paper")' in out
    assert "daily_report" in err  # progress, on stderr
    assert launch.running(workspace / "data" / "sim") is None

    code, out, err = ibkit("demo", "--days", "2")

    assert code == 0, err
    assert "Nothing was missing" in out
    assert rows(workspace) == stored


def interrupt_in_the_middle(process):
    """Press Ctrl-C when some requests of many were answered; return what stderr said."""
    said = ""
    while not re.search(r"\b[1-9]\d?/60\b", said):
        letter = process.stderr.read(1)
        assert letter, f"it ended first: {said}"
        said += letter
    process.send_signal(signal.SIGINT)
    return said


def test_ctrl_c_in_the_middle_leaves_the_store_whole_and_the_next_run_completes_it(
    start, ibkit, workspace
):
    process = start("demo", "--days", "12")
    interrupt_in_the_middle(process)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert "is in the store; the same command goes on from there" in err
    kept = rows(workspace)
    assert sum(kept.values()) > 0
    assert len(Store(workspace / "data" / "sim").verify()) == 0
    assert launch.running(workspace / "data" / "sim") is None

    code, out, err = ibkit("demo", "--days", "12")

    assert code == 0, err
    complete = rows(workspace)
    assert complete["STK-AAPL-SMART-USD"] == complete["STK-MSFT-SMART-USD"] == 12 * 390
    # the interrupt may come after the last answer: then nothing is left to fetch
    rest = sum(complete.values()) - sum(kept.values())
    assert (f"Fetched {rest:,} bars" if rest else "Nothing was missing") in out
    assert len(Store(workspace / "data" / "sim").verify()) == 0


def test_a_demo_beside_a_connected_notebook_joins_its_gateway_and_leaves_it_running(
    ibkit, workspace
):
    with connect("sim", root=workspace / "data" / "sim") as kit:
        code, out, err = ibkit("demo", "--days", "2")

        assert code == 0, err
        assert "joined" in out
        assert kit.link.state == "ready"
        assert launch.running(kit.root).port == kit.profile.port


def test_a_data_folder_that_cannot_be_written_is_said_in_words(ibkit, workspace):
    (workspace / "data").write_text("a file")

    code, _, err = ibkit("demo", "--days", "2")

    assert code == 1
    assert "cannot use" in err
    assert "Traceback" not in err


def test_the_commands_do_what_the_calls_do(ibkit, workspace):
    code, out, err = ibkit("backfill", "AAPL", "CASH:EURUSD", "--days", "2")
    assert code == 0, err
    assert "new 1 min bars of 2 series" in out

    assert "Nothing missing" in ibkit("backfill", "AAPL", "CASH:EURUSD", "--days", "2")[1]

    code, _, err = ibkit("backfill", "NOSUCH", "--days", "2")
    assert code == 1
    assert "NOSUCH" in err
    assert "Traceback" not in err

    address = launch.running(workspace / "data" / "sim")
    assert f"{address.host}:{address.port}" in ibkit("sim", "status")[1]
    assert "2 series, 3,630 rows" in ibkit("status")[1]
    assert ibkit("sim", "stop")[1] == "Stopped.\n"
    assert launch.running(workspace / "data" / "sim") is None


def test_a_gateway_of_ones_own_serves_until_ctrl_c_and_says_when_its_port_is_taken(start, ibkit):
    serving = start("sim", "serve", "--port", "0")
    port = next(
        found[1] for line in serving.stderr if (found := re.search(r"listens on .*:(\d+)", line))
    )

    code, _, err = ibkit("sim", "serve", "--port", port)
    assert code != 0
    assert "taken by another program" in err

    serving.send_signal(signal.SIGINT)
    serving.communicate(timeout=30)
    assert serving.returncode == 0
