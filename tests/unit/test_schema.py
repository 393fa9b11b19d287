import pytest

from ibkit.schema import BAR_SIZES, DATASETS, InvalidBarSizeError, bar_size


def test_a_bar_size_is_found_by_ibs_words():
    assert bar_size("5 mins").seconds == 300
    assert bar_size("1 day").intraday is False


def test_an_unknown_bar_size_is_refused_with_those_that_exist():
    with pytest.raises(InvalidBarSizeError, match=r"'7 mins' is no bar size.*'?1 min, 2 mins"):
        bar_size("7 mins")


def test_every_bar_size_has_a_dataset_of_its_own():
    assert {size.dataset for size in BAR_SIZES.values()} <= set(DATASETS)
    assert len({size.dataset for size in BAR_SIZES.values()}) == len(BAR_SIZES)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_a_dataset_is_keyed_by_columns_it_has(dataset):
    assert len(set(dataset.names)) == len(dataset.names)
    assert dataset.key[: len(dataset.series)] == dataset.series
    for name in dataset.key:
        assert dataset.column(name).role == "key"
        assert dataset.column(name).required
    assert {"ts", "source", "con_id", "commit_id"} <= set(dataset.names)
    assert dataset.partition not in dataset.names  # readers fail on a column twice


@pytest.mark.parametrize(
    ("text", "rows_a_file"),
    [("1 secs", 23_400), ("1 min", 8_580), ("5 mins", 19_656), ("1 hour", 1_764)],
)
def test_a_file_holds_a_sensible_number_of_rows(text, rows_a_file):
    size = bar_size(text)
    sessions = {"date": 1, "month": 22, "year": 252, "all": 2_520}[size.grain]

    assert rows_a_file * 0.9 <= sessions * 23_400 // size.seconds <= rows_a_file * 1.1
