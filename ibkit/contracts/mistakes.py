"""What is wrong with `contracts.toml`: each bad entry with its line, its key and what is near it.

Pure. Not here: what the entries mean (`ibkit.contracts.overrides`).
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from ibkit.contracts.expiry import CALENDARS, RULES
from ibkit.contracts.specs import find_spec, load_specs
from ibkit.contracts.venues import MICS, VENUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pydantic import BaseModel, ValidationError

Path = tuple[str, ...]
# keys of these tables are roots of futures
ROOTED: Final = {"futures": (), "roll": ("default",)}
# how alike a name must be to one that is known, to be taken for a slip of the pen
ALIKE: Final = 0.8


def lines_of(text: str) -> dict[Path, int]:
    r"""Return the line of each table and key of a TOML text, counted from 1.

    >>> lines_of('[roll.CL]\ndays = 5')[("roll", "CL", "days")]
    2
    """
    found: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("["):
            table = _keys(bare) or table
            for depth in range(1, len(table) + 1):
                found.setdefault(table[:depth], number)
        elif key := re.match(r"""((?:[\w.-]|\s*\.\s*|"[^"]*"|'[^']*')+)\s*=""", bare):
            path = _keys(f"{key[1]} = 0")
            for depth in range(1, len(path) + 1):
                found.setdefault((*table, *path[:depth]), number)
    return found


def _keys(line: str) -> Path:
    """Return the keys that one line of TOML goes down."""
    try:
        node: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    path = []
    while isinstance(node, dict) and node:
        key, node = next(iter(node.items()))
        path.append(key)
    return tuple(path)


def told(path: Sequence[object], words: str, lines: Mapping[Path, int]) -> str:
    """Return a problem with its place: ``"line 3, roll.CL.days: …"``."""
    keys = tuple(str(each) for each in path if each != "[key]")
    depth = next((n for n in range(len(keys), 0, -1) if keys[:n] in lines), 0)
    line = f"line {lines[keys[:depth]]}, " if depth else ""
    named = ".".join(f'"{key}"' if re.search(r"[^\w-]", key) else key for key in keys)
    return f"{line}{named}: {words}"


def line_in(problem: str) -> int:
    """Return the line that a problem names, for sorting; 0 if it names none."""
    found = re.match(r"line (\d+)", problem)
    return int(found[1]) if found else 0


def problems_of(error: ValidationError, model: type[BaseModel], text: str) -> Iterator[str]:
    """Yield what pydantic found, each with its line and the nearest valid word."""
    lines = lines_of(text)
    for each in error.errors():
        path, words = each["loc"], each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            words = _no_such(str(path[-1]), _fields(model, path[:-1]), what="key")
        elif each["type"] == "literal_error":
            allowed = re.findall(r"'([^']+)'", each.get("ctx", {}).get("expected", ""))
            words += near_to(str(each["input"]), allowed)
        yield told(path, words, lines)


def _fields(model: type[BaseModel], path: Sequence[object]) -> list[str]:
    """Return the keys that a table may have: fields of a model, or of the rows of one."""
    kind: Any = model
    for key in path:
        if hasattr(kind, "model_fields") and key in kind.model_fields:
            kind = kind.model_fields[key].annotation
        else:  # a row, whatever it is called
            kind = getattr(kind, "__args__", (None, kind))[1]
    return [name for name in getattr(kind, "model_fields", ()) if name != "source"]


def key_problems(found: Mapping[str, Any], text: str) -> Iterator[str]:
    """Yield names that stand for nothing: unknown roots, rules, calendars, exchanges."""
    lines = lines_of(text)
    for table, also in ROOTED.items():
        for root in _table(found, table):
            if root not in load_specs() and root not in also:
                yield told((table, root), _no_root(root, also), lines)
    for root, row in _table(found, "futures").items():
        for name, check in CHECKED.items():
            value = row.get(name) if isinstance(row, dict) else None
            if isinstance(value, str) and (wrong := check(value)):
                yield told(("futures", root, name), wrong, lines)
    venues = {*MICS, *(each.exchange for each in load_specs().values())} | {"IDEALPRO", "PAXOS"}
    venues = {each for each in venues if ":" not in each}
    for key in _table(found, "holidays"):
        exchange = key.partition(" ")[0]
        if exchange not in venues and (near := get_close_matches(exchange, venues, 1, ALIKE)):
            yield told(("holidays", key), f"no exchange that is known; nearest: {near[0]}", lines)


def _table(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = found.get(name)
    return table if isinstance(table, dict) else {}


def _no_root(root: str, also: Iterable[str]) -> str:
    if spec := find_spec(root):
        return f"IB's symbol; the root of the futures table is {spec.symbol}"
    return _no_such(root, [*load_specs(), *also], what="root of the futures table")


def _calendar_problem(name: str) -> str:
    return "" if name in CALENDARS else _no_such(name, CALENDARS, what="calendar")


def _hours_problem(name: str) -> str:
    return "" if name in VENUES else _no_such(name, VENUES, what="hours")


def _rule_problem(rule: str) -> str:
    if not rule:
        return ""
    name, *numbers = rule.split() or ["?"]
    if name not in RULES:
        return _no_such(name, RULES, what="rule")
    wrong = [each for each in numbers if not re.fullmatch(r"-?\d+", each)]
    return f"{wrong[0]!r} is no whole number" if wrong else ""


CHECKED: Final[dict[str, Callable[[str], str]]] = {
    "calendar": _calendar_problem,
    "hours": _hours_problem,
    "last_trade": _rule_problem,
    "first_notice": _rule_problem,
}


def _no_such(word: str, known: Iterable[str], *, what: str) -> str:
    names = list(known)
    near = near_to(word, names)
    if not near and len(names) <= 20:
        near = f"; there are: {', '.join(names)}"
    return f"{word!r} is no {what}{near}"


def near_to(word: str, known: Iterable[str]) -> str:
    """Return ``"; nearest: …"``, or nothing when nothing is near."""
    names = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), names, 5, 0.4)
    near.sort(key=lambda each: each[:1] != word[:1].lower())  # people get the first letter right
    return f"; nearest: {names[near[0]]}" if near else ""
