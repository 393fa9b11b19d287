"""A disk that refuses, at every step of a write: the error is ours, the store whole, the next
write works."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime

import pytest

from ibkit.errors import StoreAccessError
from ibkit.store import Store, disk

CALLS = ("open", "write", "fsync", "fdatasync", "replace", "link", "mkdir")
SERIES = {"what_to_show": "TRADES", "use_rth": True}


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes the n-th call of a name of `os` fail, once or from then on."""

    def failing(name: str, nth: int, code: int, *, lasting: bool = False):
        real, calls = getattr(os, name), []

        def call(*arguments, **options):
            calls.append(name)
            if len(calls) == nth or (lasting and len(calls) > nth):
                raise OSError(code, os.strerror(code))
            return real(*arguments, **options)

        patch = pytest.MonkeyPatch()
        patch.setattr(os, name, call)
        return patch, calls

    return failing


def closes(store) -> list[float]:
    return store.bars("AAPL", "1 min")["close"].tolist() if store.instruments("bars_1min") else []


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_write_that_fails_at_any_call_leaves_old_or_new_and_the_next_one_works(
    tmp_path, bars, failing, name, code
):
    for nth in range(1, 40):
        store = Store(tmp_path / f"{nth}")
        old, new = bars(n=3), bars(n=4, seed=2)
        if nth % 2:
            store.write_bars("AAPL", "1 min", old)
        before = closes(store)
        patch, calls = failing(name, nth, code)
        try:
            store.write_bars("AAPL", "1 min", new)
            acknowledged = True
        except StoreAccessError as error:
            acknowledged = False
            assert os.strerror(code) in str(error)
        finally:
            patch.undo()

        assert closes(store) in (
            [new["close"].tolist()] if acknowledged else [before, new["close"].tolist()]
        )
        assert len(store.verify()) == 0
        store.write_bars("AAPL", "1 min", new)
        assert closes(Store(store.root)) == new["close"].tolist()
        assert len(store.verify()) == 0
        if len(calls) < nth:
            break


def test_a_full_disk_in_the_middle_of_a_file(store, bars, monkeypatch):
    store.write_bars("AAPL", "1 min", bars(n=3))

    def half(path, content, **options):
        path.write_bytes(content[: len(content) // 2])
        raise StoreAccessError(path, "an unfinished file: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_synced", half)
        with pytest.raises(StoreAccessError, match="No space left"):
            store.write_bars("AAPL", "1 min", bars(n=3, seed=2))

    assert closes(store) == bars(n=3)["close"].tolist()
    assert not list((store.root / "meta" / "bars_1min" / "tmp").iterdir())


def test_a_full_disk_is_told_to_a_stream_and_what_was_acknowledged_stays(store, bars, failing):
    stream = store.appender("bars_1min", "AAPL", source="IB", series=SERIES, rotate_s=0)
    stream.append(bars(n=1))
    patch, _ = failing("write", 1, errno.ENOSPC, lasting=True)
    for _ in range(3):
        with pytest.raises(StoreAccessError, match="No space left"):
            stream.append(bars(n=2))
    with pytest.raises(StoreAccessError):
        store.compact()
    patch.undo()

    assert len(closes(store)) == 1
    stream.append(bars(n=2))
    stream.close()
    assert len(closes(store)) == 2
    assert len(store.verify()) == 0


def test_a_read_only_disk_can_be_read_and_says_so_when_written(store, bars, monkeypatch):
    with store.appender("bars_1min", "AAPL", source="IB", series=SERIES) as stream:
        stream.append(bars(n=3))
    held = store.appender("bars_1min", "AAPL", source="IB", series=SERIES)
    held.append(bars(n=4))
    real = os.open

    def read_only(path, flags, *rest, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        again = Store(store.root)
        assert len(closes(again)) == 4
        assert len(again.verify()) == 0
        for action in (
            lambda: again.write_bars("AAPL", "1 min", bars(n=5)),
            lambda: again.appender("bars_1min", "MSFT", source="IB", series=SERIES).append(bars()),
            again.compact,
        ):
            with pytest.raises(StoreAccessError, match="Read-only file system"):
                action()
    held.close()
    assert len(closes(store)) == 4


def test_a_clock_that_goes_back_loses_nothing(store, bars, monkeypatch):
    first = store.write_bars("AAPL", "1 min", bars(n=2))
    monkeypatch.setattr("ibkit.clock.now", lambda: datetime(2001, 1, 1, tzinfo=UTC))

    second = store.write_bars("AAPL", "1 min", bars(n=2, seed=2))
    third = store.write_bars("AAPL", "1 min", bars(n=3, seed=3))

    assert first.commit_id < second.commit_id < third.commit_id
    assert closes(store) == bars(n=3, seed=3)["close"].tolist()
    assert store.as_of(second.commit_id).bars("AAPL", "1 min")["close"].tolist() == (
        bars(n=2, seed=2)["close"].tolist()
    )
    assert store.prune()["bytes"].sum() == 0
    assert len(store.verify()) == 0


def test_one_damaged_file_takes_no_other_month_with_it(store, bars):
    store.write_bars("AAPL", "1 min", bars("2026-10-01 14:30"))
    store.write_bars("AAPL", "1 min", bars("2026-11-02 14:30"))
    for path in (store.root / "data").rglob("*2026-10/*.parquet"):
        path.write_bytes(path.read_bytes()[:-20])

    november = store.bars("AAPL", "1 min", datetime(2026, 11, 1, tzinfo=UTC))

    assert len(november) == 5
    assert len(store.verify()) == 1
