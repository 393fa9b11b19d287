import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ibkit import clock
from ibkit.errors import DuplicateIntentError, UnknownOrderError
from ibkit.orders.journal import Journal, JournalBrokenError, Wish

WISH = Wish("AAPL", "BUY 100 LMT 189.5 DAY", "f1", 100.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal" / "DUSIM0001.sqlite"


@pytest.fixture
def journal(path):
    with Journal(path) as opened:
        yield opened


@pytest.fixture
def now(monkeypatch):
    """Hold the clock; move it by adding to `now[0]`."""
    held = [datetime(2026, 11, 3, 15, tzinfo=UTC)]
    monkeypatch.setattr(clock, "now", lambda: held[0])
    return held


def test_an_intent_is_on_the_disk_when_it_has_a_name(journal, path):
    intent = journal.intend(replace(WISH, key="open-1"))

    assert intent.order_ref == "ibkit:open-1:1"
    row = sqlite3.connect(path).execute("SELECT state FROM intents").fetchone()
    assert row == ("intended",)


def test_a_key_is_used_once(journal):
    journal.intend(replace(WISH, key="open-1"))

    with pytest.raises(DuplicateIntentError, match="open-1"):
        journal.intend(replace(WISH, key="open-1", fingerprint="other"))


def test_again_places_a_second_one_under_a_name_of_its_own(journal):
    journal.intend(replace(WISH, key="open-1"))

    assert journal.intend(replace(WISH, key="open-1"), again=True).order_ref == "ibkit:open-1~2:1"


def test_legs_of_one_key_are_different_orders(journal):
    journal.intend(replace(WISH, key="b"))

    assert journal.intend(replace(WISH, key="b", leg="stop")).order_ref == "ibkit:b:stop"


def test_the_same_order_within_a_minute_is_taken_for_a_mistake(journal, now):
    first = journal.intend(WISH)
    journal.update(first.order_ref, "working", perm_id=7)
    now[0] += timedelta(seconds=59)

    with pytest.raises(DuplicateIntentError):
        journal.intend(WISH)
    journal.intend(replace(WISH, fingerprint="f2"))
    now[0] += timedelta(seconds=2)
    journal.intend(WISH)


def test_the_same_order_is_not_sent_while_the_fate_of_the_first_is_unknown(journal, now):
    first = journal.intend(WISH)
    journal.update(first.order_ref, "unknown")
    now[0] += timedelta(days=1)

    with pytest.raises(DuplicateIntentError, match="unknown"):
        journal.intend(WISH)


def test_a_refused_order_may_be_tried_again_at_once(journal):
    first = journal.intend(WISH)
    journal.update(first.order_ref, "refused", reason="IB 201: no")

    journal.intend(WISH)


def test_states_follow_what_ib_says_and_old_messages_are_passed_over(journal):
    ref = journal.intend(WISH).order_ref

    assert journal.update(ref, "working", perm_id=7).perm_id == 7
    assert journal.update(ref, "filled", filled=100, average_price=189.4).done
    assert journal.update(ref, "working") is None
    assert journal.get(ref).state == "filled"
    assert journal.get(ref).perm_id == 7


def test_a_late_fill_overtakes_a_cancel(journal):
    ref = journal.intend(WISH).order_ref
    journal.update(ref, "cancelled")

    assert journal.update(ref, "filled", filled=100).state == "filled"


def test_nothing_new_is_not_written(journal):
    ref = journal.intend(WISH).order_ref
    journal.update(ref, "working", filled=5)
    lines = journal.verify()

    assert journal.update(ref, "working", filled=5) is None
    assert journal.verify() == lines


def test_unknown_references_are_told(journal):
    assert journal.update("ibkit:none:1", "filled") is None
    with pytest.raises(UnknownOrderError, match="none"):
        journal.get("ibkit:none:1")


@pytest.mark.parametrize("key", ["", "a b", "a:b", "é", "x" * 41])
def test_a_key_that_a_reference_cannot_carry_is_refused(journal, key):
    with pytest.raises(ValueError, match="order reference"):
        journal.intend(replace(WISH, key=key))


def test_only_the_owner_can_read_it(journal, path):
    journal.intend(WISH)

    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("UPDATE audit SET body = replace(body, '100', '900') WHERE seq = 1", "hash"),
        ("DELETE FROM audit WHERE seq = 1", "missing"),
        ("DELETE FROM audit WHERE seq = 2", "gone"),
    ],
)
def test_tampering_shows(journal, path, damage, reason):
    ref = journal.intend(WISH).order_ref
    journal.update(ref, "working")
    assert journal.verify() == 2

    other = sqlite3.connect(path)
    other.execute(damage)
    other.commit()

    with pytest.raises(JournalBrokenError, match=reason):
        journal.verify()


def test_two_processes_share_one_journal(journal, path):
    with Journal(path) as other:
        journal.intend(replace(WISH, key="a"))
        with pytest.raises(DuplicateIntentError):
            other.intend(replace(WISH, key="a"))
        other.intend(replace(WISH, key="b"))

    assert [intent.key for intent in journal.intents()] == ["a", "b"]
    assert journal.verify() == 2


def test_a_killed_process_leaves_its_intents_behind(path):
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from ibkit.orders.journal import Journal, Wish
        journal = Journal(Path({str(path)!r}))
        for n in range(100_000):
            journal.intend(Wish("AAPL", "BUY 1 MKT DAY", str(n), 1.0, key=f"k{{n}}"))
            print(n, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(process.stdout.readline()) for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    acknowledged += [int(line) for line in rest.split("\n")[:-1]]

    with Journal(path) as journal:
        found = {intent.key for intent in journal.intents("intended")}
        assert {f"k{n}" for n in acknowledged} <= found
        assert len(found) <= len(acknowledged) + 1
        assert journal.verify() == len(found)
