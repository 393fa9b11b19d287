import base64
import gzip
import json
import re
import stat
from pathlib import Path

import plotly.graph_objects as go
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from ibkit.reports import html
from ibkit.reports.redaction import mask, mask_notebook, places

FIGURE = "application/vnd.plotly.v1+json"


def provenance(**given):
    words = {"facts": {"notebook": "nb"}, "parameters": {"days": "5"}, "simulated": False}
    return html.Provenance(**{**words, **given})


def shown(data, **metadata):
    return v4.new_code_cell("x", outputs=[v4.new_output("display_data", data)], metadata=metadata)


def drawn(**meta):
    figure = go.Figure(go.Scatter(y=[1, 2]), layout={"title": {"text": "Two <b>points</b>"}})
    figure.update_layout(meta=meta or None)
    return shown({FIGURE: json.loads(figure.to_json())})


def page(*cells, **given):
    return html.render(v4.new_notebook(cells=list(cells)), provenance(**given))


def soup(*cells, **given):
    return BeautifulSoup(page(*cells, **given), "html.parser")


def test_nothing_in_the_page_points_outside():
    found = soup(
        v4.new_markdown_cell("# T\n\n![x](https://example.com/x.png) [link](https://example.com)"),
        shown({"text/html": '<img src="//example.com/a.png"><script src="https://x.com/s.js">'}),
        drawn(),
    )

    fetching = [tag for tag in found.find_all(src=True) if not tag["src"].startswith("data:")] + [
        tag for tag in found.find_all("link") if tag["href"] != "data:,"
    ]
    assert fetching == []
    policy = found.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_only_our_script_has_the_nonce_and_every_page_its_own():
    first, second = soup(drawn()), soup(drawn())
    nonces = [one.find("script", nonce=True)["nonce"] for one in (first, second)]

    assert nonces[0] != nonces[1]
    running = [
        tag
        for tag in first.find_all("script")
        if "json" not in tag.get("type", "") and tag.get("type") != "application/octet-stream"
    ]
    assert [tag.get("nonce") for tag in running] == [nonces[0]]


@pytest.mark.parametrize(
    "dirty",
    [
        "<script>alert(1)</script>",
        '<p onclick="alert(1)">',
        '<meta http-equiv="refresh" content="0;url=https://x.com">',
        '<iframe src="https://x.com"></iframe>',
        '<base href="https://x.com">',
        '<link rel="stylesheet" href="https://x.com/a.css">',
        '<form action="https://x.com"><input></form>',
        '<svg onload="alert(1)"></svg>',
    ],
)
def test_what_could_run_fetch_or_navigate_is_taken_out(dirty):
    cleaned = html.clean(dirty)

    assert "alert" not in cleaned
    assert "x.com" not in cleaned


def test_harmless_html_stays_as_it_is():
    table = '<table class="a" style="color:red"><tr><td>1</td></tr></table>'

    assert html.clean(table) == table


def test_a_figure_is_data_with_a_title_for_those_who_cannot_see_it():
    found = soup(drawn(description="Rises."))

    plot = found.find(class_="plot")
    assert plot["role"] == "img"
    assert plot["aria-label"] == "Two points. Rises."
    assert found.figcaption.get_text() == "Rises."
    data = json.loads(found.find("script", class_="drawing").string)
    assert data["data"][0]["type"] == "scatter"


def test_a_script_end_inside_figure_data_does_not_end_the_script():
    figure = {"data": [{"type": "scatter", "name": "</script><script>alert(1)</script>"}]}
    found = soup(shown({FIGURE: figure}))

    data = json.loads(found.find("script", class_="drawing").string)
    assert data["data"][0]["name"] == "</script><script>alert(1)</script>"


def test_plotly_travels_once_and_only_where_there_are_figures():
    with_figures = soup(drawn(), drawn())

    (bundle,) = with_figures.find_all(id="plotly-bundle")
    script = gzip.decompress(base64.b64decode(bundle.string)).decode()
    assert "plotly.js v" in script[:200]
    assert soup(v4.new_markdown_cell("# T")).find(id="plotly-bundle") is None


def test_simulated_is_said_in_title_head_and_banner_if_run_or_figure_says_so():
    for found in (soup(v4.new_markdown_cell("# T"), simulated=True), soup(drawn(simulated=True))):
        assert found.title.string.startswith("SIMULATED")
        assert "SIMULATED" in found.h1.get_text()
        assert found.find(class_="banner")
    assert "SIMULATED" not in soup(drawn()).get_text()


