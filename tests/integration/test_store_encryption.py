"""Encrypted datasets: nothing in the plain anywhere, and never a silent way round the key."""

from __future__ import annotations

import base64
import os

import duckdb
import keyring
import keyring.backend
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from keyring.errors import PasswordDeleteError

from ibkit.errors import (
    CorruptFileError,
    InvalidRowsError,
    MissingKeyError,
    RoleError,
    StoreAccessError,
    StoreError,
    TamperedFileError,
)
from ibkit.store import Store, wal
from ibkit.store.crypto import Keys

PRICE = 98_765.4321  # found in a file only if it lies there in the plain


class Drawer(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError


@pytest.fixture
def drawer():
    before, mine = keyring.get_keyring(), Drawer()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "secrets", keyring=False)


@pytest.fixture
def store(tmp_path, keys):
    return Store(tmp_path / "root", keys=keys)


def bars(start="2026-10-30 14:30", n=2000, close=PRICE):
    index = pd.date_range(start, periods=n, freq="min", tz="UTC", name="ts", unit="us")
    prices = np.full(n, close)
    return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), prices), index=index)


def files(root):
    return [path for path in root.rglob("*") if path.is_file()]


def plain(root):
    """Return the files in which the price can be read without a key."""
    needle = np.float64(PRICE).tobytes()
    return [path for path in files(root) if needle in path.read_bytes()]


def data_files(store):
    return sorted((store.root / "data").rglob("*.parquet"))


def test_everything_that_was_there_and_comes_after_is_encrypted(store, keys):
    store.write_bars("AAPL", "1 min", bars())
    store.write_bars("AAPL", "1 min", bars(n=5, close=PRICE + 1))  # leaves one in the history
    assert plain(store.root)

    done = store.encrypt("bars_1min")
    store.write_bars("AAPL", "1 min", bars("2026-11-02 14:30", n=100))

    assert plain(store.root) == []
    assert done[["instrument", "files"]].to_numpy().tolist() == [["STK-AAPL-SMART-USD", 1]]
    parquet = [path for path in files(store.root) if path.suffix == ".parquet"]
    assert len(parquet) == 3
    assert {path.read_bytes()[:4] for path in parquet} == {b"PARE"}
    other = Store(store.root, keys=keys)
    assert len(other.bars("AAPL", "1 min")) == 2100
    assert len(other.verify()) == 0
    assert other.sql("select count(*) from bars_1min").fetchall() == [(2100,)]
    assert other.coverage()["rows"].tolist() == [2100]
    assert other.history("bars_1min", "AAPL")["operation"].tolist() == [
        "upsert",
        "upsert",
        "encrypt",
        "upsert",
    ]


def test_streams_cache_and_quarantine_do_not_leak(store):
    store.encrypt("bars_1min")
    for month in range(1, 9):  # enough files that a plain series would be cached
        store.write_bars("AAPL", "1 min", bars(f"2026-{month:02}-02 15:00", n=10))
    for path in data_files(store):
        os.utime(path, (1e9, 1e9))

    store.bars("AAPL", "1 min")
    with store.appender(
        "bars_1min", "MSFT", source="IB", series={"what_to_show": "TRADES", "use_rth": True}
    ) as stream:
        stream.append(bars(n=50))
        assert len(store.bars("MSFT", "1 min")) == 50  # out of an encrypted segment
        assert [path for path in files(store.root) if path.suffix == ".wal"]
        assert plain(store.root) == []
    assert len(store.bars("MSFT", "1 min")) == 50
    with pytest.raises(InvalidRowsError):
        store.write_bars("AAPL", "1 min", bars(n=3).assign(high=1.0))
    series = {"what_to_show": "TRADES", "use_rth": True}
    store.upsert(
        "bars_1min",
        "AAPL",
        bars(n=3).assign(high=1.0),
        source="IB",
        series=series,
        on_error="quarantine",
    )

    assert plain(store.root) == []
    assert not list((store.root / "meta" / "cache").rglob("*.arrow"))


def test_a_missing_key_names_every_place_and_nothing_is_written_plain(store, tmp_path):
    store.write_bars("AAPL", "1 min", bars())
    store.encrypt("bars_1min")
    before = {path: path.read_bytes() for path in data_files(store)}
    locked_out = Store(store.root, keys=Keys(tmp_path / "elsewhere"))

    for act in (
        lambda: locked_out.bars("AAPL", "1 min"),
        lambda: locked_out.write_bars("AAPL", "1 min", bars(n=1, close=1.0)),
        lambda: locked_out.write_bars("MSFT", "1 min", bars(n=1)),  # no file to stumble over
        lambda: locked_out.sql("select * from bars_1min").fetchall(),
    ):
        with pytest.raises(MissingKeyError) as caught:
            act()
        text = str(caught.value)
        assert "IBKIT_KEY_BARS_1MIN_" in text
        assert str(tmp_path / "elsewhere") in text
        assert "keyring, service ibkit" in text
    assert {path: path.read_bytes() for path in data_files(store)} == before


