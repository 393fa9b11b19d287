import numpy as np
import pytest

from ibkit.errors import InvalidRowsError
from ibkit.schema import DATASETS
from ibkit.store import merge
from ibkit.store.intake import to_table

BARS = DATASETS["bars_1min"]


def table(frame, commit=1, **more):
    constants = {"what_to_show": "TRADES", "use_rth": True, "source": "IB", "delayed": False}
    made = merge.in_order(to_table(frame, BARS, {**constants, **more}), BARS)
    at = made.schema.get_field_index("commit_id")
    return made.set_column(at, made.schema.field(at), [np.full(made.num_rows, commit)])


def commits(merged):
    return merged.table["commit_id"].to_pylist()


def test_new_rows_go_to_their_place(bars):
    frame = bars(n=6)

    merged = merge.upsert(table(frame.iloc[::2]), table(frame.iloc[1::2], 2), BARS)

    assert (merged.added, merged.changed) == (3, 0)
    assert merged.additive
    assert commits(merged) == [1, 2, 1, 2, 1, 2]


def test_rows_that_say_nothing_new_change_nothing(bars):
    frame = bars()

    assert merge.upsert(table(frame), table(frame.iloc[1:3], 2), BARS).table is None


def test_two_nulls_are_the_same_answer(bars):
    frame = bars().assign(volume=np.nan)

    assert merge.upsert(table(frame), table(frame, 2), BARS).table is None


def test_a_null_replaces_a_number_and_the_reverse(bars):
    frame = bars(n=2)
    other = frame.assign(volume=[np.nan, 3.0])
    first = merge.upsert(table(frame), table(other, 2), BARS)

    assert first.changed == 2
    assert merge.upsert(first.table, table(frame, 3), BARS).changed == 2


def test_the_newest_of_two_answers_wins_and_the_others_keep_their_commit(bars):
    frame = bars()
    changed = frame.iloc[[2]].assign(volume=1.0)

    merged = merge.upsert(table(frame), table(changed, 2), BARS)

    assert (merged.added, merged.changed, merged.additive) == (0, 1, False)
    assert commits(merged) == [1, 1, 2, 1, 1]
    assert merged.table["volume"][2].as_py() == 1.0


def test_delayed_rows_never_replace_live_ones_but_live_ones_do_replace_delayed(bars):
    frame = bars()
    other = frame.assign(volume=1.0)

    assert merge.upsert(table(frame), table(other, 2, delayed=True), BARS).table is None
    assert merge.upsert(table(other, delayed=True), table(frame, 2), BARS).changed == 5


def test_delayed_rows_join_where_there_is_nothing(bars):
    frame = bars()

    merged = merge.upsert(
        table(frame.iloc[:3]), table(frame.assign(volume=1.0), 2, delayed=True), BARS
    )

    assert (merged.added, merged.changed) == (2, 0)


@pytest.mark.parametrize("first", ["BID", "TRADES"])
def test_series_lie_one_after_the_other_and_do_not_meet(bars, first):
    second = {"BID": "TRADES", "TRADES": "BID"}[first]
    old = table(bars(), what_to_show=first)

    merged = merge.upsert(old, table(bars(seed=2), 2, what_to_show=second), BARS)

    assert (merged.added, merged.changed) == (5, 0)
    assert merged.table["what_to_show"].to_pylist() == ["BID"] * 5 + ["TRADES"] * 5
    assert merge.run_starts(merged.table, BARS.series) == [0, 5]


def test_replacing_a_range_removes_what_the_new_rows_lack(bars):
    frame = bars(n=6)
    drop = np.array([False, True, True, True, False, False])

    merged = merge.replace_range(table(frame), table(frame.iloc[[2]], 2), BARS, drop)

    assert merged.removed == 2
    assert merged.table["ts"].to_pandas().tolist() == frame.index[[0, 2, 4, 5]].tolist()
    assert commits(merged) == [1, 1, 1, 1]  # the one that stayed was the same


def test_replacing_a_range_with_nothing_empties_it(bars):
    frame = bars(n=3)
    nothing = table(frame).slice(0, 0)

    merged = merge.replace_range(table(frame), nothing, BARS, np.array([True, True, True]))

    assert (merged.removed, merged.table.num_rows) == (3, 0)


def test_rows_come_in_any_order_and_equal_twins_count_once(bars):
    frame = bars(n=6)
    shuffled = frame.iloc[[3, 0, 5, 0, 1, 2, 4, 3]]

    assert merge.in_order(table(shuffled), BARS).equals(table(frame))


def test_twins_that_disagree_are_refused_with_both_values(bars):
    frame = bars(n=3)
    frame.index = frame.index[[0, 1, 1]]

    with pytest.raises(InvalidRowsError, match=r"same key twice with other values: 2 rows.*close="):
        table(frame)
