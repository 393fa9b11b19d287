from pathlib import Path

import numpy as np
import pytest

from ibkit.schema import DATASETS
from ibkit.store import layout

US_A_DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("code", "grain", "name"),
    [
        (650, "month", "month=2024-03"),
        (-1, "month", "month=1969-12"),
        (54, "year", "year=2024"),
        (19_786, "date", "date=2024-03-04"),
        (0, "all", ""),
    ],
)
def test_a_period_is_named_for_its_time_and_found_by_its_name(code, grain, name):
    assert layout.label(code, grain) == name
    if grain != "all":
        assert layout.code(name, grain) == code


@pytest.mark.parametrize("name", ["month=2024", "year=2024", "month=", "month", "month=x", "tmp"])
def test_a_folder_that_is_no_month_is_passed_over(name):
    assert layout.code(name, "month") is None


@pytest.mark.parametrize("grain", ["date", "month", "year"])
def test_periods_follow_each_other_without_a_gap(grain):
    first, second = layout.bounds(600, grain), layout.bounds(601, grain)

    assert first[1] == second[0]
    edges = np.array([first[0], first[1] - 1, first[1]])
    assert layout.codes(edges, grain).tolist() == [600, 600, 601]


def test_a_month_before_1970_holds_its_last_microsecond():
    assert layout.codes(np.array([-1]), "month").tolist() == [-1]


def test_data_holds_nothing_but_parquet_files_and_meta_all_the_rest():
    paths, dataset = layout.Layout(Path("/lake")), DATASETS["bars_1min"]
    slug = "STK-AAPL-SMART-USD"

    part = paths.part(dataset, slug, "month=2024-03")

    assert part == Path(
        "/lake/data/bars_1min/instrument=STK-AAPL-SMART-USD/month=2024-03/part-0.parquet"
    )
    others = (
        paths.lock(dataset, slug),
        paths.journal(dataset, slug),
        paths.history(dataset, slug, "month=2024-03", 7),
        paths.tmp(dataset),
    )
    assert all(path.is_relative_to("/lake/meta/bars_1min") for path in others)