@pytest.mark.parametrize("where", [0, 40, -60, -6])
def test_a_flipped_bit_is_tampering_and_no_rows(store, where):
    store.write_bars("AAPL", "1 min", bars(n=100))
    store.encrypt("bars_1min")
    path = data_files(store)[0]
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(bytes(content))

    with pytest.raises(TamperedFileError, match="not as it was written"):
        store.bars("AAPL", "1 min")
    assert len(store.verify()) == 1
    assert issubclass(TamperedFileError, CorruptFileError)


def test_a_plain_file_or_that_of_another_instrument_cannot_stand_in(store):
    store.write_bars("AAPL", "1 min", bars(n=100))
    ours = data_files(store)[0]
    was_plain = ours.read_bytes()
    store.encrypt("bars_1min")
    store.write_bars("MSFT", "1 min", bars(n=100, close=1.0))
    theirs = next(path for path in data_files(store) if "MSFT" in str(path))

    ours.write_bytes(was_plain)
    with pytest.raises(TamperedFileError, match="it is not encrypted, and its dataset is"):
        store.bars("AAPL", "1 min")
    ours.write_bytes(theirs.read_bytes())
    with pytest.raises(TamperedFileError, match="it was written as STK-MSFT"):
        store.bars("AAPL", "1 min")


def test_a_marker_that_is_gone_does_not_open_a_plain_road(tmp_path, keys):
    store = Store(tmp_path / "root", keys=keys, encrypted=["bars_1min"])
    with pytest.raises(StoreError, match=r"(?s)to be encrypted by the settings.*store\.encrypt"):
        store.write_bars("AAPL", "1 min", bars())
    store.encrypt("bars_1min")
    store.write_bars("AAPL", "1 min", bars())

    (store.root / "meta" / "bars_1min" / "encryption.json").unlink()
    with pytest.raises(StoreError, match="nothing was written"):
        store.write_bars("MSFT", "1 min", bars())
    unaware = Store(tmp_path / "root", keys=keys)
    with pytest.raises(CorruptFileError, match="encrypted"):
        unaware.write_bars("AAPL", "1 min", bars(n=1, close=1.0))
    with pytest.raises(ValueError, match="no dataset 'bars_7min'"):
        Store(tmp_path / "root", encrypted=["bars_7min"])


def test_a_rotated_key_may_be_thrown_away(store, keys):
    store.write_bars("AAPL", "1 min", bars())
    store.write_bars("AAPL", "1 min", bars(n=5, close=2.0))
    store.encrypt("bars_1min")
    (old,) = keys.folder.iterdir()

    store.rotate_key("bars_1min")
    old.unlink()

    other = Store(store.root, keys=keys)
    assert len(other.bars("AAPL", "1 min")) == 2000
    assert len(other.verify()) == 0
    assert len(list(keys.folder.iterdir())) == 1
    assert old.name.encode() not in b"".join(path.read_bytes() for path in data_files(store))


