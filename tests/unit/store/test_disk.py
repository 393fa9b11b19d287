import os
import threading
from pathlib import Path

import pytest

from ibkit.errors import StoreAccessError
from ibkit.store import disk


def test_a_file_is_replaced_as_a_whole_and_the_old_one_kept(tmp_path):
    path, keep = tmp_path / "a" / "b" / "file", tmp_path / "kept" / "1"
    disk.replace(path, b"old", tmp=tmp_path / "tmp")

    disk.replace(path, b"new", tmp=tmp_path / "tmp", keep=keep)

    assert (path.read_bytes(), keep.read_bytes()) == (b"new", b"old")
    assert not list((tmp_path / "tmp").iterdir())


def test_a_link_left_by_a_killed_writer_does_not_stop_the_next_one(tmp_path):
    path, keep = tmp_path / "file", tmp_path / "kept"
    disk.replace(path, b"old", tmp=tmp_path / "tmp")
    disk.link(path, keep)

    disk.replace(path, b"new", tmp=tmp_path / "tmp", keep=keep)

    assert keep.read_bytes() == b"old"


def test_everything_is_synced_before_a_replace_returns(tmp_path, monkeypatch):
    steps = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os,
            name,
            lambda fd, real=real: (
                steps.append(str(Path(f"/proc/self/fd/{fd}").readlink())),
                real(fd),
            ),
        )
    (tmp_path / "tmp").mkdir()

    disk.replace(tmp_path / "data" / "file", b"x", tmp=tmp_path / "tmp")
    disk.append_line(tmp_path / "journal", b"line")

    assert steps[0].startswith(str(tmp_path / "tmp"))  # the content, before the name
    assert steps[1] == str(tmp_path / "data")  # the name
    assert steps[2] == str(tmp_path)  # the new folder
    assert steps[3:] == [str(tmp_path / "journal"), str(tmp_path)]


def test_a_short_write_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda fd, content: len(content) - 1)

    with pytest.raises(StoreAccessError, match="written in part"):
        disk.append_line(tmp_path / "journal", b"line")


def test_leftovers_of_dead_processes_are_swept_and_others_stay(tmp_path):
    dead, alive, fresh, strange = (
        tmp_path / name for name in ("999999999-a", f"{os.getpid()}-b", "999999999-c", "x")
    )
    for path in (dead, alive, fresh, strange):
        path.write_bytes(b"")
    for path in (dead, alive, strange):
        os.utime(path, (0, 0))

    assert disk.sweep(tmp_path) == 1
    assert not dead.exists()
    assert disk.sweep(tmp_path / "nowhere") == 0


def test_what_is_not_there_is_nothing_and_what_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"x")

    assert disk.read(tmp_path / "nothing", "a file") is None
    assert disk.names(tmp_path / "nothing", "a folder") == []
    with pytest.raises(StoreAccessError, match="a folder: Not a directory"):
        disk.names(tmp_path / "file", "a folder")
    with pytest.raises(StoreAccessError, match="a file: Is a directory"):
        disk.read(tmp_path, "a file")


def test_a_folder_that_is_only_being_made_is_waited_for(tmp_path, monkeypatch):
    tmp_path.chmod(0o770)
    seen, threads, chmod = [], [], Path.chmod

    def use():
        disk.make_folder(tmp_path / "a")
        seen.append((tmp_path / "a").stat().st_mode & 0o777)

    def late(path, mode):
        """Another thread wants the folder that is there and has not got its mode yet."""
        threads.append(threading.Thread(target=use))
        threads[0].start()
        threads[0].join(0.2)
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", late)
    disk.make_folder(tmp_path / "a")
    threads[0].join()

    assert seen == [0o770]
