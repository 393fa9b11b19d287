"""`ibkit jobs` and `ibkit backfill`: the queue by hand, and a plan without a price to pay."""

import sys

import pytest

from ibkit import cli
from ibkit.jobs import NewJob, Queue
from ibkit.sim import launch


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "ibkit.toml").write_text("")
    monkeypatch.delenv("IBKIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ibkit(workspace, capsys, monkeypatch):
    """Run the command line here; return its exit code and what it said."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ibkit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


@pytest.fixture
def queue(workspace):
    with Queue(workspace / "data" / "sim" / "jobs" / "queue.sqlite") as one:
        yield one


def test_an_empty_queue_says_so(ibkit):
    assert ibkit("jobs", "list")[1] == "No job waits.\n"
    assert ibkit("jobs", "list", "--failed")[1] == "Nothing failed.\n"


def test_the_list_says_what_waits_and_what_failed_and_why(ibkit, queue):
    queue.add([NewJob("bars", "AAPL"), NewJob("bars", "MSFT"), NewJob("bars", "SPY")])
    queue.fail(queue.claim()[0], "IB 354: not subscribed\nHint: subscribe")
    queue.complete(queue.claim()[0])

    _, everything, _ = ibkit("jobs", "list")
    _, failed, _ = ibkit("jobs", "list", "--failed")

    assert "SPY" in everything
    assert "MSFT" not in everything
    assert "1 dead, 1 waiting" in everything or "1 waiting, 1 dead" in everything
    assert "IB 354: not subscribed" in failed
    assert "Hint" not in failed
    assert "SPY" not in failed


def test_failed_jobs_get_a_new_life_or_go(ibkit, queue):
    first, second = queue.add([NewJob("bars", "AAPL"), NewJob("bars", "MSFT")])
    for job in queue.claim(most=2):
        queue.fail(job, "no")

    assert ibkit("jobs", "retry", first)[1].startswith("1 job to do again; `ibkit jobs work`")
    assert ibkit("jobs", "drop", second)[1] == "1 job removed.\n"
    assert queue.frame()["state"].to_dict() == {first: "waiting"}


def test_a_file_of_symbols_without_any_is_a_wrong_use(ibkit, workspace):
    (workspace / "none.txt").write_text("# nobody\n")

    code, _, err = ibkit("backfill", "@none.txt")

    assert code == 2
    assert "no symbol" in err


def test_a_number_that_is_of_no_such_job_is_told(ibkit, queue):
    queue.add([NewJob("bars", "AAPL")])

    _, again, _ = ibkit("jobs", "retry", 99)
    _, gone, _ = ibkit("jobs", "drop", 99)

    assert again.endswith("Nothing to do again.\n")
    assert "no failed job" in again
    assert gone.endswith("0 jobs removed.\n")
    assert "of no job" in gone


def test_a_profile_that_there_is_not_gets_no_folder(ibkit, workspace):
    code, _, err = ibkit("jobs", "list", "--profile", "lvie")

    assert code == 1
    assert "live" in err
    assert not (workspace / "data" / "lvie").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["AAPL", "--start", "2026-13-01"], "2026-10-01"),
        (["AAPL", "--start", "2026-10-10", "--end", "2026-10-01"], "comes after"),
        (["AAPL", "--start", "2026-10-10", "--days", "3"], "--days"),
        (["AAPL", "--start", "2026-10-10T09:30"], "time zone"),
        (["AAPL", "--days", "0"], "--days"),
        (["AAPL", "--days", "-3"], "--days"),
        (["AAPL", "--what", "TRADE"], "TRADES, MIDPOINT"),
        (["@absent.txt"], "absent.txt cannot be read: No such file"),
        (["@."], "cannot be read: Is a directory"),
        ([""], "no symbol"),
    ],
)
def test_a_wrong_word_is_a_wrong_use_and_nobody_is_called(ibkit, workspace, words, said):
    code, _, err = ibkit("backfill", *words)

    assert code == 2
    assert said in " ".join(err.split())
    assert not (workspace / "data").exists()


def test_a_wrong_bar_size_is_said_once(ibkit, workspace):
    code, _, err = ibkit("backfill", "AAPL", "MSFT", "--bar-size", "1min")

    assert code == 1
    assert err.count("'1min' is no bar size") == 1
    assert not (workspace / "data").exists()


@pytest.fixture
def simulator(workspace):
    yield
    launch.stop(workspace / "data" / "sim")


@pytest.mark.usefixtures("simulator")
def test_a_dry_run_prints_the_price_and_fetches_nothing(ibkit):
    span = ("--days", 3, "--end", "2026-10-21")

    plan = ibkit("backfill", "AAPL", "NOSUCH", *span, "--dry-run")
    refused = ibkit("backfill", "NOSUCH", "AAPLX", *span, "--dry-run")
    done = ibkit("backfill", "AAPL", *span, "--priority", 2)
    after = ibkit("backfill", "AAPL", *span, "--dry-run")

    assert plan[0] == 0
    assert "3 requests for 1 series, 1,170 bars" in plan[1]
    assert "NOSUCH: " in plan[1]
    assert "about <1 s at IB's pace" in plan[1]
    assert refused[1].startswith("NOSUCH: ")
    assert "Nothing is missing" not in refused[1]
    assert done[1].endswith("1,170 new 1 min bars of 1 series in 3 requests.\n")
    assert after[1] == "Nothing is missing.\n"
    assert ibkit("jobs", "work")[1] == "0 jobs done, 0 failed\n"
