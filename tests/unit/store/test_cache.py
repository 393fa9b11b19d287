"""The read cache: never wrong, never in the way, never too large."""

from __future__ import annotations

import os
from threading import Event, Thread

import pandas as pd
import pytest

from ibkit.store import Store, cache


@pytest.fixture
def settled():
    """Return a function that makes the files of a store old enough to be cached."""

    def settle(store):
        for path in (store.root / "data").rglob("*.parquet"):
            facts = path.stat()
            past = facts.st_mtime_ns - 10 * cache.YOUNG_NS
            os.utime(path, ns=(past, past))

    return settle


@pytest.fixture
def year(store, bars, settled):
    """Return a store with a year of AAPL, one bar a day, at rest."""
    store.write_bars("AAPL", "1 min", bars("2025-11-03 15:00", 300, freq="D"))
    settled(store)
    return store


def kept(store):
    return sorted((store.root / "meta" / "cache").rglob("*.arrow"))


def plain(store, **options):
    return Store(store.root, cache_bytes=0).bars("AAPL", **options)


@pytest.fixture
def loads(monkeypatch):
    """Return the list of the periods that are read from Parquet from now on."""
    found = []
    real = cache.Loan.part

    def counted(self, label, path, load):
        def noted():
            found.append(label)
            return load()

        return real(self, label, path, noted)

    monkeypatch.setattr(cache.Loan, "part", counted)
    return found


def test_a_whole_read_is_kept_and_the_next_one_opens_no_parquet(year, loads):
    first = year.bars("AAPL")
    assert len(kept(year)) == 1
    loads.clear()

    second = year.bars("AAPL")

    assert loads == []
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(second, plain(year))


def test_spans_and_columns_come_from_it_too(year, loads, utc):
    year.bars("AAPL")
    loads.clear()

    some = year.bars("AAPL", "1 min", utc(2026, 2, 10), utc(2026, 4, 2), columns=["close"])

    assert loads == []
    expected = Store(year.root, cache_bytes=0).bars(
        "AAPL", "1 min", utc(2026, 2, 10), utc(2026, 4, 2), columns=["close"]
    )
    pd.testing.assert_frame_equal(some, expected)


def test_a_frame_of_the_cache_may_be_changed_without_harm(year):
    year.bars("AAPL")

    mine = year.bars("AAPL")
    mine.loc[:, "close"] = 0.0

    assert (year.bars("AAPL")["close"] > 0).all()


def test_after_a_write_only_the_changed_month_is_read_again(year, bars, loads, settled):
    year.bars("AAPL")
    year.write_bars("AAPL", "1 min", bars("2026-03-05 15:00", 1, seed=9))
    loads.clear()

    found = year.bars("AAPL")

    assert loads == ["month=2026-03"]
    pd.testing.assert_frame_equal(found, plain(year))
    settled(year)
    loads.clear()
    year.bars("AAPL")
    assert len(loads) == 10  # every file is another one by its time: none is believed
    loads.clear()
    year.bars("AAPL")
    assert loads == []


def test_young_files_are_not_kept(store, bars):
    store.write_bars("AAPL", "1 min", bars("2025-11-03 15:00", 300, freq="D"))

    store.bars("AAPL")

    assert kept(store) == []


def test_a_file_that_was_removed_is_missing_from_the_answer(year, loads):
    year.bars("AAPL")
    next((year.root / "data").rglob("month=2026-03/*.parquet")).unlink()

    found = year.bars("AAPL")

    assert not ((found.index.month == 3) & (found.index.year == 2026)).any()
    pd.testing.assert_frame_equal(found, plain(year))


def test_a_part_of_the_history_is_not_kept(year, utc):
    year.bars("AAPL", "1 min", utc(2026, 1, 1), utc(2026, 8, 1))

    assert kept(year) == []


def test_series_do_not_mix(year, bars, settled):
    year.write_bars(
        "AAPL", "1 min", bars("2025-11-03 15:00", 300, freq="D", seed=5), what_to_show="BID"
    )
    settled(year)
    for _ in range(2):
        for what in ("TRADES", "BID"):
            found = year.bars("AAPL", what_to_show=what)
            pd.testing.assert_frame_equal(found, plain(year, what_to_show=what))

    assert len(kept(year)) == 2


@pytest.mark.parametrize("damage", [b"", b"ARROW1\0\0garbage", b"x" * 100_000])
def test_a_damaged_cache_is_made_anew(year, damage):
    expected = year.bars("AAPL")
    (path,) = kept(year)
    path.write_bytes(damage)

    pd.testing.assert_frame_equal(Store(year.root).bars("AAPL"), expected)
    pd.testing.assert_frame_equal(Store(year.root).bars("AAPL"), expected)
    assert path.stat().st_size != len(damage)


def test_it_can_be_switched_off(year):
    off = Store(year.root, cache_bytes=0)
    off.bars("AAPL")

    assert kept(year) == []


def test_it_stays_within_its_limit(year, bars, settled):
    for name in ("MSFT", "XOM"):
        year.write_bars(name, "1 min", bars("2025-11-03 15:00", 300, freq="D"))
    settled(year)
    year.bars("AAPL")
    size = kept(year)[0].stat().st_size

    small = Store(year.root, cache_bytes=int(2.5 * size))
    for name in ("MSFT", "XOM"):
        small.bars(name)

    names = [path.parent.name for path in kept(year)]
    assert names == ["STK-MSFT-SMART-USD", "STK-XOM-SMART-USD"]
    assert sum(path.stat().st_size for path in kept(year)) <= small.recipe()["cache_bytes"]


def test_what_is_larger_than_the_limit_is_not_kept(year):
    Store(year.root, cache_bytes=100).bars("AAPL")

    assert kept(year) == []


def test_a_disk_that_refuses_it_costs_nothing(year, monkeypatch):
    def full(*rest, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.disk, "make_folder", full)

    assert len(year.bars("AAPL")) == 300


def test_its_file_is_no_more_public_than_the_rows(year):
    for path in (year.root / "data").rglob("*.parquet"):
        path.chmod(0o600)
    year.bars("AAPL")

    assert kept(year)[0].stat().st_mode & 0o777 == 0o600


def test_a_dataset_that_is_encrypted_is_forgotten_and_never_kept_again(year, settled, monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setenv("IBKIT_KEY_MINE", "k" * 43 + "=")
    year.bars("AAPL")
    assert kept(year)

    year.encrypt("bars_1min", key="mine")
    settled(year)

    assert len(year.bars("AAPL")) == 300
    assert kept(year) == []


def test_clearing_forgets_everything(year):
    year.bars("AAPL")
    year.clear_cache()

    assert kept(year) == []
    assert len(year.bars("AAPL")) == 300


def test_readers_beside_a_writer_never_see_what_is_not_there(year, bars, monkeypatch):
    """Young files count as old here, so that the cache is made as often as it can be."""
    monkeypatch.setattr(cache, "YOUNG_NS", 20_000_000)
    stop, faults, seen = Event(), [], []

    def read():
        mine = Store(year.root)
        last = 0.0
        while not stop.is_set():
            value = mine.bars("AAPL").loc["2026-03-05 15:00+00:00", "volume"]
            if value < last:
                faults.append((last, value))
            last = value
            seen.append(value)

    readers = [Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    one = bars("2026-03-05 15:00", 1)
    for n in range(60):
        year.write_bars("AAPL", "1 min", one.assign(volume=10_000.0 + n))
    stop.set()
    for reader in readers:
        reader.join()

    assert faults == []
    assert seen
    assert year.bars("AAPL").loc["2026-03-05 15:00+00:00", "volume"] == 10_059.0
