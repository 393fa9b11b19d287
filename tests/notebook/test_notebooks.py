"""The curated notebooks, executed through papermill on the simulated gateway."""

import json
import re

import pytest
from bs4 import BeautifulSoup

import ibkit
from ibkit.errors import NotebookFailedError
from ibkit.reports.curated import curated
from ibkit.sim import launch
from ibkit.store import Store

SYMBOLS = ["AAPL", "FUT:ES", "CASH:EURUSD"]
CURATED = sorted(curated().glob("*.ipynb"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with a store that `backfill` filled."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "ibkit.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("IBKIT_DATA")
        yield folder
    launch.stop(folder / "data" / "sim")


@pytest.fixture(scope="module")
def filled(workspace):
    return ibkit.run("backfill", symbols=SYMBOLS, days=3, progress=False)


@pytest.fixture(scope="module")
def reported(filled):
    return ibkit.run("daily_report", symbols=SYMBOLS, days=3, progress=False)


def text(path):
    return BeautifulSoup(path.read_text(), "html.parser").get_text(" ")


def test_backfill_fills_the_store_and_says_what_is_left(filled, workspace):
    store = Store(workspace / "data" / "sim")

    coverage = store.coverage().set_index("instrument")
    assert list(coverage.loc["STK-AAPL-SMART-USD", ["rows", "what_to_show"]]) == [3 * 390, "TRADES"]
    assert coverage.loc["CASH-EUR-IDEALPRO-USD", "what_to_show"] == "MIDPOINT"
    assert len(store.verify()) == 0
    page = text(filled.html)
    assert "0 of 3 series have holes left" in page
    assert "[workspace]/data/sim" in page  # masked, and still there to be read


def test_a_second_backfill_asks_nothing_and_says_so(filled, workspace):
    before = Store(workspace / "data" / "sim").coverage()["rows"].sum()

    again = ibkit.run("backfill", symbols=SYMBOLS, days=3, progress=False)

    assert "Nothing missing" in text(again.html)
    assert Store(workspace / "data" / "sim").coverage()["rows"].sum() == before


def test_a_symbol_that_does_not_exist_fails_in_words(filled):
    with pytest.raises(NotebookFailedError, match="NOSUCH"):
        ibkit.run("backfill", symbols=["NOSUCH"], days=1, progress=False)


def test_the_daily_report_shows_every_symbol_and_says_simulated(reported):
    page = text(reported.html)

    for words in (*SYMBOLS, "The last session", "Correlations", "complete", "SIMULATED"):
        assert words in page
    figures = BeautifulSoup(reported.html.read_text(), "html.parser").find_all("figure")
    assert len(figures) >= 9
    assert reported.html.stat().st_size < 3_000_000


def test_the_daily_report_agrees_with_the_store(reported, workspace):
    bars = Store(workspace / "data" / "sim").bars("AAPL")

    soup = BeautifulSoup(reported.html.read_text(), "html.parser")
    row = next(row for row in soup.find_all("tr") if row.th and row.th.get_text() == "AAPL")
    session, last, change = (cell.get_text() for cell in row.find_all("td")[:3])
    closes = bars["close"].groupby(bars.index.date).last()
    assert session == str(closes.index[-1])
    assert float(last) == pytest.approx(closes.iloc[-1], abs=0.005)
    assert change == f"{closes.iloc[-1] / closes.iloc[-2] - 1:+.2%}"


def test_a_report_of_an_empty_store_says_how_to_fill_it(filled):
    with pytest.raises(NotebookFailedError, match="ibkit backfill TSLA"):
        ibkit.run("daily_report", symbols=["TSLA"], progress=False)


def test_nothing_in_a_report_names_this_machine_or_an_account(reported, filled, workspace):
    for path in (reported.html, reported.output, filled.html, filled.output):
        content = path.read_text()
        assert str(workspace) not in content
        assert not re.search(r"DUSIM\d", content)


@pytest.mark.parametrize("path", CURATED, ids=lambda path: path.stem)
def test_a_curated_notebook_is_stripped_tagged_and_short(path):
    notebook = json.loads(path.read_text())

    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert notebook["nbformat"] == 4
    assert notebook["nbformat_minor"] >= 5
    assert all(cell.get("id") for cell in notebook["cells"])
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert "parameters" in notebook["cells"][1]["metadata"]["tags"]
    assert all(len("".join(cell["source"]).splitlines()) <= 15 for cell in code)
    assert notebook["cells"][-1]["cell_type"] == "code"
