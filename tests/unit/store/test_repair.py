from datetime import timedelta

import pytest

from ibkit.schema import DATASETS
from ibkit.store import Store, files
from ibkit.store.intake import to_table

CONSTANTS = {"what_to_show": "TRADES", "use_rth": True, "source": "IB", "delayed": False}


@pytest.fixture
def filled(store, bars):
    store.write_bars("AAPL", "1 min", bars(n=5), span=span(bars))
    store.write_bars("MSFT", "1 min", bars(n=5))
    return store


def span(bars):
    return bars().index[0], bars().index[-1] + timedelta(minutes=1)


def part(store, symbol="AAPL"):
    (found,) = (store.root / "data" / "bars_1min").glob(f"*-{symbol}-*/*/*.parquet")
    return found


def repaired(store):
    """Return what was done, by problem, and make sure that nothing is left to do."""
    done = store.verify(repair=True)
    again = Store(store.root)
    assert len(again.verify()) == 0
    assert len(again.verify(repair=True)) == 0
    return dict(zip(done["problem"], done["repair"], strict=True))


def test_a_whole_store_needs_no_repair(filled):
    assert repaired(filled) == {}


def test_a_file_that_cannot_be_read_is_set_aside_and_its_time_is_a_hole_again(filled, bars):
    path = part(filled)
    path.write_bytes(b"")
    start, end = span(bars)
    assert filled.missing("AAPL", "1 min", start, end) == []

    (done,) = repaired(filled).values()

    assert done.startswith("set aside as ")
    assert not path.exists()
    again = Store(filled.root)
    assert again.missing("AAPL", "1 min", start, end) == [(start, end)]
    assert len(again.bars("MSFT", "1 min")) == 5
    again.write_bars("AAPL", "1 min", bars(n=5), span=(start, end))
    assert len(again.verify()) == 0
    assert again.missing("AAPL", "1 min", start, end) == []


def test_a_lost_journal_is_rebuilt_from_the_footers(filled):
    before = filled.bars("AAPL", "1 min")
    for journal in (filled.root / "meta" / "bars_1min" / "journal").iterdir():
        journal.unlink()

    assert repaired(Store(filled.root)) == {"the journal does not know it": "adopted"}

    again = Store(filled.root)
    assert again.bars("AAPL", "1 min").equals(before)
    assert again.history("bars_1min", "AAPL")["operation"].tolist() == ["repair"]


@pytest.mark.parametrize("garbage", [b"[1, 2]\n", b'{"v": 1}\n', b"\x00\xff\n", b"{}\n", b"7\n"])
def test_a_damaged_line_of_the_journal_stops_no_reader(filled, garbage):
    journal = next((filled.root / "meta" / "bars_1min" / "journal").glob("*AAPL*"))
    journal.write_bytes(garbage + journal.read_bytes())

    assert len(Store(filled.root).bars("AAPL", "1 min")) == 5


def test_rows_out_of_order_are_sorted_and_the_old_file_is_kept(filled, bars):
    dataset = DATASETS["bars_1min"]
    table = to_table(bars(n=4).iloc[[1, 0, 2, 2, 3]], dataset, CONSTANTS)
    last = int(filled.history("bars_1min", "AAPL")["commit_id"].iloc[-1])
    part(filled).write_bytes(files.encode(table, dataset, [0], commit_id=last))

    done = repaired(filled)

    assert set(done.values()) == {"sorted, twins once"}
    assert Store(filled.root).bars("AAPL", "1 min")["close"].tolist() == bars(n=4)["close"].tolist()


def test_what_could_only_be_guessed_at_is_left_and_stays_in_the_list(filled, bars):
    dataset = DATASETS["bars_1min"]
    table = to_table(bars(n=2).assign(high=0.0), dataset, CONSTANTS)
    last = int(filled.history("bars_1min", "AAPL")["commit_id"].iloc[-1])
    part(filled).write_bytes(files.encode(table, dataset, [0], commit_id=last))

    done = filled.verify(repair=True)

    assert set(done["repair"]) == {""}
    assert len(filled.verify()) == 2


def test_a_file_that_somebody_removed_is_struck_off(filled):
    part(filled).unlink()

    assert repaired(filled) == {
        "it is gone; the journal knows 5 rows": "struck off; its time is a hole again"
    }


def test_strangers_are_moved_out_of_the_tree(filled):
    stranger = part(filled).with_name("notes.txt")
    stranger.write_text("hello")

    (done,) = repaired(filled).values()

    assert not stranger.exists()
    aside = filled.root / "meta" / "bars_1min" / "quarantine" / "strangers"
    assert [path.read_text() for path in aside.iterdir()] == ["hello"]
    assert str(aside) in done


def test_a_damaged_segment_gives_its_whole_frames_and_is_set_aside(store, bars):
    series = {"what_to_show": "TRADES", "use_rth": True}
    stream = store.appender("bars_1min", "AAPL", source="IB", series=series)
    for row in range(3):
        stream.append(bars(n=3).iloc[[row]])
    stream.close(seal=False)
    (segment,) = store._table("bars_1min").wal.all()
    content = bytearray(segment.path.read_bytes())
    content[segment.frames[1].end - 5] ^= 1
    segment.path.write_bytes(content)

    assert list(repaired(Store(store.root))) == ["1 frames of it are damaged"]

    assert len(Store(store.root).bars("AAPL", "1 min")) == 2
    assert not segment.path.exists()
