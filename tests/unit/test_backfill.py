"""The pure parts of a backfill: merging with what others are at, counting, drawing, reading."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import typer
from ib_async import Stock

from ibkit.cli_jobs import read_symbols
from ibkit.history.plan import Request
from ibkit.history.series import Series
from ibkit.jobs.backfill import by_series
from ibkit.jobs.bars import group_of, merge, span_of
from ibkit.jobs.board import Board, Display, Progress
from ibkit.jobs.report import make_report
from ibkit.jobs.values import Job
from ibkit.schema import bar_size

DAY = datetime(2026, 10, 19, tzinfo=UTC)
AAPL = Stock("AAPL", "SMART", "USD", conId=265598)


def day(n):
    return DAY + timedelta(days=n)


def series_of(*days, contract=AAPL):
    """A series that lacks these days, newest first."""
    requests = tuple(
        Request(day(n), day(n + 1), day(n + 1), "1 D") for n in sorted(days, reverse=True)
    )
    holes = tuple((request.start, request.end) for request in requests)
    return Series(
        contract, "STK-AAPL-SMART-USD", bar_size("1 min"), "TRADES", True,  # noqa: FBT003 - the series' fields
        (day(0), day(9)), (), holes, requests,
    )  # fmt: skip


def job(number, start, end, state="waiting", result=None, reason=""):
    payload = {"start": start.isoformat(), "end": end.isoformat()}
    group = group_of(series_of(0))
    return Job(number, "bars", f"{number}", group, payload, 0, state, 0, 4, 1, result, reason)


def spans(jobs):
    return [tuple(map(datetime.fromisoformat, (one.payload["start"], one.payload["end"])))
            for one in jobs]  # fmt: skip


def test_with_nobody_there_each_request_is_a_job_and_the_first_goes_alone():
    found = merge(series_of(0, 1, 2), [])

    assert spans(found.fresh) == [(day(n), day(n + 1)) for n in (2, 1, 0)]
    assert [one.turn for one in found.fresh] == [0, 1, 2]
    first, *rest = found.fresh
    assert first.after == ""
    assert {one.after for one in rest} == {first.key}


def test_what_others_are_at_is_shared_and_not_asked_twice():
    theirs = [job(7, day(1), day(2), "working")]

    found = merge(series_of(0, 1, 2), theirs)

    assert spans(found.fresh) == [(day(2), day(3)), (day(0), day(1))]
    assert found.shared == theirs


def test_a_part_that_others_are_at_is_left_out():
    half = day(1) + timedelta(hours=12)

    found = merge(series_of(1), [job(7, day(0), half, "working")])

    assert spans(found.fresh) == [(half, day(2))]


def test_what_failed_before_is_superseded_by_the_new_job():
    dead = job(7, day(1), day(2), "dead")

    found = merge(series_of(1), [dead])

    assert len(found.fresh) == 1
    assert found.superseded == [dead]


def test_what_is_stored_already_is_not_left_in_the_queue():
    left = [job(7, day(0), day(1)), job(8, day(3), day(4), "working"), job(9, day(20), day(21))]

    assert merge(series_of(1), left).superseded == left[:1]


def test_a_board_counts_ours_and_others():
    board, group = Board(), group_of(series_of(0))
    progress = Progress("AAPL", series_of(0, 1, 2), requests=3)
    board.add(progress, group)
    ours = job(1, day(0), day(1), "done")
    board.ours(ours, "done", {"fetched": 1, "rows": 390, "rows_new": 390, "empty": 0})
    theirs, failed = (
        job(2, day(1), day(2), "done"),
        job(3, day(2), day(3), "dead", {"kind": "no_permission"}, "IB 354"),
    )

    board.over([ours, theirs, failed])
    board.over([theirs])

    assert (progress.fetched, progress.elsewhere, progress.ended) == (1, 1, 3)
    report = make_report(board.all)
    assert report.failures["kind"].tolist() == ["no_permission"]
    assert report.failures["start"].tolist() == [pd.Timestamp(day(2))]
    assert "1 that another process asked; 1 series incomplete" in str(report)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def many(count):
    board = Board()
    for n in range(count):
        board.add(Progress(f"S{n:03}", series_of(0), requests=2), f"g{n}")
    return board


def drawn(board, monkeypatch, stream):
    monkeypatch.delenv("IBKIT_RUN", raising=False)
    monkeypatch.setattr("sys.stderr", stream)
    with Display(board, shown=True) as display:
        display.refresh()
        lines = len(display._lines)
    return lines, stream.getvalue()


def test_few_series_have_a_line_each_in_a_terminal(monkeypatch):
    lines, text = drawn(many(3), monkeypatch, Terminal())

    assert lines == 3
    assert "S002" in text
    assert "0/6" in text


def test_of_many_series_those_under_way_are_shown(monkeypatch):
    board = many(200)
    board.all[0].ended = 2

    lines, text = drawn(board, monkeypatch, Terminal())

    assert lines == 8
    assert "S001" in text
    assert "S199" not in text


def test_a_file_gets_one_line_for_all_and_one_for_each_that_is_through(monkeypatch, capsys):
    board = many(3)
    board.all[1].ended = 2

    lines, text = drawn(board, monkeypatch, io.StringIO())

    assert lines == 0
    assert "2/6" in text
    assert "S001: 2/2" in capsys.readouterr().out


def test_holes_are_put_together_by_series():
    frame = pd.DataFrame(
        {"instrument": ["AAPL", "MSFT", "AAPL"], "bar_size": "1 min",
         "start": [day(3), day(0), day(0)], "end": [day(4), day(1), day(1)]}
    )  # fmt: skip

    found = by_series(frame)

    assert found["AAPL", "1 min", None, True] == ((day(0), day(1)), (day(3), day(4)))
    assert len(found) == 2


def test_a_hole_without_a_zone_is_refused():
    naive = datetime(2026, 10, 19)  # noqa: DTZ001 - that is the point
    frame = pd.DataFrame(
        {"instrument": ["AAPL"], "bar_size": ["1 min"], "start": [naive], "end": [naive]}
    )

    with pytest.raises(ValueError, match="without a zone"):
        by_series(frame)


def test_symbols_come_from_the_line_and_from_files(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("AAPL\n\n# none\nFUT:ES # front\n")

    assert read_symbols(["SPY", f"@{path}"]) == ["SPY", "AAPL", "FUT:ES"]
    with pytest.raises(typer.BadParameter, match="no such"):
        read_symbols([f"@{tmp_path}/no such"])
    path.write_text("# none\n")
    with pytest.raises(typer.BadParameter):
        read_symbols([f"@{path}"])


def test_a_job_says_its_span():
    assert span_of(job(1, day(0), day(1))) == (day(0), day(1))
