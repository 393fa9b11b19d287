"""What a person does in JupyterLab: run the tour, arm the ticket, press Buy, see the fill."""

from __future__ import annotations

import re
import shutil

import nbformat
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

FILLED = re.compile(r"Filled 100 at [\d,]+\.\d+")
CONNECT = "import ibkit\nkit = ibkit.connect(client_id=2)"
TICKET = 'ticket = ibkit.widgets.OrderTicket(kit, "AAPL")\nticket'
# ends when the click has come through, and only then
BUSY = 'import time\nwhile "Armed" not in ticket.box.children[6].value:\n    time.sleep(0.01)'


def write(lab, name, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, lab.root / name)


def arm(ticket):
    ticket.get_by_role("button", name="Arm", exact=True).click()
    send = ticket.get_by_role("button", name=re.compile(r"^(Buy|Sell) \d"))
    expect(send).to_be_enabled()
    return send


def test_the_tour_runs_and_its_ticket_buys(lab, page, repo):
    shutil.copy(repo / "notebooks" / "tour.ipynb", lab.root)
    notebook = lab.open(page, "tour.ipynb")

    notebook.run_all()

    assert notebook.errors() == []
    expect(page.locator(".ibkit-status")).to_contain_text("ready")
    ticket = page.locator(".ibkit-ticket")
    expect(ticket).to_contain_text("SIMULATED")
    arm(ticket).click()
    expect(ticket.locator(".ibkit-order")).to_have_text(FILLED)


def test_a_double_click_is_one_order(lab, page):
    write(lab, "double.ipynb", CONNECT, TICKET)
    lab.open(page, "double.ipynb").run_all()
    ticket = page.locator(".ibkit-ticket")

    arm(ticket).dblclick()

    expect(ticket.locator(".ibkit-order")).to_have_text(FILLED)
    arm(ticket)  # the ticket has taken in both clicks
    expect(ticket.locator(".ibkit-order")).to_have_count(1)


def test_a_click_comes_through_while_a_cell_is_busy(lab, page):
    write(lab, "busy.ipynb", CONNECT.replace("2", "3"), TICKET, BUSY)
    notebook = lab.open(page, "busy.ipynb")

    notebook.start_all()
    arm(page.locator(".ibkit-ticket"))

    notebook.wait_done()
    assert notebook.errors() == []


def test_a_price_off_the_grid_is_explained_in_the_ticket(lab, page):
    write(lab, "grid.ipynb", CONNECT.replace("2", "4"), TICKET)
    lab.open(page, "grid.ipynb").run_all()
    ticket = page.locator(".ibkit-ticket")

    ticket.get_by_label("Order type").select_option("Limit")
    ticket.get_by_label("Limit price").fill("100.003")
    ticket.get_by_role("button", name="Arm", exact=True).click()

    expect(ticket.get_by_role("alert")).to_contain_text("Nothing was sent.")
    expect(ticket.get_by_role("alert")).to_contain_text("100.00 or 100.01")
