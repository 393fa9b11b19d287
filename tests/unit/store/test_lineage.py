"""The past: the log, reads as of an instant or a commit, the feed, and what is pruned."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

from ibkit.errors import PrunedError, StoreError

SERIES = {"what_to_show": "TRADES", "use_rth": True}


@pytest.fixture
def flat():
    def flat(price: float, n: int = 3, start: str = "2026-10-01 14:30"):
        index = pd.date_range(start, periods=n, freq="min", tz="UTC", name="ts", unit="us")
        return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), price), index=index)

    return flat


def closes(store, when=None):
    seen = store if when is None else store.as_of(when)
    return seen.bars("AAPL", "1 min")["close"].tolist()


def test_every_state_that_was_can_be_read_again(store, flat):
    seen = {}
    for price, n in [(1.0, 2), (1.0, 3), (2.0, 1), (3.0, 3), (3.0, 5)]:
        commit = store.write_bars("AAPL", "1 min", flat(price, n))
        seen[commit.commit_id] = closes(store)
    start = flat(1.0).index[0]
    gone = store.replace_range(
        "bars_1min",
        "AAPL",
        flat(0.0, 0),
        start,
        start + timedelta(minutes=2),
        source="IB",
        series=SERIES,
    )
    seen[gone.commit_id] = closes(store)

    assert {commit_id: closes(store, commit_id) for commit_id in seen} == seen
    at = store.history("bars_1min", "AAPL")["at"]
    assert [closes(store, when.to_pydatetime()) for when in at] == list(seen.values())


def test_before_the_first_commit_there_is_nothing(store, flat):
    first = store.write_bars("AAPL", "1 min", flat(1.0)).commit_id

    assert closes(store, first - 1) == []


def test_a_range_and_columns_of_the_past(store, flat):
    first = store.write_bars("AAPL", "1 min", flat(1.0)).commit_id
    store.write_bars("AAPL", "1 min", flat(2.0))
    index = flat(1.0).index

    then = store.as_of(first).bars("AAPL", "1 min", index[1], index[2], columns=["close"])

    said = {"columns": ["close"], "as_of": first}
    assert then.equals(store.bars("AAPL", "1 min", index[1], index[2], **said))
    rows = store.read("bars_1min", "AAPL", as_of=first)
    assert rows["close"].tolist() == [1.0] * 3
    assert then["close"].tolist() == [1.0]
    assert list(then.columns) == ["close"]


def test_rows_of_a_stream_are_read_as_of_their_append_before_and_after_compaction(store, flat):
    with store.appender("bars_1min", "AAPL", source="IB", series=SERIES) as stream:
        seen = {}
        for price, n in [(1.0, 1), (1.0, 2)]:
            commit_id = stream.append(flat(price, n))
            seen[commit_id] = closes(store)
        upsert = store.write_bars("AAPL", "1 min", flat(5.0, 1)).commit_id
        seen[upsert] = closes(store)
        last = stream.append(flat(7.0, 3))
        seen[last] = closes(store)
        before = {commit_id: closes(store, commit_id) for commit_id in seen}

        store.compact()

        after = {commit_id: closes(store, commit_id) for commit_id in seen}
        store.write_bars("AAPL", "1 min", flat(9.0, 3))
        later = {commit_id: closes(store, commit_id) for commit_id in list(seen)[-1:]}
    assert before == seen
    assert after == seen
    assert later == dict(list(seen.items())[-1:])


def test_the_past_is_read_only_and_an_instant_needs_a_zone(store, flat):
    commit = store.write_bars("AAPL", "1 min", flat(1.0))

    with pytest.raises(StoreError, match="as of the past"):
        store.as_of(commit.commit_id).write_bars("AAPL", "1 min", flat(2.0))
    with pytest.raises(ValueError, match="no time zone"):
        store.as_of(pd.Timestamp("2026-11-20").to_pydatetime())


def test_what_was_pruned_is_an_error_and_what_is_kept_is_right(store, flat):
    ids = [store.write_bars("AAPL", "1 min", flat(float(n))).commit_id for n in range(1, 7)]

    gone = store.prune(older_than=timedelta(0), keep=2)

    assert gone["commit_id"].tolist() == ids[:3]
    assert (gone["bytes"] > 0).all()
    for commit_id in ids[:3]:
        with pytest.raises(PrunedError, match="were pruned"):
            closes(store, commit_id)
    assert [closes(store, one)[0] for one in ids[3:]] == [4.0, 5.0, 6.0]
    assert len(store.prune(older_than=timedelta(days=1), keep=0)) == 0
    assert len(store.prune(older_than=timedelta(0), keep=0)) == 2
    assert closes(store) == [6.0] * 3


def test_the_log_says_who_what_and_with_which_libraries(store, flat):
    store.write_bars("AAPL", "1 min", flat(1.0), request="1 D of AAPL")
    store.write_bars("AAPL", "1 min", flat(1.0), what_to_show="BID")
    store.upsert("bars_1min", "AAPL", flat(2.0).assign(**SERIES), source="IB")

    log = store.history("bars_1min", "AAPL")

    first = log.iloc[0]
    assert "@" in first["who"]
    assert "process" in first["who"]
    assert "pyarrow" in first["versions"]
    assert len(first["sha256"]) == 64
    assert [first["first"], first["last"]] == list(flat(1.0).index[[0, -1]])
    assert first["request"] == "1 D of AAPL"
    assert log["rows_changed"].tolist() == [0, 0, 3]
    assert len(store.history("bars_1min", "AAPL", series=SERIES)) == 2
    assert len(store.history("bars_1min", "AAPL", since=int(first["commit_id"]))) == 2


def test_a_feed_read_by_its_cursor_gives_each_commit_once(store, flat):
    store.write_bars("AAPL", "1 min", flat(1.0))
    store.write_bars("MSFT", "1 min", flat(1.0))
    first = store.changes()
    store.write_bars("AAPL", "1 min", flat(2.0))
    store.write_bars("SPY", "5 mins", flat(2.0))

    second = store.changes(first.attrs["cursor"])

    assert first["instrument"].tolist() == ["STK-AAPL-SMART-USD", "STK-MSFT-SMART-USD"]
    assert second[["dataset", "instrument"]].to_numpy().tolist() == [
        ["bars_1min", "STK-AAPL-SMART-USD"],
        ["bars_5mins", "STK-SPY-SMART-USD"],
    ]
    assert second["periods"].tolist() == [["month=2026-10"], ["year=2026"]]
    third = store.changes(second.attrs["cursor"])
    assert len(third) == 0
    assert "dataset" in third.columns
    assert len(store.changes(dataset="bars_1min", instrument="AAPL")) == 2
    assert len(store.changes(first["at"].iloc[0].to_pydatetime())) == 3


def test_a_file_of_a_writer_that_died_before_its_line_is_part_of_the_past(store, flat):
    first = store.write_bars("AAPL", "1 min", flat(1.0)).commit_id
    dead = store.write_bars("AAPL", "1 min", flat(2.0)).commit_id
    journal = next((store.root / "meta" / "bars_1min" / "journal").iterdir())
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0])  # the second commit's line was never written

    again = type(store)(store.root)
    last = again.write_bars("AAPL", "1 min", flat(3.0)).commit_id

    assert [closes(again, one)[0] for one in (first, dead, last)] == [1.0, 2.0, 3.0]
