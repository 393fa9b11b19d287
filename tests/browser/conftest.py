"""JupyterLab on a free port and headless Chromium, for the tests of what a person sees.

Nothing here waits for a time to pass: the page is asked for a condition until it holds.
Fixtures end with their module, because playwright leaves an asyncio loop "running" in the
main thread for as long as it is open, and later tests want that thread for themselves.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from ibkit.sim import launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

REPO = Path(__file__).parents[2]
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--disable-gpu",
)
PATIENCE_MS = 60_000
KNOCKS = 400


# --- Chromium -------------------------------------------------------------------------------


def chromium_path() -> str | None:
    """Return the Chromium to use; None leaves it to playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = (shutil.which(name) for name in names)
    return os.environ.get("IBKIT_CHROMIUM") or next((path for path in found if path), None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One headless Chromium for the tests of a module."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(), args=[*QUIET, *sandbox]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh page, with nothing remembered from another test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 960})
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


# --- JupyterLab -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that serves `root`."""

    url: str
    token: str
    root: Path

    def open(self, page: Page, notebook: str) -> Notebook:
        """Open `notebook` in `page` and wait until its kernel can run cells."""
        page.goto(f"{self.url}doc/tree/{notebook}?token={self.token}&reset")
        opened = Notebook(page)
        opened.wait_idle()
        return opened


@dataclass(frozen=True)
class Notebook:
    """A notebook that is open in `page`."""

    page: Page

    def wait_idle(self) -> None:
        """Wait until the status bar names a kernel that has nothing left to do."""
        bar = self.page.locator("#jp-main-statusbar")
        expect(bar).to_contain_text(re.compile(r"Python.* \| Idle"), timeout=PATIENCE_MS)

    def run_all(self) -> None:
        """Run all cells and wait until the last one has its number."""
        self.start_all()
        self.wait_done()

    def start_all(self) -> None:
        """Choose Run > Run All Cells."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()

    def wait_done(self) -> None:
        """Wait until the last cell has its number and the kernel is idle."""
        last = self.page.locator(".jp-CodeCell .jp-InputPrompt").last
        expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=2 * PATIENCE_MS)
        self.wait_idle()

    def errors(self) -> list[str]:
        """Return the tracebacks that the page shows."""
        shown = self.page.locator("[data-mime-type='application/vnd.jupyter.error']")
        return shown.all_inner_texts()


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab of its own: empty root, own settings, own kernels, gone at the end."""
    home = tmp_path_factory.mktemp("jupyter")
    root = home / "workspace"
    root.mkdir()
    (root / "ibkit.toml").touch()
    write_overrides(home / "config")
    token = secrets.token_hex(16)
    server = start_server(home, root, token)
    try:
        url, drained = read_address(server, home / "server.log")
        wait_until_accepts(url)
        yield Lab(url, token, root)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
        launch.stop(root / "data" / "sim")  # the gateway that its notebooks started
    drained.join(timeout=10)


def write_overrides(config: Path) -> None:
    """Switch off what talks to the internet and what would cover the page."""
    labconfig = config / "labconfig"
    labconfig.mkdir(parents=True)
    notifications = {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True}
    overrides = {"@jupyterlab/apputils-extension:notification": notifications}
    (labconfig / "default_setting_overrides.json").write_text(json.dumps(overrides))


def start_server(home: Path, root: Path, token: str) -> subprocess.Popen[str]:
    """Start JupyterLab so that it reads and writes below `home` only."""
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    env = os.environ | {name: str(home / folder) for name, folder in folders.items()}
    env |= {"IBKIT_DATA": str(root / "data"), "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"}
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": "0",
        "ServerApp.root_dir": str(root),
        "ServerApp.open_browser": "False",
        "ServerApp.allow_root": "True",
        "IdentityProvider.token": token,
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    command = [sys.executable, "-m", "jupyterlab"]
    command += [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen(command, env=env, cwd=root, stderr=subprocess.PIPE, text=True)


def read_address(server: subprocess.Popen[str], log: Path) -> tuple[str, threading.Thread]:
    """Read the server's log until it names its address; keep the rest of it in `log`."""
    said = []
    for line in server.stderr:
        said.append(line)
        if found := re.search(r"(http://127\.0\.0\.1:\d+/)lab\?token", line):
            break
    else:
        pytest.fail("JupyterLab ended before it served:\n" + "".join(said))
    drain = threading.Thread(target=copy_lines, args=(server.stderr, log), daemon=True)
    drain.start()
    return found[1], drain


def wait_until_accepts(url: str) -> None:
    """Knock until the port opens: the server names its address a moment before it listens."""
    address = urlsplit(url)
    pause = threading.Event()
    for _ in range(KNOCKS):
        try:
            socket.create_connection((address.hostname, address.port)).close()
        except ConnectionRefusedError:
            pause.wait(0.05)
        else:
            return
    pytest.fail(f"nothing listens at {url}")


def copy_lines(source: IO[str], target: Path) -> None:
    """Keep `source` from filling its pipe."""
    with target.open("w") as file, source:
        file.writelines(source)
