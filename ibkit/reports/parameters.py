"""The knobs of a notebook: read from its tagged cell, checked before anything runs.

Papermill alone injects any name and any text; here the cell is parsed (`ast`, no code of the
notebook is executed), and values are held against the annotations by pydantic.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Literal, Optional, Union

from pydantic import TypeAdapter, ValidationError

from ibkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import UnionType

    from nbformat import NotebookNode

TAG: Final = "parameters"
INJECTED: Final = "injected-parameters"  # papermill's cell of values
# what an annotation may be made of: papermill can write these as literals
WORDS: Final[dict[str, Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "None": None,
    "Any": Any,
    "Literal": Literal,
    "Optional": Optional,
    "Union": Union,
}
SPELLINGS: Final = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One knob, as the notebook's own cell declares it.

    Attributes
    ----------
    name : str
        Of the variable.
    annotation : str
        Its type as written; of the default, where nothing is written.
    default : object
        The literal it has when nothing is given.
    comment : str
        The words behind it: what it means, and its unit.
    kind : object
        The type itself.
    """

    name: str
    annotation: str
    default: Any
    comment: str
    kind: Any

    def check(self, value: Any) -> Any:
        """Return `value` if it is of the right type, never converted except tuple to list."""
        plain = list(value) if isinstance(value, tuple) else value
        return TypeAdapter(self.kind).validate_python(plain, strict=True)

    def read(self, text: str) -> Any:
        """Return the value that `text` from a command line means."""
        adapter = TypeAdapter(self.kind)
        try:
            return adapter.validate_json(SPELLINGS.get(text, text), strict=True)
        except ValidationError:
            pass
        try:
            return adapter.validate_python(text, strict=True)
        except ValidationError:
            if text.startswith(("[", "{")):
                raise  # JSON that does not fit is no list of words
            return adapter.validate_python(_listed(text), strict=True)

    def refusal(self, value: Any) -> str:
        """Return the line that says why `value` does not fit."""
        about = f" ({self.comment})" if self.comment else ""
        return f"{self.name} must be {self.annotation}{about}, got {value!r}"


def read_parameters(notebook: NotebookNode, name: str = "the notebook") -> dict[str, Parameter]:
    """Return the parameters that `notebook` declares, in their order.

    Raises
    ------
    ParameterError
        The cell holds something else than literals.

    Examples
    --------
    >>> import nbformat
    >>> cell = nbformat.v4.new_code_cell("days: int = 5  # sessions", metadata={"tags": [TAG]})
    >>> knob = read_parameters(nbformat.v4.new_notebook(cells=[cell]))["days"]
    >>> knob.annotation, knob.default, knob.comment
    ('int', 5, 'sessions')
    """
    source = "\n".join(cell.source for cell in notebook.cells if is_tagged(cell, TAG))
    try:
        tree = ast.parse(source)
        comments = _comments(source)
    except (SyntaxError, tokenize.TokenError) as error:
        raise ParameterError(name, [f"its parameters cell cannot be read: {error}"]) from error
    found = (_parameter(node, comments, name) for node in tree.body)
    return {parameter.name: parameter for parameter in found}


def check_parameters(
    name: str, declared: Mapping[str, Parameter], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `given` if each name is declared and each value of its type.

    Raises
    ------
    ParameterError
        Names every problem at once, with the nearest name for an unknown one.
    """
    values, problems = {}, []
    for key, value in given.items():
        if key not in declared:
            problems.append(_unknown(key, declared))
            continue
        try:
            values[key] = declared[key].check(value)
        except ValidationError:
            problems.append(declared[key].refusal(value))
    if problems:
        raise ParameterError(name, problems)
    return values


def parse_parameters(
    name: str, declared: Mapping[str, Parameter], texts: Iterable[str]
) -> dict[str, Any]:
    """Return the values of command-line texts like ``days=5`` or ``symbols='["AAPL"]'``.

    Raises
    ------
    ParameterError
        As `check_parameters`; also for a text without ``=``.
    """
    values, problems = {}, []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            problems.append(f"{text!r} is not of the form name=value")
        elif key not in declared:
            problems.append(_unknown(key, declared))
        else:
            try:
                values[key] = declared[key].read(value)
            except ValidationError:
                problems.append(declared[key].refusal(value))
    if problems:
        raise ParameterError(name, problems)
    return values


def is_tagged(cell: NotebookNode, *tags: str) -> bool:
    """Return whether a cell has any of these tags."""
    return any(tag in cell.metadata.get("tags", []) for tag in tags)


def is_step(cell: NotebookNode) -> bool:
    """Return whether a cell is work, and not the parameters."""
    return cell.cell_type == "code" and not is_tagged(cell, TAG, INJECTED)


def _parameter(node: ast.stmt, comments: Mapping[int, str], notebook: str) -> Parameter:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            annotation: ast.expr | None = node.annotation
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            annotation = None
        case _:
            raise _not_literal(node, notebook)
    try:
        default = ast.literal_eval(value)
        kind = _kind(annotation) if annotation else type(default)
    except ValueError:
        raise _not_literal(node, notebook) from None
    words = ast.unparse(annotation) if annotation else type(default).__name__
    return Parameter(name, words, default, comments.get(node.end_lineno or 0, ""), kind)


def _kind(node: ast.expr) -> Any:
    """Return the type that an annotation names; ValueError if it is none of ours."""
    match node:
        case ast.Name(id=word) if word in WORDS:
            return WORDS[word]
        case ast.Constant(value=None):
            return None
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = ast.literal_eval(inner)
            return Literal[values]
        case ast.Subscript(value=outer, slice=ast.Tuple(elts=parts)):
            return _kind(outer)[tuple(_kind(part) for part in parts)]
        case ast.Subscript(value=outer, slice=inner):
            return _kind(outer)[_kind(inner)]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(_kind(left), _kind(right))
    raise ValueError(ast.unparse(node))


def _union(left: Any, right: Any) -> UnionType:
    both: UnionType = left | right
    return both


def _not_literal(node: ast.stmt, notebook: str) -> ParameterError:
    line = f"line {node.lineno} of its parameters cell, {ast.unparse(node)!r},"
    return ParameterError(notebook, [f"{line} is not of the form name: type = literal"])


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _listed(text: str) -> list[str]:
    """Split ``AAPL,MSFT``; it is a list for whoever wants one."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _unknown(key: str, declared: Mapping[str, Parameter]) -> str:
    near = get_close_matches(key, declared, n=1)
    if near:
        return f"it has no parameter {key!r}; did you mean {near[0]!r}?"
    return f"it has no parameter {key!r}; it has {', '.join(declared) or 'none'}"
