"""`python -m ibkit.sim serve`: the simulated gateway as a process.

Not here: the friendlier `ibkit sim` (`ibkit.cli`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ibkit.sim.serve import Options, serve

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve."""
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m ibkit.sim", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("serve", help="serve the TWS API on a socket, SIMULATED")
    command.add_argument("--root", type=Path, help="data root; its address and log go there")
    command.add_argument("--host", default=defaults.host)
    command.add_argument("--port", type=int, default=defaults.port, help="0: the system chooses")
    command.add_argument("--seed", type=int, default=defaults.seed)
    command.add_argument("--replay", type=Path, help="a store or folder of bars to serve")
    command.add_argument(
        "--idle-exit",
        dest="idle_exit_s",
        type=float,
        default=defaults.idle_exit_s,
        help="leave after so many seconds without a client; 0: never",
    )
    command.add_argument("--calendar", dest="always_open", action="store_false", help="keep hours")
    command.add_argument(
        "--start", default="", help="first instant, ISO with a zone; or: recording"
    )
    command.add_argument("--speed", type=float, default=1.0, help="of the clock")
    command.add_argument("--manual", action="store_true", help="the control port moves the clock")
    command.add_argument("--faults", type=Path, help="a schedule of faults, TOML")
    command.add_argument("--control", type=Path, help="folder for the control port's address")
    return serve(Options(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    sys.exit(main())
