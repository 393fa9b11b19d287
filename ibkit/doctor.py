"""`ibkit doctor`: look at everything between this Python and the gateway, and say how to mend it.

It changes nothing: no order, no setting, no row in the store; a simulated gateway that it had to
start is stopped again. Not here: the command line.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from packaging.requirements import Requirement

import ibkit
from ibkit import clock
from ibkit.connection.books import LOOPBACK, ledger_of
from ibkit.connection.ledger import Ledger
from ibkit.errors import ClientIdInUseError, IbkitError, RequestRefusedError, SettingsError
from ibkit.log import redact
from ibkit.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ibkit.kit import Kit
    from ibkit.settings import Profile, Settings

State = Literal["ok", "warn", "fail"]
PYTHONS: Final = ((3, 11), (3, 13))
WIDGETS: Final = "@jupyter-widgets/jupyterlab-manager"
FREE_GB: Final = (0.5, 5.0)
OFFSET_S: Final = (2.0, 30.0)
ROUND_TRIP_S: Final = 0.5
PORT_S: Final = 3.0
QUOTE_S: Final = 5.0
# added to the client id for a look around, when the profile's own is taken
SPARE_ID: Final = 900
LISTENS: Final = (
    "start TWS or IB Gateway and log in; enable the API and this port in its API settings "
    "(TWS 7496 live, 7497 paper; IB Gateway 4001 live, 4002 paper)"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    check : str
        What was looked at.
    state : {"ok", "warn", "fail"}
        ``fail``: something will not work; ``warn``: it may not, or not as well as it could.
    found : str
        What there is; account ids are masked.
    fix : str
        What to do about it; empty if nothing.
    """

    check: str
    state: State
    found: str
    fix: str = ""


def examine(profile: str = "sim", *, offline: bool = False) -> Iterator[Finding]:
    """Yield findings, each as soon as it is known.

    Parameters
    ----------
    profile : str
        Whose gateway and data root to look at.
    offline : bool
        Leave the gateway out.
    """
    yield python()
    yield from packages()
    yield kernel()
    yield widgets()
    try:
        settings = load_settings()
        chosen = settings.profile(profile)
    except SettingsError as error:
        yield Finding("settings", "fail", str(error), "correct the file or the variable it names")
        return
    yield Finding("settings", "ok", f"workspace {settings.workspace}, profile {profile}")
    yield from folder("data root", settings.root(profile))
    yield ledger(chosen, settings)
    if not offline:
        yield from gateway(chosen, settings)


