"""What the doctor says about this machine, and how."""

import shutil
import socket
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ibkit import doctor
from ibkit.cli import app


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "ibkit.toml").write_text("")
    monkeypatch.setenv("IBKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def states(findings):
    return {finding.check: finding.state for finding in findings}


def test_a_sound_machine_passes_offline_and_nothing_is_left_behind(workspace):
    found = states(doctor.examine(offline=True))

    assert {found[check] for check in ("python", "packages", "settings", "pacing ledger")} == {"ok"}
    assert "gateway port" not in found
    assert [path.name for path in workspace.iterdir()] == ["ibkit.toml"]


def test_wrong_settings_are_told_and_end_the_examination(workspace):
    (workspace / "ibkit.toml").write_text("[profiles.paper]\nprot = 1\n")

    last = list(doctor.examine())[-1]

    assert (last.check, last.state) == ("settings", "fail")
    assert "did you mean port?" in last.found


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 9), "fail"), ((3, 12, 1), "ok"), ((3, 99, 0), "warn")]
)
def test_pythons_that_were_not_tried_are_named(monkeypatch, version, state):
    monkeypatch.setattr(sys, "version_info", version)

    assert doctor.python().state == state


def test_a_package_that_is_too_old_or_missing_says_what_to_install(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "pandas":
            return "1.0"
        if name == "plotly":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)

    found = list(doctor.packages())

    assert [finding.state for finding in found] == ["fail", "fail"]
    assert {finding.fix.partition(">")[0] for finding in found} == {
        'pip install "pandas',
        'pip install "plotly',
    }


@pytest.mark.parametrize(("free", "state"), [(9e9, "ok"), (2e9, "warn"), (1e8, "fail")])
def test_little_room_is_a_warning_and_none_a_failure(tmp_path, monkeypatch, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    (finding,) = doctor.folder("data root", tmp_path / "not" / "yet")

    assert finding.state == state
    assert bool(finding.fix) == (state != "ok")


def test_a_data_root_that_cannot_be_written_fails(tmp_path):
    (tmp_path / "file").write_text("")

    (finding,) = doctor.folder("data root", tmp_path / "file" / "data")

    assert finding.state == "fail"
    assert "cannot be written" in finding.found


def test_a_kernel_of_another_python_is_a_warning(monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    spec = SimpleNamespace(argv=["/elsewhere/bin/python", "-m", "ipykernel_launcher"])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda *_: spec)

    finding = doctor.kernel()

    assert finding.state == "warn"
    assert "ipykernel install" in finding.fix


def test_a_front_end_without_widgets_fails(monkeypatch, tmp_path):
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *_: [str(tmp_path)])

    assert doctor.widgets().state in {"fail", "warn"}  # warn: no JupyterLab here at all
    assert doctor.widgets().fix


def test_a_closed_port_fails_with_the_ports_to_try_and_exit_code_1(workspace, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("IBKIT_PROFILES__PAPER__PORT", str(port))

    result = CliRunner().invoke(app, ["doctor", "--profile", "paper"])

    assert result.exit_code == 1
    assert f"FAIL  gateway port      127.0.0.1:{port}" in result.output
    assert "7497" in result.output
    assert "1 failed" in result.output


def test_an_unknown_profile_is_a_finding_too(workspace):
    assert list(doctor.examine("papper"))[-1].state == "fail"


def test_account_ids_never_show():
    finding = doctor.Finding("accounts", "ok", "DU1234567: paper")

    assert "1234567" not in doctor.text(finding)
