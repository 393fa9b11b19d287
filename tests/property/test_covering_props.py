"""The fewest requests are as few as trying all of them finds."""

from itertools import chain, combinations

from hypothesis import given
from hypothesis import strategies as st

from ibkit.contracts.covering import least_cover

CELLS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=14)


def fewest_by_trying(cells):
    rows, columns = ({each[side] for each in cells} for side in (0, 1))
    lines = [(0, row) for row in rows] + [(1, column) for column in columns]
    for size in range(len(lines) + 1):
        for some in combinations(lines, size):
            if all((0, row) in some or (1, column) in some for row, column in cells):
                return size
    raise AssertionError


@given(CELLS)
def test_a_cover_holds_every_cell_and_no_smaller_one_does(cells):
    rows, columns = least_cover(cells)

    assert all(row in rows or column in columns for row, column in cells)
    assert len(rows) + len(columns) == fewest_by_trying(cells)


@given(st.integers(1, 30), st.integers(1, 30))
def test_a_whole_chain_takes_its_shorter_side(days, strikes):
    rows, columns = least_cover([(day, strike) for day in range(days) for strike in range(strikes)])

    assert (len(rows), len(columns)) == ((days, 0) if days <= strikes else (0, strikes))


def test_a_long_row_and_a_long_column_are_two_requests():
    cross = chain(((0, n) for n in range(100)), ((n, 0) for n in range(50)))

    assert least_cover(cross) == ({0}, {0})
