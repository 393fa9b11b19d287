"""The wheel alone, in an empty environment and an empty folder, does the main job."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command, cwd, **env):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("IBKIT_")}
    clean.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT, cwd=out)
    return next(out.glob("*.whl"))


def test_the_wheel_carries_the_curated_notebooks_and_every_data_file(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    data = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ibkit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    notebooks = {f"ibkit/notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}

    assert notebooks
    assert data | notebooks <= packed
    assert not any(name.startswith(("data/", "tests/", "scratch/")) for name in packed)


@pytest.mark.timeout(900)
def test_the_demo_runs_from_the_wheel_alone_in_an_empty_folder(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    ibkit = tmp_path / "env" / "bin" / "ibkit"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    workspace = tmp_path / "empty"
    workspace.mkdir()

    run(ibkit, "init", cwd=workspace)
    try:
        said = run(ibkit, "demo", "--days", "3", cwd=workspace)
    finally:
        run(ibkit, "sim", "stop", cwd=workspace)

    report = next((workspace / "reports").glob("*daily_report*.html"))
    assert report.stat().st_size > 500_000
    assert report.name in said.replace("\n", "")
    assert {path.name for path in workspace.iterdir()} >= {
        "ibkit.toml",
        "notebooks",
        "data",
        "reports",
    }
