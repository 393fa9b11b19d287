import sys

import pandas as pd
import pytest

from ibkit import cli
from ibkit.settings import load_settings
from ibkit.store import Store, open_store

TOML = '[store]\nsecrets = "secrets"\naudit = "all"\n'
CSV = "ts,open,high,low,close,volume\n2026-11-19,1,2,0.5,1.5,10\n2026-11-20,1.5,2,1,1.2,11\n"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "ibkit.toml").write_text(TOML)
    (tmp_path / "x.csv").write_text(CSV)
    monkeypatch.delenv("IBKIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(capsys, monkeypatch, workspace):
    """Run `ibkit store …`; return its exit code and what it said."""

    def call(*words, profile="paper"):
        line = ["ibkit", "store", *map(str, words), "--profile", profile]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


@pytest.fixture
def imported(store):
    assert store("import", "AAPL", "x.csv", "--source", "b", "--zone", "UTC")[0] == 0


def test_rows_go_out_as_a_file_of_the_named_format(store, imported, workspace):
    code, out, err = store("export", "bars_1day", "y.csv", "-i", "AAPL", "--start", "2026-11-20")

    assert code == 0, err
    assert "y.csv" in out
    assert pd.read_csv(workspace / "y.csv")["close"].tolist() == [1.2]
    assert store("export", "bars_1day", "y.csv")[2].startswith("The store cannot use")
    assert store("export", "bars_1day", "y.csv", "--overwrite")[0] == 0
    assert store("export", "bars_1day", "out", "--each", "parquet")[0] == 0
    assert [path.name for path in (workspace / "out").iterdir()] == ["STK-AAPL-SMART-USD.parquet"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("export", "bars_1day", "y.csv", "--start", "soon"), 2, "is no ISO date"),
        (("export", "bars_7day", "y.csv"), 1, "There is no dataset"),
        (("rotate-key", "bars_1day"), 1, "is not encrypted"),
        (("share", "everybody"), 2, "everybody"),
        (("import", "AAPL", "x.csv", "--source", "b", "--label", "end"), 2, "dated by"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(store, imported, words, code, said):
    found, _, err = store(*words)

    assert (found, "Traceback" in err) == (code, False)
    assert said in err


def test_a_dataset_is_encrypted_and_its_key_turned(store, imported, workspace):
    assert "Keep a copy of the key" in store("encrypt", "bars_1day")[1]
    assert store("rotate-key", "bars_1day")[0] == 0

    (part,) = (workspace / "data" / "paper").rglob("part-0.parquet")
    assert part.read_bytes()[:4] == b"PARE"
    assert store("verify")[0] == 0
    assert len(list((workspace / "secrets").iterdir())) == 2


def test_a_store_is_shared_and_made_private_again(store, imported, workspace):
    root = workspace / "data" / "paper"

    assert "shared with readers" in store("share", "readers")[1]
    assert root.stat().st_mode & 0o777 == 0o750
    assert "private" in store("share", "private")[1]
    assert root.stat().st_mode & 0o777 == 0o700


def test_the_settings_say_where_the_store_is_and_what_is_told_of_it(store, imported, workspace):
    store("coverage")
    opened = open_store(load_settings(), "paper", role="reader")

    assert opened.root == workspace / "data" / "paper"
    assert opened.audit_log()["operation"].tolist()[0] == "upsert"
    elsewhere = open_store(load_settings(), "paper", root=workspace / "other")
    assert isinstance(elsewhere, Store)
    assert elsewhere.root == workspace / "other"


def test_a_dataset_that_the_settings_want_encrypted_is_never_plain(store, workspace):
    (workspace / "ibkit.toml").write_text(TOML + 'encrypted = ["bars_1day"]\n')

    code, _, err = store("import", "AAPL", "x.csv", "--source", "b", "--zone", "UTC")

    assert code == 1
    assert "is to be encrypted by the settings" in err
