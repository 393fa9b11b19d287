"""The picture of a continuous future."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from ibkit import plots
from ibkit.history.continuous import Roll, stitch


@pytest.fixture
def stitched():
    index = pd.bdate_range("2026-06-01", periods=40, tz="UTC", name="ts") + pd.Timedelta("14:30:00")
    bars = {
        month: pd.DataFrame(
            dict.fromkeys(["open", "high", "low", "close"], level + np.arange(40.0)), index
        )
        for month, level in (("202606", 100), ("202609", 103), ("202612", 107))
    }
    rolls = [
        Roll(index[n].date(), index[n - 1].date(), index[n - 1], index[n], old, new, "days")
        for n, old, new in ((10, "202606", "202609"), (38, "202609", "202612"))
    ]
    frame, table = stitch(bars, rolls)
    frame.attrs = {"instrument": "FUT:ES", "adjusted": "difference", "simulated": True}
    return frame, table


def test_each_contract_is_a_line_and_each_roll_a_mark_with_its_gap(stitched):
    figure = plots.continuous(*stitched)

    assert [trace.name for trace in figure.data] == ["202606", "202609", "202612"]
    assert len({trace.line.color for trace in figure.data[:2]}) == 2
    # a line reaches to the next one's first bar, so that nothing seems to be missing
    assert figure.data[0].x[-1] == figure.data[1].x[0]
    words = [each.text for each in figure.layout.annotations if "→" in (each.text or "")]
    assert words == ["202606 → 202609<br>gap +3", "202609 → 202612<br>gap +4"]
    assert len(figure.layout.shapes) == 2
    assert "closed by difference" in figure.layout.title.text
    assert any("SIMULATED" in (each.text or "") for each in figure.layout.annotations)


def test_many_rolls_have_marks_and_tell_the_rest_when_hovered(stitched):
    frame, table = stitched
    many = pd.concat([table] * 6, ignore_index=True)

    figure = plots.continuous(frame, many)

    marks = [each for each in figure.layout.annotations if each.text == "▾"]
    assert len(marks) == 12
    assert "gap +3" in marks[0].hovertext


def test_a_gap_that_is_not_known_is_said_to_be_so(stitched):
    frame, table = stitched

    figure = plots.continuous(frame, table.assign(gap=float("nan")))

    assert any("gap not known" in (each.text or "") for each in figure.layout.annotations)


def test_nothing_to_draw_is_an_error(stitched):
    frame, table = stitched

    with pytest.raises(ValueError, match="no bars"):
        plots.continuous(frame.iloc[:0], table)


def test_time_is_of_the_zone_asked_for(stitched):
    figure = plots.continuous(*stitched, tz="America/Chicago")

    assert pd.Timestamp(figure.data[0].x[0]) == pd.Timestamp("2026-06-01 09:30")
    assert pd.Timestamp(figure.layout.shapes[0].x0).date() == date(2026, 6, 15)
