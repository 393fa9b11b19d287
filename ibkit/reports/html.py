"""Make one HTML file of a notebook that was run; it opens offline and loads nothing.

plotly.js (the bundle that plotly.py ships) travels inside once, gzipped, and a content security
policy forbids every request. Not here: running and masking (`run`, `redaction`), and what the
page looks like (`report.html.j2`, `report.css`, `report.js`).
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import secrets
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import jinja2
from bs4 import BeautifulSoup
from markupsafe import escape
from nbconvert.filters import ansi
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from ibkit.reports.parameters import INJECTED, TAG, is_tagged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from nbformat import NotebookNode

FIGURE: Final = "application/vnd.plotly.v1+json"
IMAGES: Final = ("image/png", "image/jpeg", "image/gif")
# what could run, fetch or navigate; the policy forbids most of it too
UNWANTED: Final = ("script", "link", "meta", "base", "iframe", "object", "embed", "form")
HIDDEN: Final = ("hide", "remove_cell", "papermill-error-cell-tag")


@dataclass(frozen=True, slots=True)
class Part:
    """One output of a cell, ready for the page: `kind` is html, figure, stream or error.

    `html` is safe to show as it is; `title` is plain text.
    """

    kind: str
    html: str
    title: str = ""
    data: str = ""
    height: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """One cell on the page: its words, or its code and what came out."""

    html: str = ""
    code: str = ""
    parts: tuple[Part, ...] = ()
    knobs: bool = False


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a report comes from: `parameters` given to the notebook, and other `facts`."""

    facts: Mapping[str, object]
    parameters: Mapping[str, object]
    simulated: bool


def export(notebook: NotebookNode, out: Path, provenance: Provenance) -> Path:
    """Write the report of a notebook that was run, whole or not at all; return `out`.

    Parameters
    ----------
    notebook : NotebookNode
        With its outputs, masked already.
    out : Path
        The HTML file; only its owner may read it until they share it.
    provenance : Provenance
        Shown at the head and the foot. A figure of simulated data makes the page say
        SIMULATED whatever is said here.
    """
    page = render(notebook, provenance)
    out.parent.mkdir(parents=True, exist_ok=True)
    rough = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        rough.touch(mode=0o600)
        rough.write_text(page, encoding="utf-8")
        rough.replace(out)
    finally:
        rough.unlink(missing_ok=True)
    return out


def render(notebook: NotebookNode, provenance: Provenance) -> str:
    """Return the page as text."""
    title, contents, sections = _outline(list(_sections(notebook)))
    parts = [part for section in sections for part in section.parts]
    figures = [part for part in parts if part.kind == "figure"]
    return _template().render(
        title=title,
        contents=contents,
        sections=sections,
        facts=provenance.facts,
        parameters=provenance.parameters,
        simulated=provenance.simulated or any('"simulated":true' in part.data for part in figures),
        failed=any(part.kind == "error" for part in parts),
        plotly=plotly_bundle() if figures else "",
        style=_text("report.css") + _code_style(),
        script=_text("report.js"),
        nonce=secrets.token_urlsafe(16),
    )


def _sections(notebook: NotebookNode) -> Iterator[Section]:
    for cell in notebook.cells:
        if is_tagged(cell, *HIDDEN):
            continue
        if cell.cell_type == "markdown":
            yield Section(html=_markdown(cell.source))
        elif cell.cell_type == "code":
            code = highlight(cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
            parts = tuple(part for output in cell.outputs for part in _parts(output))
            knobs = is_tagged(cell, TAG, INJECTED)
            yield Section(code=code, parts=parts, knobs=knobs)


def _parts(output: NotebookNode) -> Iterator[Part]:
    if output.output_type == "stream":
        yield Part("stream", _ansi(output.text.rstrip()), title=output.name)
    elif output.output_type == "error":
        trace = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
        yield Part("error", _ansi(trace), title=f"{output.ename}: {output.evalue}")
    else:
        yield from _bundle(output.data)


def _ansi(text: str) -> str:
    """Return terminal text as HTML, its colours as classes."""
    return str(ansi.ansi2html(text))  # type: ignore[no-untyped-call]  # nbconvert has no types here


def _bundle(data: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the richest form of one output that works offline; widgets show their text."""
    image = next((kind for kind in IMAGES if kind in data), None)
    if FIGURE in data:
        yield _figure(data[FIGURE])
    elif "text/html" in data or "image/svg+xml" in data:
        yield Part("html", clean(data.get("text/html") or data["image/svg+xml"]))
    elif image:
        words = escape(data.get("text/plain", "image"))
        letters = "".join(data[image].split())
        yield Part("html", f'<img alt="{words}" src="data:{image};base64,{letters}">')
    elif "text/markdown" in data:
        yield Part("html", _markdown(data["text/markdown"]))
    elif "text/plain" in data:
        yield Part("stream", escape(data["text/plain"]), title="text")


def _figure(figure: Mapping[str, Any]) -> Part:
    layout = figure.get("layout", {})
    title, meta = layout.get("title") or "", layout.get("meta") or {}
    words = title.get("text", "") if isinstance(title, dict) else title
    drawing = {"data": figure.get("data", []), "layout": layout}
    # no "</script>" inside a script element; JSON reads "\/" as "/"
    text = json.dumps(drawing, separators=(",", ":")).replace("</", "<\\/")
    return Part(
        "figure",
        escape(meta.get("description", "") if isinstance(meta, dict) else ""),
        title=" ".join(BeautifulSoup(words or "Figure", "html.parser").get_text(" ").split()),
        data=text,
        height=int(layout.get("height") or 450),
    )


def clean(html: str) -> str:
    """Return `html` without what could run, fetch or navigate.

    >>> clean('<p onclick="x()">5<script>x()</script><img src="https://x.com/p.png"></p>')
    '<p>5<img/></p>'
    """
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup.find_all(UNWANTED):
        tag.decompose()
    for tag in soup.find_all():
        for name, value in list(tag.attrs.items()):
            if name.startswith("on") or (name in {"src", "srcset"} and not _inline(value)):
                del tag[name]
    return str(soup)


def _inline(value: object) -> bool:
    return str(value).startswith("data:")


def _markdown(source: str) -> str:
    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    return clean(MarkdownWithMath(renderer=renderer).render(source))


def _outline(
    sections: Sequence[Section],
) -> tuple[str, list[tuple[str, str]], list[Section]]:
    """Return the title (first h1, taken out), the (id, words) of the h2, and the sections."""
    title, outlined = "", []
    contents: list[tuple[str, str]] = []
    for section in sections:
        soup = BeautifulSoup(section.html, "html.parser")
        if not title and soup.h1:
            title = soup.h1.extract().get_text()
        for heading in soup.find_all("h2"):
            heading["id"] = anchor = f"section-{len(contents) + 1}"
            contents.append((anchor, heading.get_text()))
        outlined.append(Section(str(soup), section.code, section.parts, section.knobs))
    return title or "Report", contents, outlined


@cache
def plotly_bundle() -> str:
    """Return the plotly.js that plotly.py ships, gzipped, as base64."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode("ascii")


def _code_style() -> str:
    """Return Pygments' colours for both themes."""
    light = HtmlFormatter(style="default").get_style_defs(".code")
    dark = HtmlFormatter(style="github-dark").get_style_defs(":root[data-theme=dark] .code")
    return f"\n{light}\n{dark}\n.code {{ background: none; }}\n"


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("ibkit.reports", "page")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).get_template("report.html.j2")


def _text(name: str) -> str:
    return files("ibkit.reports").joinpath("page", name).read_text(encoding="utf-8")