def report(findings: Iterable[Finding], say: Callable[[str], object]) -> int:
    """Say each finding as it comes, then a summary; return how many failed."""
    counts = {"ok": 0, "warn": 0, "fail": 0}
    for finding in findings:
        counts[finding.state] += 1
        say(text(finding))
    say(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    return counts["fail"]


def text(finding: Finding) -> str:
    """Return a finding as lines of plain text; account ids and the home folder are masked.

    >>> print(text(Finding("python", "fail", "3.9", "install Python 3.11")))
    FAIL  python            3.9
                            fix: install Python 3.11
    """
    found = redact(finding.found).splitlines() or [""]
    fixes = [f"fix: {finding.fix}"] if finding.fix else []
    first, *rest = *found, *fixes
    lines = [f"{finding.state.upper():<6}{finding.check:<18}{first}"]
    return "\n".join([*lines, *(f"{'':<24}{line}" for line in rest)]).rstrip()


# --- this machine --------------------------------------------------------------------------------


def python() -> Finding:
    """Look at the version of Python."""
    version = sys.version_info[:2]
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if version < PYTHONS[0]:
        return Finding("python", "fail", found, "install Python 3.11, 3.12 or 3.13")
    if version > PYTHONS[1]:
        return Finding("python", "warn", found, "ibkit was not tried with it; 3.13 is the newest")
    return Finding("python", "ok", found)


def packages() -> Iterator[Finding]:
    """Compare the installed packages with what ibkit asks for."""
    needed = [Requirement(line) for line in metadata.requires("ibkit") or ()]
    core = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = [(each, found) for each in core if (found := _wrong(each))]
    for each, found in wrong:
        yield Finding("packages", "fail", found, f'pip install "{each.name}{each.specifier}"')
    if not wrong:
        versions = ", ".join(f"{n} {metadata.version(n)}" for n in ("ib_async", "pandas"))
        yield Finding(
            "packages", "ok", f"ibkit {ibkit.__version__}, {versions}, {len(core)} in all"
        )


def _wrong(needed: Requirement) -> str:
    try:
        version = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return f"{needed.name} is not installed"
    if needed.specifier.contains(version, prereleases=True):
        return ""
    return f"{needed.name} {version} is installed, ibkit asks for {needed.specifier}"


def kernel() -> Finding:
    """Whether JupyterLab's Python kernel is this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    fix = f"{sys.executable} -m ipykernel install --sys-prefix"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Finding("kernel", "fail", "JupyterLab has no kernel python3", fix)
    bare = Path(spec.argv[0]).name == spec.argv[0]  # Jupyter puts its own Python there
    runs = sys.executable if bare else spec.argv[0]
    found = f"ipykernel {metadata.version('ipykernel')}, python3 runs {runs}"
    if Path(runs).absolute() == Path(sys.executable).absolute():
        return Finding("kernel", "ok", found)
    return Finding("kernel", "warn", f"{found}: another Python than this one", fix)


def widgets() -> Finding:
    """Whether JupyterLab is there, and has the front end that draws widgets."""
    from jupyter_core.paths import jupyter_path

    try:
        lab = f"JupyterLab {metadata.version('jupyterlab')}"
    except metadata.PackageNotFoundError:
        fix = 'pip install "ibkit[lab]", or ignore this where only scripts run'
        return Finding("widgets", "warn", "JupyterLab is not installed here", fix)
    if any((Path(path) / WIDGETS).is_dir() for path in jupyter_path("labextensions")):
        return Finding("widgets", "ok", f"{lab} with {WIDGETS}")
    fix = "pip install jupyterlab_widgets, then reload the browser's page"
    return Finding("widgets", "fail", f"{lab} without {WIDGETS}: widgets show as text", fix)


def folder(check: str, path: Path) -> Iterator[Finding]:
    """Whether a folder can be written, and how much room there is."""
    there = next(each for each in (path, *path.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free / 1e9
    except OSError as error:
        fix = "check the folder's owner and mode, or name another with data= in ibkit.toml"
        yield Finding(check, "fail", f"{path} cannot be written: {error.strerror}", fix)
        return
    least, enough = FREE_GB
    state: State = "ok" if free >= enough else "warn" if free >= least else "fail"
    fix = "" if state == "ok" else "free some space, or move the data root with data="
    yield Finding(check, state, f"{path}, {free:,.1f} GB free", fix)


def ledger(profile: Profile, settings: Settings) -> Finding:
    """Whether the ledger of IB's limits works, and who holds client ids."""
    path = ledger_of(profile, settings.root(profile.name))
    if not path.exists():
        return Finding("pacing ledger", "ok", f"{path}, not begun yet")
    try:
        with Ledger(path, name="doctor") as books:
            held = [f"{one.key} by {one}" for one in books.holders("client id")]
            left = books.gauge().left["historical requests"]
    except IbkitError as error:
        return Finding("pacing ledger", "fail", *_told(error))
    ids = f"; client ids {', '.join(held)}" if held else ""
    return Finding("pacing ledger", "ok", f"{left} historical requests left{ids}")


# --- the gateway ---------------------------------------------------------------------------------


def gateway(profile: Profile, settings: Settings) -> Iterator[Finding]:
    """Look at the gateway of a profile, from the open port to a quote."""
    if profile.kind == "sim":  # connect() starts it, so its port may well be closed now
        yield from _simulated(profile, settings)
        return
    closed = _closed(profile.host, profile.port)
    where = f"{profile.host}:{profile.port}"
    if closed:
        yield Finding("gateway port", "fail", f"{where}: {closed}", LISTENS)
        return
    yield Finding("gateway port", "ok", f"{where} is open")
    if profile.host.lower() not in LOOPBACK:
        fix = "lead it through an SSH tunnel or TLS: the API's own protocol is not encrypted"
        yield Finding("encryption", "warn", f"{where} is another machine", fix)
    yield from _connected(profile)


def _simulated(profile: Profile, settings: Settings) -> Iterator[Finding]:
    """Look at the simulated gateway; one that was not running is stopped again."""
    from ibkit.sim import launch

    root = settings.root(profile.name)
    mine = not root.exists() or launch.running(root) is None
    try:
        yield from _connected(profile)
    finally:
        if mine:
            launch.stop(root)


def _closed(host: str, port: int) -> str:
    """Return why a port cannot be reached; empty if it can."""
    try:
        socket.create_connection((host, port), PORT_S).close()
    except OSError as error:
        return error.strerror or str(error) or "no answer"
    return ""


def _connected(profile: Profile) -> Iterator[Finding]:
    from ibkit.kit import connect

    own, spare = profile.client_id, profile.client_id + SPARE_ID
    try:
        try:
            # id 0 would take over orders that were placed by hand: a look around must not
            kit = connect(profile.name, client_id=own or spare, trading=False)
        except ClientIdInUseError as error:
            fix = "close the other program, or give this profile another client_id"
            yield Finding("client id", "warn", f"{own} is in use: {error.reason}", fix)
            kit = connect(profile.name, client_id=spare, trading=False)
        else:
            if own:
                yield Finding("client id", "ok", f"{own} is free")
    except IbkitError as error:
        yield Finding("connection", "fail", *_told(error))
        return
    with kit:
        yield from _looked(kit, profile)


def _looked(kit: Kit, profile: Profile) -> Iterator[Finding]:
    accounts = ", ".join(kit.link.accounts)
    yield Finding("accounts", "ok", f"{accounts}: {profile.kind}, as the profile says")
    for check in (_round_trip, _orders, _quote):
        try:
            yield from check(kit, profile)
        except IbkitError as error:
            yield Finding(check.__name__.strip("_").replace("_", " "), "fail", *_told(error))


def _round_trip(kit: Kit, _: Profile) -> Iterator[Finding]:
    start = clock.monotonic()
    theirs: Any = kit.ib.reqCurrentTime()
    took = clock.monotonic() - start
    offset = kit.link.clock_offset_s
    if offset is None:
        offset = (theirs - clock.now()).total_seconds()
    slow = took > ROUND_TRIP_S
    version = f"server version {kit.link.server_version}"
    fix = "look at the gateway's own load, and at the network between" if slow else ""
    yield Finding("round trip", "warn" if slow else "ok", f"{took * 1e3:.0f} ms, {version}", fix)
    calm, worst = OFFSET_S
    state: State = "ok" if abs(offset) <= calm else "warn" if abs(offset) <= worst else "fail"
    fix = "" if state == "ok" else "set the clock by NTP, on this machine or on the gateway's"
    yield Finding("clock", state, f"the gateway's is {offset:+.1f} s from ours", fix)


def _orders(kit: Kit, profile: Profile) -> Iterator[Finding]:
    """Whether the gateway itself refuses orders: it then refuses to list them, too."""
    try:
        kit.ib.reqOpenOrders()
    except RequestRefusedError as error:
        if error.code != 321:
            raise
        state: State = "warn" if profile.trading else "ok"
        fix = 'switch "Read-Only API" off in the gateway\'s API settings' if profile.trading else ""
        yield Finding("orders", state, "the gateway is read-only", fix)
        return
    says = "allows orders" if profile.trading else "is read-only; connect(trading=True) allows them"
    yield Finding("orders", "ok", f"the gateway takes orders, the profile {says}")


def _quote(kit: Kit, _: Profile) -> Iterator[Finding]:
    """Which kind of market data there is, by the example of AAPL."""
    subscribe = "Account Management > Market Data Subscriptions; kit.ib.reqMarketDataType(3) asks "
    subscribe += "for delayed data"
    try:
        with kit.live.watch("AAPL", settle_s=QUOTE_S) as quotes:
            frame = quotes.frame()
    except RequestRefusedError as error:
        yield Finding("market data", "warn", f"AAPL: IB {error.code}: {error.reason}", subscribe)
        return
    kind = "simulated" if frame.attrs["simulated"] else "live"
    if frame.attrs["delayed"]:
        yield Finding("market data", "warn", "AAPL is delayed", subscribe)
    elif frame[["bid", "ask", "last", "close"]].isna().all(axis=None):
        fix = "look again while the market is open"
        yield Finding("market data", "warn", f"AAPL: no price within {QUOTE_S:g} s", fix)
    else:
        yield Finding("market data", "ok", f"AAPL is {kind}")


def _told(error: IbkitError) -> tuple[str, str]:
    """Split the text of one of our errors into what there is and what to do."""
    words, _, hint = str(error).partition("\nHint: ")
    return words, hint
