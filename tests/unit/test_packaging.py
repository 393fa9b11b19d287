"""What the two ways to install promise is one list; what is committed is clean."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONDA_NAMES = {
    "ib-async": "ib_async",
    "prometheus_client": "prometheus-client",
    "python-tzdata": "tzdata",
}


def requirements_of_conda():
    lines = re.findall(r"^  - (\S+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    for line in lines:
        name, bound = re.fullmatch(r"([A-Za-z0-9_.\-]+)(.*)", line).groups()
        if name not in {"python", "pip", "conda-forge"}:
            yield CONDA_NAMES.get(name, name) + bound


def test_conda_and_pip_install_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pip = {*project["dependencies"], *project["optional-dependencies"]["lab"]}

    assert set(requirements_of_conda()) == pip


def test_the_extras_that_the_docs_name_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert {*project["optional-dependencies"]} >= {
        "lab",
        "dev",
        "american",
        "cluster",
        "report",
        "keyring",
    }


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_committed_notebooks_hold_no_outputs(path):
    text = path.read_text()

    assert '"output_type"' not in text
    assert not re.search(r'"execution_count": \d', text)


def test_only_the_clock_reads_the_time():
    readers = re.compile(
        r"\btime\.(?:time|monotonic|perf_counter)\(|\bdatetime\.now\(|\.utcnow\(|\.today\("
    )
    guilty = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ibkit").rglob("*.py")
        if readers.search(path.read_text())
    }

    assert guilty <= {"ibkit/clock.py"}
