"""The command `ibkit`: what the notebooks and calls do, from a terminal.

Each command imports what it needs when it runs, so `ibkit --help` is quick. Not here: any work of
its own; a command reads its arguments, calls one service, and says what came of it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ibkit import cli_jobs, cli_sim, cli_store
from ibkit.cli_jobs import INTERRUPTED, KEPT
from ibkit.cli_jobs import interruptible as _interruptible
from ibkit.errors import IbkitError, StoreAccessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.reports.run import Run
    from ibkit.settings import Settings

app = typer.Typer(
    name="ibkit",
    help="Interactive Brokers in JupyterLab: explore, run and share; or on a simulated gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sim = typer.Typer(help="The simulated gateway: a TWS that needs no account.", no_args_is_help=True)
app.add_typer(sim, name="sim")
app.add_typer(cli_store.app, name="store")
app.add_typer(cli_jobs.app, name="jobs")
app.command()(cli_jobs.backfill)

DEMO: Final = ("AAPL", "MSFT", "SPY", "FUT:ES", "CASH:EURUSD")
TOML: Final = """\
# The root of an ibkit workspace: notebooks below this folder share one store and these profiles.
# Each profile keeps its data apart, in data/sim, data/paper and data/live.

data = "data"

# Uncomment what differs; environment variables win (IBKIT_PROFILES__PAPER__PORT=7497).
# [profiles.paper]
# port = 4002          # IB Gateway; TWS listens on 7497
# client_id = 1
#
# [profiles.live]
# port = 4001          # IB Gateway; TWS listens on 7496
#
# [profiles.staging]   # one of your own, for connect("staging")
# inherits = "paper"
# port = 4102
#
# [store]
# audit = "writes"     # or "all": who read or wrote what, in meta/audit of each store
# encrypted = ["fills"]  # never written plain; ibkit store encrypt fills --profile … makes it
# secrets = "secrets"  # a folder of keys, mode 0700; else the environment and the keyring
# role = "reader"      # of everybody who works in this workspace
"""

Profile = Annotated[str, typer.Option("--profile", help="sim, paper, live, or your own.")]


def main() -> None:
    """Run the command line; our errors are told in their own words, without a traceback."""
    try:
        app(prog_name="ibkit")
    except IbkitError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(INTERRUPTED)


@app.command()
def version() -> None:
    """Print the version."""
    from ibkit import __version__

    print(f"ibkit {__version__}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where; made if it is not there.")] = Path(),
) -> None:
    """Make a workspace: ibkit.toml, the curated notebooks, a folder for data."""
    from ibkit.reports.curated import curated

    toml, notebooks = folder / "ibkit.toml", folder / "notebooks"
    taken = [path for path in (toml, notebooks) if path.exists()]
    if taken:
        raise StoreAccessError(taken[0], "it is there already; init overwrites nothing")
    try:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        toml.write_text(TOML, encoding="utf-8")
        shutil.copytree(curated(), notebooks, ignore=shutil.ignore_patterns(".*"))
    except OSError as error:
        raise StoreAccessError(folder, error.strerror or str(error)) from error
    print(f"Workspace in {folder.resolve()}: ibkit.toml, notebooks/, data/")
    print("Next: ibkit demo, or jupyter lab notebooks/tour.ipynb")


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="A curated notebook, or a path to an .ipynb.")] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", help="name=value, any number of times.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The HTML file to write.")] = None,
) -> None:
    """Run a notebook with parameters and make one HTML file of it. Without a name: list them."""
    if not name:
        _list_notebooks()
        return
    with _interruptible("What ran until now is kept in the workspace's reports folder."):
        done = _run(name, parameter or [], out)
    _say_file(done)


@app.command()
def status(profile: Profile = "sim") -> None:
    """Say what is connected, stored and running."""
    settings = _settings()
    known, root = settings.profile(profile), settings.root(profile)
    print(f"workspace  {settings.workspace}")
    print(f"profile    {known.name}: {known.host}:{known.port or 'any'}, client {known.client_id}")
    if known.kind == "sim":
        address = _running(root)
        print(f"gateway    {_address(address) if address else 'not running; connect() starts it'}")
    opened = cli_store.open_profile(profile, "reader")
    table = opened.coverage()
    print(f"store      {opened.root}: {len(table)} series, {table['rows'].sum():,} rows")


@app.command()
def doctor(
    profile: Annotated[str, typer.Option("--profile", help="Whose gateway to look at.")] = "sim",
    offline: Annotated[bool, typer.Option(help="Leave the gateway out.")] = False,  # noqa: FBT002 - typer's way to a flag
) -> None:
    """Check everything from Python to the gateway, and say how to mend what is wrong."""
    from ibkit import doctor as room

    if room.report(room.examine(profile, offline=offline), lambda line: print(line, flush=True)):
        raise typer.Exit(1)


# --- the simulated gateway -----------------------------------------------------------------------


cli_sim.add_to(sim)


@sim.command("stop")
def sim_stop() -> None:
    """End the gateway that connect("sim") started."""
    from ibkit.sim import launch

    stopped = launch.stop(_settings().root("sim"))
    print("Stopped." if stopped else "No simulated gateway was running.")


@sim.command("status")
def sim_status() -> None:
    """Say where the gateway of this workspace listens."""
    address = _running(_settings().root("sim"))
    print(f"SIMULATED gateway: {_address(address)}" if address else "Not running.")


# --- the demo ------------------------------------------------------------------------------------


@app.command()
def panic(
    profile: Annotated[str, typer.Argument(help="Whose orders: sim, paper, live, yours.")],
) -> None:
    """Cancel every open order of the login, of all programs and of TWS, at once."""
    import ibkit
    from ibkit.orders.panic import panic as cancel_all

    with ibkit.connect(profile, client_id="auto") as kit:
        before = cancel_all(kit.ib)
    print(before.to_string(index=False) if len(before) else "no order was open")
    print(f"{len(before)} orders were open; IB lists none any more")


@app.command()
def explain(code: Annotated[int, typer.Argument(help="IB's number: 10197")]) -> None:
    """Say what a message code of IB means, why it comes and what helps."""
    from ibkit import codes

    found = codes.meanings(code)
    if not found:
        near = ", ".join(map(str, codes.nearest(code)))
        sys.stderr.write(f"IB {code} is not in the table. Near it: {near or 'nothing'}.\n")
        raise typer.Exit(1)
    for meaning in found:
        when = f" ({meaning.words!r} in its text)" if meaning.words else ""
        print(f"IB {code}{when}: {meaning.kind}\n  why   {meaning.cause}")
        print(f"  help  {meaning.fix or 'nothing needs to be done'}")


@app.command()
def demo(
    days: Annotated[int, typer.Option(min=2, help="Trading sessions to fetch.")] = 20,
    seed: Annotated[
        int | None, typer.Option(help="Of the simulated market; a workspace keeps its first one.")
    ] = None,
) -> None:
    """Do the main job end to end without a network: gateway, backfill, report."""
    from ibkit import clock
    from ibkit.sim import launch

    started, root = clock.monotonic(), _settings().root("sim")
    with _interruptible(KEPT):
        mine = _running(root) is None
        address = launch.start_or_join(root, seed=seed)
        how = f"seed {launch.seed_of(root)}" if mine else "joined"
        print(f"SIMULATED gateway: {_address(address)}, {how}", flush=True)
        try:
            before = _rows("sim")
            _demo_run("backfill", days, report=False)
            fetched = _rows("sim") - before
            done = _demo_run("daily_report", days, report=True)
        finally:
            if mine:
                launch.stop(root)
    _say_fetched(fetched, root)
    _say_file(done)
    print(f"Took {clock.monotonic() - started:.1f} s in all. What to try next:")
    print("  jupyter lab notebooks/tour.ipynb    orders, quotes and positions on the simulator")
    print('  ibkit.connect("paper")              in Python: your own TWS or IB Gateway')


def _demo_run(name: str, days: int, *, report: bool) -> Run:
    from ibkit.reports.run import run as run_notebook

    return run_notebook(name, report=report, symbols=list(DEMO), days=days, profile="sim")


def _say_fetched(rows: int, root: Path) -> None:
    if rows:
        print(f"Fetched {rows:,} bars into {root}")
    else:
        print(f"Nothing was missing in {root}; no bars were fetched.")


def _rows(profile: str) -> int:
    return int(cli_store.open_profile(profile, "reader").coverage()["rows"].sum())


# --- small things --------------------------------------------------------------------------------


def _run(name: str, texts: Sequence[str], out: Path | None) -> Run:
    from ibkit.reports.curated import find_notebook
    from ibkit.reports.notebook import read_notebook
    from ibkit.reports.parameters import parse_parameters, read_parameters
    from ibkit.reports.run import run as run_notebook

    path = find_notebook(name, _settings().workspace)
    declared = read_parameters(read_notebook(path), path.stem)
    values = parse_parameters(path.stem, declared, texts)
    return run_notebook(path, out=out, **values)


def _list_notebooks() -> None:
    from ibkit.reports.curated import names
    from ibkit.reports.notebook import read_notebook
    from ibkit.reports.parameters import read_parameters

    for name, path in names(_settings().workspace).items():
        knobs = read_parameters(read_notebook(path), name).values()
        print(f"{name}: " + ", ".join(f"{knob.name}={knob.default!r}" for knob in knobs))


def _say_file(done: Run) -> None:
    kept = done.html or done.output
    print(f"Report: {kept} ({kept.stat().st_size / 1e6:.2f} MB, {done.seconds:.1f} s)")


def _settings() -> Settings:
    from ibkit.settings import load_settings

    return load_settings()


def _running(root: Path) -> Any:
    """Return the address of the simulated gateway of `root`, if one runs."""
    from ibkit.sim import launch

    try:
        return launch.running(root)
    except OSError:  # no such folder, or none that we may look into
        return None


def _address(address: Any) -> str:
    return f"{address.host}:{address.port}, process {address.pid}"
