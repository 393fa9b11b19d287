"""Reader, writer, owner: what a role may not do, the file system refuses, not only the code.

Where the tests run as the superuser, a second account (nobody) tries the doors; else the modes
alone are looked at.
"""

from __future__ import annotations

import grp
import os
import signal
import stat
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ibkit.errors import RoleError, StoreAccessError
from ibkit.store import Store

NOBODY = 65_534
ROOT = os.geteuid() == 0
needs_accounts = pytest.mark.skipif(not ROOT, reason="needs a second account")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "root")


def bars(n=20, start="2026-10-30 14:30", close=100.0):
    index = pd.date_range(start, periods=n, freq="min", tz="UTC", name="ts", unit="us")
    return pd.DataFrame(
        dict.fromkeys(("open", "high", "low", "close"), np.full(n, close)), index=index
    )


def modes(root):
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode)
        for path in [root, *root.rglob("*")]
    }


def tree(root):
    return {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}


@contextmanager
def open_folder():
    """Yield a folder that every account can reach; pytest's own are ours alone."""
    with tempfile.TemporaryDirectory(prefix="ibkit-roles-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def run_as(user, code, *arguments):
    """Run `code` as another account; the packages are read as they are by this one."""
    # the interpreter and the packages may lie where the other account cannot look: a fork has
    # them open already
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on threads; no lock held
        pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # whatever happens, the child ends
        os.close(read)
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        words = "done"
        try:
            code(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
            words = f"{type(error).__name__}: {error}"
        os.write(write, words.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        words = pipe.read()
    os.waitpid(pid, 0)
    return words


def test_a_new_store_is_for_its_owner_alone(store):
    store.write_bars("AAPL", "1 min", bars())
    store.write_bars("AAPL", "1 min", bars(close=101.0))

    found = modes(store.root)
    assert {mode & 0o077 for mode in found.values()} == {0}
    assert found["meta/bars_1min/journal/STK-AAPL-SMART-USD.jsonl"] == 0o600
    assert found["."] == 0o700


def test_a_root_that_is_there_keeps_its_mode_and_the_journals_are_private(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o755)
    store = Store(root)
    store.write_bars("AAPL", "1 min", bars())

    found = modes(root)
    assert found["data/bars_1min/instrument=STK-AAPL-SMART-USD/month=2026-10/part-0.parquet"] == (
        0o644
    )
    assert found["meta"] == 0o700
    assert found["meta/bars_1min/journal/STK-AAPL-SMART-USD.jsonl"] == 0o600


@pytest.mark.parametrize("whom", ["readers", "writers", "private"])
def test_what_is_shared_is_shared_with_what_comes_later(store, whom):
    store.write_bars("AAPL", "1 min", bars())

    store.share(whom)
    store.write_bars("AAPL", "1 min", bars(close=2.0))
    store.write_bars("MSFT", "1 day", bars(1, "2026-10-30"))

    found = modes(store.root)
    writable = {"private": 0, "readers": 0, "writers": 0o020}[whom]
    readable = {"private": 0, "readers": 0o040, "writers": 0o040}[whom]
    inside = {name: mode for name, mode in found.items() if name not in (".", "store.json")}
    # what is being written to tmp is never shared before it is whole, and then it is elsewhere
    assert {mode & 0o007 for mode in found.values()} == {0}
    assert {mode & 0o040 for mode in inside.values()} == {readable}
    assert {mode & 0o020 for mode in inside.values()} == {writable}
    assert found["."] & 0o020 == 0  # the marker cannot be exchanged
    if whom == "writers":
        assert found["meta/bars_1min/history"] & stat.S_ISVTX


def test_a_reader_leaves_no_trace_and_needs_no_permission(store):
    store.write_bars("AAPL", "1 min", bars())
    store.write_bars("AAPL", "1 min", bars(close=3.0))
    for path in store.root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    store.root.chmod(0o555)
    before = tree(store.root)
    try:
        reader = Store(store.root, role="reader")
        assert len(reader.bars("AAPL", "1 min")) == 20
        assert len(reader.coverage()) == 1
        assert len(reader.verify()) == 0
        assert len(reader.history("bars_1min", "AAPL")) == 2
        assert reader.sql("select count(*) from bars_1min").fetchall() == [(20,)]
        assert tree(store.root) == before
    finally:
        for path in [store.root, *store.root.rglob("*")]:
            path.chmod(0o700)


def test_a_reader_of_a_store_that_is_not_there_makes_nothing(tmp_path):
    reader = Store(tmp_path / "root", role="reader")

    assert reader.datasets() == []
    with pytest.raises(RoleError):
        reader.write_bars("AAPL", "1 min", bars())
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("role", "act"),
    [
        ("reader", lambda s: s.write_bars("AAPL", "1 min", bars())),
        ("reader", lambda s: s.confirm_empty("bars_1min", "AAPL", tuple(bars().index[[0, -1]]))),
        ("reader", lambda s: s.import_bars("AAPL", "1 min", bars())),
        ("reader", lambda s: s.appender("bars_1min", "AAPL", source="IB")),
        ("reader", lambda s: s.share("readers")),
        ("reader", lambda s: s.verify(repair=True)),
        ("reader", lambda s: s.compact()),
        ("writer", lambda s: s.share("readers")),
        ("writer", lambda s: s.encrypt("bars_1min")),
        ("writer", lambda s: s.compact()),
        ("writer", lambda s: s.compactor()),
        ("writer", lambda s: s.prune()),
        ("writer", lambda s: s.verify(repair=True)),
    ],
)
def test_what_a_role_may_not_do_is_refused_before_anything_happens(store, role, act):
    store.write_bars("AAPL", "1 min", bars())
    before = tree(store.root)

    with pytest.raises(RoleError, match=f"A {role} of a store may not"):
        act(Store(store.root, role=role))

    assert tree(store.root) == before


def test_there_are_three_roles(tmp_path):
    with pytest.raises(ValueError, match="there is no role 'boss'"):
        Store(tmp_path, role="boss")


@needs_accounts
def test_who_does_not_own_the_root_is_no_owner_whatever_they_say():
    with open_folder() as folder:
        Store(folder / "root").write_bars("AAPL", "1 min", bars())
        (folder / "root").chmod(0o755)

        words = run_as(NOBODY, lambda: Store(folder / "root", role="owner"))

        assert words.startswith("RoleError")
        assert "account that owns that folder" in words


@needs_accounts
def test_the_modes_hold_against_code_that_does_not_ask(tmp_path):
    with open_folder() as folder:
        store = Store(folder / "root")
        store.write_bars("AAPL", "1 min", bars())
        path = next((store.root / "data").rglob("*.parquet"))
        read = run_as(NOBODY, path.read_bytes)
        assert read.startswith("PermissionError")  # private: not even the folder opens

        store.share("readers", group=grp.getgrgid(NOBODY).gr_name)
        journal = store.root / "meta" / "bars_1min" / "journal" / "STK-AAPL-SMART-USD.jsonl"
        reader = lambda: len(Store(store.root, role="reader").bars("AAPL", "1 min"))  # noqa: E731
        assert run_as(NOBODY, reader) == "done"
        for act in (
            lambda: path.write_bytes(b""),
            path.unlink,
            lambda: journal.open("ab").write(b"x"),
            (store.root / "store.json").unlink,
            lambda: (store.root / "data" / "x").write_bytes(b""),
        ):
            assert run_as(NOBODY, act).startswith("PermissionError")
        assert run_as(
            NOBODY, lambda: Store(store.root, role="writer").write_bars("AAPL", "1 min", bars(30))
        ).startswith("StoreAccessError")

        store.share("writers", group=grp.getgrgid(NOBODY).gr_name)
        writer = lambda: Store(store.root).write_bars("AAPL", "1 min", bars(30, close=5.0))  # noqa: E731
        assert run_as(NOBODY, writer) == "done"
        assert len(store.bars("AAPL", "1 min")) == 30
        store.write_bars("AAPL", "1 min", bars(close=6.0))  # and the owner after the writer
        kept = sorted((store.root / "meta" / "bars_1min" / "history").rglob("*.parquet"))
        assert kept
        for act in (
            (store.root / "store.json").unlink,
            lambda: (store.root / "store.json").write_text("{}"),
            lambda: (store.root / "meta").rename(store.root / "m"),
        ):
            assert run_as(NOBODY, act).startswith("PermissionError")


# --- the audit -----------------------------------------------------------------------------------


def test_writes_are_told_before_they_happen_and_reads_are_not(store):
    log = Store(store.root, audit="writes")
    log.write_bars("AAPL", "1 min", bars(), request="first")
    log.bars("AAPL", "1 min")
    log.share("private")

    told = log.audit_log()
    assert told["operation"].tolist() == ["upsert", "share"]
    assert told.loc[0, ["what", "dataset", "instrument", "role", "pid", "rows"]].tolist() == [
        "write",
        "bars_1min",
        "STK-AAPL-SMART-USD",
        "owner",
        os.getpid(),
        20,
    ]
    (path,) = (store.root / "meta" / "audit").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_all_means_reads_too(store):
    store.write_bars("AAPL", "1 min", bars())
    log = Store(store.root, audit="all", role="reader")

    log.bars("AAPL", "1 min", columns=["close"])
    log.sql("select max(close) from bars_1min").fetchall()

    told = log.audit_log()
    assert told["what"].tolist() == ["read", "read"]
    assert told["role"].tolist() == ["reader", "reader"]
    assert told.loc[0, "columns"] == ["ts", "close"]
    assert Store(store.root).audit_log().equals(told)


def test_a_write_that_cannot_be_told_is_not_done(store):
    store.write_bars("AAPL", "1 min", bars())
    log = Store(store.root, audit="writes")
    (store.root / "meta" / "audit").write_bytes(b"in the way")

    with pytest.raises(StoreAccessError, match="audit"):
        log.write_bars("AAPL", "1 min", bars(close=9.0))

    assert set(store.bars("AAPL", "1 min")["close"]) == {100.0}


def test_audit_is_one_of_three(store):
    with pytest.raises(ValueError, match="not 'loud'"):
        Store(store.root, audit="loud")


@pytest.mark.skipif(ROOT, reason="the superuser may write anywhere")
def test_a_full_audit_on_a_tree_that_cannot_be_written_says_so(store):
    store.write_bars("AAPL", "1 min", bars())
    (store.root / "meta").chmod(0o500)
    try:
        with pytest.raises(StoreAccessError, match="audit"):
            Store(store.root, audit="all", role="reader").bars("AAPL", "1 min")
    finally:
        (store.root / "meta").chmod(0o700)


def test_the_marks_of_the_command_line_are_not_left_behind(store):
    """A store opened for reading in a process that dies leaves nothing either."""
    store.write_bars("AAPL", "1 min", bars())
    before = tree(store.root)
    code = (
        "import os, sys; from ibkit.store import Store; "
        "Store(sys.argv[1], role='reader').bars('AAPL', '1 min'); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, store.root], check=False)

    assert done.returncode == 9
    assert tree(store.root) == before
