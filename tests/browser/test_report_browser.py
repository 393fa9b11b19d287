"""The daily report, opened from its file in Chromium with the network off."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

from ibkit.reports.run import run
from ibkit.store import Store

pytestmark = pytest.mark.browser

SYMBOLS = ["AAPL", "CASH:EURUSD"]
# everything that the policy stops, as the page itself sees it
WATCH = """
window.violations = [];
document.addEventListener(
  "securitypolicyviolation", (event) => window.violations.push(event.blockedURI));
"""


def until(page, condition):
    """Wait for a condition; playwright's own way evaluates text in the page, which is refused."""
    page.evaluate(
        f"""() => new Promise((done) => {{
            const look = () => ({condition}) ? done() : requestAnimationFrame(look);
            look();
        }})"""
    )


def bars(price, first, length, seed):
    """Return five sessions of one-minute bars."""
    days = pd.bdate_range("2026-11-16", periods=5, tz="America/New_York") + pd.Timedelta(first)
    minutes = pd.to_timedelta(np.arange(length), unit="min")
    ts = pd.DatetimeIndex(np.concatenate([(day + minutes).tz_convert("UTC") for day in days]))
    moves = np.random.default_rng(seed).standard_normal(len(ts)) * 4e-4
    close = price * np.exp(moves.cumsum())
    frame = pd.DataFrame({"open": close, "high": close, "low": close, "close": close}, ts)
    return frame.assign(volume=100.0, wap=close, count=1).rename_axis("ts")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The HTML file of a daily report on a store of two instruments."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "ibkit.toml").touch()
    store = Store(folder / "data" / "sim", kind="sim")
    store.write_bars("AAPL", "1 min", bars(190, "9h30min", 390, 1))
    pair = bars(1.08, "1h", 900, 2).assign(volume=np.nan, wap=np.nan)
    store.write_bars("CASH:EURUSD", "1 min", pair, what_to_show="MIDPOINT")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("IBKIT_DATA", raising=False)
        patch.chdir(folder)
        return run("daily_report", symbols=SYMBOLS, days=5, progress=False).html


@pytest.fixture
def heard():
    """What the browser asked for, and what it complained about."""
    return {"requests": [], "failed": [], "complaints": []}


@pytest.fixture
def opened(page, report, heard):
    """The report in a page without a network, its figures drawn."""
    page.context.set_offline(True)
    page.on("request", lambda request: heard["requests"].append(request.url))
    page.on("requestfailed", lambda request: heard["failed"].append((request.url, request.failure)))
    page.on("console", lambda message: heard["complaints"].append(message.text))
    page.on("pageerror", lambda error: heard["complaints"].append(str(error)))
    page.add_init_script(WATCH)
    page.goto(report.as_uri())
    until(page, "document.documentElement.dataset.ready")
    return page


def test_it_opens_offline_asks_for_nothing_and_complains_about_nothing(opened, report, heard):
    assert heard["requests"] == [report.as_uri()]
    assert heard["complaints"] == []
    assert opened.evaluate("window.violations") == []


def test_every_figure_is_drawn(opened):
    assert opened.evaluate("document.documentElement.dataset.ready") == "true"
    figures = opened.locator("figure")
    assert figures.count() >= 8
    for figure in figures.all():
        expect(figure.locator(".main-svg").first).to_be_visible()
        drawn = figure.locator(
            ".plot path.js-line, .plot .bars path, .plot path.box, .plot .hm image"
        )
        assert drawn.count() > 0, figure.locator(".plot").get_attribute("aria-label")


def test_the_policy_stops_whatever_would_leave_the_browser(opened, heard):
    """The control of the first test: a page that asked would be seen here, and be stopped."""
    opened.evaluate(
        """() => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", done, { once: true });
            new Image().src = "https://example.com/pixel.png";
        })"""
    )
    opened.evaluate("() => fetch('https://example.com/data').catch(() => null)")

    assert opened.evaluate("window.violations.length") == 2
    assert sum("example.com" in url for url in heard["requests"]) >= 1
    assert {reason for url, reason in heard["failed"] if "example.com" in url} == {"csp"}


def test_the_theme_follows_the_system_and_the_button(opened):
    root = opened.locator("html")
    paper = "getComputedStyle(document.body).backgroundColor"
    letters = "getComputedStyle(document.querySelector('.gtitle')).fill"
    light = opened.evaluate(f"[{paper}, {letters}]")

    opened.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    until(opened, f"{letters} !== '{light[1]}'")
    assert opened.evaluate(paper) != light[0]

    opened.get_by_role("button", name="Light").click()
    expect(root).to_have_attribute("data-theme", "light")
    until(opened, f"{letters} === '{light[1]}'")


def test_code_is_out_of_the_way_until_asked_for(opened):
    code = opened.get_by_text("daily.read(store, symbols").first
    expect(code).to_be_hidden()

    opened.get_by_role("button", name="Show code").click()
    expect(code).to_be_visible()

    opened.get_by_role("button", name="Hide code").click()
    expect(code).to_be_hidden()


def test_the_contents_lead_to_their_sections(opened):
    links = opened.get_by_role("navigation").get_by_role("link")

    assert links.count() >= 5
    for link in links.all():
        link.click()
        target = opened.locator(link.get_attribute("href"))
        expect(target).to_be_in_viewport()
        assert target.inner_text() == link.inner_text()


def test_it_is_read_in_order_by_keyboard_and_named_for_screen_readers(opened):
    opened.keyboard.press("Tab")
    expect(opened.get_by_role("link", name="Skip to the report")).to_be_focused()
    opened.keyboard.press("Enter")
    expect(opened.locator("#main")).to_be_focused()

    names = [plot.get_attribute("aria-label") for plot in opened.locator(".plot").all()]
    assert all(name.endswith(".") and len(name) > 30 for name in names)


def test_it_says_simulated_at_first_sight(opened):
    expect(opened).to_have_title(re.compile("^SIMULATED"))
    expect(opened.locator("h1 .mark")).to_be_in_viewport()
    assert opened.locator(".plot .annotation-text", has_text="SIMULATED").count() >= 8


def test_it_fits_a_telephone_without_sideways_scrolling(opened):
    opened.set_viewport_size({"width": 390, "height": 800})

    until(
        opened,
        "[...document.querySelectorAll('.plot .main-svg')].every((svg) => svg.clientWidth <= 390)",
    )
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_on_paper_it_is_white_complete_and_without_its_tools(opened):
    opened.emulate_media(color_scheme="dark", media="print")

    expect(opened.locator(".tools")).to_be_hidden()
    expect(opened.locator("nav")).to_be_hidden()
    opened.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    expect(opened.locator("html")).to_have_attribute("data-theme", "light")
    assert len(opened.pdf()) > 50_000
