"""Running a notebook: what is kept, what is refused, what is said when it fails."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from ibkit import clock
from ibkit.errors import NotebookError, NotebookFailedError, ParameterError, UnknownNotebookError
from ibkit.reports.run import Run, run

WORK = """\
import os
from pathlib import Path
print(os.environ["IBKIT_RUN"], Path.cwd(), "DU1234567")
if fail:
    raise ValueError(f"no luck in {Path.cwd()}")
"""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "ibkit.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(workspace):
    """Write a small notebook; return its name."""

    def write(source=WORK, name="small"):
        knobs = "fail: bool = False  # whether to raise\ndays: int = 5"
        cells = [
            v4.new_markdown_cell("# Small\n\n## Work"),
            v4.new_code_cell(knobs, metadata={"tags": ["parameters"]}),
            v4.new_code_cell(source),
        ]
        nbformat.write(v4.new_notebook(cells=cells), workspace / "notebooks" / f"{name}.ipynb")
        return name

    return write


def test_a_run_is_kept_masked_reported_and_described(workspace, write, capsys):
    done = run(write(), days=7)

    assert done.parameters == {"fail": False, "days": 7}
    assert done.output.parent == workspace / "reports"
    assert stat.S_IMODE(done.output.stat().st_mode) == 0o600
    kept, page = done.output.read_text(), done.html.read_text()
    for text in (kept, page):
        assert "DU1234567" not in text
        assert str(workspace) not in text
        assert "1 [workspace] DU" in text
    nbformat.validate(json.loads(kept))
    said = capsys.readouterr().err
    assert "1/1 Work" in said
    assert f"1 {workspace}" in said  # live, and not masked: it never leaves this terminal
    assert re.fullmatch(r"<Run small in \d+\.\d s: .*\.html>", repr(done))
    assert "small" in done._repr_html_()


def test_two_runs_at_once_never_share_a_file(workspace, write, monkeypatch):
    name = write("1")
    instant = clock.now()
    monkeypatch.setattr(clock, "now", lambda: instant)

    first, second = (run(name, report=False, progress=False) for _ in range(2))

    assert first.output != second.output
    assert first.html is None


def test_the_report_goes_where_it_is_wanted(workspace, write):
    done = run(write("1"), out=workspace / "there" / "x.html", progress=False)

    assert done.html == workspace / "there" / "x.html"
    assert done.html.is_file()


def test_a_path_works_too_and_a_workspace_notebook_wins_over_the_curated_one(workspace, write):
    write("print('mine')", name="daily_report")

    by_name = run("daily_report", report=False, progress=False)
    by_path = run(workspace / "notebooks" / "daily_report.ipynb", report=False, progress=False)

    assert "mine" in by_name.output.read_text()
    assert "mine" in by_path.output.read_text()


def test_a_cell_that_raises_is_an_error_that_says_where_and_what_is_kept(workspace, write):
    with pytest.raises(NotebookFailedError) as caught:
        run(write(), fail=True, progress=False)

    error = caught.value
    assert error.error == "ValueError: no luck in [workspace]"
    assert "small stopped in cell" in str(error)
    kept = json.loads(Path(error.output).read_text())
    assert kept["metadata"]["papermill"]["exception"] is True
    assert kept["cells"][-1]["metadata"]["papermill"]["status"] == "failed"
    assert str(workspace) not in json.dumps(kept["cells"])


def test_a_kernel_that_dies_is_an_error_too(workspace, write):
    with pytest.raises(NotebookFailedError, match="died"):
        run(write("import os; os._exit(3)"), progress=False)


@pytest.mark.parametrize(
    "parameters", [{"days": "abc"}, {"days": 5.5}, {"dys": 5}, {"fail": "true"}], ids=str
)
def test_wrong_parameters_are_refused_before_anything_runs(workspace, write, parameters):
    with pytest.raises(ParameterError):
        run(write(), **parameters)

    assert not (workspace / "reports").exists()


def test_what_is_no_notebook_is_refused(workspace):
    (workspace / "notebooks" / "broken.ipynb").write_text("{}")
    (workspace / "notebooks" / "text.ipynb").write_text("# %%")

    with pytest.raises(UnknownNotebookError, match="there are"):
        run("nothing")
    for name in ("broken", "text"):
        with pytest.raises(UnknownNotebookError, match="is not a notebook"):
            run(name)


def test_a_reports_folder_that_cannot_be_written_is_an_error_of_ours(workspace, write):
    (workspace / "reports").write_text("a file")

    with pytest.raises(NotebookError, match="Cannot keep the output"):
        run(write())


def test_ctrl_c_stops_the_cell_marks_it_and_leaves_no_kernel(workspace, write):
    name = write("import os\nprint('pid', os.getpid(), flush=True)\nwhile True: pass")
    script = (
        f"from ibkit.cli import main; import sys; sys.argv = ['ibkit', 'run', {name!r}]; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=workspace, stderr=subprocess.PIPE, text=True
    )
    kernel = next(
        int(found[1]) for line in process.stderr if (found := re.search(r"pid (\d+)", line))
    )

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Interrupted." in said
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
    (kept,) = (workspace / "reports").glob("*.ipynb")
    assert json.loads(kept.read_text())["cells"][-1]["metadata"]["papermill"]["status"] == "failed"


def test_a_run_of_nothing_to_show_has_a_short_repr(tmp_path):
    done = Run("nb", tmp_path / "gone.ipynb", None, {}, 1.0)

    assert "gone" in done._repr_html_()