def test_the_first_heading_is_the_title_and_the_second_level_the_contents():
    found = soup(v4.new_markdown_cell("# Daily\n\nwords"), v4.new_markdown_cell("## One\n\n## Two"))

    assert found.title.string == "Daily"
    assert len(found.find_all("h1")) == 1
    links = [(link.get_text(), link["href"]) for link in found.nav.find_all("a")]
    assert [words for words, _ in links] == ["One", "Two"]
    assert all(found.find(id=target.removeprefix("#")) for _, target in links)


def test_code_is_folded_parameters_are_named_and_hidden_cells_stay_out():
    found = soup(
        v4.new_code_cell("days: int = 5", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("print('<b>')"),
        v4.new_code_cell("secret", metadata={"tags": ["hide"]}),
    )

    cells = found.find_all("details", class_="cell")
    assert [cell.summary.get_text() for cell in cells] == ["Parameters", "Code"]
    assert not any(cell.has_attr("open") for cell in cells)
    assert "print('<b>')" in cells[1].get_text()
    assert "secret" not in found.get_text()


def test_streams_keep_their_colours_and_errors_are_loud():
    cell = v4.new_code_cell("x")
    cell.outputs = [
        v4.new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m <tag>"),
        v4.new_output("error", ename="ValueError", evalue="no", traceback=["\x1b[31mTrace\x1b[0m"]),
    ]

    found = soup(cell)

    assert found.find(class_="ansi-red-fg").get_text() == "red"
    assert "<tag>" in found.find("pre", class_="stdout").get_text()
    assert found.find(class_="error").summary.get_text() == "ValueError: no"
    assert "FAILED" in found.h1.get_text()


def test_a_widget_shows_its_text_an_image_is_inlined_and_markdown_is_rendered():
    found = soup(
        shown({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Button()"}),
        shown({"image/png": "aGVsbG8=\n", "text/plain": "a <picture>"}),
        shown({"text/markdown": "**bold**"}),
    )

    assert "Button()" in found.find("pre", class_="text").get_text()
    assert found.img["src"] == "data:image/png;base64,aGVsbG8="
    assert found.img["alt"] == "a <picture>"
    assert found.find("strong").get_text() == "bold"


def test_the_foot_says_where_it_comes_from():
    found = soup(v4.new_markdown_cell("# T"), parameters={"symbols": "['<A>']"})

    words = found.footer.get_text(" ")
    assert "notebook" in words
    assert "['<A>']" in words


def test_the_file_is_written_whole_and_for_its_owner_only(tmp_path):
    out = tmp_path / "deep" / "report.html"

    assert (
        html.export(v4.new_notebook(cells=[v4.new_markdown_cell("# T")]), out, provenance()) == out
    )

    assert out.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_the_page_is_accessible_by_structure():
    found = soup(v4.new_markdown_cell("# T\n\n## A"), drawn())

    assert found.html["lang"] == "en"
    assert found.find("a", class_="skip")["href"] == "#main"
    assert found.find("main", id="main")
    assert found.nav["aria-label"]
    assert all(button.get_text() for button in found.find_all("button"))


# --- masking -------------------------------------------------------------------------------------


def test_accounts_and_places_are_masked_everywhere_but_in_encoded_bytes(tmp_path):
    hidden = places(tmp_path)
    cell = v4.new_code_cell(
        "kit.account('DU1234567')",
        outputs=[
            v4.new_output("stream", name="stdout", text=f"{tmp_path}/data of DU1234567"),
            v4.new_output("display_data", {FIGURE: {"data": [{"name": "U7654321"}]}}),
            v4.new_output("display_data", {"image/png": "/U1234567/"}),
        ],
    )

    masked = json.dumps(mask_notebook(v4.new_notebook(cells=[cell]), hidden))

    assert "1234567'" not in masked
    assert "7654321" not in masked
    assert str(tmp_path) not in masked
    assert "[workspace]/data" in masked
    assert "/U1234567/" in masked  # bytes, not words


def test_the_longest_place_wins():
    hidden = places(Path("/srv/desk"))

    assert list(hidden) == sorted(hidden, key=len, reverse=True)
    assert mask("/srv/desk/x", {"/srv/desk": "[workspace]", "/srv": "[s]"}) == "[workspace]/x"


def test_the_scripts_of_the_page_name_no_address():
    own = Path(html.__file__).parent / "page"

    for file in own.iterdir():
        assert not re.search(r"https?://", file.read_text()), file
