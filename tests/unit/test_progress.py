import io

from ibkit.reports.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_one_whole_line_a_step():
    out = io.StringIO()
    steps = Progress("nb", 2, out)

    steps.step(1, "One")
    steps.write("said\n")
    steps.step(2, "Two")
    steps.end("done")

    lines = out.getvalue().splitlines()
    assert [line.rsplit(" ", 2)[-2:] for line in lines[:1]] == [["1/2", "One"]]
    assert lines[1:] == ["said", "nb ██████████░░░░░░░░░░ 2/2 Two", "nb done"]


def test_a_terminal_sees_one_line_rewritten_until_a_cell_speaks():
    out = Terminal()
    steps = Progress("nb", 3, out)

    steps.step(1, "One")
    steps.step(2, "Two")
    assert out.getvalue().count("\n") == 0
    assert out.getvalue().count("\r\x1b[K") == 1

    steps.write("\r 50%")  # a bar of the cell's own, its line still open
    steps.step(3, "Three")
    steps.end("done")
    assert "\n\r 50%\nnb" in out.getvalue()
    assert out.getvalue().endswith("nb done\n")


def test_without_a_place_nothing_is_said():
    steps = Progress("nb", 1, None)

    steps.step(1, "One")
    assert steps.write("abc") == 3
    steps.flush()
    steps.end("done")
