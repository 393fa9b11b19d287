"""Account ids, tokens and the machine's folders: a busy day is scanned for them, and has none."""

from __future__ import annotations

import io
import logging
import sys
import threading
import traceback
import urllib.request
from pathlib import Path

import pytest
from ib_async import MarketOrder, Order, Stock
from nbformat import v4

import ibkit
from ibkit import errors
from ibkit.log import ACCOUNT, get_logger
from ibkit.reports.redaction import mask_notebook, places
from ibkit.sim.testing import gateway
from ibkit.widgets import StatusCard

TOKEN = "the-token-that-nobody-may-see"


class Scanner:
    """Texts by where they came from, and what in them should not be there."""

    def __init__(self, *needles):
        self.needles, self.texts, self.found = needles, 0, []

    def look(self, where, text):
        self.texts += 1
        accounts = [match[0] for match in ACCOUNT.finditer(text)]
        needles = [needle for needle in self.needles if needle in text]
        self.found += [(where, each, text) for each in (*accounts, *needles)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder that no other text has by chance, with everything of the user in it."""
    folder = tmp_path / "home-of-one-user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def lines():
    """Every line of every logger, down to DEBUG, as a file would have it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("ibkit", "ib_async")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.addHandler(handler)
        one.setLevel(logging.DEBUG)
    yield lambda: stream.getvalue().splitlines()
    for one, level in zip(loggers, levels, strict=True):
        one.removeHandler(handler)
        one.setLevel(level)


def scanner(home):
    return Scanner(TOKEN, str(home), str(Path(ibkit.__file__).parent), sys.prefix)


def broken_handler(_):
    raise RuntimeError(f"a handler that fails over DUSIM0001 in {Path.cwd()}")


def a_busy_day(kit, running):
    """Do much, also what goes wrong; yield (where, text) of all that a person gets to see."""
    kit.events.order += broken_handler
    server = kit.serve_metrics(token=TOKEN)
    yield "repr", repr(server)
    with kit.live.watch("AAPL", "MSFT"):
        widget = StatusCard(kit)
        yield "card", widget._repr_mimebundle_()["text/html"] + repr(widget)
        widget.close()
    kit.history.bars("AAPL", "1 min", days=1)
    account = kit.link.account
    kit.ib.reqPnL(account)
    kit.ib.reqAccountSummary()
    placed = kit.orders.limit("AAPL", "BUY", 1, 1.0)
    yield from fails(lambda: kit.orders.limit("AAPL", "BUY", 1, 1.0))
    yield from fails(lambda: kit.orders.limit("AAPL", "BUY", 1, 0.00001))
    yield from fails(lambda: kit.contract("NOSUCH"))
    order = MarketOrder("BUY", 1, account=account)
    yield from fails(lambda: kit.ib.placeOrder(Stock("AAPL", "SMART", "USD"), order))
    yield from fails(lambda: ibkit.connect(port=running.port, root=kit.root))
    yield from fails(lambda: ibkit.connect("paper", port=running.port, client_id=3))
    wrong = {"port": running.port, "client_id": 3, "account": "DUSIM7777"}
    yield from fails(lambda: ibkit.connect(**wrong))
    yield from fails(lambda: kit.serve_metrics(host="0.0.0.0", token=TOKEN))
    yield "error", str(errors.refused(321, f"account {account} may not do that"))
    what_if = Order(action="BUY", orderType="MKT", totalQuantity=1, account=account, whatIf=True)
    kit.ib.whatIfOrder(kit.contract("AAPL"), what_if)
    kit.orders.cancel(placed)
    filled = kit.orders.market("MSFT", "BUY", 1)
    filled.wait(30)
    back = threading.Event()
    kit.events.state += lambda change: back.set() if change.after == "ready" else None
    running.drop_clients()
    assert back.wait(30)
    yield "repr", repr(kit) + repr(kit.link) + repr(placed.__class__)
    yield "card", kit._repr_html_()
    yield "timings", kit.timings().to_string() + kit.notices.to_string() + kit.pacing.to_string()
    asked = urllib.request.Request(server.url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        yield "metrics", answer.read().decode()
    yield "report", report(kit)


def fails(call):
    with pytest.raises(errors.IbkitError) as raised:
        call()
    yield "error", "".join(traceback.format_exception_only(raised.value))


def report(kit):
    """Return what a notebook keeps of a cell that shows accounts and folders."""
    shown = f"{kit.account.values().to_string()} {kit.account.positions().to_string()} {kit.root}"
    shown += f" {sys.prefix}/lib and {Path(ibkit.__file__).parent}"
    cell = v4.new_code_cell("kit", outputs=[v4.new_output("stream", name="stdout", text=shown)])
    masked = mask_notebook(v4.new_notebook(cells=[cell]), places(Path.cwd()))
    return masked.cells[0].outputs[0]["text"]


def test_nothing_of_the_user_is_in_logs_errors_metrics_cards_and_reports(home, lines):
    scan = scanner(home)
    with gateway() as running:
        with ibkit.connect(port=running.port, root=home / "store", timeout_s=10) as kit:
            for where, text in a_busy_day(kit, running):
                scan.look(where, text)
        scan.look("repr", repr(kit))
    said = lines()
    for line in said:
        scan.look("log", line)

    assert any("DUSIM••••" in line and line.startswith("ib_async") for line in said)
    assert any("a handler that fails over DUSIM••••" in line for line in said)
    assert len(said) > 100
    assert not scan.found, scan.found[:5]


def test_the_scanner_finds_what_is_there(home, lines):
    scan = scanner(home)
    logging.getLogger("ibkit.control").warning("account DU1234567 of %s", home)
    try:
        broken_handler(None)
    except RuntimeError:
        logging.getLogger("ibkit.control").exception("it broke with token %s", TOKEN)
    for line in lines():
        scan.look("log", line)

    found = {each for _, each, _ in scan.found}
    assert {"DU1234567", "DUSIM0001", str(home), TOKEN} <= found


def test_what_is_logged_with_a_token_a_folder_or_an_object_is_masked(home, lines):
    scan = scanner(home)
    log = get_logger("ibkit.control")
    log.warning("scrape", url=f"http://127.0.0.1/metrics?token={TOKEN}", header=f"Bearer {TOKEN}")
    log.warning(
        "wrote", path=home / "x", about={"account": "DU1234567"}, order=Order(account="U123456")
    )
    for line in lines():
        scan.look("log", line)

    assert scan.texts == 2
    assert not scan.found
