"""What a newcomer waits for: the import, and `ibkit demo` from nothing to a report.

    python bench/bench_first_run.py            both
    python bench/bench_first_run.py --clone    also clone, install and run, as the README says

Prints medians of fresh processes beside the named peer (`import ib_async, pandas`).
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = {
    "import ibkit": "import ibkit",
    "import ibkit; ibkit.connect": "import ibkit; ibkit.connect",
    "import ib_async, pandas": "import ib_async, pandas",
}


def timed(*command: str | Path, cwd: Path | None = None) -> float:
    """Run a command to its end and return its seconds; stop when it fails."""
    started = time.perf_counter()
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def bench_imports(rounds: int = 7) -> None:
    """Interleave the candidates, so that noise hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    bare: list[float] = []
    for _ in range(rounds):
        bare.append(timed(sys.executable, "-c", "pass"))
        for name, code in IMPORTS.items():
            seconds[name].append(timed(sys.executable, "-c", code))
    floor = statistics.median(bare)
    peer = statistics.median(seconds["import ib_async, pandas"]) - floor
    print(f"python alone: {floor * 1e3:.0f} ms")
    for name, values in seconds.items():
        own = statistics.median(values) - floor
        print(f"{name:<30} {own * 1e3:7.0f} ms   {own / peer:5.2f} x the peer")


def bench_demo() -> None:
    """Run the demo twice in an empty workspace; print seconds, memory and the report's size."""
    ibkit = Path(sys.executable).parent / "ibkit"
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        timed(ibkit, "init", cwd=workspace)
        try:
            first = timed(ibkit, "demo", cwd=workspace)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            second = timed(ibkit, "demo", cwd=workspace)
        finally:
            timed(ibkit, "sim", "stop", cwd=workspace)
        report = max((workspace / "reports").glob("*.html"), key=os.path.getmtime)
        print(f"ibkit demo, first run:  {first:.1f} s, largest process {peak:.0f} MB")
        print(f"ibkit demo, second run: {second:.1f} s")
        print(f"report: {report.stat().st_size / 1e6:.2f} MB")


def bench_clone() -> None:
    """Clone this checkout's HEAD, and do what the README's first command does."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "ibkit"
        started = time.perf_counter()
        timed("git", "clone", "--quiet", ROOT, clone)
        timed("python3", "-m", "venv", clone / ".venv")
        timed(clone / ".venv/bin/pip", "install", "--quiet", "-e", clone)
        installed = time.perf_counter() - started
        timed(clone / ".venv/bin/ibkit", "demo", cwd=clone)
        print(
            f"clone to report: {time.perf_counter() - started:.1f} s ({installed:.1f} s installing)"
        )
        timed(clone / ".venv/bin/ibkit", "sim", "stop", cwd=clone)
        shutil.rmtree(clone)


if __name__ == "__main__":
    bench_imports()
    bench_demo()
    if "--clone" in sys.argv:
        bench_clone()
