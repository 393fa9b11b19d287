import random

import pytest

from ibkit.errors import CorruptFileError
from ibkit.schema import DATASETS
from ibkit.store import files
from ibkit.store.intake import to_table

BARS = DATASETS["bars_1min"]
CONSTANTS = {"what_to_show": "TRADES", "use_rth": True, "source": "IB", "delayed": False}


@pytest.fixture
def forge(store, bars):
    """Return a function that puts rows in place as no write of ours would."""
    store.write_bars("AAPL", "1 min", bars())
    (part,) = (store.root / "data").rglob("*.parquet")

    def forge(frame, dataset=BARS):
        table = to_table(frame, dataset, CONSTANTS)
        part.write_bytes(files.encode(table, dataset, [0], commit_id=2**60))
        return store.verify()["problem"].tolist()

    return forge


def test_rows_that_no_write_would_leave_are_found(forge, bars):
    frame = bars(n=4)

    assert forge(frame) == []
    assert forge(frame.iloc[[1, 0, 2, 3]]) == ["its rows are not in the order of the key"]
    assert forge(frame.iloc[[0, 1, 1, 2]]) == ["a key is in it twice"]
    assert forge(bars("2026-10-31 23:58", n=4)) == ["2 rows belong to another period"]
    assert forge(frame.assign(high=0.0)) == ["high is below open, low or close: 4 rows"]


@pytest.mark.parametrize("name", ["bars_5mins", "gaps"])
def test_a_file_of_another_dataset_is_refused(forge, store, bars, name):
    source = type(store)(store.root.parent / "other")
    if name == "gaps":
        source.confirm_empty("bars_1min", "AAPL", (bars().index[0], bars().index[1]))
    else:
        source.write_bars("AAPL", "5 mins", bars())
    theirs = next((source.root / "data").rglob("*.parquet"))

    next((store.root / "data").rglob("*.parquet")).write_bytes(theirs.read_bytes())

    with pytest.raises(CorruptFileError, match=f"it is of {name} version 1, not of bars_1min"):
        store.bars("AAPL", "1 min")


@pytest.mark.parametrize("seed", range(5))
def test_damage_anywhere_is_an_error_or_found_by_verify_and_never_another_exception(
    store, bars, seed
):
    store.write_bars("AAPL", "1 min", bars(n=300))
    whole = store.bars("AAPL", "1 min")
    (part,) = (store.root / "data").rglob("*.parquet")
    good, dice = part.read_bytes(), random.Random(seed)
    for _ in range(60):
        damaged = bytearray(good)
        damaged[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
        part.write_bytes(damaged)
        try:
            same = store.bars("AAPL", "1 min").equals(whole)
        except CorruptFileError:
            same = False
        assert same or len(store.verify()) == 1
