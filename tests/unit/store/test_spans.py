import pytest

from ibkit.store import spans


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([(3, 3)], []),
        ([(1, 2), (2, 3)], [(1, 3)]),
        ([(5, 6), (1, 9)], [(1, 9)]),
        ([(1, 2), (3, 4)], [(1, 2), (3, 4)]),
    ],
)
def test_union_is_the_fewest_spans_of_the_same_time(given, expected):
    assert spans.union(given) == expected


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], [(0, 10)]),
        ([(0, 10)], []),
        ([(-5, 3)], [(3, 10)]),
        ([(9, 12)], [(0, 9)]),
        ([(4, 5), (2, 4)], [(0, 2), (5, 10)]),
        ([(20, 30)], [(0, 10)]),
    ],
)
def test_minus_leaves_what_nobody_took(taken, expected):
    assert spans.minus([(0, 10)], taken) == expected
