from datetime import UTC, date, datetime

import pyarrow.parquet as pq
import pytest

from ibkit.contracts.hours import Session
from ibkit.contracts.shelf import Known, Shelf


def session(day, start=14, end=21):
    return Session(
        datetime(2026, 11, day, start, 30, tzinfo=UTC),
        datetime(2026, 11, day, end, tzinfo=UTC),
        date(2026, 11, day),
    )


def known(*days, closed=()):
    found = Known()
    asked = [date(2026, 11, day) for day in (*days, *closed)]
    found.add(asked, [session(day) for day in days])
    return found


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "schedules")


def test_what_is_put_comes_back_closed_days_too(shelf):
    shelf.put("STK-NASDAQ-NMS-rth", known(23, 24, 25, closed=(26, 28)))

    back = shelf.read("STK-NASDAQ-NMS-rth")

    assert back == known(23, 24, 25, closed=(26, 28))
    assert back.sessions[date(2026, 11, 23)][0].start.utcoffset() is not None


def test_two_answers_are_one_file_and_the_later_word_counts(shelf):
    shelf.put("m", known(23, 24))
    later = Known()
    later.add([date(2026, 11, 24), date(2026, 11, 25)], [session(24, end=18)])

    shelf.put("m", later)

    back = shelf.read("m")
    assert back.sessions == {
        date(2026, 11, 23): [session(23)],
        date(2026, 11, 24): [session(24, end=18)],
    }
    assert date(2026, 11, 25) in back.asked


def test_days_that_are_not_over_are_not_kept():
    found = known(23, 24, closed=(25,)).before(date(2026, 11, 24))

    assert found == known(23)


def test_a_broken_file_is_nothing_known_and_is_replaced(shelf):
    shelf.put("m", known(23))
    [path] = shelf.folder.glob("*.parquet")
    path.write_bytes(b"PAR1 nonsense")

    assert shelf.read("m") == Known()
    shelf.put("m", known(24))
    assert shelf.read("m") == known(24)


def test_a_file_of_another_version_is_nothing_known(shelf):
    shelf.put("m", known(23))
    [path] = shelf.folder.glob("*.parquet")
    pq.write_table(pq.read_table(path).replace_schema_metadata({"version": "0"}), path)

    assert shelf.read("m") == Known()


def test_any_market_name_stays_inside_the_folder(shelf):
    shelf.put("../../FUT CME/ES", known(23))

    assert shelf.markets() == [".._.._FUT_CME_ES"]
    assert shelf.read("nothing") == Known()


def test_no_damage_to_a_file_changes_what_it_says(shelf):
    """Hours that are a little wrong would be believed for good; so it is all of it, or nothing."""
    shelf.put("m", known(*range(2, 21), closed=(21, 22)))
    [path] = shelf.folder.glob("*.parquet")
    whole, sound = path.read_bytes(), shelf.read("m")
    unnoticed = 0

    for place in range(0, len(whole), 5):
        for damaged in (
            whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :],
            whole[:place],
        ):
            path.write_bytes(damaged)
            found = shelf.read("m")
            assert found in (sound, Known()), place
            unnoticed += found == sound
    assert unnoticed < len(whole) / 5  # bytes that mean nothing


def test_another_process_is_noticed(shelf):
    other = Shelf(shelf.folder)
    assert not shelf.is_newer("m")

    other.put("m", known(23))

    assert shelf.is_newer("m")
    assert shelf.read("m") == known(23)
    assert not shelf.is_newer("m")
    other.put("m", known(24))
    assert shelf.is_newer("m")
