"""The grammar of messages: a message is a table of items, and each item reads and writes.

Not here: the messages themselves (`requests`, `replies`), nor their framing (`frames`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Record = dict[str, Any]

UNSET_INT: Final = "2147483647"
UNSET_LONG: Final = "9223372036854775807"
UNSET_DOUBLE: Final = "1.7976931348623157E308"
UNSETS: Final = frozenset({"", UNSET_INT, UNSET_LONG, "-9223372036854775808", "-2147483648"})
HUGE: Final = Decimal("1e300")
LONGEST_WHOLE: Final = 1e15
SMALL: Final = 0.0001  # below it, and not at it, Python writes a float with an exponent


class WireError(ValueError):
    """A frame does not fit the table of its message."""


class Cursor:
    """The fields of one frame, read from left to right."""

    __slots__ = ("_fields", "_next")

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields, self._next = fields, 0

    def take(self) -> str:
        """Return the next field, or raise when the frame is too short."""
        try:
            value = self._fields[self._next]
        except IndexError:
            raise WireError(f"the frame ends after {self._next} fields") from None
        self._next += 1
        return value

    @property
    def left(self) -> int:
        """How many fields are still unread."""
        return len(self._fields) - self._next


class Item(Protocol):
    """Anything that a table is made of."""

    def read(self, cursor: Cursor, into: Record, /) -> None:
        """Take this item's fields from `cursor` and put their values into `into`."""

    def write(self, values: Mapping[str, Any], out: list[str], /) -> None:
        """Append this item's fields, made from `values`, to `out`."""


# --- the kinds of single fields ------------------------------------------------------------


def read_whole(text: str) -> int | None:
    """Return an integer, or None for what either client sends when a value is unset."""
    if text in UNSETS:
        return None
    try:
        return int(text)
    except ValueError:
        raise WireError(f"{text!r} is no integer") from None


def read_number(text: str) -> Decimal | None:
    """Return a decimal number, or None when it is unset; both spellings of infinity are read."""
    if text in UNSETS:
        return None
    try:
        value = Decimal("Infinity" if text == "Infinite" else text)
    except InvalidOperation:
        raise WireError(f"{text!r} is no number") from None
    if value.is_nan():
        raise WireError("NaN is no value")
    return None if value.is_finite() and abs(value) > HUGE else value


def read_flag(text: str) -> bool:
    """Return a truth value; an empty field is false."""
    if text in {"", "0", "false"}:
        return False
    if text in {"1", "true"}:
        return True
    raise WireError(f"{text!r} is no boolean")


def read_text(text: str) -> str:
    """Return the text as it came."""
    return text


def write_number(value: Decimal | float) -> str:
    """Write a number the way both clients can read: no exponent, full precision.

    >>> write_number(1e-05), write_number(Decimal("100.50")), write_number(229.31)
    ('0.00001', '100.50', '229.31')
    """
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int):
        return str(int(value))
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = repr(float(value))
    return format(Decimal(text), "f") if "e" in text else text


def plain(value: float) -> float | str:
    """Return a number that `line` can write as it is: only tiny ones need a text.

    >>> plain(229.31), plain(0.00001)
    (229.31, '0.00001')
    """
    return value if value == 0 or abs(value) >= SMALL else write_number(value)


def write_text(value: str) -> str:
    r"""Write text as the server does: ASCII, the rest as escapes, and never a separator inside.

    >>> print(write_text("Nestlé"))
    Nestl\u00e9
    """
    if value.isascii():
        return value.replace("\0", "") if "\0" in value else value
    units = value.encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2))
    return "".join(chr(code) if 0 < code < 128 else f"\\u{code:04x}" for code in codes if code)


