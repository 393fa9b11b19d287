"""`Store.map`: results by instrument, errors by instrument, and no instrument stops another."""

from __future__ import annotations

import importlib
import sys

import pandas as pd
import pytest

from ibkit.errors import StoreError, UnknownSeriesError, WorkerDiedError
from ibkit.store import parallel

# in a file of its own: spawned processes import it by name
MODULE = """
import os


def last(bars):
    return bars["close"].iloc[-1]


def facts(bars):
    return {"rows": len(bars), "size": bars.attrs["bar_size"]}


def tail(bars):
    return bars.tail(2)


def told(bars):
    return os.environ.get("IBKIT_TOLD")


def picky(bars):
    if "MSFT" in bars.attrs["instrument"]:
        raise ValueError("not this one")
    if "XOM" in bars.attrs["instrument"]:
        os._exit(3)
    return os.getpid()
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / "ibkit_map_work.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("ibkit_map_work")
    sys.modules.pop("ibkit_map_work", None)


@pytest.fixture
def filled(store, bars):
    for seed, name in enumerate(("AAPL", "MSFT", "XOM", "SPY")):
        store.write_bars(name, "1 min", bars(n=20, seed=seed))
    return store


def test_results_come_by_instrument_in_the_order_asked_for(filled, work, capsys):
    found = filled.map(work.last, ["SPY", "AAPL"], "1 min", columns=["close"], progress=False)

    assert list(found) == ["SPY", "AAPL"]
    assert found["AAPL"] == filled.bars("AAPL")["close"].iloc[-1]
    assert found.errors == {}
    assert found.frame().loc["SPY", "value"] == found["SPY"]
    assert capsys.readouterr().err == ""


def test_one_that_fails_or_dies_stops_none_of_the_others(filled, work, capsys):
    found = filled.map(
        work.picky, ["AAPL", "MSFT", "XOM", "NVDA", "SPY"], columns=["close"], processes=2
    )

    assert list(found) == ["AAPL", "SPY"]
    assert list(found.errors) == ["MSFT", "XOM", "NVDA"]
    with pytest.raises(ValueError, match="not this one"):
        found["MSFT"]
    with pytest.raises(WorkerDiedError, match="worked on XOM"):
        found["XOM"]
    with pytest.raises(UnknownSeriesError):
        found["NVDA"]
    with pytest.raises(KeyError):
        found["TSLA"]
    assert "5/5" in capsys.readouterr().err


def test_dictionaries_become_columns_and_frames_are_stacked(filled, work):
    facts = parallel.Mapped({"AAPL": work.facts(filled.bars("AAPL"))}, {}).frame()
    tails = parallel.Mapped({"AAPL": work.tail(filled.bars("AAPL"))}, {}).frame()

    assert facts.loc["AAPL"].to_dict() == {"rows": 20, "size": "1 min"}
    assert tails.index.names == ["instrument", "ts"]
    assert len(tails) == 2
    assert parallel.Mapped({}, {}).frame().index.name == "instrument"


def test_a_function_that_cannot_travel_is_refused_before_anything_starts(filled, monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)

    with pytest.raises(StoreError, match="cannot travel"):
        filled.map(lambda bars: len(bars), ["AAPL"])  # noqa: PLW0108 - a lambda is the point


def test_a_series_of_results_is_a_frame(filled):
    mapped = parallel.Mapped({"AAPL": pd.Series({"a": 1}), "SPY": pd.Series({"a": 2})}, {})

    assert mapped.frame()["a"].tolist() == [1, 2]
    assert repr(mapped) == "<Mapped 2 results, 0 errors>"


def test_the_store_of_the_past_is_that_of_the_past_in_every_process(filled, bars, work):
    first = filled.history("bars_1min", "AAPL")["commit_id"].iloc[0]
    filled.write_bars("AAPL", "1 min", bars(n=20, seed=9))

    then = filled.as_of(first)

    assert (
        then.map(work.last, ["AAPL"], progress=False)["AAPL"] == then.bars("AAPL")["close"].iloc[-1]
    )
    assert filled.bars("AAPL")["close"].iloc[-1] != then.bars("AAPL")["close"].iloc[-1]


def test_workers_know_the_environment_of_now(filled, work, monkeypatch):
    filled.map(work.last, ["AAPL"], "1 min", progress=False)
    monkeypatch.setenv("IBKIT_TOLD", "a key")

    assert filled.map(work.told, ["AAPL"], "1 min", progress=False)["AAPL"] == "a key"
