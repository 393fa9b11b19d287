"""Ticks as rows: attributes, conditions, numbers within a second, and where they are kept."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from ib_async import IB, Stock

from ibkit.connection.asks import ask_for
from ibkit.contracts.hours import Session
from ibkit.history import ticks
from ibkit.store import Store

AT = datetime(2026, 10, 20, 13, 30, tzinfo=UTC)
EPOCH = int(AT.timestamp())
AAPL = Stock("AAPL", "SMART", "USD")


@pytest.fixture
def decoded(main_loop):
    """Return what ib_async makes of the fields of a message."""
    ib = IB()

    def decode(number, *rows):
        found = ib.wrapper.startReq(7)
        fields = [str(cell) for row in rows for cell in row]
        ib.client.decoder.handlers[number]([str(number), "7", str(len(rows)), *fields, "1"])
        return found.result()

    return decode


def test_trades_keep_what_ib_says_of_them(decoded):
    found = decoded(
        98,
        (EPOCH, 0, 189.5, 100, "ARCA", "   I"),
        (EPOCH, 1, 189.5, 100, "ARCA", "   I"),
        (EPOCH, 2, 189.51, -1, "FINRA", ""),
    )

    rows = ticks.to_table(found, "TRADES").to_pandas()

    assert rows["price"].tolist() == [189.5, 189.5, 189.51]
    assert rows["past_limit"].tolist() == [False, True, False]
    assert rows["unreported"].tolist() == [False, False, True]
    assert rows["conditions"].tolist() == ["   I", "   I", ""]
    assert rows["size"].isna().tolist() == [False, False, True]
    assert rows["seq"].tolist() == [0, 1, 2]
    assert rows["ts"].tolist() == [pd.Timestamp(AT)] * 3


def test_the_bits_of_quotes_of_the_past_are_the_other_way_round(decoded):
    past = decoded(97, (EPOCH, 1, 10.0, 10.1, 300, 200), (EPOCH + 1, 2, 10.0, 10.1, 300, 200))

    rows = ticks.to_table(past, "BID_ASK").to_pandas()

    assert rows["ask_past_high"].tolist() == [True, False]
    assert rows["bid_past_low"].tolist() == [False, True]
    assert rows[["bid", "ask", "bid_size", "ask_size"]].to_numpy().tolist()[0] == [
        10.0,
        10.1,
        300.0,
        200.0,
    ]


def test_midpoints_are_no_trades_and_no_quotes(decoded):
    rows = ticks.to_table(decoded(96, (EPOCH, 0, 1.08415, 0)), "MIDPOINT").to_pandas()

    assert rows["price"].tolist() == [1.08415]
    assert list(rows.columns) == ["ts", "price", "recorder", "seq"]
    assert ticks.DATASETS["MIDPOINT"] == "midpoints"


def test_equal_trades_of_one_second_are_two_and_a_page_that_comes_again_is_one(decoded, tmp_path):
    store = Store(tmp_path)
    twice = [(EPOCH, 0, 189.5, 100, "ARCA", "")] * 2
    for _ in range(2):
        found = ticks.to_table(decoded(98, *twice), "TRADES")
        store.replace_range(
            "trades", "AAPL", found, AT, AT + timedelta(seconds=1), source="IB", series=ticks.SERIES
        )

    assert len(store.trades("AAPL")) == 2


@pytest.mark.parametrize(("what", "cost"), [("TRADES", 1), ("MIDPOINT", 1), ("BID_ASK", 2)])
def test_quotes_cost_double(what, cost):
    ask = ask_for("reqHistoricalTicks", AAPL, AT, "", 1_000, what, useRth=True)

    charges = {charge.rule: charge.cost for charge in ask.charges}
    assert charges["historical requests"] == cost


def test_no_part_crosses_a_session_or_a_break():
    hour = timedelta(hours=1)
    sessions = [
        Session(AT, AT + 2 * hour, AT.date()),
        Session(AT + 3 * hour, AT + 5 * hour, AT.date()),
        Session(AT + 24 * hour, AT + 26 * hour, (AT + 24 * hour).date()),
    ]

    parts = ticks.parts([(AT + hour, AT + 25 * hour)], sessions)

    assert [(low - EPOCH, high - EPOCH) for low, high in parts] == [
        (24 * 3600, 25 * 3600),
        (3 * 3600, 5 * 3600),
        (3600, 2 * 3600),
    ]


def test_a_part_is_whole_seconds():
    session = Session(AT, AT + timedelta(hours=1), AT.date())
    half = timedelta(milliseconds=500)

    [(low, high)] = ticks.parts([(AT + half, AT + 2 * half + half)], [session])

    assert (low - EPOCH, high - EPOCH) == (0, 2)


def test_numbers_begin_again_with_every_second():
    assert ticks.numbered(np.array([], dtype=np.int64)).tolist() == []
    assert ticks.numbered(np.array([3, 4, 4, 4, 9])).tolist() == [0, 0, 1, 2, 0]