def write_flag(value: object) -> str:
    """Write a truth value."""
    return "1" if value else "0"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `unset` is its text when there is no value; without it a value must be given."""

    name: str
    kind: str
    reader: Callable[[str], Any]
    writer: Callable[[Any], str]
    unset: str | None = None

    def read(self, cursor: Cursor, into: Record) -> None:
        """Read one field; what stands for "no value" becomes None."""
        text = cursor.take()
        value = None if self.is_empty_word(text) else self.reader(text)
        if value is None and self.unset is None:
            raise WireError(f"{self.name} is missing")
        into[self.name] = value

    def is_empty_word(self, text: str) -> bool:
        """Whether this text is a word that stands for "no text", like ``None`` or ``?``."""
        return self.kind == "text" and bool(self.unset) and text == self.unset

    def write(self, values: Mapping[str, Any], out: list[str]) -> None:
        """Write one field."""
        value = values.get(self.name)
        if value is None or (value == "" and self.unset):
            if self.unset is None:
                raise WireError(f"{self.name} needs a value")
            out.append(self.unset)
        else:
            out.append(self.writer(value))


def whole(names: str, unset: str | None = None) -> tuple[Field, ...]:
    """Return integer fields of these names."""
    return tuple(Field(name, "whole", read_whole, str, unset) for name in names.split())


def number(names: str, unset: str | None = None) -> tuple[Field, ...]:
    """Return decimal fields of these names."""
    return tuple(Field(name, "number", read_number, write_number, unset) for name in names.split())


def text(names: str, unset: str | None = "") -> tuple[Field, ...]:
    """Return text fields of these names."""
    return tuple(Field(name, "text", read_text, write_text, unset) for name in names.split())


def flag(names: str) -> tuple[Field, ...]:
    """Return boolean fields of these names; they are false unless given."""
    return tuple(Field(name, "flag", read_flag, write_flag, "0") for name in names.split())


# --- what holds fields ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fixed:
    """A field that always has the same text, like a version; any text is read."""

    text: str

    def read(self, cursor: Cursor, _into: Record) -> None:
        """Skip the field."""
        cursor.take()

    def write(self, _values: Mapping[str, Any], out: list[str]) -> None:
        """Write the text."""
        out.append(self.text)


@dataclass(frozen=True, slots=True)
class Nested:
    """Fields that live in a record of their own, under `name`."""

    name: str
    items: tuple[Item, ...]

    def read(self, cursor: Cursor, into: Record) -> None:
        """Read the inner record."""
        into[self.name] = read_items(self.items, cursor)

    def write(self, values: Mapping[str, Any], out: list[str]) -> None:
        """Write the inner record."""
        write_items(self.items, values[self.name], out)


@dataclass(frozen=True, slots=True)
class When:
    """Fields that are there only when the values before them say so."""

    test: Callable[[Mapping[str, Any]], object]
    items: tuple[Item, ...]

    def read(self, cursor: Cursor, into: Record) -> None:
        """Read the fields if they are due."""
        if self.test(into):
            for item in self.items:
                item.read(cursor, into)

    def write(self, values: Mapping[str, Any], out: list[str]) -> None:
        """Write the fields if they are due."""
        if self.test(values):
            write_items(self.items, values, out)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows given as columns of texts that are ready: the fast way to write many."""

    columns: tuple[Sequence[str], ...]

    def __len__(self) -> int:
        return len(self.columns[0])


class Texts(dict[float, str]):
    """The text of each number that was asked for; prices repeat, so most are there already.

    >>> list(map(Texts().__getitem__, [229.31, 0.00001, 229.31, -1.0]))
    ['229.31', '0.00001', '229.31', '-1']
    """

    def __missing__(self, value: float) -> str:
        """Return the text of a new number, whole ones without a point."""
        whole_ = value == value // 1 and abs(value) < LONGEST_WHOLE
        text = self[value] = str(int(value)) if whole_ else write_number(value)
        return text


