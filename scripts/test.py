"""Install what the tests need into .venv, and run them all: `python3 scripts/test.py`.

Needs Python 3.11+ and nothing else; arguments go to pytest (`scripts/test.py tests/unit`).
Browser tests need a Chromium: one on the PATH, Debian's package when we may install it, or
playwright's own download. Kernels, browsers and the nights of faults on virtual time run beside the
others, on the second core, and are not measured. Prints the branch coverage of each room and fails
below 90 %.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("IBKIT_TEST_VENV", ROOT / ".venv"))
PYTHON = VENV / "bin" / "python"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLOOR = 90
# what waits for kernels and browsers, and what tracing would make slow
BESIDE = (
    "tests/browser",
    "tests/chaos",
    "tests/notebook",
    "tests/integration/test_demo.py",
    "tests/integration/test_wheel.py",
)


def run(*command: str | Path, check: bool = True) -> int:
    """Run `command` in the checkout; stop with its exit code when it fails."""
    code = subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode
    if check and code:
        sys.exit(code)
    return code


def install() -> None:
    """Make the virtual environment and install ibkit with what its tests use."""
    if sys.version_info < (3, 11):
        sys.exit("ibkit needs Python 3.11 or newer")
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    run(PYTHON, "-m", "pip", "install", "--quiet", "-e", ".[dev]")


def find_browser() -> None:
    """See to it that some Chromium is there for the browser tests."""
    if os.environ.get("IBKIT_CHROMIUM") or any(map(shutil.which, NAMES)):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "chromium")
    else:
        run(PYTHON, "-m", "playwright", "install", "chromium")


def report_rooms() -> int:
    """Print the branch coverage of each room; return the exit code of the floor."""
    coverage = [PYTHON, "-m", "coverage"]
    run(*coverage, "combine", "--quiet")
    print("\nBranch coverage by room:")
    rooms = sorted(path for path in (ROOT / "ibkit").iterdir() if (path / "__init__.py").exists())
    for room in rooms:
        total = subprocess.run(
            [*map(str, coverage), "report", "--format=total", f"--include=ibkit/{room.name}/*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        print(f"  {room.name:<12} {total:>4} %")
    return run(*coverage, "report", "--skip-covered", f"--fail-under={FLOOR}", check=False)


def main() -> int:
    """Install, test, report."""
    install()
    find_browser()
    chosen = sys.argv[1:]
    if chosen:
        return run(PYTHON, "-m", "pytest", *chosen, check=False)
    run(PYTHON, "-m", "coverage", "erase")
    with tempfile.TemporaryFile("w+") as told:
        command = [str(PYTHON), "-m", "pytest", "-p", "no:cacheprovider", *BESIDE]
        beside = subprocess.Popen(command, cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
        try:
            ignored = [f"--ignore={path}" for path in BESIDE]
            failed = run(PYTHON, "-m", "coverage", "run", "-m", "pytest", *ignored, check=False)
            failed = beside.wait() or failed
        finally:
            beside.kill()
        told.seek(0)
        print(f"\nBeside them:\n{told.read()}")
    return failed or report_rooms()


if __name__ == "__main__":
    sys.exit(main())
