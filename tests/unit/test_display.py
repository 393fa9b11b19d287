import pandas as pd
import pytest
from bs4 import BeautifulSoup

from ibkit.display import DOWN, UP, Table, marks, sparkline, status_card, status_text


def table(**options):
    frame = pd.DataFrame(
        {"last": [190.5, 420.1], "change": [0.012, -0.004], "words": ["<b>", None]},
        index=pd.Index(["AAPL", "MSFT"], name="symbol"),
    )
    frame.attrs["simulated"] = True
    return Table(frame, "Summary", **options)


def test_marks_come_in_order_of_worry_and_only_when_true():
    attrs = {"delayed": True, "simulated": True, "stale": False, "source": "SIM"}

    assert marks(attrs) == ("SIMULATED", "DELAYED")


def test_a_status_card_and_its_text_say_the_same():
    words = {"profile": "sim", "state": "ready", "rows": {"lines": 3, "clock": "<ok>"}}

    card = BeautifulSoup(status_card("ibkit", **words, marks=("SIMULATED",)), "html.parser")
    text = status_text("ibkit", **words, marks=("SIMULATED",))

    assert card.section["role"] == "status"
    for word in ("ibkit", "sim", "ready", "SIMULATED", "lines", "3", "<ok>"):
        assert word in card.get_text(" ")
        assert word in text


def test_a_card_needs_nothing_from_outside():
    card = status_card("x", profile="live", state="failed", rows={})

    assert "http" not in card
    assert "<script" not in card


def test_a_table_formats_signs_and_escapes():
    html = table(formats={"last": ",.2f", "change": "+.2%"}, signed=["change"])._repr_html_()
    cells = BeautifulSoup(html, "html.parser").find_all("td")

    assert [cell.get_text() for cell in cells] == [
        "190.50",
        "+1.20%",
        "<b>",
        "420.10",
        "-0.40%",
        "–",
    ]
    assert UP in cells[1]["style"]
    assert DOWN in cells[4]["style"]
    assert "text-align:left" in cells[2]["style"]
    assert "SIMULATED" in BeautifulSoup(html, "html.parser").caption.get_text()


def test_a_table_heads_its_rows_and_columns_for_screen_readers():
    soup = BeautifulSoup(table()._repr_html_(), "html.parser")

    assert [head.get_text() for head in soup.find_all("th", scope="row")] == ["AAPL", "MSFT"]
    assert soup.find("th", scope="col").get_text() == "symbol"


def test_a_table_has_a_text_twin_without_its_drawings():
    shown = table(formats={"change": "+.2%"})
    shown.frame["trend"] = pd.Series(
        [sparkline([1, 2]), sparkline([2, 1])], index=shown.frame.index, dtype="object"
    )

    text = repr(shown)

    assert text.startswith("Summary [SIMULATED]")
    assert "+1.20%" in text
    assert "svg" not in text
    assert "<svg" in shown._repr_html_()


@pytest.mark.parametrize(("values", "colour"), [([1, 2], UP), ([2, 1], DOWN), ([1, 1], UP)])
def test_a_sparkline_is_coloured_by_where_it_ends(values, colour):
    assert colour in sparkline(values)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_too_few_values_draw_nothing(values):
    assert sparkline(values) == ""


def test_a_format_may_be_a_function_and_a_time_prints_as_one():
    frame = pd.DataFrame({"n": [3], "at": [pd.Timestamp("2026-11-20", tz="UTC")]})

    text = repr(Table(frame, formats={"n": lambda n: f"{n} of 5"}))

    assert "3 of 5" in text
    assert "2026-11-20 00:00 UTC" in text