@dataclass(frozen=True, slots=True)
class Rows:
    """A count, then that many rows of the same fields: records, or tuples when written."""

    name: str
    items: tuple[Item, ...]
    limit: int = 100_000

    def read(self, cursor: Cursor, into: Record) -> None:
        """Read the count and the rows."""
        count = read_whole(cursor.take()) or 0
        if not 0 <= count <= min(self.limit, cursor.left):
            raise WireError(f"{count} rows of {self.name} cannot be in this frame")
        into[self.name] = [read_items(self.items, cursor) for _ in range(count)]

    def write(self, values: Mapping[str, Any], out: list[str]) -> None:
        """Write the count and the rows."""
        rows = values.get(self.name) or ()
        out.append(str(len(rows)))
        if isinstance(rows, Columns):
            assert len(rows.columns) == len(self.items)
            out.extend(chain.from_iterable(zip(*rows.columns, strict=True)))
            return
        for row in rows:
            if isinstance(row, tuple):
                self._write_tuple(row, out)
            else:
                write_items(self.items, row, out)

    def _write_tuple(self, row: tuple[Any, ...], out: list[str]) -> None:
        """Write a flat row; texts that are ready travel as they are."""
        for value, item in zip(row, self.items, strict=True):
            assert isinstance(item, Field)
            out.append(value if type(value) is str else item.writer(value))


@dataclass(frozen=True, slots=True)
class Choice:
    """A count, then records whose first field says which fields follow."""

    name: str
    key: str
    tables: Mapping[int, tuple[Item, ...]]

    def read(self, cursor: Cursor, into: Record) -> None:
        """Read the count and the records."""
        count = read_whole(cursor.take()) or 0
        if not 0 <= count <= cursor.left:
            raise WireError(f"{count} {self.name} cannot be in this frame")
        into[self.name] = [self._read_one(cursor) for _ in range(count)]

    def _read_one(self, cursor: Cursor) -> Record:
        kind = read_whole(cursor.take()) or 0
        if kind not in self.tables:
            raise WireError(f"{kind} is no known kind of {self.name}")
        return {self.key: kind, **read_items(self.tables[kind], cursor)}

    def write(self, values: Mapping[str, Any], out: list[str]) -> None:
        """Write the count and the records."""
        rows = values.get(self.name) or ()
        out.append(str(len(rows)))
        for row in rows:
            out.append(str(row[self.key]))
            write_items(self.tables[row[self.key]], row, out)


def read_items(items: Sequence[Item], cursor: Cursor) -> Record:
    """Read all `items` into a new record."""
    record: Record = {}
    for item in items:
        item.read(cursor, record)
    return record


def write_items(items: Sequence[Item], values: Mapping[str, Any], out: list[str]) -> None:
    """Write all `items` of one record."""
    for item in items:
        item.write(values, out)


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its number, its name, and the table of its fields."""

    id: int
    name: str
    items: tuple[Item, ...]
    template: str = field(init=False, compare=False, repr=False, default="")

    def __post_init__(self) -> None:
        """Lay out a message that has nothing but single fields, for `line`."""
        if all(isinstance(item, (Field, Fixed)) for item in self.items):
            texts = (item.text if isinstance(item, Fixed) else "%s" for item in self.items)
            object.__setattr__(self, "template", "".join(f"{t}\0" for t in (self.id, *texts)))

    def line(self, values: tuple[object, ...]) -> bytes:
        r"""Return the frame of a flat message from its values in order: the way of the streams.

        Much faster than `fields`, and without its checks: texts must be ASCII, numbers plain
        (`plain` makes them so), nothing may be None. The table still says what the fields are.

        >>> Message(57, "end", (Fixed("1"), *whole("req_id"))).line((7,))
        b'\x00\x00\x00\x0757\x001\x007\x00'
        """
        payload = (self.template % values).encode("ascii")
        return len(payload).to_bytes(4, "big") + payload

    def fields(self, values: Mapping[str, Any]) -> list[str]:
        """Return the texts of a frame, the number first."""
        out = [str(self.id)]
        write_items(self.items, values, out)
        return out

    def decode(self, fields: Sequence[str], *, strict: bool = False) -> Record:
        """Return the values of a frame whose number is already known (`fields` has it first).

        Raises
        ------
        WireError
            The frame is too short or a field is no value of its kind; with `strict`, also when
            fields are left over, which a server ignores.
        """
        cursor = Cursor(fields)
        cursor.take()
        record = read_items(self.items, cursor)
        if strict and cursor.left:
            raise WireError(f"{cursor.left} fields of {self.name} are left over")
        return record
