"""Reader, writer, owner: what a role may not do, the file system refuses, not only the code.

Where the tests run as the superuser, a second account (nobody) tries the doors; else the modes
alone are looked at.
"""

from __future__ import annotations

import grp
import os
import pwd
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

NOBODY, OWNER = 65_534, 65_533
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


def run_as(user, code, *arguments, group=None):
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
        os.setgid(group or user)
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
    log = inside.pop("meta/audit")  # who may read writes a log, which nobody else takes away
    assert {mode & 0o020 for mode in inside.values()} == {writable}
    assert log & 0o020 == (readable and 0o020)
    assert bool(log & stat.S_ISVTX) == bool(readable)
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


@needs_accounts
def test_an_owner_who_is_no_superuser_is_told_what_others_keep():
    group = grp.getgrgid(NOBODY).gr_name
    with open_folder() as folder:
        os.chown(folder, OWNER, NOBODY)

        def own(act):
            return run_as(OWNER, lambda: act(Store(folder / "root")), group=NOBODY)

        assert own(lambda store: store.write_bars("AAPL", "1 min", bars())) == "done"
        assert own(lambda store: store.share("writers", group=group)) == "done"
        write = lambda: Store(folder / "root").write_bars("MSFT", "1 min", bars())  # noqa: E731
        assert run_as(NOBODY, write) == "done"
        assert own(lambda store: store.share("writers")) == "done"  # they are as they should be

        words = own(lambda store: store.share("readers"))

        assert words.startswith("StoreAccessError")
        assert "belong to other accounts, which keep their rights" in words
        assert "MSFT" in words
        new = lambda: Store(folder / "root").write_bars("AAPL", "1 min", bars(30))  # noqa: E731
        assert run_as(NOBODY, new).startswith("StoreAccessError")  # the owner's are closed
        assert own(lambda store: store.share("private")) == "done"
        look = lambda: Store(folder / "root", role="reader").bars("MSFT", "1 min")  # noqa: E731
        assert run_as(NOBODY, look).startswith("StoreAccessError")


# --- the audit -----------------------------------------------------------------------------------


@needs_accounts
def test_everybody_who_may_read_keeps_a_log_that_nobody_else_writes():
    group = grp.getgrgid(NOBODY).gr_name
    with open_folder() as folder:
        store = Store(folder / "root", audit="all")
        store.write_bars("AAPL", "1 min", bars())
        store.share("readers", group=group)
        read = lambda: Store(folder / "root", role="reader", audit="all").bars("AAPL", "1 min")  # noqa: E731

        assert run_as(NOBODY, read) == "done"

        told = store.audit_log()
        assert told["user"].tolist()[-1] == pwd.getpwuid(NOBODY).pw_name
        assert told["operation"].tolist() == ["upsert", "share", "read"]
        logs = sorted((folder / "root" / "meta" / "audit").iterdir())
        assert [log.stat().st_mode & 0o777 for log in logs] == [0o640, 0o640]
        mine = next(log for log in logs if log.stat().st_uid == 0)
        for act in (lambda: mine.open("a"), mine.unlink, lambda: mine.rename(f"{mine}.x")):
            assert run_as(NOBODY, act).startswith("PermissionError")
        see = lambda: len(Store(folder / "root", role="reader").audit_log()) == 3 or 1 / 0  # noqa: E731
        assert run_as(NOBODY, see) == "done"


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_journals_and_logs_are_private_whatever_the_mask(tmp_path, mask):
    before = os.umask(mask)
    try:
        store = Store(tmp_path / "root", audit="all")
        store.write_bars("AAPL", "1 min", bars())
        store.bars("AAPL", "1 min")
        series = {"what_to_show": "TRADES", "use_rth": True}
        with store.appender("bars_1min", "MSFT", source="IB", series=series) as stream:
            stream.append(bars(5))
            found = modes(store.root)
    finally:
        os.umask(before)

    assert {mode & 0o077 for mode in found.values()} == {0}
    private = [mode for name, mode in found.items() if name.endswith((".jsonl", ".wal"))]
    assert private == [0o600] * 3


def test_no_way_to_the_rows_goes_round_the_log(store):
    store.write_bars("AAPL", "1 min", bars())
    series = {"what_to_show": "TRADES", "use_rth": True}
    bad = bars(3).assign(low=200.0)
    store.upsert("bars_1min", "AAPL", bad, source="IB", series=series, on_error="quarantine")
    at = int(store.history("bars_1min", "AAPL")["commit_id"].iloc[-1])
    log = Store(store.root, audit="all", role="reader")
    ways = {
        "bars": lambda: log.bars("AAPL", "1 min"),
        "many": lambda: log.bars(["AAPL"], "1 min", as_="arrow"),
        "duckdb": lambda: log.bars("AAPL", "1 min", as_="duckdb").fetchall(),
        "resampled": lambda: log.bars("AAPL", "5 mins", resample="1 min"),
        "read": lambda: log.read("bars_1min", "AAPL", as_="polars"),
        "then": lambda: log.as_of(at).bars("AAPL", "1 min"),
        "sql": lambda: log.sql("select * from bars_1min").fetchall(),
        "sql then": lambda: log.as_of(at).sql("select * from bars_1min").fetchall(),
        "scan": lambda: log.scan("bars_1min", "AAPL").collect(),
        "batches": lambda: list(log.batches("bars_1min", "AAPL")),
        "map": lambda: log.map(len, ["AAPL"], progress=False, processes=1),
        "quality": log.quality,
        "quarantined": log.quarantined,
        "verify": log.verify,
    }
    for name, way in ways.items():
        before = len(log.audit_log())
        way()
        told = log.audit_log()[before:]
        assert len(told), name
        assert set(told["what"]) == {"read"}, name

    owner = Store(store.root, audit="writes")  # and DuckDB on the files themselves
    before = len(owner.audit_log())
    owner.sql("select * from bars_1min").fetchall()
    assert len(owner.audit_log()) == before
    Store(store.root, audit="all").sql("select * from bars_1min").fetchall()
    assert owner.audit_log()["operation"].tolist()[-1] == "scan"


def test_keeping_house_is_told_as_writing_is(store):
    log = Store(store.root, audit="writes")
    log.write_bars("AAPL", "1 min", bars())
    series = {"what_to_show": "TRADES", "use_rth": True}
    bad = bars(3).assign(low=200.0)
    log.upsert("bars_1min", "AAPL", bad, source="IB", series=series, on_error="quarantine")
    log.compact("bars_1min")
    log.prune("bars_1min")
    log.verify("bars_1min", repair=True)

    told = log.audit_log()
    found = told["operation"].tolist()
    assert found == ["upsert", "quarantine", "upsert", "compact", "prune", "repair"]
    assert set(told["dataset"]) == {"bars_1min"}


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