def test_a_rotation_that_was_killed_half_way_is_readable_and_goes_on(store, monkeypatch):
    from ibkit.store import rekey

    for name in ("AAPL", "MSFT"):
        store.write_bars(name, "1 min", bars(n=10))
    real, calls = rekey.rewrite, []

    def killed(table, slug, *rest):
        if calls:
            raise KeyboardInterrupt
        calls.append(slug)
        return real(table, slug, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(rekey, "rewrite", killed)
        with pytest.raises(KeyboardInterrupt):
            store.encrypt("bars_1min")
    for name in ("AAPL", "MSFT"):
        assert len(store.bars(name, "1 min")) == 10
    store.write_bars("MSFT", "1 min", bars("2026-11-02 15:00", n=10))

    store.encrypt("bars_1min")

    assert plain(store.root) == []
    with pytest.raises(StoreError, match="encrypted already"):
        store.encrypt("bars_1min")


def test_a_rotation_that_was_killed_goes_on_with_its_key_and_what_is_done_is_left(
    store, keys, monkeypatch
):
    from ibkit.store import rekey

    for name in ("AAPL", "MSFT", "SPY"):
        store.write_bars(name, "1 min", bars(n=10))
    store.encrypt("bars_1min")
    real = rekey._rewrite

    def killed(table, slug, *rest):
        if "MSFT" in slug:
            raise KeyboardInterrupt
        return real(table, slug, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(rekey, "_rewrite", killed)
        with pytest.raises(KeyboardInterrupt):
            store.rotate_key("bars_1min")
    assert [len(store.bars(name, "1 min")) for name in ("AAPL", "MSFT", "SPY")] == [10] * 3
    before = {path: path.stat().st_mtime_ns for path in data_files(store)}

    done = Store(store.root, keys=keys).rotate_key("bars_1min")

    assert done["instrument"].tolist() == ["STK-MSFT-SMART-USD", "STK-SPY-SMART-USD"]
    changed = [path for path in before if path.stat().st_mtime_ns != before[path]]
    assert len(changed) == 2
    assert len(list(keys.folder.iterdir())) == 2  # the old one and one new one, not three
    assert len(store.verify()) == 0
    store.rotate_key("bars_1min")  # it was through: this is another one
    assert len(list(keys.folder.iterdir())) == 3


def test_a_kill_between_a_file_and_its_journal_line_is_made_good(store, monkeypatch):
    from ibkit.store.table import Table

    store.write_bars("AAPL", "1 min", bars(n=10))
    store.encrypt("bars_1min")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Table, "note", killed)
        with pytest.raises(KeyboardInterrupt):
            store.rotate_key("bars_1min")

    store.rotate_key("bars_1min")

    assert len(store.verify()) == 0
    assert len(store.bars("AAPL", "1 min")) == 10


def test_what_was_set_aside_before_is_encrypted_too(store, keys):
    store.write_bars("AAPL", "1 min", bars())
    series = {"what_to_show": "TRADES", "use_rth": True}
    bad = bars(n=3).assign(low=PRICE + 1)
    store.upsert("bars_1min", "AAPL", bad, source="IB", series=series, on_error="quarantine")
    stranger = data_files(store)[0].with_name("copy.parquet")
    stranger.write_bytes(data_files(store)[0].read_bytes())
    store.verify(repair=True)
    assert len(plain(store.root)) == 3  # the file, the rows, the stranger

    for turn in (store.encrypt, store.rotate_key):
        turn("bars_1min")

        assert plain(store.root) == []
        assert store.quarantined("bars_1min")["low"].tolist() == [PRICE + 1] * 3
    assert len(list(keys.folder.iterdir())) == 2


def test_a_query_that_is_open_on_plain_files_stops_encryption_from_being_called_done(store):
    store.write_bars("AAPL", "1 min", bars())
    relation = store.sql("select count(*) from bars_1min")
    with pytest.raises(StoreError, match="has a query open on bars_1min"):
        store.encrypt("bars_1min")
    assert relation.fetchall() == [(2000,)]
    del relation
    left = store.root / "meta" / "bars_1min" / "tmp" / "999999999-left"
    left.write_bytes(np.float64(PRICE).tobytes())  # of a writer that was killed

    store.encrypt("bars_1min")

    assert plain(store.root) == []


def test_what_one_instrument_streamed_cannot_stand_in_for_another(store):
    series = {"what_to_show": "TRADES", "use_rth": True}
    store.encrypt("bars_1min")
    with store.appender("bars_1min", "MSFT", source="IB", series=series) as stream:
        stream.append(bars(n=5))
        folder = store.root / "meta" / "bars_1min" / "wal"
        (segment,) = folder.rglob("*.wal")
        forged = folder / "STK-AAPL-SMART-USD" / segment.name
        forged.parent.mkdir()
        content = segment.read_bytes()
        at = content.index(b"IBKW", 4)
        frame = content[at:]
        size = int.from_bytes(frame[8:12], "little")
        commit_id = int.from_bytes(frame[12:20], "little")
        head = content[:at]
        forged.write_bytes(head + wal.pack("STK-AAPL-SMART-USD", commit_id, frame[-size:]))

        with pytest.raises(TamperedFileError, match="this key did not encrypt it"):
            store.bars("AAPL", "1 min")
        assert len(store.bars("MSFT", "1 min")) == 5


def test_another_key_of_the_same_name_is_told_and_writes_nothing(store, keys):
    store.write_bars("AAPL", "1 min", bars(n=10))
    store.encrypt("bars_1min")
    (key,) = keys.folder.iterdir()
    key.write_text(base64.b64encode(bytes(range(32))).decode())
    before = data_files(store)[0].read_bytes()
    other = Store(store.root, keys=keys)

    for act in (
        lambda: other.bars("AAPL", "1 min"),
        other.coverage,
        lambda: other.write_bars("AAPL", "1 min", bars(n=1, close=1.0)),
        lambda: other.rotate_key("bars_1min"),
    ):
        with pytest.raises(TamperedFileError, match="this key did not encrypt it"):
            act()
    assert data_files(store)[0].read_bytes() == before


@pytest.mark.parametrize("name", ["../outside", "my key", "", "a/b", "."])
def test_a_name_that_leads_out_of_the_folder_of_secrets_is_no_key(store, tmp_path, name):
    (tmp_path / "outside").write_text(base64.b64encode(bytes(32)).decode())
    (tmp_path / "outside").chmod(0o600)

    with pytest.raises(StoreError, match="no key is called"):
        store.encrypt("bars_1min", key=name)


def test_a_reader_that_was_open_before_follows(store, keys):
    early = Store(store.root, keys=keys, role="reader")
    store.write_bars("AAPL", "1 min", bars())
    assert len(early.bars("AAPL", "1 min")) == 2000

    store.encrypt("bars_1min")

    assert len(early.bars("AAPL", "1 min")) == 2000
    writer = Store(store.root, keys=keys)
    writer.bars("AAPL", "1 min")
    writer.write_bars("MSFT", "1 min", bars())
    assert plain(store.root) == []


def test_a_stream_that_goes_on_stops_encryption_from_being_called_done(store):
    series = {"what_to_show": "TRADES", "use_rth": True}
    with store.appender("bars_1min", "AAPL", source="IB", series=series) as stream:
        stream.append(bars(n=5))
        with pytest.raises(StoreError, match="being appended to"):
            store.encrypt("bars_1min")
        stream.append(bars("2026-10-30 15:30", n=5))
        assert len(store.bars("AAPL", "1 min")) == 10

    store.encrypt("bars_1min")

    assert plain(store.root) == []
    assert len(store.bars("AAPL", "1 min")) == 10


# --- where keys lie ------------------------------------------------------------------------------


def test_the_keyring_keeps_a_new_key(tmp_path, drawer):
    store = Store(tmp_path / "root")
    store.encrypt("bars_1min")
    store.write_bars("AAPL", "1 min", bars())

    ((service, name),) = drawer.kept
    assert (service, name.startswith("bars-1min-")) == ("ibkit", True)
    assert len(Store(tmp_path / "root").bars("AAPL", "1 min")) == 2000
    drawer.kept.clear()
    with pytest.raises(MissingKeyError, match=name):
        Store(tmp_path / "root").bars("AAPL", "1 min")


def test_a_key_of_ones_own_comes_from_the_environment(tmp_path, monkeypatch):
    store = Store(tmp_path / "root", keys=Keys(keyring=False))
    with pytest.raises(StoreError, match="no place to keep the new key"):
        store.encrypt("bars_1min")
    with pytest.raises(MissingKeyError, match="IBKIT_KEY_DESK_1"):
        store.encrypt("bars_1min", key="desk-1")
    monkeypatch.setenv("IBKIT_KEY_DESK_1", "no key")
    with pytest.raises(StoreError, match="32 random bytes"):
        store.encrypt("bars_1min", key="desk-1")
    monkeypatch.setenv("IBKIT_KEY_DESK_1", base64.b64encode(bytes(range(32))).decode())

    store.encrypt("bars_1min", key="desk-1")
    store.write_bars("AAPL", "1 min", bars())

    assert plain(store.root) == []
    assert len(store.bars("AAPL", "1 min")) == 2000


def test_a_key_that_others_may_read_is_refused(store, keys):
    store.encrypt("bars_1min")
    (key,) = keys.folder.iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    assert keys.folder.stat().st_mode & 0o777 == 0o700
    key.chmod(0o640)

    with pytest.raises(StoreAccessError, match="chmod 600"):
        store.write_bars("AAPL", "1 min", bars())


def test_only_the_owner_turns_keys(store, keys):
    store.encrypt("bars_1min")
    writer = Store(store.root, keys=keys, role="writer")

    writer.write_bars("AAPL", "1 min", bars())
    with pytest.raises(RoleError, match="A writer of a store may not rotate key bars_1min"):
        writer.rotate_key("bars_1min")
    with pytest.raises(StoreError, match="is not encrypted"):
        store.rotate_key("bars_1day")


def test_other_readers_refuse(store):
    store.write_bars("AAPL", "1 min", bars())
    store.encrypt("bars_1min")

    with pytest.raises(OSError, match="encrypted"):
        pq.read_table(data_files(store)[0])
    with pytest.raises(duckdb.Error):
        duckdb.sql(f"select * from '{data_files(store)[0]}'").fetchall()
