from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from ibkit.errors import CorruptFileError
from ibkit.store import Store
from ibkit.store.journal import (
    EPOCH,
    Commit,
    FileChange,
    Journals,
    from_line,
    micros,
    moment,
    to_line,
)

COMMIT = Commit(
    commit_id=1_795_224_056_033_932,
    dataset="bars_1min",
    instrument="STK-AAPL-SMART-USD",
    operation="upsert",
    series={"what_to_show": "TRADES", "use_rth": True},
    span=(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, 0, 0, 0, 1, tzinfo=UTC)),
    rows_in=3,
    source="IB",
    files=(FileChange("month=2026-10", 3, 99, "ab", None),),
    versions={"ibkit": "0"},
)


def test_a_commit_survives_its_line():
    assert from_line(to_line(COMMIT), None) == COMMIT


def test_a_line_is_one_line_whatever_the_request_said():
    line = to_line(Commit(1, "d", "i", "upsert", request="two\nlines \u2028 and more"))

    assert line.count(b"\n") == 0
    assert from_line(line, None).request == "two\nlines \u2028 and more"


def test_only_what_was_appended_is_read_again(tmp_path):
    path, journals = tmp_path / "j" / "x.jsonl", Journals()
    assert journals.read(path) == ()

    for n in range(1, 4):
        journals.append(path, Commit(n, "d", "i", "upsert"))
        assert [commit.commit_id for commit in journals.read(path)] == list(range(1, n + 1))

    assert Journals().read(path) == journals.read(path)


def test_another_process_may_append_between_two_reads(tmp_path):
    path, mine, theirs = tmp_path / "x.jsonl", Journals(), Journals()
    mine.append(path, Commit(1, "d", "i", "upsert"))
    mine.read(path)

    theirs.append(path, Commit(2, "d", "i", "upsert"))

    assert len(mine.read(path)) == 2


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_last_line_is_passed_over_and_the_next_one_counts(tmp_path, cut):
    path, journals = tmp_path / "x.jsonl", Journals()
    journals.append(path, Commit(1, "d", "i", "upsert"))
    with path.open("ab") as file:
        file.write(to_line(COMMIT)[:-cut])
    assert len(journals.read(path)) == 1

    journals.append(path, Commit(3, "d", "i", "upsert"))

    assert [commit.commit_id for commit in journals.read(path)] == [1, 3]
    assert [commit.commit_id for commit in Journals().read(path)] == [1, 3]


def test_a_journal_of_a_later_format_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(to_line(COMMIT).replace(b'"v":1', b'"v":2') + b"\n")

    with pytest.raises(CorruptFileError, match="newer ibkit"):
        Journals().read(path)


def test_a_journal_that_was_replaced_is_read_anew(tmp_path):
    path, journals = tmp_path / "x.jsonl", Journals()
    journals.append(path, COMMIT)
    journals.read(path)
    other = tmp_path / "other"
    Journals().append(other, Commit(9, "d", "i", "upsert"))

    other.replace(path)

    assert [commit.commit_id for commit in journals.read(path)] == [9]


def test_microseconds_are_exact_and_zones_do_not_matter():
    when = datetime(2200, 1, 1, 0, 0, 0, 123_457, tzinfo=UTC)

    assert moment(micros(when)) == when
    assert micros(when.astimezone(timezone(timedelta(hours=-5)))) == micros(when)


def answer(n: int, *, gap: int = 0) -> Commit:
    """Return the commit of the n-th answer; with a gap before each, no two spans touch."""
    start = EPOCH + timedelta(hours=n * (1 + gap))
    return replace(COMMIT, commit_id=n + 1, span=(start, start + timedelta(hours=1)))


def test_a_digest_does_not_grow_with_the_number_of_answers(tmp_path):
    path, journals = tmp_path / "x.jsonl", Journals()
    for n in range(10):
        journals.append(path, answer(n))
    few = journals.digest(path).size, journals.held

    for n in range(10, 200):
        journals.append(path, answer(n))
        journals.digest(path)

    assert (journals.digest(path).size, journals.held) == few
    assert journals.digest(path).latest == 200
    assert journals.digest(path).spans(COMMIT.series) == ((0, 200 * 3_600_000_000),)


def test_what_is_held_of_all_journals_together_is_bounded(tmp_path):
    journals = Journals(commits=50, entries=50)
    paths = [tmp_path / f"{n}.jsonl" for n in range(20)]
    for path in paths:
        for n in range(8):
            journals.append(path, answer(n, gap=1))

    for _ in range(2):
        for path in paths:
            assert len(journals.read(path)) == 8
            assert len(journals.digest(path).spans(COMMIT.series)) == 8
            assert max(journals.held) <= 50

    assert min(journals.held) > 25


def test_a_journal_that_is_too_long_to_be_held_is_read_all_the_same(tmp_path):
    path, journals = tmp_path / "x.jsonl", Journals(commits=5, entries=5)
    for n in range(9):
        journals.append(path, answer(n, gap=1))
        assert [commit.commit_id for commit in journals.read(path)] == [*range(1, n + 2)]
        assert journals.digest(path).latest == n + 1

    assert journals.held == (0, 0)


def test_a_digest_follows_a_journal_that_was_replaced(tmp_path):
    path, other, journals = tmp_path / "x.jsonl", tmp_path / "other", Journals()
    journals.append(path, answer(0))
    journals.digest(path)
    journals.append(other, replace(answer(5), source="file"))

    other.replace(path)

    assert (journals.digest(path).first, journals.digest(path).latest) == (6, 6)
    assert journals.digest(path).sources(COMMIT.series) == {"file"}


def test_a_backfill_holds_no_commit_in_memory(tmp_path):
    store, series = Store(tmp_path / "root"), {"what_to_show": "TRADES", "use_rth": True}
    held = set()
    for n in range(30):
        start = EPOCH + timedelta(hours=n)
        span = (start, start + timedelta(hours=1))
        bars = pd.DataFrame(
            {name: [float(n)] for name in ("open", "high", "low", "close")},
            index=pd.DatetimeIndex([start], name="ts"),
        )
        for again in (
            False,
            True,
        ):  # the second changes nothing
            assert store.missing("AAPL", "1 min", *span, **series) == ([] if again else [span])
            store.write_bars("AAPL", "1 min", bars, span=span, source="IB", **series)
        held.add(store._journals.held)

    assert len(held) == 1
    assert held.pop()[0] == 0
    assert len(store.history("bars_1min", "AAPL")) == 30
    assert store._journals.held[0] == 31
