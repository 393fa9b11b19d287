"""`ibkit sim serve|faults|record|play` as processes and commands, as a user types them."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from ibkit import cli
from ibkit.sim.control import ControlAddress, ask

IBKIT = "from ibkit.cli import main; main()"
SCHEDULE = '[[fault]]\nkind = "notice"\ncode = 2110\ntext = "from the file"\non = "reqIds"\n'
START = "2026-09-28T12:00-04:00"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "ibkit.toml").write_text("")
    monkeypatch.delenv("IBKIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ibkit(capsys, monkeypatch):
    """Run the command line here; return its exit code and what it said."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ibkit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


@contextmanager
def process(*words):
    """Run a command until the end of the block; give the port that it says it listens on."""
    command = [sys.executable, "-c", IBKIT, *map(str, words)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as started:
        try:
            for line in started.stderr:
                if "Control port" not in line:
                    yield int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])
                    break
            else:
                pytest.fail("it ended without a word")
        finally:
            started.send_signal(signal.SIGINT)
            started.stderr.read()
            code = started.wait(20)
    assert code in {0, 130}


def test_a_served_gateway_is_told_its_faults_and_its_time(workspace, ibkit, connect_to):
    (workspace / "faults.toml").write_text(SCHEDULE)
    options = ("--port", 0, "--manual", "--start", START, "--faults", "faults.toml")
    with process("sim", "serve", *options) as port:
        wire = connect_to(type("Address", (), {"host": "127.0.0.1", "port": port})).start(9)
        wire.until(4, 2, -1, 2158)
        wire.send(8, 1, 1)
        assert wire.receive()[3] == "2110"

        assert ibkit("sim", "faults")[1] == "No faults.\n"
        code, out, _ = ibkit("sim", "faults", "reject", "request=reqIds", "code=10000", "times=1")
        number = json.loads(out)["number"]
        wire.until(9)
        wire.send(8, 1, 1)
        assert code == 0
        assert wire.receive()[3] == "10000"
        assert json.loads(ibkit("sim", "faults", "list")[1])["hits"] == 1
        assert ibkit("sim", "faults", "end", number)[1] == "No faults.\n"

        moved = json.loads(ibkit("sim", "faults", "advance", "3600", "step=60")[1])
        assert moved["utc"] == "2026-09-28T17:00:00+00:00"
        assert json.loads(ibkit("sim", "faults", "status", "--port", port)[1])["clients"] == [9]
        assert "a real" not in ibkit("sim", "faults", "kinds")[1]
        assert ibkit("sim", "faults", "plan", "faults.toml")[0] == 0
        assert ibkit("sim", "faults", "clear")[0] == 0
    assert not list(workspace.rglob("control-*.json"))


def test_a_control_port_elsewhere_is_named_with_its_token(gateway, ibkit):
    address = gateway.start_control()
    named = ("--control", f"{address.host}:{address.port}")

    assert ibkit("sim", "faults", "status", *named, "--token", address.token)[0] == 0
    assert ibkit("sim", "faults", "status", *named, "--token", "guessed")[0] == 1
    assert ask(address, "GET", "/")["simulated"]
    assert isinstance(address, ControlAddress)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("quake",), "no simulated gateway"),
        (("end",), "what?"),
        (("advance", "soon"), "no number"),
        (("slow", "historical"), "name=value"),
        (("plan", "nowhere.toml"), "cannot be read"),
        (("list", "--control", "nowhere"), "no address"),
        (("list", "--control", "example.org:80"), "not loopback"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(workspace, ibkit, words, told):
    code, _, error = ibkit("sim", "faults", *words)

    assert code == 1
    assert told in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--start", "noon"), "no instant"),
        (("--start", "2026-09-28T12:00"), "no zone"),
        (("--start", "recording"), "--replay"),
        (("--speed", "0"), "speed"),
        (("--faults", "nowhere.toml"), "nowhere.toml"),
        (("--replay", "nowhere"), "no such folder"),
    ],
)
def test_options_that_make_no_sense_end_at_once(workspace, ibkit, words, told):
    code, _, error = ibkit("sim", "serve", "--port", "0", *words)

    assert code == 1
    assert told in error


def test_a_conversation_is_recorded_and_played_back_from_the_command_line(
    workspace, gateway, connect_to
):
    def talk(port):
        wire = connect_to(type("Address", (), {"host": "127.0.0.1", "port": port})).start(9)
        wire.until(4, 2, -1, 2158)
        wire.send(80)
        return wire.until(78)[-1]

    behind = f"127.0.0.1:{gateway.port}"
    with process("sim", "record", "t.jsonl", "--gateway", behind, "--port", 0) as port:
        direct = talk(port)
    with process("sim", "play", "t.jsonl", "--port", 0) as port:
        assert talk(port) == direct
