import nbformat
import pytest
from nbformat import v4

from ibkit.errors import ParameterError
from ibkit.reports.parameters import (
    check_parameters,
    is_step,
    parse_parameters,
    read_parameters,
)

CELL = """\
symbols: list[str] = ["AAPL", "MSFT"]  # shorthand, see ibkit.naming
bar_size: str = "1 min"  # IB's words
days: int = 5  # trading sessions back from `end`
fee_bps: float = 0.5
trade: bool = False
limit: float | None = None
side: Literal["BUY", "SELL"] = "BUY"  # a "#" in a default is no comment
note = "a # b"
"""


def notebook(source=CELL):
    cell = v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    return v4.new_notebook(cells=[v4.new_markdown_cell("# Q"), cell, v4.new_code_cell("1")])


@pytest.fixture
def knobs():
    return read_parameters(notebook(), "nb")


def test_every_knob_is_read_with_type_default_and_comment(knobs):
    assert list(knobs) == [line.split(":")[0].split(" ")[0] for line in CELL.splitlines()]
    assert knobs["days"].default == 5
    assert knobs["days"].annotation == "int"
    assert knobs["days"].comment == "trading sessions back from `end`"
    assert knobs["limit"].annotation == "float | None"
    assert knobs["note"].annotation == "str"
    assert knobs["note"].comment == ""
    assert knobs["side"].comment == 'a "#" in a default is no comment'


def test_a_notebook_without_a_parameters_cell_has_no_knobs():
    assert read_parameters(v4.new_notebook(cells=[v4.new_code_cell("days: int = 5")])) == {}


@pytest.mark.parametrize(
    "source",
    ["days: int = 5 + 1", "import os", "days: int", "days: Path = 5", "a = b = 5", "x: int = ("],
)
def test_a_cell_with_more_than_literals_is_refused(source):
    with pytest.raises(ParameterError, match="parameters cell"):
        read_parameters(notebook(source), "nb")


def test_no_code_of_the_notebook_is_run_to_read_it(tmp_path):
    touched = tmp_path / "touched"
    source = f"days: int = open({str(touched)!r}, 'w')"

    with pytest.raises(ParameterError):
        read_parameters(notebook(source))

    assert not touched.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("days", "abc"),
        ("days", "5"),
        ("days", 5.5),
        ("days", True),
        ("symbols", "AAPL"),
        ("symbols", [1]),
        ("trade", "yes"),
        ("trade", 1),
        ("bar_size", 1),
        ("side", "HOLD"),
        ("limit", "1"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_words(knobs, name, value):
    with pytest.raises(ParameterError) as caught:
        check_parameters("nb", knobs, {name: value})

    assert f"{name} must be {knobs[name].annotation}" in str(caught.value)
    assert repr(value) in str(caught.value)
    assert "was not run" in str(caught.value)


def test_fitting_values_pass_unchanged_and_a_tuple_becomes_a_list(knobs):
    given = {"days": 3, "symbols": ("SPY",), "fee_bps": 1, "limit": None, "side": "SELL"}

    values = check_parameters("nb", knobs, given)

    assert values == {**given, "symbols": ["SPY"]}


def test_an_unknown_name_gets_the_nearest_and_all_problems_come_at_once(knobs):
    with pytest.raises(ParameterError) as caught:
        check_parameters("nb", knobs, {"dys": 3, "qqq": 1, "trade": 3})

    text = str(caught.value)
    assert "'dys'; did you mean 'days'?" in text
    assert "it has symbols, bar_size" in text
    assert "trade must be bool" in text
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("days=5", 5),
        ("days=-5", -5),
        ('symbols=["AAPL"]', ["AAPL"]),
        ("symbols=AAPL,FUT:ES", ["AAPL", "FUT:ES"]),
        ("symbols=", []),
        ("bar_size=5 mins", "5 mins"),
        ("bar_size=5", "5"),
        ("bar_size=true", "true"),
        ("note=a=b", "a=b"),
        ("trade=true", True),
        ("trade=False", False),
        ("limit=null", None),
        ("limit=None", None),
        ("limit=2.5", 2.5),
        ("fee_bps=1", 1.0),
        ("side=SELL", "SELL"),
    ],
)
def test_command_line_text_becomes_the_declared_type(knobs, text, value):
    (found,) = parse_parameters("nb", knobs, [text]).values()

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["days=abc", "days=5.5", "days=", "trade=maybe", "symbols=[1]", "side=HOLD", "fee_bps=x"],
)
def test_command_line_text_that_does_not_fit_is_refused(knobs, text):
    with pytest.raises(ParameterError, match=text.partition("=")[0] + " must be"):
        parse_parameters("nb", knobs, [text])


def test_command_line_text_without_a_name_or_value_is_refused(knobs):
    with pytest.raises(ParameterError, match="not of the form name=value"):
        parse_parameters("nb", knobs, ["days"])
    with pytest.raises(ParameterError, match="did you mean 'symbols'"):
        parse_parameters("nb", knobs, ["symbol=AAPL"])


def test_the_parameters_cells_are_no_step_of_the_work():
    injected = v4.new_code_cell("days = 3", metadata={"tags": ["injected-parameters"]})

    assert [is_step(cell) for cell in (*notebook().cells, injected)] == [False, False, True, False]


def test_an_error_survives_the_trip_between_kernels(knobs):
    import pickle

    with pytest.raises(ParameterError) as caught:
        check_parameters("nb", knobs, {"days": "abc"})

    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_curated_notebooks_declare_typed_commented_knobs():
    from ibkit.reports.curated import curated

    for path in curated().glob("*.ipynb"):
        knobs = read_parameters(nbformat.read(path, as_version=4), path.stem)
        assert knobs, path
        assert all(knob.comment for knob in knobs.values()), path
