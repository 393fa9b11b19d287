import json
import subprocess
import sys

import pandas as pd
import pytest

from ibkit import cli
from ibkit.errors import SettingsError


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "ibkit.toml").write_text("")
    monkeypatch.delenv("IBKIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ibkit(capsys, monkeypatch):
    """Run the command line here; return its exit code and what it said."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ibkit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


def test_version(ibkit):
    import ibkit as package

    assert ibkit("version") == (0, f"ibkit {package.__version__}\n", "")


def test_help_names_every_command_and_loads_no_heavy_library():
    script = (
        "import sys; from ibkit import cli\n"
        "sys.argv = ['ibkit', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "import json; print(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    *text, modules = done.stdout.strip().splitlines()
    for word in ("demo", "init", "run", "backfill", "sim", "status", "store", "version"):
        assert word in "\n".join(text)
    assert not {"pandas", "ib_async", "papermill", "plotly", "pyarrow"} & set(json.loads(modules))


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["backfill"], ["demo", "--days", "x"], ["demo", "--days", "1"], ["sim", "fly"]],
)
def test_wrong_usage_ends_with_2(ibkit, words):
    code, _, err = ibkit(*words)

    assert code == 2
    assert "Traceback" not in err


def test_our_errors_are_told_in_their_own_words_with_1(ibkit, workspace):
    code, out, err = ibkit("run", "dayly_report")

    assert code == 1
    assert out == ""
    assert "did you mean 'daily_report'?" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "backfill", "-p", "days=abc"], "days must be int"),
        (["run", "backfill", "-p", "dys=3"], "did you mean 'days'?"),
        (["run", "backfill", "-p", "days"], "name=value"),
        (["status", "--profile", "papr"], "There is no profile 'papr'"),
        (["store", "ls", "--profile", "papr"], "There is no profile 'papr'"),
        (["backfill", "AAPL", "--profile", "papr"], "There is no profile 'papr'"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(ibkit, workspace, words, said):
    code, _, err = ibkit(*words)

    assert code == 1
    assert said in err
    assert not (workspace / "reports").exists()
    assert not (workspace / "data").exists()


def test_a_broken_toml_is_an_error_of_ours(ibkit, workspace):
    (workspace / "ibkit.toml").write_text("[profiles.paper]\nprt = 1\n")

    code, _, err = ibkit("status")

    assert code == 1
    assert "profiles.paper.prt" in err


def test_ctrl_c_ends_with_130_and_a_line(ibkit, monkeypatch, workspace):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_settings", interrupted)

    code, _, err = ibkit("status")

    assert code == 130
    assert "Traceback" not in err


def test_ctrl_c_in_a_run_says_what_is_kept(ibkit, monkeypatch, workspace):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)

    code, _, err = ibkit("run", "backfill")

    assert code == 130
    assert "kept in the workspace" in err


def test_any_error_of_ours_is_one_text_on_stderr(ibkit, monkeypatch):
    def fail():
        raise SettingsError(["x"], "here")

    monkeypatch.setattr(cli, "_settings", fail)

    assert ibkit("sim", "status") == (1, "", "The settings from here are not valid:\n  - x\n")


def test_run_without_a_name_lists_the_notebooks_and_their_knobs(ibkit, workspace):
    code, out, _ = ibkit("run")

    assert code == 0
    assert "daily_report: symbols=" in out
    assert "backfill: symbols=" in out


def test_init_makes_a_workspace_that_works_and_overwrites_nothing(ibkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, out, _ = ibkit("init", "desk")

    assert code == 0
    assert "ibkit demo" in out
    assert (tmp_path / "desk" / "notebooks" / "daily_report.ipynb").is_file()
    monkeypatch.chdir(tmp_path / "desk" / "notebooks")
    assert str(tmp_path / "desk") in ibkit("status")[1]
    before = (tmp_path / "desk" / "ibkit.toml").read_text()
    code, _, err = ibkit("init", tmp_path / "desk")
    assert code == 1
    assert "overwrites nothing" in err
    assert (tmp_path / "desk" / "ibkit.toml").read_text() == before


def test_init_where_nothing_can_be_written_says_so(ibkit, tmp_path):
    (tmp_path / "file").touch()

    code, _, err = ibkit("init", tmp_path / "file" / "desk")

    assert code == 1
    assert "cannot use" in err


def test_status_of_an_empty_workspace(ibkit, workspace):
    code, out, _ = ibkit("status")

    assert code == 0
    assert "not running" in out
    assert "0 series" in out


def test_sim_without_a_gateway(ibkit, workspace):
    assert ibkit("sim", "status")[1] == "Not running.\n"
    assert "No simulated gateway" in ibkit("sim", "stop")[1]


# --- the store -----------------------------------------------------------------------------------

CSV = "Date,Open,High,Low,Close,Volume\n2026-11-19,1,2,0.5,1.5,10\n2026-11-20,1.5,2,1,1.2,11\n"


@pytest.fixture
def imported(ibkit, workspace):
    (workspace / "x.csv").write_text(CSV)
    names = ["Date=ts", "Open=open", "High=high", "Low=low", "Close=close", "Volume=volume"]
    options = [word for name in names for word in ("-c", name)]
    code, out, err = ibkit(
        "store", "import", "AAPL", "x.csv", "--source", "b", "--zone", "UTC", *options
    )
    assert code == 0, err
    return out


def test_an_imported_file_is_listed_covered_and_verified(ibkit, imported):
    assert "2 rows read, 2 new" in imported
    assert "bars_1day  STK-AAPL-SMART-USD" in ibkit("store", "ls", "--profile", "paper")[1]
    assert "STK-AAPL-SMART-USD" in ibkit("store", "coverage", "--profile", "paper")[1]
    assert ibkit("store", "verify", "--profile", "paper")[0] == 0


def test_verify_ends_with_1_when_a_file_is_damaged(ibkit, imported, workspace):
    (file,) = (workspace / "data" / "paper").rglob("part-0.parquet")
    file.chmod(0o600)
    file.write_bytes(b"nonsense")

    code, out, _ = ibkit("store", "verify", "--profile", "paper")

    assert code == 1
    assert "part-0.parquet" in out


def test_an_import_column_without_equals_is_refused(ibkit, workspace):
    (workspace / "x.csv").write_text(CSV)

    code, _, err = ibkit("store", "import", "AAPL", "x.csv", "--source", "s", "-c", "Date")

    assert code == 2
    assert "theirs=ours" in err


def test_an_empty_store_says_how_to_fill_it(ibkit, workspace):
    assert "ibkit backfill" in ibkit("store", "coverage")[1]
    assert "every file" in ibkit("store", "verify")[1]


class TestStoreCheck:
    @pytest.fixture
    def stored(self, workspace):
        from ibkit.settings import load_settings
        from ibkit.store import Store

        index = pd.date_range("2026-10-01 14:30", periods=20, freq="min", tz="UTC")
        bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 1.0), index=index)
        store = Store(load_settings(workspace).root("sim"))
        store.write_bars("AAPL", "1 min", bars.drop(index[[5]]), source="SIM")
        return workspace / "ibkit.toml"

    def test_without_limits_it_says_how_to_set_them(self, ibkit, stored):
        code, said, _ = ibkit("store", "check")

        assert code == 0
        assert "[quality.bars_1min]" in said

    def test_a_breach_is_told_and_the_code_is_1(self, ibkit, stored):
        stored.write_text("[quality.bars_1min]\ngap_share = 0.01\n")

        code, said, _ = ibkit("store", "check")

        assert code == 1
        assert said == (
            "bars_1min STK-AAPL-SMART-USD TRADES: gap_share is 0.05, the limit is 0.01\n"
        )

    def test_within_the_limits_the_code_is_0(self, ibkit, stored):
        stored.write_text("[quality.bars_1min]\ngap_share = 0.5\n")

        assert ibkit("store", "check") == (0, "every series is within its limits\n", "")

    def test_quality_compact_prune_and_repair_say_what_they_did(self, ibkit, stored):
        assert "gap_share" in ibkit("store", "quality")[1]
        assert ibkit("store", "compact") == (0, "nothing to compact\n", "")
        assert ibkit("store", "prune") == (0, "0 old files removed, 0.0 MB\n", "")
        (part,) = (stored.parent / "data" / "sim" / "data").rglob("*.parquet")
        part.write_bytes(b"")

        code, said, _ = ibkit("store", "verify", "--repair")

        assert code == 0
        assert "set aside as" in said
        assert ibkit("store", "verify")[0] == 0
