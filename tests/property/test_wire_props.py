"""Whatever a table can hold, and whatever either client can express, survives the trip."""

import contextlib
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibkit.sim.wire import REPLIES, REQUESTS, Deframer, WireError, pack, unpack
from ibkit.sim.wire.fields import Choice, Field, Fixed, Nested, Rows, When

SLOW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# --- values made from the tables themselves -------------------------------------------------------

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
NUMBER = st.decimals(-(10**9), 10**9, places=4) | st.just(Decimal("Infinity"))
WHOLE = st.integers(-(2**31) + 1, 2**31 - 2)


def field_values(field):
    if field.kind == "flag":
        return st.booleans()
    if field.kind == "text":
        words = TEXT.filter(lambda text: text not in {"", field.unset})
        return words | st.none() if field.unset else TEXT
    values = WHOLE if field.kind == "whole" else NUMBER
    return values | st.none() if field.unset is not None and not parses(field) else values


def parses(field):
    return field.reader(field.unset) is not None


@st.composite
def records(draw, items):
    record = {}
    for item in items:
        fill(draw, item, record)
    return record


def fill(draw, item, record):
    if isinstance(item, Field):
        record[item.name] = draw(field_values(item))
    elif isinstance(item, Nested):
        record[item.name] = draw(records(item.items))
    elif isinstance(item, Rows):
        record[item.name] = draw(st.lists(records(item.items), max_size=3))
    elif isinstance(item, Choice):
        kind = st.sampled_from(sorted(item.tables))
        row = kind.flatmap(
            lambda key: records(item.tables[key]).map(lambda values: {item.key: key, **values})
        )
        record[item.name] = draw(st.lists(row, max_size=3))
    elif isinstance(item, When):
        if item.test(record):
            for inner in item.items:
                fill(draw, inner, record)
    else:
        assert isinstance(item, Fixed)


MESSAGES = [*REQUESTS.values(), *REPLIES.values()]


@SLOW
@given(st.data())
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_what_a_table_writes_it_reads(message, data):
    record = data.draw(records(message.items))

    frames = Deframer()
    frames.feed(pack(message.fields(record)))
    fields = unpack(frames.next())

    assert fields[0] == str(message.id)
    assert message.decode(fields, strict=True) == record


@SLOW
@given(st.data())
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_a_spoiled_frame_is_refused_or_read_but_never_breaks_the_reader(message, data):
    fields = message.fields(data.draw(records(message.items)))
    at = data.draw(st.integers(0, len(fields) - 1))
    fields[at] = data.draw(st.text(max_size=8))
    fields = fields[: data.draw(st.integers(1, len(fields)))]

    with contextlib.suppress(WireError):
        message.decode(fields)
