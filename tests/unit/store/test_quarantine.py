import pytest

from ibkit.errors import InvalidRowsError


def test_bad_rows_are_set_aside_with_their_reasons_and_the_others_written(store, bars):
    frame = bars(n=6)
    frame.loc[frame.index[1], "high"] = 0.0
    frame.loc[frame.index[4], ["volume", "low"]] = [-7.0, 1e6]

    commit = store.write_bars("AAPL", "1 min", frame, request="1 D", on_error="quarantine")

    assert (commit.rows_in, commit.rows_set_aside) == (4, 2)
    assert len(store.bars("AAPL", "1 min")) == 4
    aside = store.quarantined()
    assert aside["reason"].tolist() == [
        "high is below open, low or close",
        "volume is negative; high is below open, low or close; low is above open or close",
    ]
    assert aside["ts"].tolist() == frame.index[[1, 4]].tolist()
    assert set(aside["request"]) == {"1 D"}
    assert store.history("bars_1min", "AAPL")["rows_set_aside"].tolist() == [2]
    assert len(store.verify()) == 0


def test_twins_that_disagree_are_both_set_aside(store, bars):
    frame = bars(n=3)
    twice = frame.iloc[[0, 1, 1, 2]].copy()
    twice.iloc[2, twice.columns.get_loc("close")] += 0.01

    store.write_bars("AAPL", "1 min", twice, on_error="quarantine")

    assert store.bars("AAPL", "1 min").index.tolist() == frame.index[[0, 2]].tolist()
    assert (
        store.quarantined("bars_1min", "AAPL")["reason"].tolist()
        == ["the same key twice with other values"] * 2
    )


def test_if_all_rows_are_bad_the_log_says_so_and_no_file_is_made(store, bars):
    commit = store.write_bars("AAPL", "1 min", bars(n=2).assign(low=1e6), on_error="quarantine")

    assert (commit.rows_in, commit.rows_set_aside, commit.files) == (0, 2, ())
    assert not list((store.root / "data").rglob("*.parquet"))
    assert len(store.quarantined()) == 2


def test_without_being_asked_for_nothing_is_set_aside(store, bars):
    with pytest.raises(InvalidRowsError):
        store.write_bars("AAPL", "1 min", bars(n=2).assign(low=1e6))

    assert len(store.quarantined()) == 0


def test_columns_that_do_not_fit_are_refused_all_the_same(store, bars):
    with pytest.raises(InvalidRowsError, match="no such column"):
        store.write_bars("AAPL", "1 min", bars().assign(colour=1), on_error="quarantine")
