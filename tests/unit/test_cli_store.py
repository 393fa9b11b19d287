import sys

import pandas as pd
import pytest

from ibkit import cli, cli_store, clock
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
        (("coverage", "bars_1dya"), 1, "Did you mean 'bars_1day'?"),
        (("export", "bars_1day", "y.csv", "-i", "AAPLE"), 1, "Did you mean 'AAPL'?"),
        (("history", "bars_1day", "AAPLE"), 1, "Did you mean 'AAPL'?"),
        (("histroy", "bars_1day", "AAPL"), 2, "Did you mean 'history'?"),
        (
            ("encrypt", "bars_1day", "--profile", "paper", "--key", "../x"),
            1,
            "no key is called '../x'",
        ),
        (
            ("encrypt", "bars_1day", "--profile", "paper", "--key", "nowhere"),
            1,
            "IBKIT_KEY_NOWHERE",
        ),
        (("import", "AAPL", "x.csv", "--source", "b", "--bar-size", "7 min"), 1, "7 min"),
        (("import", "AAPL", "x.csv", "--source", "b", "-c", "ts"), 2, "theirs=ours"),
        (("import", "AAPL", "x.csv", "--source", "b", "-c", "tss=ts"), 1, "did you mean 'ts'?"),
        (("import", "AAPL", "none.csv", "--source", "b"), 2, "none.csv"),
        (("import-rows", "bars_1day", "x.csv", "--zone", "UTC"), 1, "no column 'instrument'"),
        (("rotate-key", "bars_1day", "--profile", "paper"), 1, "is not encrypted"),
        (("share", "everybody", "--profile", "paper"), 2, "everybody"),
        (("import", "AAPL", "x.csv", "--source", "b", "--label", "end"), 2, "dated by"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(store, imported, words, code, said):
    found, _, err = store(*words)

    assert (found, "Traceback" in err) == (code, False)
    assert said in err
    assert not any("rows/s]Nothing" in line for line in err.splitlines())


def test_every_command_says_what_it_is_for(store, capsys, monkeypatch):
    names = [command.name for command in cli_store.app.registered_commands]
    assert {"ls", "coverage", "history", "verify", "compact", "export", "check"} < {*names}
    for name in names:
        monkeypatch.setattr(sys, "argv", ["ibkit", "store", name, "--help"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        assert f"ibkit store {name} " in capsys.readouterr().out


def test_tables_are_for_people(store, imported, workspace):
    lines = store("coverage")[1].splitlines()
    assert lines[0].split()[:3] == ["dataset", "instrument", "what_to_show"]
    assert "2026-11-19 00:00:00  2026-11-20 00:00:00" in lines[1]
    assert store("ls")[1] == "bars_1day  STK-AAPL-SMART-USD\n"
    told = store("history", "bars_1day", "AAPL")[1].splitlines()
    assert len(told) == 2
    assert "upsert" in told[1]
    assert "sha256" in store("history", "bars_1day", "AAPL", "--full")[1]
    store("verify")
    told = store("audit-log")[1].splitlines()
    assert [line.split()[7] for line in told[1:]] == ["upsert", "verify"]
    assert told[1].startswith(f"{clock.now():%Y-}")


@pytest.mark.parametrize("command", ["ls", "coverage", "quality"])
def test_a_store_that_is_not_there_yet_is_no_error_and_is_not_made(store, workspace, command):
    code, out, _ = store(command, profile="live")

    assert (code, "nothing is stored in" in out) == (0, True)
    assert not (workspace / "data").exists()


def test_what_was_exported_comes_back_with_one_command(store, imported, workspace):
    store("export", "bars_1day", "all.csv")
    table = pd.read_csv(workspace / "all.csv").assign(source="b")
    table["instrument"] = "MSFT"
    table.to_csv(workspace / "more.csv", index=False)

    code, out, err = store("import-rows", "bars_1day", "more.csv")

    assert code == 0, err
    assert "STK-MSFT-SMART-USD" in out
    assert store("ls")[1].count("bars_1day") == 2


def test_an_import_that_is_stopped_says_how_to_go_on(store, workspace, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write_bars", stopped)
    code, _, err = store("import", "AAPL", "x.csv", "--source", "b", "--zone", "UTC")

    assert code == 130
    assert "the same command again goes on from there" in err


def test_the_environment_has_the_last_word_on_access(store, imported, workspace, monkeypatch):
    monkeypatch.setenv("IBKIT_STORE__ROLE", "reader")
    monkeypatch.setenv("IBKIT_STORE__ENCRYPTED", '["fills"]')
    monkeypatch.setenv("IBKIT_STORE__SECRETS", "elsewhere")
    monkeypatch.setenv("IBKIT_STORE__AUDIT", "off")

    assert open_store(load_settings(), "paper").role == "reader"
    assert open_store(load_settings(), "paper", role="writer").role == "writer"
    assert store("import", "AAPL", "x.csv", "--source", "b", "--zone", "UTC")[0] == 1
    monkeypatch.delenv("IBKIT_STORE__ROLE")
    assert store("encrypt", "fills", "--profile", "paper")[0] == 0
    assert len(list((workspace / "elsewhere").iterdir())) == 1
    before = len(open_store(load_settings(), "paper").audit_log())
    store("verify")
    assert len(open_store(load_settings(), "paper").audit_log()) == before


@pytest.mark.parametrize("name", ["IBKIT_STORE__ROLE", "IBKIT_STORE__AUDIT"])
def test_a_setting_that_cannot_be_is_named(store, workspace, monkeypatch, name):
    monkeypatch.setenv(name, "boss")

    code, _, err = store("ls")

    assert code == 1
    assert f"store.{name.rpartition('__')[2].lower()}" in err


def test_status_reads_an_encrypted_store_with_the_keys_of_the_settings(
    store, imported, capsys, monkeypatch
):
    store("encrypt", "bars_1day", "--profile", "paper")
    monkeypatch.setattr(sys, "argv", ["ibkit", "status", "--profile", "paper"])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert not ended.value.code
    assert "1 series, 2 rows" in capsys.readouterr().out


def test_a_dataset_is_encrypted_and_its_key_turned(store, imported, workspace):
    assert "Keep a copy of the key" in store("encrypt", "bars_1day", "--profile", "paper")[1]
    assert store("rotate-key", "bars_1day", "--profile", "paper")[0] == 0

    (part,) = (workspace / "data" / "paper").rglob("part-0.parquet")
    assert part.read_bytes()[:4] == b"PARE"
    assert store("verify")[0] == 0
    assert len(list((workspace / "secrets").iterdir())) == 2


def test_a_store_is_shared_and_made_private_again(store, imported, workspace):
    root = workspace / "data" / "paper"

    assert "shared with readers" in store("share", "readers", "--profile", "paper")[1]
    assert root.stat().st_mode & 0o777 == 0o750
    assert "private" in store("share", "private", "--profile", "paper")[1]
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
